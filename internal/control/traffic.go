package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// TrafficUpdate holds what to change about a cluster's traffic settings; nil leaves it as it is.
type TrafficUpdate struct {
	Backends      []BackendUpdate // of the backends that they name; the others stay as they are
	Health        *link.HealthCheck
	ProxyProtocol *bool
	DeniedPorts   *[]uint16
	Limits        LimitsUpdate
}

// BackendUpdate holds what to change about one backend of a cluster; nil leaves it as it is.
type BackendUpdate struct {
	Address  string // one of the cluster's backends
	Weight   *int   // 1 to 256
	Draining *bool
}

// LimitsUpdate holds what to change about a cluster's limits; nil leaves it as it is, 0 is no limit.
type LimitsUpdate struct {
	Flows, FlowsPerSecond, FlowsPerEndpoint, FlowsPerSecondByEndpoint *int
}

// ClusterTraffic returns a cluster's traffic settings, with all of its backends.
func (p *Plane) ClusterTraffic(ctx context.Context, c policy.Caller, id link.ID) (out link.ClusterTraffic, err error) {
	err = p.read(ctx, c, trafficRef(id), func(tx *store.Tx) error {
		cl, err := cluster(tx, id)
		if err != nil {
			return err
		}
		out, err = tx.ClusterTraffic(id)
		out.Backends = out.Settle(cl.Backends)
		return err
	})
	return out, err
}

// UpdateClusterTraffic changes what u names of a cluster's traffic settings and returns them as they are then.
func (p *Plane) UpdateClusterTraffic(ctx context.Context, c policy.Caller, id link.ID, u TrafficUpdate) (link.ClusterTraffic, error) {
	return p.setTraffic(ctx, c, id, u, func(old link.ClusterTraffic) link.ClusterTraffic { return old })
}

// PutClusterTraffic makes a cluster's traffic settings be as u says; what it does not name becomes as in the zero
// link.ClusterTraffic.
func (p *Plane) PutClusterTraffic(ctx context.Context, c policy.Caller, id link.ID, u TrafficUpdate) (link.ClusterTraffic, error) {
	return p.setTraffic(ctx, c, id, u, func(link.ClusterTraffic) link.ClusterTraffic { return link.ClusterTraffic{} })
}

// setTraffic applies u to what from makes of the settings that there are.
func (p *Plane) setTraffic(ctx context.Context, c policy.Caller, id link.ID, u TrafficUpdate, from func(link.ClusterTraffic) link.ClusterTraffic) (out link.ClusterTraffic, err error) {
	if err := checkTraffic(u); err != nil {
		return link.ClusterTraffic{}, err
	}
	err = p.change(ctx, c, trafficRef(id), func(ch *change) error {
		cl, err := cluster(ch.Tx, id)
		if err != nil {
			return err
		}
		for i, b := range u.Backends {
			if !slices.Contains(cl.Backends, b.Address) {
				return invalid(fmt.Sprintf("backends[%d].address", i), "UNKNOWN_BACKEND", "cluster "+cl.Name+" has no backend "+link.Quote(b.Address),
					"it has "+orNone(strings.Join(cl.Backends, ", ")))
			}
		}
		before, err := ch.ClusterTraffic(id)
		if err != nil {
			return err
		}
		before.Backends = before.Settle(cl.Backends)
		out = from(before)
		out.Backends = out.Settle(cl.Backends)
		u.apply(&out)
		if reflect.DeepEqual(before, out) {
			return nil
		}
		return errors.Join(ch.PutClusterTraffic(id, out), ch.RulesChanged(store.RulesOfCluster, id),
			ch.note(clusterRef(id), eventChanged, "TRAFFIC", "the traffic settings were changed"),
			ch.changed(trafficRef(id), eventChanged, "TRAFFIC", before, out, "the traffic settings are now: %s", describeTraffic(out)))
	})
	return out, err
}

// apply changes t, which holds all backends of its cluster, as u says.
func (u TrafficUpdate) apply(t *link.ClusterTraffic) {
	for _, b := range u.Backends {
		for i := range t.Backends {
			if t.Backends[i].Address != b.Address {
				continue
			}
			if b.Weight != nil {
				t.Backends[i].Weight = *b.Weight
			}
			if b.Draining != nil {
				t.Backends[i].Draining = *b.Draining
			}
			if t.Backends[i].Weight == 1 {
				t.Backends[i].Weight = 0 // the same, and as it is of a backend that nobody set anything for
			}
		}
	}
	if u.Health != nil {
		t.Health = *u.Health
		t.Health.Statuses = slices.Sorted(slices.Values(t.Health.Statuses))
	}
	if u.ProxyProtocol != nil {
		t.ProxyProtocol = *u.ProxyProtocol
	}
	if u.DeniedPorts != nil {
		t.DeniedPorts = slices.Sorted(slices.Values(*u.DeniedPorts))
	}
	for _, l := range u.Limits.each(&t.Limits) {
		if l.to != nil {
			*l.of = *l.to
		}
	}
}

// limit is one limit of a cluster: its field on the wire, what it is to become, and where it stands.
type limit struct {
	field string
	to    *int
	of    *int
}

func (u LimitsUpdate) each(l *link.Limits) []limit {
	return []limit{
		{"flows", u.Flows, &l.Flows},
		{"flows_per_second", u.FlowsPerSecond, &l.FlowsPerSecond},
		{"flows_per_endpoint", u.FlowsPerEndpoint, &l.FlowsPerEndpoint},
		{"flows_per_second_by_endpoint", u.FlowsPerSecondByEndpoint, &l.FlowsPerSecondByEndpoint},
	}
}

// forgetBackends drops the traffic settings of backends that a cluster has no more: one that comes back comes as new.
func (ch *change) forgetBackends(cl link.Cluster) error {
	t, err := ch.ClusterTraffic(cl.ID)
	if err != nil || len(t.Backends) == 0 {
		return err
	}
	t.Backends = t.Settle(cl.Backends)
	return ch.PutClusterTraffic(cl.ID, t)
}

// Bounds of traffic settings.
const (
	mostWeight   = 256 // as link.Backend says
	mostLimited  = 10_000_000
	mostPath     = 1024
	mostInterval = time.Hour
	mostTimeout  = time.Minute
	mostInARow   = 100
)

func checkTraffic(u TrafficUpdate) error {
	if err := checkLength("backends", u.Backends); err != nil {
		return err
	}
	for i, b := range u.Backends {
		if b.Weight != nil && (*b.Weight < 1 || *b.Weight > mostWeight) {
			return invalid(fmt.Sprintf("backends[%d].weight", i), "MALFORMED_WEIGHT", fmt.Sprintf("not a weight: %d", *b.Weight),
				fmt.Sprintf("give 1 to %d; a backend that is to get no new flows is drained", mostWeight))
		}
		if slices.ContainsFunc(u.Backends[:i], func(o BackendUpdate) bool { return o.Address == b.Address }) {
			return invalid(fmt.Sprintf("backends[%d].address", i), "DUPLICATE", link.Quote(b.Address)+" is given twice", "")
		}
	}
	if u.Health != nil {
		if err := checkHealth(*u.Health); err != nil {
			return err
		}
	}
	if u.DeniedPorts != nil {
		if err := checkPorts("denied_ports", *u.DeniedPorts); err != nil {
			return err
		}
	}
	for _, l := range u.Limits.each(&link.Limits{}) {
		if l.to != nil && (*l.to < 0 || *l.to > mostLimited) {
			return invalid("limits."+l.field, "MALFORMED_LIMIT", fmt.Sprintf("not a limit: %d", *l.to), fmt.Sprintf("give 1 to %d, or 0 for none", mostLimited))
		}
	}
	return nil
}

func checkPorts(field string, ports []uint16) error {
	if err := checkLength(field, ports); err != nil {
		return err
	}
	for i, port := range ports {
		at := fmt.Sprintf("%s[%d]", field, i)
		if port == 0 {
			return invalid(at, "MALFORMED_PORT", "0 is not a port", "give 1 to 65535")
		}
		if slices.Contains(ports[:i], port) {
			return invalid(at, "DUPLICATE", fmt.Sprintf("port %d is given twice", port), "")
		}
	}
	return nil
}

// What a gateway does where a health check leaves it open: see link.HealthCheck.
const (
	defaultInterval = 10 * time.Second
	defaultTimeout  = 3 * time.Second
)

func checkHealth(h link.HealthCheck) error {
	switch h.Check {
	case link.CheckNone:
		if !reflect.DeepEqual(h, link.HealthCheck{}) {
			return invalid("health.check", "CHECK_REQUIRED", "a health check that checks nothing has no settings", "give TCP, TLS, HTTP, HTTPS or POSTGRES")
		}
		return nil
	case link.CheckHTTP, link.CheckHTTPS:
		if err := checkRequest(h); err != nil {
			return err
		}
	case link.CheckTCP, link.CheckTLS, link.CheckPostgres:
		if h.Path != "" {
			return invalid("health.path", "NOT_HTTP", "a check of "+string(h.Check)+" asks for no path", "leave it out, or give HTTP or HTTPS as the check")
		}
		if len(h.Statuses) > 0 {
			return invalid("health.statuses", "NOT_HTTP", "a check of "+string(h.Check)+" gets no status", "leave it out, or give HTTP or HTTPS as the check")
		}
	default:
		return invalid("health.check", "MALFORMED_CHECK", "not a health check: "+link.Quote(string(h.Check)), "give NONE, TCP, TLS, HTTP, HTTPS or POSTGRES")
	}
	for _, d := range []struct {
		field string
		is    time.Duration
		most  time.Duration
	}{{"interval_seconds", h.Interval, mostInterval}, {"timeout_seconds", h.Timeout, mostTimeout}} {
		if d.is < 0 || d.is > d.most || d.is%time.Second != 0 {
			return invalid("health."+d.field, "MALFORMED_DURATION", "not a time between or for checks: "+d.is.String(),
				fmt.Sprintf("give 1 to %.0f whole seconds", d.most.Seconds()))
		}
	}
	if interval, timeout := orDefault(h.Interval, defaultInterval), orDefault(h.Timeout, defaultTimeout); timeout > interval {
		return invalid("health.timeout_seconds", "TIMEOUT_TOO_LONG", fmt.Sprintf("a check may take %v, and the next begins after %v", timeout, interval),
			"give a timeout no longer than the interval")
	}
	for _, n := range []struct {
		field string
		is    int
	}{{"rise", h.Rise}, {"fall", h.Fall}} {
		if n.is < 0 || n.is > mostInARow {
			return invalid("health."+n.field, "MALFORMED_COUNT", fmt.Sprintf("not a number of checks in a row: %d", n.is), fmt.Sprintf("give 1 to %d", mostInARow))
		}
	}
	return nil
}

// checkRequest checks what only HTTP and HTTPS have.
func checkRequest(h link.HealthCheck) error {
	visible := !strings.ContainsFunc(h.Path, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' })
	if h.Path != "" && (h.Path[0] != '/' || !visible || len(h.Path) > mostPath) {
		return invalid("health.path", "MALFORMED_PATH", "not a path: "+link.Quote(h.Path),
			fmt.Sprintf("a path begins with / and has at most %d characters, other than visible ASCII ones escaped, for example /healthz", mostPath))
	}
	if err := checkLength("health.statuses", h.Statuses); err != nil {
		return err
	}
	for i, s := range h.Statuses {
		field := fmt.Sprintf("health.statuses[%d]", i)
		if s < 100 || s > 599 {
			return invalid(field, "MALFORMED_STATUS", fmt.Sprintf("not an HTTP status: %d", s), "give 100 to 599")
		}
		if slices.Contains(h.Statuses[:i], s) {
			return invalid(field, "DUPLICATE", fmt.Sprintf("status %d is given twice", s), "")
		}
	}
	return nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// describeTraffic says what is set, for a line of history.
func describeTraffic(t link.ClusterTraffic) string {
	var out []string
	for _, b := range t.Backends {
		if b.Weight != 0 {
			out = append(out, fmt.Sprintf("%s has weight %d", b.Address, b.Weight))
		}
		if b.Draining {
			out = append(out, b.Address+" is draining")
		}
	}
	if t.Health.Check != link.CheckNone {
		out = append(out, strings.TrimSpace(fmt.Sprintf("backends are checked by %s %s", t.Health.Check, t.Health.Path)))
	}
	if t.ProxyProtocol {
		out = append(out, "backends get PROXY protocol")
	}
	for _, port := range t.DeniedPorts {
		out = append(out, fmt.Sprintf("port %d is denied", port))
	}
	for _, l := range (LimitsUpdate{}).each(&t.Limits) {
		if *l.of != 0 {
			out = append(out, fmt.Sprintf("at most %d %s", *l.of, strings.ReplaceAll(l.field, "_", " ")))
		}
	}
	return orNone(strings.Join(out, ", "))
}
