package store

import (
	"context"
	"time"
)

// Census is what a database holds in numbers, for whoever watches over it.
type Census struct {
	Due           int64            // objects that have to be looked at now
	OldestDue     time.Duration    // for how long the one that waits longest has been due; 0 when none has a time
	Failing       int64            // objects whose last look failed
	Connections   map[string]int64 // by state
	Gateways      int64            // that were heard of in the last minute
	RulesRevision int64
	LastEvent     int64 // the id of the newest line of history
}

// Census counts. It costs a pass over the connections.
func (s *Store) Census(ctx context.Context) (c Census, err error) {
	err = s.Read(ctx, func(tx *Tx) error {
		now := stamp(tx.now)
		var oldest int64
		if err := tx.row(`SELECT count(*), coalesce(min(CASE WHEN next_look_at > 0 THEN next_look_at END), 0) FROM work
			WHERE wanted > seen OR (next_look_at > 0 AND next_look_at <= $1)`, now).Scan(&c.Due, &oldest); err != nil {
			return err
		}
		if oldest > 0 && oldest < now {
			c.OldestDue = time.Duration(now-oldest) * time.Microsecond
		}
		if err := tx.row(`SELECT count(*) FROM work WHERE failures > 0`).Scan(&c.Failing); err != nil {
			return err
		}
		if err := tx.row(`SELECT count(*) FROM gateways WHERE last_seen_at > $1`, stamp(tx.now.Add(-time.Minute))).Scan(&c.Gateways); err != nil {
			return err
		}
		if err := tx.row(`SELECT coalesce(max(seq), 0) FROM events`).Scan(&c.LastEvent); err != nil {
			return err
		}
		type count struct {
			state string
			n     int64
		}
		counts, err := list(tx, func(r Row) (n count, err error) {
			err = r.Scan(&n.state, &n.n)
			return n, err
		}, `SELECT state, count(*) FROM connections GROUP BY state`)
		if err != nil {
			return err
		}
		c.Connections = make(map[string]int64, len(counts))
		for _, n := range counts {
			c.Connections[n.state] = n.n
		}
		c.RulesRevision, err = tx.RulesRevision()
		return err
	})
	return c, err
}
