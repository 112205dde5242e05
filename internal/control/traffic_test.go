package control_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// ofCluster is a cluster's part of the rules.
func (d *desk) ofCluster(id link.ID) link.ClusterRules {
	d.t.Helper()
	_, set := d.rules()
	for _, c := range set.Clusters {
		if c.ClusterID == id {
			return c
		}
	}
	d.t.Fatalf("no rules of cluster %s", id)
	return link.ClusterRules{}
}

// withBackends makes a cluster with backends a:1, b:2 and c:3.
func (d *desk) withBackends() link.Cluster {
	d.t.Helper()
	r := d.request("acme")
	r.Backends = []string{"a:1", "b:2", "c:3"}
	return ok[link.Cluster](d.t)(d.CreateCluster(d.ctx, operator, r))
}

func TestTrafficSettings(t *testing.T) {
	d := newDesk(t)
	c := d.withBackends()
	asNew := link.ClusterTraffic{Backends: []link.Backend{{Address: "a:1"}, {Address: "b:2"}, {Address: "c:3"}}}
	if diff := cmp.Diff(asNew, ok[link.ClusterTraffic](t)(d.ClusterTraffic(d.ctx, operator, c.ID))); diff != "" {
		t.Errorf("of a new cluster: %s", diff)
	}
	all := control.TrafficUpdate{
		Backends: []control.BackendUpdate{{Address: "b:2", Weight: new(7)}, {Address: "c:3", Draining: new(true)}},
		Health: &link.HealthCheck{
			Check: link.CheckHTTPS, Path: "/ready", Statuses: []int{204, 200}, Interval: 5 * time.Second, Timeout: time.Second, Rise: 1, Fall: 5,
		},
		ProxyProtocol: new(true), DeniedPorts: &[]uint16{3389, 22},
		Limits: control.LimitsUpdate{Flows: new(100), FlowsPerSecond: new(10), FlowsPerEndpoint: new(5), FlowsPerSecondByEndpoint: new(1)},
	}
	want := link.ClusterTraffic{
		Backends: []link.Backend{{Address: "a:1"}, {Address: "b:2", Weight: 7}, {Address: "c:3", Draining: true}},
		Health: link.HealthCheck{
			Check: link.CheckHTTPS, Path: "/ready", Statuses: []int{200, 204}, Interval: 5 * time.Second, Timeout: time.Second, Rise: 1, Fall: 5,
		},
		ProxyProtocol: true, DeniedPorts: []uint16{22, 3389},
		Limits: link.Limits{Flows: 100, FlowsPerSecond: 10, FlowsPerEndpoint: 5, FlowsPerSecondByEndpoint: 1},
	}
	set := func(what string, bumps bool, u control.TrafficUpdate) {
		t.Helper()
		d.bumps(what, bumps, func() error {
			got, err := d.UpdateClusterTraffic(d.ctx, operator, c.ID, u)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			return err
		})
		if diff := cmp.Diff(want, ok[link.ClusterTraffic](t)(d.ClusterTraffic(d.ctx, operator, c.ID))); diff != "" {
			t.Errorf("%s, read again: %s", what, diff)
		}
		r := d.ofCluster(c.ID)
		got := link.ClusterTraffic{Backends: r.Backends, Health: r.Health, ProxyProtocol: r.ProxyProtocol, DeniedPorts: r.DeniedPorts, Limits: r.Limits}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, in the rules: %s", what, diff)
		}
	}
	set("everything", true, all)
	set("everything again", false, all)
	set("nothing", false, control.TrafficUpdate{})
	want.Backends[1].Draining, want.Limits.Flows = true, 0
	set("one backend and one limit", true, control.TrafficUpdate{
		Backends: []control.BackendUpdate{{Address: "b:2", Draining: new(true)}}, Limits: control.LimitsUpdate{Flows: new(0)},
	})
	want.Backends[1].Weight = 0
	set("a weight of 1 is as none", true, control.TrafficUpdate{Backends: []control.BackendUpdate{{Address: "b:2", Weight: new(1)}}})
	want.Health, want.DeniedPorts = link.HealthCheck{}, nil
	set("no check and no port", true, control.TrafficUpdate{Health: &link.HealthCheck{}, DeniedPorts: &[]uint16{}})

	// A backend that was taken away and comes back comes as new; the others keep what they have.
	backends := []string{"d:4", "c:3"}
	ok[link.Cluster](t)(d.UpdateCluster(d.ctx, operator, c.ID, control.ClusterUpdate{Backends: &backends}))
	want.Backends = []link.Backend{{Address: "d:4"}, {Address: "c:3", Draining: true}}
	set("other backends", false, control.TrafficUpdate{})
	backends = []string{"b:2", "c:3"}
	ok[link.Cluster](t)(d.UpdateCluster(d.ctx, operator, c.ID, control.ClusterUpdate{Backends: &backends}))
	want.Backends[0] = link.Backend{Address: "b:2"}
	set("a backend that comes back", false, control.TrafficUpdate{})

	d.bumps("putting what a new cluster has", true, func() error {
		got, err := d.PutClusterTraffic(d.ctx, operator, c.ID, control.TrafficUpdate{})
		if diff := cmp.Diff(link.ClusterTraffic{Backends: []link.Backend{{Address: "b:2"}, {Address: "c:3"}}}, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
	if got, want := d.history(link.ObjectCluster, string(c.ID)),
		"CREATED"+strings.Repeat(", CHANGED TRAFFIC", 4)+", CHANGED BACKENDS, CHANGED BACKENDS, CHANGED TRAFFIC"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}
}

// Two people change different halves at the same time: neither may write back what the other changed.
func TestTrafficChangesDoNotUndoEachOther(t *testing.T) {
	d := newDesk(t)
	c := d.withBackends()
	for round := range 20 {
		drain, flows := round%2 == 0, round+1
		var both sync.WaitGroup
		for _, u := range []control.TrafficUpdate{
			{Backends: []control.BackendUpdate{{Address: "a:1", Draining: &drain}}}, {Limits: control.LimitsUpdate{Flows: &flows}},
		} {
			both.Go(func() {
				if _, err := d.UpdateClusterTraffic(d.ctx, operator, c.ID, u); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if got := ok[link.ClusterTraffic](t)(d.ClusterTraffic(d.ctx, operator, c.ID)); got.Backends[0].Draining != drain || got.Limits.Flows != flows {
			t.Fatalf("round %d: %+v", round, got)
		}
	}
}

func TestBadTrafficSettingsNameTheirField(t *testing.T) {
	d := newDesk(t)
	c := d.withBackends()
	backend := func(b ...control.BackendUpdate) control.TrafficUpdate { return control.TrafficUpdate{Backends: b} }
	health := func(h link.HealthCheck) control.TrafficUpdate { return control.TrafficUpdate{Health: &h} }
	http := func(edit func(*link.HealthCheck)) control.TrafficUpdate {
		h := link.HealthCheck{Check: link.CheckHTTP}
		edit(&h)
		return health(h)
	}
	ports := func(p ...uint16) control.TrafficUpdate { return control.TrafficUpdate{DeniedPorts: &p} }
	limit := func(n int) control.TrafficUpdate {
		return control.TrafficUpdate{Limits: control.LimitsUpdate{FlowsPerSecond: &n}}
	}
	before := d.revision()
	for _, row := range []struct {
		name   string
		update control.TrafficUpdate
		reason string
		field  string
	}{
		{"backend of no cluster", backend(control.BackendUpdate{Address: "a:1"}, control.BackendUpdate{Address: "z:1"}), "UNKNOWN_BACKEND", "backends[1].address"},
		{"backend twice", backend(control.BackendUpdate{Address: "a:1"}, control.BackendUpdate{Address: "a:1"}), "DUPLICATE", "backends[1].address"},
		{"weight 0", backend(control.BackendUpdate{Address: "a:1", Weight: new(0)}), "MALFORMED_WEIGHT", "backends[0].weight"},
		{"weight 257", backend(control.BackendUpdate{Address: "a:1", Weight: new(257)}), "MALFORMED_WEIGHT", "backends[0].weight"},
		{"101 backends", backend(make([]control.BackendUpdate, 101)...), "TOO_MANY", "backends"},
		{"check made up", health(link.HealthCheck{Check: "PING"}), "MALFORMED_CHECK", "health.check"},
		{"no check, with settings", health(link.HealthCheck{Rise: 1}), "CHECK_REQUIRED", "health.check"},
		{"path of a TCP check", health(link.HealthCheck{Check: link.CheckTCP, Path: "/"}), "NOT_HTTP", "health.path"},
		{"status of a PostgreSQL check", health(link.HealthCheck{Check: link.CheckPostgres, Statuses: []int{200}}), "NOT_HTTP", "health.statuses"},
		{"path without a slash", http(func(h *link.HealthCheck) { h.Path = "healthz" }), "MALFORMED_PATH", "health.path"},
		{"path with a space", http(func(h *link.HealthCheck) { h.Path = "/a b" }), "MALFORMED_PATH", "health.path"},
		{"path with a second request", http(func(h *link.HealthCheck) { h.Path = "/ HTTP/1.1\r\nX: y" }), "MALFORMED_PATH", "health.path"},
		{"path with an umlaut", http(func(h *link.HealthCheck) { h.Path = "/ä" }), "MALFORMED_PATH", "health.path"},
		{"path of 1025", http(func(h *link.HealthCheck) { h.Path = "/" + strings.Repeat("a", 1024) }), "MALFORMED_PATH", "health.path"},
		{"status 99", http(func(h *link.HealthCheck) { h.Statuses = []int{200, 99} }), "MALFORMED_STATUS", "health.statuses[1]"},
		{"status 600", http(func(h *link.HealthCheck) { h.Statuses = []int{600} }), "MALFORMED_STATUS", "health.statuses[0]"},
		{"status twice", http(func(h *link.HealthCheck) { h.Statuses = []int{200, 200} }), "DUPLICATE", "health.statuses[1]"},
		{"interval below nothing", http(func(h *link.HealthCheck) { h.Interval = -time.Second }), "MALFORMED_DURATION", "health.interval_seconds"},
		{"interval over an hour", http(func(h *link.HealthCheck) { h.Interval = time.Hour + time.Second }), "MALFORMED_DURATION", "health.interval_seconds"},
		{"interval of half a second", http(func(h *link.HealthCheck) { h.Interval = time.Second / 2 }), "MALFORMED_DURATION", "health.interval_seconds"},
		{"timeout over a minute", http(func(h *link.HealthCheck) { h.Interval, h.Timeout = time.Hour, 61*time.Second }), "MALFORMED_DURATION", "health.timeout_seconds"},
		{"timeout over the interval", http(func(h *link.HealthCheck) { h.Interval, h.Timeout = time.Second, 2*time.Second }), "TIMEOUT_TOO_LONG", "health.timeout_seconds"},
		{"the default timeout over the interval", http(func(h *link.HealthCheck) { h.Interval = 2 * time.Second }), "TIMEOUT_TOO_LONG", "health.timeout_seconds"},
		{"timeout over the default interval", http(func(h *link.HealthCheck) { h.Timeout = 11 * time.Second }), "TIMEOUT_TOO_LONG", "health.timeout_seconds"},
		{"rise below nothing", http(func(h *link.HealthCheck) { h.Rise = -1 }), "MALFORMED_COUNT", "health.rise"},
		{"fall 101", http(func(h *link.HealthCheck) { h.Fall = 101 }), "MALFORMED_COUNT", "health.fall"},
		{"denied port 0", ports(22, 0), "MALFORMED_PORT", "denied_ports[1]"},
		{"denied port twice", ports(22, 22), "DUPLICATE", "denied_ports[1]"},
		{"101 denied ports", ports(make([]uint16, 101)...), "TOO_MANY", "denied_ports"},
		{"limit below nothing", limit(-1), "MALFORMED_LIMIT", "limits.flows_per_second"},
		{"limit too large", limit(10_000_001), "MALFORMED_LIMIT", "limits.flows_per_second"},
	} {
		_, put := d.PutClusterTraffic(d.ctx, operator, c.ID, row.update)
		_, patch := d.UpdateClusterTraffic(d.ctx, operator, c.ID, row.update)
		for _, err := range []error{put, patch} {
			t.Run(row.name, func(t *testing.T) { (&desk{t: t}).refuses(err, link.Invalid, row.reason, row.field) })
		}
	}
	if after := d.revision(); after != before {
		t.Errorf("refused settings changed the rules: revision %d, before %d", after, before)
	}
	for role, want := range map[policy.Role]link.Kind{policy.Anonymous: link.Unauthenticated, policy.Gateway: link.Denied} {
		who := policy.Caller{Role: role}
		_, read := d.ClusterTraffic(d.ctx, who, c.ID)
		_, change := d.UpdateClusterTraffic(d.ctx, who, c.ID, control.TrafficUpdate{})
		if link.KindOf(read) != want || link.KindOf(change) != want {
			t.Errorf("by %q: %v, %v", who.Role, read, change)
		}
	}
	_, read := d.ClusterTraffic(d.ctx, operator, link.NewID())
	_, change := d.PutClusterTraffic(d.ctx, operator, link.NewID(), control.TrafficUpdate{})
	for _, err := range []error{read, change} {
		d.refuses(err, link.NotFound, "CLUSTER_NOT_FOUND", "")
	}
}
