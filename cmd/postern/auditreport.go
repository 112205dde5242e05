package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) auditReportCommand() *cobra.Command {
	var name, from, to string
	cmd := a.verb("report", "Tell an auditor which endpoints could pass traffic to a cluster in a time, and which did", cobra.NoArgs,
		func(ctx context.Context, c *api.Client, _ []string) error {
			begin, err := timeArg("from", from, time.Now())
			if err != nil {
				return err
			}
			end, err := timeArg("to", to, time.Now())
			if err != nil {
				return err
			}
			id := name
			if _, bad := link.ParseID("cluster", name); bad != nil { // an id may be that of a cluster that is gone
				cl, err := a.pickCluster(ctx, c, name)
				if err != nil {
					return err
				}
				id = cl.ID
			}
			r, err := c.AuditReport(ctx, id, begin, end)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(r)
			}
			return tellReport(a.out, r)
		})
	a.clusterFlag(cmd, &name)
	auditTimes(cmd, &from, &to, "720h") // a month
	return cmd
}

// tellReport writes a report for people: what could, what did, who changed what, and what the report cannot know.
func tellReport(w io.Writer, r api.AuditReport) error {
	stamp := func(t time.Time) string { return t.UTC().Format(time.DateTime) }
	fmt.Fprintf(w, "Cluster %s (%s), %s to %s UTC\n", r.ClusterName, r.ClusterID, stamp(r.From), stamp(r.To))
	section := func(title string, t *table, fill func()) error {
		fmt.Fprintf(w, "\n%s\n", title)
		fill()
		return t.write(w)
	}
	could := &table{head: []string{"ENDPOINT", "ACCOUNT", "FROM", "TO", "WHY", "BY"}, none: "no endpoint"}
	did := &table{head: []string{"ENDPOINT", "FLOWS", "IN", "OUT", "FIRST", "LAST", "NOT LET IN"}, none: "no flows"}
	flows := func(who string, f api.AuditFlows, outside string) {
		if f.Count > 0 {
			did.add(who, strconv.FormatInt(f.Count, 10), strconv.FormatInt(f.BytesIn, 10), strconv.FormatInt(f.BytesOut, 10), stamp(f.FirstAt), stamp(f.LastAt), outside)
		}
	}
	err := section("Endpoints that could pass traffic", could, func() {
		for _, e := range r.Endpoints {
			for _, i := range e.Could {
				could.add(e.EndpointID, e.ExternalOwnerID, stamp(i.From), stamp(i.To), i.What, i.By)
			}
			flows(e.EndpointID, e.Did, strconv.FormatInt(e.Outside, 10))
		}
		flows("(public access)", r.PublicFlows, "")
	})
	if err != nil {
		return err
	}
	if err := section("Flows that did", did, func() {}); err != nil {
		return err
	}
	public := &table{head: []string{"PUBLIC ACCESS", "FROM", "TO", "BY"}, none: "none"}
	if err := section("Public access", public, func() {
		for _, i := range r.Public {
			public.add(i.What, stamp(i.From), stamp(i.To), i.By)
		}
	}); err != nil {
		return err
	}
	allowed := &table{head: []string{"RANGE", "UI", "SQL", "NAME"}, none: "empty: it admitted nobody"}
	if err := section("Allow list at the beginning", allowed, func() {
		for _, e := range r.AllowList {
			allowed.add(e.Prefix, strconv.FormatBool(e.UI), strconv.FormatBool(e.SQL), e.Name)
		}
	}); err != nil {
		return err
	}
	refused := &table{head: []string{"REASON", "ENDPOINT", "SOURCE", "NAME", "TIMES", "FIRST", "LAST"}, none: "none"}
	if err := section("Attempts that were refused", refused, func() {
		for _, x := range r.Refused {
			refused.add(x.Reason, x.EndpointID, x.Source, x.Name, strconv.FormatInt(x.Count, 10), stamp(x.FirstAt), stamp(x.LastAt))
		}
	}); err != nil {
		return err
	}
	changes := &table{head: []string{"ENTRY", "AT", "WHO", "ACTION", "DECISION", "WHY"}, none: "none"}
	if err := section("Who did what", changes, func() {
		for _, e := range r.Changes {
			changes.add(auditRow(e)...)
		}
	}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\nWhat this report cannot know\n  %s\n", strings.Join(r.Limits, "\n  "))
	return err
}
