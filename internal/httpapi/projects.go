package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func (s *server) projects() {
	const tag, base = "Projects", "/api/v1/projects"

	register(s, route{method: http.MethodGet, path: base, id: "ListProjects", tag: tag, summary: "List the projects that the caller may see"},
		func(ctx context.Context, c policy.Caller, in *PageQuery) (api.ProjectList, error) {
			list, next, err := s.plane.Projects(ctx, c, in.page())
			return api.ProjectList{Projects: each(list, wireProject), Pagination: api.Pagination{NextPage: next}}, err
		})

	type create struct{ Body api.CreateProjectRequest }
	register(s, route{
		method: http.MethodPost, path: base, id: "CreateProject", tag: tag,
		summary: "Create a project, or return the one of the organisation that has this name",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.Project, error) {
			organisation, err := optionalID("organisation_id", in.Body.OrganisationID)
			if err != nil {
				return api.Project{}, err
			}
			p, err := s.plane.CreateProject(ctx, c, organisation, in.Body.Name)
			return wireProject(p), err
		})

	register(s, route{method: http.MethodGet, path: base + "/{project_id}", id: "GetProject", tag: tag, summary: "Get a project"},
		func(ctx context.Context, c policy.Caller, in *ProjectPath) (api.Project, error) {
			id, err := in.project()
			if err != nil {
				return api.Project{}, err
			}
			p, err := s.plane.Project(ctx, c, id)
			return wireProject(p), err
		})

	type update struct {
		ProjectPath
		Body api.UpdateProjectRequest
	}
	register(s, route{method: http.MethodPatch, path: base + "/{project_id}", id: "UpdateProject", tag: tag, summary: "Change a project"},
		func(ctx context.Context, c policy.Caller, in *update) (api.Project, error) {
			id, err := in.project()
			if err != nil {
				return api.Project{}, err
			}
			var p link.Project
			if in.Body.Name == nil {
				p, err = s.plane.Project(ctx, c, id)
			} else {
				p, err = s.plane.RenameProject(ctx, c, id, *in.Body.Name)
			}
			return wireProject(p), err
		})

	register(s, route{
		method: http.MethodDelete, path: base + "/{project_id}", id: "DeleteProject", tag: tag,
		summary: "Delete a project that has no clusters",
	},
		func(ctx context.Context, c policy.Caller, in *ProjectPath) (empty, error) {
			id, err := in.project()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeleteProject(ctx, c, id)
		})
}

// optionalID reads an id that may be left out.
func optionalID(field, s string) (link.ID, error) {
	if s == "" {
		return "", nil
	}
	return link.ParseID(field, s)
}
