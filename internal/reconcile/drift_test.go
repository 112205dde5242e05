package reconcile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/storetest"
)

func TestDriftIsNoticedAndTold(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	for _, id := range []link.EndpointID{endpoint, other} {
		m.create(id, customer)
		h.connect(c, id)
		h.becomes(c, id, link.Available, link.ReasonOwnerTrusted, true)
	}
	m.set(endpoint, "")
	h.becomes(c, endpoint, link.Deleted, link.ReasonEndpointDeleted, false)
	m.set(other, link.Rejected)
	h.becomes(c, other, link.Rejected, link.ReasonRejectedOutside, false)
	if got := h.history(c, endpoint); !strings.Contains(got, "DRIFT ENDPOINT_DELETED") {
		t.Errorf("history of the deleted endpoint: %s", got)
	}
	if got := h.history(c, other); !strings.Contains(got, "DRIFT REJECTED_OUTSIDE") {
		t.Errorf("history of the rejected endpoint: %s", got)
	}
	h.connect(c, other)
	h.becomes(c, other, link.Available, link.ReasonOwnerTrusted, true)
}

func TestServiceDeletedOutsideIsMadeAnew(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	m.create(endpoint, customer)
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Available, "", true)
	m.mu.Lock()
	clear(m.services)
	clear(m.endpoints)
	m.mu.Unlock()
	h.becomes(c, endpoint, link.Deleted, link.ReasonEndpointDeleted, false)
	h.eventually("the service's history", func() string {
		es, _, err := h.plane.Events(t.Context(), operator, link.ObjectRef{Kind: link.ObjectService, ID: "AWS/us-east-1"}, control.Page{})
		if err != nil || !slices.ContainsFunc(es, func(e link.Event) bool { return e.Type == plan.NoteDrift }) {
			return fmt.Sprintf("it does not tell: %+v, %v", es, err)
		}
		return ""
	})
	h.serviceUp()
	// What belonged to the old service is nowhere any more: not in the list, and not in the rules when asked for again.
	h.eventually("the list of endpoints", func() string {
		if left := must[[]link.Endpoint](t)(h.plane.CloudEndpoints(t.Context(), operator, c)); len(left) != 0 {
			return fmt.Sprintf("it has those of the service that is no more: %+v", left)
		}
		return ""
	})
	h.connect(c, endpoint)
	if h.listed(c, endpoint) {
		t.Error("the rules list an endpoint that no service has")
	}
}
