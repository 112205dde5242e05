package store

import "github.com/postern/postern/internal/link"

const principalColumns = `seq, id, kind, organisation_id, name, email, disabled, created_at, updated_at, version`

func scanPrincipal(r Row) (l listed[link.Principal], err error) {
	p := &l.v
	err = r.Scan(&l.seq, &p.ID, &p.Kind, &p.OrganisationID, &p.Name, &p.Email, &p.Disabled, at(&p.CreatedAt), at(&p.UpdatedAt), &p.Version)
	return l, err
}

// People are one part of all people, and the seq to go on after, 0 at the end.
func (tx *Tx) People(c Cut) ([]link.Principal, int64, error) {
	return cutList(tx, c, scanPrincipal, `SELECT `+principalColumns+` FROM principals WHERE kind = $1`, link.Person)
}

// ServiceAccounts are one part of the service accounts of the organisations within reach, with All the vendor's own among
// them, and the seq to go on after, 0 at the end.
func (tx *Tx) ServiceAccounts(r link.Reach, c Cut) ([]link.Principal, int64, error) {
	which, args := within(r, reached{"organisation_id", r.Organisations, ""})
	return cutList(tx, c, scanPrincipal, `SELECT `+principalColumns+` FROM principals WHERE kind = 'SERVICE_ACCOUNT' AND `+which, args...)
}

// Principal returns one principal, or ErrNotFound.
func (tx *Tx) Principal(id link.ID) (link.Principal, error) {
	l, err := scanPrincipal(tx.row(`SELECT `+principalColumns+` FROM principals WHERE id = $1`, id))
	return l.v, err
}

// PrincipalByEmail returns the person of an address in lower case, or ErrNotFound.
func (tx *Tx) PrincipalByEmail(email string) (link.Principal, error) {
	l, err := scanPrincipal(tx.row(`SELECT `+principalColumns+` FROM principals WHERE kind = $1 AND email = $2`, link.Person, email))
	return l.v, err
}

// ReachesMember tells whether an address, in lower case, is that of a person who holds a role in an organisation, is not
// disabled and has a way to sign in: who has none may be anybody whose address somebody typed.
func (tx *Tx) ReachesMember(organisation link.ID, email string) (reaches bool, err error) {
	var n int
	err = tx.row(`SELECT count(*) FROM principals p WHERE p.kind = 'PERSON' AND p.email = $1 AND NOT p.disabled
		AND EXISTS (SELECT 1 FROM grants g WHERE g.principal_id = p.id AND g.organisation_id = $2)
		AND (EXISTS (SELECT 1 FROM passwords w WHERE w.principal_id = p.id) OR EXISTS (SELECT 1 FROM subjects s WHERE s.principal_id = p.id))`,
		email, organisation).Scan(&n)
	return n > 0, err
}

// HasLeft tells whether an address, in lower case, is that of a person who is disabled, or holds no role in an organisation
// or of the vendor's. An address of nobody's has not left.
func (tx *Tx) HasLeft(organisation link.ID, email string) (left bool, err error) {
	var n int
	err = tx.row(`SELECT count(*) FROM principals p WHERE p.kind = 'PERSON' AND p.email = $1 AND (p.disabled
		OR NOT EXISTS (SELECT 1 FROM grants g WHERE g.principal_id = p.id AND g.organisation_id IN ($2, '')))`, email, organisation).Scan(&n)
	return n > 0, err
}

// ServiceAccountNamed returns the service account of a name in an organisation, empty for the vendor, or ErrNotFound.
func (tx *Tx) ServiceAccountNamed(organisation link.ID, name string) (link.Principal, error) {
	l, err := scanPrincipal(tx.row(`SELECT `+principalColumns+` FROM principals WHERE kind = $1 AND organisation_id = $2 AND name = $3`,
		link.ServiceAccount, organisation, name))
	return l.v, err
}

// AddPrincipal returns the person of p's address, or the service account of p's name in p's organisation, made now of
// what p says unless there is one. made tells which. The id is drawn here unless p has one. It is ErrNotFound when there
// is no such organisation.
func (tx *Tx) AddPrincipal(p link.Principal) (out link.Principal, made bool, err error) {
	if p.ID == "" {
		p.ID = link.NewID()
	}
	if p.OrganisationID != "" {
		if err := tx.LockOrganisation(p.OrganisationID); err != nil {
			return link.Principal{}, false, err
		}
	}
	key := `(email) WHERE kind = 'PERSON'`
	if p.Kind == link.ServiceAccount {
		key = `(organisation_id, name) WHERE kind = 'SERVICE_ACCOUNT'`
	}
	n, err := tx.exec(`INSERT INTO principals (id, kind, organisation_id, name, email, disabled, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1) ON CONFLICT `+key+` DO NOTHING`,
		p.ID, p.Kind, p.OrganisationID, p.Name, p.Email, p.Disabled, stamp(tx.now))
	if err != nil {
		return link.Principal{}, false, err
	}
	if p.Kind == link.ServiceAccount {
		out, err = tx.ServiceAccountNamed(p.OrganisationID, p.Name)
	} else {
		out, err = tx.PrincipalByEmail(p.Email)
	}
	return out, n > 0, err
}

// UpdatePrincipal stores a principal's name and whether it is disabled, or returns ErrChanged when p is not its current
// version.
func (tx *Tx) UpdatePrincipal(p link.Principal) (link.Principal, error) {
	l, err := scanPrincipal(tx.row(`UPDATE principals SET name = $3, disabled = $4, updated_at = $5, version = version + 1
		WHERE id = $1 AND version = $2 RETURNING `+principalColumns, p.ID, p.Version, p.Name, p.Disabled, stamp(tx.now)))
	return l.v, changed(err)
}

// RemovePrincipal removes a principal with its grants and whatever it signs in with. It is ErrNotFound when there is
// none.
func (tx *Tx) RemovePrincipal(id link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM principals WHERE id = $1`, id)
}
