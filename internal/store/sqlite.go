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
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// sqlite is the engine of a database in a directory, which is one process's.
type sqlite struct {
	write *sql.DB // one connection, shared with the job queue: SQLite has one writer
	read  *sql.DB
	dir   *dirLock
	jobs  *jobs[*sql.Tx]

	backups backups
}

const databaseFile = "postern.db"

func openSQLite(ctx context.Context, dir string, log *slog.Logger) (_ *sqlite, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	e := &sqlite{}
	if e.dir, err = lockDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	path := filepath.Join(dir, databaseFile)
	e.backups.database = path
	if err := e.backups.removeOld(); err != nil {
		return nil, fmt.Errorf("remove what is left of backups: %w", err)
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	// synchronous=FULL: see docs/decisions/0002-sqlite-full-sync.md.
	e.write, err = openPool(path, 1, url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_busy_timeout": {"5000"},
		"_foreign_keys": {"1"}, "_dqs": {"0"}, "_txlock": {"immediate"},
	})
	if err != nil {
		return nil, err
	}
	if err := migrateSQLite(ctx, e.write, log); err != nil {
		return nil, err
	}
	if e.jobs, err = newJobs(riversqlite.New(e.write), log); err != nil {
		return nil, err
	}
	if err := e.takeOverJobs(ctx); err != nil {
		return nil, err
	}
	e.read, err = openPool(path, 8, url.Values{
		"_busy_timeout": {"5000"}, "_dqs": {"0"}, "_txlock": {"deferred"}, "_query_only": {"1"},
	})
	return e, err
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
	c, err := newSQLiteConnector((&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: settings.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// takeOverJobs gives back jobs that a killed process was working on: while we hold the directory nobody else can be. Its
// term as the queue's leader ends with it too.
func (e *sqlite) takeOverJobs(ctx context.Context) error {
	for _, text := range []string{`UPDATE river_job SET state = 'available' WHERE state = 'running'`, `DELETE FROM river_leader`} {
		if _, err := e.write.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("take over the jobs of a process before: %w", err)
		}
	}
	return nil
}

func (e *sqlite) begin(ctx context.Context, writes bool) (session, error) {
	db := e.read
	if writes {
		db = e.write
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return sqliteTx{tx, e.jobs}, nil
}

// again implements engine: there is one writer, against whom nobody loses.
func (*sqlite) again(error) bool { return false }

func (*sqlite) shared() bool { return false }

func (e *sqlite) workers(c *river.Config) (jobClient, error) { return e.jobs.workers(c) }

// jobTime implements engine: text in this layout.
func (*sqlite) jobTime(t time.Time) any { return t.UTC().Format("2006-01-02 15:04:05.000") }

func (e *sqlite) close() error {
	var errs []error
	for _, db := range []*sql.DB{e.read, e.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, e.dir.release())...)
}

// sqliteTx is a transaction on SQLite.
type sqliteTx struct {
	tx   *sql.Tx
	jobs *jobs[*sql.Tx]
}

func (s sqliteTx) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	res, err := s.tx.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s sqliteTx) Query(ctx context.Context, text string, args ...any) (Rows, error) {
	rows, err := s.tx.QueryContext(ctx, text, args...) //nolint:rowserrcheck // whoever reads the rows checks
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (s sqliteTx) commit(context.Context) error { return s.tx.Commit() }

func (s sqliteTx) rollback() { _ = s.tx.Rollback() }

func (s sqliteTx) insertJob(ctx context.Context, of lookArgs) (int64, bool, error) {
	return s.jobs.insert(ctx, s.tx, of)
}

func (s sqliteTx) retryJob(ctx context.Context, id int64) error { return s.jobs.retry(ctx, s.tx, id) }

// lock and ring implement session: there is one writer, in one process.
func (sqliteTx) lock(context.Context, string) error { return nil }

// inOrder implements session: no server is far away.
func (s sqliteTx) inOrder(ctx context.Context, all []asked) error {
	for _, one := range all {
		if one.take == nil {
			if _, err := s.Exec(ctx, one.text, one.args...); err != nil {
				return err
			}
			continue
		}
		rows, err := s.Query(ctx, one.text, one.args...)
		if err != nil {
			return err
		}
		if err := one.takeAll(rows); err != nil {
			return err
		}
	}
	return nil
}

func (sqliteTx) ring(newest) []asked { return nil }
