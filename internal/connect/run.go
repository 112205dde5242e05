package connect

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/verify"
)

// defaultVerifyFor is how long verification is repeated while it fails: gateways apply new rules, and resolvers new
// records, within seconds.
const defaultVerifyFor = 20 * time.Second

// Run makes the connection of req exist, step by step, each only as far as it is missing: running it again changes
// nothing and says so. Waiting ends with ctx. progress may be nil.
//
// Errors are *link.Error where a person can do something about them; Result tells how far the run got. A run that
// failed or was killed goes on where it stopped when it is run again.
func Run(ctx context.Context, cfg Config, req Request, progress func(StepEvent)) (Result, error) {
	r := newRun(cfg, progress)
	err := r.connect(ctx, req)
	if err != nil {
		r.fail(err)
	}
	return r.result, err
}

// run is one Run or Disconnect under way.
type run struct {
	cfg      Config
	progress func(StepEvent)
	result   Result
	plan     *Plan
	account  *account

	step    StepID
	began   time.Time
	waiting string // the last message sent while waiting
}

func newRun(cfg Config, progress func(StepEvent)) *run {
	if progress == nil {
		progress = func(StepEvent) {}
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.VerifyFor <= 0 {
		cfg.VerifyFor = defaultVerifyFor
	}
	return &run{cfg: cfg, progress: progress}
}

func (r *run) connect(ctx context.Context, req Request) error {
	if err := r.service(ctx, req); err != nil {
		return err
	}
	if blocking := r.plan.Blocking(); len(blocking) > 0 {
		return refusal(blocking)
	}
	for _, step := range []func(context.Context) error{
		r.trust, r.endpoint, r.registration, r.acceptance, r.zone, r.records, r.verification,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// service waits for the vendor's service, asked for when nobody has yet, and reads both sides.
func (r *run) service(ctx context.Context, req Request) error {
	r.start(StepService, "looking at both sides")
	if err := r.read(ctx, req); err != nil {
		return err
	}
	if r.plan.ServiceState == string(link.ServiceAvailable) {
		r.finish(Already, r.plan.ServiceName+" in "+list(r.plan.ServiceZones))
		return nil
	}
	if r.plan.ServiceState == "" {
		if _, err := r.cfg.API.CreateServices(ctx, req.ClusterID); err != nil {
			return apiError("ask for the service", err)
		}
		r.result.Changed = true
	}
	err := r.poll(ctx, func(ctx context.Context) (bool, string, error) {
		services, err := r.cfg.API.Services(ctx, req.ClusterID)
		if err != nil {
			return false, "", apiError("read the cluster's service", err)
		}
		for _, s := range services {
			if s.RegionName != r.plan.Request.Region {
				continue
			}
			switch s.Status {
			case string(link.ServiceAvailable):
				return true, "", nil
			case string(link.ServiceCreateFailed), string(link.ServiceDeleting), string(link.ServiceDeleteFailed):
				return false, "", &link.Error{
					Kind: link.Precondition, Reason: "SERVICE_FAILED", Field: "region",
					Message: "the vendor's service in " + s.RegionName + " is " + s.Status + why(s.Conditions),
					Hint:    "tell the vendor; nothing on this side helps",
				}
			}
			return false, "the service is " + s.Status + why(s.Conditions), nil
		}
		return false, "the service is not listed yet", nil
	})
	if err != nil {
		return err
	}
	if err := r.read(ctx, req); err != nil {
		return err
	}
	r.finish(Done, r.plan.ServiceName+" in "+list(r.plan.ServiceZones))
	return nil
}

// read looks at both sides and fills in what the result says of them.
func (r *run) read(ctx context.Context, req Request) error {
	p, acc, err := prepare(ctx, r.cfg, req)
	if err != nil {
		return err
	}
	r.plan, r.account = p, acc
	r.result.AccountID, r.result.ClusterID = p.AccountID, p.Request.ClusterID
	r.result.Region, r.result.VPCID = p.Request.Region, p.Request.VPCID
	r.result.ServiceName, r.result.PrivateName = p.ServiceName, p.PrivateName
	if p.endpoint != nil {
		r.saw(p.endpoint)
	}
	if p.zone != nil {
		r.result.HostedZoneID = p.zone.id
	}
	return nil
}

// saw takes over what is known of the endpoint now.
func (r *run) saw(e *endpointFacts) {
	r.plan.endpoint = e
	r.result.EndpointID, r.result.EndpointDNSName = e.id, e.target.Name
	r.plan.DNS.Target = e.target
	r.plan.DNS.Target.Name = strings.TrimSuffix(e.target.Name, ".")
}

func (r *run) trust(ctx context.Context) error {
	r.start(StepTrust, "trusting account "+r.plan.AccountID)
	if r.plan.trusted {
		r.finish(Already, "the cluster trusts account "+r.plan.AccountID)
		return nil
	}
	_, err := r.cfg.API.AddTrustedOwner(ctx, r.plan.Request.ClusterID, api.AddTrustedOwnerRequest{
		Type: string(link.AWSAccountID), ExternalOwnerID: r.plan.AccountID,
	})
	if err != nil {
		return apiError("make the account a trusted owner", err)
	}
	r.result.Changed = true
	r.finish(Done, "the cluster now trusts account "+r.plan.AccountID)
	return nil
}

func (r *run) endpoint(ctx context.Context) error {
	p := r.plan
	r.start(StepEndpoint, "creating the endpoint in "+p.Request.VPCID)
	if e := p.endpoint; e != nil {
		if e.madeBy == madeByConnect && !slices.Contains(e.clusters, p.Request.ClusterID) {
			if err := r.account.tagEndpoint(ctx, e.id, p.Request.ClusterID, p.ClusterName); err != nil {
				return err
			}
			r.result.Changed = true
			r.finish(Done, fmt.Sprintf("%s is there already, for another cluster, and is used for both", e.id))
			return nil
		}
		r.finish(Already, fmt.Sprintf("%s in %s", e.id, list(e.subnets)))
		return nil
	}
	e, err := r.account.createEndpoint(ctx, p, r.cfg.Poll)
	if err != nil {
		return err
	}
	r.result.Changed = true
	r.saw(e)
	r.finish(Done, fmt.Sprintf("%s in %s", e.id, list(p.Request.SubnetIDs)))
	return nil
}

func (r *run) registration(ctx context.Context) error {
	id := string(r.plan.endpoint.id)
	r.start(StepRegistration, "registering "+id)
	if r.plan.registered() {
		r.finish(Already, id+" is registered with the cluster")
		return nil
	}
	conn, err := r.cfg.API.AddConnection(ctx, r.plan.Request.ClusterID, id)
	if err != nil {
		return apiError("register the endpoint", err)
	}
	r.result.Changed = true
	r.plan.connection = &conn
	r.finish(Done, id+" is registered with the cluster")
	return nil
}

// acceptance waits until the vendor's side and AWS both say that the endpoint is available.
func (r *run) acceptance(ctx context.Context) error {
	r.start(StepAcceptance, "waiting for the vendor to accept")
	already := r.plan.accepted()
	if !already {
		if err := r.poll(ctx, r.bothAvailable); err != nil {
			return err
		}
	}
	addrs, err := r.account.interfaceAddrs(ctx, r.plan.endpoint.interfaces)
	if err != nil {
		return err
	}
	r.result.InterfaceAddresses = addrs
	if already {
		r.finish(Already, "available on both sides")
		return nil
	}
	r.finish(Done, "available on both sides")
	return nil
}

func (r *run) bothAvailable(ctx context.Context) (bool, string, error) {
	id := r.plan.endpoint.id
	e, err := r.account.endpoint(ctx, id)
	if err != nil {
		return false, "", err
	}
	if e == nil || !e.there() {
		return false, "", &link.Error{
			Kind: link.Precondition, Reason: "ENDPOINT_DELETED",
			Message: fmt.Sprintf("the endpoint %s was deleted meanwhile", id), Hint: "run it again to create another",
		}
	}
	r.saw(e)
	if e.state == link.Failed || e.state == link.Expired {
		return false, "", &link.Error{
			Kind: link.Precondition, Reason: "ENDPOINT_DEAD",
			Message: fmt.Sprintf("AWS says the endpoint %s is %s %s", id, e.state, e.problem),
			Hint:    fmt.Sprintf("aws ec2 delete-vpc-endpoints --vpc-endpoint-ids %s, then run it again", id),
		}
	}
	conn, err := r.cfg.API.Connection(ctx, r.plan.Request.ClusterID, string(id))
	if err != nil {
		return false, "", apiError("read the connection", err)
	}
	r.plan.connection = &conn
	if conn.Status == api.StatusRejected {
		// Somebody's decision stands. Every other rejection, for want of trust say, is from before this run: the vendor's
		// side accepts by itself now.
		c := condition(conn.Conditions, link.ConditionAccepted)
		if c != nil && (c.Reason == link.ReasonRejectedByAdmin || c.Reason == link.ReasonRejectedOutside) {
			return false, "", &link.Error{
				Kind: link.Precondition, Reason: c.Reason, Message: "the vendor rejected the endpoint: " + c.Message, Hint: c.NextStep,
			}
		}
	}
	if conn.Status == api.StatusAvailable && e.state == link.Available {
		return true, "", nil
	}
	return false, fmt.Sprintf("vendor's side %s%s, AWS %s",
		strings.TrimPrefix(conn.Status, "STATUS_"), why(conn.Conditions), e.state), nil
}

// zone makes the private hosted zone, or enables private DNS on the endpoint.
func (r *run) zone(ctx context.Context) error {
	p := r.plan
	switch p.Request.DNS {
	case DNSNone:
		r.start(StepZone, "")
		r.finish(Skipped, "names are left to you: lead "+p.PrivateName+" to "+p.endpoint.target.Name)
		return nil
	case DNSPrivate:
		return r.enablePrivateDNS(ctx)
	}
	r.start(StepZone, "creating the private zone "+p.PrivateName)
	if p.zone != nil {
		r.finish(Already, fmt.Sprintf("%s (%s)", p.zone.name, p.zone.id))
		return nil
	}
	z, change, err := r.account.createZone(ctx, p.Request.ClusterID, p.DNS.Zones[0])
	if err != nil {
		return err
	}
	r.result.Changed = true
	r.result.HostedZoneID, p.zone = z.id, z
	if err := r.waitInSync(ctx, change); err != nil {
		return err
	}
	r.finish(Done, fmt.Sprintf("%s (%s)", z.name, z.id))
	return nil
}

func (r *run) enablePrivateDNS(ctx context.Context) error {
	r.start(StepZone, "enabling private DNS on the endpoint")
	if r.plan.endpoint.privateDNS {
		r.finish(Already, "private DNS is enabled on the endpoint")
		return nil
	}
	if err := r.account.setPrivateDNS(ctx, r.plan.endpoint.id, true); err != nil {
		return err
	}
	r.result.Changed = true
	if err := r.poll(ctx, r.bothAvailable); err != nil { // the endpoint is pending again for a while
		return err
	}
	r.finish(Done, "private DNS is enabled on the endpoint")
	return nil
}

// records makes the zone's records lead to the endpoint and waits until Route 53 answers with them.
func (r *run) records(ctx context.Context) error {
	p := r.plan
	if p.Request.DNS != DNSZone {
		return nil
	}
	want := p.DNS.Zones[0]
	r.start(StepRecords, "leading "+p.PrivateName+" to the endpoint")
	changes := p.zone.missing(want, p.DNS.Target)
	if len(changes) == 0 {
		r.finish(Already, fmt.Sprintf("%s and *.%s lead to the endpoint", p.PrivateName, p.PrivateName))
		return nil
	}
	change, err := r.account.change(ctx, p.zone.id, changes)
	if err != nil {
		return err
	}
	r.result.Changed = true
	if err := r.waitInSync(ctx, change); err != nil {
		return err
	}
	r.finish(Done, fmt.Sprintf("%s and *.%s lead to the endpoint", p.PrivateName, p.PrivateName))
	return nil
}

func (r *run) waitInSync(ctx context.Context, change string) error {
	if change == "" {
		return nil
	}
	return r.poll(ctx, func(ctx context.Context) (bool, string, error) {
		done, err := r.account.inSync(ctx, change)
		return done, "Route 53 is spreading the change to its name servers", err
	})
}

// verification has the path proven from the VPC.
func (r *run) verification(ctx context.Context) error {
	r.start(StepVerification, "proving the path from "+r.plan.Request.VPCID)
	if r.cfg.Verify == nil {
		r.finish(Skipped, "nothing in the VPC to verify from was given")
		return nil
	}
	target, err := r.target(ctx)
	if err != nil {
		return err
	}
	deadline := r.began.Add(r.cfg.VerifyFor)
	err = r.poll(ctx, func(ctx context.Context) (bool, string, error) {
		report, err := r.cfg.Verify(ctx, target)
		if err != nil {
			return false, "", fmt.Errorf("verify the path: %w", err)
		}
		r.result.Report = &report
		if report.ExitCode() == 0 {
			return true, "", nil
		}
		if time.Now().Before(deadline) {
			return false, report.Summary, nil
		}
		return false, "", notProven(report)
	})
	if err != nil {
		return err
	}
	r.finish(Done, r.result.Report.Summary)
	return nil
}

func (r *run) target(ctx context.Context) (Target, error) {
	keys, err := r.cfg.API.ProofKeys(ctx, r.plan.Request.ClusterID)
	if err != nil {
		return Target{}, apiError("read the gateways' keys", err)
	}
	t := Target{VPCID: r.plan.Request.VPCID, Region: r.plan.Request.Region, Target: verify.Target{
		PrivateName:    r.plan.PrivateName,
		PublicName:     r.plan.PublicName,
		Port:           Port,
		ClusterID:      link.ID(r.plan.Request.ClusterID),
		EndpointID:     r.plan.endpoint.id,
		VPCCIDRs:       r.plan.vpc.cidrs,
		InterfaceAddrs: r.result.InterfaceAddresses,
	}}
	if names := r.plan.Proxy.RepositoryNames(r.plan.PrivateName); len(names) > 0 {
		t.RepositoryName = names[0]
	}
	for _, k := range keys {
		t.ProofKeys = append(t.ProofKeys, ed25519.PublicKey(k.Key))
	}
	return t, nil
}

func notProven(report verify.Report) error {
	return &link.Error{Kind: link.Precondition, Reason: report.Code, Message: report.Summary, Hint: report.Next}
}
