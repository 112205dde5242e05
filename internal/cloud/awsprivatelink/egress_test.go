package awsprivatelink_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/cloudtest"
	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/link"
)

func TestEgressConformance(t *testing.T) {
	cloudtest.RunEgress(t, cloudtest.EgressHarness{
		Harness: cloudtest.Harness{
			Mutates: mutates, ClientToken: func(req *http.Request) string { return form(req).Get("ClientToken") },
			Throttled: throttled, Outage: outage,
		},
		OpenEgress: func(t *testing.T) cloudtest.EgressWorld { return newEgressWorld(t, "127.0.0.1:9").EgressWorld },
	})
}

// egressWorld is a fabric in which the customer publishes a service, with plain SDK clients of both.
type egressWorld struct {
	cloudtest.EgressWorld
	fabric           *fabric.Fabric
	vendor, customer side
	vendorNet        fabric.Network
	serviceID        string
}

// side is an account's clients.
type side struct {
	ec2     *ec2.Client
	elb     *elb.Client
	route53 *route53.Client
}

func newSide(f *fabric.Fabric, key, secret string) side {
	cfg := aws.Config{Region: region, BaseEndpoint: aws.String(f.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")}
	return side{ec2.NewFromConfig(cfg), elb.NewFromConfig(cfg), route53.NewFromConfig(cfg)}
}

// newEgressWorld makes a world whose customer's service leads to an address of this machine.
func newEgressWorld(t *testing.T, behind string) *egressWorld {
	t.Helper()
	f, err := fabric.Start(context.Background(), fabric.Config{
		Accounts: []fabric.Account{
			{ID: vendorID, AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret", Name: "vendor"},
			{ID: customerID, AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "customer-secret", Name: "customer"},
		},
		Settle: 5 * time.Millisecond, Seed: 1,
	})
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	w := &egressWorld{fabric: f, vendor: newSide(f, "AKIAVENDOR", "vendor-secret"), customer: newSide(f, "AKIACUSTOMER", "customer-secret")}
	w.vendorNet, err = f.DefaultNetwork(vendorID, region)
	must(t, err)
	customerNet, err := f.DefaultNetwork(customerID, region)
	must(t, err)

	vendorZones := map[string]string{} // subnets by zone id
	for _, subnet := range w.vendorNet.SubnetIDs {
		vendorZones[zoneIDs(t, w.vendor.ec2, []string{subnet})[0]] = subnet
	}
	customerZone := func(i int) string { return zoneIDs(t, w.customer.ec2, customerNet.SubnetIDs[i:i+1])[0] }
	// The service stands in the customer's first two zones; the vendor has a subnet in one of them and in a third. The
	// accounts name the zones differently, so nothing but ids can match.
	shared, other := customerZone(0), customerZone(2)
	name, id := w.publish(t, w.customer, customerNet.VPCID, "svc", behind, customerNet.SubnetIDs[:2], true)
	w.serviceID = id
	far, _ := w.publish(t, w.customer, customerNet.VPCID, "far", behind, customerNet.SubnetIDs[1:2], true)
	own, _ := w.publish(t, w.vendor, w.vendorNet.VPCID, "own", behind, w.vendorNet.SubnetIDs, false)

	w.EgressWorld = cloudtest.EgressWorld{
		NewDriver: func(t *testing.T, wire http.RoundTripper) cloud.EgressDriver { return newDriver(t, f, wire) },
		Account:   vendorID,
		Spec: cloud.EgressSpec{
			Key: "postern/installation/egress/1", Tags: map[string]string{"postern:cluster": "acme", "postern:installation": "installation"},
			Target: name, VPCID: w.vendorNet.VPCID, SubnetIDs: []string{vendorZones[other], vendorZones[shared]},
		},
		ZoneIDs: []string{shared}, OwnTarget: own, FarTarget: far,
		Allow: w.allow, Accept: w.accept, Reject: w.reject, Lose: w.lose, Take: w.take, Resolve: w.resolve, Inventory: w.inventory, Tags: w.tags,
	}
	return w
}

// publish makes an endpoint service of an account in front of an address of this machine, which the vendor may use.
func (w *egressWorld) publish(t *testing.T, s side, vpcID, name, behind string, subnets []string, acceptance bool) (serviceName, serviceID string) {
	t.Helper()
	ctx := t.Context()
	lb, err := s.elb.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: aws.String(name), Type: elbtypes.LoadBalancerTypeEnumNetwork, Scheme: elbtypes.LoadBalancerSchemeEnumInternal, Subnets: subnets,
	})
	must(t, err)
	arn := lb.LoadBalancers[0].LoadBalancerArn
	addr := netip.MustParseAddrPort(behind)
	group, err := s.elb.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{
		Name: aws.String(name), Protocol: elbtypes.ProtocolEnumTcp, Port: aws.Int32(int32(addr.Port())), VpcId: aws.String(vpcID),
		TargetType: elbtypes.TargetTypeEnumIp,
	})
	must(t, err)
	to := targetOf(addr)
	to.AvailabilityZone = aws.String("all")
	_, err = s.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: group.TargetGroups[0].TargetGroupArn, Targets: []elbtypes.TargetDescription{to}})
	must(t, err)
	_, err = s.elb.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: arn, Port: aws.Int32(9092), Protocol: elbtypes.ProtocolEnumTcp,
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: group.TargetGroups[0].TargetGroupArn}},
	})
	must(t, err)
	svc, err := s.ec2.CreateVpcEndpointServiceConfiguration(ctx, &ec2.CreateVpcEndpointServiceConfigurationInput{
		NetworkLoadBalancerArns: []string{aws.ToString(arn)}, AcceptanceRequired: aws.Bool(acceptance),
	})
	must(t, err)
	_, err = s.ec2.ModifyVpcEndpointServicePermissions(ctx, &ec2.ModifyVpcEndpointServicePermissionsInput{
		ServiceId: svc.ServiceConfiguration.ServiceId, AddAllowedPrincipals: []string{link.AccountPrincipal(region, vendorID)},
	})
	must(t, err)
	return aws.ToString(svc.ServiceConfiguration.ServiceName), aws.ToString(svc.ServiceConfiguration.ServiceId)
}

func (w *egressWorld) allow(t *testing.T, allowed bool) {
	t.Helper()
	in := &ec2.ModifyVpcEndpointServicePermissionsInput{ServiceId: aws.String(w.serviceID)}
	if principal := []string{link.AccountPrincipal(region, vendorID)}; allowed {
		in.AddAllowedPrincipals = principal
	} else {
		in.RemoveAllowedPrincipals = principal
	}
	_, err := w.customer.ec2.ModifyVpcEndpointServicePermissions(t.Context(), in)
	must(t, err)
}

func (w *egressWorld) accept(t *testing.T, id link.EndpointID) {
	t.Helper()
	out, err := w.customer.ec2.AcceptVpcEndpointConnections(t.Context(), &ec2.AcceptVpcEndpointConnectionsInput{
		ServiceId: aws.String(w.serviceID), VpcEndpointIds: []string{string(id)},
	})
	if err != nil || len(out.Unsuccessful) > 0 {
		t.Fatalf("accept: %v %v", err, out)
	}
}

func (w *egressWorld) reject(t *testing.T, id link.EndpointID) {
	t.Helper()
	_, err := w.customer.ec2.RejectVpcEndpointConnections(t.Context(), &ec2.RejectVpcEndpointConnectionsInput{
		ServiceId: aws.String(w.serviceID), VpcEndpointIds: []string{string(id)},
	})
	must(t, err)
}

func (w *egressWorld) lose(t *testing.T, id link.EndpointID) {
	t.Helper()
	_, err := w.vendor.ec2.DeleteVpcEndpoints(t.Context(), &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{string(id)}})
	must(t, err)
}

func (w *egressWorld) take(t *testing.T, name string) {
	t.Helper()
	zone, err := w.vendor.route53.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
		Name: aws.String(name), CallerReference: aws.String("by hand " + name),
		VPC: &r53types.VPC{VPCId: aws.String(w.vendorNet.VPCID), VPCRegion: region},
	})
	must(t, err)
	_, err = w.vendor.route53.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: zone.HostedZone.Id,
		ChangeBatch: &r53types.ChangeBatch{Changes: []r53types.Change{{
			Action: r53types.ChangeActionCreate,
			ResourceRecordSet: &r53types.ResourceRecordSet{
				Name: aws.String(name), Type: r53types.RRTypeA, TTL: aws.Int64(60), ResourceRecords: []r53types.ResourceRecord{{Value: aws.String("192.0.2.1")}},
			},
		}}},
	})
	must(t, err)
}

func (w *egressWorld) resolve(t *testing.T, name string) []string {
	t.Helper()
	addrs, err := w.fabric.LookupHost(t.Context(), w.vendorNet.VPCID, name)
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return out
}

func (w *egressWorld) inventory(t *testing.T) map[string]int {
	t.Helper()
	endpoints, err := w.vendor.ec2.DescribeVpcEndpoints(t.Context(), &ec2.DescribeVpcEndpointsInput{})
	must(t, err)
	live := 0
	for _, e := range endpoints.VpcEndpoints {
		if !strings.EqualFold(string(e.State), string(ec2types.StateDeleting)) {
			live++
		}
	}
	groups, err := w.vendor.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{
		Filters: []ec2types.Filter{{Name: aws.String("tag-key"), Values: []string{"postern:key"}}},
	})
	must(t, err)
	zones, err := w.vendor.route53.ListHostedZones(t.Context(), &route53.ListHostedZonesInput{})
	must(t, err)
	ours := 0
	for _, z := range zones.HostedZones {
		if z.Config != nil && strings.HasPrefix(aws.ToString(z.Config.Comment), "postern ") {
			ours++
		}
	}
	return map[string]int{"endpoints": live, "security groups": len(groups.SecurityGroups), "hosted zones": ours}
}

func (w *egressWorld) tags(t *testing.T, e cloud.Egress) (out [][2]string) {
	t.Helper()
	found, err := w.vendor.ec2.DescribeVpcEndpoints(t.Context(), &ec2.DescribeVpcEndpointsInput{VpcEndpointIds: []string{string(e.EndpointID)}})
	must(t, err)
	for _, tag := range found.VpcEndpoints[0].Tags {
		out = append(out, [2]string{aws.ToString(tag.Key), aws.ToString(tag.Value)})
	}
	return out
}

// TestEgressCarriesBytes: from inside the vendor's network, by the domain name, one speaks with the customer's service.
func TestEgressCarriesBytes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan struct{})
	t.Cleanup(func() {
		_ = ln.Close()
		<-served
	})
	go func() {
		defer close(served)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			line, err := bufio.NewReader(c).ReadString('\n') // health checks say nothing
			if err == nil {
				_, _ = io.WriteString(c, "the customer's broker heard "+line)
			}
			_ = c.Close()
		}
	}()

	w := newEgressWorld(t, ln.Addr().String())
	d := w.NewDriver(t, http.DefaultTransport)
	made, err := d.EnsureEgress(t.Context(), w.Spec)
	must(t, err)
	names := cloud.NamesSpec{Key: w.Spec.Key, VPCID: w.Spec.VPCID, Names: []string{"broker.acme.example"}}
	must(t, d.EnsureNames(t.Context(), names))
	w.accept(t, made.EndpointID)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := w.fabric.Dial(ctx, w.vendorNet.VPCID, "tcp", "broker.acme.example:9092") // holds until the way opens
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, "hello\n")
	must(t, err)
	answer, err := io.ReadAll(conn)
	if string(answer) != "the customer's broker heard hello\n" {
		t.Errorf("answer %q, %v", answer, err)
	}

	// Nobody else's network knows the name.
	customerNet, err := w.fabric.DefaultNetwork(customerID, region)
	must(t, err)
	if addrs, err := w.fabric.LookupHost(t.Context(), customerNet.VPCID, "broker.acme.example"); err == nil {
		t.Errorf("the customer's network answers %v", addrs)
	}
}
