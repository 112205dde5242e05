package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) awsEndpointConnections() {
	const tag, path = "AWS endpoint connections", networkingBase + "/aws-endpoint-connections"

	register(s, route{
		method: http.MethodGet, path: path, id: "ListAwsEndpointConnections", tag: tag,
		summary: "List the endpoints at AWS that are registered with the cluster or belong to an owner it trusts",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.AWSEndpointConnectionList, error) {
			out := api.AWSEndpointConnectionList{Connections: []api.AWSEndpointConnection{}}
			id, err := in.cluster()
			if err != nil {
				return out, err
			}
			endpoints, err := s.plane.CloudEndpoints(ctx, c, id)
			if err != nil {
				return out, err
			}
			conns, err := s.plane.Connections(ctx, c, id)
			if err != nil {
				return out, err
			}
			registered := make(map[link.EndpointID]link.Connection, len(conns))
			for _, conn := range conns {
				registered[conn.EndpointID] = conn
			}
			for _, e := range endpoints {
				if e.Provider != link.AWS {
					continue
				}
				conn, ok := registered[e.ID]
				out.Connections = append(out.Connections, wireEndpoint(e, conn, ok))
			}
			return out, nil
		})

	type patch struct {
		EndpointPath
		Body api.SetAWSEndpointConnectionRequest
	}
	register(s, route{
		method: http.MethodPatch, path: path + "/{endpoint_id}", id: "SetAwsEndpointConnectionState", tag: tag,
		summary: "Let an endpoint in, whoever owns it, or turn it away; the answer shows it as it was before",
	},
		func(ctx context.Context, c policy.Caller, in *patch) (api.AWSEndpointConnection, error) {
			var out api.AWSEndpointConnection
			id, err := in.cluster()
			if err != nil {
				return out, err
			}
			conn, err := s.plane.Connection(ctx, c, id, in.EndpointID)
			registered := err == nil
			if err != nil && link.KindOf(err) != link.NotFound {
				return out, err
			}
			before, err := s.plane.SetEndpointState(ctx, c, id, in.EndpointID, link.State(in.Body.Status))
			return wireEndpoint(before, conn, registered), err
		})
}

// wireEndpoint shows an endpoint as the cloud does, with the conditions of its registration. One that nobody registered
// says that this is what it lacks.
func wireEndpoint(e link.Endpoint, conn link.Connection, registered bool) api.AWSEndpointConnection {
	out := api.AWSEndpointConnection{
		RegionName: e.Region, CloudProvider: string(e.Provider), Status: string(e.State), EndpointID: string(e.ID),
		ServiceID: e.ServiceID, ExternalOwnerID: e.OwnerID, UpdatedAt: e.SeenAt.UTC(),
	}
	if registered {
		out.CreatedAt, out.Conditions = conn.CreatedAt.UTC(), wireConditions(conn.Conditions)
		if conn.UpdatedAt.After(e.SeenAt) {
			out.UpdatedAt = conn.UpdatedAt.UTC()
		}
		return out
	}
	out.Conditions = []api.Condition{{
		Type: link.ConditionAccepted, Status: string(link.False), Reason: "NOT_REGISTERED",
		Message:            "the endpoint exists at the cloud and was not registered with this cluster",
		NextStep:           "register it: POST private-endpoint-connections with its endpoint_id; or let its owner claim it: POST claims",
		LastTransitionTime: e.SeenAt.UTC(),
	}}
	return out
}
