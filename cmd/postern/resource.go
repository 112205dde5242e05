package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// resourceCommands are the verbs of the REST API's resources, each with its sub-verbs.
func (a *app) resourceCommands() []*cobra.Command {
	return []*cobra.Command{
		a.organisationCommand(), a.memberCommand(), a.personCommand(), a.serviceAccountCommand(), a.whoamiCommand(),
		a.loginCommand(), a.logoutCommand(), a.accountCommand(), a.sessionCommand(), a.apiKeyCommand(),
		a.projectCommand(), a.regionCommand(), a.clusterCommand(), a.serviceCommand(), a.connectionCommand(),
		a.endpointCommand(), a.claimCommand(), a.ownerCommand(), a.allowListCommand(), a.publicAccessCommand(), a.refusedCommand(),
		a.reverseProxyCommand(), a.clientCertificateCommand(), a.trustedCertificateCommand(), a.revokedCertificateCommand(),
		a.egressCommand(), a.flowCommand(), a.eventCommand(), a.auditCommand(), a.webhookCommand(), a.gatewayCommand(),
	}
}

// noun makes the command of a resource that only has sub-verbs.
func noun(use, alias, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	if alias != "" {
		c.Aliases = []string{alias}
	}
	c.AddCommand(verbs...)
	return c
}

// verb makes a command that talks to the control plane.
func (a *app) verb(use, short string, args cobra.PositionalArgs, do func(context.Context, *api.Client, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return do(cmd.Context(), c, args)
		},
	}
}

// clusterVerb is a verb on one cluster, which --cluster names.
func (a *app) clusterVerb(use, short string, args cobra.PositionalArgs, do func(context.Context, *api.Client, api.Cluster, []string) error) *cobra.Command {
	var name string
	cmd := a.verb(use, short, args, func(ctx context.Context, c *api.Client, args []string) error {
		cl, err := a.pickCluster(ctx, c, name)
		if err != nil {
			return err
		}
		return do(ctx, c, cl, args)
	})
	a.clusterFlag(cmd, &name)
	return cmd
}

func (a *app) clusterFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "cluster", "c", "", "cluster by id or name (default $POSTERN_CLUSTER, else the only one)")
	_ = cmd.RegisterFlagCompletionFunc("cluster", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		if err := a.settle(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := everyCluster(cmd.Context(), c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, cl := range all {
			names = append(names, cl.Name+"\t"+cl.ID)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// pickCluster finds the cluster that a person named by id or name, or did not name because there is only one.
func (a *app) pickCluster(ctx context.Context, c *api.Client, name string) (api.Cluster, error) {
	if name == "" {
		name = os.Getenv("POSTERN_CLUSTER")
	}
	if id, err := link.ParseID("cluster", name); err == nil {
		return c.Cluster(ctx, string(id))
	}
	all, err := everyCluster(ctx, c)
	if err != nil {
		return api.Cluster{}, err
	}
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, cl := range all {
		if cl.Name == name {
			return cl, nil
		}
		names = append(names, cl.Name)
	}
	switch {
	case len(all) == 0:
		return api.Cluster{}, &link.Error{
			Kind: link.NotFound, Reason: "NO_CLUSTER", Message: "there is no cluster yet", Hint: `"postern cluster create" makes one`,
		}
	case name == "":
		return api.Cluster{}, usagef("give --cluster with one of: "+strings.Join(names, ", "), "there are %d clusters, and none is named", len(all))
	default:
		return api.Cluster{}, &link.Error{
			Kind: link.NotFound, Reason: "UNKNOWN_CLUSTER", Field: "--cluster", Message: "no cluster has this name or id: " + link.Quote(name),
			Hint: "these exist: " + strings.Join(names, ", "),
		}
	}
}

// everyCluster reads all pages.
func everyCluster(ctx context.Context, c *api.Client) ([]api.Cluster, error) {
	var all []api.Cluster
	for p := (api.Page{Limit: 500}); ; {
		l, err := c.Clusters(ctx, p)
		if err != nil {
			return nil, err
		}
		all = append(all, l.Clusters...)
		if p.Token = l.Pagination.NextPage; p.Token == "" {
			return all, nil
		}
	}
}

// show prints v as JSON, or lets fill make a table of it.
func (a *app) show(v any, t *table, fill func(t *table)) error {
	if a.json() {
		return a.printJSON(v)
	}
	fill(t)
	return t.write(a.out)
}

// done says in one line what was done; as JSON it prints the object.
func (a *app) done(v any, format string, args ...any) error {
	if a.json() {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintf(a.out, format+"\n", args...)
	return err
}

func (a *app) regionCommand() *cobra.Command {
	list := a.verb("list", "List regions with their services", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		rs, err := c.Regions(ctx)
		if err != nil {
			return err
		}
		return a.show(api.RegionList{Regions: rs}, &table{head: []string{"PROVIDER", "REGION", "SERVICE", "STATUS", "ZONE IDS", "GATEWAYS"}, none: "no regions"}, func(t *table) {
			for _, r := range rs {
				s := api.Service{Status: "not asked for"}
				if r.Service != nil {
					s = *r.Service
				}
				t.add(r.CloudProvider, r.Name, s.Name, s.Status, strings.Join(s.AvailabilityZoneIDs, " "), strings.Join(r.GatewayTargets, " "))
			}
		})
	})
	var req api.PutRegionRequest
	set := a.verb("set PROVIDER REGION", "Make a region, or change what stands in it", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := c.PutRegion(ctx, strings.ToUpper(args[0]), args[1], req)
		if err != nil {
			return err
		}
		return a.done(r, "region %s %s is set; its service is made when a cluster asks for one", r.CloudProvider, r.Name)
	})
	set.Flags().StringVar(&req.VPCID, "vpc", "", "your network that holds the load balancer")
	set.Flags().StringSliceVar(&req.SubnetIDs, "subnets", nil, "one subnet of it per zone")
	set.Flags().StringSliceVar(&req.GatewayTargets, "gateways", nil, "address:port of the gateways' private listeners")
	set.Flags().IntSliceVar(&req.Ports, "ports", []int{443}, "ports that the load balancer listens on")
	for _, f := range []string{"vpc", "subnets", "gateways"} {
		_ = set.MarkFlagRequired(f)
	}
	remove := a.verb("delete PROVIDER REGION", "Give up a region in which no cluster is reached, and its service with it", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := c.DeleteRegion(ctx, strings.ToUpper(args[0]), args[1])
		if err != nil {
			return err
		}
		if r.Service == nil {
			return a.done(r, "region %s %s is gone", r.CloudProvider, r.Name)
		}
		return a.done(r, "region %s %s goes when its service is deleted at the cloud; \"postern region list\" shows how that stands", r.CloudProvider, r.Name)
	})
	return noun("region", "regions", "Where you are reachable, and through which gateways", list, set, remove)
}

func (a *app) clusterCommand() *cobra.Command {
	list := a.verb("list", "List clusters", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		cs, err := everyCluster(ctx, c)
		if err != nil {
			return err
		}
		return a.show(api.ClusterList{Clusters: cs}, &table{head: []string{"NAME", "ID", "REGION", "PRIVATE NAME", "PUBLIC ACCESS"}, none: "no clusters"}, func(t *table) {
			for _, cl := range cs {
				for _, r := range cl.Regions {
					t.add(cl.Name, cl.ID, r.Name, r.PrivateEndpointDNS, cl.PublicAccess)
				}
			}
		})
	})
	show := a.clusterVerb("show", "Show one cluster", cobra.NoArgs, func(_ context.Context, _ *api.Client, cl api.Cluster, _ []string) error {
		return a.show(cl, &table{head: []string{"FIELD", "VALUE"}}, func(t *table) {
			t.add("name", cl.Name)
			t.add("id", cl.ID)
			t.add("project", cl.ProjectID)
			t.add("public access", cl.PublicAccess)
			t.add("backends", strings.Join(cl.Backends, " "))
			for _, r := range cl.Regions {
				t.add("private name", r.PrivateEndpointDNS)
				t.add("public name", r.SQLDNS)
			}
			for _, name := range cl.CustomNames {
				t.add("custom name", name)
			}
			conditions(t, cl.Conditions)
		})
	})
	var req api.CreateClusterRequest
	create := a.verb("create NAME", "Create a cluster", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		req.Name = args[0]
		p, err := pickProject(ctx, c, req.ProjectID)
		if err != nil {
			return err
		}
		req.ProjectID = p.ID
		if len(req.Regions) == 0 {
			if req.Regions, err = onlyRegion(ctx, c, req.CloudProvider); err != nil {
				return err
			}
		}
		cl, err := c.CreateCluster(ctx, req)
		if err != nil {
			return err
		}
		return a.done(cl, "cluster %s is there: %s", cl.Name, cl.ID)
	})
	create.Flags().StringVar(&req.ProjectID, "project", "", "project by id or name (default the only one)")
	create.Flags().StringVar(&req.CloudProvider, "provider", "AWS", "cloud provider")
	create.Flags().StringSliceVar(&req.Regions, "regions", nil, "regions in which it is reached (default the only one)")
	create.Flags().StringSliceVar(&req.Backends, "backends", nil, "host:port of the servers behind the gateway")
	create.Flags().StringVar(&req.PublicAccess, "public-access", "", "ENABLED, REPORT_ONLY or DISABLED (default ENABLED)")
	var backends, names []string
	var set *cobra.Command
	set = a.clusterVerb("set", "Change a cluster's backends, or the customer's own names that lead to it", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		var req api.UpdateClusterRequest
		if set.Flags().Changed("backends") {
			req.Backends = &backends
		}
		if set.Flags().Changed("custom-name") {
			if slices.Equal(names, []string{"none"}) {
				names = []string{}
			}
			req.CustomNames = &names
		}
		cl, err := c.UpdateCluster(ctx, cl.ID, req)
		switch {
		case err != nil:
			return err
		case req.CustomNames == nil:
			return a.done(cl, "cluster %s leads to %s", cl.Name, strings.Join(cl.Backends, ", "))
		case len(cl.CustomNames) == 0:
			return a.done(cl, "cluster %s has no names of the customer's own", cl.Name)
		}
		return a.done(cl, "%s leads to cluster %s", strings.Join(cl.CustomNames, ", "), cl.Name)
	})
	set.Flags().StringSliceVar(&backends, "backends", nil, "host:port of the servers behind the gateway; replaces all")
	set.Flags().StringSliceVar(&names, "custom-name", nil, "host name of the customer's own that leads to the cluster too, or none; replaces all")
	set.MarkFlagsOneRequired("backends", "custom-name")
	remove := a.clusterVerb("delete", "Delete a cluster that has no connections", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		if err := c.DeleteCluster(ctx, cl.ID); err != nil {
			return err
		}
		return a.done(cl, "cluster %s is deleted", cl.Name)
	})
	return noun("cluster", "clusters", "Deployments of your service", list, show, create, set, a.trafficCommand(), remove)
}

// onlyRegion names the region of a provider when there is no choice.
func onlyRegion(ctx context.Context, c *api.Client, provider string) ([]string, error) {
	all, err := c.Regions(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range all {
		if strings.EqualFold(r.CloudProvider, provider) {
			names = append(names, r.Name)
		}
	}
	switch len(names) {
	case 0:
		return nil, &link.Error{
			Kind: link.NotFound, Reason: "NO_REGION", Message: "there is no region of " + link.Quote(provider) + " yet", Hint: `an operator makes one with "postern region set"`,
		}
	case 1:
		return names, nil
	}
	return nil, usagef("give --regions with some of: "+strings.Join(names, ", "), "there are %d regions, and none is named", len(names))
}

// conditions adds an object's conditions to its table, with the next step of whoever has to act.
func conditions(t *table, cs []api.Condition) {
	for _, c := range cs {
		text := fmt.Sprintf("%s (%s) %s", c.Status, c.Reason, c.Message)
		t.add("· "+c.Type, text)
		if c.NextStep != "" {
			t.add("  next step", c.NextStep)
		}
	}
}

// prefixArg reads an address range from a command line: a CIDR, or one address.
func prefixArg(s string) (string, int, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.String(), addr.BitLen(), nil
	}
	ip, mask, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(mask)
	if !ok || err != nil {
		return "", 0, usagef("write it as 203.0.113.0/24 or 203.0.113.7", "not an address range: %q", s)
	}
	p, err := link.ParsePrefix(ip, n)
	if err != nil {
		if e, ok := errors.AsType[*link.Error](err); ok {
			e.Field = "CIDR"
		}
		return "", 0, err
	}
	return p.Addr().String(), p.Bits(), nil
}
