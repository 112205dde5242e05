package connect

import (
	"context"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// vpcFacts is what a connection needs to know of the customer's VPC.
type vpcFacts struct {
	found        bool
	cidrs        []netip.Prefix
	dnsSupport   bool
	dnsHostnames bool
	subnets      []subnetFacts // sorted by id
	groups       []groupFacts  // all of the VPC
}

type subnetFacts struct {
	id       string
	zoneID   string
	zoneName string
	free     int32 // addresses left
}

type groupFacts struct {
	id      string
	name    string
	inbound []types.IpPermission
}

// vpc reads the VPC with its subnets and security groups.
func (a *account) vpc(ctx context.Context, id string) (vpcFacts, error) {
	var f vpcFacts
	out, err := a.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{id}})
	if code := codeOf(err); code == "InvalidVpcID.NotFound" || code == "InvalidVpcId.NotFound" || code == "InvalidVpcID.Malformed" {
		return f, nil
	}
	if err != nil {
		return f, awsError("read the VPC", err)
	}
	for _, v := range out.Vpcs {
		f.found = true
		add := func(cidr *string) {
			if p, err := netip.ParsePrefix(deref(cidr)); err == nil && !slices.Contains(f.cidrs, p) {
				f.cidrs = append(f.cidrs, p)
			}
		}
		add(v.CidrBlock)
		for _, c := range v.CidrBlockAssociationSet {
			add(c.CidrBlock)
		}
	}
	if !f.found {
		return f, nil
	}
	if f.dnsSupport, err = a.vpcAttribute(ctx, id, types.VpcAttributeNameEnableDnsSupport); err != nil {
		return f, err
	}
	if f.dnsHostnames, err = a.vpcAttribute(ctx, id, types.VpcAttributeNameEnableDnsHostnames); err != nil {
		return f, err
	}
	inVPC := []types.Filter{{Name: aws.String("vpc-id"), Values: []string{id}}}
	subnets := ec2.NewDescribeSubnetsPaginator(a.ec2, &ec2.DescribeSubnetsInput{Filters: inVPC})
	for subnets.HasMorePages() {
		page, err := subnets.NextPage(ctx)
		if err != nil {
			return f, awsError("list the VPC's subnets", err)
		}
		for _, s := range page.Subnets {
			f.subnets = append(f.subnets, subnetFacts{
				id: deref(s.SubnetId), zoneID: deref(s.AvailabilityZoneId), zoneName: deref(s.AvailabilityZone),
				free: aws.ToInt32(s.AvailableIpAddressCount),
			})
		}
	}
	slices.SortFunc(f.subnets, func(x, y subnetFacts) int { return compare(x.id, y.id) })
	groups := ec2.NewDescribeSecurityGroupsPaginator(a.ec2, &ec2.DescribeSecurityGroupsInput{Filters: inVPC})
	for groups.HasMorePages() {
		page, err := groups.NextPage(ctx)
		if err != nil {
			return f, awsError("list the VPC's security groups", err)
		}
		for _, g := range page.SecurityGroups {
			f.groups = append(f.groups, groupFacts{id: deref(g.GroupId), name: deref(g.GroupName), inbound: g.IpPermissions})
		}
	}
	return f, nil
}

func (a *account) vpcAttribute(ctx context.Context, id string, name types.VpcAttributeName) (bool, error) {
	out, err := a.ec2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: aws.String(id), Attribute: name})
	if err != nil {
		return false, awsError("read the VPC's DNS settings", err)
	}
	for _, v := range []*types.AttributeBooleanValue{out.EnableDnsSupport, out.EnableDnsHostnames} {
		if v != nil {
			return aws.ToBool(v.Value), nil
		}
	}
	return false, nil
}

// interfaceAddrs returns the endpoint's own addresses, one per zone.
func (a *account) interfaceAddrs(ctx context.Context, ids []string) ([]netip.Addr, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pages := ec2.NewDescribeNetworkInterfacesPaginator(a.ec2, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: ids})
	var out []netip.Addr
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsError("read the endpoint's addresses", err)
		}
		for _, n := range page.NetworkInterfaces {
			if addr, err := netip.ParseAddr(deref(n.PrivateIpAddress)); err == nil {
				out = append(out, addr)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}

func (f vpcFacts) subnet(id string) (subnetFacts, bool) {
	i := slices.IndexFunc(f.subnets, func(s subnetFacts) bool { return s.id == id })
	if i < 0 {
		return subnetFacts{}, false
	}
	return f.subnets[i], true
}

func (f vpcFacts) group(id string) (groupFacts, bool) {
	i := slices.IndexFunc(f.groups, func(g groupFacts) bool { return g.id == id })
	if i < 0 {
		return groupFacts{}, false
	}
	return f.groups[i], true
}

// defaultGroup returns the id of the group that AWS gives an endpoint for which none is named.
func (f vpcFacts) defaultGroup() string {
	for _, g := range f.groups {
		if g.name == "default" {
			return g.id
		}
	}
	return ""
}

// chooseSubnets returns one subnet in each of the service's zones that the VPC has too: the lowest id with an address
// left, so that the same VPC gives the same choice.
func (f vpcFacts) chooseSubnets(serviceZones []string) []string {
	var out []string
	taken := make(map[string]bool)
	for _, s := range f.subnets {
		if s.free > 0 && !taken[s.zoneID] && slices.Contains(serviceZones, s.zoneID) {
			taken[s.zoneID] = true
			out = append(out, s.id)
		}
	}
	return out
}

// zones returns the ids of the zones in which the VPC has subnets, sorted.
func (f vpcFacts) zones() []string {
	var out []string
	for _, s := range f.subnets {
		out = append(out, s.zoneID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// admits says from where the group lets TCP to port in: from an address in the VPC (or from a group or a prefix list,
// whose members cannot be seen from here), from members of itself only, or not at all.
type admission int

const (
	admitsNobody admission = iota
	admitsMembers
	admitsVPC
)

func (g groupFacts) admits(port int32, vpc []netip.Prefix) admission {
	best := admitsNobody
	for _, p := range g.inbound {
		proto := deref(p.IpProtocol)
		if proto != "-1" && proto != "tcp" && proto != "6" {
			continue
		}
		if proto != "-1" && (aws.ToInt32(p.FromPort) > port || aws.ToInt32(p.ToPort) < port) {
			continue
		}
		for _, r := range p.IpRanges {
			cidr, err := netip.ParsePrefix(deref(r.CidrIp))
			if err == nil && slices.ContainsFunc(vpc, cidr.Overlaps) {
				return admitsVPC
			}
		}
		if len(p.PrefixListIds) > 0 {
			return admitsVPC
		}
		for _, pair := range p.UserIdGroupPairs {
			if deref(pair.GroupId) != g.id {
				return admitsVPC
			}
			best = max(best, admitsMembers)
		}
	}
	return best
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
