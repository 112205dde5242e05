package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/connect"
)

// upProcess is a "postern up" of its own process, that can be killed.
type upProcess struct {
	cmd   *exec.Cmd
	ready Ready
	log   string
}

// startUp starts "postern up" on dir and waits until it is ready.
func startUp(t *testing.T, dir string) *upProcess {
	t.Helper()
	readyFile := filepath.Join(t.TempDir(), "ready.json")
	u := &upProcess{cmd: exec.Command(binary, "up", "--data", dir, "--ready-file", readyFile), log: filepath.Join(t.TempDir(), "log")}
	logFile, err := os.Create(u.log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logFile.Close() }() // the process has its own
	u.cmd.Stdout, u.cmd.Stderr = logFile, logFile
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.kill)
	err = poll(60*time.Second, func() error {
		b, err := os.ReadFile(readyFile)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &u.ready)
	})
	if err != nil {
		u.kill()
		out, _ := os.ReadFile(u.log)
		t.Fatalf("postern up did not become ready: %v\n%s", err, out)
	}
	return u
}

// kill ends the process as a power cut would.
func (u *upProcess) kill() {
	_ = u.cmd.Process.Kill()
	_ = u.cmd.Wait() // says that it was killed
}

// stop ends the process as an operator would, and reports how it ended.
func (u *upProcess) stop() error {
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return u.cmd.Wait()
}

// customer is how the customer connects through u.
func (u *upProcess) customer() (connect.Config, connect.Request) {
	acc, _ := u.ready.account("customer")
	return connect.Config{
		API:  api.New(u.ready.APIURL, u.ready.Token, api.WithAttempts(1)),
		AWS:  connect.AWS{EndpointURL: u.ready.AWSEndpointURL, AccessKeyID: acc.AccessKeyID, SecretAccessKey: acc.SecretAccessKey, MaxBackoff: 50 * time.Millisecond},
		Poll: 20 * time.Millisecond,
	}, connect.Request{ClusterID: u.ready.ClusterID, VPCID: acc.VPCID}
}

// killAt runs do and kills u together with it at the n-th event of its progress, delay later: both sides of the work die
// at once. It reports whether do got so far, and the steps that had ended well before.
func (u *upProcess) killAt(n int, delay time.Duration, do func(context.Context, func(connect.StepEvent)) error) (killed bool, done []connect.StepID) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := 0
	_ = do(ctx, func(e connect.StepEvent) { // an error is what the kill is for
		if killed {
			return
		}
		if e.Status == connect.Done || e.Status == connect.Already {
			done = append(done, e.Step)
		}
		if seen++; seen == n {
			killed = true
			if delay == 0 {
				u.kill()
				cancel()
				return
			}
			time.AfterFunc(delay, func() {
				_ = u.cmd.Process.Kill()
				cancel()
			})
		}
	})
	if killed {
		u.kill()
	}
	return killed, done
}

// census counts what stands at the cloud.
type census struct{ balancers, targetGroups, services, endpoints, zones int }

func (u *upProcess) census(t *testing.T) census {
	t.Helper()
	ctx := t.Context()
	as := func(role string) aws.Config {
		acc, _ := u.ready.account(role)
		return aws.Config{
			Region: u.ready.Region, BaseEndpoint: &u.ready.AWSEndpointURL,
			Credentials: credentials.NewStaticCredentialsProvider(acc.AccessKeyID, acc.SecretAccessKey, ""),
		}
	}
	var c census
	vendor, customer := as("vendor"), as("customer")
	lbs, err := elb.NewFromConfig(vendor).DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	if err != nil {
		t.Fatal(err)
	}
	groups, err := elb.NewFromConfig(vendor).DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
	if err != nil {
		t.Fatal(err)
	}
	services, err := ec2.NewFromConfig(vendor).DescribeVpcEndpointServiceConfigurations(ctx, &ec2.DescribeVpcEndpointServiceConfigurationsInput{})
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := ec2.NewFromConfig(customer).DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{})
	if err != nil {
		t.Fatal(err)
	}
	zones, err := route53.NewFromConfig(customer).ListHostedZones(ctx, &route53.ListHostedZonesInput{})
	if err != nil {
		t.Fatal(err)
	}
	c.balancers, c.targetGroups, c.services, c.zones = len(lbs.LoadBalancers), len(groups.TargetGroups), len(services.ServiceConfigurations), len(zones.HostedZones)
	for _, e := range endpoints.VpcEndpoints {
		if s := string(e.State); s != "deleted" && s != "Deleted" && s != "deleting" && s != "Deleting" {
			c.endpoints++
		}
	}
	return c
}

// TestCrashAnywhere kills the whole installation (control plane, reconciler, cloud and gateway) while it starts for the
// first time, then together with the customer's command at every event of connect and then of disconnect, at once and a
// moment later, and starts it again on the same data each time. In the end there is exactly one of everything, and after disconnecting nothing is left.
func TestCrashAnywhere(t *testing.T) {
	dir := t.TempDir()
	// Before anybody connects: in the middle of the first start, while the service is made at the cloud.
	for i := range 16 {
		newborn := exec.Command(binary, "up", "--data", dir)
		if err := newborn.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(i+1)*25*time.Millisecond, func() { _ = newborn.Process.Kill() })
		if err := newborn.Wait(); err == nil {
			t.Fatal("postern up ended by itself")
		}
	}
	delays := []time.Duration{0, 7 * time.Millisecond, 40 * time.Millisecond}
	kills := 0
	chain := func(what string, do func(context.Context, connect.Config, connect.Request, func(connect.StepEvent)) (connect.Result, error)) *upProcess {
		for n := 1; ; n++ {
			u := startUp(t, dir)
			cfg, req := u.customer()
			var last error
			killed, done := u.killAt(n, delays[n%len(delays)], func(ctx context.Context, progress func(connect.StepEvent)) error {
				ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
				defer cancel()
				_, last = do(ctx, cfg, req, progress)
				return last
			})
			if !killed {
				if last != nil {
					t.Fatalf("%s, undisturbed after %d kills: %v", what, kills, last)
				}
				return u
			}
			kills++
			if what == "connect" && slices.Contains(done, connect.StepRegistration) {
				again := startUp(t, dir)
				cs, err := api.New(again.ready.APIURL, again.ready.Token).Connections(t.Context(), again.ready.ClusterID)
				if err != nil || len(cs) != 1 {
					t.Fatalf("the registration was acknowledged and is lost after kill %d: %v, %v", kills, cs, err)
				}
				again.kill()
			}
		}
	}

	u := chain("connect", connect.Run)
	want := census{balancers: 1, targetGroups: 1, services: 1, endpoints: 1, zones: 1}
	if got := u.census(t); got != want {
		t.Errorf("after connecting through %d kills: %+v, want %+v", kills, got, want)
	}
	client := api.New(u.ready.APIURL, u.ready.Token)
	cs, err := client.Connections(t.Context(), u.ready.ClusterID)
	if err != nil || len(cs) != 1 || cs[0].Status != api.StatusAvailable {
		t.Errorf("after connecting through %d kills: %+v, %v", kills, cs, err)
	}
	if err := u.stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	connected := kills

	u = chain("disconnect", connect.Disconnect)
	want = census{balancers: 1, targetGroups: 1, services: 1}
	if err := poll(60*time.Second, func() error {
		if got := u.census(t); got != want {
			return fmt.Errorf("%+v, want %+v", got, want)
		}
		cs, err := api.New(u.ready.APIURL, u.ready.Token).Connections(t.Context(), u.ready.ClusterID)
		if err != nil {
			return err
		}
		for _, c := range cs {
			if c.Status != api.StatusDeleted {
				return errors.New("the connection is " + c.Status)
			}
		}
		return nil
	}); err != nil {
		t.Errorf("after disconnecting through %d kills: %v", kills-connected, err)
	}
	t.Logf("%d kills while connecting, %d while disconnecting", connected, kills-connected)
	if connected < 8 || kills-connected < 4 {
		t.Errorf("too few kills to show anything: %d and %d", connected, kills-connected)
	}
}
