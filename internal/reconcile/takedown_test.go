package reconcile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/storetest"
)

// A region goes with all that was made for it, and says what is in the way. Nothing of the region but its service's own
// row is needed for that.
func TestRegionIsTakenDown(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	m.create(endpoint, customer)
	m.create(other, stranger) // nobody registers it, and it waits
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)

	remove := func() error {
		_, err := h.plane.DeleteRegion(t.Context(), operator, link.AWS, "us-east-1")
		return err
	}
	if err := remove(); link.KindOf(err) != link.Precondition || !strings.Contains(err.Error(), "acme") {
		t.Fatalf("with a cluster in it: %v, want to be told which", err)
	}
	if _, err := h.plane.Disconnect(t.Context(), operator, c, string(endpoint)); err != nil {
		t.Fatal(err)
	}
	h.becomes(c, endpoint, link.Deleted, link.ReasonDisconnected, false)
	if err := h.plane.DeleteCluster(t.Context(), operator, c); err != nil {
		t.Fatal(err)
	}

	m.mu.Lock()
	m.sticky = true // the owners have not deleted their endpoints, and this cloud holds on to the service for it
	m.mu.Unlock()
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	region := func() (link.Service, bool) {
		rs, err := h.plane.Regions(t.Context(), operator)
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) == 0 {
			return link.Service{}, false
		}
		return *rs[0].Service, true
	}
	h.eventually("it says what is in the way", func() string {
		s, there := region()
		cond := link.ConditionOf(s.Conditions, link.ConditionProvisioned)
		if there && s.State == link.ServiceDeleteFailed && cond.Reason == link.ReasonDeleteFailed && strings.Contains(cond.NextStep, "delete them") {
			return ""
		}
		return fmt.Sprintf("there %t: %+v", there, s)
	})
	if s := m.state(other); s != link.Rejected {
		t.Errorf("the stranger's endpoint is %s, want it turned away", s)
	}
	if _, err := h.plane.PutRegion(t.Context(), operator, link.Region{
		Provider: link.AWS, Name: "us-east-1", VPCID: "vpc-2", SubnetIDs: []string{"subnet-2"}, Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7443")},
	}); link.KindOf(err) != link.Precondition {
		t.Errorf("changed while it goes: %v", err)
	}
	if err := remove(); err != nil {
		t.Errorf("asked again: %v", err)
	}

	m.set(endpoint, "")
	m.set(other, "")
	h.eventually("the region is gone", func() string {
		if s, there := region(); there {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	m.mu.Lock()
	left := len(m.services)
	m.mu.Unlock()
	if left != 0 {
		t.Errorf("%d services are left at the cloud", left)
	}
	if err := remove(); link.KindOf(err) != link.NotFound {
		t.Errorf("a region that is gone: %v", err)
	}
}
