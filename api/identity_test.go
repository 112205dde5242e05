package api

import (
	"context"
	"testing"
)

// Every request about organisations, people, service accounts and their roles.
func TestIdentityRequests(t *testing.T) {
	name, yes := "acme", true
	page := Page{Limit: 7}
	const body = ` {"name":"acme"}`
	cluster := Scope{Scope: "CLUSTER", ScopeID: "c1"}
	sends(t, map[string]request{
		"UpdateProject": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateProject(ctx, "p1", UpdateProjectRequest{Name: &name})
		}), "PATCH /api/v1/projects/p1" + body},
		"DeleteProject": {func(ctx context.Context, c *Client) error { return c.DeleteProject(ctx, "p1") }, "DELETE /api/v1/projects/p1"},
		"CreateProject in an organisation": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateProject(ctx, CreateProjectRequest{OrganisationID: "o1", Name: "acme"})
		}), `POST /api/v1/projects {"organisation_id":"o1","name":"acme"}`},

		"Organisations": {ask(func(ctx context.Context, c *Client) (any, error) { return c.Organisations(ctx, page) }), "GET /api/v1/organisations?pagination.limit=7"},
		"Organisation":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.Organisation(ctx, "o1") }), "GET /api/v1/organisations/o1"},
		"CreateOrganisation": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateOrganisation(ctx, CreateOrganisationRequest{Name: "acme"})
		}), "POST /api/v1/organisations" + body},
		"UpdateOrganisation": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateOrganisation(ctx, "o1", UpdateOrganisationRequest{Name: &name})
		}), "PATCH /api/v1/organisations/o1" + body},
		"DeleteOrganisation": {func(ctx context.Context, c *Client) error { return c.DeleteOrganisation(ctx, "o1") }, "DELETE /api/v1/organisations/o1"},
		"OrganisationEvents": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.OrganisationEvents(ctx, "o1", page)
		}), "GET /api/v1/organisations/o1/events?pagination.limit=7"},

		"ServiceAccounts": {ask(func(ctx context.Context, c *Client) (any, error) { return c.ServiceAccounts(ctx, page) }), "GET /api/v1/service-accounts?pagination.limit=7"},
		"ServiceAccount":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.ServiceAccount(ctx, "s1") }), "GET /api/v1/service-accounts/s1"},
		"CreateServiceAccount": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateServiceAccount(ctx, CreateServiceAccountRequest{Name: "acme"})
		}), "POST /api/v1/service-accounts" + body},
		"UpdateServiceAccount": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateServiceAccount(ctx, "s1", UpdatePrincipalRequest{Disabled: &yes})
		}), `PATCH /api/v1/service-accounts/s1 {"disabled":true}`},
		"DeleteServiceAccount": {func(ctx context.Context, c *Client) error { return c.DeleteServiceAccount(ctx, "s1") }, "DELETE /api/v1/service-accounts/s1"},

		"People": {ask(func(ctx context.Context, c *Client) (any, error) { return c.People(ctx, page) }), "GET /api/v1/people?pagination.limit=7"},
		"Person": {ask(func(ctx context.Context, c *Client) (any, error) { return c.Person(ctx, "h1") }), "GET /api/v1/people/h1"},
		"CreatePerson": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreatePerson(ctx, CreatePersonRequest{Email: "ann@acme.example"})
		}), `POST /api/v1/people {"email":"ann@acme.example"}`},
		"UpdatePerson": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdatePerson(ctx, "h1", UpdatePrincipalRequest{Name: &name})
		}), "PATCH /api/v1/people/h1" + body},
		"DeletePerson": {func(ctx context.Context, c *Client) error { return c.DeletePerson(ctx, "h1") }, "DELETE /api/v1/people/h1"},

		"Me":      {ask(func(ctx context.Context, c *Client) (any, error) { return c.Me(ctx) }), "GET /api/v1/me"},
		"Members": {ask(func(ctx context.Context, c *Client) (any, error) { return c.Members(ctx, cluster, page) }), "GET /api/v1/members?pagination.limit=7&scope=CLUSTER&scope_id=c1"},
		"Members of the installation": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.Members(ctx, Scope{Scope: "INSTALLATION"}, Page{})
		}), "GET /api/v1/members?scope=INSTALLATION"},
		"AddMember": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.AddMember(ctx, AddMemberRequest{Scope: cluster, Role: "VIEWER", ServiceAccountID: "s1"})
		}), `POST /api/v1/members {"scope":"CLUSTER","scope_id":"c1","role":"VIEWER","service_account_id":"s1"}`},
		"RemoveMember": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.RemoveMember(ctx, cluster, "s1", "VIEWER")
		}), "DELETE /api/v1/members/s1/VIEWER?scope=CLUSTER&scope_id=c1"},
	})
}
