package store

import "github.com/postern/postern/internal/link"

const regionColumns = `provider, name, vpc_id, subnet_ids, targets, ports, version, created_at, updated_at`

func scanRegion(r Row) (v link.Region, err error) {
	err = r.Scan(&v.Provider, &v.Name, &v.VPCID, parsed(&v.SubnetIDs), parsed(&v.Targets), parsed(&v.Ports),
		&v.Version, at(&v.CreatedAt), at(&v.UpdatedAt))
	return v, err
}

// Regions are all regions in the order of creation.
func (tx *Tx) Regions() ([]link.Region, error) {
	return list(tx, scanRegion, `SELECT `+regionColumns+` FROM regions ORDER BY seq`)
}

// Region returns one region, or ErrNotFound.
func (tx *Tx) Region(p link.Provider, name string) (link.Region, error) {
	return scanRegion(tx.row(`SELECT `+regionColumns+` FROM regions WHERE provider = $1 AND name = $2`, p, name))
}

// RemoveRegion forgets a region.
func (tx *Tx) RemoveRegion(p link.Provider, name string) error {
	_, err := tx.exec(`DELETE FROM regions WHERE provider = $1 AND name = $2`, p, name)
	return err
}

// PutRegion stores r under its key as a new version and returns it as stored.
func (tx *Tx) PutRegion(r link.Region) (link.Region, error) {
	return scanRegion(tx.row(`INSERT INTO regions (provider, name, vpc_id, subnet_ids, targets, ports, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)
		ON CONFLICT (provider, name) DO UPDATE SET vpc_id = excluded.vpc_id, subnet_ids = excluded.subnet_ids,
			targets = excluded.targets, ports = excluded.ports, version = regions.version + 1, updated_at = excluded.updated_at
		RETURNING `+regionColumns, r.Provider, r.Name, r.VPCID, text(r.SubnetIDs), text(r.Targets), text(r.Ports), stamp(tx.now)))
}
