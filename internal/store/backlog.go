package store

import (
	"context"
	"time"
)

// Backlog is the work that is due and not done yet. What is being looked at right now counts.
type Backlog struct {
	Due    int           // objects
	Oldest time.Duration // for how long the look that was put off first has been due; marks of intent carry no time and do not count
}

// Backlog measures the work that is due.
func (s *Store) Backlog(ctx context.Context) (b Backlog, err error) {
	err = s.Read(ctx, func(tx *Tx) error {
		var marked, looks int
		var first int64
		now := stamp(tx.now)
		if err := tx.row(`SELECT count(*) FROM work WHERE wanted > seen`).Scan(&marked); err != nil {
			return err
		}
		err := tx.row(`SELECT count(*), COALESCE(min(next_look_at), 0) FROM work
			WHERE next_look_at > 0 AND next_look_at <= $1 AND wanted <= seen`, now).Scan(&looks, &first)
		if err == nil {
			b.Due = marked + looks
			if first > 0 {
				b.Oldest = time.Duration(now-first) * time.Microsecond
			}
		}
		return err
	})
	return b, err
}
