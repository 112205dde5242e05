package backend

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/postern/postern/internal/link"
)

// Passive health: what flows tell. A backend is ejected, which is to say gets no flows for a while, after so many
// failures in a row.
const (
	refusedMost  = 3                // failures to connect
	brokenMost   = 5                // flows that it took and closed unanswered
	brokenWithin = time.Minute      // a run of these is over when no other came for so long
	ejectBase    = 10 * time.Second // of the first ejection; the nth takes n times that
	ejectMost    = 5 * time.Minute  // the longest ejection, and the peace after which the count starts anew
	avoidFor     = 10 * time.Second // how long one of a name's addresses is passed over after it failed
)

// Backend is one of a cluster's servers. Its methods may be called by any goroutine and wait for nothing. Every Backend
// that Pick returned is owed one call of Failed or Ended, which ends the flow there.
type Backend struct {
	pool    *Pool
	part    *part // whose lock guards what follows
	cluster *cluster
	address string
	literal netip.AddrPort // valid when the address is one
	host    *host          // else its name, nil when the address is malformed
	name    string         // the host part of address
	port    uint16         // of host

	lists int // that it is in; 0 when it was taken away
	open  int // flows
	since time.Duration
	turn  uint
	avoid []avoided

	// What flows told.
	seen         bool   // it has given a sign of life or death
	failure      string // why the last flow failed; empty when that is over
	cause        error  // the failure itself, for the log
	refused      int    // in a row
	broken       int    // in a row
	brokenAt     time.Duration
	ejections    int
	ejectedUntil time.Duration

	// What checks told.
	target   *Target // says how to check it
	checking bool    // a job is at it
	good     int     // in a row
	bad      int     // in a row
	down     bool
	downFor  string
	checked  uint // which of a name's addresses is next

	told   verdict // as last reported; zero when it has to be said again
	toldAt time.Duration
	queued bool // a report is on its way
}

type avoided struct {
	addr  netip.Addr
	until time.Duration
}

// verdict is what is reported of a backend.
type verdict struct {
	known  bool
	reason string // empty when it is healthy
}

func (p *Pool) newBackend(s *part, c *cluster, address string, now time.Duration) *Backend {
	b := &Backend{pool: p, part: s, cluster: c, address: address, since: now}
	host, service, err := net.SplitHostPort(address)
	port, notNumber := strconv.ParseUint(service, 10, 16)
	if err != nil || notNumber != nil || port == 0 || host == "" {
		b.tell(now)
		return b
	}
	b.name, b.port = host, uint16(port)
	if ip, err := netip.ParseAddr(host); err == nil {
		b.literal = netip.AddrPortFrom(ip.Unmap(), b.port)
	} else {
		b.host = p.hosts.use(host, b)
	}
	return b
}

// Address returns the backend's address as it is configured, host:port.
func (b *Backend) Address() string { return b.address }

// Connected says that the backend has taken a flow.
func (b *Backend) Connected() {
	b.part.mu.Lock()
	defer b.part.mu.Unlock()
	if b.seen && b.refused == 0 && b.failure == "" {
		return // as nearly always, which is worth no look at the clock
	}
	now := b.pool.now()
	b.seen, b.refused = true, 0
	b.heal(now)
	b.tell(now)
}

// Failed says that the backend could not be connected to at addr, which Pick gave, and ends the flow there. Errors that
// are the gateway's own (no descriptor, port or memory left) are not held against the backend.
func (b *Backend) Failed(addr netip.AddrPort, err error) {
	reason := connectReason(err)
	b.part.mu.Lock()
	defer b.part.mu.Unlock()
	b.open--
	if reason == "" {
		return
	}
	now := b.pool.now()
	b.shun(addr.Addr(), now)
	b.refused++
	b.blame(reason, err, b.refused >= refusedMost, now)
}

// Ended says that a flow at the backend has ended, or that it never began: then both arguments are false. Answered says
// that the backend sent at least a byte, byServer that it was the backend that closed the flow or broke it.
func (b *Backend) Ended(answered, byServer bool) {
	b.part.mu.Lock()
	defer b.part.mu.Unlock()
	b.open--
	switch {
	case answered && (b.broken > 0 || b.failure != ""):
		now := b.pool.now()
		b.broken = 0
		b.heal(now)
		b.tell(now)
	case byServer && !answered:
		now := b.pool.now()
		if now-max(b.brokenAt, b.ejectedUntil) > brokenWithin {
			b.broken = 0
		}
		b.brokenAt = now
		if b.broken++; b.broken >= brokenMost {
			b.blame(ClosesUnanswered, nil, true, now)
		}
	}
}

// blame keeps a failure, and with eject takes the backend out for a while if its lists can spare it.
func (b *Backend) blame(reason string, cause error, eject bool, now time.Duration) {
	b.seen, b.failure, b.cause = true, reason, cause
	if eject && now >= b.ejectedUntil && !slices.ContainsFunc(b.cluster.lists, func(l *list) bool { return !l.spares(b, now) }) {
		if now-b.ejectedUntil >= ejectMost {
			b.ejections = 0
		}
		b.ejections++
		b.ejectedUntil = now + min(time.Duration(b.ejections)*ejectBase, ejectMost)
	}
	b.tell(now)
}

// heal forgets the failure once nothing speaks for it any more and an ejection is over.
func (b *Backend) heal(now time.Duration) {
	if now >= b.ejectedUntil && b.refused == 0 && b.broken < brokenMost {
		b.failure, b.cause = "", nil
	}
}

// out reports whether the backend gets no flows as long as another can take them.
func (b *Backend) out(now time.Duration) bool { return b.down || now < b.ejectedUntil }

// ramp is what the weight is multiplied by: less than rampFull in a slow start, which begins when the backend is new and
// when it is back.
func (b *Backend) ramp(now time.Duration) uint32 {
	since, slow := max(b.since, b.ejectedUntil), b.pool.cfg.SlowStart
	if b.ejections == 0 {
		since = b.since
	}
	if now-since >= slow {
		return rampFull
	}
	return uint32(max(rampLeast, rampFull*(now-since)/slow))
}

// reachable reports whether the backend has an address.
func (b *Backend) reachable() bool {
	if b.host == nil {
		return b.literal.IsValid()
	}
	found := b.host.found.Load()
	return found != nil && len(found.addrs) > 0
}

// several reports whether the backend has more than one address.
func (b *Backend) several() bool {
	if b.host == nil {
		return false
	}
	found := b.host.found.Load()
	return found != nil && len(found.addrs) > 1
}

// next returns the address for the next flow of a reachable backend: those of a name take turns, and one that has just
// failed is passed over if another has not.
func (b *Backend) next(now time.Duration) netip.AddrPort {
	if b.host == nil {
		return b.literal
	}
	addrs := b.host.found.Load().addrs
	b.turn++
	at := addrs[b.turn%uint(len(addrs))]
	for i := range uint(len(addrs)) {
		a := addrs[(b.turn+i)%uint(len(addrs))]
		if !slices.ContainsFunc(b.avoid, func(v avoided) bool { return v.addr == a && now < v.until }) {
			at = a
			break
		}
	}
	return netip.AddrPortFrom(at, b.port)
}

// shun passes an address of a name over for a while.
func (b *Backend) shun(a netip.Addr, now time.Duration) {
	if b.host == nil {
		return
	}
	b.avoid = slices.DeleteFunc(b.avoid, func(v avoided) bool { return v.addr == a || now >= v.until })
	b.avoid = append(b.avoid, avoided{a, now + avoidFor})
}

// resolved says that something changed with the addresses of the backend's name.
func (b *Backend) resolved() {
	b.part.mu.Lock()
	defer b.part.mu.Unlock()
	b.tell(b.pool.now())
}

// verdict sums up what is known of the backend.
func (b *Backend) verdict() verdict {
	if b.host == nil && !b.literal.IsValid() {
		return verdict{true, MalformedAddress}
	}
	if b.host != nil {
		if found := b.host.found.Load(); found != nil && found.reason != "" {
			return verdict{true, found.reason}
		}
	}
	if b.down {
		return verdict{true, b.downFor}
	}
	return verdict{b.seen, b.failure}
}

func (b *Backend) status(now time.Duration) Status {
	v := b.verdict()
	return Status{
		ClusterID: b.cluster.id, Backend: b.address, Healthy: v.reason == "", Reason: v.reason,
		In: b.reachable() && !b.out(now), Flows: b.open,
	}
}

// tell has the verdict reported if it is news.
func (b *Backend) tell(now time.Duration) {
	if v := b.verdict(); b.queued || !v.known || v == b.told {
		return
	}
	b.queued = true
	in := time.Duration(0)
	if b.toldAt > 0 {
		in = max(0, b.toldAt+newsSpacing-now)
	}
	b.pool.news.add(in, news{b})
}

// news is the job that reports a backend's verdict.
type news struct{ backend *Backend }

func (n news) run(context.Context) time.Duration {
	b := n.backend
	b.part.mu.Lock()
	v, before, cause := b.verdict(), b.told, b.cause
	b.told, b.toldAt, b.queued = v, b.pool.now(), false
	b.part.mu.Unlock()
	if v == before {
		return never
	}
	log := b.pool.cfg.Log.With("cluster", b.cluster.id, "backend", b.address)
	switch {
	case v.reason != "":
		log.Warn("backend not healthy", "reason", v.reason, "error", cause)
	case before.known:
		log.Info("backend healthy again")
	}
	if b.pool.cfg.Changed != nil {
		b.pool.cfg.Changed(link.BackendHealth{
			ClusterID: b.cluster.id, Backend: b.address, Healthy: v.reason == "", Reason: v.reason, At: b.pool.cfg.Now(),
		})
	}
	return never
}
