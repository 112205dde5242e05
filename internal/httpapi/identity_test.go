package httpapi_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// as is a client of a principal that has the grants of c, by an API key: of the principal of c's id, or of a new person.
func (w *world) as(t *testing.T, c policy.Caller) *api.Client {
	t.Helper()
	return api.New(w.url, w.tokenOf(t, c, false))
}

// tokenOf makes the token by which as speaks: an API key, or a session.
func (w *world) tokenOf(t *testing.T, c policy.Caller, session bool) (token string) {
	t.Helper()
	err := w.store.Write(t.Context(), func(tx *store.Tx) error {
		if c.ID == "" {
			p, _, err := tx.AddPrincipal(link.Principal{Kind: link.Person, Name: c.Name, Email: string(link.NewID()) + "@members.example"})
			if err != nil {
				return err
			}
			c.ID = p.ID
		}
		for _, g := range c.Grants {
			if _, _, err := tx.AddGrant(link.Grant{PrincipalID: c.ID, Role: g.Role, Scope: g.Scope}); err != nil {
				return err
			}
		}
		if session {
			token = identity.NewToken(identity.SessionToken)
			s := link.Session{ID: link.NewID(), PrincipalID: c.ID, Method: link.ByPassword, ExpiresAt: tx.Now().Add(time.Hour)}
			_, err := tx.AddSession(s, identity.TokenHash(token), time.Hour)
			return err
		}
		k := link.APIKey{ID: link.NewID(), PrincipalID: c.ID, Name: "test", ExpiresAt: tx.Now().Add(time.Hour)}
		token = identity.NewKey(k.ID)
		_, err := tx.AddAPIKey(k, identity.TokenHash(token))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestOrganisationsPeopleAndRoles(t *testing.T) {
	w := newWorld(t)
	ctx, c := t.Context(), w.client
	name, yes := "acme gmbh", true

	o := must(c.CreateOrganisation(ctx, api.CreateOrganisationRequest{Name: "acme"}))(t)
	same(t, o, must(c.CreateOrganisation(ctx, api.CreateOrganisationRequest{Name: "acme"}))(t))
	same(t, o, must(c.Organisation(ctx, o.ID))(t))
	o = must(c.UpdateOrganisation(ctx, o.ID, api.UpdateOrganisationRequest{Name: &name}))(t)
	same(t, o, must(c.UpdateOrganisation(ctx, o.ID, api.UpdateOrganisationRequest{}))(t))
	same(t, []api.Organisation{o}, must(c.Organisations(ctx, api.Page{}))(t).Organisations)
	history(t, must(c.OrganisationEvents(ctx, o.ID, api.Page{}))(t))

	// The vendor's project acme and the customer's are two.
	p := must(c.CreateProject(ctx, api.CreateProjectRequest{OrganisationID: o.ID, Name: "acme"}))(t)
	if p.OrganisationID != o.ID || p.ID == w.cluster.ProjectID {
		t.Errorf("project %+v", p)
	}
	p = must(c.UpdateProject(ctx, p.ID, api.UpdateProjectRequest{Name: &name}))(t)
	same(t, p, must(c.UpdateProject(ctx, p.ID, api.UpdateProjectRequest{}))(t))

	robot := must(c.CreateServiceAccount(ctx, api.CreateServiceAccountRequest{OrganisationID: o.ID, Name: "deploy"}))(t)
	same(t, robot, must(c.ServiceAccount(ctx, robot.ID))(t))
	ann := must(c.CreatePerson(ctx, api.CreatePersonRequest{Email: "Ann@acme.example", Name: "Ann"}))(t)
	same(t, ann, must(c.Person(ctx, ann.ID))(t))
	same(t, []api.Principal{ann}, must(c.People(ctx, api.Page{}))(t).People)
	if ann.Email != "ann@acme.example" || ann.Kind != "PERSON" || robot.Kind != "SERVICE_ACCOUNT" || robot.OrganisationID != o.ID {
		t.Errorf("%+v, %+v", ann, robot)
	}
	// Neither is found by the way of the other.
	if _, err := c.Person(ctx, robot.ID); api.Reason(err) != "PRINCIPAL_NOT_FOUND" {
		t.Errorf("a service account as a person: %v", err)
	}

	at := api.Scope{Scope: "PROJECT", ScopeID: p.ID}
	m := must(c.AddMember(ctx, api.AddMemberRequest{Scope: at, Role: "PROJECT_ADMIN", Email: ann.Email}))(t)
	same(t, m, must(c.AddMember(ctx, api.AddMemberRequest{Scope: at, Role: "PROJECT_ADMIN", Email: ann.Email}))(t))
	n := must(c.AddMember(ctx, api.AddMemberRequest{Scope: at, Role: "VIEWER", ServiceAccountID: robot.ID}))(t)
	same(t, []api.Member{m, n}, must(c.Members(ctx, api.Scope{Scope: "ORGANISATION", ScopeID: o.ID}, api.Page{}))(t).Members)
	if m.PrincipalID != ann.ID || m.Scope != at || m.Role != "PROJECT_ADMIN" || n.Name != "deploy" {
		t.Errorf("%+v, %+v", m, n)
	}
	me := must(w.as(t, policy.Caller{ID: link.ID(ann.ID), Role: policy.Member, Grants: []link.Grant{{
		Role: link.RoleProjectAdmin, Scope: link.Scope{Kind: link.ScopeProject, ID: link.ID(p.ID)},
	}}}).Me(ctx))(t)
	if me.Email != ann.Email || me.Role != "member" || len(me.Grants) != 1 || me.Grants[0].Scope != at {
		t.Errorf("%+v", me)
	}
	if me := must(c.Me(ctx))(t); me.Role != "operator" || me.Name != "alice" || me.PrincipalID != "" {
		t.Errorf("%+v", me)
	}

	same(t, n, must(c.RemoveMember(ctx, at, robot.ID, "VIEWER"))(t))
	if p := must(c.UpdateServiceAccount(ctx, robot.ID, api.UpdatePrincipalRequest{Disabled: &yes}))(t); !p.Disabled {
		t.Errorf("%+v", p)
	}
	if p := must(c.UpdatePerson(ctx, ann.ID, api.UpdatePrincipalRequest{Name: &name}))(t); p.Name != name {
		t.Errorf("%+v", p)
	}
	if err := c.DeleteOrganisation(ctx, o.ID); api.Reason(err) != "PROJECTS_EXIST" {
		t.Errorf("an organisation with a project: %v", err)
	}
	for what, err := range map[string]error{"service account": c.DeleteServiceAccount(ctx, robot.ID), "person": c.DeletePerson(ctx, ann.ID), "project": c.DeleteProject(ctx, p.ID)} {
		if err != nil {
			t.Errorf("delete the %s: %v", what, err)
		}
	}
	if err := c.DeleteOrganisation(ctx, o.ID); err != nil {
		t.Error(err)
	}
}

// Everybody's lists are their own part of the whole, in pages of any length.
func TestListsShowWhatIsOnesOwn(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.tenant(t), w.tenant(t)
	// By what a customer's one is known, and how many the vendor has of its own.
	lists := map[string]struct {
		all func(context.Context, *api.Client, api.Page) (ids []string, next string, err error)
		key string
		own int
	}{
		"organisations": {func(ctx context.Context, c *api.Client, p api.Page) (ids []string, next string, err error) {
			l, err := c.Organisations(ctx, p)
			for _, v := range l.Organisations {
				ids = append(ids, v.ID)
			}
			return ids, l.Pagination.NextPage, err
		}, "organisation_id", 0},
		"projects": {func(ctx context.Context, c *api.Client, p api.Page) (ids []string, next string, err error) {
			l, err := c.Projects(ctx, p)
			for _, v := range l.Projects {
				ids = append(ids, v.ID)
			}
			return ids, l.Pagination.NextPage, err
		}, "project_id", 1},
		"clusters": {func(ctx context.Context, c *api.Client, p api.Page) (ids []string, next string, err error) {
			l, err := c.Clusters(ctx, p)
			for _, v := range l.Clusters {
				ids = append(ids, v.ID)
			}
			return ids, l.Pagination.NextPage, err
		}, "cluster_id", 1},
		"service accounts": {func(ctx context.Context, c *api.Client, p api.Page) (ids []string, next string, err error) {
			l, err := c.ServiceAccounts(ctx, p)
			for _, v := range l.ServiceAccounts {
				ids = append(ids, v.ID)
			}
			return ids, l.Pagination.NextPage, err
		}, "principal_id", 0},
	}
	two := acme.member(link.RoleViewer, link.ScopeCluster)
	two.Grants = append(two.Grants, globex.member(link.RoleOrganisationAdmin, link.ScopeOrganisation).Grants...)
	for name, list := range lists {
		for who, c := range map[string]struct {
			caller            policy.Caller
			sees, administers []tenant // in the order of creation
		}{
			"a member of nothing": {policy.Caller{Role: policy.Member}, nil, nil},
			"acme's admin":        {acme.member(link.RoleOrganisationAdmin, link.ScopeOrganisation), []tenant{acme}, []tenant{acme}},
			"acme's viewer":       {acme.member(link.RoleViewer, link.ScopeCluster), []tenant{acme}, nil},
			"a member of both":    {two, []tenant{acme, globex}, []tenant{globex}},
		} {
			seen, want := c.sees, []string(nil)
			if name == "service accounts" {
				seen = c.administers
			}
			for _, customer := range seen {
				want = append(want, customer[list.key])
			}
			client := w.as(t, c.caller)
			for _, limit := range []int{0, 1} {
				var got []string
				for p := (api.Page{Limit: limit}); ; {
					ids, next, err := list.all(t.Context(), client, p)
					if err != nil {
						t.Fatalf("%s by %s: %v", name, who, err)
					}
					got = append(got, ids...)
					if p.Token = next; next == "" {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s by %s, %d a page: %s, want %s", name, who, limit, strings.Join(got, " "), strings.Join(want, " "))
				}
			}
		}
		all, _, err := list.all(t.Context(), w.client, api.Page{})
		if err != nil || len(all) != 2+list.own {
			t.Errorf("%s by the vendor: %d, %v; want %d", name, len(all), err, 2+list.own)
		}
	}
}
