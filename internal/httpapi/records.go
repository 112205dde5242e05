package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// ClusterPage asks for a part of a list of a cluster's.
type ClusterPage struct {
	ClusterPath
	PageQuery
}

// records serves what gateways told: refused attempts and flows.
func (s *server) records() {
	const tag = "Records"

	register(s, route{
		method: http.MethodGet, path: networkingBase + "/refused-attempts", id: "ListRefusedAttempts", tag: tag,
		summary: "List what gateways refused for the cluster, and why",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPage) (api.RefusedAttemptList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.RefusedAttemptList{}, err
			}
			list, next, err := s.plane.RefusedAttempts(ctx, c, id, in.page())
			return wireRefusedAttempts(list, next), err
		})

	register(s, route{
		method: http.MethodGet, path: "/api/v1/refused-attempts", id: "ListUnroutedAttempts", tag: tag,
		summary: "List what gateways refused because the name led to no cluster",
	},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.RefusedAttemptList, error) {
			list, next, err := s.plane.UnroutedAttempts(ctx, c, in.page())
			return wireRefusedAttempts(list, next), err
		})

	register(s, route{
		method: http.MethodGet, path: networkingBase + "/flows", id: "ListFlows", tag: tag,
		summary: "List the cluster's flows, newest first",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPage) (api.FlowList, error) {
			id, err := in.cluster()
			if err != nil {
				return api.FlowList{}, err
			}
			list, next, err := s.plane.Flows(ctx, c, id, in.page())
			return api.FlowList{Flows: each(list, wireFlow), Pagination: api.Pagination{NextPage: next}}, err
		})
}

func wireRefusedAttempts(list []link.RefusedAttempt, next string) api.RefusedAttemptList {
	return api.RefusedAttemptList{RefusedAttempts: each(list, wireRefusedAttempt), Pagination: api.Pagination{NextPage: next}}
}
