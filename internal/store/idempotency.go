package store

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/postern/postern/internal/link"
)

// keptAnswers is how long what was answered to a request with an idempotency key is known.
const keptAnswers = 24 * time.Hour

// KeptAnswer returns what was answered to a request that carried an idempotency key, or ErrNotFound. key is of one caller
// and may hold anything; transactions that ask for the same one come one after the other.
func (tx *Tx) KeptAnswer(key string) (a link.KeptAnswer, err error) {
	name := keyName(key)
	if err := tx.Lock("idempotency", name); err != nil {
		return a, err
	}
	err = tx.row(`SELECT fingerprint, status, etag, body FROM idempotency_keys WHERE key = $1 AND created_at >= $2`, name,
		stamp(tx.now.Add(-keptAnswers))).Scan(&a.Fingerprint, &a.Status, &a.ETag, &a.Body)
	return a, err
}

// KeepAnswer stores what was answered.
func (tx *Tx) KeepAnswer(key string, a link.KeptAnswer) error {
	_, err := tx.exec(`INSERT INTO idempotency_keys (key, fingerprint, status, etag, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, etag = excluded.etag,
			body = excluded.body, created_at = excluded.created_at`, keyName(key), a.Fingerprint, a.Status, a.ETag, a.Body, stamp(tx.now))
	return err
}

func (tx *Tx) forgetAnswers() error {
	_, err := tx.exec(`DELETE FROM idempotency_keys WHERE created_at < $1`, stamp(tx.now.Add(-keptAnswers)))
	return err
}

func keyName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
