package store

import (
	"crypto/sha256"
	"encoding/hex"
)

func tokenHash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// PutToken makes token the one of its name; an earlier token of that name is no longer good. Only its SHA-256 hash is
// kept.
func (tx *Tx) PutToken(name, role, token string) error {
	_, err := tx.exec(`INSERT INTO tokens (hash, name, role, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, role = excluded.role, created_at = excluded.created_at`,
		tokenHash(token), name, role, stamp(tx.now))
	return err
}

// AddToken makes token the one of its name unless there is one, and reports whether it did.
func (tx *Tx) AddToken(name, role, token string) (bool, error) {
	n, err := tx.exec(`INSERT INTO tokens (hash, name, role, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING`,
		tokenHash(token), name, role, stamp(tx.now))
	return n > 0, err
}

// HasToken tells whether there is a token of a name.
func (tx *Tx) HasToken(name string) (bool, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM tokens WHERE name = $1`, name).Scan(&n)
	return n > 0, err
}

// Token returns the name and role that a token stands for, or ErrNotFound.
func (tx *Tx) Token(token string) (name, role string, err error) {
	err = tx.row(`SELECT name, role FROM tokens WHERE hash = $1`, tokenHash(token)).Scan(&name, &role)
	return name, role, err
}
