package fabric

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// mostEndpoints is how many interface endpoints a VPC may have: the default quota.
const mostEndpoints = 50

// openPolicy is the policy of an endpoint that was given none.
const openPolicy = `{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}`

type createEndpointInput struct {
	Type              string             `q:"VpcEndpointType"`
	VPCID             string             `q:"VpcId,required"`
	ServiceName       string             `q:"ServiceName"`
	Policy            string             `q:"PolicyDocument"`
	RouteTables       []string           `q:"RouteTableId"`
	SubnetIDs         []string           `q:"SubnetId"`
	GroupIDs          []string           `q:"SecurityGroupId"`
	IPAddressType     string             `q:"IpAddressType"`
	DNSOptions        dnsOptions         `q:"DnsOptions"`
	ClientToken       string             `q:"ClientToken"`
	PrivateDNSEnabled *bool              `q:"PrivateDnsEnabled"`
	Tags              []tagSpecification `q:"TagSpecification"`
	SubnetSettings    unsupported        `q:"SubnetConfiguration"`
	ServiceNetwork    unsupported        `q:"ServiceNetworkArn"`
	Resource          unsupported        `q:"ResourceConfigurationArn"`
	ServiceRegion     string             `q:"ServiceRegion"`
}

type dnsOptions struct {
	RecordType  string      `q:"DnsRecordIpType"`
	InboundOnly *bool       `q:"PrivateDnsOnlyForInboundResolverEndpoint"`
	Preference  unsupported `q:"PrivateDnsPreference"`
	Domains     unsupported `q:"PrivateDnsSpecifiedDomain"`
}

type createEndpointOutput struct {
	Endpoint    endpointXML `xml:"vpcEndpoint"`
	ClientToken string      `xml:"clientToken,omitempty"`
}

func createEndpoint(c *call, in *createEndpointInput) (*createEndpointOutput, error) {
	alive := func(id string) bool {
		endpoint := c.s.Endpoints[id]
		return endpoint != nil && endpoint.State != EndpointDeleted && endpoint.State != EndpointDeleting
	}
	id, err := c.once(in.ClientToken, alive, func() (string, error) { return c.newEndpoint(in) })
	if err != nil {
		return nil, err
	}
	return &createEndpointOutput{c.endpointXML(c.s.Endpoints[id]), in.ClientToken}, nil
}

// newEndpoint checks everything before it makes anything.
func (c *call) newEndpoint(in *createEndpointInput) (string, error) {
	vpc, err := c.ownVPC(in.VPCID)
	if err != nil {
		return "", err
	}
	service, err := c.offered(in)
	if err != nil {
		return "", err
	}
	switch {
	case len(in.RouteTables) > 0:
		return "", fail("InvalidParameter", "Route table IDs are only supported for Gateway type VPC Endpoints.")
	case !slices.Contains([]string{"", "ipv4"}, in.IPAddressType):
		return "", fail("InvalidParameter", "The IP address type %s is not supported by the VPC endpoint service %s.", in.IPAddressType, service.Name)
	case !slices.Contains([]string{"", "ipv4", "service-defined"}, in.DNSOptions.RecordType):
		return "", fail("InvalidParameter", "The DNS record IP type %s is not compatible with the IP address type of the endpoint.", in.DNSOptions.RecordType)
	case in.DNSOptions.InboundOnly != nil && *in.DNSOptions.InboundOnly:
		return "", fail("UnsupportedOperation", "PrivateDnsOnlyForInboundResolverEndpoint is not supported here.")
	case in.Policy != "" && !json.Valid([]byte(in.Policy)):
		return "", fail("InvalidPolicyDocument", "The policy document is not valid JSON.")
	case len(c.s.endpointsIn(vpc.ID)) >= mostEndpoints:
		return "", fail("VpcEndpointLimitExceeded", "You have reached the limit of %d interface VPC endpoints for %s.", mostEndpoints, vpc.ID)
	}
	subnets, err := c.endpointSubnets(vpc, service, nil, in.SubnetIDs)
	if err != nil {
		return "", err
	}
	groups := []string{c.s.defaultGroup(vpc.ID).ID}
	if len(in.GroupIDs) > 0 {
		if groups, err = c.groupsIn(vpc, in.GroupIDs); err != nil {
			return "", err
		}
	}
	endpoint := &Endpoint{
		ID: c.s.newID("vpce"), AccountID: c.account, Region: c.region, VPCID: vpc.ID,
		ServiceID: service.ID, Service: service.Name, State: EndpointPending, Due: c.now.Add(c.s.settle),
		GroupIDs: groups, Label: c.s.drawFrom(lowerDigits, 8), Policy: in.Policy, CreatedAt: c.now,
	}
	if service.AcceptanceRequired {
		endpoint.State, endpoint.Due = EndpointPendingAcceptance, time.Time{}
	}
	if in.PrivateDNSEnabled != nil && *in.PrivateDNSEnabled {
		if err := c.privateDNSAllowed(endpoint, service, vpc); err != nil {
			return "", err
		}
		endpoint.PrivateDNSEnabled = true
	}
	c.s.Endpoints[endpoint.ID] = endpoint
	for _, subnet := range subnets {
		if err := c.plug(endpoint, subnet); err != nil {
			return "", err
		}
	}
	return endpoint.ID, c.tagNew(endpoint.ID, in.Tags)
}

// offered finds the service that an endpoint is asked for. A service that does not exist and one that the caller may
// not use look the same.
func (c *call) offered(in *createEndpointInput) (*EndpointService, error) {
	kind := in.Type
	if kind == "" {
		kind = "Gateway"
	}
	switch {
	case !slices.Contains([]string{"Gateway", "Interface", "GatewayLoadBalancer", "Resource", "ServiceNetwork"}, kind):
		return nil, fail("InvalidParameter", "Invalid VPC endpoint type '%s'.", kind)
	case kind == "Gateway" && len(in.SubnetIDs) > 0:
		return nil, fail("InvalidParameter", "Subnet IDs are only supported for Interface and GatewayLoadBalancer type VPC Endpoints.")
	case kind == "Gateway" && len(in.GroupIDs) > 0:
		return nil, fail("InvalidParameter", "Security group IDs are only supported for Interface type VPC Endpoints.")
	case in.ServiceName == "":
		return nil, ec2Dialect.missing("ServiceName")
	}
	var service *EndpointService
	for candidate := range inOrder(c.s.Services) {
		if candidate.Name == in.ServiceName && candidate.Region == c.region && candidate.lets(c.s.Accounts[c.account]) {
			service = candidate
		}
	}
	switch {
	case service == nil || in.ServiceRegion != "" && in.ServiceRegion != service.Region:
		return nil, unknownService(in.ServiceName)
	case kind != "Interface":
		return nil, fail("InvalidParameter", "Endpoint type (%s) does not match available service types ([Interface]).", kind)
	}
	return service, nil
}

func unknownService(name string) *apiError {
	return fail("InvalidServiceName", "The Vpc Endpoint Service '%s' does not exist", name)
}

// endpointSubnets checks the subnets that are to be added to those an endpoint has: the VPC's own, each in a zone that
// the service has, and at most one in a zone.
func (c *call) endpointSubnets(vpc *VPC, service *EndpointService, present, added []string) ([]*Subnet, error) {
	zones := service.zones(c.s)
	taken := map[string]bool{}
	for _, id := range present {
		taken[c.s.Subnets[id].ZoneID] = true
	}
	var subnets []*Subnet
	for _, id := range added {
		subnet, err := c.ownSubnet(id)
		switch {
		case err != nil:
			return nil, err
		case subnet.VPCID != vpc.ID:
			return nil, fail("InvalidParameter", "The subnet %s does not belong to the VPC %s.", id, vpc.ID)
		case !slices.Contains(zones, subnet.ZoneID):
			return nil, fail("InvalidParameter", "The VPC endpoint service %s does not support the availability zone of the subnet: %s.", service.Name, id)
		case taken[subnet.ZoneID]:
			return nil, fail("DuplicateSubnetsInSameZone", "Found another VPC endpoint subnet in the availability zone of %s. VPC endpoint subnets should be in different availability zones supported by the VPC endpoint service.", id)
		}
		taken[subnet.ZoneID] = true
		subnets = append(subnets, subnet)
	}
	return subnets, nil
}

// privateDNSAllowed says whether the endpoint may answer to the service's private DNS name in its VPC.
func (c *call) privateDNSAllowed(endpoint *Endpoint, service *EndpointService, vpc *VPC) error {
	switch {
	case service == nil || service.PrivateDNS == nil || service.PrivateDNS.State != "verified":
		return fail("InvalidParameter", "Private DNS can't be enabled because the service %s does not provide a private DNS name.", endpoint.Service)
	case endpoint.State == EndpointPendingAcceptance || endpoint.State == EndpointRejected:
		return fail("InvalidParameter", "Private DNS can only be enabled after the endpoint connection is accepted by the owner of %s.", endpoint.Service)
	case !vpc.DNSSupport || !vpc.DNSHostnames:
		return fail("InvalidParameter", "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for %s", vpc.ID)
	}
	name := service.PrivateDNS.Name
	conflict := fail("InvalidParameter", "private-dns-enabled cannot be set because there is already a conflicting DNS domain for %s in the VPC %s", name, vpc.ID)
	for _, other := range c.s.endpointsIn(vpc.ID) {
		if theirs := c.s.Services[other.ServiceID]; other.ID != endpoint.ID && other.PrivateDNSEnabled && theirs != nil && theirs.PrivateDNS != nil && theirs.PrivateDNS.Name == name {
			return conflict
		}
	}
	for _, zone := range c.s.privateZonesOf(vpc.ID) {
		if zone.Name == strings.TrimPrefix(name, "*.")+"." {
			return conflict
		}
	}
	return nil
}

// plug gives the endpoint an interface in a subnet.
func (c *call) plug(endpoint *Endpoint, subnet *Subnet) error {
	address, free := c.s.freeAddress(subnet)
	if !free {
		return fail("InsufficientFreeAddressesInSubnet", "The specified subnet %s does not have enough free addresses to satisfy the request.", subnet.ID)
	}
	nic := &NetworkInterface{
		ID: c.s.newID("eni"), AccountID: endpoint.AccountID, Region: endpoint.Region, VPCID: endpoint.VPCID,
		SubnetID: subnet.ID, ZoneID: subnet.ZoneID, Address: address, GroupIDs: endpoint.GroupIDs,
		Type: InterfaceEndpoint, OwnerID: endpoint.ID, Description: "VPC Endpoint Interface " + endpoint.ID, CreatedAt: c.now,
	}
	c.s.NetworkInterfaces[nic.ID] = nic
	endpoint.SubnetIDs = append(endpoint.SubnetIDs, subnet.ID)
	endpoint.InterfaceIDs = append(endpoint.InterfaceIDs, nic.ID)
	return nil
}

type modifyEndpointInput struct {
	ID                string      `q:"VpcEndpointId,required"`
	ResetPolicy       *bool       `q:"ResetPolicy"`
	Policy            string      `q:"PolicyDocument"`
	AddRouteTables    unsupported `q:"AddRouteTableId"`
	RemoveRouteTables unsupported `q:"RemoveRouteTableId"`
	AddSubnets        []string    `q:"AddSubnetId"`
	RemoveSubnets     []string    `q:"RemoveSubnetId"`
	AddGroups         []string    `q:"AddSecurityGroupId"`
	RemoveGroups      []string    `q:"RemoveSecurityGroupId"`
	IPAddressType     string      `q:"IpAddressType"`
	DNSOptions        dnsOptions  `q:"DnsOptions"`
	PrivateDNSEnabled *bool       `q:"PrivateDnsEnabled"`
	SubnetSettings    unsupported `q:"SubnetConfiguration"`
}

func modifyEndpoint(c *call, in *modifyEndpointInput) (*returned, error) {
	endpoint, err := c.ownEndpoint(in.ID)
	if err != nil {
		return nil, err
	}
	if endpoint.State == EndpointDeleting {
		return nil, fail("IncorrectState", "The VPC endpoint %s is in state %s and cannot be modified.", endpoint.ID, endpoint.State)
	}
	if in.IPAddressType != "" && in.IPAddressType != "ipv4" {
		return nil, fail("InvalidParameter", "The IP address type %s is not supported by the VPC endpoint service %s.", in.IPAddressType, endpoint.Service)
	}
	vpc, service := c.s.VPCs[endpoint.VPCID], c.s.Services[endpoint.ServiceID]
	if err := c.modifySubnets(endpoint, service, vpc, in.AddSubnets, in.RemoveSubnets); err != nil {
		return nil, err
	}
	if err := c.modifyGroups(endpoint, vpc, in.AddGroups, in.RemoveGroups); err != nil {
		return nil, err
	}
	switch {
	case in.ResetPolicy != nil && *in.ResetPolicy:
		endpoint.Policy = ""
	case in.Policy != "" && !json.Valid([]byte(in.Policy)):
		return nil, fail("InvalidPolicyDocument", "The policy document is not valid JSON.")
	case in.Policy != "":
		endpoint.Policy = in.Policy
	}
	if want := in.PrivateDNSEnabled; want != nil && *want != endpoint.PrivateDNSEnabled {
		if *want {
			if err := c.privateDNSAllowed(endpoint, service, vpc); err != nil {
				return nil, err
			}
		}
		endpoint.PrivateDNSEnabled = *want
		endpoint.State, endpoint.Due = EndpointPending, c.now.Add(c.s.settle)
	}
	return done, nil
}

func (c *call) modifySubnets(endpoint *Endpoint, service *EndpointService, vpc *VPC, add, remove []string) error {
	for _, id := range remove {
		i := slices.Index(endpoint.SubnetIDs, id)
		if i < 0 {
			return fail("InvalidParameter", "The subnet %s is not associated with the VPC endpoint %s.", id, endpoint.ID)
		}
		c.s.unplug(endpoint.InterfaceIDs[i])
		endpoint.SubnetIDs = slices.Delete(endpoint.SubnetIDs, i, i+1)
		endpoint.InterfaceIDs = slices.Delete(endpoint.InterfaceIDs, i, i+1)
	}
	if len(add) == 0 {
		return nil
	}
	if service == nil {
		return unknownService(endpoint.Service)
	}
	subnets, err := c.endpointSubnets(vpc, service, endpoint.SubnetIDs, add)
	if err != nil {
		return err
	}
	for _, subnet := range subnets {
		if err := c.plug(endpoint, subnet); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) modifyGroups(endpoint *Endpoint, vpc *VPC, add, remove []string) error {
	added, err := c.groupsIn(vpc, add)
	if err != nil {
		return err
	}
	for _, id := range added {
		if !slices.Contains(endpoint.GroupIDs, id) {
			endpoint.GroupIDs = append(endpoint.GroupIDs, id)
		}
	}
	for _, id := range remove {
		i := slices.Index(endpoint.GroupIDs, id)
		if i < 0 {
			return fail("InvalidParameter", "The security group %s is not associated with the VPC endpoint %s.", id, endpoint.ID)
		}
		endpoint.GroupIDs = slices.Delete(endpoint.GroupIDs, i, i+1)
	}
	if len(endpoint.GroupIDs) == 0 {
		return fail("InvalidParameter", "A VPC endpoint needs at least one security group.")
	}
	for _, id := range endpoint.InterfaceIDs {
		c.s.NetworkInterfaces[id].GroupIDs = endpoint.GroupIDs
	}
	return nil
}

type deleteEndpointsInput struct {
	IDs []string `q:"VpcEndpointId,required"`
}

func deleteEndpoints(c *call, in *deleteEndpointsInput) (*batchOutput, error) {
	for _, id := range in.IDs {
		if !wellFormed("vpce", id) {
			return nil, malformedEndpoint(id)
		}
	}
	out := &batchOutput{}
	for _, id := range in.IDs {
		endpoint, err := c.ownEndpoint(id)
		if err != nil {
			out.add(id, fail("InvalidVpcEndpoint.NotFound", "The Vpc Endpoint Id '%s' does not exist", id))
			continue
		}
		if endpoint.State != EndpointDeleting {
			endpoint.State, endpoint.Due = EndpointDeleting, c.now.Add(c.s.settle)
		}
	}
	return out, nil
}
