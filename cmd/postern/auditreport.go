package main

import (
	"context"
	"encoding/csv"
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
	var asCSV bool
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
			switch {
			case asCSV:
				return writeReport(a.out, r)
			case a.json():
				return a.printJSON(r)
			}
			return tellReport(a.out, r)
		})
	a.clusterFlag(cmd, &name)
	auditTimes(cmd, &from, &to, "720h") // a month
	cmd.Flags().BoolVar(&asCSV, "csv", false, "write comma-separated values, one row for each thing that held or happened")
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
	egress := &table{head: []string{"EGRESS ENDPOINT", "REGION", "SERVICE", "FROM", "TO"}, none: "none"}
	if err := section("Egress endpoints that were available", egress, func() {
		for _, e := range r.Egress {
			for _, i := range e.Could {
				egress.add(e.ID, e.Region, e.Target, stamp(i.From), stamp(i.To))
			}
		}
	}); err != nil {
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

// writeReport writes a report for programs that read tables: one row for each thing that held or happened, told apart by the
// first column. Columns that say nothing of a row are empty.
func writeReport(w io.Writer, r api.AuditReport) error {
	out := csv.NewWriter(w)
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	add := func(cells ...string) {
		for i, c := range cells {
			// What others have named must not become a formula in the auditor's spreadsheet.
			if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
				cells[i] = "'" + c
			}
		}
		_ = out.Write(cells) // Error tells
	}
	flows := func(who, account string, f api.AuditFlows) {
		if f.Count > 0 {
			add("did_pass", who, account, stamp(f.FirstAt), stamp(f.LastAt), "", "", strconv.FormatInt(f.Count, 10), strconv.FormatInt(f.BytesIn, 10), strconv.FormatInt(f.BytesOut, 10))
		}
	}
	add("section", "object", "account", "from", "to", "what", "by", "count", "bytes_in", "bytes_out")
	add("report", r.ClusterID, "", stamp(r.From), stamp(r.To), r.ClusterName, "", "", "", "")
	for _, e := range r.Endpoints {
		for _, i := range e.Could {
			add("could_pass", e.EndpointID, e.ExternalOwnerID, stamp(i.From), stamp(i.To), i.What, i.By, "", "", "")
		}
		flows(e.EndpointID, e.ExternalOwnerID, e.Did)
		if e.Outside > 0 {
			add("flows_outside", e.EndpointID, e.ExternalOwnerID, "", "", "began while it was not let in", "", strconv.FormatInt(e.Outside, 10), "", "")
		}
	}
	flows("(public access)", "", r.PublicFlows)
	for _, e := range r.Egress {
		for _, i := range e.Could {
			add("egress", e.ID, "", stamp(i.From), stamp(i.To), e.Region+" "+e.Target, i.By, "", "", "")
		}
	}
	for _, i := range r.Public {
		add("public_access", r.ClusterID, "", stamp(i.From), stamp(i.To), i.What, i.By, "", "", "")
	}
	for _, a := range r.AllowList {
		add("allow_list_at_start", a.Prefix, "", stamp(r.From), "", fmt.Sprintf("ui %t, sql %t", a.UI, a.SQL), a.Name, "", "", "")
	}
	for _, x := range r.Refused {
		add("refused", x.EndpointID, x.Source, stamp(x.FirstAt), stamp(x.LastAt), x.Reason+" "+x.Name, "", strconv.FormatInt(x.Count, 10), "", "")
	}
	for _, e := range r.Changes {
		add("change", e.ObjectKind+" "+e.ObjectID, "", stamp(e.At), "", e.Decision+" "+e.Action+": "+e.Message, e.Actor.Name, strconv.FormatInt(e.Count, 10), "", "")
	}
	for _, l := range r.Limits {
		add("limit", "", "", "", "", l, "", "", "", "")
	}
	out.Flush()
	return out.Error()
}
