package api

import (
	"context"
	"net/http"
	"time"
)

// PrivateService is the type of an egress private endpoint's target that a customer publishes.
const PrivateService = "PRIVATE_SERVICE"

// EgressEndpoint is an egress private endpoint: the vendor's endpoint to a service of the customer.
type EgressEndpoint struct {
	ID                      string      `json:"id" format:"uuid"`
	EndpointConnectionID    string      `json:"endpoint_connection_id" doc:"The cloud's id of the vendor's endpoint, as the customer sees it; empty while there is none"`
	Region                  string      `json:"region"`
	TargetServiceIdentifier string      `json:"target_service_identifier" doc:"The cloud's name of the customer's service" example:"com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718"`
	TargetServiceType       string      `json:"target_service_type" enum:"PRIVATE_SERVICE"`
	EndpointAddress         string      `json:"endpoint_address" doc:"DNS name of the endpoint inside the vendor's network; empty while there is none"`
	State                   string      `json:"state" enum:"PENDING,PENDING_ACCEPTANCE,AVAILABLE,DELETING,DELETED,REJECTED,FAILED,EXPIRED"`
	DomainNames             []string    `json:"domain_names" doc:"By which the vendor's network reaches the endpoint"`
	DomainNamesState        string      `json:"domain_names_state,omitempty" enum:"PENDING,AVAILABLE,FAILED" doc:"Absent without domain names"`
	AllowedPrincipal        string      `json:"allowed_principal,omitempty" doc:"Whom the customer has to allow to use the service; absent while that is not known" example:"arn:aws:iam::123456789012:root"`
	ExpiresAt               time.Time   `json:"expires_at,omitzero" doc:"When the request expires; absent unless it waits for the customer"`
	Conditions              []Condition `json:"conditions"`
	CreatedAt               time.Time   `json:"created_at"`
	UpdatedAt               time.Time   `json:"updated_at"`
}

// EgressEndpointList is a page of a cluster's egress private endpoints.
type EgressEndpointList struct {
	EgressPrivateEndpoints []EgressEndpoint `json:"egress_private_endpoints"`
	Pagination             Pagination       `json:"pagination"`
}

// CreateEgressEndpointRequest asks for an egress private endpoint.
type CreateEgressEndpointRequest struct {
	Region                  string `json:"region" doc:"A region of the cluster; the service is in it" example:"us-east-1"`
	TargetServiceIdentifier string `json:"target_service_identifier" doc:"The cloud's name of the customer's service" example:"com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718"`
	TargetServiceType       string `json:"target_service_type" doc:"PRIVATE_SERVICE; others are refused" example:"PRIVATE_SERVICE"`
}

// UpdateEgressEndpointRequest changes an egress private endpoint.
type UpdateEgressEndpointRequest struct {
	DomainNames []string `json:"domain_names" doc:"Replace those that there are; *. in front stands for all names below"`
}

// EgressPrincipal is in whose name egress private endpoints of a region are made.
type EgressPrincipal struct {
	RegionName       string `json:"region_name"`
	CloudProvider    string `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	AccountID        string `json:"account_id,omitempty" doc:"Absent while the cloud has not been asked yet"`
	AllowedPrincipal string `json:"allowed_principal,omitempty" doc:"Whom the customer has to allow to use its service" example:"arn:aws:iam::123456789012:root"`
}

// EgressPrincipalList is the answer of GET egress-principals.
type EgressPrincipalList struct {
	EgressPrincipals []EgressPrincipal `json:"egress_principals"`
}

// EgressPrincipals tells whom a customer has to allow, for each region of the cluster.
func (c *Client) EgressPrincipals(ctx context.Context, clusterID string) ([]EgressPrincipal, error) {
	var out EgressPrincipalList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "egress-principals"), nil, nil, &out)
	return out.EgressPrincipals, err
}

// EgressEndpoints returns a page of the cluster's egress private endpoints, oldest first, without those that are deleted.
func (c *Client) EgressEndpoints(ctx context.Context, clusterID string, p Page) (EgressEndpointList, error) {
	var out EgressEndpointList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "egress-private-endpoints"), p.query(), nil, &out)
	return out, err
}

// EgressEndpoint returns one egress private endpoint.
func (c *Client) EgressEndpoint(ctx context.Context, clusterID, id string) (EgressEndpoint, error) {
	var out EgressEndpoint
	err := c.call(ctx, http.MethodGet, networking(clusterID, "egress-private-endpoints", id), nil, nil, &out)
	return out, err
}

// CreateEgressEndpoint asks for an egress private endpoint. It is idempotent: a cluster has one to a service, and one that
// failed or expired is started anew.
func (c *Client) CreateEgressEndpoint(ctx context.Context, clusterID string, req CreateEgressEndpointRequest) (EgressEndpoint, error) {
	var out EgressEndpoint
	err := c.call(ctx, http.MethodPost, networking(clusterID, "egress-private-endpoints"), nil, req, &out)
	return out, err
}

// UpdateEgressEndpoint sets the domain names of an egress private endpoint.
func (c *Client) UpdateEgressEndpoint(ctx context.Context, clusterID, id string, req UpdateEgressEndpointRequest) (EgressEndpoint, error) {
	var out EgressEndpoint
	err := c.call(ctx, http.MethodPatch, networking(clusterID, "egress-private-endpoints", id), nil, req, &out)
	return out, err
}

// DeleteEgressEndpoint asks for the end of an egress private endpoint. It is idempotent; the cloud follows.
func (c *Client) DeleteEgressEndpoint(ctx context.Context, clusterID, id string) error {
	return c.call(ctx, http.MethodDelete, networking(clusterID, "egress-private-endpoints", id), nil, nil, nil)
}

// EgressEndpointEvents returns a page of the egress private endpoint's history, oldest first.
func (c *Client) EgressEndpointEvents(ctx context.Context, clusterID, id string, p Page) (EventList, error) {
	return c.events(ctx, networking(clusterID, "egress-private-endpoints", id, "events"), p)
}
