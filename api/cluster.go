package api

import (
	"context"
	"net/http"
	"time"
)

// Cluster is one deployment of the vendor's service. State, Plan and Config are what the published API's clients want
// to see; they say nothing of ours.
type Cluster struct {
	ID                string          `json:"id" format:"uuid"`
	ProjectID         string          `json:"project_id" format:"uuid"`
	Name              string          `json:"name" doc:"DNS label, unique in the installation"`
	CloudProvider     string          `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	State             string          `json:"state" enum:"CREATED"`
	Plan              string          `json:"plan" enum:"DEDICATED"`
	Config            ClusterConfig   `json:"config"`
	Regions           []ClusterRegion `json:"regions"`
	CustomNames       []string        `json:"custom_names" doc:"Names of the customer's own that lead here too, by the private door and the public one"`
	NetworkVisibility string          `json:"network_visibility" enum:"PUBLIC,PRIVATE" doc:"PRIVATE when public access is disabled"`
	PublicAccess      string          `json:"public_access" enum:"ENABLED,REPORT_ONLY,DISABLED"`
	Backends          []string        `json:"backends" doc:"host:port of the vendor's servers; TLS is passed through to them unread"`
	Conditions        []Condition     `json:"conditions"`
	CreatedAt         time.Time       `json:"created_at"`
	UpdatedAt         time.Time       `json:"updated_at"`
}

// ClusterConfig is there for clients of the published API, which choose by the field that is set.
type ClusterConfig struct {
	Dedicated struct{} `json:"dedicated"`
}

// ClusterRegion is a region of a cluster and the names by which the cluster is reached in it.
type ClusterRegion struct {
	Name               string `json:"name"`
	SQLDNS             string `json:"sql_dns" doc:"The public name"`
	UIDNS              string `json:"ui_dns" doc:"The public name"`
	InternalDNS        string `json:"internal_dns" doc:"The private name"`
	PrivateEndpointDNS string `json:"private_endpoint_dns" doc:"The private name"`
}

// ClusterList is a page of clusters.
type ClusterList struct {
	Clusters   []Cluster  `json:"clusters"`
	Pagination Pagination `json:"pagination"`
}

// CreateClusterRequest asks for a cluster.
type CreateClusterRequest struct {
	ProjectID     string   `json:"project_id" doc:"The project that it belongs to"`
	Name          string   `json:"name" doc:"DNS label, unique in the installation: it stands in the cluster's names"`
	CloudProvider string   `json:"cloud_provider" enum:"AWS,GCP,AZURE"`
	Regions       []string `json:"regions" doc:"Names of the regions in which it is reached"`
	Backends      []string `json:"backends,omitempty" doc:"host:port of the vendor's servers"`
	PublicAccess  string   `json:"public_access,omitempty" enum:"ENABLED,REPORT_ONLY,DISABLED" doc:"ENABLED when absent"`
}

// UpdateClusterRequest changes what is set in it.
type UpdateClusterRequest struct {
	Backends    *[]string `json:"backends,omitempty" doc:"host:port of the vendor's servers; replaces all"`
	CustomNames *[]string `json:"custom_names,omitempty" doc:"Names of the customer's own that lead here too; replaces all. Each is one cluster's, with everything below it"`
}

// PublicAccess is the state of a cluster's public door.
type PublicAccess struct {
	Mode string `json:"mode" enum:"ENABLED,REPORT_ONLY,DISABLED" doc:"REPORT_ONLY lets everybody pass and records who would be refused"`
}

// Clusters returns a page of clusters, oldest first.
func (c *Client) Clusters(ctx context.Context, p Page) (ClusterList, error) {
	var out ClusterList
	err := c.call(ctx, http.MethodGet, path("clusters"), p.query(), nil, &out)
	return out, err
}

// Cluster returns one cluster.
func (c *Client) Cluster(ctx context.Context, id string) (Cluster, error) {
	var out Cluster
	err := c.call(ctx, http.MethodGet, path("clusters", id), nil, nil, &out)
	return out, err
}

// CreateCluster makes a cluster. Its allow list starts with everyone.
func (c *Client) CreateCluster(ctx context.Context, req CreateClusterRequest) (Cluster, error) {
	var out Cluster
	err := c.call(ctx, http.MethodPost, path("clusters"), nil, req, &out)
	return out, err
}

// UpdateCluster changes a cluster.
func (c *Client) UpdateCluster(ctx context.Context, id string, req UpdateClusterRequest) (Cluster, error) {
	var out Cluster
	err := c.call(ctx, http.MethodPatch, path("clusters", id), nil, req, &out)
	return out, err
}

// DeleteCluster removes a cluster. It is refused while the cluster has connections.
func (c *Client) DeleteCluster(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("clusters", id), nil, nil, nil)
}

// ClusterEvents returns a page of the cluster's history, with that of its allow list and public access, oldest first.
func (c *Client) ClusterEvents(ctx context.Context, id string, p Page) (EventList, error) {
	return c.events(ctx, path("clusters", id, "events"), p)
}

// PublicAccess returns the state of the cluster's public door.
func (c *Client) PublicAccess(ctx context.Context, clusterID string) (PublicAccess, error) {
	var out PublicAccess
	err := c.call(ctx, http.MethodGet, networking(clusterID, "public-access"), nil, nil, &out)
	return out, err
}

// SetPublicAccess opens or closes the cluster's public door. mode is ENABLED, REPORT_ONLY or DISABLED.
func (c *Client) SetPublicAccess(ctx context.Context, clusterID, mode string) (PublicAccess, error) {
	var out PublicAccess
	err := c.call(ctx, http.MethodPut, networking(clusterID, "public-access"), nil, PublicAccess{Mode: mode}, &out)
	return out, err
}
