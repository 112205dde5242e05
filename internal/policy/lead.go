package policy

import (
	"strings"

	"github.com/postern/postern/internal/link"
)

// lead is where a name leads at a listener. The zero value leads nowhere.
type lead struct {
	known bool     // a cluster has the name
	to    *cluster // nil when several have: none of them gets the flow
	proof bool     // to the proof of path there
}

func (r *Rules) privateLead(name string) lead {
	if owners, known := r.private.get(name); known {
		return lead{known: true, to: owners.sole}
	}
	if below, ok := strings.CutPrefix(name, link.ProofLabel+"."); ok {
		if owners, known := r.private.get(below); known {
			return lead{known: true, to: owners.sole, proof: true}
		}
	}
	return r.repositoryLead(&r.private, &r.wildcards[0], name)
}

func (r *Rules) publicLead(name string) lead {
	if owners, known := r.public.get(name); known {
		return lead{known: true, to: owners.sole}
	}
	return r.repositoryLead(&r.public, &r.wildcards[1], name)
}

// repositoryLead is where a name leads as that of a Docker repository: one label below a name or a wildcard. Whatever else
// several clusters have in common below which it stands, none of them gets the flow.
func (r *Rules) repositoryLead(names, wildcards *table[string, set[cluster]], name string) lead {
	if r.branching == 0 {
		return lead{}
	}
	key, below, _ := strings.Cut(name, ".")
	if _, _, isClaim := link.CutClaim(name); isClaim || below == "" {
		return lead{}
	}
	own, _ := names.get(below)
	wild, _ := wildcards.get(below)
	if own.many == nil && wild.many == nil && (own.sole == nil || wild.sole == nil || own.sole == wild.sole) {
		to := own.sole
		if to == nil {
			to = wild.sole
		}
		if !to.has(key) {
			return lead{}
		}
		return lead{known: true, to: to}
	}
	return lead{known: anyHas(own, key) || anyHas(wild, key)}
}

func anyHas(clusters set[cluster], repository string) bool {
	for c := range clusters.all() {
		if c.has(repository) {
			return true
		}
	}
	return false
}
