package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

// The places of these tests: organisation acme has project pay with clusters c1 and c2, and project web with cluster c3;
// organisation globex has project dig with cluster c4; the vendor has project own with cluster c5.
func placeOf(name string) link.Place {
	return map[string]link.Place{
		"":       {},
		"acme":   {OrganisationID: "acme"},
		"pay":    {OrganisationID: "acme", ProjectID: "pay"},
		"c1":     {OrganisationID: "acme", ProjectID: "pay", ClusterID: "c1"},
		"c2":     {OrganisationID: "acme", ProjectID: "pay", ClusterID: "c2"},
		"web":    {OrganisationID: "acme", ProjectID: "web"},
		"c3":     {OrganisationID: "acme", ProjectID: "web", ClusterID: "c3"},
		"globex": {OrganisationID: "globex"},
		"dig":    {OrganisationID: "globex", ProjectID: "dig"},
		"c4":     {OrganisationID: "globex", ProjectID: "dig", ClusterID: "c4"},
		"own":    {ProjectID: "own"},
		"c5":     {ProjectID: "own", ClusterID: "c5"},
	}[name]
}

// scopeOf is the scope that a place's name stands for; "" is the installation.
func scopeOf(name string) link.Scope {
	switch p := placeOf(name); {
	case p.ClusterID != "":
		return link.Scope{Kind: link.ScopeCluster, ID: p.ClusterID}
	case p.ProjectID != "":
		return link.Scope{Kind: link.ScopeProject, ID: p.ProjectID}
	case p.OrganisationID != "":
		return link.Scope{Kind: link.ScopeOrganisation, ID: p.OrganisationID}
	}
	return link.Scope{Kind: link.ScopeInstallation}
}

// member has grants written as "ROLE place, ROLE place".
func member(grants string) Caller {
	c := Caller{ID: "m", Name: "m", Role: Member}
	for text := range strings.SplitSeq(grants, ", ") {
		if role, at, _ := strings.Cut(text, " "); role != "" {
			c.Grants = append(c.Grants, link.Grant{PrincipalID: "m", Role: link.Role(role), Scope: scopeOf(at), Within: placeOf(at)})
		}
	}
	return c
}

// TestRolesOfMembers: what each role may at a place within its scope, kind by kind. A letter stands for each role that
// may: Viewer, cluster Operator, cluster Admin, Project admin, organisation admin (G), and the vendor's operator (*).
func TestRolesOfMembers(t *testing.T) {
	letters := map[link.Role]string{
		link.RoleViewer: "V", link.RoleClusterOperator: "O", link.RoleClusterAdmin: "A", link.RoleProjectAdmin: "P",
		link.RoleOrganisationAdmin: "G", link.RoleOperator: "*",
	}
	for _, c := range []struct {
		kind, at                       string
		read, change, create, deletion string
	}{
		{link.ObjectCluster, "c1", "VOAPG*", "*", "*", "*"},
		{link.ObjectTraffic, "c1", "*", "*", "*", "*"},
		{link.ObjectRecords, "c1", "VOAPG*", "", "", ""},
		{link.ObjectConnection, "c1", "VOAPG*", "OAPG*", "OAPG*", "OAPG*"},
		{link.ObjectClaim, "c1", "VOAPG*", "OAPG*", "OAPG*", "OAPG*"},
		{link.ObjectAllowList, "c1", "VOAPG*", "OAPG*", "OAPG*", "OAPG*"},
		{link.ObjectEgress, "c1", "VOAPG*", "OAPG*", "OAPG*", "OAPG*"},
		{link.ObjectEndpoint, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectPublicAccess, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectReverseProxy, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectClientCertificates, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectTrustedCertificate, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectRevokedCertificate, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectTrustedOwner, "c1", "OAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectService, "c1", "VOAPG*", "APG*", "APG*", "APG*"},
		{link.ObjectProject, "pay", "VOAPG*", "PG*", "G*", "G*"},
		{link.ObjectProjectConnection, "pay", "VOAPG*", "PG*", "PG*", "PG*"},
		{link.ObjectProjectTrustedOwner, "pay", "OAPG*", "PG*", "PG*", "PG*"},
		{link.ObjectOrganisation, "acme", "VOAPG*", "G*", "*", "*"},
		{link.ObjectPrincipal, "acme", "G*", "G*", "G*", "G*"},
		{link.ObjectAPIKey, "acme", "G*", "G*", "G*", "G*"},
		{link.ObjectWebhook, "acme", "G*", "G*", "G*", "G*"},
		{link.ObjectAudit, "acme", "G*", "", "", ""},
		{link.ObjectRegion, "", "VOAPG*", "*", "*", "*"},
		{link.ObjectServiceProfile, "", "*", "*", "*", "*"},
		{link.ObjectGateway, "", "*", "", "", ""},
		{link.ObjectDatabase, "", "*", "", "", ""},
		{"grant/CLUSTER", "c1", "APG*", "APG*", "APG*", "APG*"},
		{"grant/PROJECT", "pay", "PG*", "PG*", "PG*", "PG*"},
		{"grant/ORGANISATION", "acme", "G*", "G*", "G*", "G*"},
		{"grant/INSTALLATION", "", "*", "*", "*", "*"},
		{"made up", "c1", "", "", "", ""},
	} {
		kind, scope, _ := strings.Cut(c.kind, "/")
		object := link.ObjectRef{Kind: kind, ID: scope + "/" + c.at + "/x"}
		for action, want := range map[Action]string{Read: c.read, Change: c.change, Create: c.create, Delete: c.deletion, ReceiveRules: "", ReportTraffic: ""} {
			got := ""
			for _, role := range Roles {
				at := c.at
				if role == link.RoleOperator {
					at = ""
				}
				d := May(member(string(role)+" "+at), action, object, placeOf(c.at))
				if d.Allow {
					got += letters[role]
				}
				if d.Allow == (d.Reason != "") || d.Allow && !d.Visible || d.Rule == "" {
					t.Errorf("%s may %s a %s: %+v", role, action, c.kind, d)
				}
			}
			if got != want {
				t.Errorf("to %s a %s: %q may, want %q", action, c.kind, got, want)
			}
		}
	}
}

// TestScopes: a grant holds at its scope and beneath it, and not beside it; what lies above is known by name alone.
func TestScopes(t *testing.T) {
	for _, c := range []struct {
		grants       string
		reads, hides string // the clusters, projects and organisations that are read, and that are as if they were not
	}{
		{"", "", "acme pay c1 c2 web c3 globex dig c4 own c5"},
		{"VIEWER c1", "acme pay c1", "c2 web c3 globex dig c4 own c5"},
		{"VIEWER pay", "acme pay c1 c2", "web c3 globex dig c4 own c5"},
		{"VIEWER acme", "acme pay c1 c2 web c3", "globex dig c4 own c5"},
		{"ORGANISATION_ADMIN acme", "acme pay c1 c2 web c3", "globex dig c4 own c5"},
		{"VIEWER ", "acme pay c1 c2 web c3 globex dig c4 own c5", ""},
		{"OPERATOR ", "acme pay c1 c2 web c3 globex dig c4 own c5", ""},
		{"VIEWER c1, CLUSTER_ADMIN c4", "acme pay c1 globex dig c4", "c2 web c3 own c5"},
		{"VIEWER c5", "own c5", "acme pay c1 c2 web c3 globex dig c4"},
		{"made-up acme", "acme", "pay c1 c2 web c3 globex dig c4 own c5"},
	} {
		caller := member(c.grants)
		for _, place := range strings.Fields(c.reads + " " + c.hides) {
			kind := map[link.ScopeKind]string{
				link.ScopeCluster: link.ObjectCluster, link.ScopeProject: link.ObjectProject, link.ScopeOrganisation: link.ObjectOrganisation,
			}[scopeOf(place).Kind]
			object := link.ObjectRef{Kind: kind, ID: place}
			want := slices.Contains(strings.Fields(c.reads), place)
			if d := May(caller, Read, object, placeOf(place)); d.Allow != want || d.Visible != want {
				t.Errorf("%q reads %s: %+v, want %t", c.grants, place, d, want)
			}
			// What is read is visible whatever else is asked of it, and the other way round.
			if d := May(caller, Delete, object, placeOf(place)); d.Visible != want {
				t.Errorf("%q deletes %s: %+v, want visible %t", c.grants, place, d, want)
			}
			// An object that is not there stands nowhere.
			if d := May(caller, Read, object, link.Place{}); d.Visible && !slices.ContainsFunc(caller.Grants, func(g link.Grant) bool { return g.Scope.Kind == link.ScopeInstallation }) {
				t.Errorf("%q reads %s that is not there: %+v", c.grants, place, d)
			}
		}
	}
}

func TestAdminsOfOnePlaceAreNobodyInAnother(t *testing.T) {
	for _, c := range []struct {
		grants string
		action Action
		kind   string
		at     string
		allow  bool
	}{
		{"CLUSTER_ADMIN c1", Change, link.ObjectTrustedOwner, "c1", true},
		{"CLUSTER_ADMIN c1", Change, link.ObjectTrustedOwner, "c2", false},
		{"CLUSTER_ADMIN c1, VIEWER c2", Change, link.ObjectTrustedOwner, "c2", false},
		{"VIEWER acme, CLUSTER_ADMIN pay", Change, link.ObjectTrustedOwner, "c2", true},
		{"VIEWER acme, CLUSTER_ADMIN pay", Change, link.ObjectTrustedOwner, "c3", false},
		{"PROJECT_ADMIN pay", Create, link.ObjectProject, "acme", false},
		{"PROJECT_ADMIN acme", Create, link.ObjectProject, "acme", false},
		{"PROJECT_ADMIN acme", Change, link.ObjectProject, "web", true},
		{"ORGANISATION_ADMIN acme", Create, link.ObjectProject, "acme", true},
		{"ORGANISATION_ADMIN acme", Create, link.ObjectProject, "globex", false},
		{"ORGANISATION_ADMIN acme", Create, link.ObjectProject, "", false},
		{"ORGANISATION_ADMIN acme", Read, link.ObjectAudit, "", false},
		{"ORGANISATION_ADMIN acme", Change, link.ObjectTraffic, "c1", false},
		{"ORGANISATION_ADMIN acme", Create, link.ObjectCluster, "pay", false},
		{"ORGANISATION_ADMIN ", Read, link.ObjectAudit, "", true},
		{"VIEWER pay", Read, link.ObjectProjectConnection, "pay", true},
		{"VIEWER c1", Read, link.ObjectProjectConnection, "pay", false},
	} {
		d := May(member(c.grants), c.action, link.ObjectRef{Kind: c.kind, ID: c.at + "/x"}, placeOf(c.at))
		if d.Allow != c.allow {
			t.Errorf("%q: %s %s at %q: %+v, want %t", c.grants, c.action, c.kind, c.at, d, c.allow)
		}
	}
}

// Lists are everybody's to ask for where each gets their own part; lists of what is the vendor's alone are refused in the
// open: that there is such a list is no secret.
func TestListsOfKinds(t *testing.T) {
	for _, c := range []struct {
		kind, id       string
		allow, visible bool
	}{
		{link.ObjectCluster, "", true, true},
		{link.ObjectProject, "", true, true},
		{link.ObjectOrganisation, "", true, true},
		{link.ObjectPrincipal, "", true, true},
		{link.ObjectPrincipal, "/", false, true},
		{link.ObjectRegion, "", true, true},
		{link.ObjectGateway, "", false, true},
		{link.ObjectServiceProfile, "", false, true},
		{link.ObjectRecords, "", false, true},
		{link.ObjectAudit, "", false, true},
		{link.ObjectGrant, "INSTALLATION//", false, true},
		{link.ObjectPrincipal, "/somebody", false, false},
		{link.ObjectCluster, "none", false, false},
	} {
		d := May(member("VIEWER c1"), Read, link.ObjectRef{Kind: c.kind, ID: c.id}, link.Place{})
		if d.Allow != c.allow || d.Visible != c.visible {
			t.Errorf("%s %q: %+v, want allow %t, visible %t", c.kind, c.id, d, c.allow, c.visible)
		}
	}
}

func TestReach(t *testing.T) {
	type reach = link.Reach
	ids := func(s string) (out []link.ID) {
		for f := range strings.FieldsSeq(s) {
			out = append(out, link.ID(f))
		}
		return out
	}
	for _, c := range []struct {
		caller Caller
		kind   string
		want   reach
	}{
		{Caller{}, link.ObjectCluster, reach{}},
		{Caller{Role: Gateway}, link.ObjectCluster, reach{}},
		{Caller{Role: Operator}, link.ObjectCluster, reach{All: true}},
		{member(""), link.ObjectCluster, reach{}},
		{member("OPERATOR "), link.ObjectPrincipal, reach{All: true}},
		{member("VIEWER c1, VIEWER "), link.ObjectCluster, reach{All: true}},
		{member("VIEWER c1, CLUSTER_ADMIN c1, VIEWER web, VIEWER globex"), link.ObjectCluster, reach{Clusters: ids("c1"), Projects: ids("web"), Organisations: ids("globex")}},
		{member("VIEWER c1"), link.ObjectProject, reach{Projects: ids("pay"), Clusters: ids("c1")}},
		{member("VIEWER c1, VIEWER c4, VIEWER c5"), link.ObjectOrganisation, reach{Organisations: ids("acme globex"), Clusters: ids("c1 c4 c5")}},
		{member("PROJECT_ADMIN acme, ORGANISATION_ADMIN globex"), link.ObjectPrincipal, reach{Organisations: ids("globex")}},
		{member("VIEWER acme, CLUSTER_OPERATOR c1"), link.ObjectTrustedOwner, reach{Clusters: ids("c1")}},
		{member("ORGANISATION_ADMIN acme"), link.ObjectGateway, reach{}},
		{member("VIEWER "), "made up", reach{}},
	} {
		if diff := cmp.Diff(c.want, ReachOf(c.caller, c.kind)); diff != "" {
			t.Errorf("reach of %v for %s (-want +got):\n%s", c.caller.Grants, c.kind, diff)
		}
	}
}

func TestMayGrant(t *testing.T) {
	for _, c := range []struct {
		caller Caller
		role   link.Role
		at     string
		rule   string // what allowed it, or why not
		allow  bool
	}{
		{Caller{Role: Operator}, link.RoleOperator, "", "OPERATOR", true},
		{Caller{Role: Gateway}, link.RoleViewer, "c1", "GATEWAY_ONLY_REPORTS", false},
		{member("CLUSTER_ADMIN c1"), link.RoleClusterAdmin, "c1", "CLUSTER_ADMIN", true},
		{member("CLUSTER_ADMIN c1"), link.RoleViewer, "c2", "ROLE_MISSING", false},
		{member("CLUSTER_OPERATOR c1"), link.RoleViewer, "c1", "ROLE_MISSING", false},
		{member("CLUSTER_ADMIN pay"), link.RoleViewer, "pay", "ROLE_MISSING", false},
		{member("CLUSTER_ADMIN pay"), link.RoleViewer, "c2", "CLUSTER_ADMIN", true},
		{member("PROJECT_ADMIN pay"), link.RoleProjectAdmin, "pay", "PROJECT_ADMIN", true},
		{member("PROJECT_ADMIN acme"), link.RoleProjectAdmin, "acme", "ROLE_MISSING", false},
		{member("ORGANISATION_ADMIN acme"), link.RoleOrganisationAdmin, "acme", "ORGANISATION_ADMIN", true},
		{member("ORGANISATION_ADMIN acme"), link.RoleOperator, "acme", "ROLE_ABOVE_OWN", false},
		{member("ORGANISATION_ADMIN acme"), link.RoleViewer, "globex", "ROLE_MISSING", false},
		{member("ORGANISATION_ADMIN acme"), link.RoleViewer, "", "ROLE_MISSING", false},
		{member("ORGANISATION_ADMIN "), link.RoleViewer, "", "ROLE_MISSING", false},
		{member("CLUSTER_ADMIN c1, ORGANISATION_ADMIN globex"), link.RoleOrganisationAdmin, "c1", "ROLE_ABOVE_OWN", false},
		{member("OPERATOR "), link.RoleOperator, "", "OPERATOR", true},
	} {
		d := MayGrant(c.caller, c.role, scopeOf(c.at), placeOf(c.at))
		if d.Rule != c.rule || d.Allow != c.allow {
			t.Errorf("%v gives %s at %q: %+v, want %s", c.caller.Grants, c.role, c.at, d, c.rule)
		}
	}
}

// Nobody becomes, or keeps out, who may more.
func TestMayControl(t *testing.T) {
	for _, c := range []struct {
		caller Caller
		holds  string
		rule   string
		allow  bool
	}{
		{Caller{Role: Operator}, "OPERATOR ", "OPERATOR", true},
		{Caller{}, "VIEWER c1", "PRINCIPAL_ABOVE_OWN", false},
		{member("ORGANISATION_ADMIN "), "", "ROLES_COVERED", true},
		{member("ORGANISATION_ADMIN "), "ORGANISATION_ADMIN acme, VIEWER ", "ROLES_COVERED", true},
		{member("ORGANISATION_ADMIN "), "VIEWER c1, OPERATOR ", "PRINCIPAL_ABOVE_OWN", false},
		{member("ORGANISATION_ADMIN acme"), "ORGANISATION_ADMIN acme, VIEWER c1", "ROLES_COVERED", true},
		{member("ORGANISATION_ADMIN acme"), "ORGANISATION_ADMIN acme, VIEWER globex", "PRINCIPAL_ABOVE_OWN", false},
		{member("ORGANISATION_ADMIN acme"), "VIEWER ", "PRINCIPAL_ABOVE_OWN", false},
	} {
		d := MayControl(c.caller, member(c.holds).Grants)
		if d.Rule != c.rule || d.Allow != c.allow {
			t.Errorf("%v over %q: %+v, want %s", c.caller.Grants, c.holds, d, c.rule)
		}
	}
}

func TestRolesFitTheirScopes(t *testing.T) {
	scopes := []link.ScopeKind{link.ScopeInstallation, link.ScopeOrganisation, link.ScopeProject, link.ScopeCluster}
	want := map[link.Role]int{
		link.RoleOperator: 1, link.RoleOrganisationAdmin: 2, link.RoleProjectAdmin: 3, link.RoleClusterAdmin: 4, link.RoleClusterOperator: 4,
		link.RoleViewer: 4, "made up": 0,
	}
	for role, n := range want {
		for i, scope := range append(scopes, "made up") {
			if got := Fits(role, scope); got != (i < n) {
				t.Errorf("Fits(%s, %s) = %t", role, scope, got)
			}
		}
	}
}

// The table of the documentation is the one that decides.
func TestDocumentedRoles(t *testing.T) {
	text, err := os.ReadFile("../../docs/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| of | action | takes |\n|---|---|---|\n")
	for _, n := range Needs {
		least := string(n.Least)
		if least == "" {
			least = "to be signed in"
		}
		fmt.Fprintf(&want, "| %s | %s | %s |\n", n.Kind, n.Action, least)
	}
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("docs/identity.md does not hold this table:\n%s", want.String())
	}
}
