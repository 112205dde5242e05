package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/cloud"
)

// mostCalls ends a loop over crash points that never finds the end of the call: no driver needs that many requests.
const mostCalls = 200

// crash cuts EnsureService and DeleteService at every single request, once before the request takes effect and once
// after, and has a new driver finish the work.
func (h Harness) crash(t *testing.T) {
	for _, lost := range []bool{false, true} {
		when := "before request"
		if lost {
			when = "after request"
		}
		t.Run("ensure", func(t *testing.T) {
			clean := h.open(t)
			want := stable(clean.ensure(t, clean.Spec))
			inventory := clean.Inventory(t)
			h.atEveryCall(t, when, func(t *testing.T, n int) bool {
				b := h.open(t)
				hit := b.cut(t, n, lost, func(ctx context.Context, d cloud.Driver) error {
					_, err := d.EnsureService(ctx, b.Spec)
					return err
				})
				got := stable(b.ensure(t, b.Spec))
				if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}),
					cmpopts.IgnoreFields(cloud.Service{}, "ServiceID", "Name")); diff != "" {
					t.Errorf("service (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(inventory, b.Inventory(t)); diff != "" {
					t.Errorf("inventory (-want +got):\n%s", diff)
				}
				return hit
			})
		})
		t.Run("delete", func(t *testing.T) {
			h.atEveryCall(t, when, func(t *testing.T, n int) bool {
				b := h.open(t)
				b.ensure(t, b.Spec)
				hit := b.cut(t, n, lost, func(ctx context.Context, d cloud.Driver) error {
					return d.DeleteService(ctx, b.Spec.Key)
				})
				b.gone(t, b.Spec.Key)
				for kind, n := range b.Inventory(t) {
					if n != 0 {
						t.Errorf("%d of %s left", n, kind)
					}
				}
				return hit
			})
		})
	}
}

// atEveryCall runs try with 1, 2, … until it reports that there was no such request.
func (h Harness) atEveryCall(t *testing.T, when string, try func(t *testing.T, n int) bool) {
	t.Helper()
	for n := 1; ; n++ {
		if n > mostCalls {
			t.Fatalf("still going after %d requests", mostCalls)
		}
		var hit bool
		t.Run(fmt.Sprintf("%s %d", when, n), func(t *testing.T) { hit = try(t, n) })
		if !hit {
			if n == 1 {
				t.Fatal("the driver made no request at all")
			}
			return
		}
	}
}

// cut runs do with a driver that dies at its n-th request, and heals the wire for the next one.
func (b *bench) cut(t *testing.T, n int, lost bool, do func(context.Context, cloud.Driver) error) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hit := b.wire.CutAt(n, lost, cancel)
	err := do(ctx, b.NewDriver(t, b.wire))
	if hit() && err == nil {
		t.Error("the driver took a lost answer for a success")
	}
	b.wire.Heal()
	b.Driver = b.NewDriver(t, b.wire)
	return hit()
}

// tokens: two drivers that know nothing of each other send the same tokens, or a crash could double what they create.
func (h Harness) tokens(t *testing.T) {
	b := h.open(t)
	b.ensure(t, b.Spec)
	b.gone(t, b.Spec.Key)
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
		b.until(t, "a create request carries a token", func(ctx context.Context) (bool, error) {
			_, err := b.NewDriver(t, b.wire).EnsureService(ctx, b.Spec)
			if refused, ok := errors.AsType[*cloud.Refusal](err); ok {
				return false, refused
			}
			return len(runs[i]) > 0, nil
		})
	}
	if diff := cmp.Diff(runs[0], runs[1]); diff != "" {
		t.Errorf("tokens (-first driver +second driver):\n%s", diff)
	}
}

// weather: throttling and short outages are the driver's to sit out; a long one is the caller's to bound.
func (h Harness) weather(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) *http.Response{"throttled": h.Throttled, "outage": h.Outage} {
		t.Run(name+" now and then", func(t *testing.T) {
			b := h.open(t)
			b.wire.AnswerFirst(2, answer)
			svc := b.ensure(t, b.Spec)
			id := b.Connect(t, svc.Name)
			if err := one(b.Accept(t.Context(), svc.ServiceID, id)); err != nil {
				t.Errorf("Accept: %v", err)
			}
			if _, err := b.Endpoints(t.Context(), svc.ServiceID, cloud.Query{}); err != nil {
				t.Errorf("Endpoints: %v", err)
			}
		})
		t.Run(name+" for good", func(t *testing.T) {
			b := h.open(t)
			b.wire.AnswerAll(answer)
			_, err := b.EnsureService(t.Context(), b.Spec)
			var refused *cloud.Refusal
			if err == nil || errors.As(err, &refused) || errors.Is(err, cloud.ErrNotFound) {
				t.Errorf("got %v, want an error that is worth another attempt", err)
			}
			if b.wire.Calls() < 3 {
				t.Errorf("gave up after %d requests", b.wire.Calls())
			}
		})
	}
	t.Run("the caller's context is obeyed", func(t *testing.T) {
		b := h.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.EnsureService(ctx, b.Spec); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}
