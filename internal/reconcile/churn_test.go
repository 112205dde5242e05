package reconcile_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/storetest"
)

// TestChurnConverges lets many people want different things of the same two endpoints in two clusters at once, while the
// cloud is changed past them. Nobody may get an error that is not theirs, and what was wanted last has to come about.
func TestChurnConverges(t *testing.T) {
	m := newMemoryCloud()
	m.stepwise = true
	h := enter(t, storetest.New(t), m)
	clusters := []link.ID{h.cluster("a", customer), h.cluster("b")}
	h.serviceUp()
	ids := []link.EndpointID{endpoint, other}
	for _, id := range ids {
		m.create(id, customer)
	}
	rounds := 40
	if raced {
		rounds = 15
	}
	var people sync.WaitGroup
	for person := range 8 {
		people.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(person), 1))
			for range rounds {
				c, id := clusters[rnd.IntN(2)], ids[rnd.IntN(2)]
				if err := h.something(rnd, c, id); err != nil && link.KindOf(err) != link.NotFound {
					t.Errorf("person %d: %v", person, err)
				}
			}
		})
	}
	people.Wait()

	// Now everybody agrees.
	for _, c := range clusters {
		h.trust(c, customer)
		for _, id := range ids {
			h.connect(c, id)
		}
	}
	for _, c := range clusters {
		for _, id := range ids {
			h.eventually(fmt.Sprintf("%s in cluster %s", id, c), func() string {
				conn := must[link.Connection](t)(h.plane.Connection(t.Context(), operator, c, string(id)))
				if conn.State == link.Available && h.listed(c, id) {
					return ""
				}
				if link.ConditionOf(conn.Conditions, link.ConditionAccepted).Reason == link.ReasonRejectedOutside {
					h.connect(c, id) // as its next step says
				}
				return fmt.Sprintf("%s, listed %t, %+v", conn.State, h.listed(c, id), conn.Conditions)
			})
		}
	}
	for _, c := range clusters {
		for _, id := range ids {
			if _, err := h.plane.Disconnect(t.Context(), operator, c, string(id)); err != nil {
				t.Error(err)
			}
			if h.listed(c, id) {
				t.Error("listed after the answer to its end")
			}
		}
	}
	for _, id := range ids {
		h.eventually("the cloud", func() string {
			if s := m.state(id); s != link.Rejected {
				return fmt.Sprintf("%s is %s", id, s)
			}
			return ""
		})
	}
	h.eventually("nothing is left", func() string {
		for _, c := range clusters {
			if left := must[[]link.Connection](t)(h.plane.Connections(t.Context(), operator, c)); len(left) > 0 {
				return fmt.Sprintf("%+v", left)
			}
		}
		return ""
	})
}

// something is what a person does without a plan.
func (h *house) something(rnd *rand.Rand, c link.ID, id link.EndpointID) error {
	ctx := h.t.Context()
	switch rnd.IntN(8) {
	case 0, 1:
		_, err := h.plane.Connect(ctx, operator, c, string(id))
		return err
	case 2, 3:
		_, err := h.plane.Disconnect(ctx, operator, c, string(id))
		return err
	case 4:
		_, err := h.plane.AddTrustedOwner(ctx, operator, c, link.AWSAccountID, customer)
		return err
	case 5:
		owners, err := h.plane.TrustedOwners(ctx, operator, c)
		for _, o := range owners {
			_, gone := h.plane.RemoveTrustedOwner(ctx, operator, c, o.ID)
			if link.KindOf(gone) != link.NotFound {
				err = errors.Join(err, gone)
			}
		}
		return err
	case 6:
		_, err := h.plane.SetEndpointState(ctx, operator, c, string(id), []link.State{link.Available, link.Rejected}[rnd.IntN(2)])
		return err
	}
	h.cloud.set(id, link.Rejected)
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rnd.IntN(20)) * time.Millisecond):
	}
	return nil
}
