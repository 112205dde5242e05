package policy

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/postern/postern/internal/link"
)

// TestAllowListOfManyRanges: ten thousand ranges, nested and side by side, and the longest one decides. Who walks them
// all agrees.
func TestAllowListOfManyRanges(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	entries := manyRanges(chance, 10_000)
	list := compileAllowList(entries)
	for range 2000 {
		addr := entries[chance.IntN(len(entries))].Prefix.Addr()
		if chance.IntN(2) == 0 {
			b := addr.As16()
			b[15] ^= byte(chance.IntN(256))
			addr = netip.AddrFrom16(b)
		}
		class := []link.Traffic{link.TrafficAny, link.TrafficUI, link.TrafficSQL}[chance.IntN(3)]
		longest, want, wantRule := -1, false, ""
		for _, e := range entries {
			if !e.Prefix.Contains(addr.Unmap()) || e.Prefix.Bits() < longest {
				continue
			}
			if e.Prefix.Bits() > longest {
				longest, want, wantRule = e.Prefix.Bits(), false, "allowlist "+e.Prefix.String()
			}
			want = want || e.UI && class != link.TrafficSQL || e.SQL && class != link.TrafficUI
		}
		if rule, ok := list.admits(addr, class); rule != wantRule || ok != want {
			t.Fatalf("%s to a port of class %q: %q, %t; want %q, %t", addr, class, rule, ok, wantRule, want)
		}
	}
}

func manyRanges(chance *rand.Rand, n int) []link.AllowEntry {
	out := make([]link.AllowEntry, n)
	for i := range out {
		addr := netip.AddrFrom4([4]byte{byte(chance.IntN(4)), byte(chance.IntN(256)), byte(chance.IntN(256)), byte(chance.IntN(256))})
		bits := 6 + chance.IntN(27)
		if chance.IntN(4) == 0 {
			b := addr.As16()
			b[0], b[10], b[11] = 0x20, 0, 0
			addr, bits = netip.AddrFrom16(b), 90+chance.IntN(39)
		}
		out[i] = link.AllowEntry{Prefix: netip.PrefixFrom(addr, bits).Masked(), UI: chance.IntN(2) == 0, SQL: chance.IntN(2) == 0}
	}
	return out
}

func TestRangesThatHoldNoSource(t *testing.T) {
	list := compileAllowList([]link.AllowEntry{{UI: true}, {Prefix: netip.MustParsePrefix("::ffff:10.0.0.0/104"), UI: true}})
	if rule, ok := list.admits(netip.MustParseAddr("10.0.0.1"), link.TrafficAny); rule != "" || ok {
		t.Errorf("%q, %t", rule, ok)
	}
}

func BenchmarkAllowList(b *testing.B) {
	chance := rand.New(rand.NewPCG(1, 2))
	entries := manyRanges(chance, 10_000)
	list := compileAllowList(entries)
	sources := make([]netip.Addr, 1024)
	for i := range sources {
		sources[i] = entries[chance.IntN(len(entries))].Prefix.Addr()
	}
	b.Run("compile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			compileAllowList(entries)
		}
	})
	b.Run("admits", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			list.admits(sources[i&1023], link.TrafficUI)
			i++
		}
	})
}
