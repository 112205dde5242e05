package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// postgres is the engine of a PostgreSQL database, which several processes may share.
type postgres struct {
	pool *pgxpool.Pool
	jobs *jobs[pgx.Tx]
}

// Bounds of what is asked of PostgreSQL. A server that is gone is noticed at once; one that hangs is noticed by these.
const (
	pgConnect   = 5 * time.Second  // to make a connection, and to learn that an idle one is still good
	pgBegin     = 10 * time.Second // to begin a transaction, with the wait for a connection
	pgStatement = 30 * time.Second // for one statement, with the wait for the locks that it needs, and for a commit
	pgIdle      = 10 * time.Second // between two statements of a transaction: one that stands still keeps its locks from everybody
)

// pgConnections is how many connections a process has at most, unless its URL says pool_max_conns: as many as its workers,
// the job queue's own and requests at once are worth.
const pgConnections = 20

var errDatabaseURL = errors.New("read the URL of the database: want postgres://user:password@host:port/name")

// openPostgres connects to the database of a URL or of keyword=value pairs, as PostgreSQL's libpq reads them.
func openPostgres(ctx context.Context, database string, log *slog.Logger) (_ *postgres, err error) {
	c, err := pgxpool.ParseConfig(database)
	if err != nil {
		// What is said of an unreadable URL may be the part of it that is secret.
		return nil, errDatabaseURL
	}
	if !strings.Contains(database, "pool_max_conns") {
		c.MaxConns = pgConnections
	}
	c.PingTimeout = pgConnect
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = pgConnect
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "postern"
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(`SET idle_in_transaction_session_timeout = %d`, pgIdle.Milliseconds()))
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	if err := migratePostgres(ctx, pool, log); err != nil {
		return nil, pgError(ctx, err)
	}
	e := &postgres{pool: pool}
	if e.jobs, err = newJobs(riverpgxv5.New(pool), log); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *postgres) begin(ctx context.Context, writes bool) (session, error) {
	// Who writes sees with each statement what was committed before it. Whether a server that only reads takes part is
	// for it to say, so the access mode is not asked for.
	o := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	if !writes {
		o = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	}
	within, cancel := context.WithTimeout(ctx, pgBegin)
	defer cancel()
	tx, err := e.pool.BeginTx(within, o)
	if err != nil {
		return nil, pgError(ctx, err)
	}
	return postgresTx{tx, e.jobs}, nil
}

// again implements engine. A row that another transaction made, or took away, since this one looked for it shows as a
// violation of a constraint: the next run sees it when it looks.
func (*postgres) again(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", // serialization_failure
		"40P01", // deadlock_detected
		"23505", // unique_violation
		"23503", // foreign_key_violation
		"25P03": // idle_in_transaction_session_timeout: it stood still in the middle
		return true
	case "0A000": // feature_not_supported: another process has just migrated the schema under a prepared statement
		return strings.Contains(pg.Message, "cached plan")
	}
	return false
}

func (*postgres) shared() bool { return true }

func (e *postgres) workers(c *river.Config) (jobClient, error) { return e.jobs.workers(c) }

// jobTime implements engine: a timestamp.
func (*postgres) jobTime(t time.Time) any { return t.UTC() }

func (e *postgres) close() error {
	e.pool.Close()
	return nil
}

// postgresTx is a transaction on PostgreSQL.
type postgresTx struct {
	tx   pgx.Tx
	jobs *jobs[pgx.Tx]
}

func (s postgresTx) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	within, cancel := context.WithTimeout(ctx, pgStatement)
	defer cancel()
	tag, err := s.tx.Exec(within, text, args...)
	return tag.RowsAffected(), pgError(ctx, err)
}

func (s postgresTx) Query(ctx context.Context, text string, args ...any) (Rows, error) {
	within, cancel := context.WithTimeout(ctx, pgStatement)
	rows, err := s.tx.Query(within, text, args...)
	if err != nil {
		cancel()
		return nil, pgError(ctx, err)
	}
	return pgRows{rows, ctx, cancel}, nil
}

// commit asks for the end whatever becomes of the caller meanwhile: half asked for, nobody would know what came of it.
func (s postgresTx) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgStatement)
	defer cancel()
	return pgError(ctx, s.tx.Commit(within))
}

func (s postgresTx) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), pgConnect)
	defer cancel()
	_ = s.tx.Rollback(ctx) // a connection on which this fails is closed, and the server does the rest
}

func (s postgresTx) insertJob(ctx context.Context, of lookArgs) (id int64, known bool, err error) {
	within, cancel := context.WithTimeout(ctx, pgStatement)
	defer cancel()
	id, known, err = s.jobs.insert(within, s.tx, of)
	return id, known, pgError(ctx, err)
}

func (s postgresTx) retryJob(ctx context.Context, id int64) error {
	within, cancel := context.WithTimeout(ctx, pgStatement)
	defer cancel()
	return pgError(ctx, s.jobs.retry(within, s.tx, id))
}

func (s postgresTx) lock(ctx context.Context, key string) error {
	h := fnv.New64a()
	_, _ = io.WriteString(h, key)
	_, err := s.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(h.Sum64())) //nolint:gosec // all 64 bits count, whichever sign they make
	return err
}

// inOrder takes a lock of two numbers, of which lock takes none. Each statement behind it sees what was committed before the
// lock was got, although it was sent before.
func (s postgresTx) inOrder(ctx context.Context, all []asked) error {
	within, cancel := context.WithTimeout(ctx, pgStatement)
	defer cancel()
	b := &pgx.Batch{}
	b.Queue(`SELECT pg_advisory_xact_lock(1, 1)`)
	for _, one := range all {
		q := b.Queue(one.text, one.args...)
		if one.take != nil {
			q.Query(func(rows pgx.Rows) error { return one.takeAll(pgRows{rows, ctx, func() {}}) })
		}
	}
	return pgError(ctx, s.tx.SendBatch(within, b).Close())
}

// pgChannel is where processes on one database tell each other what is newest.
const pgChannel = "postern_newest"

func (postgresTx) ring(n newest) []asked {
	return []asked{{text: `SELECT pg_notify($1, $2)`, args: []any{pgChannel, fmt.Sprintf("%d %d", n.rules, n.event)}}}
}

// parseNewest reads what ring wrote; false for anything else.
func parseNewest(payload string) (n newest, ok bool) {
	rules, event, found := strings.Cut(payload, " ")
	var err, err2 error
	n.rules, err = strconv.ParseInt(rules, 10, 64)
	n.event, err2 = strconv.ParseInt(event, 10, 64)
	if !found || err != nil || err2 != nil || n.rules < 0 || n.event < 0 {
		return newest{}, false
	}
	return n, true
}

// listen calls heard for whatever another process, or this one, rings, and missed whenever something may have been rung
// that nobody heard: when it begins to hear, and begins again. It returns when ctx ends.
func (e *postgres) listen(ctx context.Context, log *slog.Logger, heard func(newest), missed func(context.Context) error) {
	for pause := time.Duration(0); ; {
		began := time.Now()
		err := e.hear(ctx, heard, missed)
		if ctx.Err() != nil {
			return
		}
		log.Warn("listen for news at the database: waiting for the next look instead", "err", err)
		if time.Since(began) > time.Minute {
			pause = 0
		}
		pause = min(2*time.Second, max(100*time.Millisecond, 2*pause))
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(pause)):
		}
	}
}

// hear listens until its connection breaks. The connection is not of the pool: a pool that requests keep busy must not keep
// the news out.
func (e *postgres) hear(ctx context.Context, heard func(newest), missed func(context.Context) error) error {
	conn, err := pgx.ConnectConfig(ctx, e.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgConnect)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+pgChannel); err != nil {
		return err
	}
	if err := missed(ctx); err != nil {
		return err
	}
	for {
		note, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n, ok := parseNewest(note.Payload); ok {
			heard(n)
		}
	}
}

// pgRows is a result that PostgreSQL sends.
type pgRows struct {
	rows   pgx.Rows
	ctx    context.Context // the caller's
	cancel context.CancelFunc
}

func (r pgRows) Next() bool             { return r.rows.Next() }
func (r pgRows) Scan(into ...any) error { return r.rows.Scan(into...) }
func (r pgRows) Err() error             { return pgError(r.ctx, r.rows.Err()) }

func (r pgRows) Close() error {
	r.rows.Close()
	r.cancel()
	return nil
}

// pgError marks an error that says that the server cannot be reached, or that it serves nobody now, as ErrUnavailable. ctx
// is the caller's own: that the caller left says nothing of the server.
func pgError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || !pgUnavailable(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func pgUnavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", // shut down by an administrator, crashed, starting up or shutting down
			"25006": // read_only_sql_transaction: a standby that took the name of a primary
			return true
		}
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") // connection exception; insufficient resources
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connecting) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}
