package api

import (
	"context"
	"net/http"
	"time"
)

// APIKey is a key by which a program speaks for a person or a service account.
type APIKey struct { //nolint:revive // so the field calls it; a key alone may be anything
	ID          string    `json:"id" format:"uuid"`
	PrincipalID string    `json:"principal_id" format:"uuid"`
	Name        string    `json:"name"`
	Prefix      string    `json:"prefix" doc:"The beginning of the key, by which it is known again"`
	State       string    `json:"state" enum:"ACTIVE,EXPIRED,REVOKED"`
	Ceiling     string    `json:"ceiling,omitempty" enum:"VIEWER,CLUSTER_OPERATOR,CLUSTER_ADMIN,PROJECT_ADMIN,ORGANISATION_ADMIN,OPERATOR" doc:"Higher roles count as this one; absent for no ceiling"`
	Scope       *Scope    `json:"scope,omitempty" doc:"Roles count within it alone; absent for everywhere"`
	CreatedBy   string    `json:"created_by"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at,omitzero" doc:"Absent when it does not"`
	LastUsedAt  time.Time `json:"last_used_at,omitzero" doc:"To a minute; absent when it never was"`
	RevokedAt   time.Time `json:"revoked_at,omitzero" doc:"Absent unless it was"`
}

// NewAPIKey is a key with what is shown at its creation and never again.
type NewAPIKey struct {
	APIKey
	Key string `json:"key" doc:"To send as Authorization: Bearer; it is shown now and kept nowhere"`
}

// APIKeyList is a page of a principal's keys.
type APIKeyList struct { //nolint:revive // as APIKey
	APIKeys    []APIKey   `json:"api_keys"`
	Pagination Pagination `json:"pagination"`
}

// CreateAPIKeyRequest asks for a key.
type CreateAPIKeyRequest struct {
	Name         string `json:"name" doc:"What it is for"`
	Ceiling      string `json:"ceiling,omitempty" enum:"VIEWER,CLUSTER_OPERATOR,CLUSTER_ADMIN,PROJECT_ADMIN,ORGANISATION_ADMIN,OPERATOR" doc:"Higher roles count as this one"`
	Scope        *Scope `json:"scope,omitempty" doc:"Roles count within it alone"`
	TTLSeconds   int    `json:"ttl_seconds,omitempty" minimum:"60" maximum:"31622400" doc:"How long it is good; 90 days when absent"`
	NeverExpires bool   `json:"never_expires,omitempty" doc:"In the place of ttl_seconds; for the vendor's own alone"`
}

// CreateAPIKey makes a key. Every call makes another one.
func (c *Client) CreateAPIKey(ctx context.Context, principalID string, req CreateAPIKeyRequest) (NewAPIKey, error) {
	var out NewAPIKey
	err := c.call(ctx, http.MethodPost, path("principals", principalID, "api-keys"), nil, req, &out)
	return out, err
}

// APIKeys returns a page of a principal's keys, oldest first.
func (c *Client) APIKeys(ctx context.Context, principalID string, p Page) (APIKeyList, error) {
	var out APIKeyList
	err := c.call(ctx, http.MethodGet, path("principals", principalID, "api-keys"), p.query(), nil, &out)
	return out, err
}

// RevokeAPIKey ends a key at once and returns it. One that was revoked before is returned as it is.
func (c *Client) RevokeAPIKey(ctx context.Context, principalID, keyID string) (APIKey, error) {
	var out APIKey
	err := c.call(ctx, http.MethodDelete, path("principals", principalID, "api-keys", keyID), nil, nil, &out)
	return out, err
}
