package control_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func TestServiceProfile(t *testing.T) {
	d := newDesk(t)
	put := func(what string, bumps bool, rules, want []link.PortRule) {
		t.Helper()
		d.bumps(what, bumps, func() error {
			got, err := d.PutServiceProfile(d.ctx, operator, rules)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			return err
		})
		read := ok[[]link.PortRule](t)(d.ServiceProfile(d.ctx, operator))
		_, set := d.rules()
		for _, got := range [][]link.PortRule{read, set.Ports} {
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, read again: %s", what, diff)
			}
		}
	}
	ssh := link.PortRule{Port: 2022, Protocol: link.ProtocolTCP, BackendPort: 22}
	sql := link.PortRule{Port: 5432, Protocol: link.ProtocolPostgres, Traffic: link.TrafficSQL}
	web := link.PortRule{Port: 443, Protocol: link.ProtocolTLS, Traffic: link.TrafficUI}
	rdp := link.PortRule{Port: 65535, Denied: true}
	put("nothing where there is nothing", false, nil, nil)
	put("some rules", true, []link.PortRule{rdp, ssh, sql, web}, []link.PortRule{web, ssh, sql, rdp})
	put("the same in another order", false, []link.PortRule{web, rdp, sql, ssh}, []link.PortRule{web, ssh, sql, rdp})
	sql.Denied = true
	put("others", true, []link.PortRule{sql}, []link.PortRule{sql})
	put("none", true, nil, nil)
	if got, want := d.history(link.ObjectServiceProfile, ""), "CHANGED PORTS, CHANGED PORTS, CHANGED PORTS"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}

	before := d.revision()
	for _, row := range []struct {
		name   string
		rules  []link.PortRule
		reason string
		field  string
	}{
		{"port 0", []link.PortRule{web, {}}, "MALFORMED_PORT", "ports[1].port"},
		{"port twice", []link.PortRule{web, {Port: 443}}, "DUPLICATE", "ports[1].port"},
		{"protocol made up", []link.PortRule{{Port: 1, Protocol: "UDP"}}, "MALFORMED_PROTOCOL", "ports[0].protocol"},
		{"class made up", []link.PortRule{{Port: 1, Traffic: "MAIL"}}, "MALFORMED_TRAFFIC", "ports[0].traffic"},
		{"101 rules", make([]link.PortRule, 101), "TOO_MANY", "ports"},
	} {
		_, err := d.PutServiceProfile(d.ctx, operator, row.rules)
		t.Run(row.name, func(t *testing.T) { (&desk{t: t}).refuses(err, link.Invalid, row.reason, row.field) })
	}
	for role, want := range map[policy.Role]link.Kind{policy.Anonymous: link.Unauthenticated, policy.Gateway: link.Denied} {
		who := policy.Caller{Role: role}
		_, read := d.ServiceProfile(d.ctx, who)
		_, change := d.PutServiceProfile(d.ctx, who, nil)
		if link.KindOf(read) != want || link.KindOf(change) != want {
			t.Errorf("by %q: %v, %v", who.Role, read, change)
		}
	}
	if after := d.revision(); after != before {
		t.Errorf("refused rules changed the rules: revision %d, before %d", after, before)
	}
}
