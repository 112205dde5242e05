package connect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/connect"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/verify"
)

func TestFromNothingAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var verified []connect.Target
	cfg := w.config()
	cfg.Verify = func(_ context.Context, target connect.Target) (verify.Report, error) {
		verified = append(verified, target)
		return verify.Report{Verdict: verify.Proven, Summary: "proven"}, nil
	}
	var waited bool
	r, err := connect.Run(t.Context(), cfg, w.request(), func(e connect.StepEvent) { waited = waited || e.Status == connect.Waiting })
	if err != nil {
		t.Fatalf("%v\n%s", err, steps(r))
	}
	if !r.Changed || r.AccountID != customerID || r.PrivateName != w.privateName() || r.HostedZoneID == "" ||
		r.EndpointDNSName == "" || r.Report == nil || len(r.InterfaceAddresses) != 2 {
		t.Errorf("result incomplete: %+v", r)
	}
	if !waited {
		t.Error("nobody was told what was waited for")
	}
	if got := w.endpoints(t); !slices.Equal(got, []string{string(r.EndpointID)}) {
		t.Errorf("endpoints %q, want %q", got, r.EndpointID)
	}
	for _, name := range []string{w.privateName(), "proof." + w.privateName(), "any.thing." + w.privateName()} {
		got, err := w.fabric.LookupHost(t.Context(), w.network.VPCID, name)
		slices.SortFunc(got, netip.Addr.Compare)
		if err != nil || !slices.Equal(got, r.InterfaceAddresses) {
			t.Errorf("in the VPC %s has %v (error %v), want the endpoint's %v", name, got, err, r.InterfaceAddresses)
		}
	}
	if len(verified) != 1 {
		t.Fatalf("verified %d times", len(verified))
	}
	target := verified[0]
	if target.PrivateName != w.privateName() || target.EndpointID != r.EndpointID || target.VPCID != w.network.VPCID ||
		target.ClusterID != link.ID(w.cluster.ID) || target.Port != 443 || len(target.VPCCIDRs) == 0 ||
		!slices.Equal(target.InterfaceAddrs, r.InterfaceAddresses) {
		t.Errorf("target incomplete: %+v", target)
	}

	t.Run("again", func(t *testing.T) {
		again := w.connected(t, cfg, w.request())
		if again.Changed {
			t.Error("the second run changed something")
		}
		for _, s := range again.Steps {
			if s.Status != connect.Already && s.Step != connect.StepVerification {
				t.Errorf("step %s is %s: %s", s.Step, s.Status, s.Message)
			}
		}
		again.Steps, again.Changed, again.Report = r.Steps, r.Changed, r.Report
		if diff := cmp.Diff(r, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("result (-first +second):\n%s", diff)
		}
	})

	t.Run("back", func(t *testing.T) {
		back := w.disconnected(t, w.request())
		if !back.Changed {
			t.Error("nothing was changed")
		}
		if e, z, c := w.endpoints(t), w.zones(t), w.registered(t, w.cluster.ID); len(e)+len(z)+len(c) > 0 {
			t.Errorf("left: endpoints %q, zones %q, connections %q", e, z, c)
		}
		if got, err := w.fabric.LookupHost(t.Context(), w.network.VPCID, w.privateName()); err == nil {
			t.Errorf("the name still answers %v", got)
		}
	})

	t.Run("back again", func(t *testing.T) {
		if again := w.disconnected(t, w.request()); again.Changed {
			t.Errorf("the second run changed something\n%s", steps(again))
		}
	})

	t.Run("anew", func(t *testing.T) {
		anew := w.connected(t, cfg, w.request())
		if anew.EndpointID == r.EndpointID {
			t.Errorf("the deleted endpoint %s came back", r.EndpointID)
		}
	})
}

// TestCutOff kills connect, and then disconnect, at every request that is to change something, once before the request
// arrives and once after, and has a second run finish the work.
func TestCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connected(t, w.config(), w.request()) // the service is there, the account is trusted: neither is undone below
	w.disconnected(t, w.request())
	for _, lost := range []bool{false, true} {
		for n, more := 1, true; more; n++ {
			hit := w.cut(t, n, lost, connect.Run)
			r := w.connected(t, w.config(), w.request())
			if e, z := w.endpoints(t), w.zones(t); len(e) != 1 || len(z) != 1 {
				t.Fatalf("connect cut at %d (lost %t): endpoints %q, zones %q, want one of each\n%s", n, lost, e, z, steps(r))
			}
			hitBack := w.cut(t, n, lost, connect.Disconnect)
			r = w.disconnected(t, w.request())
			if e, z, c := w.endpoints(t), w.zones(t), w.registered(t, w.cluster.ID); len(e)+len(z)+len(c) > 0 {
				t.Fatalf("disconnect cut at %d (lost %t): left: %q %q %q\n%s", n, lost, e, z, c, steps(r))
			}
			if more = hit || hitBack; !more && n <= 4 {
				t.Errorf("only %d requests were to change something", n-1)
			}
		}
	}
}

type action func(context.Context, connect.Config, connect.Request, func(connect.StepEvent)) (connect.Result, error)

// cut runs do over a wire that goes dead at the n-th changing request, and reports whether there was one.
func (w *world) cut(t *testing.T, n int, lost bool, do action) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wire := &cutter{n: n, lost: lost, cancel: cancel}
	cfg := w.config()
	cfg.AWS.Transport = wire
	cfg.API = api.New(w.apiURL, token, api.WithHTTPClient(&http.Client{Transport: wire}))
	_, err := do(ctx, cfg, w.request(), nil)
	if wire.dead && err == nil {
		t.Errorf("cut at %d and did not notice", n)
	}
	return wire.dead
}

func TestWhatSomebodyElseMadeIsUsedAndStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.connected(t, w.config(), w.request())
	w.disconnected(t, w.request())

	byHand, err := w.ec2.CreateVpcEndpoint(t.Context(), &ec2.CreateVpcEndpointInput{
		VpcEndpointType: ec2types.VpcEndpointTypeInterface, VpcId: aws.String(w.network.VPCID), ServiceName: aws.String(first.ServiceName),
		SubnetIds: w.servedSubnets(t)[:1],
	})
	must(t, err)
	zone, err := w.route53.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
		Name: aws.String(w.privateName()), CallerReference: aws.String("by hand"),
		VPC: &r53types.VPC{VPCId: aws.String(w.network.VPCID), VPCRegion: r53types.VPCRegionUsEast1},
	})
	must(t, err)

	r := w.connected(t, w.config(), w.request())
	if string(r.EndpointID) != aws.ToString(byHand.VpcEndpoint.VpcEndpointId) {
		t.Errorf("made %s instead of using %s", r.EndpointID, aws.ToString(byHand.VpcEndpoint.VpcEndpointId))
	}
	if !strings.HasSuffix(aws.ToString(zone.HostedZone.Id), r.HostedZoneID) || len(w.zones(t)) != 1 {
		t.Errorf("the zone is %s, want the one that was there", r.HostedZoneID)
	}
	w.disconnected(t, w.request())
	if e, z := w.endpoints(t), w.zones(t); len(e) != 1 || len(z) != 1 {
		t.Errorf("endpoints %q and zones %q, want both to stay", e, z)
	}
	if got, err := w.fabric.LookupHost(t.Context(), w.network.VPCID, w.privateName()); err == nil {
		t.Errorf("the records stayed: %v", got)
	}
	if c := w.registered(t, w.cluster.ID); len(c) != 0 {
		t.Errorf("still registered: %q", c)
	}
}

func TestTwoClustersShareAnEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.request()
	other.ClusterID = w.newCluster(t, "other").ID
	first := w.connected(t, w.config(), w.request())
	second := w.connected(t, w.config(), other)
	if first.EndpointID != second.EndpointID {
		t.Errorf("two endpoints of one service in one VPC: %s and %s", first.EndpointID, second.EndpointID)
	}
	w.disconnected(t, w.request())
	if e := w.endpoints(t); len(e) != 1 {
		t.Fatalf("endpoints %q, want the other cluster's to stay", e)
	}
	if again := w.connected(t, w.config(), other); again.Changed {
		t.Errorf("the other cluster's connection was hurt\n%s", steps(again))
	}
	w.disconnected(t, other)
	if e := w.endpoints(t); len(e) != 0 {
		t.Errorf("endpoints %q, want none after the last cluster", e)
	}
}

func TestPrivateDNS(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, "acme.us-east-1.pe.postern.test")
	req := w.request()
	req.DNS = connect.DNSPrivate
	must(t, w.waitForService(t))
	for { // until the vendor's claim to the name is verified
		p, err := connect.Prepare(t.Context(), w.config(), req)
		must(t, err)
		if len(p.Blocking()) == 0 {
			break
		}
	}
	r := w.connected(t, w.config(), req)
	if z := w.zones(t); len(z) != 0 {
		t.Errorf("made zones %q", z)
	}
	got, err := w.fabric.LookupHost(t.Context(), w.network.VPCID, w.privateName())
	slices.SortFunc(got, netip.Addr.Compare)
	if err != nil || !slices.Equal(got, r.InterfaceAddresses) {
		t.Errorf("in the VPC the name has %v (error %v), want the endpoint's %v", got, err, r.InterfaceAddresses)
	}
	if again := w.connected(t, w.config(), req); again.Changed {
		t.Errorf("the second run changed something\n%s", steps(again))
	}

	// A name without a wildcard leads to no Docker repository.
	_, err = w.api.PutReverseProxy(t.Context(), w.cluster.ID, api.ReverseProxySettings{Server: "direct", Repositories: []api.ProxyRepository{{Key: "npm"}}}, false)
	must(t, err)
	p, err := connect.Prepare(t.Context(), w.config(), req)
	must(t, err)
	if i := slices.IndexFunc(p.Problems, func(x connect.Problem) bool { return x.Reason == "REPOSITORIES_NOT_COVERED" }); i < 0 || !p.Problems[i].Warning {
		t.Errorf("problems %+v, want a warning about the repositories' names", p.Problems)
	}
	w.disconnected(t, req)
	if e := w.endpoints(t); len(e) != 0 {
		t.Errorf("endpoints %q left", e)
	}
}

func TestDeletedOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.connected(t, w.config(), w.request())
	_, err := w.ec2.DeleteVpcEndpoints(t.Context(), &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{string(first.EndpointID)}})
	must(t, err)
	second := w.connected(t, w.config(), w.request())
	if second.EndpointID == first.EndpointID || !second.Changed {
		t.Errorf("the endpoint is still %s", second.EndpointID)
	}
	got, err := w.fabric.LookupHost(t.Context(), w.network.VPCID, w.privateName())
	slices.SortFunc(got, netip.Addr.Compare)
	if err != nil || !slices.Equal(got, second.InterfaceAddresses) {
		t.Errorf("the name leads to %v (error %v), want the new endpoint's %v", got, err, second.InterfaceAddresses)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connected(t, w.config(), w.request())
	w.disconnected(t, w.request())
	must(t, w.reconcile.Close()) // nobody accepts any more
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := connect.Run(ctx, w.config(), w.request(), func(e connect.StepEvent) {
		if e.Step == connect.StepAcceptance && e.Status == connect.Waiting {
			cancel()
		}
	})
	e, ok := errors.AsType[*link.Error](err)
	if !ok || e.Reason != "STILL_WAITING" || !errors.Is(err, context.Canceled) || !strings.Contains(e.Message, "PENDING") {
		t.Errorf("got %v, want an error that says what was waited for", err)
	}
	if last := r.Steps[len(r.Steps)-1]; last.Step != connect.StepAcceptance || last.Status != connect.Failed {
		t.Errorf("the last step is %s %s", last.Step, last.Status)
	}
}

func TestVerificationIsRepeatedAndTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config()
	cfg.VerifyFor = time.Minute
	calls := 0
	cfg.Verify = func(context.Context, connect.Target) (verify.Report, error) {
		calls++
		if calls < 3 {
			return verify.Report{Verdict: verify.Broken, Code: "TCP_TIMEOUT", Summary: "no answer", Next: "look"}, nil
		}
		return verify.Report{Verdict: verify.Proven, Summary: "proven"}, nil
	}
	if r := w.connected(t, cfg, w.request()); calls != 3 || r.Report.Verdict != verify.Proven {
		t.Errorf("verified %d times", calls)
	}
	cfg.VerifyFor = 10 * poll
	cfg.Verify = func(context.Context, connect.Target) (verify.Report, error) {
		return verify.Report{Verdict: verify.Broken, Code: "TCP_TIMEOUT", Summary: "no answer", Next: "look"}, nil
	}
	r, err := connect.Run(t.Context(), cfg, w.request(), nil)
	e, ok := errors.AsType[*link.Error](err)
	if !ok || e.Reason != "TCP_TIMEOUT" || e.Hint != "look" || r.Report == nil {
		t.Errorf("got %v, want what the report says", err)
	}
	cfg.Verify = func(context.Context, connect.Target) (verify.Report, error) {
		return verify.Report{}, fmt.Errorf("broken probe")
	}
	if _, err := connect.Run(t.Context(), cfg, w.request(), nil); err == nil || !strings.Contains(err.Error(), "broken probe") {
		t.Errorf("got %v", err)
	}
}
