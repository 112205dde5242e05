package control_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// customer is an organisation with a project, a cluster and an admin.
type customer struct {
	organisation link.Organisation
	project      link.Project
	cluster      link.Cluster
	admin        link.Principal
}

func (d *desk) customer(name string) (c customer) {
	d.t.Helper()
	c.organisation = ok[link.Organisation](d.t)(d.CreateOrganisation(d.ctx, operator, name))
	c.project = ok[link.Project](d.t)(d.CreateProject(d.ctx, operator, c.organisation.ID, "payments"))
	r := d.request(name)
	r.ProjectID = c.project.ID
	c.cluster = ok[link.Cluster](d.t)(d.CreateCluster(d.ctx, operator, r))
	c.admin = d.member(operator, c.atOrganisation(), link.RoleOrganisationAdmin, "admin@"+name+".example").Principal
	return c
}

func (c customer) atOrganisation() link.Scope {
	return link.Scope{Kind: link.ScopeOrganisation, ID: c.organisation.ID}
}

func (c customer) atProject() link.Scope {
	return link.Scope{Kind: link.ScopeProject, ID: c.project.ID}
}

func (c customer) atCluster() link.Scope {
	return link.Scope{Kind: link.ScopeCluster, ID: c.cluster.ID}
}

func (d *desk) member(by policy.Caller, at link.Scope, role link.Role, email string) link.Member {
	d.t.Helper()
	return ok[link.Member](d.t)(d.AddMember(d.ctx, by, control.MemberRequest{Scope: at, Role: role, Email: email}))
}

// as is a principal as a caller, with the grants that it holds now.
func (d *desk) as(p link.Principal) policy.Caller {
	d.t.Helper()
	var grants []link.Grant
	err := d.st.Read(d.ctx, func(tx *store.Tx) (err error) {
		grants, err = tx.GrantsOf(p.ID)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return policy.Caller{ID: p.ID, Name: p.Name, Role: policy.Member, Grants: grants}
}

func TestMembersNameOthersWithinTheirOwn(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	vendors := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, "", "backup"))
	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, d.as(acme.admin), acme.organisation.ID, "deploy"))
	foreign := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, d.as(globex.admin), globex.organisation.ID, "deploy"))
	lead := d.member(d.as(acme.admin), acme.atProject(), link.RoleProjectAdmin, "Lead@ACME.example").Principal
	if lead.Email != "lead@acme.example" || lead.Name != lead.Email {
		t.Errorf("the new person: %+v; want the address in lower case, and as the name", lead)
	}
	keeper := d.member(d.as(lead), acme.atCluster(), link.RoleClusterAdmin, "keeper@acme.example").Principal
	installation := link.Scope{Kind: link.ScopeInstallation}
	for _, c := range []struct {
		name    string
		by      policy.Caller
		request control.MemberRequest
		kind    link.Kind
		reason  string
	}{
		{"the own role", d.as(keeper), control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleClusterAdmin, Email: "x@acme.example"}, 0, ""},
		{"a program", d.as(keeper), control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, ServiceAccountID: robot.ID}, 0, ""},
		{"a role above", d.as(keeper), control.MemberRequest{Scope: acme.atProject(), Role: link.RoleViewer, Email: "y@acme.example"}, link.Denied, "ROLE_MISSING"},
		{"a role that means nothing there", d.as(keeper), control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleProjectAdmin, Email: "y@acme.example"}, link.Invalid, "ROLE_NOT_HERE"},
		{"another customer's cluster", d.as(keeper), control.MemberRequest{Scope: globex.atCluster(), Role: link.RoleViewer, Email: "y@acme.example"}, link.NotFound, "CLUSTER_NOT_FOUND"},
		{"a cluster that is none", d.as(keeper), control.MemberRequest{Scope: link.Scope{Kind: link.ScopeCluster, ID: link.NewID()}, Role: link.RoleViewer, Email: "y@acme.example"}, link.NotFound, "CLUSTER_NOT_FOUND"},
		{"another customer's program", d.as(keeper), control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, ServiceAccountID: foreign.ID}, link.NotFound, "PRINCIPAL_NOT_FOUND"},
		{"the vendor's program", d.as(keeper), control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, ServiceAccountID: vendors.ID}, link.NotFound, "PRINCIPAL_NOT_FOUND"},
		{"a person by the way of programs", d.as(keeper), control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, ServiceAccountID: lead.ID}, link.NotFound, "PRINCIPAL_NOT_FOUND"},
		{"another customer's program, by the vendor", operator, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, ServiceAccountID: foreign.ID}, link.Precondition, "ANOTHER_ORGANISATION"},
		{"the vendor's program, by the vendor", operator, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, ServiceAccountID: vendors.ID}, 0, ""},
		{"a customer's program everywhere", operator, control.MemberRequest{Scope: installation, Role: link.RoleViewer, ServiceAccountID: robot.ID}, link.Precondition, "ANOTHER_ORGANISATION"},
		{"the installation", d.as(acme.admin), control.MemberRequest{Scope: installation, Role: link.RoleViewer, Email: "y@acme.example"}, link.Denied, "ROLE_MISSING"},
		{"an operator of one customer", operator, control.MemberRequest{Scope: acme.atOrganisation(), Role: link.RoleOperator, Email: "y@acme.example"}, link.Invalid, "ROLE_NOT_HERE"},
		{"nobody", operator, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer}, link.Invalid, "MEMBER_REQUIRED"},
		{"two", operator, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, Email: "y@acme.example", ServiceAccountID: robot.ID}, link.Invalid, "MEMBER_REQUIRED"},
		{"no address", operator, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, Email: "x@@acme"}, link.Invalid, "MALFORMED_EMAIL"},
		{"an address with a line break", operator, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, Email: "x\n@acme.example"}, link.Invalid, "MALFORMED_EMAIL"},
		{"no role", operator, control.MemberRequest{Scope: acme.atCluster(), Role: "KING", Email: "y@acme.example"}, link.Invalid, "MALFORMED_ROLE"},
		{"no scope", operator, control.MemberRequest{Scope: link.Scope{Kind: "MOON"}, Role: link.RoleViewer, Email: "y@acme.example"}, link.Invalid, "MALFORMED_SCOPE"},
		{"a gateway", gateway, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, Email: "y@acme.example"}, link.Denied, "GATEWAY_ONLY_REPORTS"},
		{"without a token", policy.Caller{}, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, Email: "y@acme.example"}, link.Unauthenticated, "NOT_AUTHENTICATED"},
	} {
		_, err := d.AddMember(d.ctx, c.by, c.request)
		if e, is := errors.AsType[*link.Error](err); (err != nil) != (c.reason != "") || is && (e.Kind != c.kind || e.Reason != c.reason) {
			t.Errorf("%s: %v, want %q", c.name, err, c.reason)
		}
	}
	// What was refused left nobody behind.
	people, _, err := d.People(d.ctx, operator, control.Page{})
	var known []string
	for _, p := range people {
		known = append(known, p.Email)
	}
	if want := "admin@acme.example admin@globex.example lead@acme.example keeper@acme.example x@acme.example"; err != nil || strings.Join(known, " ") != want {
		t.Errorf("people: %s, %v; want %s", strings.Join(known, " "), err, want)
	}
	members, _, err := d.Members(d.ctx, d.as(acme.admin), acme.atOrganisation(), control.Page{})
	var held []string
	for _, m := range members {
		held = append(held, m.Principal.Name+" "+string(m.Grant.Role))
	}
	want := []string{
		"admin@acme.example ORGANISATION_ADMIN", "lead@acme.example PROJECT_ADMIN", "keeper@acme.example CLUSTER_ADMIN", "x@acme.example CLUSTER_ADMIN",
		"deploy VIEWER", "backup VIEWER",
	}
	if err != nil || !slices.Equal(held, want) {
		t.Errorf("members: %q, %v; want %q", held, err, want)
	}
}

func TestRolesAreTakenAway(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	keeper := d.member(d.as(acme.admin), acme.atCluster(), link.RoleClusterAdmin, "keeper@acme.example").Principal
	viewer := d.member(d.as(keeper), acme.atCluster(), link.RoleViewer, "viewer@acme.example").Principal
	before := d.as(viewer)
	ok[link.Cluster](t)(d.Cluster(d.ctx, before, acme.cluster.ID))

	_, err := d.RemoveMember(d.ctx, d.as(viewer), acme.atCluster(), keeper.ID, link.RoleClusterAdmin)
	d.refuses(err, link.Denied, "ROLE_MISSING", "")
	_, err = d.RemoveMember(d.ctx, d.as(keeper), acme.atOrganisation(), acme.admin.ID, link.RoleOrganisationAdmin)
	d.refuses(err, link.Denied, "ROLE_MISSING", "")
	_, err = d.RemoveMember(d.ctx, d.as(globex.admin), acme.atCluster(), viewer.ID, link.RoleViewer)
	d.refuses(err, link.NotFound, "CLUSTER_NOT_FOUND", "scope_id")
	_, err = d.RemoveMember(d.ctx, d.as(keeper), acme.atCluster(), viewer.ID, link.RoleClusterOperator)
	d.refuses(err, link.NotFound, "MEMBER_NOT_FOUND", "")

	gone := ok[link.Member](t)(d.RemoveMember(d.ctx, d.as(keeper), acme.atCluster(), viewer.ID, link.RoleViewer))
	if gone.Principal != viewer || gone.Grant.Role != link.RoleViewer {
		t.Errorf("removed %+v", gone)
	}
	_, err = d.Cluster(d.ctx, d.as(viewer), acme.cluster.ID)
	d.refuses(err, link.NotFound, "CLUSTER_NOT_FOUND", "")
	key := "CLUSTER/" + string(acme.cluster.ID) + "/" + string(viewer.ID) + "/VIEWER"
	if got, want := d.history(link.ObjectGrant, key), "CREATED VIEWER, DELETED VIEWER"; got != want {
		t.Errorf("history of the grant: %q, want %q", got, want)
	}
}

// An organisation keeps an admin, whichever way the last one is to go; the vendor may take even that one.
func TestTheLastAdminStays(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	admin := d.as(acme.admin)
	_, err := d.RemoveMember(d.ctx, admin, acme.atOrganisation(), acme.admin.ID, link.RoleOrganisationAdmin)
	d.refuses(err, link.Precondition, "LAST_ADMIN", "")

	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, admin, acme.organisation.ID, "robot"))
	ok[link.Member](t)(d.AddMember(d.ctx, admin, control.MemberRequest{Scope: acme.atOrganisation(), Role: link.RoleOrganisationAdmin, ServiceAccountID: robot.ID}))
	ok[link.Member](t)(d.RemoveMember(d.ctx, admin, acme.atOrganisation(), acme.admin.ID, link.RoleOrganisationAdmin))
	yes := true
	_, err = d.UpdatePrincipal(d.ctx, d.as(robot), link.ServiceAccount, robot.ID, control.PrincipalUpdate{Disabled: &yes})
	d.refuses(err, link.Precondition, "LAST_ADMIN", "")
	d.refuses(d.DeletePrincipal(d.ctx, d.as(robot), link.ServiceAccount, robot.ID), link.Precondition, "LAST_ADMIN", "")

	ok[link.Principal](t)(d.UpdatePrincipal(d.ctx, operator, link.ServiceAccount, robot.ID, control.PrincipalUpdate{Disabled: &yes}))
	// Who is disabled is no admin to leave the organisation to.
	d.member(operator, acme.atOrganisation(), link.RoleOrganisationAdmin, acme.admin.Email)
	_, err = d.RemoveMember(d.ctx, d.as(acme.admin), acme.atOrganisation(), acme.admin.ID, link.RoleOrganisationAdmin)
	d.refuses(err, link.Precondition, "LAST_ADMIN", "")
	ok[link.Member](t)(d.RemoveMember(d.ctx, operator, acme.atOrganisation(), acme.admin.ID, link.RoleOrganisationAdmin))
	if err := d.DeletePrincipal(d.ctx, operator, link.ServiceAccount, robot.ID); err != nil {
		t.Error(err)
	}
}

func TestNamesAreTheOrganisations(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex") // each with a project payments
	admin := d.as(acme.admin)
	again := ok[link.Project](t)(d.CreateProject(d.ctx, admin, acme.organisation.ID, "payments"))
	if again != acme.project || again.ID == globex.project.ID {
		t.Errorf("the project of a name again: %+v, want %+v", again, acme.project)
	}
	web := ok[link.Project](t)(d.CreateProject(d.ctx, admin, acme.organisation.ID, "web"))
	_, err := d.RenameProject(d.ctx, admin, web.ID, "payments")
	d.refuses(err, link.Conflict, "NAME_TAKEN", "name")
	_, err = d.RenameOrganisation(d.ctx, admin, acme.organisation.ID, "globex")
	d.refuses(err, link.Conflict, "NAME_TAKEN", "name")
	site := ok[link.Project](t)(d.RenameProject(d.ctx, admin, web.ID, "site"))
	if site.Name != "site" || site.ID != web.ID {
		t.Errorf("renamed: %+v", site)
	}
	a := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, admin, acme.organisation.ID, "a"))
	ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, admin, acme.organisation.ID, "b"))
	b := "b"
	_, err = d.UpdatePrincipal(d.ctx, admin, link.ServiceAccount, a.ID, control.PrincipalUpdate{Name: &b})
	d.refuses(err, link.Conflict, "NAME_TAKEN", "name")
	_, err = d.CreateProject(d.ctx, admin, globex.organisation.ID, "mine")
	d.refuses(err, link.NotFound, "ORGANISATION_NOT_FOUND", "")
	_, err = d.CreateProject(d.ctx, operator, link.NewID(), "mine")
	d.refuses(err, link.NotFound, "ORGANISATION_NOT_FOUND", "")
	_, err = d.CreateServiceAccount(d.ctx, operator, link.NewID(), "mine")
	d.refuses(err, link.NotFound, "ORGANISATION_NOT_FOUND", "")
}

func TestWhatHoldsSomethingIsNotDeleted(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, acme.organisation.ID, "robot"))
	hook := ok[control.NewWebhook](t)(d.CreateWebhook(d.ctx, operator, control.WebhookRequest{OrganisationID: acme.organisation.ID, Kind: link.WebhookHTTP, URL: "https://hooks.example/"}))
	d.refuses(d.DeleteOrganisation(d.ctx, operator, acme.organisation.ID), link.Precondition, "PROJECTS_EXIST", "")
	d.refuses(d.DeleteProject(d.ctx, operator, acme.project.ID), link.Precondition, "CLUSTERS_EXIST", "")
	for _, err := range []error{
		d.DeleteCluster(d.ctx, operator, acme.cluster.ID), d.DeleteProject(d.ctx, d.as(acme.admin), acme.project.ID),
		d.DeleteOrganisation(d.ctx, operator, acme.organisation.ID),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	_, err := d.Principal(d.ctx, operator, link.ServiceAccount, robot.ID)
	d.refuses(err, link.NotFound, "PRINCIPAL_NOT_FOUND", "")
	_, err = d.Webhook(d.ctx, operator, hook.ID)
	d.refuses(err, link.NotFound, "WEBHOOK_NOT_FOUND", "")
	if left := d.as(acme.admin).Grants; len(left) > 0 {
		t.Errorf("roles that are left: %+v", left)
	}
	ok[link.Principal](t)(d.Principal(d.ctx, operator, link.Person, acme.admin.ID))
	d.refuses(d.DeleteOrganisation(d.ctx, operator, acme.organisation.ID), link.NotFound, "ORGANISATION_NOT_FOUND", "")
}

// A customer sees that its cluster works, and not by which servers of the vendor.
func TestCustomersDoNotSeeTheVendorsServers(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	backend := acme.cluster.Backends[0]
	ok[link.Connection](t)(d.Connect(d.ctx, operator, acme.cluster.ID, vpce))
	err := d.GatewayHello(d.ctx, gateway, "gw", make([]byte, 32))
	err = errors.Join(err, d.Report(d.ctx, gateway, link.GatewayReport{
		GatewayID: "gw", BatchID: "1",
		Flows:    []link.Flow{{ID: "f", ClusterID: acme.cluster.ID, Listener: link.PublicListener, Backend: backend, StartedAt: d.now}},
		Backends: []link.BackendHealth{{ClusterID: acme.cluster.ID, Backend: backend, Reason: "dial " + backend + ": refused", At: d.now}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	changed := []string{"elsewhere.internal:1"}
	owner := "123456789012"
	ok[link.TrustedOwner](t)(d.AddTrustedOwner(d.ctx, operator, acme.cluster.ID, link.AWSAccountID, owner))
	admin := d.as(acme.admin)
	viewer := d.as(d.member(admin, acme.atCluster(), link.RoleViewer, "viewer@acme.example").Principal)
	// seen is all that a caller reads of the cluster.
	seen := func(c policy.Caller) string {
		t.Helper()
		var out []string
		cl := ok[link.Cluster](t)(d.Cluster(d.ctx, c, acme.cluster.ID))
		out = append(out, cl.Backends...)
		clusters, _, err := d.Clusters(d.ctx, c, control.Page{})
		if err != nil || len(clusters) != 1 {
			t.Fatalf("%d clusters, %v", len(clusters), err)
		}
		out = append(out, clusters[0].Backends...)
		flows, _, err := d.Flows(d.ctx, c, acme.cluster.ID, control.Page{})
		if err != nil || len(flows) != 1 {
			t.Fatalf("%d flows, %v", len(flows), err)
		}
		out = append(out, flows[0].Backend)
		for _, conn := range ok[[]link.Connection](t)(d.Connections(d.ctx, c, acme.cluster.ID)) {
			for _, cond := range conn.Conditions {
				out = append(out, cond.Message)
			}
		}
		events, _, err := d.Events(d.ctx, c, link.ObjectRef{Kind: link.ObjectCluster, ID: string(acme.cluster.ID)}, control.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			out = append(out, e.Message)
		}
		return strings.Join(out, "\n")
	}
	if all := seen(operator); strings.Count(all, backend) < 4 {
		t.Errorf("the vendor sees of %s:\n%s", backend, all)
	}
	ok[link.Cluster](t)(d.UpdateCluster(d.ctx, operator, acme.cluster.ID, control.ClusterUpdate{Backends: &changed}))
	for _, c := range []policy.Caller{admin, viewer} {
		all := seen(c)
		for _, secret := range []string{backend, changed[0], owner} {
			if strings.Contains(all, secret) {
				t.Errorf("%s sees %s:\n%s", c.Name, secret, all)
			}
		}
	}
	shut := ok[link.Cluster](t)(d.SetPublicAccess(d.ctx, admin, acme.cluster.ID, link.PublicDisabled))
	if len(shut.Backends) > 0 {
		t.Errorf("the admin sees %v", shut.Backends)
	}
}

func TestMe(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	self := ok[control.Self](t)(d.Me(d.ctx, d.as(acme.admin)))
	if self.Principal != acme.admin || self.Role != policy.Member || len(self.Grants) != 1 {
		t.Errorf("a member: %+v", self)
	}
	if self := ok[control.Self](t)(d.Me(d.ctx, operator)); self.Principal.Name != operator.Name || self.Role != policy.Operator {
		t.Errorf("a token of the installation: %+v", self)
	}
	_, err := d.Me(d.ctx, policy.Caller{})
	d.refuses(err, link.Unauthenticated, "NOT_AUTHENTICATED", "")
}
