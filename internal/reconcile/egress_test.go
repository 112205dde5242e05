package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/cloud/cloudtest"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const vendorAccount = "333333333333"

// street is one installation over a fabric in which a customer publishes a service: the way back through real parts.
type street struct {
	t                *testing.T
	fabric           *fabric.Fabric
	wire             *cloudtest.Wire
	st               *store.Store
	plane            *control.Plane
	r                *reconcile.Reconciler
	ahead            atomic.Int64 // how far the installation's clock is ahead, in nanoseconds
	vendor, customer *ec2.Client
	zones            *route53.Client // the vendor's
	cluster          link.ID
	target, service  string // the customer's service, by name and id
	vpc              string // the vendor's
}

func newStreet(t *testing.T, acceptance bool) *street {
	t.Helper()
	s := &street{t: t}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var err error
	s.fabric, err = fabric.Start(context.Background(), fabric.Config{
		Accounts: []fabric.Account{
			{ID: vendorAccount, AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret"},
			{ID: customer, AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "customer-secret"},
		},
		Settle: 5 * time.Millisecond, Seed: 1,
	})
	s.must(err)
	t.Cleanup(func() { _ = s.fabric.Close() })
	s.wire = cloudtest.NewWire(transport, func(*http.Request) bool { return false })
	sdk := func(key, secret string) aws.Config {
		return aws.Config{
			Region: "us-east-1", BaseEndpoint: aws.String(s.fabric.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
			HTTPClient: &http.Client{Transport: transport},
		}
	}
	vendor, theirs := sdk("AKIAVENDOR", "vendor-secret"), sdk("AKIACUSTOMER", "customer-secret")
	s.vendor, s.customer, s.zones = ec2.NewFromConfig(vendor), ec2.NewFromConfig(theirs), route53.NewFromConfig(vendor)
	s.publish(elb.NewFromConfig(theirs), acceptance)

	s.st = storetest.Open(t, store.Options{Log: s.log(), Now: s.now})
	s.start()
	t.Cleanup(func() {
		if err := s.r.Close(); err != nil {
			t.Error(err)
		}
	})
	s.plane = control.New(s.st, control.Options{Domain: "postern.test", Log: s.log()})
	net, err := s.fabric.DefaultNetwork(vendorAccount, "us-east-1")
	s.must(err)
	s.vpc = net.VPCID
	_, err = s.plane.PutRegion(t.Context(), operator, link.Region{
		Provider: link.AWS, Name: "us-east-1", VPCID: net.VPCID, SubnetIDs: net.SubnetIDs, Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7443")},
	})
	s.must(err)
	project, err := s.plane.CreateProject(t.Context(), operator, "", "p")
	s.must(err)
	c, err := s.plane.CreateCluster(t.Context(), operator, control.ClusterRequest{ProjectID: project.ID, Name: "acme", Provider: link.AWS, Regions: []string{"us-east-1"}})
	s.must(err)
	s.cluster = c.ID
	return s
}

func (s *street) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *street) log() *slog.Logger { return slog.New(slog.NewTextHandler(s.t.Output(), nil)) }

func (s *street) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// start starts a reconciler whose driver's requests go through the wire.
func (s *street) start() {
	s.t.Helper()
	d, err := awsprivatelink.New(s.t.Context(), awsprivatelink.Config{
		Region: "us-east-1", EndpointURL: s.fabric.URL(), AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret",
		Transport: s.wire, MaxBackoff: time.Millisecond,
	})
	s.must(err)
	s.r, err = reconcile.Start(s.t.Context(), reconcile.Config{
		Store: s.st, Drivers: func(link.Provider, string) (cloud.Driver, error) { return d, nil },
		Cadence: plan.Cadence{Fast: 20 * time.Millisecond, Slow: 100 * time.Millisecond},
		Poll:    20 * time.Millisecond, Sweep: 50 * time.Millisecond, Backoff: 20 * time.Millisecond, Now: s.now, Log: s.log(),
	})
	s.must(err)
}

// publish makes the customer's service.
func (s *street) publish(balancers *elb.Client, acceptance bool) {
	s.t.Helper()
	ctx := s.t.Context()
	net, err := s.fabric.DefaultNetwork(customer, "us-east-1")
	s.must(err)
	lb, err := balancers.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: aws.String("svc"), Type: elbtypes.LoadBalancerTypeEnumNetwork, Scheme: elbtypes.LoadBalancerSchemeEnumInternal, Subnets: net.SubnetIDs,
	})
	s.must(err)
	svc, err := s.customer.CreateVpcEndpointServiceConfiguration(ctx, &ec2.CreateVpcEndpointServiceConfigurationInput{
		NetworkLoadBalancerArns: []string{aws.ToString(lb.LoadBalancers[0].LoadBalancerArn)}, AcceptanceRequired: aws.Bool(acceptance),
	})
	s.must(err)
	s.target, s.service = aws.ToString(svc.ServiceConfiguration.ServiceName), aws.ToString(svc.ServiceConfiguration.ServiceId)
}

func (s *street) allow() {
	s.t.Helper()
	_, err := s.customer.ModifyVpcEndpointServicePermissions(s.t.Context(), &ec2.ModifyVpcEndpointServicePermissionsInput{
		ServiceId: aws.String(s.service), AddAllowedPrincipals: []string{link.AccountPrincipal("us-east-1", vendorAccount)},
	})
	s.must(err)
}

func (s *street) ask() control.EgressView {
	s.t.Helper()
	e, err := s.plane.CreateEgress(s.t.Context(), operator, s.cluster, control.EgressRequest{Region: "us-east-1", Target: s.target, TargetType: link.PrivateService})
	s.must(err)
	return e
}

// until waits until an egress endpoint is as f wants it.
func (s *street) until(what string, id link.ID, f func(control.EgressView) bool) control.EgressView {
	s.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		e, err := s.plane.Egress(s.t.Context(), operator, s.cluster, id)
		s.must(err)
		if f(e) {
			return e
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			s.t.Fatalf("it never came to be that %s: %+v", what, e)
		}
	}
}

func (s *street) becomes(id link.ID, state link.State) control.EgressView {
	s.t.Helper()
	return s.until("it is "+string(state), id, func(e control.EgressView) bool { return e.State == state })
}

// left is what of ours exists in the vendor's account.
func (s *street) left() string {
	s.t.Helper()
	endpoints, err := s.vendor.DescribeVpcEndpoints(s.t.Context(), &ec2.DescribeVpcEndpointsInput{})
	s.must(err)
	live := 0
	for _, e := range endpoints.VpcEndpoints {
		if !strings.EqualFold(string(e.State), "deleting") {
			live++
		}
	}
	groups, err := s.vendor.DescribeSecurityGroups(s.t.Context(), &ec2.DescribeSecurityGroupsInput{})
	s.must(err)
	zones, err := s.zones.ListHostedZones(s.t.Context(), &route53.ListHostedZonesInput{})
	s.must(err)
	return fmt.Sprintf("%d endpoints, %d groups, %d zones", live, len(groups.SecurityGroups)-1, len(zones.HostedZones)) // one group is the network's own
}

func (s *street) history(id link.ID) string {
	s.t.Helper()
	all, _, err := s.plane.Events(s.t.Context(), operator, link.ObjectRef{Kind: link.ObjectEgress, ID: string(s.cluster) + "/" + string(id)}, control.Page{})
	s.must(err)
	var out []string
	for _, e := range all {
		out = append(out, strings.TrimSpace(e.Type+" "+e.Reason))
	}
	return strings.Join(out, ", ")
}

func TestEgressLife(t *testing.T) {
	s := newStreet(t, true)
	ctx := t.Context()
	e := s.ask()
	// The customer reads whom to allow from the endpoint itself.
	e = s.until("it says whom to allow", e.ID, func(e control.EgressView) bool {
		c := link.ConditionOf(e.Conditions, link.ConditionProvisioned)
		return c.Reason == link.ReasonServiceNotVisible && strings.Contains(c.NextStep, e.Principal) && e.Principal == link.AccountPrincipal("us-east-1", vendorAccount)
	})
	if got := s.left(); got != "0 endpoints, 0 groups, 0 zones" {
		t.Errorf("before the customer allows it there are %s", got)
	}
	s.allow()
	e = s.becomes(e.ID, link.PendingAcceptance)
	_, err := s.plane.SetEgressNames(ctx, operator, s.cluster, e.ID, []string{"broker.acme.example", "*.db.acme.example"})
	s.must(err)
	accept := &ec2.AcceptVpcEndpointConnectionsInput{ServiceId: aws.String(s.service), VpcEndpointIds: []string{string(e.EndpointID)}}
	_, err = s.customer.AcceptVpcEndpointConnections(ctx, accept)
	s.must(err)
	e = s.until("its names stand", e.ID, func(e control.EgressView) bool { return e.NamesState == link.NamesAvailable })
	for _, name := range []string{"broker.acme.example", "x.db.acme.example", e.Address} {
		if addrs, err := s.fabric.LookupHost(ctx, s.vpc, name); err != nil || len(addrs) == 0 {
			t.Errorf("%s: %v, %v", name, addrs, err)
		}
	}
	if got := s.left(); got != "1 endpoints, 1 groups, 2 zones" {
		t.Errorf("there are %s", got)
	}

	// Deleted past us it is made anew, and its names lead to the new one.
	_, err = s.vendor.DeleteVpcEndpoints(ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{string(e.EndpointID)}})
	s.must(err)
	fresh := s.until("another asks to be accepted", e.ID, func(now control.EgressView) bool {
		return now.State == link.PendingAcceptance && now.EndpointID != e.EndpointID
	})
	accept.VpcEndpointIds = []string{string(fresh.EndpointID)}
	_, err = s.customer.AcceptVpcEndpointConnections(ctx, accept)
	s.must(err)
	s.until("its names stand again", e.ID, func(e control.EgressView) bool {
		return e.State == link.Available && e.NamesState == link.NamesAvailable
	})
	if addrs, err := s.fabric.LookupHost(ctx, s.vpc, "broker.acme.example"); err != nil || len(addrs) == 0 {
		t.Errorf("the name leads to %v, %v", addrs, err)
	}

	s.must(s.plane.DeleteCluster(ctx, operator, s.cluster))
	s.eventually("nothing is left", func() bool { return s.left() == "0 endpoints, 0 groups, 0 zones" })
	s.eventually("the books are clean", func() bool {
		err := s.st.Read(ctx, func(tx *store.Tx) error {
			_, err := tx.Egress(s.cluster, e.ID)
			return err
		})
		return errors.Is(err, store.ErrNotFound)
	})
	const want = "CREATED, NOT_ACCEPTED SERVICE_NOT_VISIBLE, STATE_CHANGED AWAITS_CUSTOMER, CHANGED DOMAIN_NAMES"
	if got := s.history(e.ID); !strings.HasPrefix(got, want) || !strings.Contains(got, "DRIFT ENDPOINT_LOST") || !strings.HasSuffix(got, "STATE_CHANGED DELETED") {
		t.Errorf("history %s", got)
	}
}

func (s *street) eventually(what string, f func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.t.Fatalf("it never came to be that %s", what)
		}
	}
}

// TestEgressExpires: nobody answers for a week.
func TestEgressExpires(t *testing.T) {
	s := newStreet(t, true)
	s.allow()
	e := s.ask()
	s.becomes(e.ID, link.PendingAcceptance)
	s.ahead.Store(int64(link.EgressLife - time.Hour))
	s.until("it says that it expires soon", e.ID, func(e control.EgressView) bool {
		return link.ConditionOf(e.Conditions, link.ConditionAccepted).Reason == link.ReasonExpiresSoon
	})
	s.ahead.Store(int64(link.EgressLife + time.Minute))
	s.becomes(e.ID, link.Expired)
	s.eventually("nothing is left", func() bool { return s.left() == "0 endpoints, 0 groups, 0 zones" })
	s.until("it is known to be gone", e.ID, func(e control.EgressView) bool { return e.EndpointID == "" })
	if got := s.history(e.ID); !strings.Contains(got, "EXPIRING EXPIRES_SOON, STATE_CHANGED REQUEST_EXPIRED") {
		t.Errorf("history %s", got)
	}
	// Asked for again it has its week again.
	if again := s.ask(); again.ID != e.ID {
		t.Errorf("another came: %s", again.ID)
	}
	s.becomes(e.ID, link.PendingAcceptance)
}

// TestEgressNameIsTaken: something of the vendor's own answers the name; nothing of it is hurt, and when it is gone the
// name comes about by itself.
func TestEgressNameIsTaken(t *testing.T) {
	s := newStreet(t, false)
	s.allow()
	zone, err := s.zones.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
		Name: aws.String("broker.acme.example"), CallerReference: aws.String("by hand"), VPC: vpcOf(s.vpc),
	})
	s.must(err)
	e := s.ask()
	_, err = s.plane.SetEgressNames(t.Context(), operator, s.cluster, e.ID, []string{"broker.acme.example"})
	s.must(err)
	s.until("it says that the name is taken", e.ID, func(e control.EgressView) bool {
		return e.State == link.Available && e.NamesState == link.NamesFailed && link.ConditionOf(e.Conditions, link.ConditionDNSReady).Reason == link.ReasonNameTaken
	})
	_, err = s.zones.DeleteHostedZone(t.Context(), &route53.DeleteHostedZoneInput{Id: zone.HostedZone.Id})
	s.must(err)
	s.until("its name stands", e.ID, func(e control.EgressView) bool { return e.NamesState == link.NamesAvailable })
}

// TestEgressCrash kills the installation after each of its requests, whose answer is lost, while it makes an endpoint with
// a name and while it takes it down. Whoever comes after it finishes the work, and doubles nothing.
func TestEgressCrash(t *testing.T) {
	s := newStreet(t, false)
	s.allow()
	for n, hit := 1, true; hit; n++ {
		if n > 60 {
			t.Fatal("still going after 60 requests")
		}
		var id link.ID
		hit = s.cut(n, func() link.ID {
			id = s.ask().ID
			_, err := s.plane.SetEgressNames(t.Context(), operator, s.cluster, id, []string{"broker.acme.example"})
			s.must(err)
			return id
		}, func(e control.EgressView) bool {
			return e.State == link.Available && e.NamesState == link.NamesAvailable
		})
		if got := s.left(); got != "1 endpoints, 1 groups, 1 zones" {
			t.Errorf("cut at request %d of the making, there are %s", n, got)
		}
		again := s.cut(n, func() link.ID {
			s.must(s.plane.DeleteEgress(t.Context(), operator, s.cluster, id))
			return id
		}, func(e control.EgressView) bool { return e.State == link.Deleted })
		hit = hit || again
		if got := s.left(); got != "0 endpoints, 0 groups, 0 zones" {
			t.Errorf("cut at request %d of the taking down, there are %s", n, got)
		}
		if n == 1 && !hit {
			t.Fatal("it makes no request at all")
		}
	}
}

// cut does something while the wire dies at the n-th request, restarts the reconciler over a whole wire and waits until
// all is as wanted. It reports whether there was an n-th request.
func (s *street) cut(n int, do func() link.ID, done func(control.EgressView) bool) bool {
	s.t.Helper()
	hit := s.wire.CutAt(n, true, func() {})
	id := do()
	s.until("it is cut, or done", id, func(e control.EgressView) bool { return hit() || done(e) })
	s.must(s.r.Close())
	was := hit()
	s.wire.Heal()
	s.start()
	s.until("it is as wanted", id, done)
	return was
}

func vpcOf(id string) *r53types.VPC {
	return &r53types.VPC{VPCId: aws.String(id), VPCRegion: "us-east-1"}
}
