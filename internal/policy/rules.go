package policy

import (
	"fmt"
	"iter"
	"slices"

	"github.com/postern/postern/internal/link"
)

// Rules is a rule set made ready for decisions. It never changes, so that any number of flows may be decided by it at
// once; a change makes new Rules, which share with the old what stayed. nil means that there are no rules.
type Rules struct {
	revision     int64
	ports        map[uint16]link.PortRule
	backendPorts []uint16 // those of ports that are not 0, sorted, each once

	private   table[string, set[cluster]]    // who has a name at the private listener; several: it leads nowhere
	public    table[string, set[cluster]]    // the same at the public one
	wildcards [2]table[string, set[cluster]] // below which the repositories of a cluster have names: at the private listener, at the public one
	branching int                            // how many clusters have repositories
	endpoints table[link.EndpointID, set[party]]
	clusters  table[link.ID, *cluster]
	projects  table[link.ID, *project]
	claims    table[link.ID, *claim]
	codes     table[uint64, set[claim]] // by codeKey
}

// project is the rules of a project and who belongs to it. It is there as long as it has either. It never changes.
type project struct {
	self      *party
	endpoints []link.EndpointID // sorted, each once
	members   set[party]
}

// Compile makes a rule set ready for decisions. Of what set holds, the result shares only what can't change: strings, and
// what Proxy points to, which nobody may change once it is in a rule set.
// A set of revision 0 is none: the result is nil, which refuses everything. Of several clusters, projects, claims or
// ports with one id the last counts.
func Compile(set link.RuleSet) *Rules {
	if set.Revision == 0 {
		return nil
	}
	r := &Rules{revision: set.Revision}
	r.change(link.RuleDelta{Ports: &set.Ports, Clusters: set.Clusters, Projects: set.Projects, Claims: set.Claims})
	return r
}

// Apply returns the rules after a change, which decide exactly as the whole set of that revision would after Compile;
// r goes on to hold. It takes time in proportion to the change and not to the rules, but for a change of the backends'
// ports, which concerns every cluster. The error says that the change is not one of these rules: only the full set
// helps then.
func (r *Rules) Apply(delta link.RuleDelta) (*Rules, error) {
	switch {
	case r == nil:
		return nil, fmt.Errorf("a change from revision %d, and there are no rules to change", delta.From)
	case delta.From != r.revision:
		return nil, fmt.Errorf("a change from revision %d does not fit rules of revision %d", delta.From, r.revision)
	case delta.Revision <= delta.From:
		return nil, fmt.Errorf("a change from revision %d leads back to %d", delta.From, delta.Revision)
	}
	changed := *r
	changed.revision = delta.Revision
	changed.change(delta)
	return &changed, nil
}

// Revision returns the rule set's revision, 0 when there are no rules.
func (r *Rules) Revision() int64 {
	if r == nil {
		return 0
	}
	return r.revision
}

// Proxy returns what a cluster's targets say as their Proxy, nil when its TLS passes through unread.
func (r *Rules) Proxy(cluster link.ID) *link.ClusterRules {
	if r == nil {
		return nil
	}
	if c, known := r.clusters.get(cluster); known {
		return c.target.Proxy
	}
	return nil
}

// Counts returns how many clusters there are, and how many endpoints are authorised for one of them or for a project.
func (r *Rules) Counts() (clusters, endpoints int) {
	if r == nil {
		return 0, 0
	}
	return r.clusters.n, r.endpoints.n
}

// Port returns the rule of a port as the client dials it. The zero value means that there is none, as for port 0.
func (r *Rules) Port(port uint16) link.PortRule {
	if r == nil || port == 0 {
		return link.PortRule{}
	}
	return r.ports[port]
}

// Targets ranges over every Target that Decide may return, in no particular order.
func (r *Rules) Targets() iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		if r == nil {
			return
		}
		for _, c := range r.clusters.all() {
			if !yield(c.target) {
				return
			}
			for i := range c.ported {
				if !yield(c.ported[i].target) {
					return
				}
			}
		}
	}
}

// change makes delta's changes to rules that nobody else has yet. What it takes away goes last: of two words on one
// thing the stricter one holds.
func (r *Rules) change(delta link.RuleDelta) {
	e := new(edit)
	if delta.Ports != nil {
		r.putPorts(e, *delta.Ports)
	}
	for _, in := range delta.Clusters {
		r.putCluster(e, in)
	}
	for _, in := range delta.Projects {
		r.putProject(e, in)
	}
	for _, in := range delta.Claims {
		r.putClaim(e, in)
	}
	for _, id := range delta.RemovedClusters {
		r.removeCluster(e, id)
	}
	for _, id := range delta.RemovedProjects {
		r.putProject(e, link.ProjectRules{ProjectID: id})
	}
	for _, id := range delta.RemovedClaims {
		r.removeClaim(e, id)
	}
}

func (r *Rules) putPorts(e *edit, rules []link.PortRule) {
	r.ports = make(map[uint16]link.PortRule, len(rules))
	for _, p := range rules {
		if p.Port != 0 {
			r.ports[p.Port] = p
		}
	}
	var backendPorts []uint16
	for _, p := range r.ports {
		if p.BackendPort != 0 {
			backendPorts = append(backendPorts, p.BackendPort)
		}
	}
	slices.Sort(backendPorts)
	backendPorts = slices.Compact(backendPorts)
	if slices.Equal(backendPorts, r.backendPorts) {
		return
	}
	r.backendPorts = backendPorts
	before := r.clusters
	for id, old := range before.all() {
		c := old.withPorts(backendPorts)
		r.replaceNames(e, old, c)
		r.clusters.put(e, id, c)
	}
}

func (r *Rules) putCluster(e *edit, in link.ClusterRules) {
	old, known := r.clusters.get(in.ClusterID)
	if !known {
		old = &cluster{self: &party{id: in.ClusterID}}
	}
	c := compileCluster(in, old.self, r.joinProject(e, in.ProjectID, old.self), r.backendPorts, old)
	r.replaceCluster(e, old, c)
	r.clusters.put(e, in.ClusterID, c)
}

func (r *Rules) removeCluster(e *edit, id link.ID) {
	if old, known := r.clusters.get(id); known {
		r.replaceCluster(e, old, &cluster{self: old.self})
		r.clusters.remove(e, id)
	}
}

// replaceCluster puts c into all that leads to old. Both stand for the same party.
func (r *Rules) replaceCluster(e *edit, old, c *cluster) {
	r.replaceNames(e, old, c)
	r.authorise(e, c.self, old.endpoints, c.endpoints)
	if len(old.repositories) > 0 {
		r.branching--
	}
	if len(c.repositories) > 0 {
		r.branching++
	}
	if old.project != nil && old.project != c.project {
		p, _ := r.projects.get(old.project.id)
		r.keepProject(e, &project{self: p.self, endpoints: p.endpoints, members: p.members.less(e, c.self)})
	}
}

func (r *Rules) replaceNames(e *edit, old, c *cluster) {
	for _, name := range old.private {
		swap(&r.private, e, name, old, nil)
	}
	for _, name := range old.public {
		swap(&r.public, e, name, old, nil)
	}
	for _, name := range c.private {
		swap(&r.private, e, name, nil, c)
	}
	for _, name := range c.public {
		swap(&r.public, e, name, nil, c)
	}
	for i := range r.wildcards {
		if name := old.wildcards[i]; name != "" {
			swap(&r.wildcards[i], e, name, old, nil)
		}
		if name := c.wildcards[i]; name != "" {
			swap(&r.wildcards[i], e, name, nil, c)
		}
	}
}

// joinProject makes a cluster a member of a project; an empty id is no project.
func (r *Rules) joinProject(e *edit, id link.ID, member *party) *party {
	if id == "" {
		return nil
	}
	p := r.project(id)
	r.keepProject(e, &project{self: p.self, endpoints: p.endpoints, members: p.members.with(e, member)})
	return p.self
}

func (r *Rules) putProject(e *edit, in link.ProjectRules) {
	if in.ProjectID == "" {
		return
	}
	p := r.project(in.ProjectID)
	endpoints := compileEndpoints(in.Endpoints)
	r.authorise(e, p.self, p.endpoints, endpoints)
	r.keepProject(e, &project{self: p.self, endpoints: endpoints, members: p.members})
}

func (r *Rules) project(id link.ID) *project {
	if p, known := r.projects.get(id); known {
		return p
	}
	return &project{self: &party{id: id, project: true}}
}

func (r *Rules) keepProject(e *edit, p *project) {
	if len(p.endpoints) == 0 && p.members.empty() {
		r.projects.remove(e, p.self.id)
		return
	}
	r.projects.put(e, p.self.id, p)
}

// authorise takes a party's endpoints from what they were to what they are now.
func (r *Rules) authorise(e *edit, p *party, were, are []link.EndpointID) {
	for len(were) > 0 || len(are) > 0 {
		switch {
		case len(are) == 0 || len(were) > 0 && were[0] < are[0]:
			swap(&r.endpoints, e, were[0], p, nil)
			were = were[1:]
		case len(were) == 0 || are[0] < were[0]:
			swap(&r.endpoints, e, are[0], nil, p)
			are = are[1:]
		default:
			were, are = were[1:], are[1:]
		}
	}
}

func (r *Rules) putClaim(e *edit, in link.ClaimRule) {
	r.removeClaim(e, in.ID)
	c := newClaim(in)
	r.claims.put(e, in.ID, c)
	swap(&r.codes, e, c.key(), nil, c)
}

func (r *Rules) removeClaim(e *edit, id link.ID) {
	if c, known := r.claims.get(id); known {
		r.claims.remove(e, id)
		swap(&r.codes, e, c.key(), c, nil)
	}
}

// swap takes out of the set at k, where out is not nil, and puts in into it, where in is not nil.
func swap[K comparable, T any](t *table[K, set[T]], e *edit, k K, out, in *T) {
	s, _ := t.get(k)
	if out != nil {
		s = s.less(e, out)
	}
	if in != nil {
		s = s.with(e, in)
	}
	if s.empty() {
		t.remove(e, k)
	} else {
		t.put(e, k, s)
	}
}
