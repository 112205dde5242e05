package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Rules is a rule set made ready for decisions. It never changes: a gateway swaps the whole. nil means that there are
// no rules.
type Rules struct {
	revision int64
	names    map[string]nameEntry
}

// nameEntry is what a name leads to at each listener. A name may be private and public at once (split horizon), even
// of different clusters.
type nameEntry struct {
	private, public *cluster
	proof           bool // private is reached through its proof name
}

func (e nameEntry) either() *cluster {
	if e.private != nil {
		return e.private
	}
	return e.public
}

// cluster is one cluster's rules. An ambiguous one stands for a name that several clusters claim.
type cluster struct {
	id        link.ID
	target    *Target
	endpoints map[link.EndpointID]struct{}
	public    link.PublicAccess
	allow     prefixList
	ambiguous bool
}

func (c *cluster) admits(id link.EndpointID) bool {
	_, ok := c.endpoints[id]
	return ok
}

var ambiguous = &cluster{ambiguous: true}

// Compile makes a rule set ready for decisions. The result shares nothing with set. A set of revision 0 is none: the
// result is nil, which refuses everything. Beside each private name P the name proof.P leads to the gateway's proof of
// path, unless a cluster has that very name as its own. A name that two clusters claim on the same side leads nowhere:
// which of them it is can't be told, and a guess could hand one customer's traffic to another.
func Compile(set link.RuleSet) *Rules {
	if set.Revision == 0 {
		return nil
	}
	r := &Rules{revision: set.Revision, names: make(map[string]nameEntry, 3*len(set.Clusters))}
	clusters := make([]*cluster, len(set.Clusters))
	for i, in := range set.Clusters {
		c := &cluster{
			id: in.ClusterID, public: in.PublicAccess, target: &Target{
				ClusterID: in.ClusterID, Backends: slices.Clone(in.Backends), Health: in.Health,
				ProxyProtocol: in.ProxyProtocol, Limits: in.Limits,
			},
			endpoints: make(map[link.EndpointID]struct{}, len(in.Endpoints)), allow: compilePrefixes(in.AllowList),
		}
		for _, id := range in.Endpoints {
			if id != "" {
				c.endpoints[id] = struct{}{}
			}
		}
		clusters[i] = c
		for _, name := range in.PrivateNames {
			r.addPrivate(normaliseName(name), c)
		}
		for _, name := range in.PublicNames {
			r.addPublic(normaliseName(name), c)
		}
	}
	for i, in := range set.Clusters {
		for _, name := range in.PrivateNames {
			if name = normaliseName(name); name != "" {
				r.addProof(link.ProofLabel+"."+name, r.names[name].private, clusters[i])
			}
		}
	}
	return r
}

// Revision returns the rule set's revision, 0 when there are no rules.
func (r *Rules) Revision() int64 {
	if r == nil {
		return 0
	}
	return r.revision
}

func (r *Rules) addPrivate(name string, c *cluster) {
	if name == "" {
		return
	}
	e := r.names[name]
	if e.private != nil && e.private != c {
		c = ambiguous
	}
	e.private = c
	r.names[name] = e
}

func (r *Rules) addPublic(name string, c *cluster) {
	if name == "" {
		return
	}
	e := r.names[name]
	if e.public != nil && e.public != c {
		c = ambiguous
	}
	e.public = c
	r.names[name] = e
}

// addProof makes name the proof name of c. parent is what the name below it leads to: ambiguous, or c.
func (r *Rules) addProof(name string, parent, c *cluster) {
	e := r.names[name]
	if e.private != nil && !e.proof {
		return
	}
	e.private, e.proof = c, true
	if parent.ambiguous {
		e.private = ambiguous
	}
	r.names[name] = e
}

func normaliseName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// prefixList finds the longest range that holds an address, by one look-up for each length that occurs.
type prefixList struct {
	v4, v6  []int // the lengths that occur, longest first
	entries map[netip.Prefix]prefixEntry
}

type prefixEntry struct {
	rule  string
	admit bool
}

func compilePrefixes(list []link.AllowEntry) prefixList {
	p := prefixList{entries: make(map[netip.Prefix]prefixEntry, len(list))}
	for _, e := range list {
		prefix := e.Prefix.Masked()
		if !prefix.IsValid() || prefix.Addr().Is4In6() {
			continue // a mapped range holds no address: sources are unmapped
		}
		lengths := &p.v6
		if prefix.Addr().Is4() {
			lengths = &p.v4
		}
		if !slices.Contains(*lengths, prefix.Bits()) {
			*lengths = append(*lengths, prefix.Bits())
		}
		had, twice := p.entries[prefix]
		entry := prefixEntry{rule: RuleAllowList + " " + prefix.String(), admit: e.UI || e.SQL}
		if twice {
			entry.admit = entry.admit || had.admit
		}
		p.entries[prefix] = entry
	}
	byLength := func(a, b int) int { return b - a }
	slices.SortFunc(p.v4, byLength)
	slices.SortFunc(p.v6, byLength)
	return p
}

// admits reports whether the longest range that holds addr admits it, and that range's rule; the rule is empty when no
// range holds it.
func (p *prefixList) admits(addr netip.Addr) (rule string, ok bool) {
	if !addr.IsValid() {
		return "", false
	}
	addr = addr.Unmap().WithZone("")
	lengths := p.v6
	if addr.Is4() {
		lengths = p.v4
	}
	for _, bits := range lengths {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if e, found := p.entries[prefix]; found {
			return e.rule, e.admit
		}
	}
	return "", false
}
