package fabric

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// One target from its registration on, as DescribeTargetHealth tells it.
func TestTargetHealth(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	target := targetOf(ln.Addr())
	w := newWorld(t, nil).build(target)
	health := func() TargetHealth { return w.health(target) }

	await(t, "healthy", func() bool { return health() == healthHealthy })
	ln.Close()
	await(t, "unhealthy", func() bool { return health() == healthFailed })

	w.change(func(s *State) { s.TargetGroups[w.tg].HealthCheck.Enabled = false })
	await(t, "unavailable", func() bool { return health() == healthOff })

	w.change(func(s *State) { delete(s.Listeners, w.listener) })
	await(t, "unused", func() bool { return health() == healthUnused })

	w.change(func(s *State) {
		s.LoadBalancers[w.lb].State = "provisioning"
		s.Listeners[w.listener] = &Listener{ARN: w.listener, LoadBalancerARN: w.lb, Port: 443, TargetGroupARN: w.tg}
	})
	await(t, "starting", func() bool { return health() == healthStarting })
}

// A target that never answered stays initial until enough checks failed.
func TestNote(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   TargetHealth
		checks string // h: healthy, f: failed, t: timed out
		want   []TargetHealth
	}{
		{"first success", healthInitial, "h", []TargetHealth{healthHealthy}},
		{"failures from the start", healthInitial, "ff", []TargetHealth{healthInitial, healthFailed}},
		{"a failure, then a success", healthInitial, "fh", []TargetHealth{healthInitial, healthHealthy}},
		{"one failure is forgiven", healthHealthy, "fhf", []TargetHealth{healthHealthy, healthHealthy, healthHealthy}},
		{"two are not", healthHealthy, "ft", []TargetHealth{healthHealthy, healthTimeout}},
		{"three successes to come back", healthFailed, "hhh", []TargetHealth{healthFailed, healthFailed, healthHealthy}},
		{"a failure on the way back", healthFailed, "hhfhh", []TargetHealth{healthFailed, healthFailed, healthFailed, healthFailed, healthFailed}},
		{"the latest reason counts", healthFailed, "t", []TargetHealth{healthTimeout}},
	} {
		ct := &checkedTarget{check: HealthCheck{HealthyThreshold: 3, UnhealthyThreshold: 2}, health: c.from}
		for i, check := range c.checks {
			ct.note(map[rune]TargetHealth{'h': healthHealthy, 'f': healthFailed, 't': healthTimeout}[check])
			if ct.health != c.want[i] {
				t.Errorf("%s: after check %d: %+v, want %+v", c.name, i+1, ct.health, c.want[i])
			}
		}
	}
}

func TestProbe(t *testing.T) {
	answer := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plain, tls := httptest.NewServer(answer), httptest.NewTLSServer(answer)
	defer plain.Close()
	defer tls.Close()
	mismatch := TargetHealth{"unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]"}
	at := func(s *httptest.Server) Target { return targetOf(s.Listener.Addr()) }
	for _, c := range []struct {
		name   string
		check  HealthCheck
		target Target
		want   TargetHealth
	}{
		{"TCP", HealthCheck{Protocol: "TCP", Port: "traffic-port"}, at(plain), healthHealthy},
		{"HTTP", HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/health"}, at(plain), healthHealthy},
		{"HTTPS", HealthCheck{Protocol: "HTTPS", Port: "traffic-port", Path: "/health"}, at(tls), healthHealthy},
		{"another code", HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/"}, at(plain), mismatch},
		{"that code is fine", HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/", Matcher: "200,500-503"}, at(plain), healthHealthy},
		{"another port", HealthCheck{Protocol: "TCP", Port: "1"}, at(plain), healthFailed},
		{"no machine", HealthCheck{Protocol: "TCP", Port: "traffic-port"}, Target{ID: "10.0.0.9", Port: 443}, healthTimeout},
		{"an instance", HealthCheck{Protocol: "TCP", Port: "traffic-port"}, Target{ID: "i-0123", Port: 443}, healthTimeout},
	} {
		if got := probe(t.Context(), c.check, c.target, false); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// An unhealthy target gets no flow while a healthy one is there.
func TestUnhealthyTargetIsAvoided(t *testing.T) {
	good := startTarget(t, echo)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	w := newWorld(t, nil).build(good, targetOf(dead.Addr()))
	await(t, "one healthy, one not", func() bool {
		return w.health(good) == healthHealthy && w.health(targetOf(dead.Addr())) == healthFailed
	})
	s := w.f.snapshot()
	here, _ := placeOf(s, vantage{vpcID: w.customer.VPCID})
	r := findRoute(s, here, netip.AddrPortFrom(w.interfaceAddr(0), 443), nil, w.f.network.checks.healthy)
	if len(r.targets) != 1 || r.targets[0] != good.hostAddress() {
		t.Errorf("targets %v, want %s alone", r.targets, good.hostAddress())
	}
}
