package fabric

import (
	"maps"
	"slices"
)

// clone copies the state so deeply that a transition may write to the copy while others read the original. What nothing
// ever writes to (the text in a string, an address) is shared.
func (s *State) clone() *State {
	next := *s
	next.Accounts = cloneTable(s.Accounts, func(a *accountRecord) {
		a.Zones = maps.Clone(a.Zones)
		for region, zones := range a.Zones {
			a.Zones[region] = slices.Clone(zones)
		}
	})
	next.VPCs = cloneTable(s.VPCs, nil)
	next.Subnets = cloneTable(s.Subnets, nil)
	next.SecurityGroups = cloneTable(s.SecurityGroups, func(g *SecurityGroup) { g.Rules = slices.Clone(g.Rules) })
	next.NetworkInterfaces = cloneTable(s.NetworkInterfaces, func(n *NetworkInterface) { n.GroupIDs = slices.Clone(n.GroupIDs) })
	next.LoadBalancers = cloneTable(s.LoadBalancers, func(b *LoadBalancer) {
		b.Nodes, b.GroupIDs, b.Attributes = slices.Clone(b.Nodes), slices.Clone(b.GroupIDs), maps.Clone(b.Attributes)
	})
	next.TargetGroups = cloneTable(s.TargetGroups, func(g *TargetGroup) {
		g.Attributes, g.Targets = maps.Clone(g.Attributes), slices.Clone(g.Targets)
	})
	next.Listeners = cloneTable(s.Listeners, func(l *Listener) { l.ALPN = slices.Clone(l.ALPN) })
	next.Services = cloneTable(s.Services, func(e *EndpointService) {
		e.LoadBalancerARNs, e.Permissions, e.PrivateDNS = slices.Clone(e.LoadBalancerARNs), slices.Clone(e.Permissions), clonePointer(e.PrivateDNS)
	})
	next.Endpoints = cloneTable(s.Endpoints, func(e *Endpoint) {
		e.SubnetIDs, e.GroupIDs, e.InterfaceIDs = slices.Clone(e.SubnetIDs), slices.Clone(e.GroupIDs), slices.Clone(e.InterfaceIDs)
	})
	next.HostedZones = cloneTable(s.HostedZones, func(z *HostedZone) {
		z.VPCs, z.Records = slices.Clone(z.VPCs), slices.Clone(z.Records)
		for i := range z.Records {
			record := &z.Records[i]
			record.Values, record.Alias = slices.Clone(record.Values), clonePointer(record.Alias)
		}
	})
	next.Changes = cloneTable(s.Changes, nil)
	next.Tokens = cloneTable(s.Tokens, nil)
	next.Tags = make(map[string]map[string]string, len(s.Tags))
	for id, tags := range s.Tags {
		next.Tags[id] = maps.Clone(tags)
	}
	return &next
}

// cloneTable copies a table and what it holds. deepen gives a copy its own slices, maps and pointers; nil where there
// are none.
func cloneTable[V any](table map[string]*V, deepen func(*V)) map[string]*V {
	out := make(map[string]*V, len(table))
	for key, value := range table {
		value = clonePointer(value)
		if deepen != nil {
			deepen(value)
		}
		out[key] = value
	}
	return out
}

func clonePointer[V any](p *V) *V {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
