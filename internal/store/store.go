// Package store keeps what people asked for, what was observed at the clouds and what gateways reported, in SQL. It also
// owns the queue of work: a change of intent and the job that acts on it are stored in one transaction, so neither can
// exist without the other. No driver, transaction or job type of the engines leaves this package.
//
// The engine is SQLite, for one process, or PostgreSQL, for as many as share it. The text of the statements is one, kept to
// what both take: $1..$N, RETURNING, ON CONFLICT, times as unix microseconds, lists as JSON text. On PostgreSQL writers run
// side by side: a transaction that decides by what it has read is made safe by a unique constraint, by the version of the
// row or by Tx.Lock.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/postern/postern/internal/link"
)

// What a read or a write may find. Every other error of this package is a defect or a broken disk.
var (
	ErrNotFound = errors.New("no such row")
	ErrChanged  = errors.New("the row was changed meanwhile") // a compare-and-swap lost; read again and decide again
	ErrDropped  = errors.New("the rows are not kept any more")
)

// ErrUnavailable is that the database cannot be reached, or serves nobody now: it may again in seconds, without anybody's
// doing. What was to be written was not, or nobody knows; to ask for it once more is safe, as everything is idempotent.
var ErrUnavailable error = &link.Error{
	Kind: link.Unavailable, Reason: "DATABASE_UNAVAILABLE", Message: "the database cannot be reached", Hint: "try again in a moment",
}

// Options are a Store's settings. The zero value is usable.
type Options struct {
	Now func() time.Time // stamps rows; time.Now when nil
	Log *slog.Logger     // slog.Default when nil
}

// Store is one installation's database. It is safe for concurrent use; Close it after everything that uses it.
type Store struct {
	engine engine
	now    func() time.Time
	log    *slog.Logger
	id     string

	ready  readiness
	acks   acknowledgements
	rules  bell          // revisions of the rules
	events bell          // seqs of events
	marked chan struct{} // tells the sweep that something is due that has no job

	cancel context.CancelFunc // ends what runs in the background
	done   sync.WaitGroup     // for it

	keptRevisions int64         // how many revisions back changes of the rules are known
	bellPoll      time.Duration // how often who waits for news asks the database itself
}

// Open opens the database in the directory dir, which it makes when absent, brings its schema up to date and makes work
// that a killed process left unfinished available again. A directory is one process's: a second Open of it fails at
// once with an error that says so.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	o.Log = orElse(o.Log, slog.Default())
	e, err := openSQLite(ctx, dir, o.Log)
	if err != nil {
		return nil, err
	}
	if err := e.unmoved(ctx); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return newStore(ctx, e, o)
}

// OpenPostgres opens the PostgreSQL database of a URL, postgres://user:password@host:port/name, and brings its schema up to
// date. Any number of processes may have it open. The URL may hold a secret and is told to nobody; its parameter
// pool_max_conns bounds this process's connections.
func OpenPostgres(ctx context.Context, database string, o Options) (*Store, error) {
	o.Log = orElse(o.Log, slog.Default())
	e, err := openPostgres(ctx, database, o.Log)
	if err != nil {
		return nil, err
	}
	s, err := newStore(ctx, e, o)
	if err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.done.Go(func() { e.listen(background, s.log, s.tell, s.lookForNews) })
	return s, nil
}

// newStore returns the store of an engine, which it owns from now on.
func newStore(ctx context.Context, e engine, o Options) (*Store, error) {
	s := &Store{engine: e, now: o.Now, log: o.Log, keptRevisions: keptRevisions, bellPoll: bellPoll, marked: make(chan struct{}, 1), cancel: func() {}}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.identify(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the database and lets go of the directory. Workers have to be closed before.
func (s *Store) Close() error {
	s.cancel()
	s.done.Wait()
	return s.engine.close()
}

// InstallationID is this installation's own name at a cloud: eight hexadecimal digits, drawn at random when the
// database was made. It keeps two installations in one cloud account apart.
func (s *Store) InstallationID() string { return s.id }

func (s *Store) identify(ctx context.Context) error {
	return s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec(`INSERT INTO meta (name, value) VALUES ('installation_id', $1) ON CONFLICT (name) DO NOTHING`,
			string(link.NewID())[:8])
		if err != nil {
			return err
		}
		n, err := tx.newest()
		if err != nil {
			return err
		}
		s.tell(n)
		if err := tx.beginAudit(); err != nil {
			return err
		}
		return tx.row(`SELECT value FROM meta WHERE name = 'installation_id'`).Scan(&s.id)
	})
}

// Tx is one transaction. It lives as long as the function that Read or Write gave it to, under that call's context, and
// is not for concurrent use.
type Tx struct {
	ctx context.Context
	s   session
	st  *Store
	now time.Time

	last   last
	made   newest // by this transaction
	marked bool   // something is due that has no job yet
}

// Now is the time of the transaction: every row that it writes carries the same.
func (tx *Tx) Now() time.Time { return tx.now }

// Read runs f in a transaction that sees one state of the database and can change nothing.
func (s *Store) Read(ctx context.Context, f func(*Tx) error) error {
	if tx := s.joined(ctx); tx != nil {
		return f(tx)
	}
	_, err := s.do(ctx, false, f)
	return err
}

// How often Write runs a transaction that loses against others, and how long it pauses before it does so again: a moment
// more with each time, in which the others get done.
const (
	writeRuns  = 10
	writePause = 4 * time.Millisecond
)

// Write runs f in a transaction and commits when f returns nil. On SQLite there is one writer at a time. On PostgreSQL
// writers run side by side, each statement sees what was committed before it, and f is RUN AGAIN, in a new transaction, when
// this one lost against another: it failed to serialise, was the victim of a deadlock, or met a row that another had made
// or removed since. So f must act on nothing but tx, set what it returns afresh each time, and do nothing slow: no network,
// and no second transaction. With the context of a look that another process has taken over it fails, as ErrChanged.
func (s *Store) Write(ctx context.Context, f func(*Tx) error) error {
	if tx := s.joined(ctx); tx != nil {
		return tx.nested(f)
	}
	for run := 1; ; run++ {
		made, err := s.do(ctx, true, f)
		if err == nil {
			s.tell(made)
			return nil
		}
		if run == writeRuns || !s.engine.again(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(jittered(time.Duration(run*run) * writePause)):
		}
	}
}

// jittered is a pause that differs from that of whoever began to wait at the same time: half of d to all of it.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// Bounds of Ready: how long it waits for the writer, and how long an answer counts. Whoever may ask may ask often, and
// each answer costs a write to the disk.
const (
	readyWithin = 2 * time.Second
	readyFor    = time.Second
)

// readiness is Ready's last answer.
type readiness struct {
	mu  sync.Mutex
	at  time.Time // zero before the first
	err error
}

// Ready tells whether the database can be read and written; nil when it can. The answer may be a second old.
func (s *Store) Ready(ctx context.Context) error {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if !s.ready.at.IsZero() && time.Since(s.ready.at) < readyFor {
		return s.ready.err
	}
	// Not the caller's time: others take the answer too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin)
	defer cancel()
	s.ready.err = s.Write(ctx, func(tx *Tx) error {
		// The same value, and yet a page to write: a full disk and one that is read-only are noticed.
		return tx.change(ErrNotFound, `UPDATE meta SET value = value WHERE name = 'installation_id'`)
	})
	if s.ready.err == nil {
		s.ready.err = s.Read(ctx, func(tx *Tx) error {
			_, err := tx.RulesRevision()
			return err
		})
	}
	s.ready.at = time.Now()
	return s.ready.err
}

// tracer makes a span of each transaction: what a request waits for is mostly the database.
var tracer = otel.Tracer("github.com/postern/postern/internal/store")

func (s *Store) do(ctx context.Context, writes bool, f func(*Tx) error) (made newest, err error) {
	name := "read"
	if writes {
		name = "write"
	}
	ctx, span := tracer.Start(ctx, "transaction "+name)
	defer span.End()
	t, err := s.engine.begin(ctx, writes)
	if err != nil {
		return newest{}, fmt.Errorf("begin a transaction: %w", err)
	}
	tx := &Tx{ctx: ctx, s: t, st: s, now: s.now().UTC().Truncate(time.Microsecond)}
	// Also when f panics: the connection must come back.
	defer t.rollback()
	if err := f(tx); err != nil {
		return newest{}, err
	}
	if writes {
		if err := tx.checkHold(holdOf(ctx)); err != nil {
			return newest{}, err
		}
	}
	if err := tx.writeLast(); err != nil {
		return newest{}, err
	}
	if err := t.commit(ctx); err != nil {
		return newest{}, fmt.Errorf("commit: %w", err)
	}
	if tx.marked {
		select {
		case s.marked <- struct{}{}:
		default: // the sweep is told already
		}
	}
	return tx.made, nil
}

// objectKey joins the parts of an object's key as link.ObjectRef wants them.
func objectKey(provider link.Provider, name string) string { return string(provider) + "/" + name }
