package backend

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How host names are kept. What resolvers say of how long an answer holds is not asked: package net does not tell it.
const (
	lookupEvery   = 30 * time.Second // after a good answer, give or take a fifth
	lookupAgain   = time.Second      // after the first bad one; doubles up to lookupEvery
	lookupTimeout = 5 * time.Second
	lookupsAtOnce = 16
)

// Resolver looks up host names; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// hosts knows the addresses of the backends' host names, and asks again from time to time for as long as a backend uses
// the name.
type hosts struct {
	resolver Resolver
	agenda   *agenda
	log      *slog.Logger

	mu     sync.Mutex
	byName map[string]*host
}

// host is one name. It is a job of hosts.agenda.
type host struct {
	all   *hosts
	name  string
	users map[*Backend]struct{} // under all.mu
	found atomic.Pointer[lookup]
	bad   int // failed lookups in a row; the job's own
}

// lookup is what is known of a name: nil is nothing yet, no addresses that there is none and why.
type lookup struct {
	addrs  []netip.Addr // of one family
	reason string
}

func newHosts(r Resolver, log *slog.Logger) *hosts {
	return &hosts{
		resolver: r, agenda: newAgenda(lookupsAtOnce), log: log,
		byName: make(map[string]*host),
	}
}

// use returns the host of a name for b, and sees to it that somebody looks it up.
func (hs *hosts) use(name string, b *Backend) *host {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.byName[name]
	if h == nil {
		h = &host{all: hs, name: name, users: make(map[*Backend]struct{})}
		hs.byName[name] = h
		hs.agenda.add(0, h)
	}
	h.users[b] = struct{}{}
	return h
}

// release ends b's use of the host.
func (h *host) release(b *Backend) {
	h.all.mu.Lock()
	defer h.all.mu.Unlock()
	delete(h.users, b)
	if len(h.users) == 0 {
		delete(h.all.byName, h.name)
	}
}

func (h *host) run(ctx context.Context) time.Duration {
	if len(h.backends()) == 0 {
		return never
	}
	asking, cancel := context.WithTimeout(ctx, lookupTimeout)
	addrs, err := h.all.resolver.LookupNetIP(asking, "ip", h.name)
	cancel()
	if ctx.Err() != nil {
		return never
	}
	if err == nil && len(addrs) == 0 {
		err = errors.New("an answer without addresses")
	}
	before := h.found.Load()
	if err != nil {
		h.bad++
		if before == nil || len(before.addrs) == 0 {
			h.learn(&lookup{reason: lookupReason(err)})
		} else if h.bad == 1 {
			h.all.log.Warn("a backend's host name cannot be looked up: its last addresses stay in use", "host", h.name, "error", err)
		}
		return min(lookupAgain<<min(h.bad-1, 10), lookupEvery)
	}
	h.bad = 0
	h.learn(&lookup{addrs: ofOneFamily(addrs)})
	return lookupEvery*4/5 + rand.N(lookupEvery*2/5)
}

// learn takes over what was found, and tells the backends of the name when it is news.
func (h *host) learn(found *lookup) {
	before := h.found.Swap(found)
	if before != nil && before.reason == found.reason && slices.Equal(before.addrs, found.addrs) {
		return
	}
	for _, b := range h.backends() {
		b.resolved()
	}
}

func (h *host) backends() []*Backend {
	h.all.mu.Lock()
	defer h.all.mu.Unlock()
	out := make([]*Backend, 0, len(h.users))
	for b := range h.users {
		out = append(out, b)
	}
	return out
}

// ofOneFamily returns the addresses of the family of the first: the resolver sorts those first that can be reached from
// here (RFC 6724), and a host without IPv6 should not try every second flow over it.
func ofOneFamily(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if a.Is4() == addrs[0].Unmap().Is4() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
