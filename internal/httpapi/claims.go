package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// ClaimPath is a claim of a cluster in a path.
type ClaimPath struct {
	ClusterPath
	ClaimID string `path:"claim_id" doc:"The claim's id"`
}

func (s *server) claims() {
	const tag, path = "Claims", networkingBase + "/claims"

	register(s, route{method: http.MethodGet, path: path, id: "ListClaims", tag: tag, summary: "List the cluster's claims, without their codes"},
		func(ctx context.Context, c policy.Caller, in *ClusterPage) (api.ClaimList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ClaimList{}, err
			}
			list, next, err := s.plane.Claims(ctx, c, id, in.page())
			return api.ClaimList{Claims: each(list, wireClaim), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct {
		ClusterPath
		Body api.CreateClaimRequest
	}
	register(s, route{
		method: http.MethodPost, path: path, id: "CreateClaim", tag: tag, secret: true,
		summary: "Make a claim, by whose code one endpoint is approved through the wire; the code is shown once",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.NewClaim, error) {
			id, err := in.cluster()
			if err != nil {
				return api.NewClaim{}, err
			}
			made, err := s.plane.CreateClaim(ctx, c, id, in.Body.RegionName, time.Duration(in.Body.TTLSeconds)*time.Second)
			return api.NewClaim{Claim: wireClaim(made.ClaimView), Code: made.Code, Name: made.Name, Command: made.Command}, err
		})

	register(s, route{method: http.MethodGet, path: path + "/{claim_id}", id: "GetClaim", tag: tag, summary: "Get a claim, without its code"},
		func(ctx context.Context, c policy.Caller, in *ClaimPath) (api.Claim, error) {
			id, err := in.cluster()
			if err != nil {
				return api.Claim{}, err
			}
			claim, err := link.ParseID("claim_id", in.ClaimID)
			if err != nil {
				return api.Claim{}, err
			}
			view, err := s.plane.Claim(ctx, c, id, claim)
			return wireClaim(view), err
		})

	register(s, route{
		method: http.MethodDelete, path: path + "/{claim_id}", id: "RevokeClaim", tag: tag,
		summary: "End an open claim; idempotent, and refused for one that was used",
	},
		func(ctx context.Context, c policy.Caller, in *ClaimPath) (api.Claim, error) {
			id, err := in.cluster()
			if err != nil {
				return api.Claim{}, err
			}
			claim, err := link.ParseID("claim_id", in.ClaimID)
			if err != nil {
				return api.Claim{}, err
			}
			revoked, err := s.plane.RevokeClaim(ctx, c, id, claim)
			return wireClaim(revoked), err
		})
}

func wireClaim(c control.ClaimView) api.Claim {
	out := api.Claim{
		ID: string(c.ID), ClusterID: string(c.ClusterID), RegionName: c.Region, State: string(c.State), EndpointID: string(c.EndpointID),
		CreatedAt: c.CreatedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(),
	}
	if !c.UsedAt.IsZero() {
		out.UsedAt = c.UsedAt.UTC()
	}
	if !c.RevokedAt.IsZero() {
		out.RevokedAt = c.RevokedAt.UTC()
	}
	return out
}
