package fabric

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// clients are one account's real SDK clients.
type clients struct {
	ec2     *ec2.Client
	elb     *elb.Client
	route53 *route53.Client
}

func (w *world) clients(keyID, secret string) clients {
	w.t.Helper()
	cfg, err := config.LoadDefaultConfig(w.t.Context(),
		config.WithRegion("us-east-1"), config.WithBaseEndpoint(w.f.URL()),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(keyID, secret, "")))
	if err != nil {
		w.t.Fatal(err)
	}
	return clients{ec2.NewFromConfig(cfg), elb.NewFromConfig(cfg), route53.NewFromConfig(cfg)}
}

func ptr[T any](v T) *T { return &v }

// must returns what a call returned, and ends the test when it failed.
func must[T any](t *testing.T, what string) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}

// The whole story through the API: what AWS clients set up carries bytes, and stops when they take it down.
func TestWhatTheAPIMakesCarriesBytes(t *testing.T) {
	endpoints := make(chan string, 8)
	target := startTarget(t, func(h *proxyproto.Header, c *net.TCPConn, r io.Reader) {
		tlvs, _ := h.TLVs()
		endpoints <- tlvparse.FindAWSVPCEndpointID(tlvs)
		_, _ = io.Copy(c, r)
	})
	w := newWorld(t, nil)
	ctx := t.Context()
	vendor, customer := w.clients("AKIAVENDOR", "v"), w.clients("AKIACUSTOMER", "c")

	// The vendor.
	lb := must[*elb.CreateLoadBalancerOutput](t, "CreateLoadBalancer")(vendor.elb.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: ptr("postern"), Type: elbtypes.LoadBalancerTypeEnumNetwork, Scheme: elbtypes.LoadBalancerSchemeEnumInternal, Subnets: w.vendor.SubnetIDs,
	})).LoadBalancers[0]
	tg := must[*elb.CreateTargetGroupOutput](t, "CreateTargetGroup")(vendor.elb.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{
		Name: ptr("postern"), Protocol: elbtypes.ProtocolEnumTcp, Port: ptr(int32(443)), TargetType: elbtypes.TargetTypeEnumIp, VpcId: &w.vendor.VPCID,
	})).TargetGroups[0]
	must[*elb.ModifyTargetGroupAttributesOutput](t, "ModifyTargetGroupAttributes")(vendor.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: tg.TargetGroupArn, Attributes: []elbtypes.TargetGroupAttribute{{Key: ptr(AttrProxyProtocolV2), Value: ptr("true")}},
	}))
	must[*elb.RegisterTargetsOutput](t, "RegisterTargets")(vendor.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{
		TargetGroupArn: tg.TargetGroupArn, Targets: []elbtypes.TargetDescription{{Id: &target.ID, Port: ptr(int32(target.Port)), AvailabilityZone: ptr("all")}},
	}))
	health := func() elbtypes.TargetHealth {
		return *must[*elb.DescribeTargetHealthOutput](t, "DescribeTargetHealth")(vendor.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{
			TargetGroupArn: tg.TargetGroupArn,
		})).TargetHealthDescriptions[0].TargetHealth
	}
	if h := health(); h.State != elbtypes.TargetHealthStateEnumUnused || h.Reason != elbtypes.TargetHealthReasonEnumNotInUse {
		t.Errorf("before there is a listener: %s, %s", h.State, h.Reason)
	}
	must[*elb.CreateListenerOutput](t, "CreateListener")(vendor.elb.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: lb.LoadBalancerArn, Protocol: elbtypes.ProtocolEnumTcp, Port: ptr(int32(443)),
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: tg.TargetGroupArn}},
	}))
	await(t, "the target is healthy", func() bool { return health().State == elbtypes.TargetHealthStateEnumHealthy })
	service := must[*ec2.CreateVpcEndpointServiceConfigurationOutput](t, "CreateVpcEndpointServiceConfiguration")(
		vendor.ec2.CreateVpcEndpointServiceConfiguration(ctx, &ec2.CreateVpcEndpointServiceConfigurationInput{
			NetworkLoadBalancerArns: []string{*lb.LoadBalancerArn}, AcceptanceRequired: ptr(true),
		})).ServiceConfiguration
	must[*ec2.ModifyVpcEndpointServicePermissionsOutput](t, "ModifyVpcEndpointServicePermissions")(
		vendor.ec2.ModifyVpcEndpointServicePermissions(ctx, &ec2.ModifyVpcEndpointServicePermissionsInput{
			ServiceId: service.ServiceId, AddAllowedPrincipals: []string{"arn:aws:iam::" + customerAccount + ":root"},
		}))

	// The customer.
	endpoint := must[*ec2.CreateVpcEndpointOutput](t, "CreateVpcEndpoint")(customer.ec2.CreateVpcEndpoint(ctx, &ec2.CreateVpcEndpointInput{
		VpcEndpointType: ec2types.VpcEndpointTypeInterface, VpcId: &w.customer.VPCID, ServiceName: service.ServiceName,
		SubnetIds: w.customer.SubnetIDs[:2], SecurityGroupIds: []string{w.customer.SecurityGroupID},
	})).VpcEndpoint
	described := func() ec2types.VpcEndpoint {
		return must[*ec2.DescribeVpcEndpointsOutput](t, "DescribeVpcEndpoints")(customer.ec2.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{
			VpcEndpointIds: []string{*endpoint.VpcEndpointId},
		})).VpcEndpoints[0]
	}
	await(t, "the endpoint waits for acceptance", func() bool { return strings.EqualFold(string(described().State), "pendingAcceptance") })
	entry := described().DnsEntries[0]
	if _, err := w.dial(100*time.Millisecond, *entry.DnsName+":443"); err == nil {
		t.Error("the endpoint carries before it was accepted")
	}
	must[*ec2.AcceptVpcEndpointConnectionsOutput](t, "AcceptVpcEndpointConnections")(vendor.ec2.AcceptVpcEndpointConnections(ctx, &ec2.AcceptVpcEndpointConnectionsInput{
		ServiceId: service.ServiceId, VpcEndpointIds: []string{*endpoint.VpcEndpointId},
	}))
	await(t, "the endpoint is available", func() bool { return strings.EqualFold(string(described().State), "available") })
	zone := must[*route53.CreateHostedZoneOutput](t, "CreateHostedZone")(customer.route53.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{
		Name: ptr("db.vendor.test"), CallerReference: ptr("1"), VPC: &route53types.VPC{VPCId: &w.customer.VPCID, VPCRegion: route53types.VPCRegionUsEast1},
	})).HostedZone
	alias := func(name string) route53types.Change {
		return route53types.Change{Action: route53types.ChangeActionUpsert, ResourceRecordSet: &route53types.ResourceRecordSet{
			Name: &name, Type: route53types.RRTypeA, AliasTarget: &route53types.AliasTarget{DNSName: entry.DnsName, HostedZoneId: entry.HostedZoneId},
		}}
	}
	must[*route53.ChangeResourceRecordSetsOutput](t, "ChangeResourceRecordSets")(customer.route53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: zone.Id, ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{alias("db.vendor.test"), alias("*.db.vendor.test")}},
	}))

	// Its applications.
	var open net.Conn
	for _, name := range []string{*entry.DnsName, "db.vendor.test", "proof.db.vendor.test"} {
		conn, err := w.dial(10*time.Second, name+":443")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if got := <-endpoints; got != *endpoint.VpcEndpointId {
			t.Errorf("%s: the target heard endpoint %q, want %q", name, got, *endpoint.VpcEndpointId)
		}
		open = conn
	}
	if _, err := w.f.LookupHost(ctx, w.vendor.VPCID, "db.vendor.test"); err == nil {
		t.Error("the customer's private zone answers in the vendor's VPC")
	}

	// The end.
	must[*ec2.DeleteVpcEndpointsOutput](t, "DeleteVpcEndpoints")(customer.ec2.DeleteVpcEndpoints(ctx, &ec2.DeleteVpcEndpointsInput{
		VpcEndpointIds: []string{*endpoint.VpcEndpointId},
	}))
	_ = open.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := open.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second after the deletion the open flow reads %v", err)
	}
	await(t, "the endpoint's name is gone", func() bool {
		_, err := w.f.LookupHost(ctx, w.customer.VPCID, *entry.DnsName)
		return err != nil
	})
}
