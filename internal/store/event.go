package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// AddEvent writes a line of an object's history. Its ID and, unless it has them, its time and its object's place are set
// when the transaction ends.
func (tx *Tx) AddEvent(e link.Event) error {
	if e.At.IsZero() {
		e.At = tx.now
	}
	tx.last.events = append(tx.last.events, e)
	return nil
}

// placeEvents says of events where their objects stand, unless they have it. Objects that several are about are looked up once.
func (tx *Tx) placeEvents(events []link.Event) error {
	known := map[link.ObjectRef]link.Place{}
	for i, e := range events {
		if e.Place != (link.Place{}) {
			continue
		}
		at, seen := known[e.Object]
		if !seen {
			var err error
			if at, err = tx.placeOfEvent(e.Object); err != nil {
				return err
			}
			known[e.Object] = at
		}
		events[i].Place = at
	}
	return nil
}

// writeEvents stores what AddEvent was given, and finds out who is to be told of it. The seq of each is set when that is done.
func (tx *Tx) writeEvents(events []told) (all []asked) {
	for i := range events {
		one := &events[i]
		e := &one.event
		all = append(all, tx.ask(func(r Row) error {
			err := r.Scan(&e.ID)
			tx.made.event = e.ID
			return err
		}, `INSERT INTO events (object_kind, object_id, organisation_id, project_id, cluster_id, at, type, state, reason, message, next_step, actor)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING seq`,
			e.Object.Kind, e.Object.ID, e.Place.OrganisationID, e.Place.ProjectID, e.Place.ClusterID, stamp(e.At), e.Type, e.State,
			e.Reason, e.Message, e.NextStep, e.Actor))
		all = append(all, tx.receivers(one)...)
	}
	return all
}

// placeOfEvent is PlaceOf also for what is not there any more: its history tells where it stood.
func (tx *Tx) placeOfEvent(of link.ObjectRef) (link.Place, error) {
	p, err := tx.PlaceOf(of)
	if !errors.Is(err, ErrNotFound) {
		return p, err
	}
	owner, _, _ := strings.Cut(of.ID, "/")
	err = tx.row(`SELECT organisation_id, project_id, cluster_id FROM events WHERE cluster_id = $1 ORDER BY seq DESC LIMIT 1`, owner).
		Scan(&p.OrganisationID, &p.ProjectID, &p.ClusterID)
	if errors.Is(err, ErrNotFound) {
		return link.Place{}, nil // nobody's but the vendor's
	}
	return p, err
}

const eventColumns = `seq, object_kind, object_id, organisation_id, project_id, cluster_id, at, type, state, reason, message, next_step, actor`

func scanEvent(r Row) (l listed[link.Event], err error) {
	e := &l.v
	err = r.Scan(&l.seq, &e.Object.Kind, &e.Object.ID, &e.Place.OrganisationID, &e.Place.ProjectID, &e.Place.ClusterID, at(&e.At),
		&e.Type, &e.State, &e.Reason, &e.Message, &e.NextStep, &e.Actor)
	e.ID = l.seq
	return l, err
}

// Events are one part of an object's history, and the seq to go on after, 0 at the end.
func (tx *Tx) Events(of link.ObjectRef, c Cut) ([]link.Event, int64, error) {
	return cutList(tx, c, scanEvent, `SELECT `+eventColumns+` FROM events WHERE object_kind = $1 AND object_id = $2`, of.Kind, of.ID)
}

// Feed asks for events of many objects.
type Feed struct {
	After  int64      // the seq of the last event that is known; 0 for the oldest that is kept
	Limit  int        // how many at most
	Within link.Reach // where their objects stand
	At     link.Place // of its fields that are set, the same of the object's place
	Type   string     // empty for any
}

// FeedPart is what Feed gives.
type FeedPart struct {
	Events []link.Event // in the order of the commits
	Seq    int64        // everything up to it was looked at: go on after it
	More   bool         // there may be more already
}

// Feed returns the events after a seq, or ErrDropped when some of those were dropped since, and ErrChanged when there never
// was an event of that seq: the database is another, or was restored.
func (tx *Tx) Feed(f Feed) (out FeedPart, err error) {
	newest, err := tx.newestEvent()
	if err != nil {
		return out, err
	}
	dropped, err := tx.droppedEvents()
	switch {
	case err != nil:
		return out, err
	case f.After > max(newest, dropped):
		return out, ErrChanged
	case f.After > 0 && f.After < dropped:
		return out, ErrDropped
	}
	which, with := within(f.Within, reached{column: "organisation_id", ids: f.Within.Organisations},
		reached{column: "project_id", ids: f.Within.Projects}, reached{column: "cluster_id", ids: f.Within.Clusters})
	query := `SELECT ` + eventColumns + ` FROM events WHERE ` + which
	and := func(condition string, value any) {
		with = append(with, value)
		query += " AND " + fmt.Sprintf(condition, fmt.Sprintf("$%d", len(with)))
	}
	// Not beyond the newest: what this transaction saw is where the next one goes on.
	and("seq > %s", f.After)
	and("seq <= %s", newest)
	for _, c := range []struct {
		column string
		id     link.ID
	}{{"organisation_id", f.At.OrganisationID}, {"project_id", f.At.ProjectID}, {"cluster_id", f.At.ClusterID}} {
		if c.id != "" {
			and(c.column+" = %s", c.id)
		}
	}
	if f.Type != "" {
		and("type = %s", f.Type)
	}
	with = append(with, f.Limit+1)
	rows, err := list(tx, scanEvent, query+fmt.Sprintf(" ORDER BY seq LIMIT $%d", len(with)), with...)
	if err != nil {
		return out, err
	}
	out.Seq = max(newest, f.After)
	if len(rows) > f.Limit {
		rows = rows[:f.Limit]
		out.Seq, out.More = rows[len(rows)-1].seq, true
	}
	out.Events = unlisted(rows)
	return out, nil
}

// EventBefore is the seq of the last event before a time, 0 when there is none that is kept.
func (tx *Tx) EventBefore(t time.Time) (seq int64, err error) {
	err = tx.row(`SELECT coalesce(max(seq), 0) FROM events WHERE at < $1`, stamp(t)).Scan(&seq)
	return seq, err
}

func (tx *Tx) newestEvent() (seq int64, err error) {
	err = tx.row(`SELECT coalesce(max(seq), 0) FROM events`).Scan(&seq)
	return seq, err
}

// droppedEvents is the seq up to which events are not kept any more.
func (tx *Tx) droppedEvents() (seq int64, err error) {
	var value string
	err = tx.row(`SELECT value FROM meta WHERE name = 'events_dropped'`).Scan(&value)
	if errors.Is(err, ErrNotFound) {
		return 0, nil // none were so far
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(value, 10, 64)
}

// dropEvents drops the oldest events beyond those kept, and remembers that.
func (tx *Tx) dropEvents(kept int64) error {
	var last int64
	err := tx.row(`SELECT coalesce(max(seq), 0) FROM events WHERE seq <= (SELECT coalesce(max(seq), 0) FROM events) - $1`, kept).Scan(&last)
	if err != nil || last == 0 {
		return err
	}
	if _, err := tx.exec(`DELETE FROM events WHERE seq <= $1`, last); err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO meta (name, value) VALUES ('events_dropped', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, strconv.FormatInt(last, 10))
	return err
}
