package fabric

import "net/netip"

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
