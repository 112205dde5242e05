package httpapi

import (
	"encoding/json"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// wireRules is a change of the rules to a version on the wire, or with From zero a full set.
func wireRules(d link.RuleDelta, to link.RulesVersion) api.GatewayRules {
	out := api.GatewayRules{
		From: d.From, Revision: to.Revision, Tag: to.Tag,
		Clusters: each(d.Clusters, wireClusterRules), RemovedClusters: text(d.RemovedClusters),
		Projects: each(d.Projects, func(p link.ProjectRules) api.GatewayProjectRules {
			return api.GatewayProjectRules{ProjectID: string(p.ProjectID), EndpointIDs: text(p.Endpoints)}
		}), RemovedProjects: text(d.RemovedProjects),
		Claims: each(d.Claims, func(c link.ClaimRule) api.GatewayClaimRule {
			return api.GatewayClaimRule{
				ID: string(c.ID), ClusterID: string(c.ClusterID), Domain: c.Domain, Hash: c.Hash[:], ExpiresAt: c.ExpiresAt.UTC(),
			}
		}), RemovedClaims: text(d.RemovedClaims),
	}
	if d.Ports != nil {
		ports := each(*d.Ports, func(p link.PortRule) api.GatewayPort {
			return api.GatewayPort{
				Port: p.Port, Protocol: string(p.Protocol), Traffic: string(p.Traffic), Denied: p.Denied, BackendPort: p.BackendPort,
			}
		})
		out.Ports = &ports
	}
	return out
}

func wireClusterRules(c link.ClusterRules) api.GatewayClusterRules {
	out := api.GatewayClusterRules{
		ClusterID: string(c.ClusterID), ProjectID: string(c.ProjectID), PrivateNames: text(c.PrivateNames), PublicNames: text(c.PublicNames),
		Backends: each(c.Backends, func(b link.Backend) api.GatewayTarget {
			return api.GatewayTarget{Address: b.Address, Weight: b.Weight, Draining: b.Draining}
		}),
		ProxyProtocol: c.ProxyProtocol, EndpointIDs: text(c.Endpoints), PublicAccess: string(c.PublicAccess),
		AllowList: each(c.AllowList, func(e link.AllowEntry) api.AllowRule {
			return api.AllowRule{Prefix: e.Prefix.String(), UI: e.UI, SQL: e.SQL}
		}),
		DeniedPorts: c.DeniedPorts,
	}
	if h := c.Health; h.Check != link.CheckNone {
		out.Health = &api.GatewayHealthCheck{
			Check: string(h.Check), Path: h.Path, Statuses: h.Statuses, IntervalSeconds: int(h.Interval / time.Second),
			TimeoutSeconds: int(h.Timeout / time.Second), Rise: h.Rise, Fall: h.Fall,
		}
	}
	if c.Limits != (link.Limits{}) {
		limits := api.GatewayLimits(c.Limits)
		out.Limits = &limits
	}
	if c.Proxy != nil {
		out.Proxy = wireProxy(*c.Proxy)
	}
	return out
}

// longDocument is how long a document of the rules stream may become before it is sent in parts, in bytes.
const longDocument = 1 << 20

// documents are rules as lines of the stream, each with its line break. more tells that parts of the same follow.
func documents(w api.GatewayRules, more bool) ([][]byte, error) {
	w.More = more
	line, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	first, rest := halves(w)
	if len(line) <= longDocument || rest == nil {
		return [][]byte{append(line, '\n')}, nil
	}
	lines, err := documents(first, true)
	if err != nil {
		return nil, err
	}
	others, err := documents(*rest, more)
	return append(lines, others...), err
}

// halves cuts a document in two. There is no rest when it holds no more than one of anything.
func halves(w api.GatewayRules) (first api.GatewayRules, rest *api.GatewayRules) {
	first, second := w, api.GatewayRules{From: w.From, Revision: w.Revision, Tag: w.Tag}
	cut := halve(&first.Clusters, &second.Clusters)
	cut = halve(&first.RemovedClusters, &second.RemovedClusters) || cut
	cut = halve(&first.Projects, &second.Projects) || cut
	cut = halve(&first.RemovedProjects, &second.RemovedProjects) || cut
	cut = halve(&first.Claims, &second.Claims) || cut
	cut = halve(&first.RemovedClaims, &second.RemovedClaims) || cut
	if !cut {
		return w, nil
	}
	return first, &second
}

func halve[T any](first, second *[]T) bool {
	if len(*first) < 2 {
		return false
	}
	mid := len(*first) / 2
	*first, *second = (*first)[:mid], (*first)[mid:]
	return true
}
