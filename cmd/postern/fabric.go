package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/internal/fabric"
)

func (a *app) fabricCommand() *cobra.Command {
	var (
		cfg     fabric.Config
		regions []string
	)
	cmd := &cobra.Command{
		Use:   "fabric",
		Short: "Run the embedded cloud alone: AWS-compatible APIs with a data plane",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Regions = regions
			return a.runFabric(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.APIAddr, "aws-addr", "", "address of the AWS endpoint (default a free port of 127.0.0.1, like the others)")
	f.StringVar(&cfg.SOCKSAddr, "socks-addr", "", "address of the SOCKS5 vantage points")
	f.StringVar(&cfg.HTTPProxyAddr, "http-proxy-addr", "", "address of the HTTP CONNECT vantage points")
	f.StringVar(&cfg.DNSAddr, "dns-host", "", "host of the VPCs' DNS servers, each on a free port")
	f.StringSliceVar(&regions, "regions", []string{embeddedRegion}, "regions that it serves")
	return cmd
}

func (a *app) runFabric(ctx context.Context, cfg fabric.Config) (err error) {
	dir, err := openDataDir(a.dataDir)
	if err != nil {
		return err
	}
	if cfg.Accounts, err = dir.accounts(); err != nil {
		return err
	}
	cfg.Dir, cfg.Log, cfg.Seed = dir.path("fabric"), a.log, uint64(time.Now().UnixNano())
	fab, err := fabric.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fab.Close()) }()
	r := Ready{AWSEndpointURL: fab.URL(), Region: cfg.Regions[0], SOCKSAddr: fab.SOCKSAddr(), HTTPProxyAddr: fab.HTTPProxyAddr()}
	if r.Accounts, err = readyAccounts(fab, cfg.Accounts, r.Region); err != nil {
		return err
	}
	if err := writeReady(dir.path(readyName), &r); err != nil {
		return err
	}
	if a.json() {
		err = a.printJSON(r)
	} else {
		_, err = fmt.Fprintf(a.out, "The embedded cloud listens on %s\n\n  eval \"$(postern env --data %s --account customer)\"\n  aws ec2 describe-vpcs\n",
			r.AWSEndpointURL, a.dataDir)
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// readyAccounts tells each account's default network.
func readyAccounts(fab *fabric.Fabric, accounts []fabric.Account, region string) ([]ReadyAccount, error) {
	out := make([]ReadyAccount, 0, len(accounts))
	for _, acc := range accounts {
		n, err := fab.DefaultNetwork(acc.ID, region)
		if err != nil {
			return nil, err
		}
		out = append(out, ReadyAccount{
			Role: acc.Name, AccountID: acc.ID, AccessKeyID: acc.AccessKeyID, SecretAccessKey: acc.SecretAccessKey,
			VPCID: n.VPCID, SubnetIDs: n.SubnetIDs, SecurityGroupID: n.SecurityGroupID, DNSAddr: fab.DNSAddr(n.VPCID),
		})
	}
	return out, nil
}
