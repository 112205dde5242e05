package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// EgressHarness is what the suite of cloud.EgressDriver needs to know of a provider. Open of the embedded Harness is not
// used.
type EgressHarness struct {
	Harness
	OpenEgress func(t *testing.T) EgressWorld // makes a fresh cloud, which ends with the test
}

// EgressWorld is one cloud with the vendor's account and a customer who publishes a service that asks for acceptance.
type EgressWorld struct {
	Wire      func() http.RoundTripper // nil: http.DefaultTransport
	NewDriver func(t *testing.T, wire http.RoundTripper) cloud.EgressDriver

	Account string           // the vendor's
	Spec    cloud.EgressSpec // with a subnet in a zone that the customer's service lacks
	ZoneIDs []string         // that Spec's subnets and the customer's service share

	OwnTarget string // a service of the vendor's own
	FarTarget string // a service of the customer's that shares no zone with Spec's subnets

	Allow          func(t *testing.T, allowed bool) // whether the vendor may use the customer's service; at first it may
	Accept, Reject func(t *testing.T, id link.EndpointID)
	Lose           func(t *testing.T, id link.EndpointID)     // deletes the vendor's endpoint past the driver
	Take           func(t *testing.T, name string)            // makes something else answer the name in Spec's network
	Resolve        func(t *testing.T, name string) []string   // what Spec's network answers; nothing for no such name
	Inventory      func(t *testing.T) map[string]int          // of what EgressDriver makes, leaving out what is being deleted
	Tags           func(*testing.T, cloud.Egress) [][2]string // of the endpoint, sorted
}

// RunEgress runs the suite.
func RunEgress(t *testing.T, h EgressHarness) {
	t.Run("Life", func(t *testing.T) { h.egressLife(t) })
	t.Run("Refusals", func(t *testing.T) { h.egressRefusals(t) })
	t.Run("Names", func(t *testing.T) { h.egressNames(t) })
	t.Run("Crash", func(t *testing.T) { h.egressCrash(t) })
	t.Run("Tokens", func(t *testing.T) { h.egressTokens(t) })
	t.Run("Weather", func(t *testing.T) { h.egressWeather(t) })
}

// egressBench is a world with its wire and a driver on it.
type egressBench struct {
	EgressWorld
	wire *Wire
	cloud.EgressDriver
}

func (h EgressHarness) openEgress(t *testing.T) *egressBench {
	t.Helper()
	w := h.OpenEgress(t)
	var base http.RoundTripper
	if w.Wire != nil {
		base = w.Wire()
	}
	wire := NewWire(base, h.Mutates)
	return &egressBench{w, wire, w.NewDriver(t, wire)}
}

// until calls look until it is true. An error that is a refusal ends the test; others may pass.
func (b *egressBench) until(t *testing.T, what string, look func(context.Context) (bool, error)) {
	t.Helper()
	(&bench{}).until(t, what, look)
}

func (b *egressBench) ensure(t *testing.T) cloud.Egress {
	t.Helper()
	var e cloud.Egress
	b.until(t, "the egress endpoint stands", func(ctx context.Context) (bool, error) {
		var err error
		e, err = b.EnsureEgress(ctx, b.Spec)
		return err == nil && e.State != link.Deleting, err
	})
	return e
}

func (b *egressBench) becomes(t *testing.T, want ...link.State) cloud.Egress {
	t.Helper()
	var e cloud.Egress
	b.until(t, fmt.Sprintf("the egress endpoint is in one of the states %q", want), func(ctx context.Context) (bool, error) {
		var err error
		e, err = b.Egress(ctx, b.Spec.Key)
		return err == nil && slices.Contains(want, e.State), err
	})
	return e
}

// available has the customer accept, and waits for it.
func (b *egressBench) available(t *testing.T) cloud.Egress {
	t.Helper()
	e := b.ensure(t)
	b.Accept(t, e.EndpointID)
	return b.becomes(t, link.Available)
}

func (b *egressBench) gone(t *testing.T, names ...string) {
	t.Helper()
	b.until(t, "the names are taken away", func(ctx context.Context) (bool, error) {
		err := b.EnsureNames(ctx, cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Gone: names})
		return err == nil, err
	})
	b.until(t, "the egress endpoint is gone", func(ctx context.Context) (bool, error) { return b.DeleteEgress(ctx, b.Spec.Key) })
	if _, err := b.Egress(t.Context(), b.Spec.Key); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("after its deletion: %v, want ErrNotFound", err)
	}
	for kind, n := range b.Inventory(t) {
		if n != 0 {
			t.Errorf("%d of %s left", n, kind)
		}
	}
}

func (h EgressHarness) egressLife(t *testing.T) {
	b := h.openEgress(t)
	ctx := t.Context()
	if got, err := b.EgressDriver.Account(ctx); err != nil || got != b.EgressWorld.Account {
		t.Errorf("account %q, %v; want %s", got, err, b.EgressWorld.Account)
	}
	if _, err := b.Egress(ctx, b.Spec.Key); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("before anything: %v, want ErrNotFound", err)
	}
	if gone, err := b.DeleteEgress(ctx, b.Spec.Key); !gone || err != nil {
		t.Errorf("deletion of nothing: %v, %v", gone, err)
	}

	made := b.ensure(t)
	if made.State != link.PendingAcceptance || made.Key != b.Spec.Key || made.EndpointID == "" || made.Problem != "" {
		t.Errorf("made: %+v", made)
	}
	if diff := cmp.Diff(b.ZoneIDs, made.ZoneIDs); diff != "" {
		t.Errorf("zones (-want +got):\n%s", diff)
	}
	for name, value := range b.Spec.Tags {
		if !slices.Contains(b.Tags(t, made), [2]string{name, value}) {
			t.Errorf("tags %v lack %s=%s", b.Tags(t, made), name, value)
		}
	}

	before := b.Inventory(t)
	b.wire.Heal()
	again, err := b.NewDriver(t, b.wire).EnsureEgress(ctx, b.Spec)
	if err != nil || again.EndpointID != made.EndpointID || b.wire.Changes() != 0 {
		t.Errorf("again: %+v, %v, by %d changes", again, err, b.wire.Changes())
	}
	if diff := cmp.Diff(before, b.Inventory(t)); diff != "" {
		t.Errorf("inventory (-before +after):\n%s", diff)
	}

	b.Reject(t, made.EndpointID)
	b.becomes(t, link.Rejected)
	b.Accept(t, made.EndpointID)
	up := b.becomes(t, link.Available)
	if up.Address == "" || len(b.Resolve(t, up.Address)) != len(b.ZoneIDs) {
		t.Errorf("address %q leads to %v", up.Address, b.Resolve(t, up.Address))
	}

	other := b.Spec
	other.Key += "-other"
	twin, err := b.EnsureEgress(ctx, other)
	if err != nil || twin.EndpointID == made.EndpointID {
		t.Errorf("another key: %+v, %v", twin, err)
	}
	b.until(t, "the other is gone", func(ctx context.Context) (bool, error) { return b.DeleteEgress(ctx, other.Key) })
	b.becomes(t, link.Available)

	// Lost past the driver it is made anew, and asks for acceptance again.
	b.Lose(t, made.EndpointID)
	var fresh cloud.Egress
	b.until(t, "another stands in its place", func(ctx context.Context) (bool, error) {
		fresh, err = b.EnsureEgress(ctx, b.Spec)
		return err == nil && fresh.EndpointID != made.EndpointID, err
	})
	if fresh.State != link.PendingAcceptance {
		t.Errorf("made anew: %+v", fresh)
	}
	b.gone(t)

	if e := b.ensure(t); e.EndpointID == made.EndpointID || e.EndpointID == fresh.EndpointID {
		t.Errorf("the deleted endpoint %s came back", e.EndpointID)
	}
}

func (h EgressHarness) egressRefusals(t *testing.T) {
	refusal := func(t *testing.T, b *egressBench, spec cloud.EgressSpec, reason string) {
		t.Helper()
		_, err := b.EnsureEgress(t.Context(), spec)
		no, ok := errors.AsType[*cloud.Refusal](err)
		if !ok || no.Reason != reason || no.Code == "" || no.Message == "" {
			t.Errorf("got %#v, want a refusal with reason %s", err, reason)
		}
		for kind, n := range b.Inventory(t) {
			if n != 0 {
				t.Errorf("%d of %s made all the same", n, kind)
			}
		}
	}
	t.Run("not allowed", func(t *testing.T) {
		b := h.openEgress(t)
		b.Allow(t, false)
		refusal(t, b, b.Spec, cloud.ReasonServiceNotVisible)
		b.Allow(t, true)
		b.ensure(t)
	})
	t.Run("the vendor's own", func(t *testing.T) {
		b := h.openEgress(t)
		b.Spec.Target = b.OwnTarget
		refusal(t, b, b.Spec, cloud.ReasonOwnService)
	})
	t.Run("no zone in common", func(t *testing.T) {
		b := h.openEgress(t)
		b.Spec.Target = b.FarTarget
		refusal(t, b, b.Spec, cloud.ReasonNoCommonZone)
	})
}

func (h EgressHarness) egressNames(t *testing.T) {
	b := h.openEgress(t)
	up := b.available(t)
	leads := func(t *testing.T, name string, want bool) {
		t.Helper()
		var expect []string
		if want {
			expect = b.Resolve(t, up.Address)
		}
		if diff := cmp.Diff(expect, b.Resolve(t, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	names := func(t *testing.T, want, gone []string) {
		t.Helper()
		if err := b.EnsureNames(t.Context(), cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Names: want, Gone: gone}); err != nil {
			t.Fatal(err)
		}
	}

	names(t, []string{"*.kafka.acme.example", "db.acme.example", "kafka.acme.example"}, nil)
	leads(t, "db.acme.example", true)
	leads(t, "kafka.acme.example", true)
	leads(t, "broker-1.kafka.acme.example", true)
	leads(t, "acme.example", false)

	b.wire.Heal()
	names(t, []string{"*.kafka.acme.example", "db.acme.example", "kafka.acme.example"}, nil)
	if n := b.wire.Changes(); n != 0 {
		t.Errorf("the same names again took %d changes", n)
	}

	names(t, []string{"kafka.acme.example"}, []string{"*.kafka.acme.example", "db.acme.example"})
	leads(t, "kafka.acme.example", true)
	leads(t, "broker-1.kafka.acme.example", false)
	leads(t, "db.acme.example", false)

	// A name that somebody else's zone answers is not taken over, and the next one that is free works.
	b.Take(t, "taken.example")
	err := b.EnsureNames(t.Context(), cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Names: []string{"kafka.acme.example", "taken.example"}})
	if no, ok := errors.AsType[*cloud.Refusal](err); !ok || no.Reason != cloud.ReasonNameTaken {
		t.Errorf("a name that is taken: %v, want a refusal with reason NAME_TAKEN", err)
	}
	before := b.Resolve(t, "taken.example")
	names(t, nil, []string{"kafka.acme.example", "taken.example"})
	leads(t, "kafka.acme.example", false)
	if diff := cmp.Diff(before, b.Resolve(t, "taken.example")); diff != "" || len(before) == 0 {
		t.Errorf("taking away what was never ours hurt somebody: %v\n%s", before, diff)
	}
}

// egressCrash cuts every method at every request, before and after it takes effect, and has a new driver finish the work.
func (h EgressHarness) egressCrash(t *testing.T) {
	all := []string{"*.acme.example", "db.other.example"}
	for _, lost := range []bool{false, true} {
		when := "before request"
		if lost {
			when = "after request"
		}
		for _, c := range []struct {
			name    string
			prepare func(*testing.T, *egressBench)
			do      func(context.Context, *egressBench, cloud.EgressDriver) error
			finish  func(*testing.T, *egressBench)
		}{
			{
				"ensure", func(*testing.T, *egressBench) {},
				func(ctx context.Context, b *egressBench, d cloud.EgressDriver) error {
					_, err := d.EnsureEgress(ctx, b.Spec)
					return err
				},
				func(t *testing.T, b *egressBench) {
					b.ensure(t)
					want := b.Inventory(t)
					clean := h.openEgress(t)
					clean.ensure(t)
					if diff := cmp.Diff(clean.Inventory(t), want); diff != "" {
						t.Errorf("inventory (-want +got):\n%s", diff)
					}
				},
			},
			{
				"names", func(t *testing.T, b *egressBench) { b.available(t) },
				func(ctx context.Context, b *egressBench, d cloud.EgressDriver) error {
					return d.EnsureNames(ctx, cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Names: all})
				},
				func(t *testing.T, b *egressBench) {
					b.until(t, "the names stand", func(ctx context.Context) (bool, error) {
						err := b.EnsureNames(ctx, cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Names: all})
						return err == nil, err
					})
					if len(b.Resolve(t, "x.acme.example")) == 0 || len(b.Resolve(t, "db.other.example")) == 0 {
						t.Error("the names do not lead anywhere")
					}
					b.gone(t, all...)
				},
			},
			{
				"delete", func(t *testing.T, b *egressBench) { b.ensure(t) },
				func(ctx context.Context, b *egressBench, d cloud.EgressDriver) error {
					for {
						gone, err := d.DeleteEgress(ctx, b.Spec.Key)
						if gone || err != nil {
							return err
						}
						select {
						case <-ctx.Done():
							return ctx.Err()
						case <-time.After(time.Millisecond):
						}
					}
				},
				func(t *testing.T, b *egressBench) { b.gone(t) },
			},
			{
				"take the names away",
				func(t *testing.T, b *egressBench) {
					b.available(t)
					if err := b.EnsureNames(t.Context(), cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Names: all}); err != nil {
						t.Fatal(err)
					}
				},
				func(ctx context.Context, b *egressBench, d cloud.EgressDriver) error {
					return d.EnsureNames(ctx, cloud.NamesSpec{Key: b.Spec.Key, VPCID: b.Spec.VPCID, Gone: all})
				},
				func(t *testing.T, b *egressBench) { b.gone(t, all...) },
			},
		} {
			t.Run(c.name, func(t *testing.T) {
				h.atEveryCall(t, when, func(t *testing.T, n int) bool {
					b := h.openEgress(t)
					c.prepare(t, b)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					hit := b.wire.CutAt(n, lost, cancel)
					err := c.do(ctx, b, b.NewDriver(t, b.wire))
					if hit() && err == nil {
						t.Error("the driver took a lost answer for a success")
					}
					b.wire.Heal()
					b.EgressDriver = b.NewDriver(t, b.wire)
					c.finish(t, b)
					return hit()
				})
			})
		}
	}
}

// egressTokens: two drivers that know nothing of each other send the same tokens for the same endpoint.
func (h EgressHarness) egressTokens(t *testing.T) {
	b := h.openEgress(t)
	var runs [2][]string
	for i := range runs {
		b.wire.AnswerAll(func(req *http.Request) *http.Response {
			token := h.ClientToken(req)
			if token == "" {
				return nil
			}
			if !slices.Contains(runs[i], token) {
				runs[i] = append(runs[i], token)
			}
			return h.Outage(req)
		})
		if _, err := b.NewDriver(t, b.wire).EnsureEgress(t.Context(), b.Spec); err == nil {
			t.Error("an outage went unnoticed")
		}
	}
	if diff := cmp.Diff(runs[0], runs[1]); diff != "" || len(runs[0]) == 0 {
		t.Errorf("tokens %q (-first driver +second driver):\n%s", runs[0], diff)
	}
}

func (h EgressHarness) egressWeather(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) *http.Response{"throttled": h.Throttled, "outage": h.Outage} {
		t.Run(name, func(t *testing.T) {
			b := h.openEgress(t)
			b.wire.AnswerFirst(2, answer)
			b.ensure(t)
			b.wire.AnswerAll(answer)
			_, err := b.Egress(t.Context(), b.Spec.Key)
			var no *cloud.Refusal
			if err == nil || errors.As(err, &no) || errors.Is(err, cloud.ErrNotFound) {
				t.Errorf("for good: %v, want an error that is worth another attempt", err)
			}
		})
	}
}
