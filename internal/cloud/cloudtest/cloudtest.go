// Package cloudtest is the conformance suite of cloud.Driver: every promise in that interface's comments is a subtest,
// run against a real or an embedded cloud. A driver's own test supplies a Harness and calls Run.
package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// Harness is what the suite needs to know of a provider.
type Harness struct {
	// Open makes a fresh cloud in which nothing of ours exists. It ends with the test.
	Open func(t *testing.T) World

	// Mutates reports whether a request is to change something at the cloud.
	Mutates func(*http.Request) bool

	// ClientToken returns the token by which the provider tells a repeated create request; empty when it has none.
	ClientToken func(*http.Request) string

	// Throttled and Outage answer a request as the provider does when it is asked too often, and when it is down.
	Throttled, Outage func(*http.Request) *http.Response

	// Unsuccessful answers requests to accept or reject endpoints with a success that hides a failure of the one item,
	// as some providers do, and returns nil for every other request. Nil leaves the subtest out.
	Unsuccessful func(*http.Request) *http.Response

	// PageSize is how many items the driver made by NewDriver gets per page: the suite makes more than that.
	PageSize int
}

// World is one cloud with the vendor's account and one customer in it.
type World struct {
	Wire func() http.RoundTripper // nil: http.DefaultTransport

	// NewDriver returns a driver of the vendor's account whose requests all go through wire. The suite makes a new one
	// after each crash: what a driver remembers must not matter.
	NewDriver func(t *testing.T, wire http.RoundTripper) cloud.Driver

	Spec      cloud.ServiceSpec // a service that can be made here: two subnets at least, one port, one target, principal "*"
	ZoneIDs   []string          // of Spec's subnets
	OtherPort uint16            // a port that Spec does not have
	Customer  string            // the customer's account

	// Connect creates an endpoint of the customer's to the named service and returns its id; Disconnect deletes it.
	Connect    func(t *testing.T, serviceName string) link.EndpointID
	Disconnect func(t *testing.T, id link.EndpointID)

	// Inventory counts what exists in the vendor's account, by kind, leaving out what is being deleted.
	Inventory func(t *testing.T) map[string]int

	// Drift are ways in which what EnsureService made can be changed from outside; EnsureService must mend each.
	Drift map[string]func(t *testing.T, svc cloud.Service)
}

// patience bounds everything the suite waits for.
const patience = 20 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("Service", func(t *testing.T) { h.service(t) })
	t.Run("Crash", func(t *testing.T) { h.crash(t) })
	t.Run("Tokens", func(t *testing.T) { h.tokens(t) })
	t.Run("Drift", func(t *testing.T) { h.drift(t) })
	t.Run("Endpoints", func(t *testing.T) { h.endpoints(t) })
	t.Run("Weather", func(t *testing.T) { h.weather(t) })
}

// bench is a world with its wire and a driver on it.
type bench struct {
	World
	h    Harness
	wire *Wire
	cloud.Driver
}

func (h Harness) open(t *testing.T) *bench {
	t.Helper()
	w := h.Open(t)
	var base http.RoundTripper
	if w.Wire != nil {
		base = w.Wire()
	}
	wire := NewWire(base, h.Mutates)
	return &bench{World: w, h: h, wire: wire, Driver: w.NewDriver(t, wire)}
}

// ensure calls EnsureService until the service is available.
func (b *bench) ensure(t *testing.T, spec cloud.ServiceSpec) cloud.Service {
	t.Helper()
	var svc cloud.Service
	b.until(t, "the service is available", func(ctx context.Context) (bool, error) {
		var err error
		svc, err = b.EnsureService(ctx, spec)
		return err == nil && svc.State == link.ServiceAvailable, err
	})
	return svc
}

// until calls look until it is true. An error of look ends the test unless it is one that may pass.
func (b *bench) until(t *testing.T, what string, look func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	for {
		done, err := look(ctx)
		if done {
			return
		}
		if refused, ok := errors.AsType[*cloud.Refusal](err); ok {
			t.Fatalf("waiting until %s: refused: %v (%s)", what, refused, refused.Reason)
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it never came to be that %s; last error: %v", what, last)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b *bench) state(t *testing.T, svc cloud.Service, id link.EndpointID) link.State {
	t.Helper()
	eps, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{})
	if err != nil {
		t.Fatalf("Endpoints: %v", err)
	}
	for _, e := range eps {
		if e.ID == id {
			return e.State
		}
	}
	return ""
}

func (b *bench) becomes(t *testing.T, svc cloud.Service, id link.EndpointID, want ...link.State) {
	t.Helper()
	b.until(t, fmt.Sprintf("%s is in one of the states %q", id, want), func(context.Context) (bool, error) {
		return slices.Contains(want, b.state(t, svc, id)), nil
	})
}

func (h Harness) service(t *testing.T) {
	b := h.open(t)
	ctx := t.Context()
	spec := b.Spec

	t.Run("unknown key", func(t *testing.T) {
		if _, err := b.Service(ctx, spec.Key); !errors.Is(err, cloud.ErrNotFound) {
			t.Errorf("Service: got %v, want ErrNotFound", err)
		}
		if err := b.DeleteService(ctx, spec.Key); err != nil {
			t.Errorf("DeleteService of nothing: %v", err)
		}
	})

	svc := b.ensure(t, spec)
	t.Run("ensured", func(t *testing.T) {
		if svc.Key != spec.Key || svc.ServiceID == "" || svc.Name == "" || svc.Problem != "" {
			t.Errorf("service incomplete: %+v", svc)
		}
		if diff := cmp.Diff(sorted(b.ZoneIDs), svc.ZoneIDs); diff != "" {
			t.Errorf("zone ids (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(sorted(spec.Principals), svc.Principals); diff != "" {
			t.Errorf("principals (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(spec.Targets, addrs(svc), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
	})

	t.Run("again changes nothing", func(t *testing.T) {
		before := b.Inventory(t)
		b.wire.Heal()
		again, err := b.NewDriver(t, b.wire).EnsureService(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		if n := b.wire.Changes(); n != 0 {
			t.Errorf("%d requests were to change something", n)
		}
		if diff := cmp.Diff(stable(svc), stable(again), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("service differs (-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(before, b.Inventory(t)); diff != "" {
			t.Errorf("inventory differs (-before +after):\n%s", diff)
		}
	})

	t.Run("observing changes nothing", func(t *testing.T) {
		b.wire.Heal()
		seen, err := b.Service(ctx, spec.Key)
		if err != nil {
			t.Fatal(err)
		}
		if n := b.wire.Changes(); n != 0 {
			t.Errorf("%d requests were to change something", n)
		}
		if diff := cmp.Diff(stable(svc), stable(seen), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("observed differs from ensured (-ensured +observed):\n%s", diff)
		}
	})

	t.Run("spec changes", func(t *testing.T) {
		changed := spec
		changed.Ports = []uint16{b.OtherPort}
		changed.Targets = []netip.AddrPort{
			netip.AddrPortFrom(spec.Targets[0].Addr(), spec.Targets[0].Port()+1),
			netip.AddrPortFrom(spec.Targets[0].Addr(), spec.Targets[0].Port()+2),
		}
		changed.Principals = []string{b.Customer}
		got := b.ensure(t, changed)
		if got.ServiceID != svc.ServiceID || got.Name != svc.Name {
			t.Errorf("another service came: %s, was %s", got.ServiceID, svc.ServiceID)
		}
		if diff := cmp.Diff(changed.Principals, got.Principals); diff != "" {
			t.Errorf("principals (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(changed.Targets, addrs(got), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
		back := b.ensure(t, spec)
		if diff := cmp.Diff(stable(svc), stable(back), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("not back where it was (-was +is):\n%s", diff)
		}
	})

	t.Run("another key is another service", func(t *testing.T) {
		other := spec
		other.Key += "-other"
		got := b.ensure(t, other)
		if got.ServiceID == svc.ServiceID {
			t.Errorf("both keys have the service %s", svc.ServiceID)
		}
		b.gone(t, other.Key)
		if _, err := b.Service(ctx, spec.Key); err != nil {
			t.Errorf("deleting one key hurt the other: %v", err)
		}
	})

	t.Run("deleted", func(t *testing.T) {
		b.gone(t, spec.Key)
		for kind, n := range b.Inventory(t) {
			if n != 0 {
				t.Errorf("%d of %s left", n, kind)
			}
		}
	})

	t.Run("made anew after deletion", func(t *testing.T) {
		again := b.ensure(t, spec)
		if again.ServiceID == svc.ServiceID {
			t.Errorf("the deleted service %s came back", svc.ServiceID)
		}
	})
}

// gone deletes the service of key and waits until it is not found.
func (b *bench) gone(t *testing.T, key string) {
	t.Helper()
	b.until(t, "the service is deleted", func(ctx context.Context) (bool, error) {
		err := b.DeleteService(ctx, key)
		return err == nil, err
	})
	b.until(t, "the service is not found", func(ctx context.Context) (bool, error) {
		_, err := b.Service(ctx, key)
		return errors.Is(err, cloud.ErrNotFound), nil
	})
}

func (h Harness) drift(t *testing.T) {
	b := h.open(t)
	svc := b.ensure(t, b.Spec)
	want := stable(svc)
	inventory := b.Inventory(t)
	for name, change := range b.Drift {
		t.Run(name, func(t *testing.T) {
			change(t, svc)
			b.wire.Heal()
			got := b.ensure(t, b.Spec)
			if b.wire.Changes() == 0 {
				t.Errorf("nothing was mended")
			}
			if diff := cmp.Diff(want, stable(got), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("not mended (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(inventory, b.Inventory(t)); diff != "" {
				t.Errorf("inventory (-want +got):\n%s", diff)
			}
			b.wire.Heal()
			if _, err := b.EnsureService(t.Context(), b.Spec); err != nil || b.wire.Changes() != 0 {
				t.Errorf("mending does not come to rest: %d changes, error %v", b.wire.Changes(), err)
			}
		})
	}
}

// stable leaves out of a service what changes by itself.
func stable(s cloud.Service) cloud.Service {
	s.Targets = slices.Clone(s.Targets)
	for i := range s.Targets {
		s.Targets[i].Healthy, s.Targets[i].Reason = false, ""
	}
	return s
}

func addrs(s cloud.Service) []netip.AddrPort {
	var out []netip.AddrPort
	for _, t := range s.Targets {
		out = append(out, t.Addr)
	}
	return out
}

func sorted(items []string) []string { return slices.Sorted(slices.Values(items)) }
