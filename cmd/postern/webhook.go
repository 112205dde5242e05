package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) webhookCommand() *cobra.Command {
	return noun("webhook", "webhooks", "Who is told of what happens, by webhook or mail",
		a.webhookList(), a.webhookCreate(), a.webhookDelete(), a.webhookSwitch("enable", true), a.webhookSwitch("disable", false),
		a.webhookTest(), a.webhookDeliveries(), a.webhookRedeliver(), a.webhookRotate())
}

// webhookVerb is a verb on one subscription.
func (a *app) webhookVerb(use, short string, args cobra.PositionalArgs, do func(context.Context, *api.Client, string, []string) error) *cobra.Command {
	return a.verb(use, short, args, func(ctx context.Context, c *api.Client, args []string) error {
		id, err := link.ParseID("WEBHOOK", args[0])
		if err != nil {
			return err
		}
		return do(ctx, c, string(id), args[1:])
	})
}

func (a *app) webhookList() *cobra.Command {
	var organisation string
	cmd := a.verb("list", "List subscriptions", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		id, err := organisationID(ctx, c, organisation)
		if err != nil {
			return err
		}
		l, err := c.Webhooks(ctx, id, api.Page{Limit: 500})
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"WEBHOOK", "KIND", "TO", "TYPES", "ABOUT", "STATE"}, none: `no webhooks; "postern webhook create" makes one`}, func(t *table) {
			for _, w := range l.Webhooks {
				types, about, state := "all", "everything", "enabled"
				if len(w.Types) > 0 {
					types = strings.Join(w.Types, " ")
				}
				switch {
				case w.ClusterID != "":
					about = "cluster " + w.ClusterID
				case w.ProjectID != "":
					about = "project " + w.ProjectID
				}
				if !w.Enabled {
					state = w.DisabledReason
				}
				t.add(w.ID, w.Kind, w.URL+strings.Join(w.Addresses, " "), types, about, state)
			}
		})
	})
	cmd.Flags().StringVar(&organisation, "organisation", "", "of this organisation, by id or name (default the installation's own)")
	return cmd
}

func (a *app) webhookCreate() *cobra.Command {
	var (
		req                            api.CreateWebhookRequest
		organisation, project, cluster string
	)
	cmd := a.verb("create", "Subscribe a URL or mail addresses to what happens", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		if len(req.Addresses) > 0 {
			req.Kind = "MAIL"
		}
		var err error
		if req.OrganisationID, err = organisationID(ctx, c, organisation); err != nil {
			return err
		}
		if project != "" {
			p, err := pickProject(ctx, c, project)
			if err != nil {
				return err
			}
			req.ProjectID = p.ID
		}
		if cluster != "" {
			cl, err := a.pickCluster(ctx, c, cluster)
			if err != nil {
				return err
			}
			req.ClusterID = cl.ID
		}
		w, err := c.CreateWebhook(ctx, req)
		if err != nil {
			return err
		}
		if w.Secret == "" || a.json() {
			return a.done(w, "webhook %s tells %s", w.ID, strings.Join(w.Addresses, ", "))
		}
		return a.tellSecret(w, fmt.Sprintf("webhook %s tells %s", w.ID, w.URL))
	})
	f := cmd.Flags()
	f.StringVar(&req.URL, "url", "", "https URL that gets signed messages")
	f.StringSliceVar(&req.Addresses, "mail", nil, "mail addresses, instead of a URL")
	f.StringSliceVar(&req.Types, "types", nil, "what to be told of, for example connection.action_needed (default everything)")
	f.StringVar(&organisation, "organisation", "", "of this organisation, by id or name (default the whole installation)")
	f.StringVar(&project, "project", "", "of one project alone, by id or name")
	f.StringVarP(&cluster, "cluster", "c", "", "of one cluster alone, by id or name")
	f.StringVar(&req.Description, "description", "", "what it is for")
	cmd.MarkFlagsOneRequired("url", "mail")
	cmd.MarkFlagsMutuallyExclusive("url", "mail")
	return cmd
}

// tellSecret shows a secret, once.
func (a *app) tellSecret(w api.NewWebhook, first string) error {
	if a.json() {
		return a.printJSON(w)
	}
	_, err := fmt.Fprintf(a.out, `%s
its messages are signed with this secret, which is shown once:

  %s

docs/events.md shows how to check a signature
`, first, w.Secret)
	return err
}

func (a *app) webhookDelete() *cobra.Command {
	return a.webhookVerb("delete WEBHOOK", "Delete a subscription with its deliveries", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, id string, _ []string) error {
		if err := c.DeleteWebhook(ctx, id); err != nil {
			return err
		}
		return a.done(map[string]string{"id": id}, "webhook %s is deleted", id)
	})
}

func (a *app) webhookSwitch(verb string, on bool) *cobra.Command {
	return a.webhookVerb(verb+" WEBHOOK", "Switch a subscription "+map[bool]string{true: "on", false: "off"}[on], cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, id string, _ []string) error {
		w, err := c.UpdateWebhook(ctx, id, api.UpdateWebhookRequest{Enabled: &on})
		if err != nil {
			return err
		}
		return a.done(w, "webhook %s is %sd", w.ID, verb)
	})
}

func (a *app) webhookTest() *cobra.Command {
	return a.webhookVerb("test WEBHOOK", "Send a test to a subscription", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, id string, _ []string) error {
		d, err := c.TestWebhook(ctx, id)
		if err != nil {
			return err
		}
		return a.done(d, "test %s is on its way; \"postern webhook deliveries %s\" shows what becomes of it", d.ID, id)
	})
}

func (a *app) webhookDeliveries() *cobra.Command {
	var status string
	cmd := a.webhookVerb("deliveries WEBHOOK", "List what a subscription was told, newest first", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, id string, _ []string) error {
		l, err := c.Deliveries(ctx, id, strings.ToUpper(status), api.Page{Limit: 500, Descending: true})
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"DELIVERY", "TYPE", "STATUS", "ATTEMPTS", "NEXT", "CREATED", "ERROR"}, none: "no deliveries"}, func(t *table) {
			for _, d := range l.Deliveries {
				next := ""
				if !d.NextAttemptAt.IsZero() {
					next = when(d.NextAttemptAt, time.Now())
				}
				t.add(d.ID, d.Type, d.Status, strconv.Itoa(d.Attempts), next, when(d.CreatedAt, time.Now()), d.LastError)
			}
		})
	})
	cmd.Flags().StringVar(&status, "status", "", "pending, delivered or dead (default all)")
	return cmd
}

func (a *app) webhookRedeliver() *cobra.Command {
	var dead bool
	cmd := a.webhookVerb("redeliver WEBHOOK [DELIVERY]", "Deliver once more: one delivery, or all that are dead", cobra.RangeArgs(1, 2), func(ctx context.Context, c *api.Client, id string, args []string) error {
		if dead == (len(args) == 1) {
			return usagef(`give one delivery's id, or --dead for all that are dead`, "nothing says what to deliver once more")
		}
		if dead {
			n, err := c.RedeliverDead(ctx, id)
			if err != nil {
				return err
			}
			return a.done(n, "%d deliveries are on their way again", n.Redelivered)
		}
		delivery, err := link.ParseID("DELIVERY", args[0])
		if err != nil {
			return err
		}
		d, err := c.Redeliver(ctx, id, string(delivery))
		if err != nil {
			return err
		}
		return a.done(d, "delivery %s is on its way again", d.ID)
	})
	cmd.Flags().BoolVar(&dead, "dead", false, "all that are dead, at most a thousand")
	return cmd
}

func (a *app) webhookRotate() *cobra.Command {
	return a.webhookVerb("rotate WEBHOOK", "Change a subscription's secret; the old one is good for a day more", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, id string, _ []string) error {
		w, err := c.RotateWebhookSecret(ctx, id)
		if err != nil {
			return err
		}
		return a.tellSecret(w, fmt.Sprintf("webhook %s has a new secret; the one before is good for a day more", w.ID))
	})
}
