package api

import (
	"context"
	"net/http"
	"net/url"
)

// AddProjectConnectionRequest connects an endpoint with every cluster of a project in a provider's region, those that are
// created later among them.
type AddProjectConnectionRequest struct {
	EndpointID    string `json:"endpoint_id" doc:"The cloud's id of the customer's endpoint" example:"vpce-0a1b2c3d4e5f60718"`
	CloudProvider string `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	Region        string `json:"region" doc:"The provider's name of the region that the endpoint is in" example:"us-east-1"`
}

func projectNetworking(projectID string, segments ...string) *url.URL {
	return path(append([]string{"projects", projectID, "networking"}, segments...)...)
}

// ProjectConnections lists the connections that hold for all clusters of a project, oldest first. They are listed here
// alone, not with each cluster's own.
func (c *Client) ProjectConnections(ctx context.Context, projectID string) ([]Connection, error) {
	var out ConnectionList
	err := c.call(ctx, http.MethodGet, projectNetworking(projectID, "private-endpoint-connections"), nil, nil, &out)
	return out.Connections, err
}

// ProjectConnection returns one of them.
func (c *Client) ProjectConnection(ctx context.Context, projectID, endpointID string) (Connection, error) {
	var out Connection
	err := c.call(ctx, http.MethodGet, projectNetworking(projectID, "private-endpoint-connections", endpointID), nil, nil, &out)
	return out, err
}

// AddProjectConnection connects an endpoint with a project. It is idempotent.
func (c *Client) AddProjectConnection(ctx context.Context, projectID string, req AddProjectConnectionRequest) (Connection, error) {
	var out Connection
	err := c.call(ctx, http.MethodPost, projectNetworking(projectID, "private-endpoint-connections"), nil, req, &out)
	return out, err
}

// DeleteProjectConnection takes the connection away: gateways cut at once the flows that nothing else admits, the cloud
// follows. It is idempotent.
func (c *Client) DeleteProjectConnection(ctx context.Context, projectID, endpointID string) error {
	return c.call(ctx, http.MethodDelete, projectNetworking(projectID, "private-endpoint-connections", endpointID), nil, nil, nil)
}

// ProjectConnectionEvents returns a page of the connection's history, oldest first.
func (c *Client) ProjectConnectionEvents(ctx context.Context, projectID, endpointID string, p Page) (EventList, error) {
	return c.events(ctx, projectNetworking(projectID, "private-endpoint-connections", endpointID, "events"), p)
}

// ProjectTrustedOwners lists the accounts whose endpoints the project's connections let in, oldest first. The project's
// clusters do not trust them for their own connections.
func (c *Client) ProjectTrustedOwners(ctx context.Context, projectID string) ([]TrustedOwner, error) {
	var out TrustedOwnerList
	err := c.call(ctx, http.MethodGet, projectNetworking(projectID, "private-endpoint-trusted-owners"), nil, nil, &out)
	return out.TrustedOwners, err
}

// ProjectTrustedOwner returns one of them.
func (c *Client) ProjectTrustedOwner(ctx context.Context, projectID, ownerID string) (TrustedOwner, error) {
	var out TrustedOwnerAnswer
	err := c.call(ctx, http.MethodGet, projectNetworking(projectID, "private-endpoint-trusted-owners", ownerID), nil, nil, &out)
	return out.TrustedOwner, err
}

// AddProjectTrustedOwner trusts an account for the project's connections. It is idempotent.
func (c *Client) AddProjectTrustedOwner(ctx context.Context, projectID string, req AddTrustedOwnerRequest) (TrustedOwner, error) {
	var out TrustedOwnerAnswer
	err := c.call(ctx, http.MethodPost, projectNetworking(projectID, "private-endpoint-trusted-owners"), nil, req, &out)
	return out.TrustedOwner, err
}

// RemoveProjectTrustedOwner stops trusting an account and returns what it was.
func (c *Client) RemoveProjectTrustedOwner(ctx context.Context, projectID, ownerID string) (TrustedOwner, error) {
	var out TrustedOwnerAnswer
	err := c.call(ctx, http.MethodDelete, projectNetworking(projectID, "private-endpoint-trusted-owners", ownerID), nil, nil, &out)
	return out.TrustedOwner, err
}

// ProjectTrustedOwnerEvents returns a page of the trusted owner's history, oldest first.
func (c *Client) ProjectTrustedOwnerEvents(ctx context.Context, projectID, ownerID string, p Page) (EventList, error) {
	return c.events(ctx, projectNetworking(projectID, "private-endpoint-trusted-owners", ownerID, "events"), p)
}
