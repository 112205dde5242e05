package fabric

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// A load balancer from its creation to its end, with what each step refuses.
func TestLoadBalancing(t *testing.T) {
	c := startCloud(t)
	ctx, client := t.Context(), c.elb(vendor)
	balancer := c.loadBalancer("gate", "use1-az1", "use1-az2")
	c.settled()
	described := ok(client.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"gate"}}))(t).LoadBalancers[0]
	if described.State.Code != elbtypes.LoadBalancerStateEnumActive || len(described.AvailabilityZones) != 2 {
		t.Errorf("the load balancer: %+v", described)
	}
	subnets := c.subnetsIn(vendor, "use1-az1", "use1-az2", "use1-az3")
	network := elbtypes.LoadBalancerTypeEnumNetwork
	same := &elb.CreateLoadBalancerInput{Name: aws.String("gate"), Type: network, Scheme: elbtypes.LoadBalancerSchemeEnumInternal, Subnets: subnets[:2]}
	if again := ok(client.CreateLoadBalancer(ctx, same))(t); *again.LoadBalancers[0].LoadBalancerArn != balancer {
		t.Error("the same load balancer again is another one")
	}
	group := ok(client.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"gate"}}))(t).TargetGroups[0]
	forward := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: group.TargetGroupArn}}
	listener := ok(client.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: &balancer}))(t).Listeners[0]
	service := ok(c.ec2(vendor).CreateVpcEndpointServiceConfiguration(ctx, &ec2.CreateVpcEndpointServiceConfigurationInput{NetworkLoadBalancerArns: []string{balancer}}))(t)

	attribute := func(key, value string) []elbtypes.TargetGroupAttribute {
		return []elbtypes.TargetGroupAttribute{{Key: &key, Value: &value}}
	}
	register := func(ids ...string) error {
		in := &elb.RegisterTargetsInput{TargetGroupArn: group.TargetGroupArn}
		for _, id := range ids {
			in.Targets = append(in.Targets, elbtypes.TargetDescription{Id: aws.String(id)})
		}
		_, err := client.RegisterTargets(ctx, in)
		return err
	}
	for _, test := range []struct {
		name string
		want string
		do   func() error
	}{
		{"another load balancer of that name", "DuplicateLoadBalancerName", func() error {
			_, err := client.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("gate"), Type: network, Subnets: subnets})
			return err
		}},
		{"an application load balancer", "OperationNotPermitted", func() error {
			_, err := client.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("app"), Subnets: subnets})
			return err
		}},
		{"a name with an underscore", "ValidationError", func() error {
			_, err := client.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("a_b"), Type: network, Subnets: subnets})
			return err
		}},
		{"another account's subnets", "SubnetNotFound", func() error {
			_, err := client.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("x"), Type: network, Subnets: c.home(customer).SubnetIDs[:1]})
			return err
		}},
		{"a load balancer that does not exist", "LoadBalancerNotFound", func() error {
			_, err := client.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"nope"}})
			return err
		}},
		{"another account's load balancer", "LoadBalancerNotFound", func() error {
			_, err := c.elb(customer).DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{balancer}})
			return err
		}},
		{"another target group of that name", "DuplicateTargetGroupName", func() error {
			_, err := client.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("gate"), Protocol: elbtypes.ProtocolEnumTcp, Port: aws.Int32(80), VpcId: group.VpcId, TargetType: elbtypes.TargetTypeEnumIp})
			return err
		}},
		{"another listener on the port", "DuplicateListener", func() error {
			_, err := client.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: &balancer, Protocol: elbtypes.ProtocolEnumTcp, Port: aws.Int32(443), DefaultActions: forward, AlpnPolicy: []string{"None"}})
			return err
		}},
		{"a listener for another protocol than its group", "InvalidConfigurationRequest", func() error {
			_, err := client.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: &balancer, Protocol: elbtypes.ProtocolEnumUdp, Port: aws.Int32(53), DefaultActions: forward})
			return err
		}},
		{"an attribute that does not exist", "ValidationError", func() error {
			_, err := client.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: group.TargetGroupArn, Attributes: attribute("proxy_protocol_v3.enabled", "true")})
			return err
		}},
		{"an attribute with a wrong value", "ValidationError", func() error {
			_, err := client.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: group.TargetGroupArn, Attributes: attribute(AttrProxyProtocolV2, "yes")})
			return err
		}},
		{"a target that is no address", "ValidationError", func() error { return register("example.com") }},
		{"a target on the internet", "ValidationError", func() error { return register("127.0.0.1", "8.8.8.8") }},
		{"a target group in use", "ResourceInUse", func() error {
			_, err := client.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: group.TargetGroupArn})
			return err
		}},
		{"a load balancer under a service", "ResourceInUse", func() error {
			_, err := client.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: &balancer})
			return err
		}},
		{"leaving a zone", "InvalidConfigurationRequest", func() error {
			_, err := client.SetSubnets(ctx, &elb.SetSubnetsInput{LoadBalancerArn: &balancer, Subnets: subnets[1:]})
			return err
		}},
		{"a listener that does not exist", "ListenerNotFound", func() error {
			_, err := client.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: aws.String(*listener.ListenerArn + "0")})
			return err
		}},
		{"an action of EC2", "InvalidAction", func() error {
			got := c.send(vendor, "elasticloadbalancing", "POST", "/", "Action=DescribeVpcs&Version=2015-12-01", time.Now(), nil)
			return fail(got.code(), "%s", got.message())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.unchanged(func() {
				err := test.do()
				got := code(err)
				if problem := (*apiError)(nil); errors.As(err, &problem) {
					got = problem.Code
				}
				if got != test.want {
					t.Errorf("got %v, want %s", err, test.want)
				}
			})
		})
	}

	if err := register("127.0.0.1", c.home(vendor).address(c, 20)); err != nil {
		t.Fatal(err)
	}
	ok(client.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: group.TargetGroupArn, Attributes: attribute(AttrProxyProtocolV2, "true")}))(t)
	health := ok(client.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: group.TargetGroupArn}))(t)
	if len(health.TargetHealthDescriptions) != 2 || *health.TargetHealthDescriptions[0].Target.AvailabilityZone != "all" || *health.TargetHealthDescriptions[1].Target.AvailabilityZone == "all" {
		t.Errorf("targets: %+v", health.TargetHealthDescriptions)
	}
	ok(client.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{balancer}, Tags: []elbtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(t)
	tags := ok(client.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{balancer}}))(t).TagDescriptions
	if len(tags) != 1 || len(tags[0].Tags) != 1 || *tags[0].Tags[0].Value != "v" {
		t.Errorf("tags: %+v", tags)
	}
	if grown := ok(client.SetSubnets(ctx, &elb.SetSubnetsInput{LoadBalancerArn: &balancer, Subnets: subnets}))(t); len(grown.AvailabilityZones) != 3 {
		t.Errorf("after growing: %+v", grown.AvailabilityZones)
	}

	// Down again, and down once more: deleting what is gone is no error.
	ok(c.ec2(vendor).DeleteVpcEndpointServiceConfigurations(ctx, &ec2.DeleteVpcEndpointServiceConfigurationsInput{ServiceIds: []string{*service.ServiceConfiguration.ServiceId}}))(t)
	for range 2 {
		ok(client.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: &balancer}))(t)
		ok(client.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: group.TargetGroupArn}))(t)
	}
	if s := c.snapshot(); len(s.LoadBalancers)+len(s.TargetGroups)+len(s.Listeners)+len(s.NetworkInterfaces)+len(s.Tags) != 0 {
		t.Errorf("something is left: %+v", s)
	}
}

// address is the nth address of the network's first subnet.
func (n Network) address(c *cloud, nthAddress uint32) string {
	return nth(c.snapshot().Subnets[n.SubnetIDs[0]].CIDR.Addr(), nthAddress).String()
}
