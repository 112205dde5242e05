package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

const clusterBase = "/api/v1/clusters/{cluster_id}"

// networkingBase is where everything of the published networking API lives.
const networkingBase = clusterBase + "/networking"

func (s *server) clusters() {
	const tag = "Clusters"

	register(s, route{method: http.MethodGet, path: "/api/v1/clusters", id: "ListClusters", tag: tag, summary: "List the clusters"},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.ClusterList, error) {
			list, next, err := s.plane.Clusters(ctx, c, in.page())
			return api.ClusterList{Clusters: each(list, wireCluster), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct{ Body api.CreateClusterRequest }
	register(s, route{
		method: http.MethodPost, path: "/api/v1/clusters", id: "CreateCluster", tag: tag,
		summary: "Create a cluster; its allow list starts with everyone",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.Cluster, error) {
			project, err := link.ParseID("project_id", in.Body.ProjectID)
			if err != nil {
				return api.Cluster{}, err
			}
			created, err := s.plane.CreateCluster(ctx, c, control.ClusterRequest{
				ProjectID: project, Name: in.Body.Name, Provider: link.Provider(in.Body.CloudProvider), Regions: in.Body.Regions,
				Backends: in.Body.Backends, PublicAccess: link.PublicAccess(in.Body.PublicAccess),
			})
			return wireCluster(created), err
		})

	register(s, route{method: http.MethodGet, path: clusterBase, id: "GetCluster", tag: tag, summary: "Get a cluster"},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.Cluster, error) {
			id, err := in.cluster()
			if err != nil {
				return api.Cluster{}, err
			}
			cluster, err := s.plane.Cluster(ctx, c, id)
			return wireCluster(cluster), err
		})

	type update struct {
		ClusterPath
		Body api.UpdateClusterRequest
	}
	register(s, route{method: http.MethodPatch, path: clusterBase, id: "UpdateCluster", tag: tag, summary: "Change a cluster"},
		func(ctx context.Context, c policy.Caller, in *update) (api.Cluster, error) {
			id, err := in.cluster()
			if err != nil {
				return api.Cluster{}, err
			}
			cluster, err := s.plane.UpdateCluster(ctx, c, id, control.ClusterUpdate{Backends: in.Body.Backends, CustomNames: in.Body.CustomNames})
			return wireCluster(cluster), err
		})

	register(s, route{
		method: http.MethodDelete, path: clusterBase, id: "DeleteCluster", tag: tag,
		summary: "Delete a cluster that has no connections",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (empty, error) {
			id, err := in.cluster()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeleteCluster(ctx, c, id)
		})
}

func (s *server) publicAccess() {
	const tag, path = "Public access", networkingBase + "/public-access"

	register(s, route{method: http.MethodGet, path: path, id: "GetPublicAccess", tag: tag, single: true, summary: "Tell whether the public door is open"},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.PublicAccess, error) {
			id, err := in.cluster()
			if err != nil {
				return api.PublicAccess{}, err
			}
			cluster, err := s.plane.Cluster(ctx, c, id)
			return api.PublicAccess{Mode: string(cluster.PublicAccess)}, err
		})

	type put struct {
		ClusterPath
		Body api.PublicAccess
	}
	register(s, route{method: http.MethodPut, path: path, id: "SetPublicAccess", tag: tag, summary: "Open or close the public door"},
		func(ctx context.Context, c policy.Caller, in *put) (api.PublicAccess, error) {
			id, err := in.cluster()
			if err != nil {
				return api.PublicAccess{}, err
			}
			cluster, err := s.plane.SetPublicAccess(ctx, c, id, link.PublicAccess(in.Body.Mode))
			return api.PublicAccess{Mode: string(cluster.PublicAccess)}, err
		})
}
