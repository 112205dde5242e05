package store

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
)

// AddAudit puts an entry at the end of the audit log when the transaction commits. Its time is set here.
func (tx *Tx) AddAudit(e audit.Entry) error {
	e.At = tx.now
	tx.last.audit = append(tx.last.audit, e)
	return nil
}

// writeAudit stores what AddAudit was given, behind the last entry there is.
func (tx *Tx) writeAudit(entries []audit.Entry, last audit.Sealed) (all []asked, err error) {
	for _, e := range entries {
		var salt [16]byte
		_, _ = rand.Read(salt[:]) // never fails: crypto/rand aborts the program instead
		if last, err = audit.Seal(e, last, salt); err != nil {
			return nil, err
		}
		all = append(all, tx.ask(nil, `INSERT INTO audit_entries (position, at, organisation_id, cluster_id, body, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			last.Position, stamp(e.At), e.Place.OrganisationID, e.Place.ClusterID, string(last.Body), last.Previous.String(), last.Hash.String()))
	}
	return all, nil
}

const auditHead = `SELECT position, body, previous, hash FROM audit_entries ORDER BY position DESC LIMIT 1`

// AuditHead is the last entry of the audit log, the zero Sealed while there is none.
func (tx *Tx) AuditHead() (audit.Sealed, error) {
	s, err := scanSealed(tx.row(auditHead))
	if errors.Is(err, ErrNotFound) {
		return audit.Sealed{}, nil
	}
	return s, err
}

// scanSealed reads an entry as it stands in its row. A hash that is none becomes the zero hash, which fits nothing: whoever
// verifies the log is to see the row, not an error.
func scanSealed(r Row) (s audit.Sealed, err error) {
	var body, previous, hash string
	if err := r.Scan(&s.Position, &body, &previous, &hash); err != nil {
		return s, err
	}
	s.Body = []byte(body)
	s.Digest = audit.DigestOf(s.Body)
	if s.Previous, err = audit.ParseHash(previous); err != nil {
		s.Previous = audit.Hash{}
	}
	if s.Hash, err = audit.ParseHash(hash); err != nil {
		s.Hash = audit.Hash{}
	}
	return s, nil
}

// AuditCut asks for a part of the audit log.
type AuditCut struct {
	Cut                    // After is a position
	OrganisationID link.ID // whose entries; empty: all
	ClusterID      link.ID // of which cluster; empty: all

	// Around a cluster: its entries, and those of its organisation that are about no cluster. Of the zero Place: all.
	Around link.Place

	From, To time.Time
}

// AuditEntries are one part of the audit log by position, and the position to go on after, 0 at the end. From is inclusive,
// To is not; zero times are no bounds.
func (tx *Tx) AuditEntries(c AuditCut) ([]audit.Sealed, int64, error) {
	text := `SELECT seq, body, previous, hash FROM (SELECT position AS seq, at, organisation_id, cluster_id, body, previous, hash FROM audit_entries) entries WHERE 1 = 1`
	var args []any
	and := func(condition string, v any) {
		args = append(args, v)
		text += fmt.Sprintf(" AND %s $%d", condition, len(args))
	}
	if c.OrganisationID != "" {
		and("organisation_id =", c.OrganisationID)
	}
	if c.ClusterID != "" {
		and("cluster_id =", c.ClusterID)
	}
	if c.Around != (link.Place{}) {
		args = append(args, c.Around.ClusterID, c.Around.OrganisationID)
		text += fmt.Sprintf(" AND (cluster_id = $%d OR cluster_id = '' AND organisation_id = $%d)", len(args)-1, len(args))
	}
	if !c.From.IsZero() {
		and("at >=", stamp(c.From))
	}
	if !c.To.IsZero() {
		and("at <", stamp(c.To))
	}
	return cutList(tx, c.Cut, func(r Row) (l listed[audit.Sealed], err error) {
		l.v, err = scanSealed(r)
		l.seq = l.v.Position
		return l, err
	}, text, args...)
}

// AuditRange are the entries from a position on to another, at most limit of them.
func (tx *Tx) AuditRange(from, to int64, limit int) ([]audit.Sealed, error) {
	return list(tx, scanSealed, `SELECT position, body, previous, hash FROM audit_entries
		WHERE position >= $1 AND position <= $2 ORDER BY position LIMIT $3`, from, to, limit)
}

// AuditPositionAt is the position of the first entry of a time or later; one beyond the last when there is none.
func (tx *Tx) AuditPositionAt(at time.Time) (position int64, err error) {
	err = tx.row(`SELECT coalesce((SELECT min(position) FROM audit_entries WHERE at >= $1), (SELECT max(position) FROM audit_entries) + 1, 1)`,
		stamp(at)).Scan(&position)
	return position, err
}

// LastCheckpoint is the newest signed checkpoint of the audit log and its position; 0 while there is none.
func (tx *Tx) LastCheckpoint() (position int64, note []byte, err error) {
	var s string
	err = tx.row(`SELECT position, note FROM audit_checkpoints ORDER BY position DESC LIMIT 1`).Scan(&position, &s)
	if errors.Is(err, ErrNotFound) {
		return 0, nil, nil
	}
	return position, []byte(s), err
}

// AddCheckpoint stores a checkpoint, or returns ErrChanged when another process stored one of this position.
func (tx *Tx) AddCheckpoint(position int64, note []byte) error {
	return tx.change(ErrChanged, `INSERT INTO audit_checkpoints (position, note) VALUES ($1, $2) ON CONFLICT (position) DO NOTHING`, position, string(note))
}

// PositionedNote is a checkpoint with the position of the entry that it signs.
type PositionedNote struct {
	Position int64
	Note     []byte
}

// Checkpoints are the checkpoints of entries from a position on to another, by position.
func (tx *Tx) Checkpoints(from, to int64) ([]PositionedNote, error) {
	return list(tx, func(r Row) (n PositionedNote, err error) {
		var s string
		err = r.Scan(&n.Position, &s)
		n.Note = []byte(s)
		return n, err
	}, `SELECT position, note FROM audit_checkpoints WHERE position >= $1 AND position <= $2 ORDER BY position`, from, to)
}

// AddAuditKey makes a public key known as one that signs this log, and reports whether it is new.
func (tx *Tx) AddAuditKey(key ed25519.PublicKey) (fresh bool, err error) {
	n, err := tx.exec(`INSERT INTO audit_keys (public_key, added_at) VALUES ($1, $2) ON CONFLICT (public_key) DO NOTHING`,
		base64.StdEncoding.EncodeToString(key), stamp(tx.now))
	return n > 0, err
}

// AuditKeys are the public keys that ever signed this log, the oldest first.
func (tx *Tx) AuditKeys() ([]ed25519.PublicKey, error) {
	return list(tx, func(r Row) (ed25519.PublicKey, error) {
		var s string
		if err := r.Scan(&s); err != nil {
			return nil, err
		}
		return audit.ParseKey(s)
	}, `SELECT public_key FROM audit_keys ORDER BY added_at, public_key`)
}

// beginAudit writes the first entries of the log: that it begins, and what there was before it did. Without them nobody could
// tell from the log alone who may pass traffic. It does nothing where they are written.
func (tx *Tx) beginAudit() error {
	n, err := tx.exec(`INSERT INTO meta (name, value) VALUES ('audit_begun', '1') ON CONFLICT (name) DO NOTHING`)
	if err != nil || n == 0 {
		return err
	}
	begin := func(kind, id string, at link.Place, after any, why string) error {
		v, err := audit.Value(after)
		if err != nil {
			return err
		}
		return tx.AddAudit(audit.Entry{
			Actor: audit.Actor{Name: "postern"}, Action: kind + ".begin", Object: link.ObjectRef{Kind: kind, ID: id}, Place: at,
			Decision: audit.Done, After: v, Why: why,
		})
	}
	if err := begin(link.ObjectAudit, "", link.Place{}, nil, "the audit log begins"); err != nil {
		return err
	}
	for cut := (Cut{Limit: mostInList}); ; {
		clusters, next, err := tx.Clusters(cut)
		if err != nil {
			return err
		}
		for _, cl := range clusters {
			if err := tx.beginCluster(cl, begin); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		cut.After = next
	}
}

func (tx *Tx) beginCluster(cl link.Cluster, begin func(kind, id string, at link.Place, after any, why string) error) error {
	id := string(cl.ID)
	place, err := tx.PlaceOf(link.ObjectRef{Kind: link.ObjectCluster, ID: id})
	if err != nil {
		return err
	}
	allowed, _, err := tx.AllowList(cl.ID, Cut{Limit: mostBegun})
	if err != nil {
		return err
	}
	const why = "it was there when the audit log began"
	if err := begin(link.ObjectCluster, id, place, audit.ClusterOf(cl, allowed), why); err != nil {
		return err
	}
	owners, err := tx.TrustedOwners(cl.ID)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if err := begin(link.ObjectTrustedOwner, id+"/"+string(o.ID), place, audit.OwnerOf(o), why); err != nil {
			return err
		}
	}
	conns, err := tx.Connections(cl.ID)
	if err != nil {
		return err
	}
	for _, c := range conns {
		if err := begin(link.ObjectConnection, id+"/"+string(c.EndpointID), place, audit.ConnectionOf(c), why); err != nil {
			return err
		}
	}
	return nil
}

// mostBegun is how many entries of an allow list are told of a cluster that was there before the audit log.
const mostBegun = 1000
