package store

import (
	"context"
	"time"
)

// Census is what a database holds in numbers, for whoever watches over it.
type Census struct {
	Backlog       Backlog
	Failing       int64            // objects whose last look failed
	Connections   map[string]int64 // by state
	Gateways      int64            // that were heard of in the last minute
	RulesRevision int64
	LastEvent     int64            // the id of the newest line of history
	Deliveries    map[string]int64 // by status
	AuditPosition int64            // of the newest entry of the audit log
	AuditSigned   int64            // the position that the newest checkpoint covers
}

// Census counts. It costs a pass over the connections and over the deliveries that are kept.
func (s *Store) Census(ctx context.Context) (c Census, err error) {
	if c.Backlog, err = s.Backlog(ctx); err != nil {
		return c, err
	}
	err = s.Read(ctx, func(tx *Tx) error {
		if err := tx.row(`SELECT count(*) FROM work WHERE failures > 0`).Scan(&c.Failing); err != nil {
			return err
		}
		if err := tx.row(`SELECT count(*) FROM gateways WHERE last_seen_at > $1`, stamp(tx.now.Add(-time.Minute))).Scan(&c.Gateways); err != nil {
			return err
		}
		if err := tx.row(`SELECT coalesce(max(seq), 0) FROM events`).Scan(&c.LastEvent); err != nil {
			return err
		}
		if err := tx.row(`SELECT coalesce(max(position), 0) FROM audit_entries`).Scan(&c.AuditPosition); err != nil {
			return err
		}
		if err := tx.row(`SELECT coalesce(max(position), 0) FROM audit_checkpoints`).Scan(&c.AuditSigned); err != nil {
			return err
		}
		if c.Connections, err = tx.tally(`SELECT state, count(*) FROM connections GROUP BY state`); err != nil {
			return err
		}
		if c.Deliveries, err = tx.tally(`SELECT status, count(*) FROM deliveries GROUP BY status`); err != nil {
			return err
		}
		c.RulesRevision, err = tx.RulesRevision()
		return err
	})
	return c, err
}

// tally reads a count for each word.
func (tx *Tx) tally(text string) (map[string]int64, error) {
	type count struct {
		word string
		n    int64
	}
	counts, err := list(tx, func(r Row) (c count, err error) {
		err = r.Scan(&c.word, &c.n)
		return c, err
	}, text)
	out := make(map[string]int64, len(counts))
	for _, c := range counts {
		out[c.word] = c.n
	}
	return out, err
}
