package api

import (
	"context"
	"net/http"
	"time"
)

// Project groups clusters of one organisation.
type Project struct {
	ID             string      `json:"id" format:"uuid"`
	OrganisationID string      `json:"organisation_id,omitempty" doc:"Absent for one of the vendor's own"`
	Name           string      `json:"name" doc:"Unique in the organisation"`
	Conditions     []Condition `json:"conditions"`
	CreatedAt      time.Time   `json:"created_at"`
	UpdatedAt      time.Time   `json:"updated_at"`
}

// ProjectList is a page of projects.
type ProjectList struct {
	Projects   []Project  `json:"projects"`
	Pagination Pagination `json:"pagination"`
}

// CreateProjectRequest asks for a project. A name that the organisation has already gives that project.
type CreateProjectRequest struct {
	OrganisationID string `json:"organisation_id,omitempty" doc:"Absent for one of the vendor's own"`
	Name           string `json:"name" doc:"Unique in the organisation"`
}

// UpdateProjectRequest changes what is set in it.
type UpdateProjectRequest struct {
	Name *string `json:"name,omitempty" doc:"Unique in the organisation"`
}

// Projects returns a page of the projects that the caller may see, oldest first.
func (c *Client) Projects(ctx context.Context, p Page) (ProjectList, error) {
	var out ProjectList
	err := c.call(ctx, http.MethodGet, path("projects"), p.query(), nil, &out)
	return out, err
}

// Project returns one project.
func (c *Client) Project(ctx context.Context, id string) (Project, error) {
	var out Project
	err := c.call(ctx, http.MethodGet, path("projects", id), nil, nil, &out)
	return out, err
}

// CreateProject makes a project; with the name of one that exists it returns that one.
func (c *Client) CreateProject(ctx context.Context, req CreateProjectRequest) (Project, error) {
	var out Project
	err := c.call(ctx, http.MethodPost, path("projects"), nil, req, &out)
	return out, err
}

// UpdateProject changes a project.
func (c *Client) UpdateProject(ctx context.Context, id string, req UpdateProjectRequest) (Project, error) {
	var out Project
	err := c.call(ctx, http.MethodPatch, path("projects", id), nil, req, &out)
	return out, err
}

// DeleteProject removes a project with the roles in it. It is refused while the project has clusters.
func (c *Client) DeleteProject(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("projects", id), nil, nil, nil)
}

// ProjectEvents returns a page of the project's history, oldest first.
func (c *Client) ProjectEvents(ctx context.Context, id string, p Page) (EventList, error) {
	return c.events(ctx, path("projects", id, "events"), p)
}
