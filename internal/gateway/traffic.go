package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/link"
)

// verdict is what became of a flow.
type verdict uint8

// The verdicts, as the label of the metric spells them.
const (
	verdictAllowed verdict = iota
	verdictRefused
	verdictWouldRefuse // report-only: the flow passed, and would not have were public access disabled
	verdicts
)

func (v verdict) String() string { return [verdicts]string{"allowed", "refused", "would_refuse"}[v] }

// side is the number of a listener in counters.
func side(l link.Listener) int {
	if l == link.PrivateListener {
		return 0
	}
	return 1
}

var sideNames = [2]link.Listener{link.PrivateListener, link.PublicListener}

// mostReasons bounds the reasons that are counted apart, per loop: they are words of the code, so that there never are
// so many.
const mostReasons = 256

// otherReason stands for all reasons beyond mostReasons.
const otherReason = "OTHER"

// traffic counts flows. Each event loop has counters of its own, so that loops do not wait for each other.
type traffic struct{ loops []loopTraffic }

// loopTraffic is one loop's part.
type loopTraffic struct {
	accepted, ended [2]atomic.Uint64 // by side
	connect         latency
	firstByte       latency
	web             webCounts

	mu      sync.Mutex
	decided tally[decidedKey]
	closed  tally[closedKey]
	_       [64]byte // the next loop's counters are another processor's
}

type decidedKey struct {
	side    int
	verdict verdict
	reason  string // empty for allowed flows
}

type closedKey struct {
	side   int
	reason string
}

// tally counts by key. There are few keys, most counts go to the first of them, and their words are constants: looking
// for one is a walk over a short list, which costs less than to hash it.
type tally[K comparable] []tallied[K]

type tallied[K comparable] struct {
	key K
	n   uint64
}

// add counts one of key, or of other where there is no room for another key.
func (t *tally[K]) add(key, other K) {
	for i := range *t {
		if c := &(*t)[i]; c.key == key {
			c.n++
			return
		}
	}
	if len(*t) >= mostReasons && key != other {
		t.add(other, other)
		return
	}
	*t = append(*t, tallied[K]{key, 1})
}

func newTraffic(loops int) *traffic { return &traffic{loops: make([]loopTraffic, loops)} }

// accepted counts a flow that was accepted.
func (t *traffic) accepted(loop int, l link.Listener) { t.loops[loop].accepted[side(l)].Add(1) }

// decided counts what became of a flow. reason is that of a refusal, empty for allowed flows.
func (t *traffic) decided(loop int, l link.Listener, v verdict, reason string) {
	c := &t.loops[loop]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decided.add(decidedKey{side(l), v, reason}, decidedKey{side(l), v, otherReason})
}

// ended counts the end of a flow that was accepted.
func (t *traffic) ended(loop int, l link.Listener, e engine.End) {
	c := &t.loops[loop]
	c.ended[side(l)].Add(1)
	c.connect.observe(e.Connect)
	c.firstByte.observe(e.FirstByte)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed.add(closedKey{side(l), e.Reason}, closedKey{side(l), otherReason})
}

// latencyBounds are the upper bounds of a latency's buckets: from within a zone to a backend at the end of its time.
var latencyBounds = [...]time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// latency is a histogram.
type latency struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64 // not cumulative; the last one is beyond all bounds
	sum     atomic.Int64                          // nanoseconds
}

// observe counts d; 0 is no latency at all.
func (l *latency) observe(d time.Duration) {
	if d <= 0 {
		return
	}
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}
