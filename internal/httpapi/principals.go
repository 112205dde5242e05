package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// PrincipalPath is a person or a service account in a path.
type PrincipalPath struct {
	PrincipalID string `path:"principal_id" doc:"The id of the person or service account"`
}

func (p PrincipalPath) principal() (link.ID, error) {
	return link.ParseID("principal_id", p.PrincipalID)
}

func (s *server) serviceAccounts() {
	const tag, base = "Service accounts", "/api/v1/service-accounts"

	register(s, route{
		method: http.MethodGet, path: base, id: "ListServiceAccounts", tag: tag,
		summary: "List the service accounts that the caller may see",
	},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.ServiceAccountList, error) {
			list, next, err := s.plane.ServiceAccounts(ctx, c, in.page())
			return api.ServiceAccountList{ServiceAccounts: each(list, wirePrincipal), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct {
		Body api.CreateServiceAccountRequest
	}
	register(s, route{
		method: http.MethodPost, path: base, id: "CreateServiceAccount", tag: tag,
		summary: "Create a service account, or return the one of the organisation that has this name",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.Principal, error) {
			organisation, err := optionalID("organisation_id", in.Body.OrganisationID)
			if err != nil {
				return api.Principal{}, err
			}
			p, err := s.plane.CreateServiceAccount(ctx, c, organisation, in.Body.Name)
			return wirePrincipal(p), err
		})

	s.principal(link.ServiceAccount, tag, base, "ServiceAccount", "a service account")
}

func (s *server) people() {
	const tag, base = "People", "/api/v1/people"

	register(s, route{method: http.MethodGet, path: base, id: "ListPeople", tag: tag, summary: "List all people"},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.PersonList, error) {
			list, next, err := s.plane.People(ctx, c, in.page())
			return api.PersonList{People: each(list, wirePrincipal), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct{ Body api.CreatePersonRequest }
	register(s, route{
		method: http.MethodPost, path: base, id: "CreatePerson", tag: tag,
		summary: "Make a person known, or return the one of this address",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.Principal, error) {
			p, err := s.plane.CreatePerson(ctx, c, in.Body.Email, in.Body.Name)
			return wirePrincipal(p), err
		})

	s.principal(link.Person, tag, base, "Person", "a person")
}

// principal serves one principal of a kind.
func (s *server) principal(kind link.PrincipalKind, tag, base, noun, what string) {
	path := base + "/{principal_id}"

	register(s, route{method: http.MethodGet, path: path, id: "Get" + noun, tag: tag, summary: "Get " + what},
		func(ctx context.Context, c policy.Caller, in *PrincipalPath) (api.Principal, error) {
			id, err := in.principal()
			if err != nil {
				return api.Principal{}, err
			}
			p, err := s.plane.Principal(ctx, c, kind, id)
			return wirePrincipal(p), err
		})

	type update struct {
		PrincipalPath
		Body api.UpdatePrincipalRequest
	}
	register(s, route{method: http.MethodPatch, path: path, id: "Update" + noun, tag: tag, summary: "Rename, disable or enable " + what},
		func(ctx context.Context, c policy.Caller, in *update) (api.Principal, error) {
			id, err := in.principal()
			if err != nil {
				return api.Principal{}, err
			}
			p, err := s.plane.UpdatePrincipal(ctx, c, kind, id, control.PrincipalUpdate{Name: in.Body.Name, Disabled: in.Body.Disabled})
			return wirePrincipal(p), err
		})

	register(s, route{method: http.MethodDelete, path: path, id: "Delete" + noun, tag: tag, summary: "Delete " + what + " with all its roles"},
		func(ctx context.Context, c policy.Caller, in *PrincipalPath) (empty, error) {
			id, err := in.principal()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeletePrincipal(ctx, c, kind, id)
		})
}

func wirePrincipal(p link.Principal) api.Principal {
	return api.Principal{
		ID: string(p.ID), Kind: string(p.Kind), OrganisationID: string(p.OrganisationID), Name: p.Name, Email: p.Email, Disabled: p.Disabled,
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
}
