package control_test

import (
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Who manages people and service accounts for the vendor does not become one of its operators by that, nor keeps one out.
// What is tried stands in the audit log.
func TestNobodyBecomesWhoMayMore(t *testing.T) {
	d := newDesk(t)
	installation := link.Scope{Kind: link.ScopeInstallation}
	boss := d.member(operator, installation, link.RoleOperator, "boss@vendor.example").Principal
	helper := d.as(d.member(operator, installation, link.RoleOrganisationAdmin, "helper@vendor.example").Principal)
	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, "", "robot"))
	_, err := d.AddMember(d.ctx, operator, control.MemberRequest{Scope: installation, Role: link.RoleOperator, ServiceAccountID: robot.ID})
	if err != nil {
		t.Fatal(err)
	}
	off, name := true, "mine"
	tries := map[string]error{
		"delete the operator": d.DeletePrincipal(d.ctx, helper, link.Person, boss.ID),
		"delete the robot":    d.DeletePrincipal(d.ctx, helper, link.ServiceAccount, robot.ID),
	}
	_, _, tries["reset the operator"] = d.ResetSignIn(d.ctx, helper, boss.ID)
	_, tries["disable the operator"] = d.UpdatePrincipal(d.ctx, helper, link.Person, boss.ID, control.PrincipalUpdate{Disabled: &off})
	_, tries["rename the robot"] = d.UpdatePrincipal(d.ctx, helper, link.ServiceAccount, robot.ID, control.PrincipalUpdate{Name: &name})
	_, _, tries["make the robot's key"] = d.CreateAPIKey(d.ctx, helper, robot.ID, control.NewAPIKey{Name: "k"})
	for what, err := range tries {
		if link.KindOf(err) != link.Denied || reasonOf(err) != "PRINCIPAL_ABOVE_OWN" {
			t.Errorf("%s: %v", what, err)
		}
	}
	plain := d.member(operator, installation, link.RoleViewer, "plain@vendor.example").Principal
	if _, _, err := d.ResetSignIn(d.ctx, helper, plain.ID); err != nil {
		t.Errorf("reset somebody who may less: %v", err)
	}
	entries, _, err := d.Audit(d.ctx, operator, control.AuditPage{})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, e := range entries {
		if e.Rule == "PRINCIPAL_ABOVE_OWN" && e.Actor.ID == helper.ID {
			refused++
		}
	}
	if refused == 0 {
		t.Error("none of the tries stands in the audit log")
	}
}

// A key that is limited stays so, also when its limits take nothing away of what its principal may when it makes another.
func TestLimitedKeyMakesNoOtherThatIsNot(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, acme.organisation.ID, "robot"))
	grant := func(role link.Role) {
		t.Helper()
		_, err := d.AddMember(d.ctx, operator, control.MemberRequest{Scope: acme.atOrganisation(), Role: role, ServiceAccountID: robot.ID})
		if err != nil {
			t.Fatal(err)
		}
	}
	grant(link.RoleViewer)
	limited, _, err := d.CreateAPIKey(d.ctx, operator, robot.ID, control.NewAPIKey{Name: "reader", Ceiling: link.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	caller := d.as(robot)
	caller.Via = limited.ID
	if _, _, err := d.CreateAPIKey(d.ctx, caller, robot.ID, control.NewAPIKey{Name: "for later"}); reasonOf(err) != "KEY_IS_LIMITED" {
		t.Errorf("a key that takes nothing away today makes one without limits: %v", err)
	}
}

// An address is somebody's as it is written: no other letter is taken for one of its own.
func TestAddressesAreNotFolded(t *testing.T) {
	d := newDesk(t)
	d.member(operator, link.Scope{Kind: link.ScopeInstallation}, link.RoleViewer, "kim@vendor.example")
	for _, email := range []string{"\u212aim@vendor.example", "kim@vendor.e\u0445ample", "k\u0130m@vendor.example"} {
		if _, err := d.CreatePerson(d.ctx, operator, email, ""); reasonOf(err) != "MALFORMED_EMAIL" {
			t.Errorf("%q: %v", email, err)
		}
	}
}

// What a session or a key belongs to is a principal, also in the answer to who may not know of it.
func TestForeignPrincipalsAreAbsent(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	stranger := d.as(acme.admin)
	said := func(err error, id link.ID) string {
		if err == nil {
			return "nothing"
		}
		return reasonOf(err) + strings.ReplaceAll(err.Error(), string(id), "ID")
	}
	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, globex.organisation.ID, "robot"))
	none := link.NewID()
	for what, ask := range map[string]func(policy.Caller, link.ID) error{
		"sessions": func(c policy.Caller, id link.ID) error { _, err := d.Sessions(d.ctx, c, id); return err },
		"keys": func(c policy.Caller, id link.ID) error {
			_, _, err := d.APIKeys(d.ctx, c, id, control.Page{})
			return err
		},
		"session": func(c policy.Caller, id link.ID) error { return d.EndSession(d.ctx, c, id, none) },
	} {
		there, nowhere := said(ask(stranger, robot.ID), robot.ID), said(ask(stranger, none), none)
		if there != nowhere || !strings.Contains(there, "PRINCIPAL_NOT_FOUND") {
			t.Errorf("%s: of one that is there %q, of none %q", what, there, nowhere)
		}
	}
}

// Who adds a member by an address learns nothing of the person that it did not know: neither from the answer nor from a list,
// nor whether the address was known.
func TestStrangersStayStrangers(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.customer("acme"), d.customer("globex")
	admin := d.as(acme.admin)
	known := ok[link.Principal](t)(d.CreatePerson(d.ctx, operator, "jane@globex.example", "Jane Secret"))
	ok[link.Member](t)(d.AddMember(d.ctx, operator, control.MemberRequest{Scope: globex.atCluster(), Role: link.RoleViewer, Email: known.Email}))
	off := true
	ok[link.Principal](t)(d.UpdatePrincipal(d.ctx, operator, link.Person, known.ID, control.PrincipalUpdate{Disabled: &off}))
	for _, name := range []string{"", "Somebody"} {
		said := map[string]bool{}
		for _, email := range []string{"jane@globex.example", strings.ToLower("new" + name + "@globex.example")} {
			m := ok[link.Member](t)(d.AddMember(d.ctx, admin, control.MemberRequest{Scope: acme.atCluster(), Role: link.RoleViewer, Email: email, Name: name}))
			want := name
			if want == "" {
				want = email
			}
			if m.Principal.Name != want || m.Principal.Disabled || m.Principal.Email != email {
				t.Errorf("%s was added as %+v", email, m.Principal)
			}
			said[strings.ReplaceAll(m.Principal.Name, email, "EMAIL")] = true
		}
		if len(said) != 1 {
			t.Errorf("the answers differ: %v", said)
		}
	}
	seen := func(c policy.Caller, at link.Scope) (out link.Principal) {
		t.Helper()
		members, _, err := d.Members(d.ctx, c, at, control.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if m.Principal.ID == known.ID {
				out = m.Principal
			}
		}
		return out
	}
	if p := seen(admin, acme.atOrganisation()); p.Name != known.Email || p.Disabled {
		t.Errorf("a list shows %+v", p)
	}
	if p := seen(operator, acme.atOrganisation()); p.Name != "Jane Secret" || !p.Disabled {
		t.Errorf("the vendor is shown %+v", p)
	}
	events, _, err := d.Events(d.ctx, admin, link.ObjectRef{Kind: link.ObjectGrant, ID: "CLUSTER/" + string(acme.cluster.ID) + "/" + string(known.ID) + "/VIEWER"}, control.Page{})
	if err != nil || len(events) == 0 {
		t.Fatalf("the history: %+v, %v", events, err)
	}
	for _, e := range events {
		if strings.Contains(e.Message, "Secret") {
			t.Errorf("the history tells %q", e.Message)
		}
	}
	m, err := d.RemoveMember(d.ctx, admin, acme.atCluster(), known.ID, link.RoleViewer)
	if err != nil || m.Principal.Name != known.Email || m.Principal.Disabled {
		t.Errorf("taken away: %+v, %v", m.Principal, err)
	}
	if p := seen(d.as(globex.admin), globex.atOrganisation()); p.Name != "Jane Secret" || !p.Disabled {
		t.Errorf("where she is at home she is shown as %+v", p)
	}
}

// The history of a region, which everybody may read, names the vendor's people to the vendor alone.
func TestRegionsHistoryNamesNobodyToCustomers(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	ok[[]link.Service](t)(d.CreateServices(d.ctx, operator, acme.cluster.ID))
	for _, kind := range []string{link.ObjectRegion, link.ObjectService} {
		for _, tt := range []struct {
			who  policy.Caller
			want string
		}{{d.as(acme.admin), "withheld"}, {operator, operator.Name}} {
			events, _, err := d.Events(d.ctx, tt.who, link.ObjectRef{Kind: kind, ID: "AWS/us-east-1"}, control.Page{})
			if err != nil || len(events) == 0 {
				t.Fatalf("%s: %+v, %v", kind, events, err)
			}
			for _, e := range events {
				if e.Actor != tt.want {
					t.Errorf("%s: %s is told of %q", kind, tt.who.Role, e.Actor)
				}
			}
		}
	}
}
