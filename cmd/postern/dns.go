package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/dnsplan"
)

// dnsForms are the forms in which "postern dns" prints records. The first three make private zones inside the VPC; the
// others are for name servers, resolvers and machines outside it.
var dnsForms = func() []string {
	forms := []string{"aws", "route53", "terraform", "zonefile"}
	for _, r := range dnsplan.Resolvers() {
		forms = append(forms, string(r))
	}
	return append(forms, "hosts")
}()

// dnsRequest is what a person asks "postern dns" for.
type dnsRequest struct {
	form      string
	names     []string // the customer's own; empty: the cluster's private name
	resolvers []string
	addrs     []string
	target    dnsplan.Target
}

func (a *app) dnsCommand() *cobra.Command {
	var (
		c   connectFlags
		req dnsRequest
	)
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Print the DNS records that lead to an endpoint, for Route 53 or for your own name servers",
		Long: `Print the records that lead a cluster's private name, or a name of your own, to the endpoint in your VPC. Nothing
is changed anywhere.

  aws, route53, terraform             a private zone inside the VPC
  zonefile                            records for the zone above the name, in a corporate name server
  unbound, dnsmasq, bind, coredns     configuration of a resolver outside the VPC
  hosts                               lines for one machine's hosts file, to try it out

All but hosts lead every name below there too, such as those of Docker repositories; a hosts file knows no wildcards, and has those
that the cluster's reverse proxy names. The endpoint is the one that "postern connect" made in the VPC; --target names another.`,
		Example: `  postern dns --form zonefile
  postern dns --form bind --resolvers 10.0.0.10,10.0.16.10
  postern dns --form terraform --name orders.acme.example`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dns(cmd.Context(), &c, req) },
	}
	f := c.add(a, cmd)
	f.StringVar(&req.form, "form", "zonefile", "one of "+strings.Join(dnsForms, ", "))
	f.StringSliceVar(&req.names, "name", nil, "a name of your own that shall lead to the endpoint (default the cluster's private name)")
	f.StringSliceVar(&req.resolvers, "resolvers", nil, "addresses inside the VPC that answer for it, at least two (a Route 53 inbound endpoint)")
	f.StringSliceVar(&req.addrs, "addresses", nil, "of the endpoint's interfaces, for --form hosts (default those of the endpoint in your VPC)")
	f.StringVar(&req.target.Name, "target", "", "the endpoint's regional DNS name")
	f.StringVar(&req.target.HostedZoneID, "target-zone", "", "hosted zone id of that name, as the endpoint's DnsEntries tell it")
	_ = cmd.RegisterFlagCompletionFunc("form", cobra.FixedCompletions(dnsForms, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) dns(ctx context.Context, c *connectFlags, req dnsRequest) error {
	if !slices.Contains(dnsForms, req.form) {
		return usagef("write one of "+strings.Join(dnsForms, ", "), "unknown form %q", req.form)
	}
	cfg, err := c.config(ctx, a)
	if err != nil {
		return err
	}
	p, err := connect.Prepare(ctx, cfg, c.req)
	if err != nil {
		return err
	}
	in := dnsplan.Input{Case: dnsplan.ClusterZone, Names: []string{p.PrivateName}, Target: p.DNS.Target, VPCID: p.Request.VPCID, Region: p.Request.Region}
	if len(req.names) > 0 {
		in.Case, in.Names = dnsplan.CustomDomain, req.names
	}
	for _, name := range in.Names {
		in.Repositories = append(in.Repositories, p.Proxy.RepositoryNames(name)...)
	}
	if req.target.Known() {
		in.Target = req.target
	}
	switch req.form {
	case "aws", "route53", "terraform":
	case "hosts":
		in.Case = dnsplan.HostsFile
		if in.Addrs, err = addressArgs(req.addrs); err == nil && len(in.Addrs) == 0 {
			in.Addrs, err = connect.EndpointAddrs(ctx, cfg, p)
		}
	default:
		in.Case = dnsplan.OnPremises
		in.Resolvers, err = addressArgs(req.resolvers)
	}
	if err != nil {
		return err
	}
	if !in.Target.Known() && len(in.Addrs) == 0 {
		return usagef(`"postern connect" makes one; --target names one that is not in this VPC`, "there is no endpoint for the cluster in %s yet", p.Request.VPCID)
	}
	plan, err := dnsplan.Make(in)
	if err != nil {
		return err
	}
	text, err := dnsText(plan, req.form)
	if err != nil {
		return err
	}
	if req.form == "aws" && cfg.AWS.EndpointURL != "" {
		text = dnsplan.AWSAt(cfg.AWS.EndpointURL) + text
	}
	for _, name := range in.Names {
		if name != p.PrivateName && !slices.Contains(p.CustomNames, name) {
			plan.Notes = append(plan.Notes, fmt.Sprintf("cluster %s does not have the name %s, so that its gateway refuses whoever asks for it; the vendor's operator can add it: postern cluster set --custom-name %[2]s", p.ClusterName, name))
		}
	}
	if a.json() {
		return a.printJSON(map[string]any{"form": req.form, "text": text, "notes": plan.Notes, "requires": plan.Requires})
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(a.err, "note: %s\n", n)
	}
	_, err = fmt.Fprint(a.out, text)
	return err
}

// addressArgs reads addresses from a command line.
func addressArgs(args []string) (out []netip.Addr, err error) {
	for _, s := range args {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, usagef("write them as 10.0.0.10,10.0.16.10", "not an address: %q", s)
		}
		out = append(out, addr)
	}
	return out, nil
}

// dnsText writes a plan in one of dnsForms.
func dnsText(p dnsplan.Plan, form string) (string, error) {
	switch form {
	case "aws":
		return p.AWSLines("postern-dns"), nil
	case "terraform":
		return p.Terraform("aws_vpc_endpoint.postern"), nil
	case "route53":
		var b strings.Builder
		for _, z := range p.Zones {
			batch, err := p.ChangeBatch(z)
			if err != nil {
				return "", err
			}
			b.WriteString(batch + "\n")
		}
		return b.String(), nil
	case "zonefile":
		return p.ZoneFile()
	case "hosts":
		return p.HostsFile(), nil
	}
	return p.Snippet(dnsplan.Resolver(form))
}
