package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// ScopeQuery says where roles hold.
type ScopeQuery struct {
	Scope   string `query:"scope" required:"true" enum:"INSTALLATION,ORGANISATION,PROJECT,CLUSTER"`
	ScopeID string `query:"scope_id" doc:"The organisation's, project's or cluster's id; absent for the installation"`
}

func (q ScopeQuery) scope() link.Scope {
	return link.Scope{Kind: link.ScopeKind(q.Scope), ID: link.ID(q.ScopeID)}
}

func (s *server) me() {
	register(s, route{method: http.MethodGet, path: "/api/v1/me", id: "GetMe", tag: "Members", summary: "Tell who the token stands for, and its roles"},
		func(ctx context.Context, c policy.Caller, _ *struct{}) (api.Self, error) {
			me, err := s.plane.Me(ctx, c)
			p := me.Principal
			return api.Self{
				Name: p.Name, Role: string(me.Role), PrincipalID: string(p.ID), Kind: string(p.Kind), OrganisationID: string(p.OrganisationID),
				Email: p.Email, Grants: each(me.Grants, wireGrant),
			}, err
		})
}

func (s *server) members() {
	const tag, base = "Members", "/api/v1/members"

	type list struct {
		ScopeQuery
		PageQuery
	}
	register(s, route{
		method: http.MethodGet, path: base, id: "ListMembers", tag: tag,
		summary: "List who holds which role at a scope and beneath it",
	},
		func(ctx context.Context, c policy.Caller, in *list) (api.MemberList, error) {
			members, next, err := s.plane.Members(ctx, c, in.scope(), in.page())
			return api.MemberList{Members: each(members, wireMember), Pagination: api.Pagination{NextPage: next}}, err
		})

	type add struct{ Body api.AddMemberRequest }
	register(s, route{
		method: http.MethodPost, path: base, id: "AddMember", tag: tag,
		summary: "Give a person or a service account a role at a scope; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *add) (api.Member, error) {
			m, err := s.plane.AddMember(ctx, c, control.MemberRequest{
				Scope: link.Scope{Kind: link.ScopeKind(in.Body.Scope.Scope), ID: link.ID(in.Body.ScopeID)}, Role: link.Role(in.Body.Role),
				Email: in.Body.Email, Name: in.Body.Name, ServiceAccountID: link.ID(in.Body.ServiceAccountID),
			})
			return wireMember(m), err
		})

	type remove struct {
		PrincipalPath
		Role string `path:"role" enum:"VIEWER,CLUSTER_OPERATOR,CLUSTER_ADMIN,PROJECT_ADMIN,ORGANISATION_ADMIN,OPERATOR"`
		ScopeQuery
	}
	register(s, route{
		method: http.MethodDelete, path: base + "/{principal_id}/{role}", id: "RemoveMember", tag: tag,
		summary: "Take a role at a scope away",
	},
		func(ctx context.Context, c policy.Caller, in *remove) (api.Member, error) {
			id, err := in.principal()
			if err != nil {
				return api.Member{}, err
			}
			m, err := s.plane.RemoveMember(ctx, c, in.scope(), id, link.Role(in.Role))
			return wireMember(m), err
		})
}

func wireGrant(g link.Grant) api.Grant {
	return api.Grant{
		Scope: api.Scope{Scope: string(g.Scope.Kind), ScopeID: string(g.Scope.ID)}, Role: string(g.Role), CreatedAt: g.CreatedAt.UTC(),
	}
}

func wireMember(m link.Member) api.Member {
	p := m.Principal
	return api.Member{Grant: wireGrant(m.Grant), PrincipalID: string(p.ID), Kind: string(p.Kind), Name: p.Name, Email: p.Email, Disabled: p.Disabled}
}
