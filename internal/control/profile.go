package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

var profileRef = link.ObjectRef{Kind: link.ObjectServiceProfile}

// ServiceProfile lists the rules of the service's ports, by port. A port without a rule carries TLS or PostgreSQL.
func (p *Plane) ServiceProfile(ctx context.Context, c policy.Caller) (out []link.PortRule, err error) {
	err = p.read(ctx, c, profileRef, func(tx *store.Tx) error {
		out, err = tx.PortRules()
		return err
	})
	return out, err
}

// PutServiceProfile makes rules all that there are, and returns them by port. They hold in every region: a gateway is told
// the port that a client dialled, and not which region's load balancer it dialled it at.
func (p *Plane) PutServiceProfile(ctx context.Context, c policy.Caller, rules []link.PortRule) ([]link.PortRule, error) {
	if err := checkProfile(rules); err != nil {
		return nil, err
	}
	rules = slices.SortedFunc(slices.Values(rules), func(a, b link.PortRule) int { return cmp.Compare(a.Port, b.Port) })
	err := p.change(ctx, c, profileRef, func(ch *change) error {
		before, err := ch.PortRules()
		if err != nil || slices.Equal(before, rules) {
			return err
		}
		return errors.Join(ch.PutPortRules(rules), ch.RulesChanged(store.RulesOfPorts, ""),
			ch.changed(profileRef, eventChanged, "PORTS", before, rules, "the rules of ports are now: %s", describeProfile(rules)))
	})
	return rules, err
}

func checkProfile(rules []link.PortRule) error {
	if err := checkLength("ports", rules); err != nil {
		return err
	}
	for i, r := range rules {
		field := fmt.Sprintf("ports[%d]", i)
		if r.Port == 0 {
			return invalid(field+".port", "MALFORMED_PORT", "0 is not a port", "give 1 to 65535")
		}
		if slices.ContainsFunc(rules[:i], func(o link.PortRule) bool { return o.Port == r.Port }) {
			return invalid(field+".port", "DUPLICATE", fmt.Sprintf("port %d has two rules", r.Port), "give one rule per port")
		}
		switch r.Protocol {
		case link.ProtocolAuto, link.ProtocolTLS, link.ProtocolPostgres, link.ProtocolTCP:
		default:
			return invalid(field+".protocol", "MALFORMED_PROTOCOL", "not a protocol of a port: "+link.Quote(string(r.Protocol)),
				"give TLS, POSTGRES or TCP; nothing for TLS and PostgreSQL alike")
		}
		switch r.Traffic {
		case link.TrafficAny, link.TrafficUI, link.TrafficSQL:
		default:
			return invalid(field+".traffic", "MALFORMED_TRAFFIC", "not a class of port: "+link.Quote(string(r.Traffic)), "give UI or SQL; nothing for neither")
		}
	}
	return nil
}

func describeProfile(rules []link.PortRule) string {
	out := make([]string, len(rules))
	for i, r := range rules {
		parts := []string{fmt.Sprint(r.Port)}
		if r.Protocol != link.ProtocolAuto {
			parts = append(parts, string(r.Protocol))
		}
		if r.Traffic != link.TrafficAny {
			parts = append(parts, string(r.Traffic))
		}
		if r.Denied {
			parts = append(parts, "denied")
		}
		if r.BackendPort != 0 {
			parts = append(parts, fmt.Sprintf("to port %d", r.BackendPort))
		}
		out[i] = strings.Join(parts, " ")
	}
	return orNone(strings.Join(out, ", "))
}
