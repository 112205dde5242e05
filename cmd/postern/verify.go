package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/verify"
)

// verifyRequest is what a person asks "postern verify" to look at.
type verifyRequest struct {
	cluster, region, endpoint string
	name                      string // of the customer's own; empty: the cluster's private name
	vpc                       string
	cidrs, addrs              []string
	path                      string
	port                      uint16
	publicRefused             bool
	failOnWarn                bool
	timeout                   time.Duration
	place                     place
}

func (a *app) verifyCommand() *cobra.Command {
	var req verifyRequest
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Say whether the private path works, and if not which layer is broken and on whose side",
		Long: `Look at the private path from a place in the customer's network: DNS, addresses, TCP, TLS, the service's
answer, and the gateway's signed proof of path, which alone proves through which endpoint the flow came.

Exit codes: 0 the path works, 1 a check failed, 2 the path could not be looked at.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), req) },
	}
	f := cmd.Flags()
	a.clusterFlag(cmd, &req.cluster)
	f.StringVar(&req.region, "region", "", "region of the cluster (default the only one)")
	f.StringVar(&req.name, "name", "", "a name of your own that leads to the cluster, to look at in place of its private name")
	f.StringVar(&req.endpoint, "endpoint", "", "endpoint that the path has to go through (default the only one that is connected)")
	f.StringVar(&req.vpc, "vpc", "", `VPC to look from, in an embedded cloud (default $POSTERN_VPC, else the customer's of "postern up")`)
	f.StringSliceVar(&req.cidrs, "vpc-cidr", nil, "address ranges of the VPC: private addresses outside them are reported")
	f.StringSliceVar(&req.addrs, "interface-addr", nil, "addresses of the endpoint's interfaces: probed beside what DNS says")
	f.StringVar(&req.path, "path", "/", "HTTP path that the service answers; empty asks nothing over HTTP")
	f.Uint16Var(&req.port, "port", 443, "TCP port of the service")
	f.BoolVar(&req.publicRefused, "expect-public-refused", false, "also check that the public name refuses")
	f.BoolVar(&req.failOnWarn, "fail-on-warn", false, "exit with 1 on warnings too")
	f.DurationVar(&req.timeout, "step-timeout", verify.DefaultStepTimeout, "bound of each step")
	req.place.flags(f)
	return cmd
}

func (a *app) verify(ctx context.Context, req verifyRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	cl, err := a.pickCluster(ctx, c, req.cluster)
	if err != nil {
		return err
	}
	region, err := pickRegion(cl, req.region)
	if err != nil {
		return err
	}
	local := a.ready()
	vpc := a.vpc(req.vpc, local)
	endpoint, err := pickEndpoint(ctx, c, cl, req.endpoint, local.owner(vpc))
	if err != nil {
		return err
	}
	t := verify.Target{
		PrivateName: region.PrivateEndpointDNS, PublicName: region.SQLDNS, Port: req.port, ClusterID: link.ID(cl.ID), EndpointID: endpoint,
		HTTPPath: req.path, ExpectPublicRefused: req.publicRefused, StepTimeout: req.timeout,
	}
	if req.name != "" {
		if t.PrivateName = strings.TrimSuffix(strings.ToLower(req.name), "."); !slices.Contains(cl.CustomNames, t.PrivateName) {
			return usagef("the vendor's operator can add it: postern cluster set --custom-name "+t.PrivateName, "cluster %s does not have the name %s", cl.Name, t.PrivateName)
		}
	}
	proxy, err := c.ReverseProxy(ctx, cl.ID)
	if err != nil && !api.IsNotFound(err) {
		return err
	}
	if names := proxy.RepositoryNames(t.PrivateName); len(names) > 0 {
		t.RepositoryName = names[0]
	}
	for _, s := range req.cidrs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return usagef("write it as 10.0.0.0/16", "not an address range: %q", s)
		}
		t.VPCCIDRs = append(t.VPCCIDRs, p)
	}
	for _, s := range req.addrs {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return usagef("write it as 10.0.1.17", "not an address: %q", s)
		}
		t.InterfaceAddrs = append(t.InterfaceAddrs, addr)
	}
	req.place.settle(local, vpc)
	tell := newTeller(a.err)
	tell.begin("looking at %s", t.PrivateName)
	report, err := a.prove(ctx, c, t, region.Name, req.place)
	tell.clear()
	if err != nil {
		return err
	}
	if a.json() {
		err = a.printJSON(report)
	} else {
		err = report.WriteText(a.out, colourful(a.out), a.verbose)
	}
	if err != nil {
		return err
	}
	code := report.ExitCode()
	if code == 0 && req.failOnWarn && report.Worst() == verify.Warn {
		code = exitFailed
	}
	if code != 0 {
		return verdict(code)
	}
	return nil
}

// prove looks at the path to t from a place, asks the control plane for its side, and judges.
func (a *app) prove(ctx context.Context, c *api.Client, t verify.Target, region string, at place) (verify.Report, error) {
	vantage, err := at.vantage()
	if err != nil {
		return verify.Report{}, err
	}
	if t.RootCAs, err = at.roots(); err != nil {
		return verify.Report{}, err
	}
	if t.ProofKeys, err = proofKeys(ctx, c, string(t.ClusterID)); err != nil {
		return verify.Report{}, err
	}
	seen := verify.Probe(ctx, vantage, t)
	report := verify.Judge(t, seen, vendorFacts(ctx, c, string(t.ClusterID), t.EndpointID, region))
	if report.ExitCode() == 0 {
		return report, nil
	}
	// Gateways report what they refused, and which backends fail them, in batches: the next one may say why.
	select {
	case <-ctx.Done():
		return report, nil
	case <-time.After(reportLag):
	}
	return verify.Judge(t, seen, vendorFacts(ctx, c, string(t.ClusterID), t.EndpointID, region)), nil
}

// reportLag is well above the time between two batches of a gateway's reports.
const reportLag = 800 * time.Millisecond

// vpc is the network that a customer's command works in: the flag, the environment, or the customer's VPC of a running
// "postern up".
func (a *app) vpc(flag string, local *Ready) string {
	if flag != "" {
		return flag
	}
	if v := os.Getenv("POSTERN_VPC"); v != "" {
		return v
	}
	if local != nil {
		if acc, ok := local.account("customer"); ok {
			return acc.VPCID
		}
	}
	return ""
}

func pickRegion(cl api.Cluster, name string) (api.ClusterRegion, error) {
	var names []string
	for _, r := range cl.Regions {
		if r.Name == name || name == "" && len(cl.Regions) == 1 {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return api.ClusterRegion{}, usagef("give --region with one of: "+strings.Join(names, ", "), "cluster %s is not in region %q", cl.Name, name)
}

// pickEndpoint takes the endpoint that was named, or else the one that is meant. owner is the account that the path begins
// in, "" when it is not known. No endpoint is no error: the judge says what a path without a connection lacks.
func pickEndpoint(ctx context.Context, c *api.Client, cl api.Cluster, id, owner string) (link.EndpointID, error) {
	if id != "" {
		return link.ParseEndpointID(link.Provider(cl.CloudProvider), id)
	}
	cs, err := c.Connections(ctx, cl.ID)
	if err != nil {
		return "", err
	}
	candidates := candidateConnections(cs, owner)
	switch len(candidates) {
	case 0:
		return "", nil
	case 1:
		return link.EndpointID(candidates[0].EndpointID), nil
	}
	var ids []string
	for _, cn := range candidates {
		ids = append(ids, fmt.Sprintf("%s (%s)", cn.EndpointID, trimStatus(cn.Status)))
	}
	return "", usagef("give --endpoint with one of: "+strings.Join(ids, ", "), "cluster %s has %d connections", cl.Name, len(candidates))
}

// candidateConnections narrows cs down to those that a person can mean who names none: of the owner's own, the only one;
// else the only one that is not gone; else the only one that is let in; else all that are not gone.
func candidateConnections(cs []api.Connection, owner string) []api.Connection {
	which := func(keep func(api.Connection) bool) []api.Connection {
		return slices.DeleteFunc(slices.Clone(cs), func(cn api.Connection) bool { return !keep(cn) })
	}
	if owner != "" { // an endpoint that nobody has seen yet has no owner, and may be ours
		cs = which(func(cn api.Connection) bool { return cn.ExternalOwnerID == owner || cn.ExternalOwnerID == "" })
	}
	if len(cs) <= 1 {
		return cs
	}
	if there := which(func(cn api.Connection) bool { return cn.Status != api.StatusDeleted }); len(there) > 0 {
		cs = there
	}
	if in := which(func(cn api.Connection) bool { return cn.Status == api.StatusAvailable }); len(in) == 1 {
		cs = in
	}
	return cs
}

func trimStatus(s string) string { return strings.TrimPrefix(s, "STATUS_") }
