package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

func (s *server) services() {
	const tag, path = "Private endpoint services", networkingBase + "/private-endpoint-services"

	register(s, route{
		method: http.MethodGet, path: path, id: "ListPrivateEndpointServices", tag: tag,
		summary: "List the services of the cluster's regions",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ServiceList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ServiceList{}, err
			}
			list, err := s.plane.Services(ctx, c, id)
			return api.ServiceList{Services: each(list, wireService)}, err
		})

	register(s, route{
		method: http.MethodPost, path: path, id: "CreatePrivateEndpointServices", tag: tag,
		summary: "Ask for a service in every region of the cluster; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ServiceList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ServiceList{}, err
			}
			list, err := s.plane.CreateServices(ctx, c, id)
			return api.ServiceList{Services: each(list, wireService)}, err
		})
}
