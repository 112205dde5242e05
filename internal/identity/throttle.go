package identity

import (
	"sync"
	"time"
)

// Throttle slows down whoever guesses: each failure in a row beyond the free ones doubles the time until the next try. It
// holds in this process alone, and forgets when the process ends: several processes allow as many times more tries, which
// an exponential delay takes care of. The zero value is not usable; it is safe for concurrent use.
type Throttle struct {
	free           int           // failures in a row that cost nothing
	first, longest time.Duration // the delay after the first failure beyond the free ones, and after very many
	most           int           // keys that are remembered

	mu    sync.Mutex
	tries map[string]tries
}

// tries are a key's tries since the last success.
type tries struct {
	failed int
	last   time.Time
	next   time.Time // no try before
}

// forgetAfter is how long after its last try a key starts anew.
const forgetAfter = time.Hour

// NewAccountThrottle is for one account: five failures are free, and no wait is longer than a minute, so that nobody can keep
// the owner out for long.
func NewAccountThrottle() *Throttle {
	return &Throttle{free: 5, first: time.Second, longest: time.Minute, most: 100_000, tries: map[string]tries{}}
}

// NewSourceThrottle is for one source address, behind which there may be many people.
func NewSourceThrottle() *Throttle {
	return &Throttle{free: 30, first: time.Second, longest: 5 * time.Minute, most: 100_000, tries: map[string]tries{}}
}

// Try counts a try of a key, as failed until Succeeded says otherwise: of many at the same time none gets ahead. It returns
// how long to wait instead, 0 when the try may go on; one that may not is not counted.
func (t *Throttle) Try(key string, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, known := t.tries[key]
	if known && now.Sub(k.last) > forgetAfter {
		k = tries{}
	}
	if wait := k.next.Sub(now); wait > 0 {
		return min(wait, t.longest) // a clock that was set back must not keep anybody out
	}
	if !known && len(t.tries) >= t.most {
		t.forget(now)
	}
	k.failed++
	k.last = now
	if over := k.failed - t.free; over > 0 {
		k.next = now.Add(min(t.first<<min(over-1, 20), t.longest))
	}
	t.tries[key] = k
	return 0
}

// Succeeded forgets the failures of a key.
func (t *Throttle) Succeeded(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.tries, key)
}

// Undo takes back one try of a key, which was none of a guesser.
func (t *Throttle) Undo(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, known := t.tries[key]
	if k.failed--; !known || k.failed <= 0 {
		delete(t.tries, key)
		return
	}
	if k.failed <= t.free {
		k.next = time.Time{}
	}
	t.tries[key] = k
}

// forget makes room: what is old goes, and when nothing is, any tenth.
func (t *Throttle) forget(now time.Time) {
	for key, k := range t.tries {
		if now.Sub(k.last) > forgetAfter {
			delete(t.tries, key)
		}
	}
	for key := range t.tries {
		if len(t.tries) < t.most-t.most/10 {
			return
		}
		delete(t.tries, key)
	}
}
