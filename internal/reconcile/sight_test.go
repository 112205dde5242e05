package reconcile_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/storetest"
)

// What changes at a service with many endpoints costs lists of what changes and not of all that there is.
func TestALargeServiceIsNotListedForOneEndpoint(t *testing.T) {
	const many = 1100
	m := newMemoryCloud()
	h := enterAt(t, storetest.New(t), m, plan.Cadence{Fast: 20 * time.Millisecond, Slow: 300 * time.Millisecond})
	c := h.cluster("acme", customer)
	h.serviceUp()
	for i := range many {
		id := link.EndpointID(fmt.Sprintf("vpce-%017x", i))
		m.create(id, stranger)
		m.set(id, link.Rejected)
	}
	h.eventually("the service is known to be large", func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.shown >= many {
			return ""
		}
		return fmt.Sprintf("%d endpoints shown", m.shown)
	})
	h.eventually("the books have them all", func() string {
		if n := len(must[[]link.Endpoint](t)(h.plane.CloudEndpoints(t.Context(), operator, h.cluster("all", "*")))); n < many {
			return fmt.Sprintf("%d", n)
		}
		return ""
	})
	m.mu.Lock()
	before := m.shown
	m.mu.Unlock()

	m.create(endpoint, customer)
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	h.connect(c, other) // before it exists
	m.create(other, customer)
	h.becomes(c, other, link.Available, link.ReasonOwnerTrusted, true)
	if _, err := h.plane.Disconnect(t.Context(), operator, c, string(endpoint)); err != nil {
		t.Fatal(err)
	}
	h.cloudBecomes(link.Rejected)
	m.mu.Lock()
	defer m.mu.Unlock()
	if cost := m.shown - before; cost >= many {
		t.Errorf("%d endpoints were listed for the sake of two", cost)
	}
}
