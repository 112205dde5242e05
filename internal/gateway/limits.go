package gateway

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/link"
)

// Why a flow was refused though the rules would let it in. The words are stable.
const (
	reasonClusterFull  = "CLUSTER_FLOW_LIMIT"  // the cluster has as many flows open as it may
	reasonClusterRate  = "CLUSTER_RATE_LIMIT"  // too many new flows of the cluster within a second
	reasonEndpointFull = "ENDPOINT_FLOW_LIMIT" // the endpoint has as many flows open as it may
	reasonEndpointRate = "ENDPOINT_RATE_LIMIT" // too many new flows of the endpoint within a second
	reasonFairShare    = "GATEWAY_FULL"        // the gateway is nearly full, and this party has its share already
	reasonClaimRate    = "CLAIM_RATE_LIMIT"    // too many claims were tried through this endpoint
)

// Claims that may be tried through one endpoint: so many at once, then one more per claimPause. A code has 128 bits; the
// limit keeps guessing from being a way to make the gateway work.
const (
	claimBurst = 10
	claimPause = 6 * time.Second
)

// party is who shares the gateway with others: a private endpoint, or on the public side a source, IPv6 by its /64.
type party struct {
	endpoint link.EndpointID
	source   netip.Prefix
}

func partyOf(endpoint link.EndpointID, source netip.Addr) party {
	if endpoint != "" {
		return party{endpoint: endpoint}
	}
	bits := 32
	if source.Is6() {
		bits = 64
	}
	p, err := source.Prefix(bits)
	if err != nil {
		return party{} // the source is not known: all such flows are one party
	}
	return party{source: p}
}

// meters count the flows of parties and of clusters. A flow is counted from when it is known whose it is.
type meters struct {
	most    int // flows that the gateway may have open
	seed    maphash.Seed
	open    atomic.Int64 // flows counted
	parties atomic.Int64 // parties that have one open
	shards  [64]meterShard
}

type meterShard struct {
	mu       sync.Mutex
	parties  map[party]*meter
	clusters map[link.ID]*meter
}

// meter is what one of them has. Guarded by its shard's mutex.
type meter struct {
	open     int // flows; of a cluster also requests that came over the flows of a reverse proxy in front
	requests int // of a party, such requests under way
	flows    bucket
	claims   bucket
}

// within takes a new flow of a party, with which it has n open, within a cluster's limits.
func (c *meter) within(l link.Limits, n int, now time.Duration) (reason string) {
	switch rate := l.FlowsPerSecondByEndpoint; {
	case l.FlowsPerEndpoint > 0 && n > l.FlowsPerEndpoint:
		return reasonEndpointFull
	case rate > 0 && !c.flows.take(now, rate, time.Second/time.Duration(rate)):
		return reasonEndpointRate
	}
	return ""
}

// idle reports whether nothing is counted.
func (c *meter) idle() bool { return *c == meter{} }

func newMeters(most int) *meters {
	m := &meters{most: most, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].parties, m.shards[i].clusters = map[party]*meter{}, map[link.ID]*meter{}
	}
	return m
}

func shardOf[K comparable](m *meters, k K) *meterShard {
	return &m.shards[maphash.Comparable(m.seed, k)%uint64(len(m.shards))]
}

// privateShare is the part of the bound that is for private endpoints alone: public sources are as many as there are
// addresses, and all their equal shares together must not close the private door.
const privateShare = 16

// enter counts a flow of p in, and reports whether it may stay: a gateway that is nearly full keeps what is left for
// parties that have less than an equal share.
func (m *meters) enter(p party) (ok bool) {
	s := shardOf(m, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.parties[p]
	mine, parties := 0, m.parties.Load()
	if c != nil {
		mine = c.open
	}
	if mine == 0 {
		parties++
	}
	open := int(m.open.Load())
	if overShare(open, m.most, mine, int(parties)) || p.endpoint == "" && open >= m.most-m.most/privateShare {
		return false
	}
	if mine == 0 {
		m.parties.Add(1)
	}
	if c == nil {
		c = &meter{}
		s.parties[p] = c
	}
	c.open++
	m.open.Add(1)
	return true
}

// overShare reports whether a party with mine flows gets no further one: of most flows that may be open there are open
// ones, and parties share them, with one who may come yet: at the bound the gateway does not even accept, so that who is
// there, be it one alone, must not fill it. Below seven eighths everybody gets what he asks for.
func overShare(open, most, mine, parties int) bool {
	return open >= most-most/8 && mine >= max(most/(parties+1), 1)
}

// leave undoes enter. Of a party that no limit was reckoned for nothing stays: those who knock from ever new addresses
// must not fill the memory until the next sweep.
func (m *meters) leave(p party) {
	s := shardOf(m, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.open.Add(-1)
	c := s.parties[p]
	if c.open--; c.open == 0 {
		m.parties.Add(-1)
		if c.idle() {
			delete(s.parties, p)
		}
	}
}

// admit counts a flow of p, which has entered, in for a cluster within its limits. now is monotonic. The reason is empty
// when it was counted.
func (m *meters) admit(p party, cluster link.ID, l link.Limits, now time.Duration) (reason string) {
	if l.FlowsPerEndpoint > 0 || l.FlowsPerSecondByEndpoint > 0 {
		s := shardOf(m, p)
		s.mu.Lock()
		c := s.parties[p]
		reason = c.within(l, c.open+c.requests, now)
		s.mu.Unlock()
		if reason != "" {
			return reason
		}
	}
	return m.admitTo(cluster, l, now)
}

// admitTo is admit for the cluster's own limits.
func (m *meters) admitTo(cluster link.ID, l link.Limits, now time.Duration) (reason string) {
	s := shardOf(m, cluster)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusters[cluster]
	if c == nil {
		c = &meter{}
		s.clusters[cluster] = c
	}
	if l.Flows > 0 && c.open >= l.Flows {
		return reasonClusterFull
	}
	if n := l.FlowsPerSecond; n > 0 && !c.flows.take(now, n, time.Second/time.Duration(n)) {
		return reasonClusterRate
	}
	c.open++
	return ""
}

// release undoes admit.
func (m *meters) release(cluster link.ID) {
	s := shardOf(m, cluster)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clusters[cluster].open--
}

// enterRequest counts a request of p in for a cluster, as admit counts a flow: one that came over the flow of a reverse proxy
// in front, which is not p's. One under way is what an open flow is elsewhere. The reason is empty when it was counted.
func (m *meters) enterRequest(p party, cluster link.ID, l link.Limits, now time.Duration) (reason string) {
	s := shardOf(m, p)
	s.mu.Lock()
	c := s.parties[p]
	if c == nil {
		c = &meter{}
		s.parties[p] = c
	}
	c.requests++
	reason = c.within(l, c.open+c.requests, now)
	s.mu.Unlock()
	if reason == "" {
		reason = m.admitTo(cluster, l, now)
	}
	if reason != "" {
		m.leaveParty(p)
	}
	return reason
}

// leaveRequest undoes enterRequest.
func (m *meters) leaveRequest(p party, cluster link.ID) {
	m.leaveParty(p)
	m.release(cluster)
}

func (m *meters) leaveParty(p party) {
	s := shardOf(m, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.parties[p]
	if c.requests--; c.idle() {
		delete(s.parties, p)
	}
}

// mayClaim reports whether p, which has entered, may try a claim.
func (m *meters) mayClaim(p party, now time.Duration) bool {
	s := shardOf(m, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parties[p].claims.take(now, claimBurst, claimPause)
}

// sweep forgets who has nothing open and whose buckets are full again.
func (m *meters) sweep(now time.Duration) {
	idle := func(c *meter) bool {
		return c.open == 0 && c.requests == 0 && now-c.flows.at > time.Second && (c.claims.at == 0 || now-c.claims.at > claimBurst*claimPause)
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for k, c := range s.parties {
			if idle(c) {
				delete(s.parties, k)
			}
		}
		for k, c := range s.clusters {
			if idle(c) {
				delete(s.clusters, k)
			}
		}
		s.mu.Unlock()
	}
}

// bucket is a token bucket: burst tokens at first, and one more per pause up to burst. The zero value is full.
type bucket struct {
	used float64
	at   time.Duration
}

// take takes a token at now, a monotonic time, if there is one.
func (b *bucket) take(now time.Duration, burst int, pause time.Duration) bool {
	used := max(b.used-float64(now-b.at)/float64(pause), 0)
	b.at = now
	b.used = used
	if used+1 > float64(burst) {
		return false
	}
	b.used++
	return true
}
