package backend

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
)

// cluster is what the lists of one cluster share: the state of its backends, by address.
type cluster struct {
	id       link.ID
	lists    []*list
	backends []*Backend
}

type listKey struct {
	cluster link.ID
	port    uint16
	group   uint8
}

// list is a Target as the pool knows it. It is guarded by its part's lock.
type list struct {
	cluster *cluster
	target  *Target // never changes: a change is another one
	members []member
	used    time.Duration // when a flow last asked
}

type member struct {
	backend  *Backend
	weight   uint32
	draining bool
}

// list returns the list for a target, and makes or changes it as the target says.
func (p *Pool) list(s *part, t Target, now time.Duration) *list {
	key := listKey{t.ClusterID, t.Port, t.Group}
	l := s.lists[key]
	if l == nil {
		c := s.clusters[t.ClusterID]
		if c == nil {
			c = &cluster{id: t.ClusterID}
			s.clusters[t.ClusterID] = c
		}
		l = &list{cluster: c}
		c.lists = append(c.lists, l)
		s.lists[key] = l
		p.follow(s, l, t, now)
	} else if !same(l.target, &t) {
		p.follow(s, l, t, now)
	}
	l.used = now
	return l
}

// same reports whether two targets of one cluster and port are known to say the same, by a look at where their slices
// lie. Two for which it is false may still be equal, which costs a moment's work and changes nothing.
func same(a, b *Target) bool {
	x, y := &a.Health, &b.Health
	return sameSlice(a.Backends, b.Backends) && a.ProxyProtocol == b.ProxyProtocol && x.Check == y.Check && x.Path == y.Path &&
		sameSlice(x.Statuses, y.Statuses) && x.Interval == y.Interval && x.Timeout == y.Timeout && x.Rise == y.Rise && x.Fall == y.Fall
}

func sameSlice[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// follow makes the list say what the target does. Backends that stay keep what is known of them.
func (p *Pool) follow(s *part, l *list, t Target, now time.Duration) {
	before := l.members
	l.target, l.members = &t, make([]member, 0, len(t.Backends))
	for _, in := range t.Backends {
		b := l.cluster.backend(in.Address)
		if b == nil {
			b = p.newBackend(s, l.cluster, in.Address, now)
			l.cluster.backends = append(l.cluster.backends, b)
		}
		b.lists++
		b.configure(l.target)
		weight := uint32(min(max(in.Weight, 1), maxWeight))
		l.members = append(l.members, member{b, weight, in.Draining})
	}
	for _, m := range before {
		m.backend.lists--
	}
}

func (c *cluster) backend(address string) *Backend {
	if i := slices.IndexFunc(c.backends, func(b *Backend) bool { return b.address == address }); i >= 0 {
		return c.backends[i]
	}
	return nil
}

// pick returns the backend for the next flow, nil when there is none.
func (l *list) pick(s *part, now time.Duration, exclude *Backend) *Backend {
	rnd := rand.Uint64()
	healthy := func(b *Backend) bool { return b != exclude && !b.out(now) }
	notExcluded := func(b *Backend) bool { return b != exclude }
	b := l.choose(s, now, rnd, healthy)
	if b == nil {
		b = l.choose(s, now, rnd, notExcluded)
	}
	if b == nil && exclude != nil && exclude.several() {
		b = l.choose(s, now, rnd, func(b *Backend) bool { return b == exclude })
	}
	return b
}

// choose returns one of the members that take flows and that fit.
func (l *list) choose(s *part, now time.Duration, rnd uint64, fit func(*Backend) bool) *Backend {
	s.scratch = s.scratch[:0]
	for _, m := range l.members {
		c := candidate{open: int64(m.backend.open)}
		if !m.draining && m.backend.reachable() && fit(m.backend) {
			c.weight = m.weight * m.backend.ramp(now)
		}
		s.scratch = append(s.scratch, c)
	}
	if i := choose(s.scratch, rnd); i >= 0 {
		return l.members[i].backend
	}
	return nil
}

// why says why pick found nothing.
func (l *list) why(exclude *Backend) error {
	err := ErrNoBackend
	for _, m := range l.members {
		if m.draining || m.backend == exclude {
			continue
		}
		if m.backend.host != nil && m.backend.host.found.Load() == nil {
			return ErrUnresolved
		}
		err = ErrNoAddress
	}
	return err
}

// spares reports whether the list can do without one more backend: at most half of those that take flows may be out,
// so that at least one stays.
func (l *list) spares(b *Backend, now time.Duration) bool {
	var takes, out int
	concerned := false
	for _, m := range l.members {
		if m.draining {
			continue
		}
		takes++
		if m.backend == b {
			concerned = true
		} else if m.backend.out(now) {
			out++
		}
	}
	return !concerned || 2*(out+1) <= takes
}

// sweep forgets the lists that no flow has asked for in a while and whose backends carry none, and the backends that are
// in no list and carry none.
func (s *part) sweep(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.lists {
		if now-l.used < keepFor || slices.ContainsFunc(l.members, func(m member) bool { return m.backend.open > 0 }) {
			continue
		}
		for _, m := range l.members {
			m.backend.lists--
		}
		l.cluster.lists = slices.DeleteFunc(l.cluster.lists, func(other *list) bool { return other == l })
		delete(s.lists, key)
	}
	for id, c := range s.clusters {
		c.backends = slices.DeleteFunc(c.backends, func(b *Backend) bool {
			gone := b.lists == 0 && b.open == 0
			if gone && b.host != nil {
				b.host.release(b)
			}
			return gone
		})
		if len(c.lists) == 0 && len(c.backends) == 0 {
			delete(s.clusters, id)
		}
	}
}
