package awsprivatelink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

var _ cloud.EgressDriver = (*Driver)(nil)

// Account is the account of the driver's credentials.
func (d *Driver) Account(ctx context.Context) (string, error) {
	out, err := d.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", translate("find out the account", err)
	}
	return deref(out.Account), nil
}

// EnsureEgress makes an interface endpoint with a security group of its own, which lets in the whole network: what may
// use the endpoint is the network's own matter, what it leads to is the customer's.
//
// https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
func (d *Driver) EnsureEgress(ctx context.Context, spec cloud.EgressSpec) (cloud.Egress, error) {
	if spec.Key == "" || spec.Target == "" || spec.VPCID == "" || len(spec.SubnetIDs) == 0 {
		return cloud.Egress{}, &cloud.Refusal{
			Reason: reasonSpec, Code: "IncompleteSpec", Message: "an egress endpoint needs a key, a target, a VPC and at least one subnet",
		}
	}
	if have, err := d.Egress(ctx, spec.Key); !errors.Is(err, cloud.ErrNotFound) {
		return have, err
	}
	service, err := d.foreignService(ctx, spec.Target)
	if err != nil {
		return cloud.Egress{}, err
	}
	subnets, err := d.commonSubnets(ctx, spec, service)
	if err != nil {
		return cloud.Egress{}, err
	}
	group, err := d.ensureGroup(ctx, spec)
	if err != nil {
		return cloud.Egress{}, err
	}
	if err := d.createEgress(ctx, spec, subnets, group); err != nil {
		return cloud.Egress{}, err
	}
	return d.Egress(ctx, spec.Key)
}

// foreignService finds the service by its name. AWS shows only services that the account may use; its own are refused,
// or a customer could point the vendor at the vendor's own insides.
func (d *Driver) foreignService(ctx context.Context, name string) (types.ServiceDetail, error) {
	out, err := d.ec2.DescribeVpcEndpointServices(ctx, &ec2.DescribeVpcEndpointServicesInput{ServiceNames: []string{name}})
	if code := codeOf(err); code == "InvalidServiceName" || err == nil && len(out.ServiceDetails) == 0 {
		return types.ServiceDetail{}, &cloud.Refusal{
			Reason: cloud.ReasonServiceNotVisible, Code: cmp.Or(code, "InvalidServiceName"),
			Message: "there is no endpoint service " + name + ", or it does not allow this account",
		}
	}
	if err != nil {
		return types.ServiceDetail{}, translate("look at the customer's service", err)
	}
	service := out.ServiceDetails[0]
	account, err := d.Account(ctx)
	if err != nil {
		return types.ServiceDetail{}, err
	}
	if deref(service.Owner) == account {
		return types.ServiceDetail{}, &cloud.Refusal{
			Reason: cloud.ReasonOwnService, Code: "OwnService", Message: "the endpoint service " + name + " belongs to the vendor's own account",
		}
	}
	return service, nil
}

// commonSubnets are those of the spec's subnets that are in a zone of the service, one for each zone. Zones are compared
// by id; where AWS names them only, by the names, which are those of this account.
func (d *Driver) commonSubnets(ctx context.Context, spec cloud.EgressSpec, service types.ServiceDetail) ([]string, error) {
	out, err := d.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: spec.SubnetIDs})
	if err != nil {
		return nil, translate("look at the subnets", err)
	}
	var chosen, taken, offered []string
	for _, s := range out.Subnets {
		zone := deref(s.AvailabilityZoneId)
		offered = append(offered, zone)
		shared := slices.Contains(service.AvailabilityZoneIds, zone)
		if len(service.AvailabilityZoneIds) == 0 {
			shared = slices.Contains(service.AvailabilityZones, deref(s.AvailabilityZone))
		}
		if shared && !slices.Contains(taken, zone) {
			taken, chosen = append(taken, zone), append(chosen, deref(s.SubnetId))
		}
	}
	if len(chosen) == 0 {
		slices.Sort(offered)
		return nil, &cloud.Refusal{
			Reason: cloud.ReasonNoCommonZone, Code: "NoCommonZone",
			Message: fmt.Sprintf("the service has its load balancer in %s, and the vendor's subnets are in %s", zonesOf(service), strings.Join(slices.Compact(offered), ", ")),
		}
	}
	slices.Sort(chosen) // the token's parameters have to be the same every time
	return chosen, nil
}

// zonesOf lists the zones of a service for a message.
func zonesOf(service types.ServiceDetail) string {
	if len(service.AvailabilityZoneIds) > 0 {
		return strings.Join(service.AvailabilityZoneIds, ", ")
	}
	return strings.Join(service.AvailabilityZones, ", ")
}

// createEgress makes the endpoint. As with services, a ClientToken whose endpoint is deleted is passed over.
func (d *Driver) createEgress(ctx context.Context, spec cloud.EgressSpec, subnets []string, group string) error {
	const generations = 20 // somebody may have deleted it as often as that within the hours for which AWS knows a token
	for generation := range generations {
		out, err := d.ec2.CreateVpcEndpoint(ctx, &ec2.CreateVpcEndpointInput{
			VpcEndpointType: types.VpcEndpointTypeInterface,
			ServiceName:     aws.String(spec.Target), VpcId: aws.String(spec.VPCID), SubnetIds: subnets, SecurityGroupIds: []string{group},
			PrivateDnsEnabled: aws.Bool(false), // the service's own private name is not ours to answer
			ClientToken:       aws.String(clientToken("egress", spec.Key, spec.Target, group, strings.Join(subnets, ","), strconv.Itoa(generation))),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVpcEndpoint, Tags: egressTags(spec)}},
		})
		switch {
		case codeOf(err) == "InvalidServiceName": // it was taken back this moment
			return &cloud.Refusal{Reason: cloud.ReasonServiceNotVisible, Code: "InvalidServiceName", Message: "the endpoint service " + spec.Target + " does not allow this account"}
		case err != nil:
			return translate("create the egress endpoint", err)
		case out.VpcEndpoint != nil && !over(*out.VpcEndpoint):
			d.log.InfoContext(ctx, "egress endpoint created", "key", spec.Key, "endpoint", deref(out.VpcEndpoint.VpcEndpointId), "service", spec.Target)
			return nil
		}
	}
	return fmt.Errorf("create the egress endpoint: AWS answered %d times with one that is already deleted", generations)
}

func egressTags(spec cloud.EgressSpec) []types.Tag {
	tags := []types.Tag{{Key: aws.String(keyTag), Value: aws.String(spec.Key)}}
	for name, value := range spec.Tags {
		tags = append(tags, types.Tag{Key: aws.String(name), Value: aws.String(value)})
	}
	slices.SortFunc(tags, func(a, b types.Tag) int { return cmp.Compare(*a.Key, *b.Key) })
	return tags
}

// over tells whether an endpoint is deleted or on its way there.
func over(e types.VpcEndpoint) bool {
	return strings.EqualFold(string(e.State), string(types.StateDeleting)) || strings.EqualFold(string(e.State), string(types.StateDeleted))
}

// egressEndpoints returns the endpoints tagged with key that exist, the one to use first: one that works before one that
// does not, and the lowest id among equals, so that every caller uses the same.
func (d *Driver) egressEndpoints(ctx context.Context, key string) ([]types.VpcEndpoint, error) {
	pages := ec2.NewDescribeVpcEndpointsPaginator(d.ec2, &ec2.DescribeVpcEndpointsInput{
		Filters: []types.Filter{{Name: aws.String("tag:" + keyTag), Values: []string{key}}}, MaxResults: d.pageSize,
	})
	var out []types.VpcEndpoint
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("find the egress endpoint", err)
		}
		for _, e := range page.VpcEndpoints {
			if !strings.EqualFold(string(e.State), string(types.StateDeleted)) {
				out = append(out, e)
			}
		}
	}
	rank := func(e types.VpcEndpoint) int {
		switch cloud.EndpointState(string(e.State)) {
		case link.Available:
			return 0
		case link.Pending, link.PendingAcceptance:
			return 1
		}
		return 2
	}
	slices.SortFunc(out, func(a, b types.VpcEndpoint) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(deref(a.VpcEndpointId), deref(b.VpcEndpointId)))
	})
	return out, nil
}

// Egress observes. One that is being deleted is told as such, so that it is not made anew before it is gone.
func (d *Driver) Egress(ctx context.Context, key string) (cloud.Egress, error) {
	found, err := d.egressEndpoints(ctx, key)
	if err != nil {
		return cloud.Egress{}, err
	}
	if len(found) == 0 {
		return cloud.Egress{}, cloud.ErrNotFound
	}
	e := found[0]
	out := cloud.Egress{Key: key, EndpointID: link.EndpointID(deref(e.VpcEndpointId)), State: cloud.EndpointState(string(e.State))}
	if len(e.DnsEntries) > 0 {
		out.Address = deref(e.DnsEntries[0].DnsName)
	}
	var problems []string
	if e.LastError != nil {
		problems = append(problems, strings.TrimSpace(deref(e.LastError.Code)+" "+deref(e.LastError.Message)))
	}
	for _, twin := range found[1:] {
		if !over(twin) {
			problems = append(problems, "a second endpoint carries the same key and is not used: "+deref(twin.VpcEndpointId))
		}
	}
	out.Problem = strings.Join(problems, "; ")
	if len(e.SubnetIds) > 0 {
		subnets, err := d.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: e.SubnetIds})
		if err != nil {
			return cloud.Egress{}, translate("look at the endpoint's subnets", err)
		}
		for _, s := range subnets.Subnets {
			out.ZoneIDs = append(out.ZoneIDs, deref(s.AvailabilityZoneId))
		}
		slices.Sort(out.ZoneIDs)
	}
	return out, nil
}

// DeleteEgress deletes the endpoint, and its security group once no interface uses it.
func (d *Driver) DeleteEgress(ctx context.Context, key string) (bool, error) {
	found, err := d.egressEndpoints(ctx, key)
	if err != nil {
		return false, err
	}
	for _, e := range found {
		if over(e) {
			continue
		}
		out, err := d.ec2.DeleteVpcEndpoints(ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{deref(e.VpcEndpointId)}})
		const doing = "delete the egress endpoint"
		if err = translate(doing, err); err == nil {
			err = unsuccessful(doing, out.Unsuccessful)
		}
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return false, err
		}
		d.log.InfoContext(ctx, "egress endpoint deleted", "key", key, "endpoint", deref(e.VpcEndpointId))
	}
	if len(found) > 0 {
		return false, nil // the group goes when the endpoints are seen to be gone
	}
	groups, err := d.groups(ctx, key)
	if err != nil {
		return false, err
	}
	for _, g := range groups {
		_, err := d.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId})
		if codeOf(err) == "DependencyViolation" {
			return false, nil // its interfaces go after their endpoint
		}
		if err = translate("delete the security group", err); err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return false, err
		}
	}
	return true, nil
}

// groups returns the security groups tagged with key. A network has at most one of the name.
func (d *Driver) groups(ctx context.Context, key string) ([]types.SecurityGroup, error) {
	out, err := d.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{
		Filters: []types.Filter{{Name: aws.String("group-name"), Values: []string{groupName(key)}}},
	})
	if err != nil {
		return nil, translate("find the security group", err)
	}
	// A name alone proves nothing: somebody else may have given it.
	return slices.DeleteFunc(out.SecurityGroups, func(g types.SecurityGroup) bool {
		return !slices.ContainsFunc(g.Tags, func(t types.Tag) bool { return deref(t.Key) == keyTag && deref(t.Value) == key })
	}), nil
}

func groupName(key string) string { return "postern-egress-" + digest(key)[:12] }

// ensureGroup returns the id of the endpoint's security group, which lets in every TCP port from the network's own
// addresses: which ports the customer's service has is not known here.
func (d *Driver) ensureGroup(ctx context.Context, spec cloud.EgressSpec) (string, error) {
	groups, err := d.groups(ctx, spec.Key)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(groups, func(g types.SecurityGroup) bool { return deref(g.VpcId) == spec.VPCID })
	var id string
	var have []types.IpPermission
	if i >= 0 {
		id, have = deref(groups[i].GroupId), groups[i].IpPermissions
	} else {
		// The name is unique within the network, which is the token that this call has not.
		out, err := d.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(groupName(spec.Key)), VpcId: aws.String(spec.VPCID),
			Description:       aws.String("Egress private endpoint of Postern"),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: egressTags(spec)}},
		})
		if codeOf(err) == "InvalidGroup.Duplicate" { // somebody was quicker; it is found the next time
			return "", fmt.Errorf("create the security group: %w", err)
		}
		if err != nil {
			return "", translate("create the security group", err)
		}
		id = deref(out.GroupId)
	}
	vpcs, err := d.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{spec.VPCID}})
	if err != nil {
		return "", translate("look at the network", err)
	}
	want := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(0), ToPort: aws.Int32(65535)}
	for _, vpc := range vpcs.Vpcs {
		for _, cidr := range networksOf(vpc) {
			if !slices.ContainsFunc(have, func(p types.IpPermission) bool { return allowsFrom(p, cidr) }) {
				want.IpRanges = append(want.IpRanges, types.IpRange{CidrIp: aws.String(cidr), Description: aws.String("the network itself")})
			}
		}
	}
	if len(want.IpRanges) == 0 {
		return id, nil
	}
	_, err = d.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(id), IpPermissions: []types.IpPermission{want}})
	if err != nil && codeOf(err) != "InvalidPermission.Duplicate" {
		return "", translate("open the security group to the network", err)
	}
	return id, nil
}

// networksOf are the address ranges of a VPC, the first one and those that were added.
func networksOf(vpc types.Vpc) []string {
	out := []string{deref(vpc.CidrBlock)}
	for _, a := range vpc.CidrBlockAssociationSet {
		live := a.CidrBlockState == nil || a.CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated
		if cidr := deref(a.CidrBlock); live && !slices.Contains(out, cidr) {
			out = append(out, cidr)
		}
	}
	return out
}

func allowsFrom(p types.IpPermission, cidr string) bool {
	return deref(p.IpProtocol) == "tcp" && aws.ToInt32(p.FromPort) == 0 && aws.ToInt32(p.ToPort) == 65535 &&
		slices.ContainsFunc(p.IpRanges, func(r types.IpRange) bool { return deref(r.CidrIp) == cidr })
}
