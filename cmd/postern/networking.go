package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) serviceCommand() *cobra.Command {
	tell := func(ss []api.Service) error {
		return a.show(api.ServiceList{Services: ss}, &table{
			head: []string{"REGION", "STATUS", "SERVICE NAME", "ZONE IDS"},
			none: `no services; "postern service create" asks for them`,
		}, func(t *table) {
			for _, s := range ss {
				t.add(s.RegionName, s.Status, s.Name, strings.Join(s.AvailabilityZoneIDs, " "))
			}
		})
	}
	list := a.clusterVerb("list", "List a cluster's private endpoint services", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		ss, err := c.Services(ctx, cl.ID)
		if err != nil {
			return err
		}
		return tell(ss)
	})
	create := a.clusterVerb("create", "Ask for a service in every region of the cluster", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		ss, err := c.CreateServices(ctx, cl.ID)
		if err != nil {
			return err
		}
		return tell(ss)
	})
	show := a.clusterVerb("show REGION", "Show one service and what it waits for", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		ss, err := c.Services(ctx, cl.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(ss, func(s api.Service) bool { return s.RegionName == args[0] })
		if i < 0 {
			return &link.Error{
				Kind: link.NotFound, Reason: "SERVICE_NOT_FOUND", Field: "REGION", Message: cl.Name + " has no service in region " + link.Quote(args[0]),
				Hint: `"postern service list" shows those that it has, "postern service create" asks for them`,
			}
		}
		return a.show(ss[i], &table{head: []string{"FIELD", "VALUE"}}, func(t *table) {
			t.add("region", ss[i].RegionName)
			t.add("status", ss[i].Status)
			t.add("service name", ss[i].Name)
			t.add("zone ids", strings.Join(ss[i].AvailabilityZoneIDs, " "))
			conditions(t, ss[i].Conditions)
		})
	})
	return noun("service", "services", "What customers create their endpoints for", list, show, create, a.profileCommand())
}

func (a *app) connectionCommand() *cobra.Command {
	list := a.clusterVerb("list", "List a cluster's connections", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		cs, err := c.Connections(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.showConnections(cs, `no connections; "postern connect" makes one`)
	})
	show := a.clusterVerb("show ENDPOINT-ID", "Show one connection and what it waits for", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		cn, err := c.Connection(ctx, cl.ID, args[0])
		if err != nil {
			return err
		}
		return a.showConnection(cn)
	})
	add := a.clusterVerb("add ENDPOINT-ID", "Register an endpoint with the cluster", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		cn, err := c.AddConnection(ctx, cl.ID, args[0])
		if err != nil {
			return err
		}
		return a.done(cn, "%s is registered with %s: %s", cn.EndpointID, cl.Name, trimStatus(cn.Status))
	})
	remove := a.clusterVerb("remove ENDPOINT-ID", "Take a connection away and cut its flows", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		if err := c.DeleteConnection(ctx, cl.ID, args[0]); err != nil {
			return err
		}
		return a.done(map[string]string{}, "%s may no longer reach %s", args[0], cl.Name)
	})
	return noun("connection", "connections", "Which endpoints reach which cluster", list, show, add, remove)
}

// why is the first condition that does not hold, for the last column of a list.
func why(cs []api.Condition) string {
	for _, c := range cs {
		if c.Status == "False" {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

func (a *app) endpointCommand() *cobra.Command {
	list := a.clusterVerb("list", "List endpoints at the cloud that belong to the cluster", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		es, err := c.AWSEndpointConnections(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.show(api.AWSEndpointConnectionList{Connections: es}, &table{head: []string{"ENDPOINT", "STATUS", "OWNER", "REGION", "SEEN"}, none: "no endpoints"}, func(t *table) {
			for _, e := range es {
				t.add(e.EndpointID, e.Status, e.ExternalOwnerID, e.RegionName, when(e.UpdatedAt, time.Now()))
			}
		})
	})
	set := func(use, short, status, said string) *cobra.Command {
		return a.clusterVerb(use, short, cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
			e, err := c.SetAWSEndpointConnection(ctx, cl.ID, args[0], status)
			if err != nil {
				return err
			}
			return a.done(e, "%s %s (it was %s)", e.EndpointID, said, e.Status)
		})
	}
	return noun("endpoint", "endpoints", "Endpoints as the cloud shows them", list,
		set("accept ENDPOINT-ID", "Let an endpoint in, whoever owns it", "AVAILABLE", "is being let in"),
		set("reject ENDPOINT-ID", "Turn an endpoint away", "REJECTED", "is being turned away"))
}

func (a *app) ownerCommand() *cobra.Command {
	list := a.clusterVerb("list", "List the accounts that a cluster trusts", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		os, err := c.TrustedOwners(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.showOwners(os)
	})
	var typ string
	add := a.clusterVerb("add ACCOUNT", "Trust an account: its registered endpoints are let in", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		o, err := c.AddTrustedOwner(ctx, cl.ID, api.AddTrustedOwnerRequest{Type: typ, ExternalOwnerID: args[0]})
		if err != nil {
			return err
		}
		return a.done(o, "%s trusts %s", cl.Name, o.ExternalOwnerID)
	})
	add.Flags().StringVar(&typ, "type", "AWS_ACCOUNT_ID", "what the account id is an id of")
	remove := a.clusterVerb("remove ACCOUNT-OR-ID", "Stop trusting an account: its endpoints are turned away", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		os, err := c.TrustedOwners(ctx, cl.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(os, func(o api.TrustedOwner) bool { return o.ExternalOwnerID == args[0] || o.ID == args[0] })
		if i < 0 {
			return &link.Error{
				Kind: link.NotFound, Reason: "OWNER_NOT_FOUND", Field: "ACCOUNT-OR-ID", Message: cl.Name + " does not trust " + link.Quote(args[0]),
				Hint: `"postern owner list" shows whom it trusts`,
			}
		}
		o, err := c.RemoveTrustedOwner(ctx, cl.ID, os[i].ID)
		if err != nil {
			return err
		}
		return a.done(o, "%s no longer trusts %s", cl.Name, o.ExternalOwnerID)
	})
	return noun("owner", "owners", "Cloud accounts that may connect", list, add, remove)
}

func (a *app) allowListCommand() *cobra.Command {
	list := a.clusterVerb("list", "List who may use the public door", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		l, err := c.AllowList(ctx, cl.ID, api.Page{Limit: 500})
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"RANGE", "UI", "SQL", "NAME"}, none: "the allow list is empty: nobody passes the public door"}, func(t *table) {
			for _, e := range l.AllowList {
				t.add(fmt.Sprintf("%s/%d", e.CIDRIP, e.CIDRMask), yesNo(e.UI), yesNo(e.SQL), e.Name)
			}
		})
	})
	var e api.AllowEntry
	add := a.clusterVerb("add CIDR", "Let a range of addresses in by the public door", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		var err error
		if e.CIDRIP, e.CIDRMask, err = prefixArg(args[0]); err != nil {
			return err
		}
		got, err := c.AddAllowEntry(ctx, cl.ID, e)
		if err != nil {
			return err
		}
		return a.done(got, "%s/%d may use the public door of %s", got.CIDRIP, got.CIDRMask, cl.Name)
	})
	add.Flags().BoolVar(&e.UI, "ui", true, "admit to the web ports")
	add.Flags().BoolVar(&e.SQL, "sql", true, "admit to the data ports")
	add.Flags().StringVar(&e.Name, "name", "", "what the range is")
	remove := a.clusterVerb("remove CIDR", "Take a range off the allow list and cut its flows", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		ip, mask, err := prefixArg(args[0])
		if err != nil {
			return err
		}
		got, err := c.RemoveAllowEntry(ctx, cl.ID, ip, mask)
		if err != nil {
			return err
		}
		return a.done(got, "%s/%d may no longer use the public door of %s", got.CIDRIP, got.CIDRMask, cl.Name)
	})
	return noun("allowlist", "", "Addresses that may use a cluster's public door", list, add, remove)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// publicAccessModes are the modes of the public door, as they are typed; the API writes them in capitals.
var publicAccessModes = []string{"enabled", "report-only", "disabled"}

func (a *app) publicAccessCommand() *cobra.Command {
	show := a.clusterVerb("show", "Show the state of the public door", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		p, err := c.PublicAccess(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.done(p, "public access of %s: %s", cl.Name, p.Mode)
	})
	set := a.clusterVerb("set enabled|report-only|disabled", "Open or close the public door", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		mode := strings.ReplaceAll(strings.ToLower(args[0]), "_", "-")
		if !slices.Contains(publicAccessModes, mode) {
			return usagef("write one of: "+strings.Join(publicAccessModes, ", "), "unknown mode of public access: %s", link.Quote(args[0]))
		}
		p, err := c.SetPublicAccess(ctx, cl.ID, strings.ReplaceAll(strings.ToUpper(mode), "-", "_"))
		if err != nil {
			return err
		}
		return a.done(p, "public access of %s: %s", cl.Name, p.Mode)
	})
	set.ValidArgs = publicAccessModes
	return noun("public-access", "", "The public door of a cluster", show, set)
}
