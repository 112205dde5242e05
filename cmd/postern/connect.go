package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/verify"
)

// connectFlags are what connect and disconnect share.
type connectFlags struct {
	cluster  string
	account  string
	req      connect.Request
	dns      string
	aws      connect.AWS
	path     string
	place    place
	patience time.Duration
}

func (c *connectFlags) add(a *app, cmd *cobra.Command) *pflag.FlagSet {
	f := cmd.Flags()
	a.clusterFlag(cmd, &c.cluster)
	f.StringVar(&c.req.Region, "region", "", "region of the cluster (default the only one)")
	f.StringVar(&c.req.VPCID, "vpc", "", `your VPC (default $POSTERN_VPC, else the customer's of "postern up")`)
	f.StringVar(&c.dns, "dns", "zone", "how the private name leads to the endpoint: zone (a private hosted zone), private (the service's own private DNS name) or none")
	f.StringVar(&c.aws.EndpointURL, "aws-endpoint-url", "", "AWS endpoint to use instead of Amazon's (default $AWS_ENDPOINT_URL)")
	f.StringVar(&c.account, "account", "customer", `account of the embedded cloud to act as, when a "postern up" is used and no AWS credentials are set`)
	f.DurationVar(&c.patience, "timeout", 10*time.Minute, "the longest that the whole may take; run again, it goes on where it stopped")
	c.place.flags(f)
	_ = cmd.RegisterFlagCompletionFunc("dns", cobra.FixedCompletions([]string{"zone", "private", "none"}, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// config settles who acts where: flags, then the environment, then a running "postern up".
func (c *connectFlags) config(ctx context.Context, a *app) (connect.Config, error) {
	client, err := a.client()
	if err != nil {
		return connect.Config{}, err
	}
	cl, err := a.pickCluster(ctx, client, c.cluster)
	if err != nil {
		return connect.Config{}, err
	}
	c.req.ClusterID, c.req.DNS = cl.ID, connect.DNSMode(c.dns)
	var local *Ready
	if r := a.ready(); r != nil && r.APIURL == client.BaseURL() {
		local = r
	}
	if c.aws.EndpointURL == "" {
		c.aws.EndpointURL = os.Getenv("AWS_ENDPOINT_URL")
	}
	if local != nil && c.aws.EndpointURL == "" && os.Getenv("AWS_ACCESS_KEY_ID") == "" && os.Getenv("AWS_PROFILE") == "" {
		acc, ok := local.account(c.account)
		if !ok {
			return connect.Config{}, usagef("give vendor, customer or stranger", "no account has the role %q", c.account)
		}
		c.aws.EndpointURL, c.aws.AccessKeyID, c.aws.SecretAccessKey = local.AWSEndpointURL, acc.AccessKeyID, acc.SecretAccessKey
		if c.req.VPCID == "" && os.Getenv("POSTERN_VPC") == "" {
			c.req.VPCID = acc.VPCID
		}
	}
	if c.req.VPCID = a.vpc(c.req.VPCID, local); c.req.VPCID == "" {
		return connect.Config{}, usagef(`"aws ec2 describe-vpcs" lists yours`, "give --vpc with the VPC that shall reach the cluster")
	}
	c.place.settle(local, c.req.VPCID)
	cfg := connect.Config{API: client, AWS: c.aws, Log: a.log}
	cfg.Verify = func(ctx context.Context, t connect.Target) (verify.Report, error) {
		t.HTTPPath = c.path
		return a.prove(ctx, client, t.Target, t.Region, c.place)
	}
	if local != nil {
		cfg.Poll = 100 * time.Millisecond
	}
	return cfg, nil
}

func (a *app) connectCommand() *cobra.Command {
	var (
		c        connectFlags
		plan     string
		noVerify bool
	)
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Connect a VPC to a cluster: endpoint, registration, DNS, and a proof that it works",
		Long: `Make a verified private path from your VPC to a cluster. Each step first looks whether it is done already, so
running it again changes nothing, and running it after a failure goes on where it stopped.

--plan prints the same as aws command lines, --plan=terraform as Terraform; neither touches anything.`,
		Example: `  postern connect --vpc vpc-0a1b2c3d4e5f60718
  postern connect --vpc vpc-0a1b2c3d4e5f60718 --plan=terraform > postern.tf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), c.patience)
			defer cancel()
			if cmd.Flags().Changed("plan") && plan != "aws" && plan != "terraform" {
				return usagef("write --plan (aws lines) or --plan=terraform", "unknown form of plan %q", plan)
			}
			cfg, err := c.config(ctx, a)
			if err != nil {
				return err
			}
			if noVerify {
				cfg.Verify = nil
			}
			if cmd.Flags().Changed("plan") {
				return a.planConnect(ctx, cfg, c.req, plan)
			}
			return a.runConnect(ctx, cfg, c.req)
		},
	}
	f := c.add(a, cmd)
	f.StringSliceVar(&c.req.SubnetIDs, "subnets", nil, "subnets for the endpoint's interfaces (default one in each zone that the service has too)")
	f.StringSliceVar(&c.req.SecurityGroupIDs, "security-groups", nil, "security groups of the interfaces; they must let port 443 in (default the VPC's own)")
	f.StringVar(&plan, "plan", "", "print what would be done, as aws lines or as terraform, and do nothing")
	f.Lookup("plan").NoOptDefVal = "aws"
	f.StringVar(&c.path, "path", "/", "HTTP path that the service answers, for the verification; empty asks nothing over HTTP")
	f.BoolVar(&noVerify, "no-verify", false, "leave out the verification, when this machine cannot see into the VPC")
	_ = cmd.RegisterFlagCompletionFunc("plan", cobra.FixedCompletions([]string{"aws", "terraform"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) planConnect(ctx context.Context, cfg connect.Config, req connect.Request, form string) error {
	p, err := connect.Prepare(ctx, cfg, req)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"problems": p.Problems, "steps": p.Steps(), "aws": p.AWS(), "terraform": p.Terraform()})
	}
	text := p.AWS()
	if form == "terraform" {
		text = p.Terraform()
	}
	if _, err := fmt.Fprint(a.out, text); err != nil {
		return err
	}
	blocked := false
	for _, pr := range p.Problems {
		fmt.Fprintf(a.err, "postern: %s\n  reason: %s\n  next:   %s\n", pr.Message, pr.Reason, pr.Hint)
		blocked = blocked || !pr.Warning
	}
	if blocked {
		return verdict(exitFailed)
	}
	return nil
}

func (a *app) runConnect(ctx context.Context, cfg connect.Config, req connect.Request) error {
	tell := newTeller(a.err)
	result, err := connect.Run(ctx, cfg, req, tell.step)
	tell.clear()
	if a.json() {
		if perr := a.printJSON(result); perr != nil && err == nil {
			err = perr
		}
	}
	if err != nil {
		return err
	}
	if !a.json() {
		a.tellConnected(result)
	}
	if result.Report != nil && result.Report.ExitCode() != 0 {
		return verdict(exitFailed)
	}
	return nil
}

func (a *app) tellConnected(r connect.Result) {
	if !r.Changed {
		fmt.Fprintln(a.out, "Nothing to change: everything was there already.")
	}
	if r.Report != nil {
		_ = r.Report.WriteText(a.out, colourful(a.out), a.verbose)
	}
	fmt.Fprintf(a.out, "%s leads to https://%s/ through %s.\n", r.VPCID, r.PrivateName, r.EndpointID)
}

func (a *app) disconnectCommand() *cobra.Command {
	var c connectFlags
	cmd := &cobra.Command{
		Use:   "disconnect",
		Short: `Undo "postern connect": records, zone, registration and endpoint`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), c.patience)
			defer cancel()
			cfg, err := c.config(ctx, a)
			if err != nil {
				return err
			}
			tell := newTeller(a.err)
			result, err := connect.Disconnect(ctx, cfg, c.req, tell.step)
			tell.clear()
			if a.json() {
				if perr := a.printJSON(result); perr != nil && err == nil {
					err = perr
				}
			}
			if err != nil || a.json() {
				return err
			}
			if !result.Changed {
				fmt.Fprintln(a.out, "Nothing to change: nothing was connected.")
				return nil
			}
			fmt.Fprintf(a.out, "%s no longer reaches %s.\n", result.VPCID, result.PrivateName)
			return nil
		},
	}
	c.add(a, cmd)
	return cmd
}

// step tells one event of connect's progress.
func (t *teller) step(e connect.StepEvent) {
	switch e.Status {
	case connect.Started:
		t.begin("%s: %s", e.Step, e.Message)
	case connect.Waiting:
		t.now("%s: %s", e.Step, e.Message)
	case connect.Failed:
		t.failed(fmt.Sprintf("%s: %s", e.Step, e.Message), e.Elapsed)
	case connect.Skipped:
		t.left(fmt.Sprintf("%s: %s", e.Step, e.Message), e.Elapsed)
	case connect.Already:
		t.mark("=", "32", fmt.Sprintf("%s: %s", e.Step, e.Message), e.Elapsed)
	default:
		t.held(fmt.Sprintf("%s: %s", e.Step, e.Message), e.Elapsed)
	}
}
