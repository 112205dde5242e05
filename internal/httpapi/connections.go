package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

func (s *server) connections() {
	const tag, path = "Private endpoint connections", networkingBase + "/private-endpoint-connections"

	register(s, route{
		method: http.MethodGet, path: path, id: "ListPrivateEndpointConnections", tag: tag,
		summary: "List the cluster's connections",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ConnectionList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ConnectionList{}, err
			}
			list, err := s.plane.Connections(ctx, c, id)
			return api.ConnectionList{Connections: each(list, wireConnection)}, err
		})

	type add struct {
		ClusterPath
		Body api.AddConnectionRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "AddPrivateEndpointConnection", tag: tag,
		summary: "Register an endpoint with the cluster; idempotent, and attaches a rejected one again",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.Connection, error) {
			id, err := in.cluster()
			if err != nil {
				return api.Connection{}, err
			}
			conn, err := s.plane.Connect(ctx, c, id, in.Body.EndpointID)
			return wireConnection(conn), err
		})

	register(s, route{
		method: http.MethodGet, path: path + "/{endpoint_id}", id: "GetPrivateEndpointConnection", tag: tag,
		summary: "Get a connection",
	},
		func(ctx context.Context, c policy.Caller, in *EndpointPath) (api.Connection, error) {
			id, err := in.cluster()
			if err != nil {
				return api.Connection{}, err
			}
			conn, err := s.plane.Connection(ctx, c, id, in.EndpointID)
			return wireConnection(conn), err
		})

	register(s, route{
		method: http.MethodDelete, path: path + "/{endpoint_id}", id: "DeletePrivateEndpointConnection", tag: tag,
		summary: "Take a connection away: its flows are cut at once, the cloud follows; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *EndpointPath) (empty, error) {
			id, err := in.cluster()
			if err != nil {
				return empty{}, err
			}
			_, err = s.plane.Disconnect(ctx, c, id, in.EndpointID)
			return empty{}, err
		})
}
