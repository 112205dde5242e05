package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// EgressPath is an egress private endpoint of a cluster in a path.
type EgressPath struct {
	ClusterPath
	ID string `path:"id" doc:"The egress private endpoint's id"`
}

func (p EgressPath) egress() (cluster, id link.ID, err error) {
	if cluster, err = p.cluster(); err != nil {
		return "", "", err
	}
	id, err = link.ParseID("id", p.ID)
	return cluster, id, err
}

func (s *server) egress() {
	const tag, path = "Egress private endpoints", networkingBase + "/egress-private-endpoints"

	register(s, route{
		method: http.MethodGet, path: networkingBase + "/egress-principals", id: "ListEgressPrincipals", tag: tag,
		summary: "Tell whom a customer has to allow to use its service, for each region of the cluster",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.EgressPrincipalList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.EgressPrincipalList{}, err
			}
			list, err := s.plane.EgressPrincipals(ctx, c, id)
			return api.EgressPrincipalList{EgressPrincipals: each(list, wireEgressPrincipal)}, err
		})

	register(s, route{
		method: http.MethodGet, path: path, id: "ListEgressPrivateEndpoints", tag: tag,
		summary: "List the cluster's egress private endpoints, without those that are deleted",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPage) (api.EgressEndpointList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.EgressEndpointList{}, err
			}
			list, next, err := s.plane.EgressEndpoints(ctx, c, id, in.page())
			return api.EgressEndpointList{EgressPrivateEndpoints: each(list, wireEgress), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct {
		ClusterPath
		Body api.CreateEgressEndpointRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "CreateEgressPrivateEndpoint", tag: tag,
		summary: "Ask for the vendor's endpoint to a service of the customer; idempotent, and starts one anew that failed or expired",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.EgressEndpoint, error) {
			id, err := in.cluster()
			if err != nil {
				return api.EgressEndpoint{}, err
			}
			e, err := s.plane.CreateEgress(ctx, c, id, control.EgressRequest{
				Region: in.Body.Region, Target: in.Body.TargetServiceIdentifier, TargetType: link.EgressType(in.Body.TargetServiceType),
			})
			return wireEgress(e), err
		})

	register(s, route{
		method: http.MethodGet, path: path + "/{id}", id: "GetEgressPrivateEndpoint", tag: tag,
		summary: "Get an egress private endpoint",
	},
		func(ctx context.Context, c policy.Caller, in *EgressPath) (api.EgressEndpoint, error) {
			cluster, id, err := in.egress()
			if err != nil {
				return api.EgressEndpoint{}, err
			}
			e, err := s.plane.Egress(ctx, c, cluster, id)
			return wireEgress(e), err
		})

	type update struct {
		EgressPath
		Body api.UpdateEgressEndpointRequest
	}
	register(s, route{
		method: http.MethodPatch, path: path + "/{id}", id: "UpdateEgressPrivateEndpoint", tag: tag,
		summary: "Set the domain names by which the vendor's network reaches an egress private endpoint",
	},
		func(ctx context.Context, c policy.Caller, in *update) (api.EgressEndpoint, error) {
			cluster, id, err := in.egress()
			if err != nil {
				return api.EgressEndpoint{}, err
			}
			e, err := s.plane.SetEgressNames(ctx, c, cluster, id, in.Body.DomainNames)
			return wireEgress(e), err
		})

	register(s, route{
		method: http.MethodDelete, path: path + "/{id}", id: "DeleteEgressPrivateEndpoint", tag: tag,
		summary: "Take an egress private endpoint away with its domain names; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *EgressPath) (empty, error) {
			cluster, id, err := in.egress()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeleteEgress(ctx, c, cluster, id)
		})

	type events struct {
		EgressPath
		PageQuery
	}
	history(s, path+"/{id}", "EgressPrivateEndpoint", func(_ context.Context, _ policy.Caller, in *events) (link.ObjectRef, PageQuery, error) {
		cluster, id, err := in.egress()
		return link.ObjectRef{Kind: link.ObjectEgress, ID: string(cluster) + "/" + string(id)}, in.PageQuery, err
	})
}

func wireEgressPrincipal(p control.EgressPrincipal) api.EgressPrincipal {
	return api.EgressPrincipal{RegionName: p.Region, CloudProvider: string(p.Provider), AccountID: p.AccountID, AllowedPrincipal: p.Principal}
}

func wireEgress(e control.EgressView) api.EgressEndpoint {
	out := api.EgressEndpoint{
		ID: string(e.ID), EndpointConnectionID: string(e.EndpointID), Region: e.Region,
		TargetServiceIdentifier: e.Target, TargetServiceType: string(e.TargetType), EndpointAddress: e.Address, State: string(e.State),
		DomainNames: text(e.DomainNames), DomainNamesState: string(e.NamesState), AllowedPrincipal: e.Principal,
		Conditions: wireConditions(e.Conditions), CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(),
	}
	if e.State == link.Pending || e.State == link.PendingAcceptance {
		out.ExpiresAt = e.RequestedAt.Add(link.EgressLife).UTC()
	}
	return out
}
