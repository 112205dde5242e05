package revocation

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/postern/postern/internal/clientcert"
)

// How a Keeper goes about it, unless its Config says otherwise.
const (
	timeout      = 2 * time.Second  // of a question
	beat         = time.Second      // how often it is looked what is due
	defaultEvery = 5 * time.Minute  // how old an answer may become before it is asked for again
	pause        = 15 * time.Second // after a question that was not answered
	forget       = time.Hour        // when nobody has asked for it
	mostAnswers  = 10_000
	mostAtOnce   = 64 // questions under way
	mostRefresh  = 16 // of them when the background begins another
)

// Resolver finds the addresses of a host; a *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a Keeper needs. Every field may be left out.
type Config struct {
	// Private are ranges of addresses that responders may have though they are not public ones.
	Private []netip.Prefix
	// Every is how old an answer may become before the responder is asked again, in the background, though it still
	// holds: how long it may take until a revocation counts. 0 means 5 minutes.
	Every    time.Duration
	Resolver Resolver // nil: the system's
	Log      *slog.Logger
	Now      func() time.Time
}

// Keeper knows what responders say. Its methods may be called from any goroutine.
type Keeper struct {
	config    Config
	transport *http.Transport
	ctx       context.Context // of everything under way
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	places    chan struct{} // one for each question under way

	mu      sync.Mutex
	closed  bool
	started bool
	known   map[[sha256.Size]byte]*record
	flights int // questions under way, and those that wait for a place
}

// record is what is known of a question.
type record struct {
	question clientcert.Question
	answer   clientcert.Answer // zero: there was none yet
	due      time.Time         // when to ask again
	wanted   time.Time         // when somebody last looked
	flight   chan struct{}     // closed when the question under way has ended; nil when there is none
	failing  bool              // the last question was not answered
}

// New makes a Keeper. Until Start it asks only when somebody waits for the answer. Close ends it either way.
func New(c Config) *Keeper {
	if c.Every <= 0 {
		c.Every = defaultEvery
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Keeper{config: c, known: map[[sha256.Size]byte]*record{}, places: make(chan struct{}, mostAtOnce)}
	k.transport = k.newTransport()
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Start begins to refresh answers in the background, until Close. A second Start does nothing.
func (k *Keeper) Start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.started || k.closed {
		return
	}
	k.started = true
	k.wg.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				k.refresh()
			case <-k.ctx.Done():
				return
			}
		}
	})
}

// Close ends the refreshing and the questions under way, and waits for both. What is known can still be looked up.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cancel()
	k.wg.Wait()
	k.transport.CloseIdleConnections()
}

// Look returns what is known now, without waiting; fresh says whether it is a responder's answer that still holds. What
// was revoked stays so until the responder says otherwise. A question that nobody has asked yet is asked in the background, after Start.
func (k *Keeper) Look(q clientcert.Question) (answer clientcert.Revocation, fresh bool) {
	if q.URL == "" {
		return clientcert.Unknown, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.recordOf(q).at(k.config.Now())
}

// Await returns what is known, and asks the responder first when there is no answer that still holds: for at most 2 s, or
// until ctx ends. Whoever waits for the same question shares the answer, and after one that failed the next waits for
// none for a while.
func (k *Keeper) Await(ctx context.Context, q clientcert.Question) clientcert.Revocation {
	if q.URL == "" { // the certificate names nobody who may be asked
		return clientcert.Unknown
	}
	k.mu.Lock()
	r, now := k.recordOf(q), k.config.Now()
	answer, fresh := r.at(now)
	if !fresh && r.flight == nil && !now.Before(r.due) {
		k.ask(r)
	}
	flight := r.flight
	k.mu.Unlock()
	if fresh || flight == nil {
		return answer
	}
	select {
	case <-flight:
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	answer, _ = r.at(k.config.Now())
	return answer
}

// at returns what a record says at a time.
func (r *record) at(now time.Time) (clientcert.Revocation, bool) {
	fresh := now.Before(r.answer.Until)
	if !fresh && r.answer.Revocation != clientcert.Revoked {
		return clientcert.Unknown, false
	}
	return r.answer.Revocation, fresh
}

// recordOf returns the record of a question, a new one when there is none; the caller holds mu. Where there are too many,
// that goes which nobody has wanted for longest.
func (k *Keeper) recordOf(q clientcert.Question) *record {
	id := q.Key()
	r := k.known[id]
	if r == nil {
		if len(k.known) >= mostAnswers {
			k.dropOldest()
		}
		r = &record{question: q}
		k.known[id] = r
	}
	r.wanted = k.config.Now()
	return r
}

func (k *Keeper) dropOldest() {
	var oldest [sha256.Size]byte
	var at time.Time
	for id, r := range k.known {
		if at.IsZero() || r.wanted.Before(at) {
			oldest, at = id, r.wanted
		}
	}
	delete(k.known, oldest)
}

// refresh asks what is due, and forgets what nobody has wanted for long.
func (k *Keeper) refresh() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.config.Now()
	for id, r := range k.known {
		switch {
		case r.flight != nil:
		case now.Sub(r.wanted) > forget:
			delete(k.known, id)
		case !now.Before(r.due):
			if k.flights >= mostRefresh {
				return // the rest is still due at the next beat
			}
			k.ask(r)
		}
	}
}

// ask begins to ask a question; the caller holds mu, and nobody else asks it.
func (k *Keeper) ask(r *record) {
	if k.closed {
		return
	}
	done := make(chan struct{})
	r.flight = done
	k.flights++
	k.wg.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, timeout)
		defer cancel()
		var answer clientcert.Answer
		var err error
		select {
		case k.places <- struct{}{}:
			answer, err = k.question(ctx, r.question)
			<-k.places
		case <-ctx.Done():
			err = ctx.Err()
		}
		news := k.land(r, answer, err)
		close(done)
		about := []any{"responder", r.question.URL, "serial", clientcert.Serial(r.question.Leaf.SerialNumber)}
		switch {
		case news && err != nil:
			k.config.Log.Warn("a responder does not say whether a client's certificate was revoked", append(about, "error", err)...)
		case news && answer.Revocation == clientcert.Revoked:
			k.config.Log.Info("a responder says that a client's certificate was revoked", about...)
		}
	})
}

// land notes down what came of a question, and reports whether it differs from what came of the last one.
func (k *Keeper) land(r *record, answer clientcert.Answer, err error) (news bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.flight = nil
	k.flights--
	failed, now := r.failing, k.config.Now()
	r.failing = err != nil
	if err != nil {
		r.due = now.Add(pause)
		return !failed
	}
	news = answer.Revocation != r.answer.Revocation
	r.answer = answer
	r.due = now.Add(min(k.config.Every, answer.Until.Sub(now)/2))
	return news
}
