package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) serviceAccountCommand() *cobra.Command {
	list := a.verb("list", "List service accounts", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		all, err := everyServiceAccount(ctx, c)
		if err != nil {
			return err
		}
		return a.show(api.ServiceAccountList{ServiceAccounts: all}, &table{head: []string{"NAME", "ID", "ORGANISATION", "STATE", "CREATED"}, none: "no service accounts"}, func(t *table) {
			for _, p := range all {
				t.add(p.Name, p.ID, p.OrganisationID, able(p), when(p.CreatedAt, time.Now()))
			}
		})
	})
	var organisation string
	create := a.verb("create NAME", "Create a service account, which may nothing until it is a member", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		id, err := organisationID(ctx, c, organisation)
		if err != nil {
			return err
		}
		p, err := c.CreateServiceAccount(ctx, api.CreateServiceAccountRequest{OrganisationID: id, Name: args[0]})
		if err != nil {
			return err
		}
		return a.done(p, "service account %s is there: %s", p.Name, p.ID)
	})
	create.Flags().StringVar(&organisation, "organisation", "", "organisation by id or name (default: your own, the vendor's)")
	verbs := a.principalVerbs("ACCOUNT", pickServiceAccount, (*api.Client).UpdateServiceAccount, (*api.Client).DeleteServiceAccount)
	return noun("service-account", "service-accounts", "Programs that may be given roles", append(verbs, list, create)...)
}

func (a *app) personCommand() *cobra.Command {
	list := a.verb("list", "List all people", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		all, err := everyPerson(ctx, c)
		if err != nil {
			return err
		}
		return a.show(api.PersonList{People: all}, &table{head: []string{"NAME", "E-MAIL", "ID", "STATE", "CREATED"}, none: "no people"}, func(t *table) {
			for _, p := range all {
				t.add(p.Name, p.Email, p.ID, able(p), when(p.CreatedAt, time.Now()))
			}
		})
	})
	var name string
	create := a.verb("create EMAIL", "Make a person known, who may nothing until a member", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := c.CreatePerson(ctx, api.CreatePersonRequest{Email: args[0], Name: name})
		if err != nil {
			return err
		}
		return a.done(p, "%s is there: %s", p.Email, p.ID)
	})
	create.Flags().StringVar(&name, "name", "", "what the person is called (default the address)")
	verbs := a.principalVerbs("PERSON", pickPerson, (*api.Client).UpdatePerson, (*api.Client).DeletePerson)
	return noun("person", "people", "People who may be given roles", append(verbs, list, create)...)
}

// principalVerbs are the verbs on one principal, which arg names and pick finds.
func (a *app) principalVerbs(arg string, pick func(context.Context, *api.Client, string) (api.Principal, error),
	update func(*api.Client, context.Context, string, api.UpdatePrincipalRequest) (api.Principal, error),
	remove func(*api.Client, context.Context, string) error,
) []*cobra.Command {
	on := func(use, short string, do func(context.Context, *api.Client, api.Principal) error) *cobra.Command {
		return a.verb(use+" "+arg, short, cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
			p, err := pick(ctx, c, args[0])
			if err != nil {
				return err
			}
			return do(ctx, c, p)
		})
	}
	set := func(use, short string, disabled bool) *cobra.Command {
		return on(use, short, func(ctx context.Context, c *api.Client, p api.Principal) error {
			p, err := update(c, ctx, p.ID, api.UpdatePrincipalRequest{Disabled: &disabled})
			if err != nil {
				return err
			}
			return a.done(p, "%s is %s", p.Name, able(p))
		})
	}
	return []*cobra.Command{
		set("disable", "Take every right away at once, and keep the roles", true),
		set("enable", "Give the rights back", false),
		on("delete", "Delete with all roles", func(ctx context.Context, c *api.Client, p api.Principal) error {
			if err := remove(c, ctx, p.ID); err != nil {
				return err
			}
			return a.done(p, "%s is deleted", p.Name)
		}),
	}
}

// able says whether a principal may do anything at all.
func able(p api.Principal) string {
	if p.Disabled {
		return "disabled"
	}
	return "enabled"
}

func everyServiceAccount(ctx context.Context, c *api.Client) ([]api.Principal, error) {
	return everyPage(func(p api.Page) ([]api.Principal, string, error) {
		l, err := c.ServiceAccounts(ctx, p)
		return l.ServiceAccounts, l.Pagination.NextPage, err
	})
}

func everyPerson(ctx context.Context, c *api.Client) ([]api.Principal, error) {
	return everyPage(func(p api.Page) ([]api.Principal, string, error) {
		l, err := c.People(ctx, p)
		return l.People, l.Pagination.NextPage, err
	})
}

// pickServiceAccount finds the service account of an id, or of a name that only one has.
func pickServiceAccount(ctx context.Context, c *api.Client, name string) (api.Principal, error) {
	if id, err := link.ParseID("ACCOUNT", name); err == nil {
		return c.ServiceAccount(ctx, string(id))
	}
	all, err := everyServiceAccount(ctx, c)
	if err != nil {
		return api.Principal{}, err
	}
	var found []api.Principal
	for _, p := range all {
		if p.Name == name {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return api.Principal{}, &link.Error{
			Kind: link.NotFound, Reason: "UNKNOWN_SERVICE_ACCOUNT", Message: "no service account has this name or id: " + link.Quote(name),
			Hint: `"postern service-account list" shows them`,
		}
	case 1:
		return found[0], nil
	}
	return api.Principal{}, usagef("give its id", "%d organisations have a service account %s", len(found), link.Quote(name))
}

// pickPerson finds the person of an id or an e-mail address.
func pickPerson(ctx context.Context, c *api.Client, name string) (api.Principal, error) {
	if id, err := link.ParseID("PERSON", name); err == nil {
		return c.Person(ctx, string(id))
	}
	all, err := everyPerson(ctx, c)
	if err != nil {
		return api.Principal{}, err
	}
	for _, p := range all {
		if p.Email == name {
			return p, nil
		}
	}
	return api.Principal{}, &link.Error{
		Kind: link.NotFound, Reason: "UNKNOWN_PERSON", Message: "nobody has this e-mail address or id: " + link.Quote(name),
		Hint: `"postern person list" shows them all`,
	}
}
