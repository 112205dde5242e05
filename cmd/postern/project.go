package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) projectCommand() *cobra.Command {
	list := a.verb("list", "List projects", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		ps, err := everyProject(ctx, c)
		if err != nil {
			return err
		}
		return a.show(api.ProjectList{Projects: ps}, &table{head: []string{"NAME", "ID", "ORGANISATION", "CREATED"}, none: "no projects"}, func(t *table) {
			for _, p := range ps {
				t.add(p.Name, p.ID, p.OrganisationID, when(p.CreatedAt, time.Now()))
			}
		})
	})
	var organisation string
	create := a.verb("create NAME", "Create a project", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		id, err := organisationID(ctx, c, organisation)
		if err != nil {
			return err
		}
		p, err := c.CreateProject(ctx, api.CreateProjectRequest{OrganisationID: id, Name: args[0]})
		if err != nil {
			return err
		}
		return a.done(p, "project %s is there: %s", p.Name, p.ID)
	})
	create.Flags().StringVar(&organisation, "organisation", "", "organisation by id or name (default: your own, the vendor's)")
	rename := a.verb("rename PROJECT NAME", "Give a project another name", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := pickProject(ctx, c, args[0])
		if err != nil {
			return err
		}
		if p, err = c.UpdateProject(ctx, p.ID, api.UpdateProjectRequest{Name: &args[1]}); err != nil {
			return err
		}
		return a.done(p, "project %s is called %s", p.ID, p.Name)
	})
	remove := a.verb("delete PROJECT", "Delete a project that has no clusters", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := pickProject(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := c.DeleteProject(ctx, p.ID); err != nil {
			return err
		}
		return a.done(p, "project %s is deleted", p.Name)
	})
	return noun("project", "projects", "The customers' groups of clusters", list, create, rename, remove,
		a.projectConnectionCommand(), a.projectOwnerCommand())
}

// everyProject reads all pages.
func everyProject(ctx context.Context, c *api.Client) ([]api.Project, error) {
	return everyPage(func(p api.Page) ([]api.Project, string, error) {
		l, err := c.Projects(ctx, p)
		return l.Projects, l.Pagination.NextPage, err
	})
}

// pickProject finds the project of an id, or of a name that only one has; without a name, the only one that there is.
func pickProject(ctx context.Context, c *api.Client, name string) (api.Project, error) {
	if id, err := link.ParseID("project", name); err == nil {
		return c.Project(ctx, string(id))
	}
	all, err := everyProject(ctx, c)
	if err != nil {
		return api.Project{}, err
	}
	var found []api.Project
	var names []string
	for _, p := range all {
		if p.Name == name || name == "" && len(all) == 1 {
			found = append(found, p)
		}
		names = append(names, p.Name)
	}
	switch {
	case len(all) == 0:
		return api.Project{}, &link.Error{
			Kind: link.NotFound, Reason: "NO_PROJECT", Message: "there is no project yet", Hint: `"postern project create" makes one`,
		}
	case name == "" && len(all) > 1:
		return api.Project{}, usagef("give --project with one of: "+strings.Join(names, ", "), "there are %d projects, and none is named", len(all))
	}
	switch len(found) {
	case 0:
		return api.Project{}, &link.Error{
			Kind: link.NotFound, Reason: "UNKNOWN_PROJECT", Field: "--project", Message: "no project has this name or id: " + link.Quote(name),
			Hint: `"postern project list" shows them, "postern project create" makes one`,
		}
	case 1:
		return found[0], nil
	}
	return api.Project{}, usagef("give its id", "%d organisations have a project %s", len(found), link.Quote(name))
}
