package api

import (
	"context"
	"net/http"
	"time"
)

// The status words of a Connection.
const (
	StatusPending           = "STATUS_PENDING"
	StatusPendingAcceptance = "STATUS_PENDING_ACCEPTANCE"
	StatusAvailable         = "STATUS_AVAILABLE"
	StatusDeleting          = "STATUS_DELETING"
	StatusDeleted           = "STATUS_DELETED"
	StatusRejected          = "STATUS_REJECTED"
	StatusFailed            = "STATUS_FAILED"
	StatusExpired           = "STATUS_EXPIRED"
)

// Connection is a private endpoint connection: the pairing of an endpoint with a cluster. RegionName,
// EndpointServiceID, ServiceName and ExternalOwnerID are empty until the endpoint was seen at the cloud.
type Connection struct {
	RegionName        string      `json:"region_name,omitempty"`
	CloudProvider     string      `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	Status            string      `json:"status" enum:"STATUS_PENDING,STATUS_PENDING_ACCEPTANCE,STATUS_AVAILABLE,STATUS_DELETING,STATUS_DELETED,STATUS_REJECTED,STATUS_FAILED,STATUS_EXPIRED"`
	EndpointID        string      `json:"endpoint_id" doc:"The cloud's id of the customer's endpoint"`
	EndpointServiceID string      `json:"endpoint_service_id"`
	ServiceName       string      `json:"service_name"`
	ExternalOwnerID   string      `json:"external_owner_id,omitempty" doc:"The cloud account that owns the endpoint"`
	Conditions        []Condition `json:"conditions"`
	CreatedAt         time.Time   `json:"created_at"`
	UpdatedAt         time.Time   `json:"updated_at"`
}

// ConnectionList is the answer of GET private-endpoint-connections.
type ConnectionList struct {
	Connections []Connection `json:"connections"`
}

// AddConnectionRequest registers an endpoint with a cluster.
type AddConnectionRequest struct {
	EndpointID string `json:"endpoint_id" doc:"The cloud's id of the customer's endpoint" example:"vpce-0a1b2c3d4e5f60718"`
}

// Connections lists the cluster's connections, oldest first.
func (c *Client) Connections(ctx context.Context, clusterID string) ([]Connection, error) {
	var out ConnectionList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "private-endpoint-connections"), nil, nil, &out)
	return out.Connections, err
}

// Connection returns one connection.
func (c *Client) Connection(ctx context.Context, clusterID, endpointID string) (Connection, error) {
	var out Connection
	err := c.call(ctx, http.MethodGet, networking(clusterID, "private-endpoint-connections", endpointID), nil, nil, &out)
	return out, err
}

// AddConnection registers an endpoint with the cluster. It is idempotent, the connection is in the very next list, and
// a rejected one is attached again.
func (c *Client) AddConnection(ctx context.Context, clusterID, endpointID string) (Connection, error) {
	var out Connection
	err := c.call(ctx, http.MethodPost, networking(clusterID, "private-endpoint-connections"), nil,
		AddConnectionRequest{EndpointID: endpointID}, &out)
	return out, err
}

// DeleteConnection takes the connection away: gateways cut its flows at once, the cloud follows. It is idempotent.
func (c *Client) DeleteConnection(ctx context.Context, clusterID, endpointID string) error {
	return c.call(ctx, http.MethodDelete, networking(clusterID, "private-endpoint-connections", endpointID), nil, nil, nil)
}

// ConnectionEvents returns a page of the connection's history, oldest first.
func (c *Client) ConnectionEvents(ctx context.Context, clusterID, endpointID string, p Page) (EventList, error) {
	return c.events(ctx, networking(clusterID, "private-endpoint-connections", endpointID, "events"), p)
}

// AWSEndpointConnection is an endpoint as the cloud shows it to the vendor, registered or not. Its status words are
// those of Connection without their STATUS_ prefix.
type AWSEndpointConnection struct {
	RegionName      string      `json:"region_name"`
	CloudProvider   string      `json:"cloud_provider" enum:"AWS"`
	Status          string      `json:"status" enum:"PENDING,PENDING_ACCEPTANCE,AVAILABLE,DELETING,DELETED,REJECTED,FAILED,EXPIRED"`
	EndpointID      string      `json:"endpoint_id"`
	ServiceID       string      `json:"service_id"`
	ExternalOwnerID string      `json:"external_owner_id,omitempty"`
	Conditions      []Condition `json:"conditions"`
	CreatedAt       time.Time   `json:"created_at,omitzero" doc:"When it was registered; absent when it is not"`
	UpdatedAt       time.Time   `json:"updated_at" doc:"When it last changed or was last seen"`
}

// AWSEndpointConnectionList is the answer of GET aws-endpoint-connections.
type AWSEndpointConnectionList struct {
	Connections []AWSEndpointConnection `json:"connections"`
}

// SetAWSEndpointConnectionRequest lets an endpoint in, whoever owns it, or turns it away.
type SetAWSEndpointConnectionRequest struct {
	Status string `json:"status" enum:"AVAILABLE,REJECTED"`
}

// AWSEndpointConnections lists the endpoints at the cloud that are registered with the cluster or belong to one of its
// trusted owners.
func (c *Client) AWSEndpointConnections(ctx context.Context, clusterID string) ([]AWSEndpointConnection, error) {
	var out AWSEndpointConnectionList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "aws-endpoint-connections"), nil, nil, &out)
	return out.Connections, err
}

// SetAWSEndpointConnection asks for the endpoint to be let in ("AVAILABLE") or turned away ("REJECTED") and returns it
// as it was before.
func (c *Client) SetAWSEndpointConnection(ctx context.Context, clusterID, endpointID, status string) (AWSEndpointConnection, error) {
	var out AWSEndpointConnection
	err := c.call(ctx, http.MethodPatch, networking(clusterID, "aws-endpoint-connections", endpointID), nil,
		SetAWSEndpointConnectionRequest{Status: status}, &out)
	return out, err
}
