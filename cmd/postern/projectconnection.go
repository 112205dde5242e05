package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// projectVerb is a verb on one project, which --project names.
func (a *app) projectVerb(use, short string, args cobra.PositionalArgs,
	run func(ctx context.Context, c *api.Client, p api.Project, args []string) error,
) *cobra.Command {
	var name string
	cmd := a.verb(use, short, args, func(ctx context.Context, c *api.Client, args []string) error {
		p, err := pickProject(ctx, c, name)
		if err != nil {
			return err
		}
		return run(ctx, c, p, args)
	})
	cmd.Flags().StringVar(&name, "project", "", "project by id or name (default the only one)")
	return cmd
}

func (a *app) projectConnectionCommand() *cobra.Command {
	list := a.projectVerb("list", "List the connections that hold for all clusters of a project", cobra.NoArgs, func(ctx context.Context, c *api.Client, p api.Project, _ []string) error {
		cs, err := c.ProjectConnections(ctx, p.ID)
		if err != nil {
			return err
		}
		return a.showConnections(cs, `no connections of the project; "postern project connection add" makes one`)
	})
	show := a.projectVerb("show ENDPOINT-ID", "Show one connection and what it waits for", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, p api.Project, args []string) error {
		cn, err := c.ProjectConnection(ctx, p.ID, args[0])
		if err != nil {
			return err
		}
		return a.showConnection(cn)
	})
	var req api.AddProjectConnectionRequest
	add := a.projectVerb("add ENDPOINT-ID", "Connect an endpoint with all clusters of the project in a region", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, p api.Project, args []string) error {
		req.EndpointID = args[0]
		cn, err := c.AddProjectConnection(ctx, p.ID, req)
		if err != nil {
			return err
		}
		return a.done(cn, "%s is registered with the clusters of %s in %s: %s", cn.EndpointID, p.Name, cn.RegionName, trimStatus(cn.Status))
	})
	add.Flags().StringVar(&req.CloudProvider, "provider", "AWS", "cloud provider of the endpoint")
	add.Flags().StringVar(&req.Region, "region", "", "region of the endpoint")
	_ = add.MarkFlagRequired("region")
	remove := a.projectVerb("remove ENDPOINT-ID", "Take a connection away and cut its flows", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, p api.Project, args []string) error {
		if err := c.DeleteProjectConnection(ctx, p.ID, args[0]); err != nil {
			return err
		}
		return a.done(map[string]string{}, "%s may no longer reach the clusters of %s by the project's connection", args[0], p.Name)
	})
	return noun("connection", "connections", "Which endpoints reach all clusters of a project", list, show, add, remove)
}

func (a *app) projectOwnerCommand() *cobra.Command {
	list := a.projectVerb("list", "List the accounts whose endpoints a project's connections let in", cobra.NoArgs, func(ctx context.Context, c *api.Client, p api.Project, _ []string) error {
		os, err := c.ProjectTrustedOwners(ctx, p.ID)
		if err != nil {
			return err
		}
		return a.showOwners(os)
	})
	var typ string
	add := a.projectVerb("add ACCOUNT", "Trust an account for the project's connections", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, p api.Project, args []string) error {
		o, err := c.AddProjectTrustedOwner(ctx, p.ID, api.AddTrustedOwnerRequest{Type: typ, ExternalOwnerID: args[0]})
		if err != nil {
			return err
		}
		return a.done(o, "%s trusts %s", p.Name, o.ExternalOwnerID)
	})
	add.Flags().StringVar(&typ, "type", "AWS_ACCOUNT_ID", "what the account id is an id of")
	remove := a.projectVerb("remove ACCOUNT-OR-ID", "Stop trusting an account for the project's connections", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, p api.Project, args []string) error {
		os, err := c.ProjectTrustedOwners(ctx, p.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(os, func(o api.TrustedOwner) bool { return o.ExternalOwnerID == args[0] || o.ID == args[0] })
		if i < 0 {
			return &link.Error{
				Kind: link.NotFound, Reason: "OWNER_NOT_FOUND", Field: "ACCOUNT-OR-ID", Message: p.Name + " does not trust " + link.Quote(args[0]),
				Hint: `"postern project owner list" shows whom it trusts`,
			}
		}
		o, err := c.RemoveProjectTrustedOwner(ctx, p.ID, os[i].ID)
		if err != nil {
			return err
		}
		return a.done(o, "%s no longer trusts %s", p.Name, o.ExternalOwnerID)
	})
	return noun("owner", "owners", "Cloud accounts whose endpoints a project's connections let in", list, add, remove)
}

func (a *app) showConnections(cs []api.Connection, none string) error {
	return a.show(api.ConnectionList{Connections: cs}, &table{
		head: []string{"ENDPOINT", "STATUS", "OWNER", "REGION", "WHY"}, none: none,
	}, func(t *table) {
		for _, cn := range cs {
			t.add(cn.EndpointID, trimStatus(cn.Status), cn.ExternalOwnerID, cn.RegionName, why(cn.Conditions))
		}
	})
}

func (a *app) showConnection(cn api.Connection) error {
	return a.show(cn, &table{head: []string{"FIELD", "VALUE"}}, func(t *table) {
		t.add("endpoint", cn.EndpointID)
		t.add("status", trimStatus(cn.Status))
		t.add("owner", cn.ExternalOwnerID)
		t.add("service", cn.ServiceName)
		conditions(t, cn.Conditions)
	})
}

func (a *app) showOwners(os []api.TrustedOwner) error {
	return a.show(api.TrustedOwnerList{TrustedOwners: os}, &table{head: []string{"OWNER", "TYPE", "ID", "SINCE"}, none: "no trusted owners: no endpoint is let in by itself"}, func(t *table) {
		for _, o := range os {
			t.add(o.ExternalOwnerID, o.Type, o.ID, when(o.CreatedAt, time.Now()))
		}
	})
}
