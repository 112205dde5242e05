package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) upCommand() *cobra.Command {
	var (
		cfg       stackConfig
		readyFile string
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process on this machine, without the story",
		Long: `Run the control plane, the embedded cloud and a gateway in one process on loopback. Everything it has to
remember stands in the data directory; started again it goes on where it was. The control plane's database may be a PostgreSQL instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.up(cmd.Context(), cfg, readyFile)
		},
	}
	f := cmd.Flags()
	f.StringVar(&readyFile, "ready-file", "", "also write the document that says where everything listens to this file")
	cfg.Database.add(f)
	a.stackFlags(f, &cfg)
	return cmd
}

func (a *app) up(ctx context.Context, cfg stackConfig, readyFile string) (err error) {
	if cfg.Dir, err = openDataDir(a.dataDir); err != nil {
		return err
	}
	cfg.Log = a.log
	t := newTeller(a.err)
	t.begin("starting the embedded cloud, the control plane and a gateway")
	began := time.Now()
	s, err := startStack(ctx, cfg)
	if err != nil {
		t.clear()
		if ctx.Err() != nil {
			return nil // asked to stop while starting
		}
		return err
	}
	defer func() {
		err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}()
	if err := writeReady(cfg.Dir.path(readyName), &s.ready); err != nil {
		return err
	}
	if readyFile != "" {
		if err := writeReady(readyFile, &s.ready); err != nil {
			return err
		}
	}
	t.held("Postern is up", time.Since(began))
	if a.json() {
		if err := a.printJSON(s.ready); err != nil {
			return err
		}
	} else if err := a.tellReady(&s.ready); err != nil {
		return err
	}
	<-ctx.Done()
	t.say("stopping")
	return nil
}

// tellReady says where everything listens and what to do with it.
func (a *app) tellReady(r *Ready) error {
	customer, _ := r.account("customer")
	_, err := fmt.Fprintf(a.out, `
  control plane   %s
  AWS endpoint    %s   (region %s)
  vantage points  socks5h://%s:x@%s
  DNS of that VPC %s
  gateway         private %s, public %s
  cluster         https://%s/
  service         %s

Next, in another terminal:
  %[11]s connect --data %[12]s      # the customer's VPC to the cluster
  %[11]s verify --data %[12]s
  eval "$(%[11]s env --data %[12]s)"; aws ec2 describe-vpc-endpoints

Ctrl-C stops it; the data stays in %[12]s.
`, r.APIURL, r.AWSEndpointURL, r.Region, customer.VPCID, r.SOCKSAddr, r.DNSAddr, r.Gateway.PrivateAddr, r.Gateway.PublicAddr,
		r.PrivateDomain, r.ServiceName, invocation(), a.dataDir)
	return err
}
