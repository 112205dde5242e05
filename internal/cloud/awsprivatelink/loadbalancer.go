package awsprivatelink

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/postern/postern/internal/cloud"
)

// loadBalancer finds the load balancer of key; nil when there is none.
func (d *Driver) loadBalancer(ctx context.Context, key string) (*types.LoadBalancer, error) {
	out, err := d.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{loadBalancerName(key)}})
	if codeOf(err) == "LoadBalancerNotFound" {
		return nil, nil
	}
	if err != nil {
		return nil, translate("find the load balancer", err)
	}
	if len(out.LoadBalancers) == 0 {
		return nil, nil
	}
	return &out.LoadBalancers[0], nil
}

// ensureLoadBalancer returns the load balancer of spec, made when it is missing and put into every subnet of spec. AWS
// lets a network load balancer grow into zones but not out of them, so a subnet that spec no longer names stays.
func (d *Driver) ensureLoadBalancer(ctx context.Context, spec cloud.ServiceSpec) (*types.LoadBalancer, error) {
	lb, err := d.loadBalancer(ctx, spec.Key)
	if err != nil {
		return nil, err
	}
	if lb == nil {
		// ELB has no ClientToken; the name is what makes a second call return the first one's load balancer.
		out, err := d.elb.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
			Name:    aws.String(loadBalancerName(spec.Key)),
			Type:    types.LoadBalancerTypeEnumNetwork,
			Scheme:  types.LoadBalancerSchemeEnumInternal,
			Subnets: spec.SubnetIDs,
			Tags:    elbTags(spec.Key),
		})
		if err != nil {
			return nil, translate("create the load balancer", err)
		}
		if len(out.LoadBalancers) == 0 {
			return nil, fmt.Errorf("create the load balancer: AWS answered with none")
		}
		d.log.InfoContext(ctx, "load balancer created", "key", spec.Key, "arn", deref(out.LoadBalancers[0].LoadBalancerArn))
		return &out.LoadBalancers[0], nil
	}
	if vpc := deref(lb.VpcId); vpc != spec.VPCID {
		return nil, &cloud.Refusal{
			Reason: reasonElsewhere, Code: "LoadBalancerInAnotherVPC",
			Message: fmt.Sprintf("the load balancer %s stands in %s, not in %s: delete the service before moving it",
				loadBalancerName(spec.Key), vpc, spec.VPCID),
		}
	}
	subnets := subnetsOf(lb)
	grown := slices.Clone(subnets)
	for _, s := range spec.SubnetIDs {
		if !slices.Contains(grown, s) {
			grown = append(grown, s)
		}
	}
	if len(grown) > len(subnets) {
		_, err := d.elb.SetSubnets(ctx, &elb.SetSubnetsInput{LoadBalancerArn: lb.LoadBalancerArn, Subnets: grown})
		if err != nil {
			return nil, translate("add subnets to the load balancer", err)
		}
		d.log.InfoContext(ctx, "load balancer given subnets", "key", spec.Key, "subnets", grown)
	}
	return lb, nil
}

// ensureListeners makes exactly one TCP listener per group, on its port, that forwards to it.
func (d *Driver) ensureListeners(ctx context.Context, key, lbARN string, groups map[int32]string) error {
	have, err := d.listeners(ctx, lbARN)
	if err != nil {
		return err
	}
	for _, l := range have {
		port := aws.ToInt32(l.Port)
		group, wanted := groups[port]
		switch {
		case !wanted:
			_, err := d.elb.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: l.ListenerArn})
			if err != nil && codeOf(err) != "ListenerNotFound" {
				return translate("delete a listener", err)
			}
			d.log.InfoContext(ctx, "listener deleted", "key", key, "port", port)
		case !forwards(l, group):
			_, err := d.elb.ModifyListener(ctx, &elb.ModifyListenerInput{
				ListenerArn: l.ListenerArn, Port: l.Port, Protocol: types.ProtocolEnumTcp, DefaultActions: forwardTo(group),
			})
			if err != nil {
				return translate("mend a listener", err)
			}
			d.log.InfoContext(ctx, "listener mended", "key", key, "port", port)
			delete(groups, port)
		default:
			delete(groups, port)
		}
	}
	for _, port := range sortedPorts(groups) {
		_, err := d.elb.CreateListener(ctx, &elb.CreateListenerInput{
			LoadBalancerArn: aws.String(lbARN), Port: aws.Int32(port), Protocol: types.ProtocolEnumTcp,
			DefaultActions: forwardTo(groups[port]), Tags: elbTags(key),
		})
		if err != nil {
			return translate("create a listener", err)
		}
		d.log.InfoContext(ctx, "listener created", "key", key, "port", port)
	}
	return nil
}

func (d *Driver) listeners(ctx context.Context, lbARN string) ([]types.Listener, error) {
	pages := elb.NewDescribeListenersPaginator(d.elb, &elb.DescribeListenersInput{
		LoadBalancerArn: aws.String(lbARN), PageSize: d.pageSize,
	})
	var out []types.Listener
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("list the listeners", err)
		}
		out = append(out, page.Listeners...)
	}
	return out, nil
}

// forwards reports whether l is a TCP listener whose only action leads to group.
func forwards(l types.Listener, group string) bool {
	if l.Protocol != types.ProtocolEnumTcp || len(l.DefaultActions) != 1 {
		return false
	}
	a := l.DefaultActions[0]
	if a.Type != types.ActionTypeEnumForward {
		return false
	}
	if a.ForwardConfig != nil && len(a.ForwardConfig.TargetGroups) > 0 {
		return len(a.ForwardConfig.TargetGroups) == 1 && deref(a.ForwardConfig.TargetGroups[0].TargetGroupArn) == group
	}
	return deref(a.TargetGroupArn) == group
}

func forwardTo(group string) []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: aws.String(group)}}
}

// zoneIDs returns the ids of the zones in which the load balancer stands, sorted. Zone names mean another place in
// every account; ids do not.
func (d *Driver) zoneIDs(ctx context.Context, lb *types.LoadBalancer) ([]string, error) {
	subnets := subnetsOf(lb)
	if len(subnets) == 0 {
		return nil, nil
	}
	pages := ec2.NewDescribeSubnetsPaginator(d.ec2, &ec2.DescribeSubnetsInput{SubnetIds: subnets})
	var out []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("read the zones of the load balancer's subnets", err)
		}
		for _, s := range page.Subnets {
			out = append(out, deref(s.AvailabilityZoneId))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func subnetsOf(lb *types.LoadBalancer) []string {
	var out []string
	for _, z := range lb.AvailabilityZones {
		out = append(out, deref(z.SubnetId))
	}
	return out
}

// active reports whether the load balancer has finished provisioning.
func active(lb *types.LoadBalancer) bool {
	return lb.State != nil && strings.EqualFold(string(lb.State.Code), string(types.LoadBalancerStateEnumActive))
}

func elbTags(key string) []types.Tag {
	return []types.Tag{
		{Key: aws.String(keyTag), Value: aws.String(key)},
		{Key: aws.String("Name"), Value: aws.String("postern " + key)},
	}
}

func sortedPorts(groups map[int32]string) []int32 {
	ports := make([]int32, 0, len(groups))
	for p := range groups {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	return ports
}
