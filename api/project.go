package api

import (
	"context"
	"net/http"
	"time"
)

// Project groups the clusters of one customer.
type Project struct {
	ID         string      `json:"id" format:"uuid"`
	Name       string      `json:"name"`
	Conditions []Condition `json:"conditions"`
	CreatedAt  time.Time   `json:"created_at"`
	UpdatedAt  time.Time   `json:"updated_at"`
}

// ProjectList is the answer of GET /projects.
type ProjectList struct {
	Projects []Project `json:"projects"`
}

// CreateProjectRequest asks for a project. A name that exists already gives that project.
type CreateProjectRequest struct {
	Name string `json:"name" doc:"Unique in the installation"`
}

// Projects lists all projects, oldest first.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	var out ProjectList
	err := c.call(ctx, http.MethodGet, path("projects"), nil, nil, &out)
	return out.Projects, err
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

// ProjectEvents returns a page of the project's history, oldest first.
func (c *Client) ProjectEvents(ctx context.Context, id string, p Page) (EventList, error) {
	return c.events(ctx, path("projects", id, "events"), p)
}
