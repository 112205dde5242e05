package gateway

import (
	"errors"
	"fmt"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// mostNews bounds what the parts of one set or change may hold together, in bytes as they came: several times what a
// million endpoints and a hundred thousand clusters need.
const mostNews = 1 << 30

// rulesNews is a full set of rules or a change, put together from the parts in which it comes. The zero value waits for
// the first part.
type rulesNews struct {
	delta  link.RuleDelta    // from 0: a full set
	from   link.RulesVersion // what it was applied to; zero for a full set
	to     link.RulesVersion // what it leads to
	docs   [][]byte          // the parts as they came, for the disk; none when they come from there
	size   int               // of the parts, in bytes
	onDisk bool              // the parts need not be kept
}

// full tells whether it is a full set.
func (n *rulesNews) full() bool { return n.delta.From == 0 }

// add takes the next part, whose bytes become its own, and tells whether it was the last.
func (n *rulesNews) add(doc []byte) (whole bool, err error) {
	wire, err := decodeDocument(doc)
	if err != nil {
		return false, err
	}
	d, err := ruleDelta(wire)
	if err != nil {
		return false, err
	}
	to := link.RulesVersion{Revision: wire.Revision, Tag: wire.Tag}
	if n.size == 0 {
		n.to, n.delta.From, n.delta.Revision = to, d.From, d.Revision
	} else if to != n.to || d.From != n.delta.From {
		return false, fmt.Errorf("rules: a part of %d to %d follows one of %d to %d", d.From, d.Revision, n.delta.From, n.to.Revision)
	}
	if n.size += len(doc); n.size > mostNews {
		return false, errors.New("rules: more than a gateway can hold")
	}
	if !n.onDisk {
		n.docs = append(n.docs, doc)
	}
	if d.Ports != nil {
		n.delta.Ports = d.Ports
	}
	n.delta.Clusters = append(n.delta.Clusters, d.Clusters...)
	n.delta.Projects = append(n.delta.Projects, d.Projects...)
	n.delta.Claims = append(n.delta.Claims, d.Claims...)
	n.delta.RemovedClusters = append(n.delta.RemovedClusters, d.RemovedClusters...)
	n.delta.RemovedProjects = append(n.delta.RemovedProjects, d.RemovedProjects...)
	n.delta.RemovedClaims = append(n.delta.RemovedClaims, d.RemovedClaims...)
	return !wire.More, nil
}

// applyTo returns the rules that it makes of those of version at. The error says that it does not fit them.
func (n *rulesNews) applyTo(rules *policy.Rules, at link.RulesVersion) (*policy.Rules, error) {
	if n.full() {
		set := link.RuleSet{
			Revision: n.to.Revision, Clusters: n.delta.Clusters, Projects: n.delta.Projects, Claims: n.delta.Claims,
		}
		if n.delta.Ports != nil {
			set.Ports = *n.delta.Ports
		}
		return policy.Compile(set), nil
	}
	if n.delta.From == n.to.Revision { // the rules are the newest
		if n.to != at {
			return nil, fmt.Errorf("%w: revision %d is said to be the newest, and is not ours", errMisfit, n.to.Revision)
		}
		return rules, nil
	}
	n.from = at
	changed, err := rules.Apply(n.delta)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMisfit, err)
	}
	return changed, nil
}

// errMisfit says that a change is not one of the rules in force: the full set helps.
var errMisfit = errors.New("a change of rules that are not these")
