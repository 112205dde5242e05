package store

import "github.com/postern/postern/internal/link"

// AddEvent writes a line of an object's history. Its ID and, unless it has one, its time are set here.
func (tx *Tx) AddEvent(e link.Event) error {
	if e.At.IsZero() {
		e.At = tx.now
	}
	tx.last.events = append(tx.last.events, e)
	return nil
}

// writeEvents stores what AddEvent was given.
func (tx *Tx) writeEvents(events []link.Event) error {
	for _, e := range events {
		err := tx.row(`INSERT INTO events (object_kind, object_id, at, type, reason, message, actor) VALUES ($1, $2, $3, $4, $5, $6, $7)
			RETURNING seq`, e.Object.Kind, e.Object.ID, stamp(e.At), e.Type, e.Reason, e.Message, e.Actor).Scan(&tx.made.event)
		if err != nil {
			return err
		}
	}
	return nil
}

// Events are one part of an object's history, and the seq to go on after, 0 at the end.
func (tx *Tx) Events(of link.ObjectRef, c Cut) ([]link.Event, int64, error) {
	return cutList(tx, c, func(r Row) (l listed[link.Event], err error) {
		l.v.Object = of
		err = r.Scan(&l.seq, at(&l.v.At), &l.v.Type, &l.v.Reason, &l.v.Message, &l.v.Actor)
		l.v.ID = l.seq
		return l, err
	}, `SELECT seq, at, type, reason, message, actor FROM events WHERE object_kind = $1 AND object_id = $2`, of.Kind, of.ID)
}
