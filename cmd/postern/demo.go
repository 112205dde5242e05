package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/verify"
)

// DemoReport is the one document that "postern demo --output json" prints.
type DemoReport struct {
	OK                 bool            `json:"ok"`
	Steps              []DemoStep      `json:"steps"`
	EndpointID         link.EndpointID `json:"endpoint_id"`           // as the customer's cloud account created it
	GatewaySawEndpoint link.EndpointID `json:"gateway_saw_endpoint"`  // as the gateway read it from the wire and signed it
	Proof              *link.PathProof `json:"proof,omitempty"`       // the gateway's signed word
	TookMilliseconds   int64           `json:"took_ms"`               // from the first step to the last
	Ready              *Ready          `json:"environment,omitempty"` // where everything listens, when it goes on running
	Data               string          `json:"data,omitempty"`        // the data directory, when it was kept
}

// DemoStep is one step of the story and whether it held.
type DemoStep struct {
	ID               string         `json:"id"`
	Title            string         `json:"title"`
	OK               bool           `json:"ok"`
	Error            string         `json:"error,omitempty"`
	Facts            map[string]any `json:"facts,omitempty"` // what was checked
	TookMilliseconds int64          `json:"took_ms"`
}

func (a *app) demoCommand() *cobra.Command {
	var (
		once bool
		cfg  stackConfig
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine and tell the whole story, each step checked",
		Long: `Start the control plane, the embedded cloud and a gateway on loopback, then go the whole way: publish a
service, connect a customer's VPC with one command, prove the path, refuse a stranger, close the public door, disconnect.
Every step is checked. Afterwards everything goes on running until Ctrl-C, so that you can use it from another terminal.

The data stands in a temporary directory and is removed in the end, unless --data names one, which has to
be new; "postern up" goes on with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), cfg, once, cmd.Flags().Changed("data"))
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit after the story: 0 when every step held, 1 otherwise")
	a.stackFlags(cmd.Flags(), &cfg)
	return cmd
}

func (a *app) demo(ctx context.Context, cfg stackConfig, once, keep bool) (err error) {
	if !keep {
		if a.dataDir, err = os.MkdirTemp("", "postern-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(a.dataDir)) }()
	}
	if cfg.Dir, err = openDataDir(a.dataDir); err != nil {
		return err
	}
	if cfg.Dir.used() {
		return usagef(fmt.Sprintf("name a new directory, or go on with this one: postern up --data %s", a.dataDir),
			"%s holds an installation already, and the story begins with none", a.dataDir)
	}
	cfg.Log = a.log
	var tell *teller // as JSON the story is told once, in the end
	if !a.json() {
		tell = newTeller(a.out)
	}
	tell.say("Postern: a verified private path from a customer's network to a vendor's service.\n")
	d := &demo{app: a, tell: tell}
	defer func() {
		if d.stack != nil {
			err = errors.Join(err, d.stack.Close(context.WithoutCancel(ctx)))
		}
	}()
	began := time.Now()
	for _, s := range d.story(cfg) {
		if !d.run(ctx, s) {
			break
		}
	}
	d.report.TookMilliseconds = time.Since(began).Milliseconds()
	d.report.OK = len(d.report.Steps) == len(d.story(cfg)) && d.held
	if keep {
		d.report.Data = a.dataDir
	}
	goesOn := d.stack != nil && !once && ctx.Err() == nil
	if goesOn {
		d.report.Ready = &d.stack.ready
		if err := writeReady(cfg.Dir.path(readyName), &d.stack.ready); err != nil {
			return err
		}
	}
	if err := d.conclude(ctx, goesOn); err != nil {
		return err
	}
	if goesOn {
		<-ctx.Done()
		tell.say("stopping")
	}
	if !d.report.OK {
		return verdict(exitFailed)
	}
	return nil
}

// demo is one telling of the story.
type demo struct {
	app   *app
	tell  *teller
	stack *stack
	api   *api.Client

	customer connectConfig
	result   connect.Result // of connecting the customer

	report DemoReport
	held   bool
}

// connectConfig is one account's way to connect its VPC to the sample cluster.
type connectConfig struct {
	account ReadyAccount
	cfg     connect.Config
	req     connect.Request
}

// scene is one step of the story. do returns what it checked, and what to tell of it.
type scene struct {
	id, title string
	do        func(context.Context) (facts map[string]any, told []string, err error)
}

// run plays one scene and reports whether it held.
func (d *demo) run(ctx context.Context, s scene) bool {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	n := len(d.report.Steps) + 1
	title := fmt.Sprintf("%d. %s", n, s.title)
	d.tell.begin("%s", title)
	began := time.Now()
	facts, told, err := s.do(bounded)
	took := time.Since(began)
	step := DemoStep{ID: s.id, Title: s.title, OK: err == nil, Facts: facts, TookMilliseconds: took.Milliseconds()}
	d.held = err == nil
	switch {
	case err == nil:
		d.tell.held(title, took, told...)
	case ctx.Err() != nil:
		step.Error = "interrupted"
		d.tell.left(title, took, "interrupted")
	default:
		step.Error = err.Error()
		d.tell.failed(title, took, append(told, err.Error())...)
	}
	d.report.Steps = append(d.report.Steps, step)
	return err == nil
}

// conclude tells the end: the proof, and how to go on.
func (d *demo) conclude(ctx context.Context, goesOn bool) error {
	if d.app.json() {
		return d.app.printJSON(d.report)
	}
	if ctx.Err() != nil && !d.report.OK {
		d.tell.say("\nInterrupted at step %d.", len(d.report.Steps))
		return nil
	}
	if !d.report.OK {
		d.tell.say("\nThe story broke off at step %d. \"postern demo --verbose\" tells what happened inside.", len(d.report.Steps))
		return nil
	}
	p := d.report.Proof
	d.tell.say(`
Proof of path, signed by gateway %s:
  endpoint   %s
  name       %s
  client     %s
  at         %s
  signature  %x…
Every step held, in %.1f s.`, p.GatewayID, p.EndpointID, p.Name, p.Source, p.IssuedAt.Format(time.RFC3339), p.Signature[:16],
		float64(d.report.TookMilliseconds)/1000)
	if !goesOn {
		return nil
	}
	self := invocation()
	d.tell.say(`
Everything goes on running. The customer is disconnected again; in another terminal, connect it yourself:
  %[1]s connect --data %[2]s
  %[1]s verify --data %[2]s
  eval "$(%[1]s env --data %[2]s)"; aws ec2 describe-vpc-endpoints
Ctrl-C stops it.`, self, d.app.dataDir)
	return nil
}

// connecting prepares what an account needs to connect its VPC to the sample cluster.
func (d *demo) connecting(role string) (connectConfig, error) {
	acc, ok := d.stack.ready.account(role)
	if !ok {
		return connectConfig{}, fmt.Errorf("the embedded cloud has no account %q", role)
	}
	var at place // what the environment says is of another installation
	at.inside(&d.stack.ready, acc.VPCID)
	return connectConfig{
		account: acc,
		cfg: connect.Config{
			API:  d.api,
			AWS:  connect.AWS{EndpointURL: d.stack.ready.AWSEndpointURL, AccessKeyID: acc.AccessKeyID, SecretAccessKey: acc.SecretAccessKey},
			Poll: 100 * time.Millisecond,
			Log:  d.app.log,
			Verify: func(ctx context.Context, t connect.Target) (verify.Report, error) {
				t.HTTPPath = "/"
				return d.app.prove(ctx, d.api, t.Target, t.Region, at)
			},
		},
		req: connect.Request{ClusterID: d.stack.ready.ClusterID, VPCID: acc.VPCID},
	}, nil
}

// progress shows connect's steps on the live line.
func (d *demo) progress(e connect.StepEvent) {
	if e.Status == connect.Started || e.Status == connect.Waiting {
		d.tell.now("%d. %s: %s", len(d.report.Steps)+1, e.Step, e.Message)
	}
}

// closeQuietly closes what was only looked at.
func closeQuietly(c io.Closer) { _ = c.Close() }
