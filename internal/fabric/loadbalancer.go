package fabric

import (
	"cmp"
	"regexp"
	"slices"
)

// balancerZones holds the hosted zone ids of network load balancers' names, one per region.
var balancerZones = map[string]string{
	"us-east-1": "Z26RNL4JYFTOTI", "us-east-2": "ZLMOA37VPKANP", "us-west-2": "Z18D5FSROUN65G", "eu-west-1": "Z2IFOLAFXWLO4F",
	"eu-central-1": "Z3F0SRJ5LGBH90",
}

type loadBalancerXML struct {
	ARN           string           `xml:"LoadBalancerArn"`
	DNSName       string           `xml:"DNSName"`
	HostedZone    string           `xml:"CanonicalHostedZoneId"`
	CreatedAt     string           `xml:"CreatedTime"`
	Name          string           `xml:"LoadBalancerName"`
	Scheme        string           `xml:"Scheme"`
	VPCID         string           `xml:"VpcId"`
	State         string           `xml:"State>Code"`
	Type          string           `xml:"Type"`
	Zones         members[nodeXML] `xml:"AvailabilityZones"`
	Groups        *members[string] `xml:"SecurityGroups"`
	IPAddressType string           `xml:"IpAddressType"`
}

type nodeXML struct {
	ZoneName  string            `xml:"ZoneName"`
	SubnetID  string            `xml:"SubnetId"`
	Addresses members[struct{}] `xml:"LoadBalancerAddresses"`
}

func (c *call) loadBalancerXML(b *LoadBalancer) loadBalancerXML {
	out := loadBalancerXML{
		ARN: b.ARN, DNSName: b.DNSName, HostedZone: cmp.Or(balancerZones[b.Region], "ZELB"+regionCode(b.Region)),
		CreatedAt: ec2Time(b.CreatedAt), Name: b.Name, Scheme: b.Scheme, VPCID: b.VPCID, State: b.State, Type: "network",
		IPAddressType: "ipv4",
	}
	for _, node := range b.Nodes {
		out.Zones.Items = append(out.Zones.Items, nodeXML{ZoneName: c.s.Accounts[b.AccountID].zoneName(b.Region, node.ZoneID), SubnetID: node.SubnetID})
	}
	if len(b.GroupIDs) > 0 {
		out.Groups = &members[string]{b.GroupIDs}
	}
	return out
}

func (b *LoadBalancer) arn() string { return b.ARN }

// balancerPrefix is between the account and the name in the ARN of every network load balancer.
const balancerPrefix = "loadbalancer/net/"

func (c *call) findLoadBalancer(arn string) (*LoadBalancer, bool) {
	return owned(c, c.s.LoadBalancers, arn, func(b *LoadBalancer) (string, string) { return b.AccountID, b.Region })
}

// ownLoadBalancer finds a load balancer of the caller's.
func (c *call) ownLoadBalancer(arn string) (*LoadBalancer, error) {
	balancer, found := c.findLoadBalancer(arn)
	if !found {
		return nil, fail("LoadBalancerNotFound", "Load balancer '%s' not found", arn)
	}
	return balancer, nil
}

type createLoadBalancerInput struct {
	Name           string      `q:"Name,required"`
	Subnets        []string    `q:"Subnets"`
	Mappings       []mapping   `q:"SubnetMappings"`
	Groups         []string    `q:"SecurityGroups"`
	Scheme         string      `q:"Scheme"`
	Type           string      `q:"Type"`
	IPAddressType  string      `q:"IpAddressType"`
	Tags           []elbTag    `q:"Tags"`
	CustomerPool   unsupported `q:"CustomerOwnedIpv4Pool"`
	PrefixSourceV6 string      `q:"EnablePrefixForIpv6SourceNat"`
	IPAMPools      unsupported `q:"IpamPools"`
}

type mapping struct {
	SubnetID   string      `q:"SubnetId"`
	Allocation unsupported `q:"AllocationId"`
	Private    unsupported `q:"PrivateIPv4Address"`
	IPv6       unsupported `q:"IPv6Address"`
	SourceNAT  unsupported `q:"SourceNatIpv6Prefix"`
}

type loadBalancersOutput struct {
	LoadBalancers members[loadBalancerXML] `xml:"LoadBalancers"`
	NextMarker    string                   `xml:"NextMarker,omitempty"`
}

func createLoadBalancer(c *call, in *createLoadBalancerInput) (*loadBalancersOutput, error) {
	scheme := cmp.Or(in.Scheme, "internet-facing")
	switch {
	case in.Type != "network":
		return nil, fail("OperationNotPermitted", "Only load balancers of type network are supported here")
	case scheme != "internal" && scheme != "internet-facing":
		return nil, fail("InvalidScheme", "The scheme '%s' is not valid", in.Scheme)
	case in.IPAddressType != "" && in.IPAddressType != "ipv4":
		return nil, fail("ValidationError", "The IP address type '%s' is not supported here", in.IPAddressType)
	}
	if err := checkELBName("load balancer", in.Name); err != nil {
		return nil, err
	}
	subnetIDs := slices.Clone(in.Subnets)
	for _, m := range in.Mappings {
		subnetIDs = append(subnetIDs, m.SubnetID)
	}
	for balancer := range inOrder(c.s.LoadBalancers) {
		if balancer.AccountID != c.account || balancer.Region != c.region || balancer.Name != in.Name {
			continue
		}
		// The name makes the call idempotent, as long as it asks for what is there.
		if balancer.Scheme == scheme && sameSubnets(balancer, subnetIDs) {
			return &loadBalancersOutput{LoadBalancers: membersOf([]loadBalancerXML{c.loadBalancerXML(balancer)})}, nil
		}
		return nil, fail("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", in.Name)
	}
	balancer, err := c.newLoadBalancer(in.Name, scheme, subnetIDs, in.Groups)
	if err != nil {
		return nil, err
	}
	if err := c.tagELB(balancer.ARN, in.Tags); err != nil {
		return nil, err
	}
	return &loadBalancersOutput{LoadBalancers: membersOf([]loadBalancerXML{c.loadBalancerXML(balancer)})}, nil
}

func sameSubnets(b *LoadBalancer, ids []string) bool {
	var present []string
	for _, node := range b.Nodes {
		present = append(present, node.SubnetID)
	}
	return slices.Equal(slices.Sorted(slices.Values(present)), slices.Sorted(slices.Values(ids)))
}

// newLoadBalancer makes the load balancer with a node and its interface in every subnet.
func (c *call) newLoadBalancer(name, scheme string, subnetIDs, groupIDs []string) (*LoadBalancer, error) {
	if len(subnetIDs) == 0 {
		return nil, fail("ValidationError", "You must specify either subnets or subnet mappings")
	}
	suffix := c.s.drawHex(16)
	balancer := &LoadBalancer{
		ARN: c.arn(balancerPrefix + name + "/" + suffix), Name: name, AccountID: c.account, Region: c.region, Scheme: scheme,
		DNSName: name + "-" + suffix + ".elb." + c.region + ".amazonaws.com",
		State:   "provisioning", Due: c.now.Add(c.s.settle), CreatedAt: c.now,
		Attributes: map[string]string{
			"deletion_protection.enabled": "false", AttrCrossZone: "false", "access_logs.s3.enabled": "false",
			"access_logs.s3.bucket": "", "access_logs.s3.prefix": "", "dns_record.client_routing_policy": "any_availability_zone",
			"zonal_shift.config.enabled": "false",
		},
	}
	if err := c.spread(balancer, subnetIDs); err != nil {
		return nil, err
	}
	for _, id := range groupIDs {
		if group, err := c.ownGroup(id); err != nil || group.VPCID != balancer.VPCID {
			return nil, fail("InvalidSecurityGroup", "The security group '%s' does not exist in the VPC '%s'", id, balancer.VPCID)
		}
		balancer.GroupIDs = append(balancer.GroupIDs, id)
	}
	for _, node := range balancer.Nodes {
		c.s.NetworkInterfaces[node.InterfaceID].GroupIDs = balancer.GroupIDs
	}
	c.s.LoadBalancers[balancer.ARN] = balancer
	return balancer, nil
}

// spread gives the load balancer a node with its interface in each of the subnets where it has none.
func (c *call) spread(balancer *LoadBalancer, subnetIDs []string) error {
	zones := map[string]string{} // subnet by zone
	for _, node := range balancer.Nodes {
		zones[node.ZoneID] = node.SubnetID
	}
	for _, id := range subnetIDs {
		subnet, err := c.ownSubnet(id)
		switch {
		case err != nil:
			return fail("SubnetNotFound", "The subnet ID '%s' does not exist", id)
		case balancer.VPCID != "" && balancer.VPCID != subnet.VPCID:
			return fail("InvalidSubnet", "All subnets must belong to the same VPC: '%s'", balancer.VPCID)
		case zones[subnet.ZoneID] == id:
			continue
		case zones[subnet.ZoneID] != "":
			return fail("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		}
		address, free := c.s.freeAddress(subnet)
		if !free {
			return fail("InvalidSubnet", "Not enough IP space available in %s", id)
		}
		balancer.VPCID = subnet.VPCID
		zones[subnet.ZoneID] = id
		nic := &NetworkInterface{
			ID: c.s.newID("eni"), AccountID: c.account, Region: c.region, VPCID: subnet.VPCID, SubnetID: id, ZoneID: subnet.ZoneID,
			Address: address, GroupIDs: balancer.GroupIDs, Type: InterfaceLoadBalancer, OwnerID: balancer.ARN,
			Description: "ELB net/" + balancer.ARN[len(c.arn(balancerPrefix)):], CreatedAt: c.now,
		}
		c.s.NetworkInterfaces[nic.ID] = nic
		balancer.Nodes = append(balancer.Nodes, Node{ZoneID: subnet.ZoneID, SubnetID: id, InterfaceID: nic.ID})
	}
	return nil
}

type setSubnetsInput struct {
	ARN            string      `q:"LoadBalancerArn,required"`
	Subnets        []string    `q:"Subnets"`
	Mappings       []mapping   `q:"SubnetMappings"`
	IPAddressType  string      `q:"IpAddressType"`
	PrefixSourceV6 unsupported `q:"EnablePrefixForIpv6SourceNat"`
}

type setSubnetsOutput struct {
	Zones         members[nodeXML] `xml:"AvailabilityZones"`
	IPAddressType string           `xml:"IpAddressType"`
}

// setSubnets gives the load balancer more nodes. One that exists stays: a network load balancer leaves no zone.
func setSubnets(c *call, in *setSubnetsInput) (*setSubnetsOutput, error) {
	balancer, err := c.ownLoadBalancer(in.ARN)
	if err != nil {
		return nil, err
	}
	subnetIDs := in.Subnets
	for _, m := range in.Mappings {
		subnetIDs = append(subnetIDs, m.SubnetID)
	}
	for _, node := range balancer.Nodes {
		if !slices.Contains(subnetIDs, node.SubnetID) {
			return nil, fail("InvalidConfigurationRequest", "Subnets cannot be removed from Network Load Balancers: '%s'", node.SubnetID)
		}
	}
	if err := c.spread(balancer, subnetIDs); err != nil {
		return nil, err
	}
	return &setSubnetsOutput{c.loadBalancerXML(balancer).Zones, "ipv4"}, nil
}

type describeLoadBalancersInput struct {
	ARNs  []string `q:"LoadBalancerArns"`
	Names []string `q:"Names"`
	marking
}

func describeLoadBalancers(c *call, in *describeLoadBalancersInput) (*loadBalancersOutput, error) {
	var balancers []*LoadBalancer
	for balancer := range inOrder(c.s.LoadBalancers) {
		if balancer.AccountID == c.account && balancer.Region == c.region &&
			(len(in.ARNs) == 0 || slices.Contains(in.ARNs, balancer.ARN)) && (len(in.Names) == 0 || slices.Contains(in.Names, balancer.Name)) {
			balancers = append(balancers, balancer)
		}
	}
	for _, arn := range in.ARNs {
		if !slices.ContainsFunc(balancers, func(b *LoadBalancer) bool { return b.ARN == arn }) {
			return nil, fail("LoadBalancerNotFound", "One or more load balancers not found")
		}
	}
	for _, name := range in.Names {
		if !slices.ContainsFunc(balancers, func(b *LoadBalancer) bool { return b.Name == name }) {
			return nil, fail("LoadBalancerNotFound", "Load balancers '[%s]' not found", name)
		}
	}
	balancers, next, err := marked(in.marking, balancers, (*LoadBalancer).arn)
	if err != nil {
		return nil, err
	}
	out := &loadBalancersOutput{NextMarker: next}
	for _, balancer := range balancers {
		out.LoadBalancers.Items = append(out.LoadBalancers.Items, c.loadBalancerXML(balancer))
	}
	return out, nil
}

type loadBalancerInput struct {
	ARN string `q:"LoadBalancerArn,required"`
}

// deleteLoadBalancer also deletes its listeners. One that is gone already is no error.
func deleteLoadBalancer(c *call, in *loadBalancerInput) (*none, error) {
	balancer, found := c.findLoadBalancer(in.ARN)
	if !found {
		return &none{}, nil
	}
	if balancer.Attributes["deletion_protection.enabled"] == "true" {
		return nil, fail("OperationNotPermitted", "Load balancer '%s' cannot be deleted because deletion protection is enabled", in.ARN)
	}
	for _, service := range c.s.Services {
		if slices.Contains(service.LoadBalancerARNs, balancer.ARN) {
			return nil, fail("ResourceInUse", "Load balancer '%s' cannot be deleted because it is currently associated with another service", in.ARN)
		}
	}
	for _, node := range balancer.Nodes {
		c.s.unplug(node.InterfaceID)
	}
	for _, listener := range c.s.listenersOf(balancer.ARN) {
		delete(c.s.Listeners, listener.ARN)
		delete(c.s.Tags, listener.ARN)
	}
	delete(c.s.LoadBalancers, balancer.ARN)
	delete(c.s.Tags, balancer.ARN)
	return &none{}, nil
}

func describeLoadBalancerAttributes(c *call, in *loadBalancerInput) (*attributesOutput, error) {
	balancer, err := c.ownLoadBalancer(in.ARN)
	if err != nil {
		return nil, err
	}
	return attributesOf(balancer.Attributes), nil
}

type modifyLoadBalancerAttributesInput struct {
	ARN        string          `q:"LoadBalancerArn,required"`
	Attributes []attributePair `q:"Attributes,required"`
}

var loadBalancerValues = map[string]*regexp.Regexp{
	"dns_record.client_routing_policy": regexp.MustCompile(`^(availability_zone_affinity|partial_availability_zone_affinity|any_availability_zone)$`),
}

func modifyLoadBalancerAttributes(c *call, in *modifyLoadBalancerAttributesInput) (*attributesOutput, error) {
	balancer, err := c.ownLoadBalancer(in.ARN)
	if err != nil {
		return nil, err
	}
	if err := setAttributes(balancer.Attributes, in.Attributes, loadBalancerValues); err != nil {
		return nil, err
	}
	return attributesOf(balancer.Attributes), nil
}

type capacityOutput struct {
	Remaining int `xml:"DecreaseRequestsRemaining"`
}

// describeCapacityReservation says that no capacity is reserved, which is all that a load balancer here can have.
func describeCapacityReservation(c *call, in *loadBalancerInput) (*capacityOutput, error) {
	if _, err := c.ownLoadBalancer(in.ARN); err != nil {
		return nil, err
	}
	return &capacityOutput{Remaining: 2}, nil
}
