package store

import "github.com/postern/postern/internal/link"

const projectColumns = `seq, id, organisation_id, name, created_at, updated_at, version`

func scanProject(r Row) (l listed[link.Project], err error) {
	p := &l.v
	err = r.Scan(&l.seq, &p.ID, &p.OrganisationID, &p.Name, at(&p.CreatedAt), at(&p.UpdatedAt), &p.Version)
	return l, err
}

// Projects are one part of the projects within reach, and the seq to go on after, 0 at the end.
func (tx *Tx) Projects(r link.Reach, c Cut) ([]link.Project, int64, error) {
	which, args := within(r, reached{"id", r.Projects, ""}, reached{"organisation_id", r.Organisations, ""})
	return cutList(tx, c, scanProject, `SELECT `+projectColumns+` FROM projects WHERE `+which, args...)
}

// Project returns one project, or ErrNotFound.
func (tx *Tx) Project(id link.ID) (link.Project, error) {
	l, err := scanProject(tx.row(`SELECT `+projectColumns+` FROM projects WHERE id = $1`, id))
	return l.v, err
}

// ProjectNamed returns the project of a name in an organisation, empty for the vendor, or ErrNotFound.
func (tx *Tx) ProjectNamed(organisation link.ID, name string) (link.Project, error) {
	l, err := scanProject(tx.row(`SELECT `+projectColumns+` FROM projects WHERE organisation_id = $1 AND name = $2`, organisation, name))
	return l.v, err
}

// AddProject returns the project of a name in an organisation, empty for the vendor, made now unless there is one. made
// tells which. It is ErrNotFound when there is no such organisation.
func (tx *Tx) AddProject(organisation link.ID, name string) (p link.Project, made bool, err error) {
	if organisation != "" {
		if err := tx.LockOrganisation(organisation); err != nil {
			return link.Project{}, false, err
		}
	}
	n, err := tx.exec(`INSERT INTO projects (id, organisation_id, name, created_at, updated_at, version) VALUES ($1, $2, $3, $4, $4, 1)
		ON CONFLICT (organisation_id, name) DO NOTHING`, link.NewID(), organisation, name, stamp(tx.now))
	if err != nil {
		return link.Project{}, false, err
	}
	p, err = tx.ProjectNamed(organisation, name)
	return p, n > 0, err
}

// UpdateProject stores a project's name, or returns ErrChanged when p is not its current version.
func (tx *Tx) UpdateProject(p link.Project) (link.Project, error) {
	l, err := scanProject(tx.row(`UPDATE projects SET name = $3, updated_at = $4, version = version + 1 WHERE id = $1 AND version = $2 RETURNING `+projectColumns,
		p.ID, p.Version, p.Name, stamp(tx.now)))
	return l.v, changed(err)
}

// RemoveProject removes a project without clusters, and its grants. It is ErrNotFound when there is none.
func (tx *Tx) RemoveProject(id link.ID) error {
	if err := tx.removeGrants(link.Scope{Kind: link.ScopeProject, ID: id}); err != nil {
		return err
	}
	return tx.change(ErrNotFound, `DELETE FROM projects WHERE id = $1`, id)
}

// ClustersOfProject is how many clusters a project has.
func (tx *Tx) ClustersOfProject(id link.ID) (n int, err error) {
	err = tx.row(`SELECT count(*) FROM clusters WHERE project_id = $1`, id).Scan(&n)
	return n, err
}
