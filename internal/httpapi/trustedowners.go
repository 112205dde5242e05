package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) trustedOwners() {
	const tag, path = "Trusted owners", networkingBase + "/private-endpoint-trusted-owners"

	register(s, route{
		method: http.MethodGet, path: path, id: "ListPrivateEndpointTrustedOwners", tag: tag,
		summary: "List the accounts that the cluster trusts",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.TrustedOwnerList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.TrustedOwnerList{}, err
			}
			list, err := s.plane.TrustedOwners(ctx, c, id)
			return api.TrustedOwnerList{TrustedOwners: each(list, wireTrustedOwner)}, err
		})

	type add struct {
		ClusterPath
		Body api.AddTrustedOwnerRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "AddPrivateEndpointTrustedOwner", tag: tag,
		summary: "Trust an account; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.TrustedOwnerAnswer, error) {
			id, err := in.cluster()
			if err != nil {
				return api.TrustedOwnerAnswer{}, err
			}
			o, err := s.plane.AddTrustedOwner(ctx, c, id, link.OwnerType(in.Body.Type), in.Body.ExternalOwnerID)
			return api.TrustedOwnerAnswer{TrustedOwner: wireTrustedOwner(o)}, err
		})

	register(s, route{
		method: http.MethodGet, path: path + "/{owner_id}", id: "GetPrivateEndpointTrustedOwner", tag: tag,
		summary: "Get a trusted owner",
	},
		func(ctx context.Context, c policy.Caller, in *OwnerPath) (api.TrustedOwnerAnswer, error) {
			id, owner, err := in.owner()
			if err != nil {
				return api.TrustedOwnerAnswer{}, err
			}
			o, err := s.plane.TrustedOwner(ctx, c, id, owner)
			return api.TrustedOwnerAnswer{TrustedOwner: wireTrustedOwner(o)}, err
		})

	register(s, route{
		method: http.MethodDelete, path: path + "/{owner_id}", id: "RemovePrivateEndpointTrustedOwner", tag: tag,
		summary: "Stop trusting an account; its endpoints are turned away unless something else lets them in",
	},
		func(ctx context.Context, c policy.Caller, in *OwnerPath) (api.TrustedOwnerAnswer, error) {
			id, owner, err := in.owner()
			if err != nil {
				return api.TrustedOwnerAnswer{}, err
			}
			o, err := s.plane.RemoveTrustedOwner(ctx, c, id, owner)
			return api.TrustedOwnerAnswer{TrustedOwner: wireTrustedOwner(o)}, err
		})
}
