package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

func (s *server) projects() {
	const tag, base = "Projects", "/api/v1/projects"

	register(s, route{method: http.MethodGet, path: base, id: "ListProjects", tag: tag, summary: "List the projects"},
		func(ctx context.Context, c policy.Caller, _ *struct{}) (api.ProjectList, error) {
			list, err := s.plane.Projects(ctx, c)
			return api.ProjectList{Projects: each(list, wireProject)}, err
		})

	type create struct{ Body api.CreateProjectRequest }
	register(s, route{
		method: http.MethodPost, path: base, id: "CreateProject", tag: tag,
		summary: "Create a project, or return the one that has this name",
	},
		func(ctx context.Context, c policy.Caller, in *create) (api.Project, error) {
			p, err := s.plane.CreateProject(ctx, c, in.Body.Name)
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
}
