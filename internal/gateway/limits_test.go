package gateway

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern/postern/internal/link"
)

func TestLimits(t *testing.T) {
	a, b := party{endpoint: endpointA}, party{endpoint: endpointB}
	type step struct {
		at      time.Duration
		who     party
		leaves  bool // a flow of who ends, before anything else
		refused string
	}
	tests := []struct {
		name   string
		limits link.Limits
		steps  []step
	}{
		{"no limits", link.Limits{}, []step{{who: a}, {who: a}, {who: b}}},
		{"flows of a cluster", link.Limits{Flows: 2}, []step{
			{who: a},
			{who: b},
			{who: a, refused: reasonClusterFull},
			{who: b, refused: reasonClusterFull},
			{who: b, leaves: true},
			{who: a, refused: reasonClusterFull},
		}},
		{"flows of an endpoint do not bound another's", link.Limits{FlowsPerEndpoint: 1}, []step{
			{who: a}, {who: a, refused: reasonEndpointFull}, {who: b}, {who: b, refused: reasonEndpointFull}, {who: a, leaves: true},
		}},
		{"new flows of a cluster", link.Limits{FlowsPerSecond: 2}, []step{
			{who: a},
			{who: b},
			{who: a, refused: reasonClusterRate},
			{at: 400 * time.Millisecond, who: a, refused: reasonClusterRate},
			{at: 500 * time.Millisecond, who: a},
			{at: 500 * time.Millisecond, who: b, refused: reasonClusterRate},
			{at: time.Hour, who: a},
			{at: time.Hour, who: a},
			{at: time.Hour, who: a, refused: reasonClusterRate},
		}},
		{"new flows of an endpoint", link.Limits{FlowsPerSecondByEndpoint: 1}, []step{
			{who: a}, {who: a, refused: reasonEndpointRate}, {who: b}, {at: time.Second, who: a},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMeters(1000)
			const cluster = link.ID(acmeID)
			for i, s := range tt.steps {
				if s.leaves {
					m.release(cluster)
					m.leave(s.who)
				}
				if !m.enter(s.who) {
					t.Fatalf("step %d: no share", i)
				}
				got := m.admit(s.who, cluster, tt.limits, s.at)
				if got != s.refused {
					t.Errorf("step %d: %q, want %q", i, got, s.refused)
				}
				if got != "" {
					m.leave(s.who)
				}
			}
		})
	}
}

// A request over a reverse proxy's flow counts as a flow of its client's does, and takes nothing of the gateway's share of flows.
func TestRequestsCountAsFlows(t *testing.T) {
	m := newMeters(1)
	a, b := partyOf("", netip.MustParseAddr("192.0.2.1")), partyOf("", netip.MustParseAddr("192.0.2.2"))
	limits := link.Limits{FlowsPerEndpoint: 1, Flows: 2}
	for i, tt := range []struct {
		who  party
		want string
	}{{a, ""}, {a, reasonEndpointFull}, {b, ""}, {partyOf("", netip.MustParseAddr("192.0.2.3")), reasonClusterFull}} {
		if got := m.enterRequest(tt.who, acmeID, limits, 0); got != tt.want {
			t.Errorf("request %d: %q, want %q", i, got, tt.want)
		}
	}
	if !m.enter(party{endpoint: endpointA}) {
		t.Error("requests took the share of a flow")
	}
	if got := m.admit(party{endpoint: endpointA}, acmeID, limits, 0); got != reasonClusterFull {
		t.Errorf("a flow beside two requests: %q", got)
	}
	m.leave(party{endpoint: endpointA})
	m.sweep(time.Hour)
	m.leaveRequest(a, acmeID)
	m.leaveRequest(b, acmeID)
	m.sweep(2 * time.Hour)
	for i := range m.shards {
		if n := len(m.shards[i].parties) + len(m.shards[i].clusters); n > 0 {
			t.Errorf("%d meters are left", n)
		}
	}
}

func TestFairShare(t *testing.T) {
	tests := []struct {
		name                      string
		open, most, mine, parties int
		over                      bool
	}{
		{"half full", 500, 1000, 500, 1, false},
		{"nearly full, all mine", 875, 1000, 875, 2, true},
		{"nearly full, none mine", 875, 1000, 0, 2, false},
		{"nearly full, my share not used up", 900, 1000, 332, 2, false},
		{"nearly full, my share used up", 900, 1000, 333, 2, true},
		{"one alone may have much", 874, 1000, 874, 1, false},
		{"and leaves the rest for who comes", 875, 1000, 875, 1, true},
		{"more parties than flows", 8, 8, 0, 100, false},
		{"more parties than flows, and I have one", 8, 8, 1, 100, true},
	}
	for _, tt := range tests {
		if got := overShare(tt.open, tt.most, tt.mine, tt.parties); got != tt.over {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// Whatever greedy parties do, one that comes late gets flows in: the last eighth is not for those that have their share.
func TestAGreedyPartyCannotStarveAnother(t *testing.T) {
	m := newMeters(800)
	greedy, modest := party{endpoint: endpointA}, party{endpoint: endpointB}
	if !m.enter(modest) {
		t.Fatal("the first flow of all was refused")
	}
	n := 0
	for n < 10_000 && m.enter(greedy) {
		n++
	}
	if n < 400 || n >= 800 {
		t.Errorf("the greedy party got %d of 800", n)
	}
	for i := range 90 {
		if !m.enter(modest) {
			t.Fatalf("flow %d of the modest party was refused", i)
		}
	}
}

// However many public sources there are, private endpoints get in.
func TestThePublicCannotCloseThePrivateDoor(t *testing.T) {
	m := newMeters(1600)
	n := 0
	for i := range 10_000 {
		if m.enter(partyOf("", netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}))) {
			n++
		}
	}
	if n != 1500 {
		t.Errorf("the public got %d of 1600", n)
	}
	for i := range 100 {
		if !m.enter(party{endpoint: link.EndpointID(fmt.Sprint("vpce-", i))}) {
			t.Fatalf("private endpoint %d did not get in", i)
		}
	}
}

func TestPartyOf(t *testing.T) {
	for source, want := range map[string]string{"192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64"} {
		if got := partyOf("", netip.MustParseAddr(source)); got.source.String() != want {
			t.Errorf("%s belongs to %s", source, got.source)
		}
	}
	if partyOf(endpointA, netip.MustParseAddr("10.0.0.1")) != partyOf(endpointA, netip.MustParseAddr("10.0.0.2")) {
		t.Error("one endpoint is two parties")
	}
	if partyOf("", netip.Addr{}) != (party{}) {
		t.Error("an unknown source is somebody")
	}
}

// A bucket never gives more than its burst and what time has added, also when it is asked at odd moments.
func TestBucketGivesNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		burst := rapid.IntRange(1, 20).Draw(t, "burst")
		pause := time.Duration(rapid.IntRange(1, 1000).Draw(t, "pause")) * time.Millisecond
		var b bucket
		var now time.Duration
		taken := 0
		for range rapid.IntRange(1, 200).Draw(t, "tries") {
			now += time.Duration(rapid.IntRange(0, 500).Draw(t, "wait")) * time.Millisecond
			if b.take(now, burst, pause) {
				taken++
			}
			if most := float64(burst) + float64(now)/float64(pause) + 1e-6; float64(taken) > most {
				t.Fatalf("gave %d tokens by %v, more than %f", taken, now, most)
			}
		}
	})
}

func TestMetersForget(t *testing.T) {
	m := newMeters(1000)
	p := party{endpoint: endpointA}
	m.enter(p)
	m.admit(p, acmeID, link.Limits{FlowsPerSecond: 1}, 0)
	m.sweep(time.Hour)
	if shardOf(m, p).parties[p] == nil || shardOf(m, link.ID(acmeID)).clusters[acmeID] == nil {
		t.Fatal("who has flows open was forgotten")
	}
	m.release(acmeID)
	m.leave(p)
	m.sweep(time.Hour)
	if shardOf(m, p).parties[p] != nil || shardOf(m, link.ID(acmeID)).clusters[acmeID] != nil {
		t.Error("who has nothing open was not forgotten")
	}
	if m.open.Load() != 0 || m.parties.Load() != 0 {
		t.Errorf("%d flows of %d parties are left", m.open.Load(), m.parties.Load())
	}
}

func TestAFloodFromManySourcesLeavesNothing(t *testing.T) {
	m := newMeters(8)
	for i := range 10_000 {
		p := partyOf("", netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}))
		if m.enter(p) {
			m.leave(p)
		}
	}
	for i := range m.shards {
		if n := len(m.shards[i].parties); n > 0 {
			t.Fatalf("%d parties are remembered in one of the shards", n)
		}
	}
}

func BenchmarkMeters(b *testing.B) {
	m := newMeters(1 << 20)
	p := party{endpoint: endpointA}
	b.ReportAllocs()
	for b.Loop() {
		m.enter(p)
		m.admit(p, acmeID, link.Limits{}, 0)
		m.release(acmeID)
		m.leave(p)
	}
}
