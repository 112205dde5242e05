package store

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
)

const claimColumns = `seq, id, cluster_id, region, domain, created_at, expires_at, revoked_at, used_at, endpoint_id`

func scanClaim(r Row) (l listed[link.Claim], err error) {
	c := &l.v
	err = r.Scan(&l.seq, &c.ID, &c.ClusterID, &c.Region, &c.Domain, at(&c.CreatedAt), at(&c.ExpiresAt), at(&c.RevokedAt), at(&c.UsedAt), &c.EndpointID)
	return l, err
}

// Claims are one part of a cluster's claims, and the seq to go on after, 0 at the end.
func (tx *Tx) Claims(cluster link.ID, c Cut) ([]link.Claim, int64, error) {
	return cutList(tx, c, scanClaim, `SELECT `+claimColumns+` FROM claims WHERE cluster_id = $1`, cluster)
}

// Claim returns one claim, or ErrNotFound.
func (tx *Tx) Claim(id link.ID) (link.Claim, error) {
	l, err := scanClaim(tx.row(`SELECT `+claimColumns+` FROM claims WHERE id = $1`, id))
	return l.v, err
}

// OpenClaims is how many claims of a cluster are open now.
func (tx *Tx) OpenClaims(cluster link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM claims WHERE cluster_id = $1 AND listed AND expires_at > $2`, cluster, stamp(tx.now)).Scan(&n)
	return n, err
}

// AddClaim stores a new open claim, whose code has the SHA-256 hash given. Its time of creation is set here.
func (tx *Tx) AddClaim(c link.Claim, hash [32]byte) (link.Claim, error) {
	l, err := scanClaim(tx.row(`INSERT INTO claims (id, cluster_id, region, domain, hash, created_at, expires_at, revoked_at, used_at, endpoint_id, listed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, '', $8) RETURNING `+claimColumns,
		c.ID, c.ClusterID, c.Region, c.Domain, hex.EncodeToString(hash[:]), stamp(tx.now), stamp(c.ExpiresAt), true))
	return l.v, err
}

// EndClaim stores that a claim was used or revoked, or returns ErrChanged when it was before.
func (tx *Tx) EndClaim(c link.Claim) error {
	return tx.change(ErrChanged, `UPDATE claims SET revoked_at = $2, used_at = $3, endpoint_id = $4, listed = $5
		WHERE id = $1 AND revoked_at = 0 AND used_at = 0`, c.ID, stamp(c.RevokedAt), stamp(c.UsedAt), c.EndpointID, false)
}

// UnlistExpiredClaims takes the claims that have expired out of the rules. Gateways compare the time themselves, so nobody
// waits for this; it keeps the rules from growing by claims that nobody used.
func (tx *Tx) UnlistExpiredClaims() error { return tx.unlistClaims(`expires_at <= $2`, stamp(tx.now)) }

// UnlistClaims takes a cluster's claims out of the rules.
func (tx *Tx) UnlistClaims(cluster link.ID) error { return tx.unlistClaims(`cluster_id = $2`, cluster) }

func (tx *Tx) unlistClaims(which string, arg any) error {
	ids, err := list(tx, scanID, `UPDATE claims SET listed = $1 WHERE listed AND `+which+` RETURNING id`, false, arg)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := tx.RulesChanged(RulesOfClaim, id); err != nil {
			return err
		}
	}
	return nil
}

// WarnClaims returns the open claims that expire before a time, each once: those that nobody was told of so far. Claims that
// were never good for as long as atLeast are left out.
func (tx *Tx) WarnClaims(before time.Time, atLeast time.Duration) ([]link.Claim, error) {
	claims, err := list(tx, scanClaim, `UPDATE claims SET warned = $1 WHERE listed AND NOT warned AND expires_at <= $2 AND expires_at > $3
		AND expires_at - created_at >= $4 RETURNING `+claimColumns, true, stamp(before), stamp(tx.now), atLeast.Microseconds())
	return unlisted(claims), err
}

// TrimClaims drops the oldest of a cluster's claims that are over, beyond those kept.
func (tx *Tx) TrimClaims(cluster link.ID, kept int) error {
	_, err := tx.exec(`DELETE FROM claims WHERE cluster_id = $1 AND NOT listed AND seq <= (SELECT seq FROM claims
		WHERE cluster_id = $1 AND NOT listed ORDER BY seq DESC LIMIT 1 OFFSET $2)`, cluster, kept)
	return err
}

// claimRules are the claims that the rules name, as far as they fit a condition. One that has expired stands among them
// until the next is made: what the rules say changes with their revision and not with time.
func (tx *Tx) claimRules(which string, args ...any) ([]link.ClaimRule, error) {
	return list(tx, func(r Row) (c link.ClaimRule, err error) {
		var hash string
		if err := r.Scan(&c.ID, &c.ClusterID, &c.Domain, &hash, at(&c.ExpiresAt)); err != nil {
			return c, err
		}
		b, err := hex.DecodeString(hash)
		if err != nil || len(b) != len(c.Hash) {
			return c, fmt.Errorf("claim %s is kept with no hash of its code", c.ID)
		}
		copy(c.Hash[:], b)
		return c, nil
	}, `SELECT id, cluster_id, domain, hash, expires_at FROM claims WHERE listed AND `+which+` ORDER BY seq`, args...)
}

// changedClaims are the claims in the rules that changed after a revision, and which of them are gone.
func (tx *Tx) changedClaims(revision int64) (rules []link.ClaimRule, gone []link.ID, err error) {
	ids, err := tx.rulesChangedSince(RulesOfClaim, revision)
	if err != nil {
		return nil, nil, err
	}
	there := make(map[link.ID]bool, len(ids))
	for some := range slices.Chunk(ids, mostInList) {
		more, err := tx.claimRules(`id IN (`+places(len(some))+`)`, args(some)...)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range more {
			there[r.ID] = true
		}
		rules = append(rules, more...)
	}
	gone = slices.DeleteFunc(ids, func(id link.ID) bool { return there[id] })
	return rules, gone, nil
}
