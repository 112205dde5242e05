package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern/postern/internal/link"
)

// Bounds of the log of refusals.
const (
	refusalWindow   = time.Minute
	mostLoggedKinds = 1 << 12 // kinds that are told apart in one window, per loop and in all
	mostLogLines    = 10      // per second, and as many at once
)

// loggedKind is what the log tells refusals apart by: nothing that whoever knocks can make up.
type loggedKind struct {
	cluster  link.ID
	listener link.Listener
	endpoint link.EndpointID
	reason   string
	would    bool
}

// loggedCount is how often a kind was seen in this window, and the first of them.
type loggedCount struct {
	n      int64
	sample refusal
}

// refusalLog writes refusals to the log: the first of a kind at once, and those that follow as one line per kind and
// minute. A flood of refusals costs the loops that meet it a look-up each; the lines are written by run alone.
type refusalLog struct {
	log    *slog.Logger
	wake   chan struct{} // holds a token when a loop met a kind for the first time in a window
	shards []refusalShard

	// run's own:
	window map[loggedKind]*loggedCount // of all loops
	before map[loggedKind]bool         // kinds of the window before this one
	spare  float64                     // lines that may be written at once
	filled time.Time                   // when spare was reckoned
}

type refusalShard struct {
	mu    sync.Mutex
	kinds map[loggedKind]*loggedCount
	fresh []*refusal // samples of the kinds that run does not know of yet
	over  int64      // refusals beyond mostLoggedKinds
	_     [64]byte   // the next shard's mutex is another processor's
}

// newRefusalLog makes a log for so many event loops.
func newRefusalLog(loops int, log *slog.Logger) *refusalLog {
	l := &refusalLog{
		log: log, wake: make(chan struct{}, 1), shards: make([]refusalShard, loops),
		window: map[loggedKind]*loggedCount{}, before: map[loggedKind]bool{}, spare: mostLogLines, filled: time.Now(),
	}
	for i := range l.shards {
		l.shards[i].kinds = map[loggedKind]*loggedCount{}
	}
	return l
}

func (k *refusal) logged() loggedKind {
	return loggedKind{k.cluster, k.listener, k.endpoint, k.reason, k.would}
}

// refused notes a refusal, whose name must be masked. It may be called from event loops.
func (l *refusalLog) refused(loop int, k *refusal) {
	kind := k.logged()
	s := &l.shards[loop]
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, known := s.kinds[kind]; known {
		c.n++
		return
	}
	if len(s.kinds) >= mostLoggedKinds {
		s.over++
		return
	}
	c := &loggedCount{n: 1, sample: *k}
	s.kinds[kind] = c
	s.fresh = append(s.fresh, &c.sample)
	signal(l.wake)
}

// run writes the lines until ctx ends, and then what is left to say.
func (l *refusalLog) run(ctx context.Context) {
	window := time.NewTicker(refusalWindow)
	defer window.Stop()
	for {
		select {
		case <-ctx.Done():
			l.sum()
			return
		case <-l.wake:
			for i := range l.shards {
				s := &l.shards[i]
				s.mu.Lock()
				fresh := s.fresh
				s.fresh = nil
				s.mu.Unlock()
				l.meet(fresh)
			}
		case <-window.C:
			l.sum()
		}
	}
}

// meet takes the samples of kinds that a loop met for the first time in this window, and writes a line for each that
// nobody has met for long.
func (l *refusalLog) meet(fresh []*refusal) {
	for _, k := range fresh {
		kind := k.logged()
		if l.window[kind] != nil || len(l.window) >= mostLoggedKinds {
			continue // another loop met it before
		}
		c := &loggedCount{sample: *k}
		l.window[kind] = c
		if !l.before[kind] && l.mayWrite() {
			c.n = -1 // told: the sum leaves it out
			l.log.Info("flow refused", append(k.attributes(), "source", k.source)...)
		}
	}
}

// sum ends the window: a line for each kind of which more was met than was told, those that were met most first.
func (l *refusalLog) sum() {
	var untold int64
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		fresh, kinds := s.fresh, s.kinds
		untold += s.over
		s.fresh, s.kinds, s.over = nil, map[loggedKind]*loggedCount{}, 0
		s.mu.Unlock()
		l.meet(fresh)
		for kind, c := range kinds {
			if sum := l.window[kind]; sum != nil {
				sum.n += c.n
			} else {
				untold += c.n
			}
		}
	}
	clear(l.before)
	var more []*loggedCount
	for kind, c := range l.window {
		l.before[kind] = true
		if c.n > 0 {
			more = append(more, c)
		}
	}
	clear(l.window)
	slices.SortFunc(more, func(a, b *loggedCount) int {
		return cmp.Or(-cmp.Compare(a.n, b.n), cmp.Compare(a.sample.reason, b.sample.reason), cmp.Compare(a.sample.endpoint, b.sample.endpoint))
	})
	for _, c := range more {
		if l.mayWrite() {
			l.log.Info("more flows refused", append(c.sample.attributes(), "count", c.n)...)
		} else {
			untold += c.n
		}
	}
	if untold > 0 {
		l.log.Info("flows refused that are not told one by one", "count", untold)
	}
}

// mayWrite takes from what may be written now.
func (l *refusalLog) mayWrite() bool {
	now := time.Now()
	l.spare = min(l.spare+now.Sub(l.filled).Seconds()*mostLogLines, mostLogLines)
	l.filled = now
	if l.spare < 1 {
		return false
	}
	l.spare--
	return true
}

func (k *refusal) attributes() []any {
	return []any{
		"reason", k.reason, "would", k.would, "cluster", k.cluster, "listener", k.listener, "endpoint", k.endpoint, "name", k.name,
	}
}

// maskName returns a server name as it may be logged and recorded: without the code of a claim, which is as good as a
// password until it is used.
func maskName(name string) string {
	first := strings.IndexByte(name, '.')
	if first < 0 {
		return name
	}
	rest := name[first+1:]
	if len(rest) > len(link.ClaimLabel) && rest[len(link.ClaimLabel)] == '.' && strings.EqualFold(rest[:len(link.ClaimLabel)], link.ClaimLabel) {
		return "*" + name[first:]
	}
	return name
}
