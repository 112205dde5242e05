package reconcile_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/storetest"
)

// The process ends at every point between an effect at the cloud and its record; the next one, on the same data
// directory, ends up where an undisturbed one does, with one of everything.
func TestCrashAnywhereConverges(t *testing.T) {
	for _, point := range []string{
		"service", "service done", "ensure", "ensure done", "list", "list done", "accept", "accept done", "reject", "reject done",
	} {
		for _, nth := range []int{1, 2} {
			for _, how := range []string{"ends", "panics"} {
				if raced && (nth > 1 || how == "panics") {
					continue
				}
				t.Run(fmt.Sprintf("%s at %s %d", how, point, nth), func(t *testing.T) {
					t.Parallel()
					crash(t, point, nth, how == "panics")
				})
			}
		}
	}
}

func crash(t *testing.T, point string, nth int, panics bool) {
	d := storetest.New(t)
	m := newMemoryCloud()
	var mu sync.Mutex
	reached := make(chan struct{})
	count := 0
	m.onCall(func(ctx context.Context, at string) error {
		mu.Lock()
		hit := at == point
		if hit {
			count++
			hit = count == nth
		}
		mu.Unlock()
		if !hit {
			return nil
		}
		close(reached)
		if panics {
			panic("injected at " + point)
		}
		<-ctx.Done() // the process ends here: nothing after this point reaches the database
		return ctx.Err()
	})

	// run tells the whole story, from whatever was reached before. It gives up when the crash comes.
	run := func(h *house, crashed <-chan struct{}) (done bool) {
		until := func(f func() bool) bool {
			deadline := time.After(time.Minute)
			for !f() {
				select {
				case <-crashed:
					return false
				case <-deadline:
					t.Fatalf("no convergence: %s", h.history(h.cluster("acme"), endpoint))
				case <-time.After(20 * time.Millisecond):
				}
			}
			return true
		}
		c := h.cluster("acme", customer)
		other := h.cluster("other")
		up := until(func() bool {
			rs, err := h.plane.Regions(t.Context(), operator)
			return err == nil && rs[0].Service != nil && rs[0].Service.State == link.ServiceAvailable
		})
		if !up {
			return false
		}
		if m.state(endpoint) == "" {
			m.create(endpoint, customer)
			m.create("vpce-0a1b2c3d4e5f6071a", stranger)
		}
		h.connect(c, endpoint)
		h.connect(other, "vpce-0a1b2c3d4e5f6071a")
		return until(func() bool {
			a, err := h.plane.Connection(t.Context(), operator, c, string(endpoint))
			b, err2 := h.plane.Connection(t.Context(), operator, other, "vpce-0a1b2c3d4e5f6071a")
			return err == nil && err2 == nil && a.State == link.Available && b.State == link.Rejected &&
				link.ConditionOf(b.Conditions, link.ConditionAccepted).Reason == link.ReasonOwnerNotTrusted &&
				h.listed(c, endpoint) && !h.listed(other, "vpce-0a1b2c3d4e5f6071a")
		})
	}

	h := enter(t, d, m)
	if panics {
		if !run(h, nil) {
			t.Fatal("a panic in one look stopped the work")
		}
	} else if !run(h, reached) {
		h.leave()
		m.onCall(nil)
		h = enter(t, d, m)
		if !run(h, nil) {
			t.Fatal("the second run gave up")
		}
	}
	m.mu.Lock()
	if len(m.services) != 1 || m.made["postern-"+h.st.InstallationID()+"-us-east-1"] != 1 {
		t.Errorf("services at the cloud: %v, made: %v; want one, made once", m.services, m.made)
	}
	m.mu.Unlock()
	if rs, err := h.plane.Regions(t.Context(), operator); err != nil || len(rs) != 1 {
		t.Errorf("regions: %+v, %v", rs, err)
	}
	cs, _, err := h.plane.Clusters(t.Context(), operator, control.Page{})
	if err != nil || len(cs) != 2 {
		t.Errorf("clusters: %+v, %v", cs, err)
	}
}
