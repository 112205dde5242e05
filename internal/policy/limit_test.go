package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

// What a key leaves of grants: o1 holds p1, which holds c1; o2 is another organisation.
func TestLimit(t *testing.T) {
	var (
		everywhere = link.Scope{Kind: link.ScopeInstallation}
		o1         = link.Scope{Kind: link.ScopeOrganisation, ID: "o1"}
		o2         = link.Scope{Kind: link.ScopeOrganisation, ID: "o2"}
		p1         = link.Scope{Kind: link.ScopeProject, ID: "p1"}
		c1         = link.Scope{Kind: link.ScopeCluster, ID: "c1"}
		at         = map[link.Scope]link.Place{
			{}: {}, everywhere: {}, o1: {OrganisationID: "o1"}, o2: {OrganisationID: "o2"},
			p1: {OrganisationID: "o1", ProjectID: "p1"}, c1: {OrganisationID: "o1", ProjectID: "p1", ClusterID: "c1"},
		}
	)
	grant := func(r link.Role, s link.Scope) link.Grant { return link.Grant{Role: r, Scope: s, Within: at[s]} }
	for _, c := range []struct {
		name    string
		has     []link.Grant
		ceiling link.Role
		scope   link.Scope
		left    []link.Grant
	}{
		{"no limit", []link.Grant{grant(link.RoleOperator, everywhere)}, "", link.Scope{}, []link.Grant{grant(link.RoleOperator, everywhere)}},
		{"a ceiling below", []link.Grant{grant(link.RoleOrganisationAdmin, o1)}, link.RoleViewer, link.Scope{}, []link.Grant{grant(link.RoleViewer, o1)}},
		{"a ceiling above raises nobody", []link.Grant{grant(link.RoleViewer, o1)}, link.RoleClusterAdmin, link.Scope{}, []link.Grant{grant(link.RoleViewer, o1)}},
		{"a scope beneath the grant's", []link.Grant{grant(link.RoleClusterAdmin, o1)}, "", c1, []link.Grant{grant(link.RoleClusterAdmin, c1)}},
		{"a scope above the grant's widens nothing", []link.Grant{grant(link.RoleViewer, c1)}, "", o1, []link.Grant{grant(link.RoleViewer, c1)}},
		{"a scope beside the grant's", []link.Grant{grant(link.RoleClusterAdmin, p1)}, "", o2, []link.Grant{}},
		{"the installation for a scope", []link.Grant{grant(link.RoleViewer, p1)}, "", everywhere, []link.Grant{grant(link.RoleViewer, p1)}},
		{"an operator within an organisation", []link.Grant{grant(link.RoleOperator, everywhere)}, link.RoleClusterOperator, o1, []link.Grant{grant(link.RoleClusterOperator, o1)}},
		{
			"each grant by itself",
			[]link.Grant{grant(link.RoleViewer, o1), grant(link.RoleClusterAdmin, c1), grant(link.RoleViewer, o2)},
			link.RoleClusterOperator, p1,
			[]link.Grant{grant(link.RoleViewer, p1), grant(link.RoleClusterOperator, c1)},
		},
		{"a ceiling that nobody knows", []link.Grant{grant(link.RoleViewer, o1)}, "KING", link.Scope{}, []link.Grant{grant("KING", o1)}},
	} {
		left := Limit(c.has, c.ceiling, c.scope, at[c.scope])
		if d := cmp.Diff(c.left, left); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
		// Whatever a key is limited to, it may nothing that its principal may not.
		for _, place := range at {
			if rankOf(RoleAt(left, place)) > rankOf(RoleAt(c.has, place)) {
				t.Errorf("%s: at %+v the key has %s, its principal %q", c.name, place, RoleAt(left, place), RoleAt(c.has, place))
			}
		}
	}
}

func TestRoleOf(t *testing.T) {
	everywhere := link.Scope{Kind: link.ScopeInstallation}
	for _, c := range []struct {
		grants []link.Grant
		want   Role
	}{
		{nil, Member},
		{[]link.Grant{{Role: link.RoleViewer, Scope: everywhere}}, Member},
		{[]link.Grant{{Role: link.RoleViewer, Scope: everywhere}, {Role: link.RoleOperator, Scope: everywhere}}, Operator},
		{[]link.Grant{{Role: link.RoleOperator, Scope: link.Scope{Kind: link.ScopeOrganisation, ID: "o"}}}, Member},
	} {
		if got := RoleOf(c.grants); got != c.want {
			t.Errorf("RoleOf(%+v) = %s, want %s", c.grants, got, c.want)
		}
	}
}

// Everybody may see and end what is their own; nobody by that may what is another's.
func TestOwnCredentials(t *testing.T) {
	for _, kind := range []string{link.ObjectAPIKey, link.ObjectSession} {
		for _, a := range []Action{Read, Change} {
			for id, want := range map[string]bool{"me/": true, "me/1": true, "other/": false, "/": false, "": false, "me2/": false} {
				if d := May(Caller{ID: "me", Role: Member}, a, link.ObjectRef{Kind: kind, ID: id}, link.Place{}); d.Allow != want {
					t.Errorf("May(%s %s %q) = %+v", a, kind, id, d)
				}
			}
			if May(Caller{Role: Member}, a, link.ObjectRef{Kind: kind, ID: "/"}, link.Place{}).Allow {
				t.Errorf("a caller without an id may %s a %s of nobody", a, kind)
			}
		}
	}
	if May(Caller{ID: "me", Role: Member}, ReceiveRules, link.ObjectRef{Kind: link.ObjectAPIKey, ID: "me/"}, link.Place{}).Allow {
		t.Error("who owns a key may speak for a gateway")
	}
}
