package fabric

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TargetHealth is how a target looks to the load balancer.
type TargetHealth struct {
	State       string // initial, healthy, unhealthy, unused or unavailable, as Elastic Load Balancing writes it
	Reason      string // such as Target.FailedHealthChecks; empty when healthy
	Description string
}

// The answers of DescribeTargetHealth.
var (
	healthUnused   = TargetHealth{"unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"}
	healthStarting = TargetHealth{"initial", "Elb.RegistrationInProgress", "Target registration is in progress"}
	healthInitial  = TargetHealth{"initial", "Elb.InitialHealthChecking", "Initial health checks in progress"}
	healthHealthy  = TargetHealth{State: "healthy"}
	healthFailed   = TargetHealth{"unhealthy", "Target.FailedHealthChecks", "Health checks failed"}
	healthTimeout  = TargetHealth{"unhealthy", "Target.Timeout", "Request timed out"}
	healthOff      = TargetHealth{"unavailable", "Target.HealthCheckDisabled", "Health checks are not enabled for this target"}
)

// Checks run faster than at AWS, by healthPace: where an interval of 30 seconds is configured, which is the default, 2
// pass. A target whose health is not known yet is looked at each healthHurry, and its first success makes it healthy,
// so that what was just set up serves at once.
const (
	healthPace  = 15
	healthHurry = 200 * time.Millisecond
)

// healthChecks finds out the health of every target that a listener sends to. Health is not state: it starts anew with
// the process.
type healthChecks struct {
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger
	wg     sync.WaitGroup

	mu      sync.Mutex
	targets map[targetKey]*checkedTarget
}

// targetKey names a target. Its zone says who uses it and nothing about its health.
type targetKey struct {
	group string // ARN
	id    string
	port  int
}

// checkedTarget is a target under check. healthChecks.mu guards all but cancel.
type checkedTarget struct {
	cancel  context.CancelFunc
	check   HealthCheck
	proxyV2 bool
	health  TargetHealth
	streak  int // checks in a row that spoke against health
}

func newHealthChecks(ctx context.Context, log *slog.Logger) *healthChecks {
	c := &healthChecks{log: log, targets: map[targetKey]*checkedTarget{}}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// close ends every check and waits.
func (c *healthChecks) close() {
	c.cancel()
	c.wg.Wait()
}

// sync starts and ends checks so that exactly the targets in use in s are looked at.
func (c *healthChecks) sync(s *State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := map[targetKey]bool{}
	for _, l := range s.Listeners {
		tg, lb := s.TargetGroups[l.TargetGroupARN], s.LoadBalancers[l.LoadBalancerARN]
		if tg == nil || lb == nil || lb.State != "active" {
			continue
		}
		for _, t := range tg.Targets {
			key := targetKey{tg.ARN, t.ID, t.Port}
			wanted[key] = true
			ct := c.targets[key]
			if ct == nil {
				ctx, cancel := context.WithCancel(c.ctx)
				ct = &checkedTarget{cancel: cancel, health: healthInitial}
				c.targets[key] = ct
				c.wg.Go(func() { c.watch(ctx, key, t, ct) })
			}
			ct.check, ct.proxyV2 = tg.HealthCheck, tg.Attributes[AttrProxyProtocolV2] == "true"
		}
	}
	for key, ct := range c.targets {
		if !wanted[key] {
			ct.cancel()
			delete(c.targets, key)
		}
	}
}

// healthy says whether a target is known to be.
func (c *healthChecks) healthy(targetGroupARN string, t Target) bool {
	h, known := c.health(targetGroupARN, t)
	return known && h.State == healthHealthy.State
}

// health returns what is known of a target under check.
func (c *healthChecks) health(targetGroupARN string, t Target) (TargetHealth, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ct := c.targets[targetKey{targetGroupARN, t.ID, t.Port}]
	if ct == nil {
		return TargetHealth{}, false
	}
	if !ct.check.Enabled {
		return healthOff, true
	}
	return ct.health, true
}

// targetHealth answers DescribeTargetHealth for one target. It has one health, whichever node asks.
func (n *network) targetHealth(s *State, targetGroupARN string, t Target) TargetHealth {
	if len(s.balancersOf(targetGroupARN)) == 0 {
		return healthUnused
	}
	if h, known := n.checks.health(targetGroupARN, t); known {
		return h
	}
	return healthStarting
}

// watch checks one target until ctx ends.
func (c *healthChecks) watch(ctx context.Context, key targetKey, t Target, ct *checkedTarget) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		check, proxyV2 := ct.check, ct.proxyV2
		c.mu.Unlock()
		pause := max(time.Duration(check.IntervalSeconds)*time.Second/healthPace, healthHurry)
		if check.Enabled {
			got := probe(ctx, check, t, proxyV2)
			if ctx.Err() != nil {
				return
			}
			c.mu.Lock()
			before := ct.health.State
			ct.note(got)
			after := ct.health
			c.mu.Unlock()
			if after.State != before {
				c.log.Info("target health", "target_group", key.group, "target", key.id, "port", key.port, "state", after.State, "reason", after.Reason)
			}
			if after.State == healthInitial.State {
				pause = healthHurry
			}
		}
		timer.Reset(pause)
	}
}

// note takes in one check's outcome.
func (ct *checkedTarget) note(got TargetHealth) {
	good := got.State == healthHealthy.State
	switch {
	case ct.health.State == healthInitial.State && good:
		ct.health, ct.streak = got, 0
		return
	case good == (ct.health.State == healthHealthy.State):
		if !good && ct.health.State != healthInitial.State {
			ct.health = got // the latest reason
		}
		if ct.health.State != healthInitial.State {
			ct.streak = 0
			return
		}
	}
	ct.streak++
	threshold := ct.check.UnhealthyThreshold
	if good {
		threshold = ct.check.HealthyThreshold
	}
	if ct.streak >= max(threshold, 1) {
		ct.health, ct.streak = got, 0
	}
}

// probe looks at a target once.
func probe(ctx context.Context, check HealthCheck, t Target, proxyV2 bool) TargetHealth {
	if n, err := strconv.Atoi(check.Port); err == nil {
		t.Port = n
	}
	address := t.hostAddress()
	if address == "" {
		return healthTimeout // an address without a machine behind it
	}
	ctx, cancel := context.WithTimeout(ctx, max(time.Duration(check.TimeoutSeconds)*time.Second/healthPace, time.Second))
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil && proxyV2 {
			if _, err = conn.Write(proxyLocalHeader()); err != nil {
				_ = conn.Close()
			}
		}
		return conn, err
	}
	var err error
	if scheme := strings.ToLower(check.Protocol); scheme == "http" || scheme == "https" {
		var code int
		if code, err = probeHTTP(ctx, scheme+"://"+address+check.Path, dial); err == nil && !matchesCode(check.Matcher, code) {
			return TargetHealth{"unhealthy", "Target.ResponseCodeMismatch", fmt.Sprintf("Health checks failed with these codes: [%d]", code)}
		}
	} else {
		var conn net.Conn
		if conn, err = dial(ctx, "", ""); err == nil {
			_ = conn.Close()
		}
	}
	switch {
	case err == nil:
		return healthHealthy
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return healthTimeout
	}
	return healthFailed
}

// probeHTTP asks for url once. Load balancers check no certificates.
func probeHTTP(ctx context.Context, url string, dial func(context.Context, string, string) (net.Conn, error)) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	transport := &http.Transport{
		DialContext: dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	return resp.StatusCode, nil
}

// matchesCode says whether a status is among those of a matcher such as "200-399" or "200,204". Empty is 200-399.
func matchesCode(matcher string, code int) bool {
	if matcher == "" {
		matcher = "200-399"
	}
	for part := range strings.SplitSeq(matcher, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 == nil && err2 == nil && from <= code && code <= to {
			return true
		}
	}
	return false
}
