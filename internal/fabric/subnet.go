package fabric

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// subnetXML is a subnet on the wire.
type subnetXML struct {
	ZoneID       string      `xml:"availabilityZoneId"`
	Owner        string      `xml:"ownerId"`
	IPv6OnCreate bool        `xml:"assignIpv6AddressOnCreation"`
	Tags         set[tagXML] `xml:"tagSet"`
	ARN          string      `xml:"subnetArn"`
	DNS64        bool        `xml:"enableDns64"`
	IPv6Native   bool        `xml:"ipv6Native"`
	HostnameType string      `xml:"privateDnsNameOptionsOnLaunch>hostnameType"`
	ID           string      `xml:"subnetId"`
	State        string      `xml:"state"`
	VPCID        string      `xml:"vpcId"`
	CIDR         string      `xml:"cidrBlock"`
	Free         int         `xml:"availableIpAddressCount"`
	ZoneName     string      `xml:"availabilityZone"`
	Default      bool        `xml:"defaultForAz"`
	MapPublicIP  bool        `xml:"mapPublicIpOnLaunch"`
}

func (c *call) subnetXML(subnet *Subnet) subnetXML {
	used := 5 // kept by the cloud
	for _, nic := range c.s.NetworkInterfaces {
		if nic.SubnetID == subnet.ID {
			used++
		}
	}
	return subnetXML{
		ZoneID: subnet.ZoneID, Owner: subnet.AccountID, Tags: c.s.tagsOf(subnet.ID),
		ARN:          "arn:aws:ec2:" + subnet.Region + ":" + subnet.AccountID + ":subnet/" + subnet.ID,
		HostnameType: "ip-name", ID: subnet.ID, State: "available", VPCID: subnet.VPCID, CIDR: subnet.CIDR.String(),
		Free: 1<<(32-subnet.CIDR.Bits()) - used, ZoneName: c.subnetZone(subnet), Default: subnet.Default,
	}
}

// subnetZone is the owner's name of the subnet's zone.
func (c *call) subnetZone(subnet *Subnet) string {
	return c.s.Accounts[subnet.AccountID].zoneName(subnet.Region, subnet.ZoneID)
}

func (s *Subnet) id() string { return s.ID }

// ownSubnet finds a subnet of the caller's.
func (c *call) ownSubnet(id string) (*Subnet, error) {
	if !wellFormed("subnet", id) {
		return nil, fail("InvalidSubnetId.Malformed", "Invalid id: \"%s\" (expecting \"subnet-...\")", id)
	}
	subnet, found := owned(c, c.s.Subnets, id, func(s *Subnet) (string, string) { return s.AccountID, s.Region })
	if !found {
		return nil, fail("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
	}
	return subnet, nil
}

type createSubnetInput struct {
	VPCID       string             `q:"VpcId,required"`
	CIDR        string             `q:"CidrBlock,required"`
	ZoneName    string             `q:"AvailabilityZone"`
	ZoneID      string             `q:"AvailabilityZoneId"`
	Tags        []tagSpecification `q:"TagSpecification"`
	IPv6CIDR    unsupported        `q:"Ipv6CidrBlock"`
	IPv6Native  *bool              `q:"Ipv6Native"`
	Outpost     unsupported        `q:"OutpostArn"`
	IPv4IPAM    unsupported        `q:"Ipv4IpamPoolId"`
	IPv4Netmask unsupported        `q:"Ipv4NetmaskLength"`
	IPv6IPAM    unsupported        `q:"Ipv6IpamPoolId"`
	IPv6Netmask unsupported        `q:"Ipv6NetmaskLength"`
}

type createSubnetOutput struct {
	Subnet subnetXML `xml:"subnet"`
}

func createSubnet(c *call, in *createSubnetInput) (*createSubnetOutput, error) {
	vpc, err := c.ownVPC(in.VPCID)
	if err != nil {
		return nil, err
	}
	if in.IPv6Native != nil && *in.IPv6Native {
		return nil, ec2Dialect.refused("Ipv6Native")
	}
	cidr, err := parseNetwork("cidrBlock", in.CIDR)
	if err != nil {
		return nil, err
	}
	if cidr.Bits() < 16 || cidr.Bits() > 28 || !within(vpc.CIDR, cidr) {
		return nil, fail("InvalidSubnet.Range", "The CIDR '%s' is invalid.", in.CIDR)
	}
	for _, other := range c.s.subnetsOf(vpc.ID) {
		if other.CIDR.Overlaps(cidr) {
			return nil, fail("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", in.CIDR)
		}
	}
	account := c.s.Accounts[c.account]
	zone := account.Zones[c.region][0]
	switch {
	case in.ZoneName != "" && in.ZoneID != "":
		return nil, fail("InvalidParameterCombination", "AvailabilityZone and AvailabilityZoneId cannot be specified together.")
	case in.ZoneName != "":
		if zone = account.zoneID(c.region, in.ZoneName); zone == "" {
			return nil, fail("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.", in.ZoneName, strings.Join(account.zoneNames(c.region, account.Zones[c.region]), ", "))
		}
	case in.ZoneID != "":
		if zone = in.ZoneID; !slices.Contains(account.Zones[c.region], zone) {
			return nil, fail("InvalidParameterValue", "Value (%s) for parameter availabilityZoneId is invalid.", in.ZoneID)
		}
	}
	subnet := c.s.newSubnet(vpc, zone, cidr)
	return &createSubnetOutput{c.subnetXML(subnet)}, c.tagNew(subnet.ID, in.Tags)
}

// within says whether part is inside whole.
func within(whole, part netip.Prefix) bool {
	return part.Bits() >= whole.Bits() && whole.Contains(part.Addr())
}

type describeSubnetsInput struct {
	IDs     []string    `q:"SubnetId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeSubnetsOutput struct {
	Subnets   set[subnetXML] `xml:"subnetSet"`
	NextToken string         `xml:"nextToken,omitempty"`
}

func describeSubnets(c *call, in *describeSubnetsInput) (*describeSubnetsOutput, error) {
	for _, id := range in.IDs {
		if _, err := c.ownSubnet(id); err != nil {
			return nil, err
		}
	}
	var subnets []*Subnet
	for subnet := range inOrder(c.s.Subnets) {
		if subnet.AccountID == c.account && subnet.Region == c.region && (len(in.IDs) == 0 || slices.Contains(in.IDs, subnet.ID)) {
			subnets = append(subnets, subnet)
		}
	}
	cidr := one(func(s *Subnet) string { return s.CIDR.String() })
	isDefault := one(func(s *Subnet) string { return strconv.FormatBool(s.Default) })
	zoneName, zoneID := one(c.subnetZone), one(func(s *Subnet) string { return s.ZoneID })
	subnets, err := selected(c, subnets, in.Filters, filters[*Subnet]{
		"subnet-id": one((*Subnet).id),
		"vpc-id":    one(func(s *Subnet) string { return s.VPCID }),
		"owner-id":  one(func(s *Subnet) string { return s.AccountID }),
		"state":     one(func(*Subnet) string { return "available" }),
		"cidr":      cidr, "cidr-block": cidr, "cidrBlock": cidr,
		"availability-zone": zoneName, "availabilityZone": zoneName,
		"availability-zone-id": zoneID, "availabilityZoneId": zoneID,
		"default-for-az": isDefault, "defaultForAz": isDefault,
	}, (*Subnet).id)
	if err != nil {
		return nil, err
	}
	subnets, next, err := page(in.paging, subnets, (*Subnet).id)
	if err != nil {
		return nil, err
	}
	out := &describeSubnetsOutput{NextToken: next}
	for _, subnet := range subnets {
		out.Subnets.Items = append(out.Subnets.Items, c.subnetXML(subnet))
	}
	return out, nil
}

type deleteSubnetInput struct {
	ID string `q:"SubnetId,required"`
}

func deleteSubnet(c *call, in *deleteSubnetInput) (*returned, error) {
	subnet, err := c.ownSubnet(in.ID)
	if err != nil {
		return nil, err
	}
	for _, nic := range c.s.NetworkInterfaces {
		if nic.SubnetID == subnet.ID {
			return nil, fail("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", subnet.ID)
		}
	}
	delete(c.s.Subnets, subnet.ID)
	delete(c.s.Tags, subnet.ID)
	return done, nil
}
