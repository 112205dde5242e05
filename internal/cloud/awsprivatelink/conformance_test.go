package awsprivatelink_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/cloud/cloudtest"
	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/link"
)

const (
	region   = "us-east-1"
	pageSize = 5 // the least that EC2 allows

	vendorID   = "111111111111"
	customerID = "222222222222"
)

func TestConformance(t *testing.T) {
	cloudtest.Run(t, cloudtest.Harness{
		Open:         func(t *testing.T) cloudtest.World { return newWorld(t).World },
		Mutates:      mutates,
		ClientToken:  func(req *http.Request) string { return form(req).Get("ClientToken") },
		Throttled:    throttled,
		Outage:       outage,
		Unsuccessful: hidden,
		PageSize:     pageSize,
	})
}

// world is a fabric with a vendor and a customer in it, and plain SDK clients of both.
type world struct {
	cloudtest.World
	fabric    *fabric.Fabric
	vendorEC2 *ec2.Client
	vendorELB *elb.Client
	customer  *ec2.Client
	network   fabric.Network // the customer's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(*fabric.Config) {})
}

func newWorldWith(t *testing.T, change func(*fabric.Config)) *world {
	t.Helper()
	cfg := fabric.Config{
		Accounts: []fabric.Account{
			{ID: vendorID, AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret", Name: "vendor"},
			{ID: customerID, AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "customer-secret", Name: "customer"},
		},
		Settle: 5 * time.Millisecond,
		Seed:   1,
	}
	change(&cfg)
	f, err := fabric.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	vendorNet, err := f.DefaultNetwork(vendorID, region)
	if err != nil {
		t.Fatal(err)
	}
	customerNet, err := f.DefaultNetwork(customerID, region)
	if err != nil {
		t.Fatal(err)
	}
	sdk := func(key, secret string) aws.Config {
		return aws.Config{
			Region: region, BaseEndpoint: aws.String(f.URL()),
			Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		}
	}
	w := &world{
		fabric:    f,
		vendorEC2: ec2.NewFromConfig(sdk("AKIAVENDOR", "vendor-secret")),
		vendorELB: elb.NewFromConfig(sdk("AKIAVENDOR", "vendor-secret")),
		customer:  ec2.NewFromConfig(sdk("AKIACUSTOMER", "customer-secret")),
		network:   customerNet,
	}
	subnets := vendorNet.SubnetIDs[:2]
	w.World = cloudtest.World{
		NewDriver: func(t *testing.T, wire http.RoundTripper) cloud.Driver { return newDriver(t, f, wire) },
		Spec: cloud.ServiceSpec{
			Key: "test/AWS/" + region, VPCID: vendorNet.VPCID, SubnetIDs: subnets, Ports: []uint16{443},
			Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9443")}, Principals: []string{"*"},
		},
		ZoneIDs:    zoneIDs(t, w.vendorEC2, subnets),
		OtherPort:  8443,
		Customer:   customerID,
		Connect:    w.connect,
		Disconnect: w.disconnect,
		Inventory:  w.inventory,
		Drift:      w.drift(),
	}
	return w
}

func newDriver(t *testing.T, f *fabric.Fabric, wire http.RoundTripper) *awsprivatelink.Driver {
	t.Helper()
	d, err := awsprivatelink.New(t.Context(), awsprivatelink.Config{
		Region: region, EndpointURL: f.URL(), AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret",
		Transport: wire, MaxBackoff: time.Millisecond, PageSize: pageSize,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) connect(t *testing.T, service string) link.EndpointID {
	t.Helper()
	out, err := w.customer.CreateVpcEndpoint(t.Context(), &ec2.CreateVpcEndpointInput{
		VpcEndpointType: ec2types.VpcEndpointTypeInterface, VpcId: aws.String(w.network.VPCID), ServiceName: aws.String(service),
	})
	if err != nil {
		t.Fatalf("create an endpoint: %v", err)
	}
	return link.EndpointID(aws.ToString(out.VpcEndpoint.VpcEndpointId))
}

func (w *world) disconnect(t *testing.T, id link.EndpointID) {
	t.Helper()
	out, err := w.customer.DeleteVpcEndpoints(t.Context(), &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{string(id)}})
	if err != nil || len(out.Unsuccessful) > 0 {
		t.Fatalf("delete the endpoint: %v %v", err, out)
	}
}

func (w *world) inventory(t *testing.T) map[string]int {
	t.Helper()
	ctx := t.Context()
	lbs, err := w.vendorELB.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	must(t, err)
	groups, err := w.vendorELB.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
	must(t, err)
	services, err := w.vendorEC2.DescribeVpcEndpointServiceConfigurations(ctx, &ec2.DescribeVpcEndpointServiceConfigurationsInput{})
	must(t, err)
	listeners, live := 0, 0
	for _, lb := range lbs.LoadBalancers {
		out, err := w.vendorELB.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: lb.LoadBalancerArn})
		must(t, err)
		listeners += len(out.Listeners)
	}
	for _, s := range services.ServiceConfigurations {
		if s.ServiceState != ec2types.ServiceStateDeleting && s.ServiceState != ec2types.ServiceStateDeleted {
			live++
		}
	}
	return map[string]int{
		"load balancers": len(lbs.LoadBalancers), "target groups": len(groups.TargetGroups),
		"listeners": listeners, "endpoint services": live,
	}
}

// drift changes, each in one way, what the driver made.
func (w *world) drift() map[string]func(*testing.T, cloud.Service) {
	return map[string]func(*testing.T, cloud.Service){
		"PROXY protocol turned off": func(t *testing.T, _ cloud.Service) {
			_, err := w.vendorELB.ModifyTargetGroupAttributes(t.Context(), &elb.ModifyTargetGroupAttributesInput{
				TargetGroupArn: w.group(t).TargetGroupArn,
				Attributes:     []elbtypes.TargetGroupAttribute{{Key: aws.String("proxy_protocol_v2.enabled"), Value: aws.String("false")}},
			})
			must(t, err)
		},
		"target deregistered": func(t *testing.T, svc cloud.Service) {
			_, err := w.vendorELB.DeregisterTargets(t.Context(), &elb.DeregisterTargetsInput{
				TargetGroupArn: w.group(t).TargetGroupArn, Targets: []elbtypes.TargetDescription{targetOf(svc.Targets[0].Addr)},
			})
			must(t, err)
		},
		"foreign target registered": func(t *testing.T, svc cloud.Service) {
			foreign := targetOf(netip.AddrPortFrom(svc.Targets[0].Addr.Addr(), 7))
			foreign.AvailabilityZone = aws.String("all")
			_, err := w.vendorELB.RegisterTargets(t.Context(), &elb.RegisterTargetsInput{
				TargetGroupArn: w.group(t).TargetGroupArn, Targets: []elbtypes.TargetDescription{foreign},
			})
			must(t, err)
		},
		"listener deleted": func(t *testing.T, _ cloud.Service) {
			_, err := w.vendorELB.DeleteListener(t.Context(), &elb.DeleteListenerInput{ListenerArn: w.listener(t).ListenerArn})
			must(t, err)
		},
		"foreign listener created": func(t *testing.T, _ cloud.Service) {
			_, err := w.vendorELB.CreateListener(t.Context(), &elb.CreateListenerInput{
				LoadBalancerArn: w.listener(t).LoadBalancerArn, Port: aws.Int32(22), Protocol: elbtypes.ProtocolEnumTcp,
				DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: w.group(t).TargetGroupArn}},
			})
			must(t, err)
		},
		"acceptance no longer required": func(t *testing.T, svc cloud.Service) {
			_, err := w.vendorEC2.ModifyVpcEndpointServiceConfiguration(t.Context(), &ec2.ModifyVpcEndpointServiceConfigurationInput{
				ServiceId: aws.String(svc.ServiceID), AcceptanceRequired: aws.Bool(false),
			})
			must(t, err)
		},
		"principals replaced": func(t *testing.T, svc cloud.Service) {
			_, err := w.vendorEC2.ModifyVpcEndpointServicePermissions(t.Context(), &ec2.ModifyVpcEndpointServicePermissionsInput{
				ServiceId: aws.String(svc.ServiceID), RemoveAllowedPrincipals: []string{"*"},
				AddAllowedPrincipals: []string{"arn:aws:iam::" + customerID + ":user/somebody", "arn:aws:iam::" + vendorID + ":root"},
			})
			must(t, err)
		},
	}
}

func (w *world) group(t *testing.T) elbtypes.TargetGroup {
	t.Helper()
	out, err := w.vendorELB.DescribeTargetGroups(t.Context(), &elb.DescribeTargetGroupsInput{})
	must(t, err)
	if len(out.TargetGroups) != 1 {
		t.Fatalf("%d target groups, want 1", len(out.TargetGroups))
	}
	return out.TargetGroups[0]
}

func (w *world) listener(t *testing.T) elbtypes.Listener {
	t.Helper()
	lbs, err := w.vendorELB.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{})
	must(t, err)
	out, err := w.vendorELB.DescribeListeners(t.Context(), &elb.DescribeListenersInput{LoadBalancerArn: lbs.LoadBalancers[0].LoadBalancerArn})
	must(t, err)
	if len(out.Listeners) != 1 {
		t.Fatalf("%d listeners, want 1", len(out.Listeners))
	}
	return out.Listeners[0]
}

func targetOf(a netip.AddrPort) elbtypes.TargetDescription {
	return elbtypes.TargetDescription{Id: aws.String(a.Addr().String()), Port: aws.Int32(int32(a.Port()))}
}

func zoneIDs(t *testing.T, c *ec2.Client, subnets []string) []string {
	t.Helper()
	out, err := c.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: subnets})
	must(t, err)
	var ids []string
	for _, s := range out.Subnets {
		ids = append(ids, aws.ToString(s.AvailabilityZoneId))
	}
	return ids
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// form reads the request's body and puts it back.
func form(req *http.Request) url.Values {
	if req.Body == nil {
		return nil
	}
	body, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	values, _ := url.ParseQuery(string(body))
	return values
}

func mutates(req *http.Request) bool {
	return req.Method != http.MethodGet && !strings.HasPrefix(form(req).Get("Action"), "Describe")
}

func isELB(req *http.Request) bool { return form(req).Get("Version") == "2015-12-01" }

func throttled(req *http.Request) *http.Response {
	if isELB(req) {
		return answer(req, http.StatusBadRequest, `<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">`+
			`<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error><RequestId>r</RequestId></ErrorResponse>`)
	}
	return answer(req, http.StatusServiceUnavailable,
		`<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors><RequestID>r</RequestID></Response>`)
}

func outage(req *http.Request) *http.Response {
	if isELB(req) {
		return answer(req, http.StatusServiceUnavailable, `<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">`+
			`<Error><Type>Receiver</Type><Code>ServiceUnavailable</Code><Message>down</Message></Error><RequestId>r</RequestId></ErrorResponse>`)
	}
	return answer(req, http.StatusServiceUnavailable,
		`<Response><Errors><Error><Code>Unavailable</Code><Message>The service is unavailable. Please try again shortly.</Message></Error></Errors><RequestID>r</RequestID></Response>`)
}

// hidden is a success in whose body the one item has failed.
func hidden(req *http.Request) *http.Response {
	values := form(req)
	action := values.Get("Action")
	if action != "AcceptVpcEndpointConnections" && action != "RejectVpcEndpointConnections" {
		return nil
	}
	return answer(req, http.StatusOK, `<`+action+`Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>`+
		`<unsuccessful><item><resourceId>`+values.Get("VpcEndpointId.1")+`</resourceId><error><code>InvalidState</code>`+
		`<message>not now</message></error></item></unsuccessful></`+action+`Response>`)
}

func answer(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)), Request: req,
	}
}
