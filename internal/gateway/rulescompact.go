package gateway

import (
	"encoding/json"

	"github.com/postern/postern/api"
)

// ruleHead is what a document says of itself.
type ruleHead struct {
	From     int64  `json:"from"`
	Revision int64  `json:"revision"`
	Tag      string `json:"tag"`
	More     bool   `json:"more"`
}

func (h *ruleHead) read(doc []byte) error {
	*h = ruleHead{}
	return json.Unmarshal(doc, h)
}

// lastWord is by which document of base and journal a part of the rules is as it is: documents of the base count as 0,
// those of the journal from 1. A part that is not in it stands in the base alone.
type lastWord map[string]int

// What a part is known by: its kind and its id.
const (
	portsKey   = "ports"
	clusterKey = "cluster "
	projectKey = "project "
	claimKey   = "claim "
)

// note has document n, the latest so far, say the last word on what it names.
func (l lastWord) note(n int, wire api.GatewayRules) {
	if wire.Ports != nil {
		l[portsKey] = n
	}
	for _, c := range wire.Clusters {
		l[clusterKey+c.ClusterID] = n
	}
	for _, p := range wire.Projects {
		l[projectKey+p.ProjectID] = n
	}
	for _, c := range wire.Claims {
		l[claimKey+c.ID] = n
	}
	for key, ids := range map[string][]string{
		clusterKey: wire.RemovedClusters, projectKey: wire.RemovedProjects, claimKey: wire.RemovedClaims,
	} {
		for _, id := range ids {
			l[key+id] = n
		}
	}
}

// of is what holds to the end of what document n says, as a part of a full set.
func (l lastWord) of(n int, wire api.GatewayRules, at ruleHead) api.GatewayRules {
	out := api.GatewayRules{Revision: at.Revision, Tag: at.Tag, More: true}
	if l[portsKey] == n {
		out.Ports = wire.Ports
	}
	for _, c := range wire.Clusters {
		if l[clusterKey+c.ClusterID] == n {
			out.Clusters = append(out.Clusters, c)
		}
	}
	for _, p := range wire.Projects {
		if l[projectKey+p.ProjectID] == n {
			out.Projects = append(out.Projects, p)
		}
	}
	for _, c := range wire.Claims {
		if l[claimKey+c.ID] == n {
			out.Claims = append(out.Claims, c)
		}
	}
	return out
}

// compactRules makes base and journal a new base, of the version to which the journal leads. It holds the journal's ids in
// memory and no more than one document at a time. Nobody else may write the files meanwhile.
func compactRules(path string) (rulesOnDisk, error) {
	var at ruleHead
	last, n, inBase := make(lastWord), 0, true
	before, err := scanRules(path, func(doc []byte) (bool, error) {
		if err := at.read(doc); err != nil || inBase {
			inBase = at.More
			return !at.More, err
		}
		wire, err := decodeDocument(doc)
		n++
		last.note(n, wire)
		return !at.More, err
	})
	if err == nil {
		err = before.dropped
	}
	if err != nil {
		return rulesOnDisk{}, err
	}
	return writeBase(path, func(write func(doc []byte) error) error {
		put := func(wire api.GatewayRules) error {
			doc, err := json.Marshal(wire)
			if err != nil {
				return err
			}
			return write(doc)
		}
		n, inBase := 0, true
		again, err := scanRules(path, func(doc []byte) (bool, error) {
			wire, err := decodeDocument(doc)
			if err != nil {
				return false, err
			}
			if inBase {
				inBase = wire.More
			} else {
				n++
			}
			return !wire.More, put(last.of(n, wire, at))
		})
		if err == nil {
			err = again.dropped
		}
		if err != nil {
			return err
		}
		return put(api.GatewayRules{Revision: at.Revision, Tag: at.Tag})
	})
}
