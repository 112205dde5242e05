package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/postern/postern/internal/link"
)

// projectConnectionColumns are scanned as connectionColumns are: of no cluster, and never approved by an admin.
const projectConnectionColumns = `'', project_id, endpoint_id, provider, region, service_id, service_name, owner_id, state, want, FALSE,
	conditions, asked_at, created_at, updated_at, version`

// ProjectConnections are a project's connections in the order of creation, without those that are over.
func (tx *Tx) ProjectConnections(project link.ID) ([]link.Connection, error) {
	return list(tx, scanConnection, `SELECT `+projectConnectionColumns+` FROM project_connections
		WHERE project_id = $1 AND NOT (want = 'GONE' AND state = 'DELETED') ORDER BY seq`, project)
}

// ProjectConnection returns one connection of a project, also one that is over, or ErrNotFound.
func (tx *Tx) ProjectConnection(project link.ID, id link.EndpointID) (link.Connection, error) {
	return scanConnection(tx.row(`SELECT `+projectConnectionColumns+` FROM project_connections WHERE project_id = $1 AND endpoint_id = $2`, project, id))
}

func (tx *Tx) addProjectConnection(c link.Connection) (link.Connection, error) {
	return scanConnection(tx.row(`INSERT INTO project_connections (project_id, endpoint_id, provider, region, rules_id, service_id, service_name,
			owner_id, state, want, conditions, asked_at, created_at, updated_at, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13, $12, $12, 1) RETURNING `+projectConnectionColumns,
		c.ProjectID, c.EndpointID, c.Provider, c.Region, projectRulesID(c.ProjectID, c.Provider, c.Region), c.ServiceID, c.ServiceName,
		c.OwnerID, c.State, c.Want, text(c.Conditions), stamp(tx.now), stamp(c.AskedAt)))
}

func (tx *Tx) swapProjectConnection(c link.Connection) (link.Connection, error) {
	c, err := scanConnection(tx.row(`UPDATE project_connections SET region = $4, rules_id = $5, service_id = $6, service_name = $7, owner_id = $8,
			state = $9, want = $10, conditions = $11, created_at = $12, updated_at = $13, asked_at = $14, version = version + 1
		WHERE project_id = $1 AND endpoint_id = $2 AND version = $3 RETURNING `+projectConnectionColumns,
		c.ProjectID, c.EndpointID, c.Version, c.Region, projectRulesID(c.ProjectID, c.Provider, c.Region), c.ServiceID, c.ServiceName,
		c.OwnerID, c.State, c.Want, text(c.Conditions), stamp(c.CreatedAt), stamp(tx.now), stamp(c.AskedAt)))
	if errors.Is(err, ErrNotFound) {
		err = ErrChanged
	}
	return c, err
}

// projectRulesID is the id by which the rules name a project in one region of a provider: the rules let a project's
// endpoints reach the clusters that name the same id, and a connection holds for one region only. It is derived, so that
// a cluster and a connection need not know of each other to name the same (RFC 9562, version 8).
func projectRulesID(project link.ID, p link.Provider, region string) link.ID {
	b := sha256.Sum256([]byte(string(project) + "/" + objectKey(p, region)))
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return link.ID(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

// projectOf is the id of the project that a cluster names in the rules. A cluster in several regions names none: it may
// be reached through endpoints of each, which its own rules list.
func projectOf(c link.Cluster) link.ID {
	if len(c.Regions) != 1 {
		return ""
	}
	return projectRulesID(c.ProjectID, c.Provider, c.Regions[0].Name)
}

// ConnectionRulesChanged is RulesChanged for what a connection lets its endpoint reach.
func (tx *Tx) ConnectionRulesChanged(c link.Connection) error {
	if c.ProjectID == "" {
		return tx.RulesChanged(RulesOfCluster, c.ClusterID)
	}
	if err := tx.RulesChanged(RulesOfProject, projectRulesID(c.ProjectID, c.Provider, c.Region)); err != nil {
		return err
	}
	clusters, err := list(tx, scanCluster, `SELECT `+clusterColumns+` FROM clusters WHERE project_id = $1 AND provider = $2`, c.ProjectID, c.Provider)
	for _, cl := range unlisted(clusters) {
		if len(cl.Regions) > 1 && slices.ContainsFunc(cl.Regions, func(r link.ClusterRegion) bool { return r.Name == c.Region }) {
			err = errors.Join(err, tx.RulesChanged(RulesOfCluster, cl.ID))
		}
	}
	return err
}

func (tx *Tx) connectionsChanged(conns []link.Connection) error {
	for _, c := range conns {
		if err := tx.ConnectionRulesChanged(c); err != nil {
			return err
		}
	}
	return nil
}

// projectEndpoint is the FROM and WHERE of the endpoints that a project's connections let in: the connection is wanted,
// the project trusts the endpoint's owner now, and the cloud shows it let in, in the region that was asked for.
const projectEndpoint = ` FROM project_connections c
	JOIN endpoints e ON e.provider = c.provider AND e.endpoint_id = c.endpoint_id AND e.region = c.region
	WHERE c.want = 'CONNECTED' AND c.state IN ('PENDING', 'AVAILABLE') AND e.state IN ('PENDING', 'AVAILABLE')
	AND EXISTS (SELECT 1 FROM project_trusted_owners t WHERE t.project_id = c.project_id
		AND t.type = CASE c.provider WHEN 'AWS' THEN 'AWS_ACCOUNT_ID' WHEN 'AZURE' THEN 'AZURE_SUBSCRIPTION_ID' ELSE 'GCP_PROJECT_ID' END
		AND t.external_owner_id IN (e.owner_id, '*'))`

// projectRules are the rules of the projects whose connections fulfil a condition, by the ids of projectRulesID.
func (tx *Tx) projectRules(condition string, args ...any) (out []link.ProjectRules, err error) {
	pairs, err := list(tx, scanAuthorised, `SELECT c.rules_id, c.endpoint_id`+projectEndpoint+` AND `+condition+` ORDER BY c.rules_id, c.seq`, args...)
	for _, p := range pairs {
		if n := len(out); n == 0 || out[n-1].ProjectID != p.by {
			out = append(out, link.ProjectRules{ProjectID: p.by})
		}
		last := &out[len(out)-1]
		last.Endpoints = append(last.Endpoints, p.endpoint)
	}
	return out, err
}

// changedProjects are the rules of the projects that changed after a revision, and which of them let nothing in any more.
func (tx *Tx) changedProjects(revision int64) (rules []link.ProjectRules, gone []link.ID, err error) {
	ids, err := tx.rulesChangedSince(RulesOfProject, revision)
	if err != nil {
		return nil, nil, err
	}
	there := make(map[link.ID]bool, len(ids))
	for some := range slices.Chunk(ids, mostInList) {
		more, err := tx.projectRules(`c.rules_id IN (`+places(len(some))+`)`, args(some)...)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range more {
			there[r.ProjectID] = true
		}
		rules = append(rules, more...)
	}
	gone = slices.DeleteFunc(ids, func(id link.ID) bool { return there[id] })
	return rules, gone, nil
}

// addProjectEndpoints adds to the rules of those of some clusters that are in several regions the endpoints of their
// projects.
func (tx *Tx) addProjectEndpoints(place map[link.ID]*link.ClusterRules, clusters []link.Cluster) error {
	wide := slices.DeleteFunc(slices.Clone(clusters), func(c link.Cluster) bool { return len(c.Regions) < 2 })
	var ids []link.ID
	in := map[link.ID][]*link.ClusterRules{} // by the project's id in a region
	for _, c := range wide {
		for _, r := range c.Regions {
			id := projectRulesID(c.ProjectID, c.Provider, r.Name)
			if in[id] == nil {
				ids = append(ids, id)
			}
			in[id] = append(in[id], place[c.ID])
		}
	}
	for some := range slices.Chunk(ids, mostInList) {
		projects, err := tx.projectRules(`c.rules_id IN (`+places(len(some))+`)`, args(some)...)
		if err != nil {
			return err
		}
		for _, p := range projects {
			for _, r := range in[p.ProjectID] {
				r.Endpoints = append(r.Endpoints, p.Endpoints...)
			}
		}
	}
	return nil
}

const projectOwnerColumns = `id, '', project_id, type, external_owner_id, created_at`

// ProjectTrustedOwners are a project's trusted owners in the order of creation.
func (tx *Tx) ProjectTrustedOwners(project link.ID) ([]link.TrustedOwner, error) {
	return list(tx, scanOwner, `SELECT `+projectOwnerColumns+` FROM project_trusted_owners WHERE project_id = $1 ORDER BY seq`, project)
}

// ProjectTrustedOwner returns one trusted owner of a project, or ErrNotFound.
func (tx *Tx) ProjectTrustedOwner(project, id link.ID) (link.TrustedOwner, error) {
	return scanOwner(tx.row(`SELECT `+projectOwnerColumns+` FROM project_trusted_owners WHERE project_id = $1 AND id = $2`, project, id))
}

// AddProjectTrustedOwner returns the trusted owner of a type and external id, made now unless there is one. made tells
// which.
func (tx *Tx) AddProjectTrustedOwner(project link.ID, typ link.OwnerType, external string) (o link.TrustedOwner, made bool, err error) {
	n, err := tx.exec(`INSERT INTO project_trusted_owners (id, project_id, type, external_owner_id, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (project_id, type, external_owner_id) DO NOTHING`, link.NewID(), project, typ, external, stamp(tx.now))
	if err != nil {
		return link.TrustedOwner{}, false, err
	}
	o, err = scanOwner(tx.row(`SELECT `+projectOwnerColumns+` FROM project_trusted_owners WHERE project_id = $1 AND type = $2 AND external_owner_id = $3`,
		project, typ, external))
	return o, n > 0, err
}

// RemoveProjectTrustedOwner removes a trusted owner of a project, or returns ErrNotFound.
func (tx *Tx) RemoveProjectTrustedOwner(project, id link.ID) error {
	return tx.change(ErrNotFound, `DELETE FROM project_trusted_owners WHERE project_id = $1 AND id = $2`, project, id)
}
