// Package backend knows the backends of all clusters: which one takes the next flow, and which are well. It learns of a
// cluster when its first flow comes and forgets it some minutes after the last one, so that a cluster that nobody uses
// costs nothing. How a backend is it learns from the flows themselves (passive), from asking it (active), and from its
// name's look-ups.
//
// Event loops call Pick and what they do with a Backend. None of these waits for I/O: they take one short lock, of one
// of many parts of the pool. Everything that takes time happens in the pool's own goroutines, of which there are never
// more than a fixed number, however many clusters there are.
package backend

import (
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern/postern/internal/link"
)

// Why Pick returned no backend.
var (
	// ErrNoBackend: the target has none, all are draining, or there is none beside the excluded one.
	ErrNoBackend = errors.New("backend: no backend takes new flows")
	// ErrUnresolved: the backends' host names are being looked up for the first time: ask again in a moment.
	ErrUnresolved = errors.New("backend: the host names are not resolved yet")
	// ErrNoAddress: no backend's host name has an address.
	ErrNoAddress = errors.New("backend: no host name has an address")
)

const (
	keepFor      = 10 * time.Minute // after a cluster's last flow
	sweepEvery   = time.Minute
	checksAtOnce = 64
	newsSpacing  = time.Second // between two reports of one backend
	parts        = 128
)

// Config is what a pool is made with. The zero value is good.
type Config struct {
	Resolver Resolver // nil means net.DefaultResolver
	// SlowStart is how long a new or healed backend takes to get its full share: it starts with a tenth. 0 means 30 s, a
	// negative one that it gets its share at once.
	SlowStart time.Duration
	// Changed is told how a backend is when that is news: at its first sign of life or death, and with every change, at
	// most once a second for each backend. It is called from one goroutine, which it holds up. nil means nobody is told.
	Changed func(link.BackendHealth)
	Now     func() time.Time // stamps the news; nil means time.Now. Durations are measured by the monotonic clock.
	Log     *slog.Logger     // nil means no log
}

// Target is where the flows of a cluster go on one port. Backends, and the Statuses in Health, must not change after
// Pick has seen them: a change comes as another slice.
type Target struct {
	ClusterID     link.ID
	Port          uint16 // with ClusterID and Group it says which list of backends an earlier one is that this takes the place of
	Group         uint8  // tells apart what has the same Port
	Backends      []link.Backend
	Health        link.HealthCheck
	ProxyProtocol bool // the backends expect a PROXY header, in checks too
}

// Pool holds the backends of all clusters.
type Pool struct {
	cfg    Config
	seed   maphash.Seed
	start  time.Time
	parts  [parts]part
	hosts  *hosts
	checks *agenda
	news   *agenda
	ask    func(context.Context, probe) error // tests have their own

	done    context.Context
	quit    context.CancelFunc
	working sync.WaitGroup
}

// part is one of the pool's parts, each with the clusters whose ids fall to it.
type part struct {
	mu       sync.Mutex
	lists    map[listKey]*list
	clusters map[link.ID]*cluster
	scratch  []candidate
	_        [64]byte // keeps the locks of neighbours out of one cache line
}

// NewPool returns a pool, which runs until Close.
func NewPool(cfg Config) *Pool { return newPool(cfg, ask) }

func newPool(cfg Config, ask func(context.Context, probe) error) *Pool {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.SlowStart == 0 {
		cfg.SlowStart = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pool{
		cfg: cfg, seed: maphash.MakeSeed(), start: time.Now(), hosts: newHosts(cfg.Resolver, cfg.Log),
		checks: newAgenda(checksAtOnce), news: newAgenda(1), ask: ask,
	}
	for i := range p.parts {
		p.parts[i].lists, p.parts[i].clusters = make(map[listKey]*list), make(map[link.ID]*cluster)
	}
	p.done, p.quit = context.WithCancel(context.Background())
	for _, a := range []*agenda{p.hosts.agenda, p.checks, p.news} {
		p.working.Go(func() { a.keep(p.done) })
	}
	p.checks.add(sweepEvery, sweep{p})
	return p
}

// Close ends checks, look-ups and news, and returns when nothing of the pool runs any more. Backends may still be told
// how their flows ended.
func (p *Pool) Close() {
	p.quit()
	p.working.Wait()
}

// Pick chooses the backend for a flow and counts the flow as open there, until the backend's Failed or Ended is called.
// Exclude is the backend that has just failed the flow, nil at the first try; it is chosen again only when there is no
// other and its name has another address. Healthy backends come first; when there is none, all are tried: that all are
// down is more often a fault of whoever says so. Errors are ErrNoBackend, ErrUnresolved and ErrNoAddress.
func (p *Pool) Pick(t Target, exclude *Backend) (*Backend, netip.AddrPort, error) {
	now := p.now()
	s := p.part(t.ClusterID)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := p.list(s, t, now)
	b := l.pick(s, now, exclude)
	if b == nil {
		return nil, netip.AddrPort{}, l.why(exclude)
	}
	b.open++
	addr := b.next(now)
	return b, addr, nil
}

// Status is how a backend is at the moment.
type Status struct {
	ClusterID link.ID
	Backend   string // its address, as configured
	Healthy   bool   // nothing speaks against it
	Reason    string // why it is not healthy: one of this package's words
	In        bool   // it gets new flows: neither its checks nor its failures keep it out
	Flows     int    // open
}

// All goes through the backends of the clusters that are in use. Those of one cluster are not all seen at one moment.
func (p *Pool) All() iter.Seq[Status] {
	return func(yield func(Status) bool) {
		var some []Status
		for i := range p.parts {
			some = p.parts[i].statuses(some[:0], p.now())
			for _, st := range some {
				if !yield(st) {
					return
				}
			}
		}
	}
}

func (s *part) statuses(into []Status, now time.Duration) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clusters {
		for _, b := range c.backends {
			if b.lists > 0 {
				into = append(into, b.status(now))
			}
		}
	}
	return into
}

// TellAnew has Changed be told of every backend once more, also when nothing changed: for a control plane that was away.
func (p *Pool) TellAnew() {
	for i := range p.parts {
		p.parts[i].tellAnew(p.now())
	}
}

func (s *part) tellAnew(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clusters {
		for _, b := range c.backends {
			b.told = verdict{}
			b.tell(now)
		}
	}
}

// sweep is the job that forgets what is not in use.
type sweep struct{ pool *Pool }

func (w sweep) run(context.Context) time.Duration {
	for i := range w.pool.parts {
		w.pool.parts[i].sweep(w.pool.now())
	}
	return sweepEvery
}

// now is the time by the monotonic clock, since the pool was made: setting the clock changes nothing.
func (p *Pool) now() time.Duration { return time.Since(p.start) }

func (p *Pool) part(cluster link.ID) *part {
	return &p.parts[maphash.String(p.seed, string(cluster))%parts]
}
