package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// How long a process that works counts as alive after it last said so, and how often it says so. What it looked at is
// free for the others when its lease is over.
const (
	processLease = 5 * time.Second
	processBeat  = time.Second
)

// errLost is that another process may have taken over what this one looked at: it stood still for longer than its lease,
// or did not reach the database for so long.
var errLost = fmt.Errorf("the lease of this look is over: %w", ErrChanged)

// process is one that shares the work with others on its database. It holds a lease, which it renews, and looks only while
// it has it. The lease is of the database's clock; of its own clock it takes only how long ago it was renewed, so that no
// two clocks are compared.
type process struct {
	id    string
	lease time.Duration

	mu    sync.Mutex
	until time.Time         // this process's clock, monotonic; sooner than the database's end of the lease
	void  *time.Timer       // ends the term at until
	term  *term             // the present one
	looks map[lookArgs]bool // under way
}

// term is a time through which the lease was never over. What was begun in one is void in the next.
type term struct {
	over   context.Context
	cancel context.CancelCauseFunc
}

func newTerm() *term {
	over, cancel := context.WithCancelCause(context.Background())
	return &term{over, cancel}
}

// hold is a process's right to look at one object. The zero process is that of a database that no other may open.
type hold struct {
	process *process
	term    *term
	of      lookArgs
	fence   int64
}

// holder is the name of who has it, as the row has it.
func (h *hold) holder() string {
	if h.process == nil {
		return ""
	}
	return h.process.id
}

func newProcess(id string, lease time.Duration) *process {
	p := &process{id: id, lease: lease, looks: map[lookArgs]bool{}, term: newTerm()}
	p.void = time.AfterFunc(lease, p.expire)
	return p
}

// renewed notes that the lease began anew at a time: that at which the database was asked, which is before it answered.
func (p *process) renewed(asked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !time.Now().Before(p.until) { // it was over for a while, in which others may have taken what we looked at
		p.end()
	}
	p.until = asked.Add(p.lease)
	p.void.Reset(time.Until(p.until))
}

// expire ends the term when the lease is over.
func (p *process) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !time.Now().Before(p.until) {
		p.end()
	}
}

// end begins another term. The looks of this one are cut off.
func (p *process) end() {
	p.term.cancel(errLost)
	p.term = newTerm()
}

// close ends the last term.
func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.void.Stop()
	p.term.cancel(errLost)
}

// begin notes a look that is under way, or reports that there must be none: one at the same object is, or the lease is over.
func (p *process) begin(of lookArgs) (*hold, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looks[of] || !time.Now().Before(p.until) {
		return nil, false
	}
	p.looks[of] = true
	return &hold{process: p, term: p.term, of: of}, true
}

func (p *process) ended(of lookArgs) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.looks, of)
}

func (p *process) looksAt(of lookArgs) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looks[of]
}

// check returns errLost for a look that another process may have taken over.
func (h *hold) check() error {
	if h.process == nil {
		return nil
	}
	h.process.mu.Lock()
	defer h.process.mu.Unlock()
	if h.term != h.process.term || !time.Now().Before(h.process.until) {
		return errLost
	}
	return nil
}

type holdKey struct{}

func holdOf(ctx context.Context) *hold {
	h, _ := ctx.Value(holdKey{}).(*hold)
	return h
}

// Held returns an error that is ErrChanged when ctx is that of a look at an object that another process may look at by now.
// Whoever acts outside of the database asks before it does: the writes of such a look fail by themselves. It costs nothing.
func Held(ctx context.Context) error {
	if h := holdOf(ctx); h != nil {
		return h.check()
	}
	return nil
}

// OnBehalf returns ctx as a part of the look that of is the context of, if it is one's.
func OnBehalf(ctx, of context.Context) context.Context {
	if h := holdOf(of); h != nil {
		return context.WithValue(ctx, holdKey{}, h)
	}
	return ctx
}

// unheld returns ctx for writes that are right whoever makes them.
func unheld(ctx context.Context) context.Context {
	if holdOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, holdKey{}, (*hold)(nil))
}

// checkHold fails for a transaction of a look that another one has taken over, and has those that would take it over wait
// for its end. It comes after everything else that takes locks, as MarkDue does.
func (tx *Tx) checkHold(h *hold) error {
	if h == nil || h.process == nil {
		return nil
	}
	if err := h.check(); err != nil {
		return err
	}
	return tx.change(errLost, `UPDATE work SET fence = fence WHERE kind = $1 AND id = $2 AND holder = $3 AND fence = $4`,
		h.of.Of, h.of.ID, h.holder(), h.fence)
}

// errHeld is that another look at the object is under way.
var errHeld = errors.New("another process looks at it")

// dbNow is PostgreSQL's clock.
const dbNow = `(extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT`

// take makes h the one look at its object, and returns what the look starts from.
func (tx *Tx) take(h *hold) (wanted int64, failures int, err error) {
	if h.process == nil {
		err = tx.row(`SELECT wanted, failures, fence FROM work WHERE kind = $1 AND id = $2`, h.of.Of, h.of.ID).Scan(&wanted, &failures, &h.fence)
		return wanted, failures, err
	}
	err = tx.row(`UPDATE work SET holder = $3, fence = fence + 1 WHERE kind = $1 AND id = $2
		AND (holder = '' OR holder = $3 OR NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = work.holder AND alive_until > `+dbNow+`))
		AND EXISTS (SELECT 1 FROM workers WHERE workers.id = $3 AND alive_until > `+dbNow+`)
		RETURNING wanted, failures, fence`, h.of.Of, h.of.ID, h.process.id).Scan(&wanted, &failures, &h.fence)
	if !errors.Is(err, ErrNotFound) {
		return wanted, failures, err
	}
	var there int
	if err := tx.row(`SELECT 1 FROM work WHERE kind = $1 AND id = $2`, h.of.Of, h.of.ID).Scan(&there); err != nil {
		return 0, 0, err
	}
	return 0, 0, errHeld
}

// join begins the process's lease.
func (s *Store) join(ctx context.Context, id string) (*process, error) {
	p := newProcess(id, processLease)
	if err := s.beat(ctx, p); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// beat renews the process's lease.
func (s *Store) beat(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, p.lease)
	defer cancel()
	var asked time.Time
	err := s.Write(ctx, func(tx *Tx) error {
		asked = time.Now()
		_, err := tx.exec(`INSERT INTO workers (id, alive_until) VALUES ($1, `+dbNow+` + $2)
			ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until`, p.id, p.lease.Microseconds())
		return err
	})
	if err != nil {
		return fmt.Errorf("renew this process's lease: %w", err)
	}
	p.renewed(asked)
	return nil
}

// beatEvery keeps the process's lease until ctx ends.
func (s *Store) beatEvery(ctx context.Context, p *process, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.beat(ctx, p)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Warn("this process may lose its work to others", "err", err)
		}
		failing = err != nil
	}
}

// leave gives up the process's lease, so that others need not wait for its end.
func (s *Store) leave(p *process) error {
	p.close()
	ctx, cancel := context.WithTimeout(context.Background(), p.lease)
	defer cancel()
	err := s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec(`DELETE FROM workers WHERE id = $1`, p.id)
		return err
	})
	if errors.Is(err, ErrUnavailable) {
		return nil // the end of the lease says the same, a little later
	}
	return err
}

// How long a job may be under way at a process that lives, without a look that goes with it: in the moment before the look
// and while what came of it is stored, which the queue tries for up to 37 s. It ends the whole process when somebody changes
// a job meanwhile (river's "job that wasn't finalized"). And how long the name of a process that is no more is kept.
const (
	looseJob    = time.Minute
	keptWorkers = 10 * time.Minute
)

// takeOver frees what nobody looks at and yet looks taken: this process's looks whose end could not be stored, and the jobs
// of processes that are no more, or that an outage of the database kept from being ended.
func (s *Store) takeOver(ctx context.Context, p *process) error {
	var mine []hold
	err := s.Read(ctx, func(tx *Tx) (err error) {
		mine, err = list(tx, func(r Row) (h hold, err error) {
			err = r.Scan(&h.of.Of, &h.of.ID, &h.fence)
			return h, err
		}, `SELECT kind, id, fence FROM work WHERE holder = $1`, p.id)
		return err
	})
	if err != nil {
		return err
	}
	// Read before: what was held then and is not under way now has ended.
	mine = slices.DeleteFunc(mine, func(h hold) bool { return p.looksAt(h.of) })
	slices.SortFunc(mine, func(a, b hold) int { return cmp.Or(cmp.Compare(a.of.Of, b.of.Of), cmp.Compare(a.of.ID, b.of.ID)) })
	if len(mine) > 0 {
		err := s.Write(ctx, func(tx *Tx) error {
			for _, h := range mine[:min(len(mine), sweepLimit)] {
				_, err := tx.exec(`UPDATE work SET holder = '' WHERE kind = $1 AND id = $2 AND holder = $3 AND fence = $4`, h.of.Of, h.of.ID, p.id, h.fence)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var loose []int64
	err = s.Read(ctx, func(tx *Tx) (err error) {
		loose, err = list(tx, func(r Row) (id int64, err error) {
			err = r.Scan(&id)
			return id, err
		}, looseJobs+` LIMIT $2`, looseJob.Seconds(), sweepLimit)
		return err
	})
	if err != nil || len(loose) == 0 {
		return err
	}
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(`DELETE FROM workers WHERE alive_until < `+dbNow+` - $1`, keptWorkers.Microseconds()); err != nil {
			return err
		}
		_, err := tx.exec(`UPDATE river_job SET state = 'available', scheduled_at = now() WHERE id IN (`+looseJobs+`
			AND j.id = ANY($2) ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)`, looseJob.Seconds(), loose)
		return err
	})
}

// looseJobs are the jobs under way that no process alive looks at.
const looseJobs = `SELECT j.id FROM river_job j LEFT JOIN work w ON w.kind = j.args->>'of' AND w.id = j.args->>'id'
	WHERE j.state = 'running'
	AND NOT EXISTS (SELECT 1 FROM workers h WHERE h.id = w.holder AND h.alive_until > ` + dbNow + `)
	AND (j.attempted_at < now() - make_interval(secs => $1)
		OR NOT EXISTS (SELECT 1 FROM workers a WHERE a.id = j.attempted_by[array_upper(j.attempted_by, 1)] AND a.alive_until > ` + dbNow + `))`
