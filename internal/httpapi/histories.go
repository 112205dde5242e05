package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// histories serves the events of every kind of object that has some.
func (s *server) histories() {
	type organisation struct {
		OrganisationPath
		PageQuery
	}
	history(s, "/api/v1/organisations/{organisation_id}", "Organisation", func(_ context.Context, _ policy.Caller, in *organisation) (link.ObjectRef, PageQuery, error) {
		id, err := in.organisation()
		return link.ObjectRef{Kind: link.ObjectOrganisation, ID: string(id)}, in.PageQuery, err
	})

	type project struct {
		ProjectPath
		PageQuery
	}
	history(s, "/api/v1/projects/{project_id}", "Project", func(_ context.Context, _ policy.Caller, in *project) (link.ObjectRef, PageQuery, error) {
		id, err := in.project()
		return link.ObjectRef{Kind: link.ObjectProject, ID: string(id)}, in.PageQuery, err
	})

	type region struct {
		RegionPath
		PageQuery
	}
	history(s, "/api/v1/regions/{provider}/{region}", "Region", func(_ context.Context, _ policy.Caller, in *region) (link.ObjectRef, PageQuery, error) {
		return link.ObjectRef{Kind: link.ObjectRegion, ID: in.Provider + "/" + in.Region}, in.PageQuery, nil
	})

	history(s, clusterBase, "Cluster", func(_ context.Context, _ policy.Caller, in *ClusterPage) (link.ObjectRef, PageQuery, error) {
		id, err := in.cluster()
		return link.ObjectRef{Kind: link.ObjectCluster, ID: string(id)}, in.PageQuery, err
	})

	type service struct {
		ClusterPath
		Region string `path:"region" doc:"A region of the cluster" example:"us-east-1"`
		PageQuery
	}
	history(s, networkingBase+"/private-endpoint-services/{region}", "PrivateEndpointService",
		func(ctx context.Context, c policy.Caller, in *service) (link.ObjectRef, PageQuery, error) {
			cluster, err := s.clusterOf(ctx, c, in.ClusterPath)
			if err != nil {
				return link.ObjectRef{}, in.PageQuery, err
			}
			for _, r := range cluster.Regions {
				if r.Name == in.Region {
					return link.ObjectRef{Kind: link.ObjectService, ID: string(cluster.Provider) + "/" + r.Name}, in.PageQuery, nil
				}
			}
			return link.ObjectRef{}, in.PageQuery, &link.Error{
				Kind: link.NotFound, Reason: "REGION_NOT_FOUND", Field: "region",
				Message: "the cluster is not in region " + link.Quote(in.Region), Hint: "its regions stand in GET /api/v1/clusters/" + in.ClusterID,
			}
		})

	type connection struct {
		EndpointPath
		PageQuery
	}
	history(s, networkingBase+"/private-endpoint-connections/{endpoint_id}", "PrivateEndpointConnection",
		func(ctx context.Context, c policy.Caller, in *connection) (link.ObjectRef, PageQuery, error) {
			cluster, err := s.clusterOf(ctx, c, in.ClusterPath)
			if err != nil {
				return link.ObjectRef{}, in.PageQuery, err
			}
			endpoint, err := link.ParseEndpointID(cluster.Provider, in.EndpointID)
			return link.ObjectRef{Kind: link.ObjectConnection, ID: string(cluster.ID) + "/" + string(endpoint)}, in.PageQuery, err
		})

	type owner struct {
		OwnerPath
		PageQuery
	}
	history(s, networkingBase+"/private-endpoint-trusted-owners/{owner_id}", "PrivateEndpointTrustedOwner",
		func(_ context.Context, _ policy.Caller, in *owner) (link.ObjectRef, PageQuery, error) {
			cluster, id, err := in.owner()
			return link.ObjectRef{Kind: link.ObjectTrustedOwner, ID: string(cluster) + "/" + string(id)}, in.PageQuery, err
		})
}

// history serves the events of the object at path, which ref finds out from the request.
func history[I any](s *server, path, noun string, ref func(context.Context, policy.Caller, *I) (link.ObjectRef, PageQuery, error)) {
	register(s, route{
		method: http.MethodGet, path: path + "/events", id: "List" + noun + "Events", tag: "Events",
		summary: "List the object's history, oldest first",
	},
		func(ctx context.Context, c policy.Caller, in *I) (api.EventList, error) {
			object, page, err := ref(ctx, c, in)
			if err != nil {
				return api.EventList{}, err
			}
			list, next, err := s.plane.Events(ctx, c, object, page.page())
			if err == nil && len(list) == 0 && page.Page == "" {
				err = neverWas(object)
			}
			return api.EventList{Events: each(list, wireEvent), Pagination: api.Pagination{NextPage: next}}, err
		})
}

// neverWas is the answer for an object without history: each begins with its creation, and outlives the object.
func neverWas(object link.ObjectRef) error {
	field := map[string]string{
		link.ObjectOrganisation: "organisation_id", link.ObjectProject: "project_id", link.ObjectRegion: "region", link.ObjectCluster: "cluster_id",
		link.ObjectService: "region", link.ObjectConnection: "endpoint_id", link.ObjectTrustedOwner: "owner_id",
		link.ObjectEgress: "id",
	}[object.Kind]
	return &link.Error{
		Kind: link.NotFound, Reason: "OBJECT_NOT_FOUND", Field: field,
		Message: "there is no such " + object.Kind + ", and there never was", Hint: "list the objects of its kind",
	}
}

func (s *server) clusterOf(ctx context.Context, c policy.Caller, p ClusterPath) (link.Cluster, error) {
	id, err := p.cluster()
	if err != nil {
		return link.Cluster{}, err
	}
	return s.plane.Cluster(ctx, c, id)
}
