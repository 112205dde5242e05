package store

import (
	"time"

	"github.com/postern/postern/internal/link"
)

const apiKeyColumns = `seq, id, principal_id, name, ceiling, scope_kind, scope_id, created_by, created_at, expires_at, last_used_at, revoked_at`

func scanAPIKey(r Row) (l listed[link.APIKey], err error) {
	k := &l.v
	err = r.Scan(&l.seq, &k.ID, &k.PrincipalID, &k.Name, &k.Ceiling, &k.Scope.Kind, &k.Scope.ID, &k.CreatedBy, at(&k.CreatedAt), at(&k.ExpiresAt),
		at(&k.LastUsedAt), at(&k.RevokedAt))
	return l, err
}

// APIKeys are one part of a principal's keys, and the seq to go on after, 0 at the end.
func (tx *Tx) APIKeys(principal link.ID, c Cut) ([]link.APIKey, int64, error) {
	return cutList(tx, c, scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_keys WHERE principal_id = $1`, principal)
}

// APIKey returns one key, or ErrNotFound.
func (tx *Tx) APIKey(id link.ID) (link.APIKey, error) {
	l, err := scanAPIKey(tx.row(`SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1`, id))
	return l.v, err
}

// APIKeyOf returns the key of an id whose token has a hash, whether it is in force or not, or ErrNotFound.
func (tx *Tx) APIKeyOf(id link.ID, hash string) (link.APIKey, error) {
	l, err := scanAPIKey(tx.row(`SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1 AND hash = $2`, id, hash))
	return l.v, err
}

// APIKeysInForce is how many of a principal's keys are good now.
func (tx *Tx) APIKeysInForce(principal link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM api_keys WHERE principal_id = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2)`,
		principal, stamp(tx.now)).Scan(&n)
	return n, err
}

// AddAPIKey stores a new key, whose token has the hash given. Its time of creation is set here.
func (tx *Tx) AddAPIKey(k link.APIKey, hash string) (link.APIKey, error) {
	l, err := scanAPIKey(tx.row(`INSERT INTO api_keys (id, principal_id, name, hash, ceiling, scope_kind, scope_id, created_by, created_at, expires_at, last_used_at, revoked_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0) RETURNING `+apiKeyColumns,
		k.ID, k.PrincipalID, k.Name, hash, k.Ceiling, k.Scope.Kind, k.Scope.ID, k.CreatedBy, stamp(tx.now), stamp(k.ExpiresAt)))
	return l.v, err
}

// RevokeAPIKey ends a key, or returns ErrChanged when it was revoked before.
func (tx *Tx) RevokeAPIKey(id link.ID) (link.APIKey, error) {
	l, err := scanAPIKey(tx.row(`UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at = 0 RETURNING `+apiKeyColumns, id, stamp(tx.now)))
	return l.v, changed(err)
}

// RevokeAPIKeys ends all keys of a principal and tells how many it ended.
func (tx *Tx) RevokeAPIKeys(principal link.ID) (n int64, err error) {
	return tx.exec(`UPDATE api_keys SET revoked_at = $2 WHERE principal_id = $1 AND revoked_at = 0`, principal, stamp(tx.now))
}

// UsedAPIKey writes down that a key is used now, unless that was done less than every ago.
func (tx *Tx) UsedAPIKey(id link.ID, every time.Duration) error {
	_, err := tx.exec(`UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND last_used_at <= $3`, id, stamp(tx.now), stamp(tx.now.Add(-every)))
	return err
}

// WarnAPIKeys returns the keys in force that expire before a time, each once: those that nobody was told of so far. Keys that
// were never good for as long as atLeast are left out.
func (tx *Tx) WarnAPIKeys(before time.Time, atLeast time.Duration) ([]link.APIKey, error) {
	rows, err := list(tx, scanAPIKey, `UPDATE api_keys SET told = 1 WHERE expires_at > $1 AND expires_at <= $2 AND revoked_at = 0 AND told < 1
		AND expires_at - created_at >= $3 RETURNING `+apiKeyColumns, stamp(tx.now), stamp(before), atLeast.Microseconds())
	return unlisted(rows), err
}

// ExpiredAPIKeys returns the keys that expired without being revoked before, each once.
func (tx *Tx) ExpiredAPIKeys() ([]link.APIKey, error) {
	rows, err := list(tx, scanAPIKey, `UPDATE api_keys SET told = 2 WHERE expires_at > 0 AND expires_at <= $1 AND revoked_at = 0 AND told < 2
		RETURNING `+apiKeyColumns, stamp(tx.now))
	return unlisted(rows), err
}

// TrimAPIKeys drops the oldest of a principal's keys that are no longer good, beyond those kept.
func (tx *Tx) TrimAPIKeys(principal link.ID, kept int) error {
	const over = `principal_id = $1 AND (revoked_at > 0 OR expires_at > 0 AND expires_at <= $2)`
	_, err := tx.exec(`DELETE FROM api_keys WHERE `+over+` AND seq <= (SELECT seq FROM api_keys WHERE `+over+` ORDER BY seq DESC LIMIT 1 OFFSET $3)`,
		principal, stamp(tx.now), kept)
	return err
}
