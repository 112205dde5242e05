package store

import (
	"github.com/postern/postern/internal/link"
)

const projectColumns = `id, name, created_at, updated_at`

func scanProject(r Row) (p link.Project, err error) {
	err = r.Scan(&p.ID, &p.Name, at(&p.CreatedAt), at(&p.UpdatedAt))
	return p, err
}

// Projects are all projects in the order of creation.
func (tx *Tx) Projects() ([]link.Project, error) {
	return list(tx, scanProject, `SELECT `+projectColumns+` FROM projects ORDER BY seq`)
}

// Project returns one project, or ErrNotFound.
func (tx *Tx) Project(id link.ID) (link.Project, error) {
	return scanProject(tx.row(`SELECT `+projectColumns+` FROM projects WHERE id = $1`, id))
}

// AddProject returns the project of a name, made now unless there is one. made tells which.
func (tx *Tx) AddProject(name string) (p link.Project, made bool, err error) {
	n, err := tx.exec(`INSERT INTO projects (id, name, created_at, updated_at) VALUES ($1, $2, $3, $3) ON CONFLICT (name) DO NOTHING`,
		link.NewID(), name, stamp(tx.now))
	if err != nil {
		return link.Project{}, false, err
	}
	p, err = scanProject(tx.row(`SELECT `+projectColumns+` FROM projects WHERE name = $1`, name))
	return p, n > 0, err
}
