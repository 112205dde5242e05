package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) egressCommand() *cobra.Command {
	principal := a.clusterVerb("principal", "Show whom a customer has to allow to use its service", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		ps, err := c.EgressPrincipals(ctx, cl.ID)
		if err != nil {
			return err
		}
		return a.show(api.EgressPrincipalList{EgressPrincipals: ps}, &table{head: []string{"REGION", "ACCOUNT", "PRINCIPAL TO ALLOW"}, none: "no regions"}, func(t *table) {
			for _, p := range ps {
				t.add(p.RegionName, p.AccountID, p.AllowedPrincipal)
			}
		})
	})
	list := a.clusterVerb("list", "List a cluster's egress private endpoints", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		l, err := c.EgressEndpoints(ctx, cl.ID, api.Page{Limit: 500})
		if err != nil {
			return err
		}
		return a.show(l, &table{
			head: []string{"ID", "STATE", "SERVICE", "ENDPOINT", "DOMAIN NAMES", "WHY"}, none: `no egress private endpoints; "postern egress create" asks for one`,
		}, func(t *table) {
			for _, e := range l.EgressPrivateEndpoints {
				t.add(e.ID, e.State, e.TargetServiceIdentifier, e.EndpointConnectionID, strings.Join(e.DomainNames, " "), why(e.Conditions))
			}
		})
	})
	get := a.clusterVerb("get ID", "Show one egress private endpoint and what it waits for", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		id, err := link.ParseID("ID", args[0])
		if err != nil {
			return err
		}
		e, err := c.EgressEndpoint(ctx, cl.ID, string(id))
		if err != nil {
			return err
		}
		return a.showEgress(e)
	})
	var region string
	create := a.clusterVerb("create SERVICE-NAME", "Ask for an endpoint to a service of the customer", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		in := region
		if in == "" && len(cl.Regions) == 1 {
			in = cl.Regions[0].Name
		}
		if in == "" {
			return usagef("give --region", "cluster %s is in several regions", cl.Name)
		}
		e, err := c.CreateEgressEndpoint(ctx, cl.ID, api.CreateEgressEndpointRequest{
			Region: in, TargetServiceIdentifier: args[0], TargetServiceType: api.PrivateService,
		})
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(e)
		}
		if _, err := fmt.Fprintf(a.out, "egress endpoint %s to %s is %s\n", e.ID, e.TargetServiceIdentifier, e.State); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%q shows what it waits for\n", "postern egress get "+e.ID)
		return err
	})
	create.Flags().StringVar(&region, "region", "", "region of the service (default the cluster's only one)")
	set := a.clusterVerb("set-domains ID [NAME…]", "Set the domain names that lead to an egress endpoint; none takes them away", cobra.MinimumNArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		id, err := link.ParseID("ID", args[0])
		if err != nil {
			return err
		}
		e, err := c.UpdateEgressEndpoint(ctx, cl.ID, string(id), api.UpdateEgressEndpointRequest{DomainNames: append([]string{}, args[1:]...)})
		if err != nil {
			return err
		}
		if len(e.DomainNames) == 0 {
			return a.done(e, "no domain name leads to %s any more", e.ID)
		}
		return a.done(e, "%s is to be reached by %s", e.ID, strings.Join(e.DomainNames, ", "))
	})
	remove := a.clusterVerb("delete ID", "Take an egress endpoint away with its domain names", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		id, err := link.ParseID("ID", args[0])
		if err != nil {
			return err
		}
		if err := c.DeleteEgressEndpoint(ctx, cl.ID, string(id)); err != nil {
			return err
		}
		return a.done(map[string]string{}, "egress endpoint %s goes", id)
	})
	events := a.clusterVerb("events ID", "Show the history of an egress private endpoint", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		id, err := link.ParseID("ID", args[0])
		if err != nil {
			return err
		}
		l, err := c.EgressEndpointEvents(ctx, cl.ID, string(id), api.Page{Limit: 500})
		if err != nil {
			return err
		}
		return a.showHistory(l)
	})
	return noun("egress", "", "The way back: your endpoints to services of customers", principal, list, get, create, set, remove, events)
}

func (a *app) showEgress(e api.EgressEndpoint) error {
	return a.show(e, &table{head: []string{"FIELD", "VALUE"}}, func(t *table) {
		t.add("id", e.ID)
		t.add("state", e.State)
		t.add("service", e.TargetServiceIdentifier)
		t.add("region", e.Region)
		t.add("endpoint", e.EndpointConnectionID)
		t.add("address", e.EndpointAddress)
		if len(e.DomainNames) > 0 {
			t.add("domain names", strings.Join(e.DomainNames, " ")+" ("+e.DomainNamesState+")")
		}
		t.add("to allow", e.AllowedPrincipal)
		if !e.ExpiresAt.IsZero() {
			t.add("expires", e.ExpiresAt.Format(time.DateTime))
		}
		conditions(t, e.Conditions)
	})
}
