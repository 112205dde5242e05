package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
)

func (a *app) refusedCommand() *cobra.Command {
	tell := func(l api.RefusedAttemptList) error {
		return a.show(l, &table{head: []string{"REASON", "ENDPOINT", "SOURCE", "NAME", "DOOR", "TIMES", "LAST"}, none: "nobody was refused"}, func(t *table) {
			for _, r := range l.RefusedAttempts {
				reason := r.Reason
				if r.WouldRefuse {
					reason += " (passed: report-only)"
				}
				t.add(reason, r.EndpointID, r.Source, r.Name, r.Listener, strconv.FormatInt(r.Count, 10), when(r.LastAt, time.Now()))
			}
		})
	}
	list := a.clusterVerb("list", "List who knocked at a cluster and was refused", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		l, err := c.RefusedAttempts(ctx, cl.ID, api.Page{Limit: 500})
		if err != nil {
			return err
		}
		return tell(l)
	})
	unrouted := a.verb("unrouted", "List who asked for a name that leads to no cluster", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		l, err := c.UnroutedAttempts(ctx, api.Page{Limit: 500})
		if err != nil {
			return err
		}
		return tell(l)
	})
	return noun("refused", "", "Attempts that the gateways refused", list, unrouted)
}

func (a *app) flowCommand() *cobra.Command {
	list := a.clusterVerb("list", "List a cluster's flows, newest first", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		l, err := c.Flows(ctx, cl.ID, api.Page{Limit: 100})
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"STARTED", "DOOR", "ENDPOINT", "SOURCE", "NAME", "PORT", "BACKEND", "IN", "OUT", "ENDED"}, none: "no flows"}, func(t *table) {
			for _, f := range l.Flows {
				end := f.CloseReason
				if f.EndedAt.IsZero() {
					end = "open"
				}
				t.add(when(f.StartedAt, time.Now()), f.Listener, f.EndpointID, f.Source, f.Name, port(f.Port), f.Backend,
					strconv.FormatInt(f.BytesIn, 10), strconv.FormatInt(f.BytesOut, 10), end)
			}
		})
	})
	return noun("flow", "flows", "TCP streams through the gateways", list)
}

// port is a port as a table shows it, empty when it is not known.
func port(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (a *app) eventCommand() *cobra.Command {
	var endpoint, service, owner string
	list := a.clusterVerb("list", "List the history of a cluster, or of one thing in it", cobra.NoArgs, func(ctx context.Context, c *api.Client, cl api.Cluster, _ []string) error {
		var (
			l   api.EventList
			err error
			p   = api.Page{Limit: 500}
		)
		switch {
		case endpoint != "":
			l, err = c.ConnectionEvents(ctx, cl.ID, endpoint, p)
		case service != "":
			l, err = c.ServiceEvents(ctx, cl.ID, service, p)
		case owner != "":
			l, err = c.TrustedOwnerEvents(ctx, cl.ID, owner, p)
		default:
			l, err = c.ClusterEvents(ctx, cl.ID, p)
		}
		if err != nil {
			return err
		}
		return a.showHistory(l)
	})
	list.Flags().StringVar(&endpoint, "endpoint", "", "of the connection of this endpoint")
	list.Flags().StringVar(&service, "service", "", "of the service in this region")
	list.Flags().StringVar(&owner, "owner", "", "of the trusted owner with this id")
	list.MarkFlagsMutuallyExclusive("endpoint", "service", "owner")
	cmd := a.feedCommand()
	cmd.AddCommand(list)
	return cmd
}

// showHistory shows what happened to an object.
func (a *app) showHistory(l api.EventList) error {
	return a.show(l, &table{head: []string{"AT", "WHAT", "WHY", "WHO", "MESSAGE"}, none: "no events"}, func(t *table) {
		for _, e := range l.Events {
			t.add(e.At.Format(time.DateTime), e.Type, e.Reason, e.Actor, saying(e))
		}
	})
}

// saying is an event's message with what somebody has to do next.
func saying(e api.Event) string {
	if e.NextStep == "" {
		return e.Message
	}
	return e.Message + "; next step: " + e.NextStep
}

func (a *app) gatewayCommand() *cobra.Command {
	list := a.verb("list", "List gateways and the rules they decide by", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		l, err := c.Gateways(ctx)
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"GATEWAY", "REVISION", "SEEN"}, none: "no gateway has called yet"}, func(t *table) {
			for _, g := range l.Gateways {
				t.add(g.ID, fmt.Sprintf("%d of %d", g.AppliedRevision, l.RulesRevision), when(g.LastSeenAt, time.Now()))
			}
		})
	})
	return noun("gateway", "gateways", "The data path's processes", list)
}
