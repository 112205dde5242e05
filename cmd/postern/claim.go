package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) claimCommand() *cobra.Command {
	list := a.clusterVerb("list", "List a cluster's claims, newest first", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		l, err := c.Claims(ctx, cl.ID, api.Page{Limit: 500, Descending: true})
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"CLAIM", "STATE", "REGION", "ENDPOINT", "CREATED", "EXPIRES"}, none: `no claims; "postern claim create" makes one`}, func(t *table) {
			for _, cm := range l.Claims {
				t.add(cm.ID, cm.State, cm.RegionName, cm.EndpointID, when(cm.CreatedAt, time.Now()), cm.ExpiresAt.Format(time.DateTime))
			}
		})
	})
	var ttl time.Duration
	var region string
	create := a.clusterVerb("create", "Make a code by which an endpoint is approved through the wire", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		if ttl%time.Second != 0 {
			return usagef("give whole seconds, for example 30m", "--ttl cannot be %v", ttl)
		}
		cm, err := c.CreateClaim(ctx, cl.ID, api.CreateClaimRequest{TTLSeconds: int(ttl / time.Second), RegionName: region})
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(cm)
		}
		_, err = fmt.Fprintf(a.out, `claim %s approves one endpoint for %s, until %s
whoever has the endpoint runs this once, with the endpoint's own DNS name in ENDPOINT_DNS:

  %s

this is shown once: who knows the name can use the claim
`, cm.ID, cl.Name, cm.ExpiresAt.Format(time.DateTime), cm.Command)
		return err
	})
	create.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good, at most 24h")
	create.Flags().StringVar(&region, "region", "", "region of the endpoint (default the cluster's only one)")
	revoke := a.clusterVerb("revoke CLAIM", "End a claim that nobody used yet", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, cl api.Cluster, args []string) error {
		id, err := link.ParseID("CLAIM", args[0])
		if err != nil {
			return err
		}
		cm, err := c.RevokeClaim(ctx, cl.ID, string(id))
		if err != nil {
			return err
		}
		return a.done(cm, "claim %s is over: %s", cm.ID, cm.State)
	})
	return noun("claim", "claims", "Codes that approve an endpoint through the wire", list, create, revoke)
}
