package api

import (
	"context"
	"net/http"
	"time"
)

// Principal is a person or a service account: who may be given roles.
type Principal struct {
	ID             string    `json:"id" format:"uuid"`
	Kind           string    `json:"kind" enum:"PERSON,SERVICE_ACCOUNT"`
	OrganisationID string    `json:"organisation_id,omitempty" doc:"Of a service account; absent for the vendor's own, and for a person"`
	Name           string    `json:"name"`
	Email          string    `json:"email,omitempty" doc:"Of a person"`
	Disabled       bool      `json:"disabled" doc:"It may do nothing, whatever its roles"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
}

// ServiceAccountList is a page of service accounts.
type ServiceAccountList struct {
	ServiceAccounts []Principal `json:"service_accounts"`
	Pagination      Pagination  `json:"pagination"`
}

// PersonList is a page of people.
type PersonList struct {
	People     []Principal `json:"people"`
	Pagination Pagination  `json:"pagination"`
}

// CreateServiceAccountRequest asks for a service account. A name that the organisation has already gives that one.
type CreateServiceAccountRequest struct {
	OrganisationID string `json:"organisation_id,omitempty" doc:"Absent for one of the vendor's own"`
	Name           string `json:"name" doc:"Unique in the organisation"`
}

// CreatePersonRequest asks for a person. An address that is known already gives that person.
type CreatePersonRequest struct {
	Email string `json:"email" doc:"Unique in the installation, whatever its case"`
	Name  string `json:"name,omitempty" doc:"The address when absent"`
}

// UpdatePrincipalRequest changes what is set in it.
type UpdatePrincipalRequest struct {
	Name     *string `json:"name,omitempty"`
	Disabled *bool   `json:"disabled,omitempty" doc:"true takes every right away at once, false gives them back"`
}

// ServiceAccounts returns a page of the service accounts that the caller may see, oldest first.
func (c *Client) ServiceAccounts(ctx context.Context, p Page) (ServiceAccountList, error) {
	var out ServiceAccountList
	err := c.call(ctx, http.MethodGet, path("service-accounts"), p.query(), nil, &out)
	return out, err
}

// ServiceAccount returns one service account.
func (c *Client) ServiceAccount(ctx context.Context, id string) (Principal, error) {
	var out Principal
	err := c.call(ctx, http.MethodGet, path("service-accounts", id), nil, nil, &out)
	return out, err
}

// CreateServiceAccount makes a service account, which may nothing until it is given a role; with the name of one that
// the organisation has it returns that one.
func (c *Client) CreateServiceAccount(ctx context.Context, req CreateServiceAccountRequest) (Principal, error) {
	var out Principal
	err := c.call(ctx, http.MethodPost, path("service-accounts"), nil, req, &out)
	return out, err
}

// UpdateServiceAccount changes a service account.
func (c *Client) UpdateServiceAccount(ctx context.Context, id string, req UpdatePrincipalRequest) (Principal, error) {
	var out Principal
	err := c.call(ctx, http.MethodPatch, path("service-accounts", id), nil, req, &out)
	return out, err
}

// DeleteServiceAccount removes a service account with its roles and keys.
func (c *Client) DeleteServiceAccount(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("service-accounts", id), nil, nil, nil)
}

// People returns a page of all people, oldest first.
func (c *Client) People(ctx context.Context, p Page) (PersonList, error) {
	var out PersonList
	err := c.call(ctx, http.MethodGet, path("people"), p.query(), nil, &out)
	return out, err
}

// Person returns one person.
func (c *Client) Person(ctx context.Context, id string) (Principal, error) {
	var out Principal
	err := c.call(ctx, http.MethodGet, path("people", id), nil, nil, &out)
	return out, err
}

// CreatePerson makes a person, who may nothing until given a role; with an address that is known it returns that person.
func (c *Client) CreatePerson(ctx context.Context, req CreatePersonRequest) (Principal, error) {
	var out Principal
	err := c.call(ctx, http.MethodPost, path("people"), nil, req, &out)
	return out, err
}

// UpdatePerson changes a person.
func (c *Client) UpdatePerson(ctx context.Context, id string, req UpdatePrincipalRequest) (Principal, error) {
	var out Principal
	err := c.call(ctx, http.MethodPatch, path("people", id), nil, req, &out)
	return out, err
}

// DeletePerson removes a person with all roles.
func (c *Client) DeletePerson(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("people", id), nil, nil, nil)
}
