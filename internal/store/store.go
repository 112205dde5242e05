// Package store keeps what people asked for, what was observed at the clouds and what gateways reported, in SQL. It also
// owns the queue of work: a change of intent and the job that acts on it are stored in one transaction, so neither can
// exist without the other. No driver, transaction or job type of the engines leaves this package.
//
// The engine is SQLite. The text of the statements is kept to what PostgreSQL takes too: $1..$N, RETURNING,
// ON CONFLICT, times as unix microseconds, lists as JSON text.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/riverqueue/river"
	_ "modernc.org/sqlite" // the driver named "sqlite"

	"github.com/postern/postern/internal/link"
)

// What a read or a write may find. Every other error of this package is an outage or a defect.
var (
	ErrNotFound = errors.New("no such row")
	ErrChanged  = errors.New("the row was changed meanwhile") // a compare-and-swap lost; read again and decide again
)

// Options are a Store's settings. The zero value is usable.
type Options struct {
	Now func() time.Time // stamps rows; time.Now when nil
	Log *slog.Logger     // slog.Default when nil
}

// Store is one installation's database. It is safe for concurrent use; Close it after everything that uses it.
type Store struct {
	write *sql.DB // one connection, shared with the job queue: SQLite has one writer
	read  *sql.DB
	lock  *dirLock
	now   func() time.Time
	log   *slog.Logger
	id    string

	queue   *river.Client[*sql.Tx] // enqueues only; Work starts another that works
	ready   readiness
	acks    acknowledgements
	sources sync.Mutex    // guards newest and news
	newest  int64         // the newest revision of the rules that is known
	news    chan struct{} // closed when there is a newer one

	keptRevisions int64 // how many revisions back changes of the rules are known
}

const databaseFile = "postern.db"

// Open opens the database in the directory dir, which it makes when absent, brings its schema up to date and makes work
// that a killed process left unfinished available again. A directory is one process's: a second Open of it fails at
// once with an error that says so.
func Open(ctx context.Context, dir string, o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock, now: o.Now, log: o.Log, news: make(chan struct{}), keptRevisions: keptRevisions}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	path := filepath.Join(dir, databaseFile)
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	// synchronous=FULL: see docs/decisions/0002-sqlite-full-sync.md.
	s.write, err = openPool(path, 1, url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_busy_timeout": {"5000"},
		"_foreign_keys": {"1"}, "_dqs": {"0"}, "_txlock": {"immediate"},
	})
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	if err := s.openQueue(ctx); err != nil {
		return nil, err
	}
	s.read, err = openPool(path, 8, url.Values{
		"_busy_timeout": {"5000"}, "_dqs": {"0"}, "_txlock": {"deferred"}, "_query_only": {"1"},
	})
	if err != nil {
		return nil, err
	}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// makePrivate makes the database's file when absent, for its owner alone. The engine gives the files beside it the same mode.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return f.Close()
}

func openPool(path string, connections int, settings url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: settings.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close closes the database and lets go of the directory. Workers have to be closed before.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, s.lock.release())...)
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
		if s.newest, err = tx.RulesRevision(); err != nil {
			return err
		}
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
	q   Q
	sql *sql.Tx
	st  *Store
	now time.Time

	last     last
	revision int64 // of the rules, that this transaction made; 0 while it changed none
}

// Now is the time of the transaction: every row that it writes carries the same.
func (tx *Tx) Now() time.Time { return tx.now }

// Read runs f in a transaction that sees one state of the database and can change nothing.
func (s *Store) Read(ctx context.Context, f func(*Tx) error) error {
	_, err := s.do(ctx, s.read, f)
	return err
}

// Write runs f in a transaction and commits when f returns nil. There is one writer at a time, so f must not do
// anything slow: no network, and no second transaction.
func (s *Store) Write(ctx context.Context, f func(*Tx) error) error {
	revision, err := s.do(ctx, s.write, f)
	if err == nil {
		s.tell(revision)
	}
	return err
}

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

func (s *Store) do(ctx context.Context, db *sql.DB, f func(*Tx) error) (revision int64, err error) {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin a transaction: %w", err)
	}
	tx := &Tx{ctx: ctx, q: sqlQ{t}, sql: t, st: s, now: s.now().UTC().Truncate(time.Microsecond)}
	// Also when f panics: the one write connection must come back.
	defer func() { _ = t.Rollback() }()
	if err := f(tx); err != nil {
		return 0, err
	}
	if err := tx.writeLast(); err != nil {
		return 0, err
	}
	if err := t.Commit(); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	return tx.revision, nil
}

// objectKey joins the parts of an object's key as link.ObjectRef wants them.
func objectKey(provider link.Provider, name string) string { return string(provider) + "/" + name }
