package fabric

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The accounts of the tests.
var (
	vendor   = Account{ID: "111111111111", AccessKeyID: "AKIAVENDOR", SecretAccessKey: "vendor-secret", Name: "vendor"}
	customer = Account{ID: "222222222222", AccessKeyID: "AKIACUSTOMER", SecretAccessKey: "customer-secret", Name: "customer"}
	stranger = Account{ID: "333333333333", AccessKeyID: "AKIASTRANGER", SecretAccessKey: "stranger-secret"}
)

const testRegion = "us-east-1"

// cloud is a fabric with the SDK's clients in front of it.
type cloud struct {
	*Fabric
	t testing.TB
}

// startCloud starts a fabric that settles fast. It ends with the test.
func startCloud(t testing.TB, change ...func(*Config)) *cloud {
	t.Helper()
	cfg := Config{Accounts: []Account{vendor, customer, stranger}, Settle: 20 * time.Millisecond, Seed: 7}
	for _, c := range change {
		c(&cfg)
	}
	f, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error("Close:", err)
		}
	})
	return &cloud{f, t}
}

// as configures the SDK for an account, without retries, so that a test sees each answer.
func (c *cloud) as(account Account) aws.Config {
	return aws.Config{
		Region: testRegion, BaseEndpoint: aws.String(c.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (c *cloud) ec2(account Account) *ec2.Client         { return ec2.NewFromConfig(c.as(account)) }
func (c *cloud) elb(account Account) *elb.Client         { return elb.NewFromConfig(c.as(account)) }
func (c *cloud) route53(account Account) *route53.Client { return route53.NewFromConfig(c.as(account)) }
func (c *cloud) sts(account Account) *sts.Client         { return sts.NewFromConfig(c.as(account)) }

func (c *cloud) home(account Account) Network {
	c.t.Helper()
	network, err := c.DefaultNetwork(account.ID, testRegion)
	if err != nil {
		c.t.Fatal(err)
	}
	return network
}

// ok returns the answer of a call that has to work.
func ok[T any](answer T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// code is the error code of a call; empty when it worked.
func code(err error) string {
	var problem smithy.APIError
	switch {
	case errors.As(err, &problem):
		return problem.ErrorCode()
	case err != nil:
		return "not an API error: " + err.Error()
	}
	return ""
}

// subnetsIn picks the subnets of the account's default network in the zones.
func (c *cloud) subnetsIn(account Account, zoneIDs ...string) []string {
	c.t.Helper()
	out := ok(c.ec2(account).DescribeSubnets(c.t.Context(), &ec2.DescribeSubnetsInput{
		Filters: []ec2types.Filter{{Name: aws.String("availability-zone-id"), Values: zoneIDs}},
	}))(c.t)
	var ids []string
	for _, zone := range zoneIDs {
		for _, subnet := range out.Subnets {
			if *subnet.AvailabilityZoneId == zone {
				ids = append(ids, *subnet.SubnetId)
			}
		}
	}
	return ids
}

// loadBalancer makes the vendor's load balancer in the zones, with a listener on port 443.
func (c *cloud) loadBalancer(name string, zoneIDs ...string) string {
	c.t.Helper()
	ctx, client := c.t.Context(), c.elb(vendor)
	balancers := ok(client.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: &name, Type: elbtypes.LoadBalancerTypeEnumNetwork, Scheme: elbtypes.LoadBalancerSchemeEnumInternal, Subnets: c.subnetsIn(vendor, zoneIDs...),
	}))(c.t)
	groups := ok(client.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{
		Name: &name, Protocol: elbtypes.ProtocolEnumTcp, Port: aws.Int32(443), VpcId: aws.String(c.home(vendor).VPCID), TargetType: elbtypes.TargetTypeEnumIp,
	}))(c.t)
	ok(client.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: balancers.LoadBalancers[0].LoadBalancerArn, Protocol: elbtypes.ProtocolEnumTcp, Port: aws.Int32(443),
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: groups.TargetGroups[0].TargetGroupArn}},
	}))(c.t)
	return *balancers.LoadBalancers[0].LoadBalancerArn
}

// service makes the vendor's endpoint service, which the customer may use, in the zones use1-az1 and use1-az2.
func (c *cloud) service(change ...func(*ec2.CreateVpcEndpointServiceConfigurationInput)) *ec2types.ServiceConfiguration {
	c.t.Helper()
	ctx, client := c.t.Context(), c.ec2(vendor)
	in := &ec2.CreateVpcEndpointServiceConfigurationInput{
		NetworkLoadBalancerArns: []string{c.loadBalancer("gate", "use1-az1", "use1-az2")}, AcceptanceRequired: aws.Bool(true),
	}
	for _, f := range change {
		f(in)
	}
	out := ok(client.CreateVpcEndpointServiceConfiguration(ctx, in))(c.t)
	ok(client.ModifyVpcEndpointServicePermissions(ctx, &ec2.ModifyVpcEndpointServicePermissionsInput{
		ServiceId: out.ServiceConfiguration.ServiceId, AddAllowedPrincipals: []string{"arn:aws:iam::" + customer.ID + ":root"},
	}))(c.t)
	return out.ServiceConfiguration
}

// ask is the customer's request for an endpoint in both zones of the service.
func (c *cloud) ask(service *ec2types.ServiceConfiguration) *ec2.CreateVpcEndpointInput {
	c.t.Helper()
	return &ec2.CreateVpcEndpointInput{
		VpcEndpointType: ec2types.VpcEndpointTypeInterface, VpcId: aws.String(c.home(customer).VPCID),
		ServiceName: service.ServiceName, SubnetIds: c.subnetsIn(customer, "use1-az1", "use1-az2"),
	}
}

// endpoint makes the customer's endpoint.
func (c *cloud) endpoint(service *ec2types.ServiceConfiguration) *ec2types.VpcEndpoint {
	c.t.Helper()
	return ok(c.ec2(customer).CreateVpcEndpoint(c.t.Context(), c.ask(service)))(c.t).VpcEndpoint
}

// state is the endpoint's state in its owner's eyes; empty when it is gone.
func (c *cloud) state(id string) string {
	c.t.Helper()
	out, err := c.ec2(customer).DescribeVpcEndpoints(c.t.Context(), &ec2.DescribeVpcEndpointsInput{VpcEndpointIds: []string{id}})
	if code(err) == "InvalidVpcEndpointId.NotFound" {
		return ""
	}
	return string(ok(out, err)(c.t).VpcEndpoints[0].State)
}

// awaitState waits until the endpoint is in the state.
func (c *cloud) awaitState(id, want string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 60*time.Second)
	defer cancel()
	for {
		changed := c.changes()
		if c.state(id) == want {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.t.Fatalf("endpoint %s is %q, want %q", id, c.state(id), want)
		}
	}
}

// stateOptions compare states by what is remembered.
var stateOptions = cmp.Options{
	cmpopts.IgnoreUnexported(State{}), cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// settled waits until every transition has ended that ends by itself within a minute.
func (c *cloud) settled() {
	c.t.Helper()
	for {
		changed := c.changes()
		if due := c.snapshot().due; due.IsZero() || time.Until(due) > time.Minute {
			return
		}
		select {
		case <-changed:
		case <-time.After(60 * time.Second):
			c.t.Fatal("the state does not settle")
		}
	}
}

// accept lets the endpoint in and waits until it is available.
func (c *cloud) accept(serviceID, endpointID string) {
	c.t.Helper()
	out := ok(c.ec2(vendor).AcceptVpcEndpointConnections(c.t.Context(), &ec2.AcceptVpcEndpointConnectionsInput{
		ServiceId: &serviceID, VpcEndpointIds: []string{endpointID},
	}))(c.t)
	if len(out.Unsuccessful) > 0 {
		c.t.Fatalf("accept: %v", out.Unsuccessful)
	}
	c.awaitState(endpointID, "available")
}

func sha256Hex(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// after is a channel that gives when the clock reaches a time.
func (c *cloud) after(due time.Time) <-chan time.Time { return time.After(due.Sub(c.now())) }
