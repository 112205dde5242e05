package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// PasswordOf returns what is kept of a principal's password, empty when it has none.
func (tx *Tx) PasswordOf(principal link.ID) (kept string, err error) {
	err = tx.row(`SELECT hash FROM passwords WHERE principal_id = $1`, principal).Scan(&kept)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return kept, err
}

// PutPassword keeps a principal's password, in place of an earlier one.
func (tx *Tx) PutPassword(principal link.ID, kept string) error {
	_, err := tx.exec(`INSERT INTO passwords (principal_id, hash, changed_at) VALUES ($1, $2, $3)
		ON CONFLICT (principal_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at`, principal, kept, stamp(tx.now))
	return err
}

// RehashPassword replaces what is kept of a password by another hash of the same one, unless it is another meanwhile.
func (tx *Tx) RehashPassword(principal link.ID, before, kept string) error {
	_, err := tx.exec(`UPDATE passwords SET hash = $3 WHERE principal_id = $1 AND hash = $2`, principal, before, kept)
	return err
}

// ForgetSignIn removes all by which a principal signs in: its password, the subjects that were bound to it and an earlier
// token to set a password.
func (tx *Tx) ForgetSignIn(principal link.ID) error {
	for _, table := range []string{"passwords", "subjects", "password_resets", "sign_in_codes"} {
		if _, err := tx.exec(`DELETE FROM `+table+` WHERE principal_id = $1`, principal); err != nil {
			return err
		}
	}
	return nil
}

// PutPasswordReset keeps the hash of the one token that sets a principal's password.
func (tx *Tx) PutPasswordReset(principal link.ID, hash string, expires time.Time) error {
	_, err := tx.exec(`INSERT INTO password_resets (hash, principal_id, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (principal_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at`, hash, principal, stamp(expires))
	return err
}

// PasswordReset returns the principal whose password a token of a hash sets, or ErrNotFound.
func (tx *Tx) PasswordReset(hash string) (principal link.ID, err error) {
	err = tx.row(`SELECT principal_id FROM password_resets WHERE hash = $1 AND expires_at > $2`, hash, stamp(tx.now)).Scan(&principal)
	return principal, err
}

// TakePasswordReset is PasswordReset, once: the token is no longer good.
func (tx *Tx) TakePasswordReset(hash string) (principal link.ID, err error) {
	err = tx.row(`DELETE FROM password_resets WHERE hash = $1 AND expires_at > $2 RETURNING principal_id`, hash, stamp(tx.now)).Scan(&principal)
	return principal, err
}

// sealKeyName is the row of meta that holds SealKey's key.
const sealKeyName = "seal_key"

// SealKey returns the key with which this installation seals what browsers keep for it: the one given, unless there is one
// already.
func (tx *Tx) SealKey(fresh []byte) ([]byte, error) {
	const name = sealKeyName
	if _, err := tx.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, base64.StdEncoding.EncodeToString(fresh)); err != nil {
		return nil, err
	}
	var kept string
	if err := tx.row(`SELECT value FROM meta WHERE name = $1`, name).Scan(&kept); err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(kept)
	if err != nil {
		return nil, fmt.Errorf("the key of seals is damaged: %w", err)
	}
	return key, nil
}
