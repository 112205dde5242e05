package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// ClientCertificates returns whose certificates a cluster's clients may show, without the lists of those that are trusted
// and revoked; the zero value for a cluster that nothing was said of.
func (tx *Tx) ClientCertificates(cluster link.ID) (c link.ClientCertificates, err error) {
	err = tx.row(`SELECT settings FROM client_certificates WHERE cluster_id = $1`, cluster).Scan(parsed(&c))
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return c, err
}

// PutClientCertificates stores all of c but the lists of certificates in the place of what a cluster had.
func (tx *Tx) PutClientCertificates(cluster link.ID, c link.ClientCertificates) error {
	c.Trusted, c.Revoked = nil, nil
	_, err := tx.exec(`INSERT INTO client_certificates (cluster_id, settings) VALUES ($1, $2)
		ON CONFLICT (cluster_id) DO UPDATE SET settings = excluded.settings`, cluster, text(c))
	return err
}

const trustedColumns = `seq, id, cluster_id, name, kind, der, crl, crl_number, crl_next, created_at`

func scanTrusted(r Row) (l listed[link.TrustedCertificate], err error) {
	c := &l.v
	err = r.Scan(&l.seq, &c.ID, &c.ClusterID, &c.Name, &c.Kind, decoded(&c.DER), decoded(&c.CRL), &c.CRLNumber, at(&c.CRLNext), at(&c.CreatedAt))
	return l, err
}

// TrustedCertificates are the certificates that a cluster trusts, in the order of creation.
func (tx *Tx) TrustedCertificates(cluster link.ID) ([]link.TrustedCertificate, error) {
	rows, err := list(tx, scanTrusted, `SELECT `+trustedColumns+` FROM trusted_certificates WHERE cluster_id = $1 ORDER BY seq`, cluster)
	return unlisted(rows), err
}

// TrustedCertificate returns one of them, or ErrNotFound.
func (tx *Tx) TrustedCertificate(cluster, id link.ID) (link.TrustedCertificate, error) {
	l, err := scanTrusted(tx.row(`SELECT `+trustedColumns+` FROM trusted_certificates WHERE cluster_id = $1 AND id = $2`, cluster, id))
	return l.v, err
}

// AddTrustedCertificate stores a certificate, which is over at notAfter. Its time of creation is set here.
func (tx *Tx) AddTrustedCertificate(c link.TrustedCertificate, notAfter time.Time) (link.TrustedCertificate, error) {
	sum := sha256.Sum256(c.DER)
	l, err := scanTrusted(tx.row(`INSERT INTO trusted_certificates (id, cluster_id, name, kind, der, fingerprint, not_after, crl, crl_number, crl_next, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, '', '', 0, $8) RETURNING `+trustedColumns,
		c.ID, c.ClusterID, c.Name, c.Kind, encoded(c.DER), hex.EncodeToString(sum[:]), stamp(notAfter), stamp(tx.now)))
	return l.v, err
}

// PutCRL stores the revocation list of a trusted certificate: its CRL, CRLNumber and CRLNext.
func (tx *Tx) PutCRL(c link.TrustedCertificate) error {
	return tx.change(ErrNotFound, `UPDATE trusted_certificates SET crl = $2, crl_number = $3, crl_next = $4, crl_told = $5 WHERE id = $1`,
		c.ID, encoded(c.CRL), c.CRLNumber, stamp(c.CRLNext), false)
}

// RemoveTrustedCertificate removes one with those that were revoked under it, or returns ErrNotFound.
func (tx *Tx) RemoveTrustedCertificate(cluster, id link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM trusted_certificates WHERE cluster_id = $1 AND id = $2`, cluster, id)
}

// Ending is what of a trusted certificate ends, or has ended: itself, or its revocation list.
type Ending struct {
	ClusterID, ID link.ID
	Name          string
	At            time.Time
}

func scanEnding(r Row) (e Ending, err error) {
	err = r.Scan(&e.ClusterID, &e.ID, &e.Name, at(&e.At))
	return e, err
}

// WarnTrustedCertificates returns the certificates that end before a time, each once: those that nobody was told of so far.
func (tx *Tx) WarnTrustedCertificates(before time.Time) ([]Ending, error) {
	return list(tx, scanEnding, `UPDATE trusted_certificates SET told = 1 WHERE not_after > $1 AND not_after <= $2 AND told < 1
		RETURNING cluster_id, id, name, not_after`, stamp(tx.now), stamp(before))
}

// EndedTrustedCertificates returns the certificates that have ended, each once.
func (tx *Tx) EndedTrustedCertificates() ([]Ending, error) {
	return list(tx, scanEnding, `UPDATE trusted_certificates SET told = 2 WHERE not_after <= $1 AND told < 2
		RETURNING cluster_id, id, name, not_after`, stamp(tx.now))
}

// EndedCRLs returns the certificates whose revocation list has ended, each once for each list.
func (tx *Tx) EndedCRLs() ([]Ending, error) {
	return list(tx, scanEnding, `UPDATE trusted_certificates SET crl_told = $1 WHERE crl_next > 0 AND crl_next <= $2 AND NOT crl_told
		RETURNING cluster_id, id, name, crl_next`, true, stamp(tx.now))
}

const revokedColumns = `seq, id, cluster_id, trusted_id, serial, reason, revoked_at`

func scanRevoked(r Row) (l listed[link.RevokedCertificate], err error) {
	c := &l.v
	err = r.Scan(&l.seq, &c.ID, &c.ClusterID, &c.TrustedID, &c.Serial, &c.Reason, at(&c.RevokedAt))
	return l, err
}

// RevokedCertificates are one part of the certificates that are revoked at a cluster, and the seq to go on after, 0 at the end.
func (tx *Tx) RevokedCertificates(cluster link.ID, c Cut) ([]link.RevokedCertificate, int64, error) {
	return cutList(tx, c, scanRevoked, `SELECT `+revokedColumns+` FROM revoked_certificates WHERE cluster_id = $1`, cluster)
}

// CountRevokedCertificates is how many certificates are revoked at a cluster.
func (tx *Tx) CountRevokedCertificates(cluster link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM revoked_certificates WHERE cluster_id = $1`, cluster).Scan(&n)
	return n, err
}

// RevokedCertificate returns one of them, or ErrNotFound.
func (tx *Tx) RevokedCertificate(cluster, id link.ID) (link.RevokedCertificate, error) {
	l, err := scanRevoked(tx.row(`SELECT `+revokedColumns+` FROM revoked_certificates WHERE cluster_id = $1 AND id = $2`, cluster, id))
	return l.v, err
}

// AddRevokedCertificate returns the revoked certificate of an issuer's serial number, made now unless there is one. made tells
// which.
func (tx *Tx) AddRevokedCertificate(c link.RevokedCertificate) (out link.RevokedCertificate, made bool, err error) {
	n, err := tx.exec(`INSERT INTO revoked_certificates (id, cluster_id, trusted_id, serial, reason, revoked_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (trusted_id, serial) DO NOTHING`, c.ID, c.ClusterID, c.TrustedID, c.Serial, c.Reason, stamp(tx.now))
	if err != nil {
		return out, false, err
	}
	l, err := scanRevoked(tx.row(`SELECT `+revokedColumns+` FROM revoked_certificates WHERE trusted_id = $1 AND serial = $2`, c.TrustedID, c.Serial))
	return l.v, n > 0, err
}

// RemoveRevokedCertificate removes one, or returns ErrNotFound.
func (tx *Tx) RemoveRevokedCertificate(cluster, id link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM revoked_certificates WHERE cluster_id = $1 AND id = $2`, cluster, id)
}

// certificatesOf is whose certificates the clients of some clusters may show, whole.
func (tx *Tx) certificatesOf(some []link.ID) (map[link.ID]*link.ClientCertificates, error) {
	out := make(map[link.ID]*link.ClientCertificates, len(some))
	for _, id := range some {
		out[id] = new(link.ClientCertificates)
	}
	in := `cluster_id IN (` + places(len(some)) + `)`
	_, err := list(tx, func(r Row) (struct{}, error) {
		var id link.ID
		var c link.ClientCertificates
		err := r.Scan(&id, parsed(&c))
		if err == nil {
			*out[id] = c
		}
		return struct{}{}, err
	}, `SELECT cluster_id, settings FROM client_certificates WHERE `+in, args(some)...)
	if err != nil {
		return nil, err
	}
	trusted, err := list(tx, scanTrusted, `SELECT `+trustedColumns+` FROM trusted_certificates WHERE `+in+` ORDER BY seq`, args(some)...)
	if err != nil {
		return nil, err
	}
	for _, l := range trusted {
		c := out[l.v.ClusterID]
		c.Trusted = append(c.Trusted, l.v)
	}
	revoked, err := list(tx, scanRevoked, `SELECT `+revokedColumns+` FROM revoked_certificates WHERE `+in+` ORDER BY seq`, args(some)...)
	for _, l := range revoked {
		c := out[l.v.ClusterID]
		c.Revoked = append(c.Revoked, l.v)
	}
	return out, err
}

// encoded is what is bytes as a column holds it, which is text on every engine.
func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decoded scans a column of bytes into b, nil when it is empty.
func decoded(b *[]byte) bytesColumn { return bytesColumn{b} }

type bytesColumn struct{ b *[]byte }

// Scan implements sql.Scanner.
func (c bytesColumn) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return fmt.Errorf("bytes are kept as text, not as %T", src)
	}
	*c.b = nil
	if s == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return fmt.Errorf("bytes are not kept as base64: %w", err)
	}
	*c.b = b
	return nil
}
