package api

import (
	"context"
	"net/http"
	"time"
)

// TrustedOwner is a cloud account whose endpoints a cluster, or a project for its own connections, accepts.
type TrustedOwner struct {
	ID              string      `json:"id" format:"uuid"`
	ClusterID       string      `json:"cluster_id,omitempty" format:"uuid" doc:"Absent for a project's"`
	ProjectID       string      `json:"project_id,omitempty" format:"uuid" doc:"Absent for a cluster's"`
	Type            string      `json:"type" enum:"AWS_ACCOUNT_ID,AZURE_SUBSCRIPTION_ID,GCP_PROJECT_ID"`
	ExternalOwnerID string      `json:"external_owner_id" doc:"The account's id; * trusts every account"`
	Conditions      []Condition `json:"conditions"`
	CreatedAt       time.Time   `json:"created_at"`
	UpdatedAt       time.Time   `json:"updated_at"`
}

// TrustedOwnerList is the answer of GET private-endpoint-trusted-owners.
type TrustedOwnerList struct {
	TrustedOwners []TrustedOwner `json:"trusted_owners"`
}

// TrustedOwnerAnswer wraps one trusted owner, as the published API does.
type TrustedOwnerAnswer struct {
	TrustedOwner TrustedOwner `json:"trusted_owner"`
}

// AddTrustedOwnerRequest trusts an account.
type AddTrustedOwnerRequest struct {
	Type            string `json:"type" enum:"AWS_ACCOUNT_ID,AZURE_SUBSCRIPTION_ID,GCP_PROJECT_ID"`
	ExternalOwnerID string `json:"external_owner_id" doc:"The account's id; * trusts every account" example:"123456789012"`
}

// TrustedOwners lists the accounts that the cluster trusts, oldest first.
func (c *Client) TrustedOwners(ctx context.Context, clusterID string) ([]TrustedOwner, error) {
	var out TrustedOwnerList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "private-endpoint-trusted-owners"), nil, nil, &out)
	return out.TrustedOwners, err
}

// TrustedOwner returns one trusted owner.
func (c *Client) TrustedOwner(ctx context.Context, clusterID, ownerID string) (TrustedOwner, error) {
	var out TrustedOwnerAnswer
	err := c.call(ctx, http.MethodGet, networking(clusterID, "private-endpoint-trusted-owners", ownerID), nil, nil, &out)
	return out.TrustedOwner, err
}

// AddTrustedOwner trusts an account. It is idempotent.
func (c *Client) AddTrustedOwner(ctx context.Context, clusterID string, req AddTrustedOwnerRequest) (TrustedOwner, error) {
	var out TrustedOwnerAnswer
	err := c.call(ctx, http.MethodPost, networking(clusterID, "private-endpoint-trusted-owners"), nil, req, &out)
	return out.TrustedOwner, err
}

// RemoveTrustedOwner stops trusting an account and returns what it was. Its endpoints are turned away unless another
// cluster trusts it or an admin approved them.
func (c *Client) RemoveTrustedOwner(ctx context.Context, clusterID, ownerID string) (TrustedOwner, error) {
	var out TrustedOwnerAnswer
	err := c.call(ctx, http.MethodDelete, networking(clusterID, "private-endpoint-trusted-owners", ownerID), nil, nil, &out)
	return out.TrustedOwner, err
}

// TrustedOwnerEvents returns a page of the trusted owner's history, oldest first.
func (c *Client) TrustedOwnerEvents(ctx context.Context, clusterID, ownerID string, p Page) (EventList, error) {
	return c.events(ctx, networking(clusterID, "private-endpoint-trusted-owners", ownerID, "events"), p)
}
