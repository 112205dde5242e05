// Package reconcile makes the clouds match what people asked for. It takes due work from the store, observes the cloud
// through a driver, lets package plan decide, acts, and records what came of it by compare-and-swap. It holds no
// transaction while it talks to a cloud, and may be cut off anywhere: whatever was done is observed at the next look.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/store"
)

// Config is what a Reconciler needs. Zero fields other than Store and Drivers take the default named.
type Config struct {
	Store *store.Store // stays the caller's to close, after the Reconciler

	// Drivers returns the driver for a region. It is called for every look; what it returns may be shared.
	Drivers func(p link.Provider, region string) (cloud.Driver, error)

	// Domain is the base domain of the clusters' names; the services carry its private wildcard as their private DNS
	// name. Empty: services carry none.
	Domain string

	// Handlers are those of other kinds of work: the store's work is done in one place.
	Handlers map[string]store.Handler

	Cadence plan.Cadence     // fast 500 ms, slow 30 s
	Expiry  time.Duration    // how long a connection is waited for that nobody answers; link.RequestExpiry
	Workers int              // looks at once; 64: they wait for the cloud, and those of one service share its requests
	Poll    time.Duration    // how long a due look may wait to be started; 100 ms
	Sweep   time.Duration    // how often work that lost its job is looked for; 500 ms
	Timeout time.Duration    // the longest that one look may take; 2 minutes
	Backoff time.Duration    // the wait after the first failure in a row, doubled with each; 1 s
	Now     func() time.Time // time.Now
	Log     *slog.Logger     // slog.Default()

	Observer Observer // for metrics
}

// mostBackoff bounds the wait after failures: an outage that is over must not be waited out for hours.
const mostBackoff = 5 * time.Minute

// Reconciler works until it is closed.
type Reconciler struct {
	cfg     Config
	workers *store.Workers
	lists   lists
	cancel  context.CancelFunc
	done    sync.WaitGroup

	owners    *gather[string, sighting]       // lists of owners' endpoints, by service
	decisions *gather[link.EndpointID, error] // by action and service

	mu    sync.Mutex
	sizes map[string]int // of services, by listKey
}

// Start begins to work on what is due and returns. ctx bounds only the start. Close ends it.
func Start(ctx context.Context, cfg Config) (*Reconciler, error) {
	if cfg.Store == nil || cfg.Drivers == nil {
		return nil, errors.New("a reconciler needs a store and drivers")
	}
	if cfg.Cadence.Fast <= 0 {
		cfg.Cadence.Fast = 500 * time.Millisecond
	}
	if cfg.Cadence.Slow <= 0 {
		cfg.Cadence.Slow = 30 * time.Second
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Expiry <= 0 {
		cfg.Expiry = link.RequestExpiry
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 64
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Minute
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Reconciler{
		cfg: cfg, cancel: cancel, sizes: map[string]int{},
		lists: lists{fresh: min(time.Second, cfg.Cadence.Fast), now: cfg.Now, calls: map[string]*listCall{}},
	}
	r.owners = newGather[string, sighting](run, &r.done)
	r.decisions = newGather[link.EndpointID, error](run, &r.done)
	if err := r.learnAccounts(ctx); err != nil {
		cancel()
		return nil, err
	}
	handlers := map[string]store.Handler{
		store.WorkService:  r.handle(r.lookAtService),
		store.WorkEndpoint: r.handle(r.lookAtEndpoint),

		store.WorkEgress:        r.handleEgress,
		store.WorkEgressAccount: r.handle(r.lookAtEgressAccount),
	}
	maps.Copy(handlers, cfg.Handlers)
	w, err := cfg.Store.Work(ctx, store.WorkOptions{
		Handlers: handlers, Workers: cfg.Workers, Poll: cfg.Poll, Sweep: cfg.Sweep, Timeout: cfg.Timeout,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	r.workers = w
	r.done.Go(func() { r.trimEvery(run, time.Minute) })
	return r, nil
}

// Close cuts off the looks under way, waits for them and ends the work. What was cut off is due again at the next Start.
func (r *Reconciler) Close() error {
	r.cancel()
	err := r.workers.Close()
	r.done.Wait()
	return err
}

// trimEvery keeps what grows without end within its bounds.
func (r *Reconciler) trimEvery(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.cfg.Store.Trim(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Log.Error("trim the records", "err", err)
		}
	}
}

// look is a look at one object. It returns when to look again (0: not before it is marked due), errGone when there is no
// such object, and any other error for a look that has to be tried again.
type look func(ctx context.Context, p link.Provider, name string) (time.Duration, error)

var errGone = errors.New("the object is gone")

// handle makes a handler of a look: it turns errors into a later try.
func (r *Reconciler) handle(f look) store.Handler {
	return func(ctx context.Context, w store.Work) store.Outcome {
		provider, name, ok := strings.Cut(w.ID, "/")
		if !ok {
			r.cfg.Log.Error("work of no object", "kind", w.Kind, "id", w.ID)
			return store.Outcome{Forget: true}
		}
		ctx, span := tracer.Start(ctx, "look at "+w.Kind, trace.WithAttributes(attribute.String("postern.object", w.ID)))
		defer span.End()
		began := r.cfg.Now()
		next, err := f(ctx, link.Provider(provider), name)
		failed := err != nil && !errors.Is(err, errGone) && !errors.Is(err, store.ErrChanged)
		r.cfg.Observer.looked(w.Kind, r.cfg.Now().Sub(began), failed)
		switch {
		case err == nil:
			return store.Outcome{Look: jitter(next)}
		case errors.Is(err, errGone):
			return store.Outcome{Forget: true}
		case errors.Is(err, store.ErrChanged):
			// Somebody was quicker. What was decided is void; decide again on what there is now.
			return store.Outcome{Look: time.Millisecond}
		}
		wait := backoff(r.cfg.Backoff, w.Failures)
		if ctx.Err() == nil {
			span.SetStatus(codes.Error, "the look failed")
			r.cfg.Log.Warn("a look at the cloud failed", "kind", w.Kind, "id", w.ID, "failures", w.Failures+1, "again_in", wait, "err", err)
		}
		return store.Outcome{Look: jitter(wait), Failed: true}
	}
}

// tracer makes a span of each look.
var tracer = otel.Tracer("github.com/postern/postern/internal/reconcile")

// backoff is the wait after failures in a row before this one.
func backoff(first time.Duration, failures int) time.Duration {
	wait := first
	for range failures {
		if wait *= 2; wait >= mostBackoff {
			return mostBackoff
		}
	}
	return min(wait, mostBackoff)
}

// jitter spreads looks that began together: up to a tenth sooner.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - rand.N(d/10)
}

func (r *Reconciler) driver(p link.Provider, region string) (cloud.Driver, error) {
	d, err := r.cfg.Drivers(p, region)
	if err != nil {
		return nil, fmt.Errorf("driver for %s/%s: %w", p, region, err)
	}
	return d, nil
}

// actor is who the events of this package are by.
const actor = link.ActorReconciler

// addNotes writes what was decided about an object into its history and into the audit log: before and after are its values,
// nil where they say no more than the notes.
func addNotes(tx *store.Tx, of link.ObjectRef, notes []plan.Note, before, after any) error {
	if len(notes) == 0 {
		return nil
	}
	at, err := tx.PlaceOf(of)
	if err != nil && !errors.Is(err, store.ErrNotFound) { // what is being cleaned up may have outlived its cluster
		return err
	}
	was, err := audit.Value(before)
	if err != nil {
		return err
	}
	is, err := audit.Value(after)
	if err != nil {
		return err
	}
	for _, n := range notes {
		err := errors.Join(
			tx.AddEvent(link.Event{Object: of, Type: n.Type, State: n.State, Reason: n.Reason, Message: n.Message, NextStep: n.NextStep, Actor: actor}),
			tx.AddAudit(audit.Entry{
				Actor: audit.Actor{Name: actor}, Action: of.Kind + "." + strings.ReplaceAll(strings.ToLower(n.Type), "_", "-"), Object: of,
				Place: at, Decision: audit.Done, Reason: n.Reason, Why: n.Message, Before: was, After: is,
			}),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// now is the time as the store keeps it, so that what was stored compares equal to what was planned.
func (r *Reconciler) now() time.Time { return r.cfg.Now().UTC().Truncate(time.Microsecond) }
