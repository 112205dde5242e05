package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) organisationCommand() *cobra.Command {
	list := a.verb("list", "List organisations", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		os, err := everyOrganisation(ctx, c)
		if err != nil {
			return err
		}
		return a.show(api.OrganisationList{Organisations: os}, &table{head: []string{"NAME", "ID", "CREATED"}, none: "no organisations"}, func(t *table) {
			for _, o := range os {
				t.add(o.Name, o.ID, when(o.CreatedAt, time.Now()))
			}
		})
	})
	create := a.verb("create NAME", "Create an organisation", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		o, err := c.CreateOrganisation(ctx, api.CreateOrganisationRequest{Name: args[0]})
		if err != nil {
			return err
		}
		return a.done(o, "organisation %s is there: %s", o.Name, o.ID)
	})
	rename := a.verb("rename ORGANISATION NAME", "Give an organisation another name", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		o, err := pickOrganisation(ctx, c, args[0])
		if err != nil {
			return err
		}
		if o, err = c.UpdateOrganisation(ctx, o.ID, api.UpdateOrganisationRequest{Name: &args[1]}); err != nil {
			return err
		}
		return a.done(o, "organisation %s is called %s", o.ID, o.Name)
	})
	remove := a.verb("delete ORGANISATION", "Delete an organisation that has no projects", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		o, err := pickOrganisation(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := c.DeleteOrganisation(ctx, o.ID); err != nil {
			return err
		}
		return a.done(o, "organisation %s is deleted", o.Name)
	})
	return noun("organisation", "organisations", "Your customers", list, create, rename, remove)
}

// everyOrganisation reads all pages.
func everyOrganisation(ctx context.Context, c *api.Client) ([]api.Organisation, error) {
	return everyPage(func(p api.Page) ([]api.Organisation, string, error) {
		l, err := c.Organisations(ctx, p)
		return l.Organisations, l.Pagination.NextPage, err
	})
}

// everyPage reads a list to its end.
func everyPage[T any](read func(api.Page) (part []T, next string, err error)) ([]T, error) {
	all := []T{}
	for p := (api.Page{Limit: 500}); ; {
		part, next, err := read(p)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
		if p.Token = next; next == "" {
			return all, nil
		}
	}
}

// pickOrganisation finds the organisation of an id or a name.
func pickOrganisation(ctx context.Context, c *api.Client, name string) (api.Organisation, error) {
	if id, err := link.ParseID("organisation", name); err == nil {
		return c.Organisation(ctx, string(id))
	}
	all, err := everyOrganisation(ctx, c)
	if err != nil {
		return api.Organisation{}, err
	}
	for _, o := range all {
		if o.Name == name {
			return o, nil
		}
	}
	return api.Organisation{}, &link.Error{
		Kind: link.NotFound, Reason: "UNKNOWN_ORGANISATION", Message: "no organisation has this name or id: " + link.Quote(name),
		Hint: `"postern organisation list" shows them`,
	}
}

// organisationID is the id of the organisation of an id or a name; empty for none, which is the vendor.
func organisationID(ctx context.Context, c *api.Client, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	o, err := pickOrganisation(ctx, c, name)
	return o.ID, err
}

func (a *app) whoamiCommand() *cobra.Command {
	return a.verb("whoami", "Tell who the token stands for, and its roles", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		me, err := c.Me(ctx)
		if err != nil {
			return err
		}
		return a.show(me, &table{head: []string{"FIELD", "VALUE"}}, func(t *table) {
			t.add("name", me.Name)
			if me.Email != "" {
				t.add("e-mail", me.Email)
			}
			t.add("is", strings.TrimSpace(me.Role+" "+plainKind(me.Kind)))
			if me.PrincipalID != "" {
				t.add("id", me.PrincipalID)
			}
			if me.OrganisationID != "" {
				t.add("organisation", me.OrganisationID)
			}
			for _, g := range me.Grants {
				t.add("role", strings.TrimSpace(g.Role+" at "+g.Scope.Scope+" "+g.ScopeID))
			}
		})
	})
}

// plainKind is a kind of principal in words.
func plainKind(kind string) string { return strings.ToLower(strings.ReplaceAll(kind, "_", " ")) }
