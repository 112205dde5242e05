package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// RulesKind is a kind of part that the rules consist of.
type RulesKind string

// The kinds of part.
const (
	RulesOfCluster RulesKind = "CLUSTER"
	RulesOfProject RulesKind = "PROJECT" // in one region of a provider, by an id of this package's own
	RulesOfPorts   RulesKind = "PORTS"   // one, of empty id
	RulesOfClaim   RulesKind = "CLAIM"
)

// keptRevisions is how many revisions back changes are known: a gateway that is farther behind gets everything anew.
const keptRevisions = 10_000

// RulesChanged notes that a part of the rules is another with this transaction, or is gone. Whatever changes what Rules
// answers calls it. All that one transaction changes makes one new revision.
func (tx *Tx) RulesChanged(kind RulesKind, id link.ID) error {
	if part := (rulesPart{kind, id}); !slices.Contains(tx.last.rules, part) {
		tx.last.rules = append(tx.last.rules, part)
	}
	return nil
}

// EndpointRulesChanged is RulesChanged for every cluster and project that an endpoint has a connection with.
func (tx *Tx) EndpointRulesChanged(p link.Provider, id link.EndpointID) error {
	clusters, err := list(tx, scanID, `SELECT cluster_id FROM connections WHERE provider = $1 AND endpoint_id = $2`, p, id)
	if err != nil {
		return err
	}
	projects, err := list(tx, scanConnection, `SELECT `+projectConnectionColumns+` FROM project_connections WHERE provider = $1 AND endpoint_id = $2`, p, id)
	return errors.Join(err, tx.clustersChanged(clusters), tx.connectionsChanged(projects))
}

// ServiceRulesChanged is RulesChanged for every cluster and project that an endpoint of a service has a connection with.
func (tx *Tx) ServiceRulesChanged(p link.Provider, serviceID string) error {
	clusters, err := list(tx, scanID, `SELECT DISTINCT c.cluster_id FROM endpoints e
		JOIN connections c ON c.provider = e.provider AND c.endpoint_id = e.endpoint_id
		WHERE e.provider = $1 AND e.service_id = $2`, p, serviceID)
	if err != nil {
		return err
	}
	projects, err := list(tx, scanConnection, `SELECT `+projectConnectionColumns+` FROM project_connections WHERE provider = $1
		AND endpoint_id IN (SELECT endpoint_id FROM endpoints WHERE provider = $1 AND service_id = $2)`, p, serviceID)
	return errors.Join(err, tx.clustersChanged(clusters), tx.connectionsChanged(projects))
}

func (tx *Tx) clustersChanged(clusters []link.ID) error {
	for _, id := range clusters {
		if err := tx.RulesChanged(RulesOfCluster, id); err != nil {
			return err
		}
	}
	return nil
}

// newRevision makes a new revision of the rules of what changed, and forgets the oldest. Its number is known when it is made,
// so that the statements read it from where it stands.
func (tx *Tx) newRevision(changed []rulesPart) (all []asked) {
	const revision = `(SELECT revision FROM rules_revision WHERE id = 1)`
	all = append(all,
		tx.ask(func(r Row) error { return r.Scan(&tx.made.rules) }, `UPDATE rules_revision SET revision = revision + 1 WHERE id = 1 RETURNING revision`),
		tx.ask(nil, `INSERT INTO rules_history (revision, tag) VALUES (`+revision+`, $1)`, link.NewID()))
	for _, part := range changed {
		all = append(all, tx.ask(nil, `INSERT INTO rules_changes (kind, id, revision) VALUES ($1, $2, `+revision+`)
			ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision`, part.kind, part.id))
	}
	return append(all,
		tx.ask(nil, `DELETE FROM rules_history WHERE revision < `+revision+` - $1`, tx.st.keptRevisions),
		tx.ask(nil, `DELETE FROM rules_changes WHERE revision <= `+revision+` - $1`, tx.st.keptRevisions))
}

// RulesRevision is the current revision of the rules, at least 1.
func (tx *Tx) RulesRevision() (n int64, err error) {
	err = tx.row(`SELECT revision FROM rules_revision WHERE id = 1`).Scan(&n)
	return n, err
}

// RulesVersion is the current version of the rules.
func (tx *Tx) RulesVersion() (v link.RulesVersion, err error) {
	err = tx.row(`SELECT h.revision, h.tag FROM rules_revision r JOIN rules_history h ON h.revision = r.revision WHERE r.id = 1`).
		Scan(&v.Revision, &v.Tag)
	return v, err
}

// Rules gives the rules as of this transaction to take, in parts of at most most clusters. There is always a first part,
// and it holds all that is not of one cluster. The parts are of one version. An endpoint stands in the rules while its connection is wanted, somebody
// let it in (its owner is trusted by this cluster now, or an admin approved it), and the cloud shows it let in.
func (tx *Tx) Rules(most int, take func(link.RulesVersion, link.RuleSet) error) error {
	version, err := tx.RulesVersion()
	if err != nil {
		return err
	}
	part := link.RuleSet{Revision: version.Revision}
	if part.Ports, err = tx.PortRules(); err != nil {
		return err
	}
	if part.Claims, err = tx.claimRules(`1 = 1`); err != nil {
		return err
	}
	if part.Projects, err = tx.projectRules(`1 = 1`); err != nil {
		return err
	}
	for cut := (Cut{Limit: most}); ; {
		clusters, next, err := tx.Clusters(cut)
		if err != nil {
			return err
		}
		if part.Clusters, err = tx.clusterRules(clusters); err != nil {
			return err
		}
		if err := take(version, part); err != nil || next == 0 {
			return err
		}
		part = link.RuleSet{Revision: version.Revision}
		cut.After = next
	}
}

// RulesSince returns what leads from a version of the rules to the current one: only what was changed is read. It is
// false when that is not known, since from is too old or of another history.
func (tx *Tx) RulesSince(from link.RulesVersion) (delta link.RuleDelta, to link.RulesVersion, known bool, err error) {
	if to, err = tx.RulesVersion(); err != nil {
		return delta, to, false, err
	}
	var tag string
	err = tx.row(`SELECT tag FROM rules_history WHERE revision = $1`, from.Revision).Scan(&tag)
	if errors.Is(err, ErrNotFound) || err == nil && tag != from.Tag {
		return delta, to, false, nil
	}
	if err != nil {
		return delta, to, false, err
	}
	delta = link.RuleDelta{From: from.Revision, Revision: to.Revision}
	if delta.Clusters, delta.RemovedClusters, err = tx.changedClusters(from.Revision); err != nil {
		return delta, to, false, err
	}
	if delta.Projects, delta.RemovedProjects, err = tx.changedProjects(from.Revision); err != nil {
		return delta, to, false, err
	}
	if delta.Ports, err = tx.changedPorts(from.Revision); err != nil {
		return delta, to, false, err
	}
	delta.Claims, delta.RemovedClaims, err = tx.changedClaims(from.Revision)
	return delta, to, err == nil, err
}

// rulesChangedSince are the parts of a kind that changed after a revision.
func (tx *Tx) rulesChangedSince(kind RulesKind, revision int64) ([]link.ID, error) {
	return list(tx, scanID, `SELECT id FROM rules_changes WHERE kind = $1 AND revision > $2`, kind, revision)
}

// changedClusters are the rules of the clusters that changed after a revision, and which of them are gone.
func (tx *Tx) changedClusters(revision int64) (rules []link.ClusterRules, gone []link.ID, err error) {
	ids, err := tx.rulesChangedSince(RulesOfCluster, revision)
	if err != nil {
		return nil, nil, err
	}
	there := make(map[link.ID]bool, len(ids))
	for some := range slices.Chunk(ids, mostInList) {
		clusters, err := list(tx, scanCluster, `SELECT `+clusterColumns+` FROM clusters WHERE id IN (`+places(len(some))+`) ORDER BY seq`, args(some)...)
		if err != nil {
			return nil, nil, err
		}
		more, err := tx.clusterRules(unlisted(clusters))
		if err != nil {
			return nil, nil, err
		}
		for _, r := range more {
			there[r.ClusterID] = true
		}
		rules = append(rules, more...)
	}
	gone = slices.DeleteFunc(ids, func(id link.ID) bool { return there[id] })
	return rules, gone, nil
}

// clusterRules are the rules of some clusters, in their order.
func (tx *Tx) clusterRules(clusters []link.Cluster) ([]link.ClusterRules, error) {
	out := make([]link.ClusterRules, len(clusters))
	place := make(map[link.ID]*link.ClusterRules, len(clusters))
	ids := make([]link.ID, len(clusters))
	for i, c := range clusters {
		r := &out[i]
		*r = link.ClusterRules{ClusterID: c.ID, ProjectID: projectOf(c), PublicAccess: c.PublicAccess}
		for _, b := range c.Backends {
			r.Backends = append(r.Backends, link.Backend{Address: b})
		}
		for _, region := range c.Regions {
			r.PrivateNames = append(r.PrivateNames, region.PrivateName)
			r.PublicNames = append(r.PublicNames, region.PublicName)
		}
		r.PrivateNames, r.PublicNames = append(r.PrivateNames, c.CustomNames...), append(r.PublicNames, c.CustomNames...)
		place[c.ID], ids[i] = r, c.ID
	}
	for some := range slices.Chunk(ids, mostInList) {
		if err := tx.addEndpoints(place, some); err != nil {
			return nil, err
		}
		if err := tx.addAllowLists(place, some); err != nil {
			return nil, err
		}
		if err := tx.addTraffic(place, some); err != nil {
			return nil, err
		}
		if err := tx.addProxies(place, some); err != nil {
			return nil, err
		}
	}
	return out, tx.addProjectEndpoints(place, clusters)
}

// authorised is an endpoint and by whose rules it is let in.
type authorised struct {
	by       link.ID
	endpoint link.EndpointID
}

func scanAuthorised(r Row) (p authorised, err error) {
	err = r.Scan(&p.by, &p.endpoint)
	return p, err
}

// addEndpoints adds to the rules of some clusters the endpoints that may reach them.
func (tx *Tx) addEndpoints(place map[link.ID]*link.ClusterRules, some []link.ID) error {
	pairs, err := list(tx, scanAuthorised,
		`SELECT c.cluster_id, c.endpoint_id FROM connections c
		JOIN endpoints e ON e.provider = c.provider AND e.endpoint_id = c.endpoint_id
		WHERE c.cluster_id IN (`+places(len(some))+`)
		AND c.want = 'CONNECTED' AND c.state IN ('PENDING', 'AVAILABLE') AND e.state IN ('PENDING', 'AVAILABLE')
		AND (c.approved OR EXISTS (SELECT 1 FROM trusted_owners t WHERE t.cluster_id = c.cluster_id
			AND t.type = CASE c.provider WHEN 'AWS' THEN 'AWS_ACCOUNT_ID' WHEN 'AZURE' THEN 'AZURE_SUBSCRIPTION_ID' ELSE 'GCP_PROJECT_ID' END
			AND t.external_owner_id IN (e.owner_id, '*')))
		ORDER BY c.seq`, args(some)...)
	for _, p := range pairs {
		r := place[p.by]
		r.Endpoints = append(r.Endpoints, p.endpoint)
	}
	return err
}

// addAllowLists adds to the rules of some clusters their allow lists.
func (tx *Tx) addAllowLists(place map[link.ID]*link.ClusterRules, some []link.ID) error {
	type clusterEntry struct {
		cluster link.ID
		entry   link.AllowEntry
	}
	entries, err := list(tx, func(r Row) (e clusterEntry, err error) {
		l, err := scanAllowEntry(&e.cluster)(r)
		e.entry = l.v
		return e, err
	}, `SELECT cluster_id, `+allowColumns+` FROM allow_entries WHERE cluster_id IN (`+places(len(some))+`) ORDER BY seq`, args(some)...)
	for _, e := range entries {
		r := place[e.cluster]
		r.AllowList = append(r.AllowList, e.entry)
	}
	return err
}

// mostInList is how many values an IN (…) gets at most: well below what the engines take.
const mostInList = 500

// places are n places for values: $1, $2, …
func places(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	return b.String()
}

func args[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

func scanID(r Row) (id link.ID, err error) {
	err = r.Scan(&id)
	return id, err
}
