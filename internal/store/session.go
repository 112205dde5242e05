package store

import (
	"time"

	"github.com/postern/postern/internal/link"
)

const sessionColumns = `seq, id, principal_id, method, source, created_at, last_used_at, expires_at`

func scanSession(r Row) (l listed[link.Session], err error) {
	s := &l.v
	err = r.Scan(&l.seq, &s.ID, &s.PrincipalID, &s.Method, &s.Source, at(&s.CreatedAt), at(&s.LastUsedAt), at(&s.ExpiresAt))
	return l, err
}

// Sessions are a principal's sessions that last at this time, when one that was not used for idle is over, oldest first.
func (tx *Tx) Sessions(principal link.ID, idle time.Duration) ([]link.Session, error) {
	rows, err := list(tx, scanSession, `SELECT `+sessionColumns+` FROM sessions WHERE principal_id = $1 AND expires_at > $2 AND last_used_at > $3 ORDER BY seq`,
		principal, stamp(tx.now), stamp(tx.now.Add(-idle)))
	return unlisted(rows), err
}

// SessionOf returns the session whose token has a hash while it lasts, or ErrNotFound.
func (tx *Tx) SessionOf(hash string, idle time.Duration) (link.Session, error) {
	l, err := scanSession(tx.row(`SELECT `+sessionColumns+` FROM sessions WHERE hash = $1 AND expires_at > $2 AND last_used_at > $3`,
		hash, stamp(tx.now), stamp(tx.now.Add(-idle))))
	return l.v, err
}

// AddSession stores a session that begins now, whose token has the hash given, and drops what is over of everybody's.
func (tx *Tx) AddSession(s link.Session, hash string, idle time.Duration) (link.Session, error) {
	if _, err := tx.exec(`DELETE FROM sessions WHERE expires_at <= $1 OR last_used_at <= $2`, stamp(tx.now), stamp(tx.now.Add(-idle))); err != nil {
		return link.Session{}, err
	}
	l, err := scanSession(tx.row(`INSERT INTO sessions (id, hash, principal_id, method, source, created_at, last_used_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING `+sessionColumns,
		s.ID, hash, s.PrincipalID, s.Method, s.Source, stamp(tx.now), stamp(s.ExpiresAt)))
	return l.v, err
}

// UsedSession writes down that a session is used now, unless that was done less than every ago.
func (tx *Tx) UsedSession(id link.ID, every time.Duration) error {
	_, err := tx.exec(`UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at <= $3`, id, stamp(tx.now), stamp(tx.now.Add(-every)))
	return err
}

// EndSession ends one session of a principal, or returns ErrNotFound.
func (tx *Tx) EndSession(principal, id link.ID) (link.Session, error) {
	l, err := scanSession(tx.row(`DELETE FROM sessions WHERE principal_id = $1 AND id = $2 RETURNING `+sessionColumns, principal, id))
	return l.v, err
}

// EndSessions ends all sessions of a principal and tells how many it ended.
func (tx *Tx) EndSessions(principal link.ID) (n int64, err error) {
	return tx.exec(`DELETE FROM sessions WHERE principal_id = $1`, principal)
}

// TrimSessions ends the oldest of a principal's sessions beyond those kept.
func (tx *Tx) TrimSessions(principal link.ID, kept int) error {
	_, err := tx.exec(`DELETE FROM sessions WHERE principal_id = $1
		AND seq <= (SELECT seq FROM sessions WHERE principal_id = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)`, principal, kept)
	return err
}
