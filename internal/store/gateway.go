package store

import (
	"encoding/base64"
	"time"

	"github.com/postern/postern/internal/link"
)

func scanGateway(r Row) (g link.Gateway, err error) {
	var key string
	if err := r.Scan(&g.ID, &key, &g.AppliedRevision, at(&g.LastSeenAt)); err != nil {
		return g, err
	}
	g.ProofKey, err = base64.StdEncoding.DecodeString(key)
	return g, err
}

// Gateways are all gateways that ever said hello, in the order in which they first did.
func (tx *Tx) Gateways() ([]link.Gateway, error) {
	return list(tx, scanGateway, `SELECT id, proof_key, applied_revision, last_seen_at FROM gateways ORDER BY seq`)
}

// PutGateway notes a gateway with its proof key, seen now.
func (tx *Tx) PutGateway(id string, proofKey []byte) error {
	_, err := tx.exec(`INSERT INTO gateways (id, proof_key, applied_revision, last_seen_at) VALUES ($1, $2, 0, $3)
		ON CONFLICT (id) DO UPDATE SET proof_key = excluded.proof_key, last_seen_at = excluded.last_seen_at`,
		id, base64.StdEncoding.EncodeToString(proofKey), stamp(tx.now))
	return err
}

// SeeGateway notes that a gateway was heard of.
func (tx *Tx) SeeGateway(id string) error {
	_, err := tx.exec(`UPDATE gateways SET last_seen_at = $2 WHERE id = $1`, id, stamp(tx.now))
	return err
}

// Propagating tells whether a gateway seen within live still decides by older rules than the current ones.
func (tx *Tx) Propagating(live time.Duration) (bool, error) {
	var behind int64
	err := tx.row(`SELECT count(*) FROM gateways WHERE last_seen_at >= $1 AND applied_revision < (SELECT revision FROM rules_revision WHERE id = 1)`,
		stamp(tx.now.Add(-live))).Scan(&behind)
	return behind > 0, err
}
