package awsprivatelink

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/postern/postern/internal/cloud"
)

// proxyProtocol is the target group attribute without which the gateway cannot tell who a flow comes from.
const proxyProtocol = "proxy_protocol_v2.enabled"

// targetGroups returns the target groups of key. They are looked for by name over the whole region, as one that lost
// its load balancer (a crash, a deletion by hand) is reachable in no other way.
func (d *Driver) targetGroups(ctx context.Context, key string) ([]types.TargetGroup, error) {
	pages := elb.NewDescribeTargetGroupsPaginator(d.elb, &elb.DescribeTargetGroupsInput{PageSize: d.pageSize})
	var out []types.TargetGroup
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("list the target groups", err)
		}
		for _, g := range page.TargetGroups {
			if strings.HasPrefix(deref(g.TargetGroupName), targetGroupPrefix(key)) {
				out = append(out, g)
			}
		}
	}
	return out, nil
}

// ensureTargetGroups makes a target group for each port of spec, with PROXY protocol v2 on and exactly spec's targets.
// It returns their ARNs by port, and those of groups that spec has no port for.
func (d *Driver) ensureTargetGroups(ctx context.Context, spec cloud.ServiceSpec) (byPort map[int32]string, stale []string, err error) {
	have, err := d.targetGroups(ctx, spec.Key)
	if err != nil {
		return nil, nil, err
	}
	arns := make(map[string]string, len(have))
	for _, g := range have {
		arns[deref(g.TargetGroupName)] = deref(g.TargetGroupArn)
	}
	inVPC, err := d.vpcContains(ctx, spec.VPCID)
	if err != nil {
		return nil, nil, err
	}
	byPort = make(map[int32]string, len(spec.Ports))
	for _, port := range spec.Ports {
		name := targetGroupName(spec.Key, port)
		arn, ok := arns[name]
		delete(arns, name)
		if !ok {
			if arn, err = d.createTargetGroup(ctx, spec, port); err != nil {
				return nil, nil, err
			}
		}
		byPort[int32(port)] = arn
		if err := d.ensureProxyProtocol(ctx, spec.Key, arn); err != nil {
			return nil, nil, err
		}
		if err := d.ensureTargets(ctx, spec, arn, inVPC); err != nil {
			return nil, nil, err
		}
	}
	for _, arn := range arns {
		stale = append(stale, arn)
	}
	slices.Sort(stale)
	return byPort, stale, nil
}

func (d *Driver) createTargetGroup(ctx context.Context, spec cloud.ServiceSpec, port uint16) (string, error) {
	out, err := d.elb.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{
		Name:                aws.String(targetGroupName(spec.Key, port)),
		Protocol:            types.ProtocolEnumTcp,
		Port:                aws.Int32(int32(port)),
		VpcId:               aws.String(spec.VPCID),
		TargetType:          types.TargetTypeEnumIp,
		HealthCheckProtocol: types.ProtocolEnumTcp,
		Tags:                elbTags(spec.Key),
	})
	if err != nil {
		return "", translate("create a target group", err)
	}
	if len(out.TargetGroups) == 0 {
		return "", fmt.Errorf("create a target group: AWS answered with none")
	}
	d.log.InfoContext(ctx, "target group created", "key", spec.Key, "port", port)
	return deref(out.TargetGroups[0].TargetGroupArn), nil
}

// ensureProxyProtocol turns PROXY protocol v2 on and believes only an answer that says so.
func (d *Driver) ensureProxyProtocol(ctx context.Context, key, group string) error {
	on, err := d.proxyProtocolOn(ctx, group)
	if err != nil || on {
		return err
	}
	out, err := d.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: aws.String(group),
		Attributes:     []types.TargetGroupAttribute{{Key: aws.String(proxyProtocol), Value: aws.String("true")}},
	})
	if err != nil {
		return translate("turn on PROXY protocol v2", err)
	}
	if !hasProxyProtocol(out.Attributes) {
		return fmt.Errorf("turn on PROXY protocol v2: AWS answered without error, yet it is still off")
	}
	d.log.InfoContext(ctx, "PROXY protocol v2 turned on", "key", key, "target_group", group)
	return nil
}

func (d *Driver) proxyProtocolOn(ctx context.Context, group string) (bool, error) {
	out, err := d.elb.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: aws.String(group)})
	if err != nil {
		return false, translate("read a target group's attributes", err)
	}
	return hasProxyProtocol(out.Attributes), nil
}

func hasProxyProtocol(attrs []types.TargetGroupAttribute) bool {
	return slices.ContainsFunc(attrs, func(a types.TargetGroupAttribute) bool {
		return deref(a.Key) == proxyProtocol && strings.EqualFold(deref(a.Value), "true")
	})
}

// ensureTargets registers and deregisters until the group forwards to exactly spec's targets.
func (d *Driver) ensureTargets(ctx context.Context, spec cloud.ServiceSpec, group string, inVPC func(netip.Addr) bool) error {
	have, err := d.targetHealth(ctx, group)
	if err != nil {
		return err
	}
	want := make(map[netip.AddrPort]bool, len(spec.Targets))
	for _, t := range spec.Targets {
		want[t] = true
	}
	var gone []types.TargetDescription
	for _, h := range have {
		if h.TargetHealth != nil && h.TargetHealth.State == types.TargetHealthStateEnumDraining {
			continue // already deregistered; registered anew below when it is wanted
		}
		addr, ok := targetAddr(h.Target)
		if ok && want[addr] {
			delete(want, addr)
			continue
		}
		gone = append(gone, *h.Target)
	}
	var missing []types.TargetDescription
	for _, t := range spec.Targets { // spec's order, so that the same spec makes the same request
		if !want[t] {
			continue
		}
		delete(want, t)
		desc := types.TargetDescription{Id: aws.String(t.Addr().String()), Port: aws.Int32(int32(t.Port()))}
		if !inVPC(t.Addr()) {
			desc.AvailabilityZone = aws.String("all") // what ELB requires of an address outside the VPC
		}
		missing = append(missing, desc)
	}
	if len(missing) > 0 {
		_, err := d.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: aws.String(group), Targets: missing})
		if err != nil {
			return translate("register targets", err)
		}
		d.log.InfoContext(ctx, "targets registered", "key", spec.Key, "count", len(missing))
	}
	if len(gone) > 0 {
		_, err := d.elb.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: aws.String(group), Targets: gone})
		if err != nil {
			return translate("deregister targets", err)
		}
		d.log.InfoContext(ctx, "targets deregistered", "key", spec.Key, "count", len(gone))
	}
	return nil
}

func (d *Driver) targetHealth(ctx context.Context, group string) ([]types.TargetHealthDescription, error) {
	out, err := d.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String(group)})
	if err != nil {
		return nil, translate("read the targets' health", err)
	}
	return slices.DeleteFunc(out.TargetHealthDescriptions, func(h types.TargetHealthDescription) bool {
		return h.Target == nil
	}), nil
}

func (d *Driver) deleteTargetGroup(ctx context.Context, key, arn string) error {
	_, err := d.elb.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: aws.String(arn)})
	if err != nil && codeOf(err) != "TargetGroupNotFound" {
		return translate("delete a target group", err)
	}
	d.log.InfoContext(ctx, "target group deleted", "key", key, "arn", arn)
	return nil
}

// vpcContains returns whether an address belongs to one of the VPC's ranges.
func (d *Driver) vpcContains(ctx context.Context, vpcID string) (func(netip.Addr) bool, error) {
	out, err := d.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpcID}})
	if err != nil {
		return nil, translate("read the VPC of the load balancer", err)
	}
	var ranges []netip.Prefix
	add := func(cidr *string) {
		if p, err := netip.ParsePrefix(deref(cidr)); err == nil {
			ranges = append(ranges, p)
		}
	}
	for _, v := range out.Vpcs {
		add(v.CidrBlock)
		for _, a := range v.CidrBlockAssociationSet {
			add(a.CidrBlock)
		}
	}
	return func(addr netip.Addr) bool {
		return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr) })
	}, nil
}

func targetAddr(t *types.TargetDescription) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(deref(t.Id))
	if err != nil || t.Port == nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(*t.Port)), true
}
