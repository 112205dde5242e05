package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// projectNetworking is where the networking of a whole project lives.
const projectNetworking = "/api/v1/projects/{project_id}/networking"

func (s *server) projectConnections() {
	const tag, path = "Project connections", projectNetworking + "/private-endpoint-connections"

	register(s, route{
		method: http.MethodGet, path: path, id: "ListProjectPrivateEndpointConnections", tag: tag,
		summary: "List the connections that hold for all clusters of the project",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectPath) (api.ConnectionList, error) {
			id, err := in.project()
			if err != nil {
				return api.ConnectionList{}, err
			}
			list, err := s.plane.ProjectConnections(ctx, c, id)
			return api.ConnectionList{Connections: each(list, wireConnection)}, err
		})

	type add struct {
		ProjectPath
		Body api.AddProjectConnectionRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "AddProjectPrivateEndpointConnection", tag: tag,
		summary: "Connect an endpoint with every cluster of the project in a region, also those to come; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.Connection, error) {
			id, err := in.project()
			if err != nil {
				return api.Connection{}, err
			}
			conn, err := s.plane.ConnectProject(ctx, c, id, link.Provider(in.Body.CloudProvider), in.Body.Region, in.Body.EndpointID)
			return wireConnection(conn), err
		})

	register(s, route{
		method: http.MethodGet, path: path + "/{endpoint_id}", id: "GetProjectPrivateEndpointConnection", tag: tag,
		summary: "Get a connection of the project",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectEndpointPath) (api.Connection, error) {
			id, err := in.project()
			if err != nil {
				return api.Connection{}, err
			}
			conn, err := s.plane.ProjectConnection(ctx, c, id, in.EndpointID)
			return wireConnection(conn), err
		})

	register(s, route{
		method: http.MethodDelete, path: path + "/{endpoint_id}", id: "DeleteProjectPrivateEndpointConnection", tag: tag,
		summary: "Take a connection of the project away: its flows are cut at once, the cloud follows; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectEndpointPath) (empty, error) {
			id, err := in.project()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DisconnectProject(ctx, c, id, in.EndpointID)
		})
}

func (s *server) projectTrustedOwners() {
	const tag, path = "Project connections", projectNetworking + "/private-endpoint-trusted-owners"

	register(s, route{
		method: http.MethodGet, path: path, id: "ListProjectPrivateEndpointTrustedOwners", tag: tag,
		summary: "List the accounts whose endpoints the project's connections let in",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectPath) (api.TrustedOwnerList, error) {
			id, err := in.project()
			if err != nil {
				return api.TrustedOwnerList{}, err
			}
			list, err := s.plane.ProjectTrustedOwners(ctx, c, id)
			return api.TrustedOwnerList{TrustedOwners: each(list, wireTrustedOwner)}, err
		})

	type add struct {
		ProjectPath
		Body api.AddTrustedOwnerRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "AddProjectPrivateEndpointTrustedOwner", tag: tag,
		summary: "Trust an account for the project's connections; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.TrustedOwnerAnswer, error) {
			id, err := in.project()
			if err != nil {
				return api.TrustedOwnerAnswer{}, err
			}
			o, err := s.plane.AddProjectTrustedOwner(ctx, c, id, link.OwnerType(in.Body.Type), in.Body.ExternalOwnerID)
			return api.TrustedOwnerAnswer{TrustedOwner: wireTrustedOwner(o)}, err
		})

	register(s, route{
		method: http.MethodGet, path: path + "/{owner_id}", id: "GetProjectPrivateEndpointTrustedOwner", tag: tag,
		summary: "Get a trusted owner of the project",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectOwnerPath) (api.TrustedOwnerAnswer, error) {
			id, owner, err := in.owner()
			if err != nil {
				return api.TrustedOwnerAnswer{}, err
			}
			o, err := s.plane.ProjectTrustedOwner(ctx, c, id, owner)
			return api.TrustedOwnerAnswer{TrustedOwner: wireTrustedOwner(o)}, err
		})

	register(s, route{
		method: http.MethodDelete, path: path + "/{owner_id}", id: "RemoveProjectPrivateEndpointTrustedOwner", tag: tag,
		summary: "Stop trusting an account; what its endpoints had by the project's connections ends at once",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectOwnerPath) (api.TrustedOwnerAnswer, error) {
			id, owner, err := in.owner()
			if err != nil {
				return api.TrustedOwnerAnswer{}, err
			}
			o, err := s.plane.RemoveProjectTrustedOwner(ctx, c, id, owner)
			return api.TrustedOwnerAnswer{TrustedOwner: wireTrustedOwner(o)}, err
		})
}
