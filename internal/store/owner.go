package store

import "github.com/postern/postern/internal/link"

const ownerColumns = `id, cluster_id, '', type, external_owner_id, created_at`

func scanOwner(r Row) (o link.TrustedOwner, err error) {
	err = r.Scan(&o.ID, &o.ClusterID, &o.ProjectID, &o.Type, &o.ExternalOwnerID, at(&o.CreatedAt))
	return o, err
}

// TrustedOwners are a cluster's trusted owners in the order of creation.
func (tx *Tx) TrustedOwners(cluster link.ID) ([]link.TrustedOwner, error) {
	return list(tx, scanOwner, `SELECT `+ownerColumns+` FROM trusted_owners WHERE cluster_id = $1 ORDER BY seq`, cluster)
}

// Trusting are the ways in which clusters trust an account: by its id, by "*", each with its type alone and once, however
// many clusters do.
func (tx *Tx) Trusting(account string) ([]link.TrustedOwner, error) {
	return list(tx, func(r Row) (o link.TrustedOwner, err error) {
		err = r.Scan(&o.Type, &o.ExternalOwnerID)
		return o, err
	}, `SELECT DISTINCT type, external_owner_id FROM trusted_owners WHERE external_owner_id IN ($1, '*')`, account)
}

// TrustedOwner returns one trusted owner of a cluster, or ErrNotFound.
func (tx *Tx) TrustedOwner(cluster, id link.ID) (link.TrustedOwner, error) {
	return scanOwner(tx.row(`SELECT `+ownerColumns+` FROM trusted_owners WHERE cluster_id = $1 AND id = $2`, cluster, id))
}

// AddTrustedOwner returns the trusted owner of a type and external id, made now unless there is one. made tells which.
func (tx *Tx) AddTrustedOwner(cluster link.ID, typ link.OwnerType, external string) (o link.TrustedOwner, made bool, err error) {
	n, err := tx.exec(`INSERT INTO trusted_owners (id, cluster_id, type, external_owner_id, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (cluster_id, type, external_owner_id) DO NOTHING`, link.NewID(), cluster, typ, external, stamp(tx.now))
	if err != nil {
		return link.TrustedOwner{}, false, err
	}
	o, err = scanOwner(tx.row(`SELECT `+ownerColumns+` FROM trusted_owners WHERE cluster_id = $1 AND type = $2 AND external_owner_id = $3`,
		cluster, typ, external))
	return o, n > 0, err
}

// RemoveTrustedOwner removes a trusted owner, or returns ErrNotFound.
func (tx *Tx) RemoveTrustedOwner(cluster, id link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM trusted_owners WHERE cluster_id = $1 AND id = $2`, cluster, id)
}
