package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// OrganisationPath is the organisation in a path.
type OrganisationPath struct {
	OrganisationID string `path:"organisation_id" doc:"The organisation's id"`
}

func (p OrganisationPath) organisation() (link.ID, error) {
	return link.ParseID("organisation_id", p.OrganisationID)
}

func (s *server) organisations() {
	const tag, base = "Organisations", "/api/v1/organisations"

	register(s, route{method: http.MethodGet, path: base, id: "ListOrganisations", tag: tag, summary: "List the organisations that the caller may see"},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.OrganisationList, error) {
			list, next, err := s.plane.Organisations(ctx, c, in.page())
			return api.OrganisationList{Organisations: each(list, wireOrganisation), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct{ Body api.CreateOrganisationRequest }
	register(s, route{
		method: http.MethodPost, path: base, id: "CreateOrganisation", tag: tag,
		summary: "Create an organisation, or return the one that has this name",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.Organisation, error) {
			o, err := s.plane.CreateOrganisation(ctx, c, in.Body.Name)
			return wireOrganisation(o), err
		})

	register(s, route{method: http.MethodGet, path: base + "/{organisation_id}", id: "GetOrganisation", tag: tag, summary: "Get an organisation"},
		func(ctx context.Context, c policy.Caller, in *OrganisationPath) (api.Organisation, error) {
			id, err := in.organisation()
			if err != nil {
				return api.Organisation{}, err
			}
			o, err := s.plane.Organisation(ctx, c, id)
			return wireOrganisation(o), err
		})

	type update struct {
		OrganisationPath
		Body api.UpdateOrganisationRequest
	}
	register(s, route{method: http.MethodPatch, path: base + "/{organisation_id}", id: "UpdateOrganisation", tag: tag, summary: "Change an organisation"},
		func(ctx context.Context, c policy.Caller, in *update) (api.Organisation, error) {
			id, err := in.organisation()
			if err != nil {
				return api.Organisation{}, err
			}
			var o link.Organisation
			if in.Body.Name == nil {
				o, err = s.plane.Organisation(ctx, c, id)
			} else {
				o, err = s.plane.RenameOrganisation(ctx, c, id, *in.Body.Name)
			}
			return wireOrganisation(o), err
		})

	register(s, route{
		method: http.MethodDelete, path: base + "/{organisation_id}", id: "DeleteOrganisation", tag: tag,
		summary: "Delete an organisation that has no projects, with its service accounts and the roles in it",
	},
		func(ctx context.Context, c policy.Caller, in *OrganisationPath) (empty, error) {
			id, err := in.organisation()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeleteOrganisation(ctx, c, id)
		})
}

func wireOrganisation(o link.Organisation) api.Organisation {
	return api.Organisation{ID: string(o.ID), Name: o.Name, CreatedAt: o.CreatedAt.UTC(), UpdatedAt: o.UpdatedAt.UTC()}
}
