package api

import (
	"context"
	"net/http"
	"time"
)

// Claim lets whoever knows its code have one endpoint approved for a cluster, by one TLS connection through the endpoint
// to the claim's name. Nobody has to type an endpoint id.
type Claim struct {
	ID         string    `json:"id" format:"uuid"`
	ClusterID  string    `json:"cluster_id" format:"uuid"`
	RegionName string    `json:"region_name" doc:"Whose service the endpoint belongs to"`
	State      string    `json:"state" enum:"OPEN,USED,REVOKED,EXPIRED"`
	EndpointID string    `json:"endpoint_id,omitempty" doc:"That used it"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	UsedAt     time.Time `json:"used_at,omitzero" doc:"Absent unless it was used"`
	RevokedAt  time.Time `json:"revoked_at,omitzero" doc:"Absent unless it was revoked"`
}

// NewClaim is a claim with what is shown at its creation and never again.
type NewClaim struct {
	Claim
	Code    string `json:"code" doc:"Who knows it can use the claim; it is shown now and kept nowhere"`
	Name    string `json:"name" doc:"The server name to speak through the endpoint"`
	Command string `json:"command" doc:"Does it, in a shell in the endpoint's network whose ENDPOINT_DNS is the endpoint's own DNS name"`
}

// ClaimList is a page of a cluster's claims.
type ClaimList struct {
	Claims     []Claim    `json:"claims"`
	Pagination Pagination `json:"pagination"`
}

// CreateClaimRequest asks for a claim.
type CreateClaimRequest struct {
	TTLSeconds int    `json:"ttl_seconds,omitempty" minimum:"60" maximum:"86400" doc:"How long it is good; 3600 when absent"`
	RegionName string `json:"region_name,omitempty" doc:"A region of the cluster; may be absent when it has one"`
}

// CreateClaim makes a claim. Every call makes another one.
func (c *Client) CreateClaim(ctx context.Context, clusterID string, req CreateClaimRequest) (NewClaim, error) {
	var out NewClaim
	err := c.call(ctx, http.MethodPost, networking(clusterID, "claims"), nil, req, &out)
	return out, err
}

// Claims returns a page of the cluster's claims, oldest first. They show no codes.
func (c *Client) Claims(ctx context.Context, clusterID string, p Page) (ClaimList, error) {
	var out ClaimList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "claims"), p.query(), nil, &out)
	return out, err
}

// Claim returns one claim, without its code.
func (c *Client) Claim(ctx context.Context, clusterID, claimID string) (Claim, error) {
	var out Claim
	err := c.call(ctx, http.MethodGet, networking(clusterID, "claims", claimID), nil, nil, &out)
	return out, err
}

// RevokeClaim ends an open claim and returns it. One that is over already is returned as it is; a used one cannot be
// revoked.
func (c *Client) RevokeClaim(ctx context.Context, clusterID, claimID string) (Claim, error) {
	var out Claim
	err := c.call(ctx, http.MethodDelete, networking(clusterID, "claims", claimID), nil, nil, &out)
	return out, err
}
