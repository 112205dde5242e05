package api

import (
	"context"
	"net/http"
	"time"
)

// Organisation is one customer: it holds projects, service accounts and members.
type Organisation struct {
	ID        string    `json:"id" format:"uuid"`
	Name      string    `json:"name" doc:"Unique in the installation"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// OrganisationList is a page of organisations.
type OrganisationList struct {
	Organisations []Organisation `json:"organisations"`
	Pagination    Pagination     `json:"pagination"`
}

// CreateOrganisationRequest asks for an organisation. A name that exists already gives that organisation.
type CreateOrganisationRequest struct {
	Name string `json:"name" doc:"Unique in the installation"`
}

// UpdateOrganisationRequest changes what is set in it.
type UpdateOrganisationRequest struct {
	Name *string `json:"name,omitempty" doc:"Unique in the installation"`
}

// Organisations returns a page of the organisations that the caller may see, oldest first.
func (c *Client) Organisations(ctx context.Context, p Page) (OrganisationList, error) {
	var out OrganisationList
	err := c.call(ctx, http.MethodGet, path("organisations"), p.query(), nil, &out)
	return out, err
}

// Organisation returns one organisation.
func (c *Client) Organisation(ctx context.Context, id string) (Organisation, error) {
	var out Organisation
	err := c.call(ctx, http.MethodGet, path("organisations", id), nil, nil, &out)
	return out, err
}

// CreateOrganisation makes an organisation; with the name of one that exists it returns that one.
func (c *Client) CreateOrganisation(ctx context.Context, req CreateOrganisationRequest) (Organisation, error) {
	var out Organisation
	err := c.call(ctx, http.MethodPost, path("organisations"), nil, req, &out)
	return out, err
}

// UpdateOrganisation changes an organisation.
func (c *Client) UpdateOrganisation(ctx context.Context, id string, req UpdateOrganisationRequest) (Organisation, error) {
	var out Organisation
	err := c.call(ctx, http.MethodPatch, path("organisations", id), nil, req, &out)
	return out, err
}

// DeleteOrganisation removes an organisation with its service accounts and the roles in it. It is refused while the
// organisation has projects.
func (c *Client) DeleteOrganisation(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("organisations", id), nil, nil, nil)
}

// OrganisationEvents returns a page of the organisation's history, oldest first.
func (c *Client) OrganisationEvents(ctx context.Context, id string, p Page) (EventList, error) {
	return c.events(ctx, path("organisations", id, "events"), p)
}
