package store

import (
	"context"
	"errors"
	"time"
)

// SetJobsRunningForTest leaves the job queue as a process does that is killed in the middle of all its looks, as the
// leader of the queue.
func SetJobsRunningForTest(ctx context.Context, s *Store) error {
	_, err := s.engine.(*sqlite).write.ExecContext(ctx, `UPDATE river_job SET state = 'running', attempt = 1, attempted_at = scheduled_at;
		INSERT INTO river_leader (elected_at, expires_at, leader_id) VALUES (datetime('now'), datetime('now', '+1 hour'), 'the dead one')`)
	return err
}

// TrimForTest is Trim with bounds of the test's own.
func TrimForTest(ctx context.Context, s *Store, kept int64) error {
	return s.trim(ctx, kept, kept, kept, time.Hour)
}

// LooksAheadForTest is how many objects have a next look written down.
func LooksAheadForTest(ctx context.Context, s *Store) (n int, err error) {
	err = s.Read(ctx, func(tx *Tx) error {
		return tx.row(`SELECT count(*) FROM work WHERE next_look_at > 0`).Scan(&n)
	})
	return n, err
}

// ForbidWritesForTest makes every write fail from now on, as a read-only disk does.
func ForbidWritesForTest(ctx context.Context, s *Store) error {
	switch e := s.engine.(type) {
	case *sqlite:
		_, err := e.write.ExecContext(ctx, `PRAGMA query_only = 1`)
		return err
	case *postgres:
		_, err := e.pool.Exec(ctx, `DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$`)
		e.pool.Reset()
		return err
	}
	return errors.New("not an engine")
}

// HearOnlyForTest has those who wait for news never ask the database themselves.
func HearOnlyForTest(s *Store) { s.bellPoll = time.Hour }

// DropListenerForTest breaks the connection on which the store hears of news.
func DropListenerForTest(ctx context.Context, s *Store) (dropped int64, err error) {
	tag, err := s.engine.(*postgres).pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %'`)
	return tag.RowsAffected(), err
}

// KeepRevisionsForTest sets how many revisions back the changes of the rules are known.
func KeepRevisionsForTest(s *Store, n int64) { s.keptRevisions = n }

// RulesChangesForTest is how many changes of the rules are known.
func RulesChangesForTest(tx *Tx) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM rules_changes`).Scan(&n)
	return n, err
}

// ExecForTest runs a statement past everything that this package sees to.
func ExecForTest(ctx context.Context, s *Store, text string, args ...any) error {
	return s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec(text, args...)
		return err
	})
}

// FreezeForTest has a process that works stand still for longer than its lease, as far as its lease is concerned.
func FreezeForTest(ctx context.Context, w *Workers) error {
	w.endBeat()
	w.beats.Wait()
	return ExecForTest(ctx, w.store, `UPDATE workers SET alive_until = 1 WHERE id = $1`, w.process.id)
}

// ProjectsForTest is how many projects there are.
func ProjectsForTest(tx *Tx) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM projects`).Scan(&n)
	return n, err
}

// LoosenJobsForTest makes jobs available that are under way.
func LoosenJobsForTest(ctx context.Context, s *Store) error {
	return ExecForTest(ctx, s, `UPDATE river_job SET state = 'available', scheduled_at = now() WHERE state = 'running'`)
}

// PutOffForTest tells whether a job waits for another process's look to end.
func PutOffForTest(ctx context.Context, s *Store) (put bool, err error) {
	err = s.Read(ctx, func(tx *Tx) error {
		var n int
		err := tx.row(`SELECT count(*) FROM river_job WHERE state IN ('available', 'scheduled') AND scheduled_at > now()`).Scan(&n)
		put = n > 0
		return err
	})
	return put, err
}

// LoseEndForTest leaves a job that has ended as an outage of the database does in the moment of its end, with work to do;
// false before it has ended.
func LoseEndForTest(ctx context.Context, s *Store) (ended bool, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(`UPDATE river_job SET state = 'running', finalized_at = NULL, attempted_at = now() - make_interval(secs => 120) WHERE state = 'completed'`)
		if err != nil || n == 0 {
			return err
		}
		ended = true
		_, err = tx.exec(`UPDATE work SET wanted = wanted + 1, holder = (SELECT min(id) FROM workers), fence = fence + 1`)
		return err
	})
	return ended, err
}
