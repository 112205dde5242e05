package store

import (
	"time"

	"github.com/postern/postern/internal/link"
)

// PrincipalOf returns whom an issuer's subject was bound to, or ErrNotFound.
func (tx *Tx) PrincipalOf(issuer, subject string) (principal link.ID, err error) {
	err = tx.row(`SELECT principal_id FROM subjects WHERE issuer = $1 AND subject = $2`, issuer, subject).Scan(&principal)
	return principal, err
}

// Subjects is how many subjects are bound to a principal.
func (tx *Tx) Subjects(principal link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM subjects WHERE principal_id = $1`, principal).Scan(&n)
	return n, err
}

// BindSubject makes an issuer's subject a principal, or returns ErrChanged when it is one already.
func (tx *Tx) BindSubject(issuer, subject string, principal link.ID) error {
	return tx.change(ErrChanged, `INSERT INTO subjects (issuer, subject, principal_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (issuer, subject) DO NOTHING`, issuer, subject, principal, stamp(tx.now))
}

// UseState writes down that an answer of a provider was used, or returns ErrChanged when it was used before. What has
// expired is forgotten.
func (tx *Tx) UseState(hash string, expires time.Time) error {
	if _, err := tx.exec(`DELETE FROM used_states WHERE expires_at <= $1`, stamp(tx.now)); err != nil {
		return err
	}
	return tx.change(ErrChanged, `INSERT INTO used_states (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING`, hash, stamp(expires))
}

// AddSignInCode keeps the hash of a code for a principal's session, with the challenge that whoever exchanges it has to
// answer. What has expired is forgotten.
func (tx *Tx) AddSignInCode(hash string, principal link.ID, challenge string, expires time.Time) error {
	if _, err := tx.exec(`DELETE FROM sign_in_codes WHERE expires_at <= $1`, stamp(tx.now)); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO sign_in_codes (hash, principal_id, challenge, expires_at) VALUES ($1, $2, $3, $4)`,
		hash, principal, challenge, stamp(expires))
	return err
}

// TakeSignInCode returns what a code of a hash is for, once, or ErrNotFound.
func (tx *Tx) TakeSignInCode(hash string) (principal link.ID, challenge string, err error) {
	err = tx.row(`DELETE FROM sign_in_codes WHERE hash = $1 AND expires_at > $2 RETURNING principal_id, challenge`, hash, stamp(tx.now)).Scan(&principal, &challenge)
	return principal, challenge, err
}
