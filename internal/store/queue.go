package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/postern/postern/internal/link"
)

// Work is one object that has to be looked at.
type Work struct {
	Kind     string // what sort of object; chooses the handler
	ID       string
	Failures int // looks in a row that failed before this one
}

// Outcome is what came of a look.
type Outcome struct {
	Look   time.Duration // when to look again, at most 10 minutes; 0: not before the object is marked due
	Failed bool          // counts towards Work.Failures of the next look
	Forget bool          // the object is no more: nothing about it has to be remembered unless it was marked meanwhile
}

// longestLook bounds Outcome.Look. A look that is further away was put there by a clock that has been set back since.
const longestLook = 10 * time.Minute

// Handler looks at one object. It may be called again for the same object at any time, also after having been cut off
// in the middle; never twice at once for one object, in whichever of the processes on a database. A process that stood still
// for longer than its lease lost its looks to others: then the handler's context is over, what it writes with that context
// fails with ErrChanged, and Held tells it before it acts elsewhere.
type Handler func(context.Context, Work) Outcome

// WorkOptions say how work is done. Zero fields take the default named.
type WorkOptions struct {
	Handlers map[string]Handler // by Work.Kind
	Workers  int                // looks at once; 8
	Poll     time.Duration      // how long a due job may wait to be fetched; 100 ms
	Sweep    time.Duration      // how often work that has no live job is looked for; 500 ms
	Timeout  time.Duration      // the longest that one look may take; 2 minutes
}

// lookArgs are the arguments of the one kind of job there is.
type lookArgs struct {
	Of string `json:"of" river:"unique"`
	ID string `json:"id" river:"unique"`
}

// Kind implements river.JobArgs.
func (lookArgs) Kind() string { return "look" }

// InsertOpts implements river.JobArgsWithInsertOpts: there is one live job per object. A finished one does not count.
func (lookArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		// Work never gives up: looks report their failures by Outcome, attempts are used up only by killed processes,
		// and the sweep replaces a job that was discarded all the same.
		MaxAttempts: 1000,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
			rivertype.JobStateScheduled, rivertype.JobStateRetryable,
		}},
	}
}

// MarkDue makes the object due at once, in this transaction: its handler runs after the commit, whatever happens to
// this process, and again when it is running right now. Where other processes work too the job is made by the sweep that
// follows the commit: the queue's own statements lock many jobs at once and in an order of their own, so that nobody may
// lock one and then wait for anything else.
func (tx *Tx) MarkDue(kind, id string) error {
	var job int64
	err := tx.row(`INSERT INTO work (kind, id, wanted, seen, next_look_at, failures, job_id) VALUES ($1, $2, 1, 0, 0, 0, 0)
		ON CONFLICT (kind, id) DO UPDATE SET wanted = work.wanted + 1 RETURNING job_id`, kind, id).Scan(&job)
	if err != nil {
		return fmt.Errorf("mark %s %s due: %w", kind, id, err)
	}
	if tx.st.engine.shared() {
		tx.marked = true
		return nil
	}
	return tx.enqueue(kind, id, job)
}

// mostAtOnce is how many objects of those that are marked due together get their jobs with the transaction. The sweep sees to
// the others: whoever marks thousands does not wait for thousands of jobs, nor does anybody for whoever marks them.
const mostAtOnce = 8

// markAllDue is MarkDue for some objects of a kind. All are marked in this transaction; what there is no job for at its end
// the next sweeps find.
func (tx *Tx) markAllDue(kind string, ids []string) error {
	slices.Sort(ids) // or two who mark the same could wait for each other
	ids = slices.Compact(ids)
	n := min(len(ids), mostAtOnce)
	if tx.st.engine.shared() {
		n, tx.marked = 0, true
	}
	atOnce, others := ids[:n], ids[n:]
	for _, id := range atOnce {
		if err := tx.MarkDue(kind, id); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(others, mostInList) {
		var rows strings.Builder
		for i := range some {
			if i > 0 {
				rows.WriteString(", ")
			}
			fmt.Fprintf(&rows, "($1, $%d, 1, 0, 0, 0, 0)", i+2)
		}
		_, err := tx.exec(`INSERT INTO work (kind, id, wanted, seen, next_look_at, failures, job_id) VALUES `+rows.String()+`
			ON CONFLICT (kind, id) DO UPDATE SET wanted = work.wanted + 1`, append([]any{kind}, args(some)...)...)
		if err != nil {
			return fmt.Errorf("mark %d of kind %s due: %w", len(some), kind, err)
		}
	}
	return nil
}

// enqueue sees to it that the object has a live job that is not waiting. known is the job it had last, 0 when none.
func (tx *Tx) enqueue(kind, id string, known int64) error {
	job, has, err := tx.s.insertJob(tx.ctx, lookArgs{Of: kind, ID: id})
	if err != nil {
		return fmt.Errorf("enqueue %s %s: %w", kind, id, err)
	}
	if has {
		// It has one. A job that waits for its next look goes now; one that runs will find wanted grown at its end.
		if err := tx.s.retryJob(tx.ctx, job); err != nil {
			return fmt.Errorf("make the job of %s %s available: %w", kind, id, err)
		}
	}
	if job == known {
		return nil
	}
	_, err = tx.exec(`UPDATE work SET job_id = $3 WHERE kind = $1 AND id = $2`, kind, id, job)
	return err
}

// Workers do the work of one Store until they are closed.
type Workers struct {
	store   *Store
	client  jobClient
	process *process           // nil where no other process can have the database
	cancel  context.CancelFunc // ends the sweeps and the looks
	done    sync.WaitGroup     // for the sweeps
	endBeat context.CancelFunc
	beats   sync.WaitGroup
}

// Work starts to call the handlers for what is due. It returns once workers run; ctx bounds only the start. Close the
// result before the Store.
func (s *Store) Work(ctx context.Context, o WorkOptions) (_ *Workers, err error) {
	o.Workers = orElse(o.Workers, 8)
	o.Poll = orElse(o.Poll, 100*time.Millisecond)
	o.Sweep = orElse(o.Sweep, 500*time.Millisecond)
	o.Timeout = orElse(o.Timeout, 2*time.Minute)
	w := &Workers{store: s}
	id := string(link.NewID())
	if s.engine.shared() {
		if w.process, err = s.join(ctx, id); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, s.leave(w.process))
			}
		}()
	}
	reg := river.NewWorkers()
	if err := river.AddWorkerSafely(reg, &looker{st: s, process: w.process, handlers: o.Handlers}); err != nil {
		return nil, fmt.Errorf("register the worker: %w", err)
	}
	w.client, err = s.engine.workers(&river.Config{
		ID:     id,
		Logger: quiet(s.log), Workers: reg,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: o.Workers}},
		FetchPollInterval: o.Poll, FetchCooldown: o.Poll, PollOnly: true,
		JobTimeout: o.Timeout, RescueStuckJobsAfter: o.Timeout + time.Minute,
		// A finished job says nothing that the events do not say better.
		CompletedJobRetentionPeriod: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("make the job workers: %w", err)
	}
	// The workers outlive the call that starts them, and end by Close.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err := w.client.Start(run); err != nil {
		cancel()
		return nil, fmt.Errorf("start the job workers: %w", err)
	}
	w.cancel = cancel
	w.done.Go(func() { s.sweepEvery(run, o.Sweep, w.process) })
	beat, endBeat := context.WithCancel(context.WithoutCancel(ctx))
	w.endBeat = endBeat
	if w.process != nil {
		w.beats.Go(func() { s.beatEvery(beat, w.process, processBeat) })
	}
	return w, nil
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close cancels the contexts of the looks under way, waits for them and for everything else that Work started. What was
// cut off is due again at the next start.
func (w *Workers) Close() error {
	w.cancel()
	// Not bounded: a handler that ignores its context would otherwise write to a closed database.
	err := w.client.StopAndCancel(context.Background())
	w.done.Wait()
	w.endBeat()
	w.beats.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("stop the job workers: %w", err)
	}
	if w.process != nil {
		err = errors.Join(err, w.store.leave(w.process))
	}
	return err
}

// looker is the queue's worker: it brings a job to its object's handler and keeps the books of the work table.
type looker struct {
	river.WorkerDefaults[lookArgs]
	st       *Store
	process  *process // nil where no other process can have the database
	handlers map[string]Handler
}

// elsewhere is how long a job waits whose object somebody else looks at. It comes too early at worst: there is nothing left
// to do then.
const elsewhere = time.Second

// Work implements river.Worker.
func (l *looker) Work(ctx context.Context, job *river.Job[lookArgs]) error {
	handler, ok := l.handlers[job.Args.Of]
	if !ok {
		return river.JobCancel(fmt.Errorf("no handler for %q", job.Args.Of))
	}
	if l.process == nil {
		return l.work(ctx, handler, &hold{of: job.Args}, l.st.Read)
	}
	h, ok := l.process.begin(job.Args)
	if !ok {
		return river.JobSnooze(elsewhere)
	}
	defer l.process.ended(job.Args)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(h.term.over, func() { cancel(errLost) })()
	return l.work(ctx, handler, h, l.st.Write)
}

// work is one look under a hold, which is taken in a transaction of the kind given.
func (l *looker) work(ctx context.Context, handler Handler, h *hold, take func(context.Context, func(*Tx) error) error) error {
	work := Work{Kind: h.of.Of, ID: h.of.ID}
	var started int64
	err := take(ctx, func(tx *Tx) (err error) {
		started, work.Failures, err = tx.take(h)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil // forgotten after the job was made
	case errors.Is(err, errHeld):
		return river.JobSnooze(elsewhere)
	case err != nil:
		return l.again(ctx, work, err)
	}
	out, err := l.look(context.WithValue(ctx, holdKey{}, h), handler, work)
	if err != nil {
		return l.again(ctx, work, err)
	}
	out.Look = min(out.Look, longestLook)
	if ctx.Err() != nil {
		return river.JobSnooze(0) // cut off: what the handler says is no result
	}
	again := false
	err = l.st.Write(ctx, func(tx *Tx) (err error) {
		again, err = tx.finish(h, work, started, out)
		return err
	})
	switch {
	case errors.Is(err, errLost):
		return river.JobSnooze(elsewhere)
	case err != nil:
		return l.again(ctx, work, err)
	case again:
		return river.JobSnooze(0)
	case out.Look > 0 && !out.Forget:
		return river.JobSnooze(out.Look)
	}
	return nil
}

// look calls the handler; a panic in one look must not take down the others, and is reported as what it is.
func (l *looker) look(ctx context.Context, h Handler, w Work) (out Outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return h(ctx, w), nil
}

// again is the end of a look whose books could not be kept: the job stays live and comes back soon.
func (l *looker) again(ctx context.Context, w Work, err error) error {
	if ctx.Err() == nil {
		l.st.log.Error("a look at an object broke off", "kind", w.Kind, "id", w.ID, "err", err)
		return river.JobSnooze(time.Second)
	}
	return river.JobSnooze(0)
}

// finish records the end of a look that started when wanted was started, lets go of its object, and reports whether that was
// marked due meanwhile. It returns errLost when another look has taken the object over.
func (tx *Tx) finish(h *hold, w Work, started int64, out Outcome) (again bool, err error) {
	if out.Forget {
		n, err := tx.exec(`DELETE FROM work WHERE kind = $1 AND id = $2 AND wanted = $3 AND holder = $4 AND fence = $5`,
			w.Kind, w.ID, started, h.holder(), h.fence)
		if err != nil || n > 0 {
			return false, err
		}
	}
	var next int64
	if out.Look > 0 {
		next = stamp(tx.now.Add(out.Look))
	}
	failures := 0
	if out.Failed {
		failures = w.Failures + 1
	}
	var wanted int64
	err = tx.row(`UPDATE work SET seen = $3, next_look_at = $4, failures = $5, holder = ''
		WHERE kind = $1 AND id = $2 AND holder = $6 AND fence = $7 RETURNING wanted`,
		w.Kind, w.ID, started, next, failures, h.holder(), h.fence).Scan(&wanted)
	if errors.Is(err, ErrNotFound) {
		return false, errLost
	}
	return wanted > started, err
}

// sweepEvery finds work that is due and has no job that will do it: a job that finished in the moment in which its
// object was marked, one that waits although its time has come, one that a crash or a clock that was set back left behind.
// Before, it frees what others cannot do any more.
func (s *Store) sweepEvery(ctx context.Context, every time.Duration, p *process) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false // said once, and not with every sweep of an outage
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.marked:
		case <-tick.C:
			if p != nil {
				err = s.takeOver(ctx, p)
			}
		}
		err = errors.Join(err, s.sweep(ctx))
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Error("sweep for due work", "err", err)
		}
		failing = err != nil
	}
}

// sweepLimit bounds one sweep, and so the time for which it holds the writer.
const sweepLimit = 200

func (s *Store) sweep(ctx context.Context) error {
	type lost struct {
		kind, id string
		job      int64
	}
	var found []lost
	engineNow := s.engine.jobTime(time.Now()) // the job queue's columns are by its clock and not by ours
	err := s.Read(ctx, func(tx *Tx) error {
		var err error
		found, err = list(tx, func(r Row) (l lost, err error) {
			err = r.Scan(&l.kind, &l.id, &l.job)
			return l, err
		},
			`SELECT w.kind, w.id, w.job_id FROM work w LEFT JOIN river_job j ON j.id = w.job_id
			WHERE (w.wanted > w.seen OR (w.next_look_at > 0 AND w.next_look_at <= $1) OR w.next_look_at > $2)
			AND (j.id IS NULL OR NOT (j.state = 'running' OR (j.state = 'available' AND j.scheduled_at <= $3)))
			ORDER BY w.next_look_at LIMIT $4`, stamp(tx.now), stamp(tx.now.Add(longestLook)), engineNow, sweepLimit)
		return err
	})
	if err != nil || len(found) == 0 {
		return err
	}
	together := sweepLimit
	if s.engine.shared() {
		together = 1 // see MarkDue
	}
	for some := range slices.Chunk(found, together) {
		err := s.Write(ctx, func(tx *Tx) error {
			for _, l := range some {
				err := tx.row(`UPDATE work SET job_id = job_id WHERE kind = $1 AND id = $2 RETURNING job_id`, l.kind, l.id).Scan(&l.job)
				if errors.Is(err, ErrNotFound) {
					continue // forgotten meanwhile
				}
				if err != nil {
					return err
				}
				if err := tx.enqueue(l.kind, l.id, l.job); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
