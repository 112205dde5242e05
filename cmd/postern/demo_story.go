package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/link"
)

// story is what the demo tells, in order. Each scene leans on those before it.
func (d *demo) story(cfg stackConfig) []scene {
	return []scene{
		{"service", "The vendor publishes a private endpoint service in " + embeddedRegion, func(ctx context.Context) (map[string]any, []string, error) {
			return d.publish(ctx, cfg)
		}},
		{"cluster", "A cluster stands behind the gateway; its TLS passes through unread", d.cluster},
		{"before", "Before: from the customer's VPC the private name does not answer", d.before},
		{"plan", "What one command would do, to read or to run by hand: it touches nothing", d.plan},
		{"connect", "One command connects the customer's VPC", d.connect},
		{"again", "The same command again changes nothing, and says so", d.again},
		{"proof", "Through it: the service answers, and the gateway proves the path", d.proof},
		{"stranger", "A stranger's endpoint is refused", d.stranger},
		{"unauthorised", "An endpoint that was let in for another cluster reaches nothing here", d.unauthorised},
		{"public", "Public access disabled: the public name is refused, the private one answers", d.closePublicDoor},
		{"disconnect", "Disconnect: the open flow is cut, and both sides converge", d.disconnect},
	}
}

func (d *demo) publish(ctx context.Context, cfg stackConfig) (map[string]any, []string, error) {
	s, err := startStack(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	d.stack, d.api = s, api.New(s.ready.APIURL, s.ready.Token)
	if d.customer, err = d.connecting("customer"); err != nil {
		return nil, nil, err
	}
	ss, err := d.api.Services(ctx, s.ready.ClusterID)
	if err != nil {
		return nil, nil, err
	}
	if len(ss) != 1 || ss[0].Status != "AVAILABLE" || ss[0].Name == "" || len(ss[0].AvailabilityZoneIDs) == 0 {
		return nil, nil, fmt.Errorf("the service is not available: %+v", ss)
	}
	facts := map[string]any{
		"service_name": ss[0].Name, "service_id": ss[0].EndpointServiceID, "zone_ids": ss[0].AvailabilityZoneIDs,
	}
	return facts, []string{
		"service   " + ss[0].Name,
		"zone ids  " + strings.Join(ss[0].AvailabilityZoneIDs, " "),
		"made at   " + s.ready.AWSEndpointURL + " by the AWS driver: load balancer, target group, endpoint service",
	}, nil
}

func (d *demo) cluster(ctx context.Context) (map[string]any, []string, error) {
	cl, err := d.api.Cluster(ctx, d.stack.ready.ClusterID)
	if err != nil {
		return nil, nil, err
	}
	// The public door is open at first: so the service can be seen to answer before any private path exists.
	a, err := d.eventually(ctx, internet, d.stack.ready.PublicDomain, answered)
	if err != nil {
		return nil, nil, fmt.Errorf("the public name does not answer: %w", err)
	}
	return map[string]any{"cluster_id": cl.ID, "public_name": d.stack.ready.PublicDomain, "private_name": d.stack.ready.PrivateDomain, "public_status": a.status},
		[]string{
			"cluster   " + cl.Name + " " + cl.ID,
			"public    https://" + d.stack.ready.PublicDomain + "/ answers, certificate checked",
			"private   https://" + d.stack.ready.PrivateDomain + "/",
		}, nil
}

func (d *demo) before(ctx context.Context) (map[string]any, []string, error) {
	addrs, err := d.stack.fabric.LookupHost(ctx, d.customer.account.VPCID, d.stack.ready.PrivateDomain)
	if err == nil && len(addrs) > 0 {
		return nil, nil, fmt.Errorf("%s already leads to %v", d.stack.ready.PrivateDomain, addrs)
	}
	if a := d.get(ctx, d.customer.account.VPCID, d.stack.ready.PrivateDomain); a.err == nil {
		return nil, nil, fmt.Errorf("%s already answers", d.stack.ready.PrivateDomain)
	}
	return map[string]any{"vpc_id": d.customer.account.VPCID, "answer": err.Error()}, []string{"DNS       " + err.Error()}, nil
}

func (d *demo) plan(ctx context.Context) (map[string]any, []string, error) {
	p, err := connect.Prepare(ctx, d.customer.cfg, d.customer.req)
	if err != nil {
		return nil, nil, err
	}
	aws, hcl := p.AWS(), p.Terraform()
	if !strings.Contains(aws, "aws ec2 create-vpc-endpoint") || !strings.Contains(hcl, `resource "aws_vpc_endpoint"`) {
		return nil, nil, fmt.Errorf("the plans lack the endpoint:\n%s\n%s", aws, hcl)
	}
	if p, err = connect.Prepare(ctx, d.customer.cfg, d.customer.req); err != nil {
		return nil, nil, err
	}
	for _, s := range p.Steps() {
		if s.Already && s.ID != connect.StepService {
			return nil, nil, fmt.Errorf("planning did something: %s is done already", s.ID)
		}
	}
	return map[string]any{"aws_lines": strings.Count(aws, "\n"), "terraform_lines": strings.Count(hcl, "\n")},
		[]string{
			"$ postern connect --vpc " + d.customer.account.VPCID + " --plan",
			fmt.Sprintf("%d lines for the aws command; --plan=terraform: %d lines", strings.Count(aws, "\n"), strings.Count(hcl, "\n")),
		}, nil
}

func (d *demo) connect(ctx context.Context) (map[string]any, []string, error) {
	r, err := connect.Run(ctx, d.customer.cfg, d.customer.req, d.progress)
	if err != nil {
		return nil, nil, err
	}
	if !r.Changed {
		return nil, nil, errors.New("connecting changed nothing")
	}
	if r.Report == nil || r.Report.ExitCode() != 0 {
		return nil, nil, fmt.Errorf("the path was not verified: %+v", r.Report)
	}
	d.result, d.report.EndpointID = r, r.EndpointID
	told := []string{"$ postern connect --vpc " + r.VPCID}
	for _, s := range r.Steps {
		told = append(told, fmt.Sprintf("%-13s %s", s.Step, s.Message))
	}
	return map[string]any{"endpoint_id": r.EndpointID, "account_id": r.AccountID, "hosted_zone_id": r.HostedZoneID, "steps": r.Steps}, told, nil
}

func (d *demo) again(ctx context.Context) (map[string]any, []string, error) {
	r, err := connect.Run(ctx, d.customer.cfg, d.customer.req, d.progress)
	if err != nil {
		return nil, nil, err
	}
	if r.Changed || r.EndpointID != d.result.EndpointID {
		return nil, nil, fmt.Errorf("the second run changed something: %+v", r.Steps)
	}
	return map[string]any{"changed": r.Changed, "endpoint_id": r.EndpointID},
		[]string{"$ postern connect --vpc " + r.VPCID, "Nothing to change: everything was there already."}, nil
}

func (d *demo) proof(ctx context.Context) (map[string]any, []string, error) {
	a, err := d.eventually(ctx, d.customer.account.VPCID, d.stack.ready.PrivateDomain, answered)
	if err != nil {
		return nil, nil, err
	}
	r := d.result.Report
	if r.Proof == nil || r.EndpointID != d.result.EndpointID {
		return nil, nil, fmt.Errorf("the gateway saw endpoint %q, the customer made %q", r.EndpointID, d.result.EndpointID)
	}
	d.report.GatewaySawEndpoint, d.report.Proof = r.EndpointID, r.Proof
	f, err := d.flow(ctx, d.result.EndpointID)
	if err != nil {
		return nil, nil, err
	}
	return map[string]any{"status": a.status, "body": a.body, "flow": f, "proof": r.Proof},
		[]string{
			fmt.Sprintf("GET https://%s/ → %d %s", d.stack.ready.PrivateDomain, a.status, strings.TrimSpace(a.body)),
			fmt.Sprintf("flow record: %s from %s through %s", f.Name, f.Source, f.EndpointID),
			"signed nonce came back with " + string(r.Proof.EndpointID),
		}, nil
}

// flow waits until the gateway's record of a flow through an endpoint has reached the control plane.
func (d *demo) flow(ctx context.Context, id link.EndpointID) (found api.Flow, err error) {
	err = d.until(ctx, 5*time.Second, func() error {
		l, err := d.api.Flows(ctx, d.stack.ready.ClusterID, api.Page{})
		if err != nil {
			return err
		}
		for _, f := range l.Flows {
			if f.EndpointID == string(id) && f.Name == d.stack.ready.PrivateDomain {
				found = f
				return nil
			}
		}
		return errors.New("no flow record names the endpoint " + string(id))
	})
	return found, err
}

func (d *demo) stranger(ctx context.Context) (map[string]any, []string, error) {
	stranger, err := d.connecting("stranger")
	if err != nil {
		return nil, nil, err
	}
	made, err := connect.CreateEndpoint(ctx, stranger.cfg, stranger.req)
	if err != nil {
		return nil, nil, err
	}
	id := string(made.EndpointID)
	// Typing somebody's endpoint id is not enough: its owner has to be trusted.
	if _, err := d.api.AddConnection(ctx, d.stack.ready.ClusterID, id); err != nil {
		return nil, nil, err
	}
	var cn api.Connection
	err = d.until(ctx, 15*time.Second, func() (err error) {
		if cn, err = d.api.Connection(ctx, d.stack.ready.ClusterID, id); err != nil {
			return err
		}
		if cn.Status != api.StatusRejected {
			return fmt.Errorf("the stranger's endpoint is %s, not rejected", cn.Status)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, c := range cn.Conditions {
		if c.Type == link.ConditionAccepted && c.Reason == "OWNER_NOT_TRUSTED" {
			return map[string]any{"endpoint_id": id, "owner": cn.ExternalOwnerID, "status": cn.Status, "reason": c.Reason},
				[]string{id + " of account " + cn.ExternalOwnerID + ": " + c.Message}, nil
		}
	}
	return nil, nil, fmt.Errorf("the stranger's endpoint was rejected, but not for its owner: %+v", cn.Conditions)
}

func (d *demo) unauthorised(ctx context.Context) (map[string]any, []string, error) {
	stranger, err := d.connecting("stranger")
	if err != nil {
		return nil, nil, err
	}
	other, err := d.otherCluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	stranger.req.ClusterID = other.ID
	stranger.cfg.Verify = nil // that cluster has no backend
	r, err := connect.Run(ctx, stranger.cfg, stranger.req, d.progress)
	if err != nil {
		return nil, nil, err
	}
	// Through its own endpoint, which the cloud has let in, the stranger asks for the customer's cluster.
	a := d.getVia(ctx, stranger.account.VPCID, r.EndpointDNSName, d.stack.ready.PrivateDomain)
	if a.err == nil {
		return nil, nil, fmt.Errorf("the stranger was answered: %d", a.status)
	}
	var seen api.RefusedAttempt
	err = d.until(ctx, 5*time.Second, func() error {
		l, err := d.api.RefusedAttempts(ctx, d.stack.ready.ClusterID, api.Page{})
		if err != nil {
			return err
		}
		for _, at := range l.RefusedAttempts {
			if at.EndpointID == string(r.EndpointID) && at.Reason == "ENDPOINT_NOT_AUTHORISED" {
				seen = at
				return nil
			}
		}
		return errors.New("the refused attempt is not on record")
	})
	if err != nil {
		return nil, nil, err
	}
	return map[string]any{"endpoint_id": r.EndpointID, "peer_saw": a.err.Error(), "refused_attempt": seen},
		[]string{
			"the peer is told nothing:     " + a.err.Error(),
			fmt.Sprintf("the operator is told all:     %s through %s, %d×", seen.Reason, seen.EndpointID, seen.Count),
		}, nil
}

// otherCluster makes a second cluster that only the stranger's account may reach.
func (d *demo) otherCluster(ctx context.Context) (api.Cluster, error) {
	const name = "umbrella"
	all, err := everyCluster(ctx, d.api)
	if err != nil {
		return api.Cluster{}, err
	}
	for _, cl := range all {
		if cl.Name == name {
			return cl, nil
		}
	}
	return d.api.CreateCluster(ctx, api.CreateClusterRequest{
		ProjectID: d.stack.ready.ProjectID, Name: name, CloudProvider: "AWS", Regions: []string{embeddedRegion}, PublicAccess: "DISABLED",
	})
}

func (d *demo) closePublicDoor(ctx context.Context) (map[string]any, []string, error) {
	if _, err := d.api.SetPublicAccess(ctx, d.stack.ready.ClusterID, "DISABLED"); err != nil {
		return nil, nil, err
	}
	public, err := d.eventually(ctx, internet, d.stack.ready.PublicDomain, refused)
	if err != nil {
		return nil, nil, err
	}
	private := d.get(ctx, d.customer.account.VPCID, d.stack.ready.PrivateDomain)
	if private.err != nil || private.status != 200 {
		return nil, nil, fmt.Errorf("the private name no longer answers: %d %w", private.status, private.err)
	}
	return map[string]any{"public": public.err.Error(), "private_status": private.status},
		[]string{
			"public    " + public.err.Error(),
			fmt.Sprintf("private   %d %s", private.status, strings.TrimSpace(private.body)),
		}, nil
}

func (d *demo) disconnect(ctx context.Context) (map[string]any, []string, error) {
	open, err := d.openStream(ctx, d.customer.account.VPCID, d.stack.ready.PrivateDomain)
	if err != nil {
		return nil, nil, err
	}
	defer closeQuietly(open)
	first := make([]byte, 5)
	if _, err := io.ReadFull(open, first); err != nil {
		return nil, nil, fmt.Errorf("the open flow carries nothing: %w", err)
	}
	cut := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, open)
		cut <- time.Now()
	}()
	var revoked time.Time
	r, err := connect.Disconnect(ctx, d.customer.cfg, d.customer.req, func(e connect.StepEvent) {
		if e.Step == connect.StepRegistration && e.Status == connect.Started {
			revoked = time.Now()
		}
		d.progress(e)
	})
	if err != nil {
		return nil, nil, err
	}
	var after time.Duration
	select {
	case at := <-cut:
		after = at.Sub(revoked)
	case <-ctx.Done():
		return nil, nil, errors.New("the open flow was not cut")
	}
	if revoked.IsZero() || after < 0 || after > time.Second {
		return nil, nil, fmt.Errorf("the open flow was cut %s after the connection was taken away, not within a second", after)
	}
	// Both sides: nothing at the control plane, nothing in the customer's account, no name in its VPC.
	if err := d.until(ctx, 20*time.Second, func() error { return d.gone(ctx, r.EndpointID) }); err != nil {
		return nil, nil, err
	}
	return map[string]any{"cut_after_ms": after.Milliseconds(), "endpoint_id": r.EndpointID},
		[]string{
			fmt.Sprintf("open flow cut after %d ms", after.Milliseconds()),
			"connection, endpoint and private zone are gone at both sides",
		}, nil
}

// gone is nil when nothing of the connection is left at either side.
func (d *demo) gone(ctx context.Context, id link.EndpointID) error {
	cs, err := d.api.Connections(ctx, d.stack.ready.ClusterID)
	if err != nil {
		return err
	}
	for _, cn := range cs {
		if cn.EndpointID == string(id) && cn.Status != api.StatusDeleted {
			return fmt.Errorf("the control plane still has %s as %s", id, cn.Status)
		}
	}
	if addrs, err := d.stack.fabric.LookupHost(ctx, d.customer.account.VPCID, d.stack.ready.PrivateDomain); err == nil && len(addrs) > 0 {
		return fmt.Errorf("%s still leads to %v", d.stack.ready.PrivateDomain, addrs)
	}
	p, err := connect.Prepare(ctx, d.customer.cfg, d.customer.req)
	if err != nil {
		return err
	}
	for _, s := range p.Steps() {
		if s.ID == connect.StepEndpoint && s.Already {
			return fmt.Errorf("the customer's account still has the endpoint %s", id)
		}
	}
	return nil
}
