package fabric

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// newVPC makes a VPC with its default security group and DNS support, as EC2 does.
func (s *State) newVPC(accountID, region string, cidr netip.Prefix) *VPC {
	vpc := &VPC{ID: s.newID("vpc"), AccountID: accountID, Region: region, CIDR: cidr, DNSSupport: true}
	s.VPCs[vpc.ID] = vpc
	group := s.newGroup(vpc, "default", "default VPC security group")
	group.Rules = append(group.Rules, Rule{ID: s.newID("sgr"), Protocol: "-1", FromPort: -1, ToPort: -1, GroupID: group.ID})
	return vpc
}

// newGroup makes a security group that lets everything out and nothing in.
func (s *State) newGroup(vpc *VPC, name, description string) *SecurityGroup {
	group := &SecurityGroup{
		ID: s.newID("sg"), AccountID: vpc.AccountID, Region: vpc.Region, VPCID: vpc.ID, Name: name, Description: description,
		Rules: []Rule{{ID: s.newID("sgr"), Egress: true, Protocol: "-1", FromPort: -1, ToPort: -1, CIDR: everywhere}},
	}
	s.SecurityGroups[group.ID] = group
	return group
}

// deleteGroup deletes a security group that nothing uses any more.
func (s *State) deleteGroup(group *SecurityGroup) {
	for _, rule := range group.Rules {
		delete(s.Tags, rule.ID)
	}
	delete(s.SecurityGroups, group.ID)
	delete(s.Tags, group.ID)
}

func (s *State) newSubnet(vpc *VPC, zoneID string, cidr netip.Prefix) *Subnet {
	subnet := &Subnet{ID: s.newID("subnet"), AccountID: vpc.AccountID, Region: vpc.Region, VPCID: vpc.ID, ZoneID: zoneID, CIDR: cidr}
	s.Subnets[subnet.ID] = subnet
	return subnet
}

// everywhere is every IPv4 address.
var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func prefix(address netip.Addr, bits int) netip.Prefix { return netip.PrefixFrom(address, bits) }

// unusedNetwork is a /16 of 10.0.0.0/8 for a default VPC that no other VPC overlaps. At AWS every default VPC has the
// same range; here they differ, so that an address alone tells a reader whose it is.
func (s *State) unusedNetwork() netip.Prefix {
	for n := range 256 {
		candidate := prefix(netip.AddrFrom4([4]byte{10, byte(n*16 + n/16), 0, 0}), 16)
		free := true
		for _, vpc := range s.VPCs {
			free = free && !vpc.CIDR.Overlaps(candidate)
		}
		if free {
			return candidate
		}
	}
	return netip.MustParsePrefix("172.31.0.0/16")
}

// vpcXML is a VPC on the wire.
type vpcXML struct {
	Owner        string              `xml:"ownerId"`
	Tenancy      string              `xml:"instanceTenancy"`
	Associations set[associationXML] `xml:"cidrBlockAssociationSet"`
	Default      bool                `xml:"isDefault"`
	Tags         set[tagXML]         `xml:"tagSet"`
	ID           string              `xml:"vpcId"`
	State        string              `xml:"state"`
	CIDR         string              `xml:"cidrBlock"`
	DHCPOptions  string              `xml:"dhcpOptionsId"`
}

type associationXML struct {
	ID    string `xml:"associationId"`
	CIDR  string `xml:"cidrBlock"`
	State string `xml:"cidrBlockState>state"`
}

func (c *call) vpcXML(vpc *VPC) vpcXML {
	return vpcXML{
		Owner: vpc.AccountID, Tenancy: "default", Default: vpc.Default, Tags: c.s.tagsOf(vpc.ID), ID: vpc.ID,
		State: "available", CIDR: vpc.CIDR.String(), DHCPOptions: "default",
		Associations: setOf([]associationXML{{"vpc-cidr-assoc-" + strings.TrimPrefix(vpc.ID, "vpc-"), vpc.CIDR.String(), "associated"}}),
	}
}

func (v *VPC) id() string { return v.ID }

// ownVPC finds a VPC of the caller's.
func (c *call) ownVPC(id string) (*VPC, error) {
	if !wellFormed("vpc", id) {
		return nil, fail("InvalidVpcID.Malformed", "Invalid id: \"%s\" (expecting \"vpc-...\")", id)
	}
	vpc, found := owned(c, c.s.VPCs, id, func(v *VPC) (string, string) { return v.AccountID, v.Region })
	if !found {
		return nil, fail("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
	}
	return vpc, nil
}

type createVPCInput struct {
	CIDR        string             `q:"CidrBlock"`
	Tenancy     string             `q:"InstanceTenancy"`
	Tags        []tagSpecification `q:"TagSpecification"`
	IPv6        *bool              `q:"AmazonProvidedIpv6CidrBlock"`
	IPv6Pool    unsupported        `q:"Ipv6Pool"`
	IPv6CIDR    unsupported        `q:"Ipv6CidrBlock"`
	IPv4IPAM    unsupported        `q:"Ipv4IpamPoolId"`
	IPv4Netmask unsupported        `q:"Ipv4NetmaskLength"`
	IPv6IPAM    unsupported        `q:"Ipv6IpamPoolId"`
	IPv6Netmask unsupported        `q:"Ipv6NetmaskLength"`
}

type createVPCOutput struct {
	VPC vpcXML `xml:"vpc"`
}

func createVPC(c *call, in *createVPCInput) (*createVPCOutput, error) {
	if in.CIDR == "" {
		return nil, ec2Dialect.missing("CidrBlock")
	}
	if in.IPv6 != nil && *in.IPv6 {
		return nil, ec2Dialect.refused("AmazonProvidedIpv6CidrBlock")
	}
	if in.Tenancy != "" && in.Tenancy != "default" {
		return nil, ec2Dialect.refused("InstanceTenancy")
	}
	cidr, err := parseNetwork("CidrBlock", in.CIDR)
	if err != nil {
		return nil, err
	}
	if cidr.Bits() < 16 || cidr.Bits() > 28 {
		return nil, fail("InvalidVpc.Range", "The CIDR '%s' is invalid.", in.CIDR)
	}
	vpc := c.s.newVPC(c.account, c.region, cidr)
	return &createVPCOutput{c.vpcXML(vpc)}, c.tagNew(vpc.ID, in.Tags)
}

// parseNetwork reads an IPv4 network, whose host bits must be zero.
func parseNetwork(parameter, text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil || !network.Addr().Is4() {
		return netip.Prefix{}, fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid. This is not a valid CIDR block.", text, parameter)
	}
	if network.Masked() != network {
		return netip.Prefix{}, fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid. This is not a valid CIDR block. The address of the network is %s.", text, parameter, network.Masked())
	}
	return network, nil
}

var vpcFilters = filters[*VPC]{
	"vpc-id":                            one((*VPC).id),
	"cidr":                              one(func(v *VPC) string { return v.CIDR.String() }),
	"cidr-block-association.cidr-block": one(func(v *VPC) string { return v.CIDR.String() }),
	"is-default":                        one(func(v *VPC) string { return strconv.FormatBool(v.Default) }),
	"isDefault":                         one(func(v *VPC) string { return strconv.FormatBool(v.Default) }),
	"owner-id":                          one(func(v *VPC) string { return v.AccountID }),
	"state":                             one(func(*VPC) string { return "available" }),
	"cidr-block-association.state":      one(func(*VPC) string { return "associated" }),
	"dhcp-options-id":                   one(func(*VPC) string { return "default" }),
}

type describeVPCsInput struct {
	IDs     []string    `q:"VpcId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeVPCsOutput struct {
	VPCs      set[vpcXML] `xml:"vpcSet"`
	NextToken string      `xml:"nextToken,omitempty"`
}

func describeVPCs(c *call, in *describeVPCsInput) (*describeVPCsOutput, error) {
	for _, id := range in.IDs {
		if _, err := c.ownVPC(id); err != nil {
			return nil, err
		}
	}
	var vpcs []*VPC
	for vpc := range inOrder(c.s.VPCs) {
		if vpc.AccountID == c.account && vpc.Region == c.region && (len(in.IDs) == 0 || slices.Contains(in.IDs, vpc.ID)) {
			vpcs = append(vpcs, vpc)
		}
	}
	vpcs, err := selected(c, vpcs, in.Filters, vpcFilters, (*VPC).id)
	if err != nil {
		return nil, err
	}
	vpcs, next, err := page(in.paging, vpcs, (*VPC).id)
	if err != nil {
		return nil, err
	}
	out := &describeVPCsOutput{NextToken: next}
	for _, vpc := range vpcs {
		out.VPCs.Items = append(out.VPCs.Items, c.vpcXML(vpc))
	}
	return out, nil
}

type vpcInput struct {
	ID string `q:"VpcId,required"`
}

func deleteVPC(c *call, in *vpcInput) (*returned, error) {
	vpc, err := c.ownVPC(in.ID)
	if err != nil {
		return nil, err
	}
	inUse := len(c.s.subnetsOf(vpc.ID)) > 0 || len(c.s.endpointsIn(vpc.ID)) > 0
	for _, group := range c.s.SecurityGroups {
		inUse = inUse || group.VPCID == vpc.ID && group.Name != "default"
	}
	if inUse {
		return nil, fail("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted.", vpc.ID)
	}
	c.s.deleteGroup(c.s.defaultGroup(vpc.ID))
	delete(c.s.VPCs, vpc.ID)
	delete(c.s.Tags, vpc.ID)
	return done, nil
}

type describeVPCAttributeInput struct {
	VPCID     string `q:"VpcId,required"`
	Attribute string `q:"Attribute,required"`
}

type attributeXML struct {
	Value bool `xml:"value"`
}

type describeVPCAttributeOutput struct {
	VPCID        string        `xml:"vpcId"`
	DNSSupport   *attributeXML `xml:"enableDnsSupport"`
	DNSHostnames *attributeXML `xml:"enableDnsHostnames"`
	UsageMetrics *attributeXML `xml:"enableNetworkAddressUsageMetrics"`
}

func describeVPCAttribute(c *call, in *describeVPCAttributeInput) (*describeVPCAttributeOutput, error) {
	vpc, err := c.ownVPC(in.VPCID)
	if err != nil {
		return nil, err
	}
	out := &describeVPCAttributeOutput{VPCID: vpc.ID}
	switch in.Attribute {
	case "enableDnsSupport":
		out.DNSSupport = &attributeXML{vpc.DNSSupport}
	case "enableDnsHostnames":
		out.DNSHostnames = &attributeXML{vpc.DNSHostnames}
	case "enableNetworkAddressUsageMetrics":
		out.UsageMetrics = &attributeXML{vpc.UsageMetrics}
	default:
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown attribute.", in.Attribute)
	}
	return out, nil
}

type attributeInput struct {
	Value *bool `q:"Value"`
}

type modifyVPCAttributeInput struct {
	VPCID        string          `q:"VpcId,required"`
	DNSSupport   *attributeInput `q:"EnableDnsSupport"`
	DNSHostnames *attributeInput `q:"EnableDnsHostnames"`
	UsageMetrics *attributeInput `q:"EnableNetworkAddressUsageMetrics"`
}

func modifyVPCAttribute(c *call, in *modifyVPCAttributeInput) (*returned, error) {
	vpc, err := c.ownVPC(in.VPCID)
	if err != nil {
		return nil, err
	}
	given := 0
	for _, change := range []struct {
		input *attributeInput
		field *bool
	}{{in.DNSSupport, &vpc.DNSSupport}, {in.DNSHostnames, &vpc.DNSHostnames}, {in.UsageMetrics, &vpc.UsageMetrics}} {
		if change.input != nil && change.input.Value != nil {
			*change.field = *change.input.Value
			given++
		}
	}
	if given != 1 {
		return nil, fail("InvalidParameterCombination", "Exactly one attribute can be modified at a time.")
	}
	return done, nil
}
