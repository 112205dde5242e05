package store

import (
	"net/netip"

	"github.com/postern/postern/internal/link"
)

const allowColumns = `seq, prefix, ui, sql, name`

// scanAllowEntry scans allowColumns, with the columns of before in front of them.
func scanAllowEntry(before ...any) func(Row) (listed[link.AllowEntry], error) {
	return func(r Row) (l listed[link.AllowEntry], err error) {
		var prefix string
		if err := r.Scan(append(before, &l.seq, &prefix, &l.v.UI, &l.v.SQL, &l.v.Name)...); err != nil {
			return l, err
		}
		l.v.Prefix, err = netip.ParsePrefix(prefix)
		return l, err
	}
}

// AllowList is one part of a cluster's allow list, and the seq to go on after, 0 at the end.
func (tx *Tx) AllowList(cluster link.ID, c Cut) ([]link.AllowEntry, int64, error) {
	return cutList(tx, c, scanAllowEntry(), `SELECT `+allowColumns+` FROM allow_entries WHERE cluster_id = $1`, cluster)
}

// AllowEntry returns one entry of a cluster's allow list, or ErrNotFound.
func (tx *Tx) AllowEntry(cluster link.ID, p netip.Prefix) (link.AllowEntry, error) {
	l, err := scanAllowEntry()(tx.row(`SELECT `+allowColumns+` FROM allow_entries WHERE cluster_id = $1 AND prefix = $2`, cluster, p.String()))
	return l.v, err
}

// PutAllowEntry stores an entry in the place of the one of its range, if there is one.
func (tx *Tx) PutAllowEntry(cluster link.ID, e link.AllowEntry) error {
	_, err := tx.exec(`INSERT INTO allow_entries (cluster_id, prefix, ui, sql, name) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (cluster_id, prefix) DO UPDATE SET ui = excluded.ui, sql = excluded.sql, name = excluded.name`,
		cluster, e.Prefix.String(), e.UI, e.SQL, e.Name)
	return err
}

// RemoveAllowEntry removes the entry of a range, or returns ErrNotFound.
func (tx *Tx) RemoveAllowEntry(cluster link.ID, p netip.Prefix) error {
	return tx.change(ErrNotFound, `DELETE FROM allow_entries WHERE cluster_id = $1 AND prefix = $2`, cluster, p.String())
}
