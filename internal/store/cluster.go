package store

import (
	"fmt"
	"strings"

	"github.com/postern/postern/internal/link"
)

const clusterColumns = `seq, id, project_id, name, provider, regions, custom_names, backends, public_access, created_at, updated_at`

func scanCluster(r Row) (l listed[link.Cluster], err error) {
	c := &l.v
	err = r.Scan(&l.seq, &c.ID, &c.ProjectID, &c.Name, &c.Provider, parsed(&c.Regions), parsed(&c.CustomNames), parsed(&c.Backends),
		&c.PublicAccess, at(&c.CreatedAt), at(&c.UpdatedAt))
	return l, err
}

// Clusters are one part of all clusters, and the seq to go on after, 0 at the end.
func (tx *Tx) Clusters(c Cut) ([]link.Cluster, int64, error) {
	return cutList(tx, c, scanCluster, `SELECT `+clusterColumns+` FROM clusters WHERE 1 = 1`)
}

// inRegion is a pattern for the column regions of clusters that are reached in a region. A region's name is a DNS label,
// so that nothing in it means anything to LIKE or to JSON.
func inRegion(region string) string { return `%"Name":"` + region + `"%` }

// ClustersIn are the names of some clusters that are reached in a region, at most most.
func (tx *Tx) ClustersIn(p link.Provider, region string, most int) ([]string, error) {
	return list(tx, func(r Row) (name string, err error) {
		err = r.Scan(&name)
		return name, err
	}, `SELECT name FROM clusters WHERE provider = $1 AND regions LIKE $2 ORDER BY seq LIMIT $3`, p, inRegion(region), most)
}

// ClustersWithin are one part of the clusters within reach, and the seq to go on after, 0 at the end.
func (tx *Tx) ClustersWithin(r link.Reach, c Cut) ([]link.Cluster, int64, error) {
	const ofOrganisation = `project_id IN (SELECT id FROM projects WHERE organisation_id`
	which, args := within(r, reached{"id", r.Clusters, ""}, reached{"project_id", r.Projects, ""}, reached{ofOrganisation, r.Organisations, ")"})
	return cutList(tx, c, scanCluster, `SELECT `+clusterColumns+` FROM clusters WHERE `+which, args...)
}

// Cluster returns one cluster, or ErrNotFound.
func (tx *Tx) Cluster(id link.ID) (link.Cluster, error) {
	l, err := scanCluster(tx.row(`SELECT `+clusterColumns+` FROM clusters WHERE id = $1`, id))
	return l.v, err
}

// ClusterNamed returns the cluster of a name, or ErrNotFound.
func (tx *Tx) ClusterNamed(name string) (link.Cluster, error) {
	l, err := scanCluster(tx.row(`SELECT `+clusterColumns+` FROM clusters WHERE name = $1`, name))
	return l.v, err
}

// AddCluster stores a new cluster; its times are set here.
func (tx *Tx) AddCluster(c link.Cluster) (link.Cluster, error) {
	l, err := scanCluster(tx.row(`INSERT INTO clusters (id, project_id, name, provider, regions, backends, public_access, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING `+clusterColumns,
		c.ID, c.ProjectID, c.Name, c.Provider, text(c.Regions), text(c.Backends), c.PublicAccess, stamp(tx.now)))
	return l.v, err
}

// UpdateCluster stores what can be changed of a cluster: backends and public access.
func (tx *Tx) UpdateCluster(c link.Cluster) (link.Cluster, error) {
	l, err := scanCluster(tx.row(`UPDATE clusters SET backends = $2, public_access = $3, updated_at = $4 WHERE id = $1 RETURNING `+clusterColumns,
		c.ID, text(c.Backends), c.PublicAccess, stamp(tx.now)))
	return l.v, err
}

// SetCustomNames makes names the customer's own names of a cluster, sorted, each at most one cluster's.
func (tx *Tx) SetCustomNames(id link.ID, names []string) (link.Cluster, error) {
	if _, err := tx.exec(`DELETE FROM custom_names WHERE cluster_id = $1`, id); err != nil {
		return link.Cluster{}, err
	}
	for _, name := range names {
		if _, err := tx.exec(`INSERT INTO custom_names (name, cluster_id) VALUES ($1, $2)`, name, id); err != nil {
			return link.Cluster{}, err
		}
	}
	l, err := scanCluster(tx.row(`UPDATE clusters SET custom_names = $2, updated_at = $3 WHERE id = $1 RETURNING `+clusterColumns,
		id, text(names), stamp(tx.now)))
	return l.v, err
}

// CustomNameNear returns a custom name of another cluster than id that is name, or above or below it, and whose it is, or
// ErrNotFound. Name is a host name: nothing in it means anything to LIKE.
func (tx *Tx) CustomNameNear(id link.ID, name string) (taken, cluster string, err error) {
	ask := []any{id, "%." + name, name}
	for _, above, ok := strings.Cut(name, "."); ok; _, above, ok = strings.Cut(above, ".") {
		ask = append(ask, above)
	}
	in := make([]string, 0, len(ask))
	for i := 3; i <= len(ask); i++ {
		in = append(in, fmt.Sprintf("$%d", i))
	}
	err = tx.row(`SELECT n.name, c.name FROM custom_names n JOIN clusters c ON c.id = n.cluster_id
		WHERE n.cluster_id <> $1 AND (n.name LIKE $2 OR n.name IN (`+strings.Join(in, ", ")+`)) ORDER BY n.name LIMIT 1`, ask...).Scan(&taken, &cluster)
	return taken, cluster, err
}

// RemoveCluster removes a cluster with its allow list, trusted owners, connections and grants. Its history stays.
func (tx *Tx) RemoveCluster(id link.ID) error {
	if err := tx.removeGrants(link.Scope{Kind: link.ScopeCluster, ID: id}); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM backend_health WHERE cluster_id = $1`, id); err != nil {
		return err
	}
	return tx.change(ErrNotFound, `DELETE FROM clusters WHERE id = $1`, id)
}
