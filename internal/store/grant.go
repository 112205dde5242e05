package store

import (
	"fmt"

	"github.com/postern/postern/internal/link"
)

const grantColumns = `g.seq, g.principal_id, g.role, g.scope_kind, g.scope_id, g.organisation_id, g.project_id, g.created_at`

func grantInto(seq *int64, g *link.Grant) []any {
	return []any{seq, &g.PrincipalID, &g.Role, &g.Scope.Kind, &g.Scope.ID, &g.Within.OrganisationID, &g.Within.ProjectID, at(&g.CreatedAt)}
}

func scanGrant(r Row) (l listed[link.Grant], err error) {
	err = r.Scan(grantInto(&l.seq, &l.v)...)
	settle(&l.v)
	return l, err
}

// settle completes where a grant's scope stands.
func settle(g *link.Grant) {
	if g.Scope.Kind == link.ScopeCluster {
		g.Within.ClusterID = g.Scope.ID
	}
}

// GrantsOf are a principal's grants in the order in which they were given.
func (tx *Tx) GrantsOf(principal link.ID) ([]link.Grant, error) {
	rows, err := list(tx, scanGrant, `SELECT `+grantColumns+` FROM grants g WHERE g.principal_id = $1 ORDER BY g.seq`, principal)
	return unlisted(rows), err
}

// HoldsElsewhere tells whether a principal holds a role outside of an organisation.
func (tx *Tx) HoldsElsewhere(principal, organisation link.ID) (elsewhere bool, err error) {
	var n int
	err = tx.row(`SELECT count(*) FROM grants WHERE principal_id = $1 AND organisation_id <> $2`, principal, organisation).Scan(&n)
	return n > 0, err
}

// Members are one part of the grants at a scope and beneath it, with their principals, and the seq to go on after, 0 at
// the end. Of the installation only those at its own scope are told: beneath it are all that there are.
func (tx *Tx) Members(of link.Scope, c Cut) ([]link.Member, int64, error) {
	which, args := `scope_kind = $1 AND scope_id = $2`, []any{of.Kind, of.ID}
	switch of.Kind {
	case link.ScopeOrganisation:
		which, args = `organisation_id = $1`, []any{of.ID}
	case link.ScopeProject:
		which, args = `project_id = $1`, []any{of.ID}
	}
	// Within the inner query seq means the grant's alone.
	text, args := c.on(`SELECT * FROM grants WHERE `+which, args...)
	order := "ASC"
	if c.Descending {
		order = "DESC"
	}
	rows, err := list(tx, func(r Row) (l listed[link.Member], err error) {
		p := &l.v.Principal
		err = r.Scan(append(grantInto(&l.seq, &l.v.Grant), &p.ID, &p.Kind, &p.OrganisationID, &p.Name, &p.Email, &p.Disabled,
			at(&p.CreatedAt), at(&p.UpdatedAt), &p.Version, &l.v.Elsewhere)...)
		settle(&l.v.Grant)
		return l, err
	}, fmt.Sprintf(`SELECT %s, p.id, p.kind, p.organisation_id, p.name, p.email, p.disabled, p.created_at, p.updated_at, p.version,
		EXISTS (SELECT 1 FROM grants e WHERE e.principal_id = p.id AND e.organisation_id <> g.organisation_id)
		FROM (%s) g JOIN principals p ON p.id = g.principal_id ORDER BY g.seq %s`, grantColumns, text, order), args...)
	if err != nil {
		return nil, 0, err
	}
	out, next := part(c, rows)
	return unlisted(out), next, nil
}

// AddGrant stores a grant unless it is there, and tells whether it is new. Its time and where its scope stands are set
// here. It is ErrNotFound when there is no such scope.
func (tx *Tx) AddGrant(g link.Grant) (out link.Grant, made bool, err error) {
	place, err := tx.PlaceOfScope(g.Scope)
	if err != nil {
		return link.Grant{}, false, err
	}
	n, err := tx.exec(`INSERT INTO grants (principal_id, role, scope_kind, scope_id, organisation_id, project_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (principal_id, role, scope_kind, scope_id) DO NOTHING`,
		g.PrincipalID, g.Role, g.Scope.Kind, g.Scope.ID, place.OrganisationID, place.ProjectID, stamp(tx.now))
	if err != nil {
		return link.Grant{}, false, err
	}
	out, err = tx.Grant(g.PrincipalID, g.Role, g.Scope)
	return out, n > 0, err
}

// Grant returns one grant, or ErrNotFound.
func (tx *Tx) Grant(principal link.ID, role link.Role, scope link.Scope) (link.Grant, error) {
	l, err := scanGrant(tx.row(`SELECT `+grantColumns+` FROM grants g WHERE g.principal_id = $1 AND g.role = $2 AND g.scope_kind = $3 AND g.scope_id = $4`,
		principal, role, scope.Kind, scope.ID))
	return l.v, err
}

// RemoveGrant removes a grant, or returns ErrNotFound.
func (tx *Tx) RemoveGrant(principal link.ID, role link.Role, scope link.Scope) error {
	return tx.change(ErrNotFound, `DELETE FROM grants WHERE principal_id = $1 AND role = $2 AND scope_kind = $3 AND scope_id = $4`,
		principal, role, scope.Kind, scope.ID)
}

// Holders is how many principals beside one hold a role at a scope itself and are not disabled.
func (tx *Tx) Holders(role link.Role, scope link.Scope, beside link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM grants g JOIN principals p ON p.id = g.principal_id
		WHERE g.role = $1 AND g.scope_kind = $2 AND g.scope_id = $3 AND g.principal_id <> $4 AND NOT p.disabled`,
		role, scope.Kind, scope.ID, beside).Scan(&n)
	return n, err
}

// removeGrants removes the grants at a scope and beneath it.
func (tx *Tx) removeGrants(at link.Scope) error {
	which := `scope_kind = 'CLUSTER' AND scope_id = $1`
	switch at.Kind {
	case link.ScopeOrganisation:
		which = `organisation_id = $1`
	case link.ScopeProject:
		which = `project_id = $1`
	}
	_, err := tx.exec(`DELETE FROM grants WHERE `+which, at.ID)
	return err
}
