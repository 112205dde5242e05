package gateway

import (
	"sync"
	"sync/atomic"
	"time"
)

// statusClasses are the classes of HTTP statuses as metrics name them: by their first digit, and first those requests whose
// client got no answer.
var statusClasses = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// webCounts is what one loop's flows of proxied clusters come to.
type webCounts struct {
	in, out  atomic.Uint64 // bytes on the wire
	requests [2][len(statusClasses)]atomic.Uint64
	took     latency

	mu         sync.Mutex
	failures   tally[string] // answers of the gateway's own, by their codes
	handshakes tally[string] // that failed
}

// request counts a request by the status that the client got, 0 for none, and by the code of the gateway's own answer.
func (c *webCounts) request(side, status int, code string, took time.Duration) {
	class := status / 100
	if class < 0 || class >= len(statusClasses) {
		class = 0
	}
	c.requests[side][class].Add(1)
	c.took.observe(took)
	if code == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures.add(code, otherReason)
}

func (c *webCounts) handshake(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshakes.add(reason, otherReason)
}

// webSum is what all loops have counted.
type webSum struct {
	in, out    uint64
	requests   [2][len(statusClasses)]uint64
	took       latencySum
	failures   map[string]uint64
	handshakes map[string]uint64
}

func (s *webSum) add(c *webCounts) {
	s.in += c.in.Load()
	s.out += c.out.Load()
	for side := range c.requests {
		for class := range c.requests[side] {
			s.requests[side][class] += c.requests[side][class].Load()
		}
	}
	s.took.add(&c.took)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.failures {
		s.failures[f.key] += f.n
	}
	for _, h := range c.handshakes {
		s.handshakes[h.key] += h.n
	}
}
