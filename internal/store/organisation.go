package store

import (
	"errors"

	"github.com/postern/postern/internal/link"
)

const organisationColumns = `seq, id, name, created_at, updated_at, version`

func scanOrganisation(r Row) (l listed[link.Organisation], err error) {
	o := &l.v
	err = r.Scan(&l.seq, &o.ID, &o.Name, at(&o.CreatedAt), at(&o.UpdatedAt), &o.Version)
	return l, err
}

// changed is what the outcome of a compare-and-swap means: no row was of the version that was compared with.
func changed(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrChanged
	}
	return err
}

// Organisations are one part of the organisations within reach, and the seq to go on after, 0 at the end.
func (tx *Tx) Organisations(r link.Reach, c Cut) ([]link.Organisation, int64, error) {
	which, args := within(r, reached{"id", r.Organisations, ""})
	return cutList(tx, c, scanOrganisation, `SELECT `+organisationColumns+` FROM organisations WHERE `+which, args...)
}

// Organisation returns one organisation, or ErrNotFound.
func (tx *Tx) Organisation(id link.ID) (link.Organisation, error) {
	l, err := scanOrganisation(tx.row(`SELECT `+organisationColumns+` FROM organisations WHERE id = $1`, id))
	return l.v, err
}

// OrganisationNamed returns the organisation of a name, or ErrNotFound.
func (tx *Tx) OrganisationNamed(name string) (link.Organisation, error) {
	l, err := scanOrganisation(tx.row(`SELECT `+organisationColumns+` FROM organisations WHERE name = $1`, name))
	return l.v, err
}

// AddOrganisation returns the organisation of a name, made now unless there is one. made tells which.
func (tx *Tx) AddOrganisation(name string) (o link.Organisation, made bool, err error) {
	n, err := tx.exec(`INSERT INTO organisations (id, name, created_at, updated_at, version) VALUES ($1, $2, $3, $3, 1)
		ON CONFLICT (name) DO NOTHING`, link.NewID(), name, stamp(tx.now))
	if err != nil {
		return link.Organisation{}, false, err
	}
	o, err = tx.OrganisationNamed(name)
	return o, n > 0, err
}

// UpdateOrganisation stores an organisation's name, or returns ErrChanged when o is not its current version.
func (tx *Tx) UpdateOrganisation(o link.Organisation) (link.Organisation, error) {
	l, err := scanOrganisation(tx.row(`UPDATE organisations SET name = $3, updated_at = $4, version = version + 1
		WHERE id = $1 AND version = $2 RETURNING `+organisationColumns, o.ID, o.Version, o.Name, stamp(tx.now)))
	return l.v, changed(err)
}

// LockOrganisation keeps other transactions from changing what an organisation holds until this one ends: its projects,
// service accounts and members. It is ErrNotFound when there is no such organisation.
func (tx *Tx) LockOrganisation(id link.ID) error {
	return tx.change(ErrNotFound, `UPDATE organisations SET version = version WHERE id = $1`, id)
}

// RemoveOrganisation removes an organisation without projects, its service accounts, its grants and its subscriptions with
// their deliveries. It is ErrNotFound when there is none.
func (tx *Tx) RemoveOrganisation(id link.ID) error {
	if err := tx.removeGrants(link.Scope{Kind: link.ScopeOrganisation, ID: id}); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM principals WHERE kind = $1 AND organisation_id = $2`, link.ServiceAccount, id); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM webhooks WHERE organisation_id = $1`, id); err != nil {
		return err
	}
	return tx.change(ErrNotFound, `DELETE FROM organisations WHERE id = $1`, id)
}

// ProjectsOfOrganisation is how many projects an organisation has.
func (tx *Tx) ProjectsOfOrganisation(id link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM projects WHERE organisation_id = $1`, id).Scan(&n)
	return n, err
}
