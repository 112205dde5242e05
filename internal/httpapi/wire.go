package httpapi

import (
	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
)

// each translates a list. The result is never nil: an empty list is [] on the wire.
func each[From, To any](list []From, f func(From) To) []To {
	out := make([]To, 0, len(list))
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

// text returns list with an empty list in the place of none.
func text[T ~string](list []T) []string {
	return each(list, func(s T) string { return string(s) })
}

func wireCondition(c link.Condition) api.Condition {
	return api.Condition{
		Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message, NextStep: c.NextStep,
		LastTransitionTime: c.LastTransition.UTC(),
	}
}

func wireConditions(conds []link.Condition) []api.Condition { return each(conds, wireCondition) }

func wireProject(p link.Project) api.Project {
	return api.Project{
		ID: string(p.ID), OrganisationID: string(p.OrganisationID), Name: p.Name, Conditions: []api.Condition{},
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
}

func wireRegion(v control.RegionView) api.Region {
	r := v.Region
	out := api.Region{
		CloudProvider: string(r.Provider), Name: r.Name, VPCID: r.VPCID, SubnetIDs: r.SubnetIDs,
		Ports: []int{}, Conditions: []api.Condition{},
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	for _, t := range r.Targets {
		out.GatewayTargets = append(out.GatewayTargets, t.String())
	}
	for _, p := range r.Ports {
		out.Ports = append(out.Ports, int(p))
	}
	if v.Service != nil {
		svc := wireService(*v.Service)
		out.Service, out.Conditions = &svc, svc.Conditions
	}
	return out
}

func wireCluster(c link.Cluster) api.Cluster {
	out := api.Cluster{
		ID: string(c.ID), ProjectID: string(c.ProjectID), Name: c.Name, CloudProvider: string(c.Provider),
		State: "CREATED", Plan: "DEDICATED", NetworkVisibility: "PUBLIC", PublicAccess: string(c.PublicAccess),
		CustomNames: text(c.CustomNames), Backends: text(c.Backends), Conditions: []api.Condition{}, CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
	}
	if c.PublicAccess == link.PublicDisabled {
		out.NetworkVisibility = "PRIVATE"
	}
	out.Regions = each(c.Regions, func(r link.ClusterRegion) api.ClusterRegion {
		return api.ClusterRegion{
			Name: r.Name, SQLDNS: r.PublicName, UIDNS: r.PublicName, InternalDNS: r.PrivateName, PrivateEndpointDNS: r.PrivateName,
		}
	})
	return out
}

func wireService(s link.Service) api.Service {
	out := api.Service{
		RegionName: s.Region, CloudProvider: string(s.Provider), Status: string(s.State), Name: s.Name,
		EndpointServiceID: s.ServiceID, AvailabilityZoneIDs: text(s.ZoneIDs), Conditions: wireConditions(s.Conditions),
		CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(),
	}
	if s.Provider == link.AWS {
		out.AWS = &api.AWSService{ServiceName: s.Name, ServiceID: s.ServiceID, AvailabilityZoneIDs: out.AvailabilityZoneIDs}
	}
	return out
}

func wireConnection(c link.Connection) api.Connection {
	return api.Connection{
		RegionName: c.Region, CloudProvider: string(c.Provider), Status: "STATUS_" + string(c.State),
		EndpointID: string(c.EndpointID), EndpointServiceID: c.ServiceID, ServiceName: c.ServiceName,
		ExternalOwnerID: c.OwnerID, Conditions: wireConditions(c.Conditions),
		CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
	}
}

func wireTrustedOwner(o link.TrustedOwner) api.TrustedOwner {
	return api.TrustedOwner{
		ID: string(o.ID), ClusterID: string(o.ClusterID), ProjectID: string(o.ProjectID), Type: string(o.Type), ExternalOwnerID: o.ExternalOwnerID,
		Conditions: []api.Condition{}, CreatedAt: o.CreatedAt.UTC(), UpdatedAt: o.CreatedAt.UTC(), // it never changes
	}
}

func wireAllowEntry(e link.AllowEntry) api.AllowEntry {
	return api.AllowEntry{CIDRIP: e.Prefix.Addr().String(), CIDRMask: e.Prefix.Bits(), UI: e.UI, SQL: e.SQL, Name: e.Name}
}

func wireRefusedAttempt(a link.RefusedAttempt) api.RefusedAttempt {
	return api.RefusedAttempt{
		ClusterID: string(a.ClusterID), Listener: string(a.Listener), EndpointID: string(a.EndpointID), Name: a.Name,
		Source: a.Source, Reason: a.Reason, WouldRefuse: a.WouldRefuse, Count: a.Count,
		FirstAt: a.FirstAt.UTC(), LastAt: a.LastAt.UTC(),
	}
}

func wireFlow(f link.Flow) api.Flow {
	out := api.Flow{
		ID: f.ID, GatewayID: f.GatewayID, ClusterID: string(f.ClusterID), Listener: string(f.Listener),
		EndpointID: string(f.EndpointID), Source: f.Source, Name: f.Name, Port: int(f.Port), Backend: f.Backend,
		StartedAt: f.StartedAt.UTC(), BytesIn: f.BytesIn, BytesOut: f.BytesOut, CloseReason: f.CloseReason,
	}
	if !f.EndedAt.IsZero() {
		out.EndedAt = f.EndedAt.UTC()
	}
	return out
}

func wireEvent(e link.Event) api.Event {
	return api.Event{
		ID: e.ID, At: e.At.UTC(), Type: e.Type, State: e.State, Reason: e.Reason, Message: e.Message, NextStep: e.NextStep, Actor: e.Actor,
	}
}

func wireGateway(g link.Gateway) api.Gateway {
	return api.Gateway{ID: g.ID, ProofKey: g.ProofKey, AppliedRevision: g.AppliedRevision, LastSeenAt: g.LastSeenAt.UTC()}
}
