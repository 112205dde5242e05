package fabric

import (
	"slices"
	"strings"
)

type groupRefXML struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type dnsOptionsXML struct {
	RecordType string `xml:"dnsRecordIpType"`
}

// endpointXML is an endpoint as its owner sees it.
type endpointXML struct {
	ID                string           `xml:"vpcEndpointId"`
	Type              string           `xml:"vpcEndpointType"`
	VPCID             string           `xml:"vpcId"`
	ServiceName       string           `xml:"serviceName"`
	State             EndpointState    `xml:"state"`
	Policy            string           `xml:"policyDocument"`
	RouteTables       set[string]      `xml:"routeTableIdSet"`
	Subnets           set[string]      `xml:"subnetIdSet"`
	Groups            set[groupRefXML] `xml:"groupSet"`
	IPAddressType     string           `xml:"ipAddressType"`
	DNSOptions        dnsOptionsXML    `xml:"dnsOptions"`
	PrivateDNSEnabled bool             `xml:"privateDnsEnabled"`
	RequesterManaged  bool             `xml:"requesterManaged"`
	Interfaces        set[string]      `xml:"networkInterfaceIdSet"`
	DNSEntries        set[dnsEntryXML] `xml:"dnsEntrySet"`
	CreatedAt         string           `xml:"creationTimestamp"`
	Tags              set[tagXML]      `xml:"tagSet"`
	Owner             string           `xml:"ownerId"`
	ServiceRegion     string           `xml:"serviceRegion"`
}

func (c *call) endpointXML(e *Endpoint) endpointXML {
	entries := e.dnsEntries(c.s)
	if service := c.s.Services[e.ServiceID]; e.PrivateDNSEnabled && service != nil && service.PrivateDNS != nil {
		entries = append(entries, dnsEntry{Name: service.PrivateDNS.Name, HostedZoneID: privateZoneID(e)})
	}
	policy := e.Policy
	if policy == "" {
		policy = openPolicy
	}
	return endpointXML{
		ID: e.ID, Type: "Interface", VPCID: e.VPCID, ServiceName: e.Service, State: e.State, Policy: policy,
		Subnets: setOf(e.SubnetIDs), Groups: c.groupRefs(e.GroupIDs), IPAddressType: "ipv4",
		DNSOptions: dnsOptionsXML{"ipv4"}, PrivateDNSEnabled: e.PrivateDNSEnabled, Interfaces: setOf(e.InterfaceIDs),
		DNSEntries: dnsEntriesXML(entries), CreatedAt: ec2Time(e.CreatedAt), Tags: c.s.tagsOf(e.ID), Owner: e.AccountID,
		ServiceRegion: e.Region,
	}
}

// privateZoneID is the hosted zone that the cloud itself keeps for the endpoint's private name. It is in nobody's list.
func privateZoneID(e *Endpoint) string {
	return "Z" + strings.ToUpper(strings.TrimPrefix(e.ID, "vpce-"))
}

// groupRefs names security groups.
func (c *call) groupRefs(ids []string) set[groupRefXML] {
	var refs []groupRefXML
	for _, id := range ids {
		if group := c.s.SecurityGroups[id]; group != nil {
			refs = append(refs, groupRefXML{id, group.Name})
		}
	}
	return setOf(refs)
}

// ownEndpoint finds an endpoint of the caller's that is not deleted.
func (c *call) ownEndpoint(id string) (*Endpoint, error) {
	if !wellFormed("vpce", id) {
		return nil, malformedEndpoint(id)
	}
	endpoint, found := owned(c, c.s.Endpoints, id, func(e *Endpoint) (string, string) { return e.AccountID, e.Region })
	if !found || endpoint.State == EndpointDeleted {
		return nil, fail("InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '%s' does not exist", id)
	}
	return endpoint, nil
}

var endpointFilters = filters[*Endpoint]{
	"vpc-id":             one(func(e *Endpoint) string { return e.VPCID }),
	"service-name":       one(func(e *Endpoint) string { return e.Service }),
	"service-region":     one(func(e *Endpoint) string { return e.Region }),
	"ip-address-type":    one(func(*Endpoint) string { return "ipv4" }),
	"vpc-endpoint-id":    one((*Endpoint).id),
	"vpc-endpoint-state": one(func(e *Endpoint) string { return string(e.State) }),
	"vpc-endpoint-type":  one(func(*Endpoint) string { return "Interface" }),
}

type describeEndpointsInput struct {
	IDs     []string    `q:"VpcEndpointId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeEndpointsOutput struct {
	Endpoints set[endpointXML] `xml:"vpcEndpointSet"`
	NextToken string           `xml:"nextToken,omitempty"`
}

func describeEndpoints(c *call, in *describeEndpointsInput) (*describeEndpointsOutput, error) {
	for _, id := range in.IDs {
		if _, err := c.ownEndpoint(id); err != nil {
			return nil, err
		}
	}
	var endpoints []*Endpoint
	for endpoint := range inOrder(c.s.Endpoints) {
		if endpoint.AccountID == c.account && endpoint.Region == c.region && endpoint.State != EndpointDeleted &&
			(len(in.IDs) == 0 || slices.Contains(in.IDs, endpoint.ID)) {
			endpoints = append(endpoints, endpoint)
		}
	}
	endpoints, err := selected(c, endpoints, in.Filters, endpointFilters, (*Endpoint).id)
	if err != nil {
		return nil, err
	}
	endpoints, next, err := page(in.paging, endpoints, (*Endpoint).id)
	if err != nil {
		return nil, err
	}
	out := &describeEndpointsOutput{NextToken: next}
	for _, endpoint := range endpoints {
		out.Endpoints.Items = append(out.Endpoints.Items, c.endpointXML(endpoint))
	}
	return out, nil
}

// serviceDetailXML is a service as its consumers see it.
type serviceDetailXML struct {
	Name               string              `xml:"serviceName"`
	ID                 string              `xml:"serviceId"`
	Types              set[serviceTypeXML] `xml:"serviceType"`
	Region             string              `xml:"serviceRegion"`
	ZoneIDs            set[string]         `xml:"availabilityZoneIdSet"`
	ZoneNames          set[string]         `xml:"availabilityZoneSet"`
	Owner              string              `xml:"owner"`
	BaseNames          set[string]         `xml:"baseEndpointDnsNameSet"`
	PrivateDNSName     string              `xml:"privateDnsName,omitempty"`
	PrivateDNSNames    set[privateNameXML] `xml:"privateDnsNameSet"`
	PolicySupported    bool                `xml:"vpcEndpointPolicySupported"`
	AcceptanceRequired bool                `xml:"acceptanceRequired"`
	ManagesEndpoints   bool                `xml:"managesVpcEndpoints"`
	Payer              string              `xml:"payerResponsibility"`
	Tags               set[tagXML]         `xml:"tagSet"`
	VerificationState  string              `xml:"privateDnsNameVerificationState,omitempty"`
	IPAddressTypes     set[string]         `xml:"supportedIpAddressTypeSet"`
}

type privateNameXML struct {
	Name string `xml:"privateDnsName"`
}

func (c *call) serviceDetailXML(e *EndpointService) serviceDetailXML {
	zones := e.zones(c.s)
	out := serviceDetailXML{
		Name: e.Name, ID: e.ID, Types: setOf([]serviceTypeXML{{"Interface"}}), Region: e.Region, ZoneIDs: setOf(zones),
		ZoneNames: setOf(c.s.Accounts[c.account].zoneNames(e.Region, zones)), Owner: e.AccountID,
		BaseNames: setOf([]string{e.baseName()}), AcceptanceRequired: e.AcceptanceRequired, Payer: "ServiceOwner",
		IPAddressTypes: setOf([]string{"ipv4"}),
	}
	if e.AccountID == c.account {
		out.Tags = c.s.tagsOf(e.ID)
	}
	if p := e.PrivateDNS; p != nil {
		out.PrivateDNSName, out.VerificationState = p.Name, p.State
		out.PrivateDNSNames = setOf([]privateNameXML{{p.Name}})
	}
	return out
}

var serviceFilters = filters[*EndpointService]{
	"owner":                      one(func(e *EndpointService) string { return e.AccountID }),
	"service-name":               one(func(e *EndpointService) string { return e.Name }),
	"service-region":             one(func(e *EndpointService) string { return e.Region }),
	"service-type":               one(func(*EndpointService) string { return "Interface" }),
	"supported-ip-address-types": one(func(*EndpointService) string { return "ipv4" }),
}

type describeServicesInput struct {
	Names   []string    `q:"ServiceName"`
	Regions []string    `q:"ServiceRegion"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeServicesOutput struct {
	Names     set[string]           `xml:"serviceNameSet"`
	Details   set[serviceDetailXML] `xml:"serviceDetailSet"`
	NextToken string                `xml:"nextToken,omitempty"`
}

func describeServices(c *call, in *describeServicesInput) (*describeServicesOutput, error) {
	var services []*EndpointService
	for service := range inOrder(c.s.Services) {
		if service.Region == c.region && service.lets(c.s.Accounts[c.account]) &&
			(len(in.Names) == 0 || slices.Contains(in.Names, service.Name)) &&
			(len(in.Regions) == 0 || slices.Contains(in.Regions, service.Region)) {
			services = append(services, service)
		}
	}
	for _, name := range in.Names {
		if !slices.ContainsFunc(services, func(e *EndpointService) bool { return e.Name == name }) {
			return nil, unknownService(name)
		}
	}
	services, err := selected(c, services, in.Filters, serviceFilters, (*EndpointService).id)
	if err != nil {
		return nil, err
	}
	services, next, err := page(in.paging, services, (*EndpointService).id)
	if err != nil {
		return nil, err
	}
	out := &describeServicesOutput{NextToken: next}
	for _, service := range services {
		out.Names.Items = append(out.Names.Items, service.Name)
		out.Details.Items = append(out.Details.Items, c.serviceDetailXML(service))
	}
	return out, nil
}
