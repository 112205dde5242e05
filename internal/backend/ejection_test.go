package backend

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

func TestEjection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		w.refuse(target, one, refusedMost-1)
		w.expect("before the last straw", w.status(one), Status{ClusterID: "c", Backend: one, Reason: ConnectionRefused, In: true})
		for n := 1; n <= 40; n++ {
			w.refuse(target, one, 1) // and after the first ejection one more failure is enough
			if w.status(one).In {
				t.Fatalf("not ejected the %dth time", n)
			}
			out := min(time.Duration(n)*ejectBase, ejectMost)
			w.pass(out - 1)
			if w.status(one).In {
				t.Fatalf("the %dth ejection is over before %s", n, out)
			}
			w.pass(1)
			if !w.status(one).In {
				t.Fatalf("the %dth ejection is longer than %s", n, out)
			}
		}
		b := w.find(target, one)
		b.Connected()
		b.Ended(true, false)
		w.expect("healed by a flow", w.status(one), Status{ClusterID: "c", Backend: one, Healthy: true, In: true})
		w.pass(ejectMost)
		w.refuse(target, one, refusedMost)
		w.pass(ejectBase)
		if !w.status(one).In {
			t.Error("after a long peace the first ejection is not short")
		}
	})
}

// TestAtMostHalfAreEjected: of whoever takes flows, so that at least one stays.
func TestAtMostHalfAreEjected(t *testing.T) {
	for n := 1; n <= 7; n++ {
		inBubble(t, func(t *testing.T, w *world) {
			target := Target{ClusterID: "c", Backends: literals(n)}
			target.Backends = append(target.Backends, link.Backend{Address: "10.9.9.9:443", Draining: true})
			w.flow(target)
			for range 1000 {
				b, addr := w.pick(target, nil)
				b.Failed(addr, syscall.ECONNREFUSED)
			}
			out := 0
			for s := range w.All() {
				if !s.In {
					out++
				} else if s.Healthy && s.Backend != "10.9.9.9:443" {
					t.Errorf("of %d, all failed: %+v", n, s)
				}
			}
			if out != n/2 {
				t.Errorf("of %d backends %d are ejected", n, out)
			}
		})
	}
}

// TestSuccessEndsARun: only failures in a row count.
func TestSuccessEndsARun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		for range 20 {
			w.refuse(target, one, refusedMost-1)
			b := w.find(target, one)
			b.Connected()
			b.Ended(true, false)
		}
		w.expect("now", w.status(one), Status{ClusterID: "c", Backend: one, Healthy: true, In: true})
	})
}

// TestDuringAnEjection nothing that happens changes it: those flows had been on their way before.
func TestDuringAnEjection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		var late []*Backend
		for range 8 {
			if b, _ := w.pick(target, nil); b.Address() == one {
				late = append(late, b)
			}
		}
		w.expect("flows on their way to the first", len(late), 4)
		for _, b := range late[1:] {
			b.Failed(netip.MustParseAddrPort(one), syscall.ECONNREFUSED)
		}
		w.pass(ejectBase - 1)
		late[0].Failed(netip.MustParseAddrPort(one), syscall.ECONNREFUSED)
		w.expect("one more failure", w.status(one), Status{ClusterID: "c", Backend: one, Reason: ConnectionRefused})
		w.pass(1)
		w.expect("over as it would have been", w.status(one).In, true)
	})
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		late, other := w.find(target, one), w.find(target, two)
		w.refuse(target, one, refusedMost)
		late.Connected()
		late.Ended(true, false)
		other.Ended(true, false)
		w.expect("a success", w.status(one), Status{ClusterID: "c", Backend: one, Reason: ConnectionRefused})
	})
}

func TestClosesUnanswered(t *testing.T) {
	ends := func(w *world, target Target, times int, answered, byServer bool) {
		for range times {
			b := w.find(target, one)
			b.Connected()
			b.Ended(answered, byServer)
		}
	}
	out := Status{ClusterID: "c", Backend: one, Reason: ClosesUnanswered}
	well := Status{ClusterID: "c", Backend: one, Healthy: true, In: true}
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		w.flow(target)
		ends(w, target, 100, false, false)
		w.expect("clients that left without a word", w.status(one), well)
		ends(w, target, 100, true, true)
		w.expect("flows that the backend ended", w.status(one), well)
		ends(w, target, brokenMost-1, false, true)
		w.expect("nearly", w.status(one), well)
		ends(w, target, 1, true, false)
		ends(w, target, brokenMost-1, false, true)
		w.pass(brokenWithin + 1)
		ends(w, target, brokenMost-1, false, true)
		w.expect("not in a row", w.status(one), well)
		ends(w, target, 1, false, true)
		w.expect("in a row", w.status(one), out)
		w.pass(ejectBase)
		b := w.find(target, one)
		b.Connected()
		w.expect("to connect does not heal it", w.status(one).Reason, ClosesUnanswered)
		b.Ended(false, true)
		w.expect("at it again", w.status(one), out)
		for n := 3; n < 10; n++ {
			w.pass(time.Duration(n-1) * ejectBase)
			ends(w, target, 1, false, true)
			w.expect("and again", w.status(one), out)
		}
		w.pass(ejectMost)
		ends(w, target, 1, true, false)
		w.expect("it answers", w.status(one), well)
	})
}

// TestOwnFaultsAreNotHeldAgainstTheBackend: nothing is learnt of it when the gateway has no descriptor left.
func TestOwnFaultsAreNotHeldAgainstTheBackend(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		for _, err := range []error{
			syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, context.Canceled,
			&net.OpError{Op: "dial", Err: syscall.EMFILE},
		} {
			for range 10 {
				b, addr := w.pick(target, nil)
				b.Failed(addr, err)
			}
		}
		for s := range w.All() {
			if !s.Healthy || !s.In || s.Flows != 0 {
				t.Errorf("%+v", s)
			}
		}
		w.expect("news", w.told(), []string(nil))
	})
}
