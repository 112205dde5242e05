package backend

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

func TestHostNames(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at("db.test:5432")
		w.set(func() { w.slow, w.names["db.test"] = time.Second, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} })
		if _, _, err := w.Pick(target, nil); !errors.Is(err, ErrUnresolved) {
			t.Fatalf("at first: %v", err)
		}
		await(t, w.Pool, target)
		got := map[string]int{}
		for range 30 {
			b, addr := w.pick(target, nil)
			got[addr.String()]++
			b.Ended(true, false)
		}
		w.expect("its addresses take turns", got, map[string]int{"10.0.0.1:5432": 10, "10.0.0.2:5432": 10, "10.0.0.3:5432": 10})
		w.expect("asked so far", w.lookup["db.test"], 1)

		w.set(func() { w.names["db.test"] = []string{"10.0.0.9"} })
		w.pass(lookupEvery*6/5 + 2*time.Second)
		if b, addr := w.pick(target, nil); addr.String() != "10.0.0.9:5432" || b.Address() != "db.test:5432" {
			t.Errorf("after the name moved: %s", addr)
		}
		w.set(func() { delete(w.names, "db.test") })
		w.pass(10 * time.Minute)
		if _, addr := w.pick(target, nil); addr.String() != "10.0.0.9:5432" {
			t.Errorf("after look-ups failed: %s", addr)
		}
		w.set(func() { w.names["db.test"] = []string{"10.0.0.4"} })
		w.pass(lookupEvery + 2*time.Second)
		if _, addr := w.pick(target, nil); addr.String() != "10.0.0.4:5432" {
			t.Errorf("after they worked again: %s", addr)
		}
		w.set(func() {
			clear(w.lookup)
			delete(w.names, "db.test")
		})
		w.pass(2 * lookupEvery)
		w.set(func() {
			if n := w.lookup["db.test"]; n < 4 {
				t.Errorf("asked %d times in the first minute of trouble", n)
			}
		})
	})
}

func TestANameThatDoesNotExist(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at("typo.test:5432")
		_, _, _ = w.Pick(target, nil)
		await(t, w.Pool, target)
		if _, _, err := w.Pick(target, nil); !errors.Is(err, ErrNoAddress) {
			t.Errorf("%v", err)
		}
		w.expect("news", w.told(), []string{"typo.test:5432 NO_SUCH_HOST"})
		w.expect("status", w.status("typo.test:5432"), Status{ClusterID: "c", Backend: "typo.test:5432", Reason: NoSuchHost})
		if got := w.flow(at("typo.test:5432", one)); got != one {
			t.Errorf("the flow went to %s", got)
		}
		w.pass(4 * time.Minute)
		w.set(func() {
			if n := w.lookup["typo.test"]; n < 8 || n > 14 { // after 1, 2, 4, 8, 16 s, and then every 30 s
				t.Errorf("asked %d times in 4 minutes", n)
			}
			w.names["typo.test"] = []string{"10.0.0.1"}
		})
		w.pass(lookupEvery)
		if _, addr := w.pick(target, nil); addr.String() != "10.0.0.1:5432" {
			t.Errorf("once it exists: %s", addr)
		}
	})
}

func TestAResolverThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func() { w.slow = time.Hour })
		await(t, w.Pool, at("slow.test:1"))
		w.expect("news", w.told(), []string{"slow.test:1 LOOKUP_FAILED"})
	})
}

// TestAFailedAddressIsPassedOver, and a flow whose only backend failed it may try the name's other address.
func TestAFailedAddressIsPassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at("db.test:5432")
		w.set(func() { w.names["db.test"] = []string{"10.0.0.1", "10.0.0.2"} })
		await(t, w.Pool, target)
		b, addr := w.pick(target, nil)
		b.Failed(addr, syscall.ECONNREFUSED)
		for range 10 {
			again, other := w.pick(target, b)
			if again != b || other == addr {
				t.Fatalf("after %s failed: %s of %s", addr, other, again.Address())
			}
			again.Connected()
			again.Ended(true, false)
		}
		w.pass(avoidFor)
		got := map[netip.AddrPort]bool{}
		for range 2 {
			b, addr := w.pick(target, nil)
			got[addr] = true
			b.Ended(false, false)
		}
		if !got[addr] {
			t.Errorf("%s is not tried again", addr)
		}
		for range 2 {
			b, addr := w.pick(target, nil)
			b.Failed(addr, syscall.ECONNREFUSED)
		}
		b, _ = w.pick(target, nil)
		w.expect("with all of them avoided", b.Address(), "db.test:5432")
	})
}

// TestClustersShareNames: one look-up serves all.
func TestClustersShareNames(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func() { w.names["db.test"] = []string{"10.0.0.1"} })
		for _, c := range []link.ID{"a", "b", "c"} {
			target := at("db.test:5432", "db.test:443")
			target.ClusterID = c
			await(t, w.Pool, target)
		}
		w.expect("look-ups", w.lookup["db.test"], 1)
	})
}

func TestOfOneFamily(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{[]string{"10.0.0.1"}, []string{"10.0.0.1"}},
		{[]string{"10.0.0.1", "2001:db8::1", "10.0.0.2"}, []string{"10.0.0.1", "10.0.0.2"}},
		{[]string{"2001:db8::1", "10.0.0.1"}, []string{"2001:db8::1"}},
		{[]string{"::ffff:10.0.0.1", "10.0.0.2", "2001:db8::1"}, []string{"10.0.0.1", "10.0.0.2"}},
		{[]string{"10.0.0.1", "10.0.0.1"}, []string{"10.0.0.1"}},
	} {
		var in []netip.Addr
		for _, a := range tt.in {
			in = append(in, netip.MustParseAddr(a))
		}
		var got []string
		for _, a := range ofOneFamily(in) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v:\n%s", tt.in, cmp.Diff(tt.want, got))
		}
	}
}
