package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/store"
)

// Limiter implements cloud.Limiter for one account by token buckets in the store, which all processes share. A process
// takes several tokens at once, so that the database is asked about once a second and not for every request.
type Limiter struct {
	account  string
	store    *store.Store
	observer Observer
	log      *slog.Logger
	now      func() time.Time

	mu     sync.Mutex
	leases map[string]*lease // by bucket
}

var _ cloud.Limiter = (*Limiter)(nil)

// lease is what this process holds of a bucket.
type lease struct {
	turn   chan struct{} // holds one value while somebody takes or waits for a token
	tokens int
	until  time.Time // afterwards they are given up: another process may have taken what came back since
}

// How much is taken of a bucket at once: what comes back in leaseFor, and no more than a part of what it holds, so that
// the other processes find some too.
const (
	leaseFor  = time.Second
	leasePart = 4
)

// mostWait bounds the wait between two tries to take a token: another process may have given the bucket's rate back.
const mostWait = 5 * time.Second

// NewLimiter returns the limiter of an account, which is any name by which all processes know the same credentials.
func NewLimiter(st *store.Store, account string, o Observer, log *slog.Logger) *Limiter {
	if log == nil {
		log = slog.Default()
	}
	return &Limiter{account: account, store: st, observer: o, log: log, now: time.Now, leases: map[string]*lease{}}
}

// Wait implements cloud.Limiter. A request of a look that another process may have taken over is not to be sent any more.
func (l *Limiter) Wait(ctx context.Context, r cloud.Request) error {
	if err := l.wait(ctx, r); err != nil {
		return err
	}
	return store.Held(ctx)
}

func (l *Limiter) wait(ctx context.Context, r cloud.Request) error {
	began := l.now()
	b := l.bucket(r.Bucket)
	held := l.lease(b.Name)
	select {
	case held.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-held.turn }()
	defer func() { l.observer.waited(r.API, l.now().Sub(began)) }()
	if held.tokens > 0 && l.now().Before(held.until) {
		held.tokens--
		return nil
	}
	for {
		n := int(max(1, min(b.Burst/leasePart, b.PerSecond*leaseFor.Seconds())))
		got, wait, err := l.store.TakeTokens(ctx, b, n)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			l.log.Warn("the clouds' limits are not known: sending all the same", "bucket", b.Name, "err", err)
			return nil
		case got > 0:
			held.tokens, held.until = got-1, l.now().Add(leaseFor)
			return nil
		}
		timer := time.NewTimer(min(wait, mostWait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Sent implements cloud.Limiter.
func (l *Limiter) Sent(r cloud.Request, o cloud.Outcome, took time.Duration) {
	l.observer.sent(r.API, o, took)
	if o != cloud.Throttled {
		return
	}
	// Not within the request's own time: the others have to know of it, whatever becomes of this one.
	ctx, cancel := context.WithTimeout(context.Background(), mostWait)
	defer cancel()
	b := l.bucket(r.Bucket)
	if err := l.store.SlowBucket(ctx, b); err != nil {
		l.log.Warn("a throttled request could not be written down", "bucket", b.Name, "err", err)
	}
	held := l.lease(b.Name)
	select {
	case held.turn <- struct{}{}:
		held.tokens = 0
		<-held.turn
	default: // somebody takes one right now, and sees the slower bucket at the next
	}
}

func (l *Limiter) bucket(b cloud.Bucket) store.Bucket {
	return store.Bucket{Name: l.account + "/" + b.Name, Burst: b.Burst, PerSecond: b.PerSecond}
}

func (l *Limiter) lease(name string) *lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.leases[name]
	if held == nil {
		held = &lease{turn: make(chan struct{}, 1)}
		l.leases[name] = held
	}
	return held
}
