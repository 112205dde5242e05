package fabric

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// zones lists the ids of the zones in which the service has a load balancer node.
func (e *EndpointService) zones(s *State) []string {
	var zones []string
	for _, arn := range e.LoadBalancerARNs {
		if balancer := s.LoadBalancers[arn]; balancer != nil {
			for _, node := range balancer.Nodes {
				zones = append(zones, node.ZoneID)
			}
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// liveEndpoints lists the service's endpoints that are not deleted or on their way there.
func (e *EndpointService) liveEndpoints(s *State) []*Endpoint {
	var live []*Endpoint
	for endpoint := range inOrder(s.Endpoints) {
		if endpoint.ServiceID == e.ID && endpoint.State != EndpointDeleted && endpoint.State != EndpointDeleting {
			live = append(live, endpoint)
		}
	}
	return live
}

// serviceTypeXML is the list of a service's types: always Interface here.
type serviceTypeXML struct {
	Type string `xml:"serviceType"`
}

type privateDNSXML struct {
	State string `xml:"state"`
	Type  string `xml:"type"`
	Value string `xml:"value"`
	Name  string `xml:"name"`
}

// serviceXML is a service as its provider sees it.
type serviceXML struct {
	Types              set[serviceTypeXML] `xml:"serviceType"`
	ID                 string              `xml:"serviceId"`
	Name               string              `xml:"serviceName"`
	State              string              `xml:"serviceState"`
	ZoneIDs            set[string]         `xml:"availabilityZoneIdSet"`
	ZoneNames          set[string]         `xml:"availabilityZoneSet"`
	AcceptanceRequired bool                `xml:"acceptanceRequired"`
	ManagesEndpoints   bool                `xml:"managesVpcEndpoints"`
	LoadBalancers      set[string]         `xml:"networkLoadBalancerArnSet"`
	IPAddressTypes     set[string]         `xml:"supportedIpAddressTypeSet"`
	BaseNames          set[string]         `xml:"baseEndpointDnsNameSet"`
	PrivateDNSName     string              `xml:"privateDnsName,omitempty"`
	PrivateDNS         *privateDNSXML      `xml:"privateDnsNameConfiguration"`
	Payer              string              `xml:"payerResponsibility"`
	Tags               set[tagXML]         `xml:"tagSet"`
	RemoteAccess       bool                `xml:"remoteAccessEnabled"`
}

func (e *EndpointService) baseName() string {
	return fmt.Sprintf("%s.%s.vpce.amazonaws.com", e.ID, e.Region)
}

// zoneNames translates zone ids into the account's own names, sorted.
func (a *accountRecord) zoneNames(region string, ids []string) []string {
	var names []string
	for _, id := range ids {
		names = append(names, a.zoneName(region, id))
	}
	slices.Sort(names)
	return names
}

func (c *call) serviceXML(e *EndpointService) serviceXML {
	zones := e.zones(c.s)
	out := serviceXML{
		Types: setOf([]serviceTypeXML{{"Interface"}}), ID: e.ID, Name: e.Name, State: "Available",
		ZoneIDs: setOf(zones), ZoneNames: setOf(c.s.Accounts[e.AccountID].zoneNames(e.Region, zones)),
		AcceptanceRequired: e.AcceptanceRequired, LoadBalancers: setOf(e.LoadBalancerARNs),
		IPAddressTypes: setOf([]string{"ipv4"}), BaseNames: setOf([]string{e.baseName()}), Payer: "ServiceOwner",
		Tags: c.s.tagsOf(e.ID),
	}
	if p := e.PrivateDNS; p != nil {
		out.PrivateDNSName = p.Name
		out.PrivateDNS = &privateDNSXML{State: p.State, Type: "TXT", Value: p.RecordValue, Name: p.RecordName}
	}
	return out
}

// ownService finds a service of the caller's.
func (c *call) ownService(id string) (*EndpointService, error) {
	service, found := owned(c, c.s.Services, id, func(e *EndpointService) (string, string) { return e.AccountID, e.Region })
	if !found {
		return nil, fail("InvalidVpcEndpointServiceId.NotFound", "The VpcEndpointService Id '%s' does not exist", id)
	}
	return service, nil
}

type createServiceInput struct {
	AcceptanceRequired *bool              `q:"AcceptanceRequired"`
	PrivateDNSName     string             `q:"PrivateDnsName"`
	LoadBalancers      []string           `q:"NetworkLoadBalancerArn"`
	GatewayBalancers   unsupported        `q:"GatewayLoadBalancerArn"`
	IPAddressTypes     []string           `q:"SupportedIpAddressType"`
	Regions            []string           `q:"SupportedRegion"`
	ClientToken        string             `q:"ClientToken"`
	Tags               []tagSpecification `q:"TagSpecification"`
}

type createServiceOutput struct {
	Service     serviceXML `xml:"serviceConfiguration"`
	ClientToken string     `xml:"clientToken,omitempty"`
}

func createService(c *call, in *createServiceInput) (*createServiceOutput, error) {
	if err := supportedService(c, in.IPAddressTypes, in.Regions); err != nil {
		return nil, err
	}
	alive := func(id string) bool { return c.s.Services[id] != nil }
	id, err := c.once(in.ClientToken, alive, func() (string, error) {
		if len(in.LoadBalancers) == 0 {
			return "", fail("MissingParameter", "At least one Network Load Balancer ARN or Gateway Load Balancer ARN must be specified.")
		}
		service := &EndpointService{
			ID: c.s.newID("vpce-svc"), AccountID: c.account, Region: c.region,
			AcceptanceRequired: in.AcceptanceRequired == nil || *in.AcceptanceRequired, CreatedAt: c.now,
		}
		service.Name = "com.amazonaws.vpce." + c.region + "." + service.ID
		if err := c.attach(service, in.LoadBalancers); err != nil {
			return "", err
		}
		if in.PrivateDNSName != "" {
			if err := c.claimName(service, in.PrivateDNSName); err != nil {
				return "", err
			}
		}
		c.s.Services[service.ID] = service
		return service.ID, c.tagNew(service.ID, in.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &createServiceOutput{c.serviceXML(c.s.Services[id]), in.ClientToken}, nil
}

// supportedService refuses what the fabric's services do not do.
func supportedService(c *call, addressTypes, regions []string) error {
	for _, kind := range addressTypes {
		if kind != "ipv4" {
			return fail("InvalidParameter", "The IP address type '%s' is not supported by the load balancers of the service.", kind)
		}
	}
	for _, region := range regions {
		if region != c.region {
			return fail("UnsupportedOperation", "Access from the region %s is not supported here.", region)
		}
	}
	return nil
}

// attach puts load balancers of the caller behind a service.
func (c *call) attach(service *EndpointService, arns []string) error {
	for _, arn := range arns {
		balancer, found := owned(c, c.s.LoadBalancers, arn, func(b *LoadBalancer) (string, string) { return b.AccountID, b.Region })
		if !found {
			return fail("InvalidLoadBalancerArn.NotFound", "The load balancer '%s' does not exist", arn)
		}
		for _, other := range c.s.Services {
			if other != service && slices.Contains(other.LoadBalancerARNs, balancer.ARN) {
				return fail("InvalidParameter", "The load balancer %s is already associated with the VPC endpoint service %s.", arn, other.ID)
			}
		}
		if !slices.Contains(service.LoadBalancerARNs, arn) {
			service.LoadBalancerARNs = append(service.LoadBalancerARNs, arn)
		}
	}
	return nil
}

// namePattern is a DNS name of at least two labels, with a wildcard at most as its first.
var namePattern = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// claimName gives the service a private DNS name, whose ownership has to be verified then.
func (c *call) claimName(service *EndpointService, name string) error {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !namePattern.MatchString(name) || len(name) > 253 {
		return fail("InvalidParameter", "The private DNS name '%s' is not a valid domain name.", name)
	}
	if service.PrivateDNS != nil && service.PrivateDNS.Name == name {
		return nil
	}
	service.PrivateDNS = &PrivateDNS{
		Name: name, State: "pendingVerification",
		RecordName: "_" + c.s.drawFrom(lowerDigits, 20), RecordValue: "vpce:" + c.s.drawFrom(lowerDigits+upperDigits, 20),
	}
	return nil
}

type modifyServiceInput struct {
	ServiceID            string      `q:"ServiceId,required"`
	PrivateDNSName       string      `q:"PrivateDnsName"`
	RemovePrivateDNSName *bool       `q:"RemovePrivateDnsName"`
	AcceptanceRequired   *bool       `q:"AcceptanceRequired"`
	AddLoadBalancers     []string    `q:"AddNetworkLoadBalancerArn"`
	RemoveLoadBalancers  []string    `q:"RemoveNetworkLoadBalancerArn"`
	AddGateways          unsupported `q:"AddGatewayLoadBalancerArn"`
	RemoveGateways       unsupported `q:"RemoveGatewayLoadBalancerArn"`
	AddIPAddressTypes    []string    `q:"AddSupportedIpAddressType"`
	RemoveIPAddressTypes unsupported `q:"RemoveSupportedIpAddressType"`
	AddRegions           []string    `q:"AddSupportedRegion"`
	RemoveRegions        unsupported `q:"RemoveSupportedRegion"`
}

func modifyService(c *call, in *modifyServiceInput) (*returned, error) {
	service, err := c.ownService(in.ServiceID)
	if err != nil {
		return nil, err
	}
	if err := supportedService(c, in.AddIPAddressTypes, in.AddRegions); err != nil {
		return nil, err
	}
	remove := in.RemovePrivateDNSName != nil && *in.RemovePrivateDNSName
	if remove && in.PrivateDNSName != "" {
		return nil, fail("InvalidParameterCombination", "PrivateDnsName and RemovePrivateDnsName cannot be specified together.")
	}
	if in.AcceptanceRequired != nil {
		service.AcceptanceRequired = *in.AcceptanceRequired
	}
	if err := c.attach(service, in.AddLoadBalancers); err != nil {
		return nil, err
	}
	for _, arn := range in.RemoveLoadBalancers {
		i := slices.Index(service.LoadBalancerARNs, arn)
		if i < 0 {
			return nil, fail("InvalidParameter", "The load balancer %s is not associated with the VPC endpoint service %s.", arn, service.ID)
		}
		service.LoadBalancerARNs = slices.Delete(service.LoadBalancerARNs, i, i+1)
	}
	if len(service.LoadBalancerARNs) == 0 {
		return nil, fail("InvalidParameter", "A VPC endpoint service needs at least one load balancer.")
	}
	if remove || in.PrivateDNSName != "" {
		for _, endpoint := range service.liveEndpoints(c.s) {
			if endpoint.PrivateDNSEnabled {
				return nil, fail("InvalidParameter", "The private DNS name of the service %s cannot change while the endpoint %s has private DNS enabled.", service.ID, endpoint.ID)
			}
		}
	}
	if remove {
		service.PrivateDNS = nil
	}
	if in.PrivateDNSName != "" {
		if err := c.claimName(service, in.PrivateDNSName); err != nil {
			return nil, err
		}
	}
	return done, nil
}

type describeConfigurationsInput struct {
	IDs     []string    `q:"ServiceId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeConfigurationsOutput struct {
	Services  set[serviceXML] `xml:"serviceConfigurationSet"`
	NextToken string          `xml:"nextToken,omitempty"`
}

func (e *EndpointService) id() string { return e.ID }

var configurationFilters = filters[*EndpointService]{
	"service-name":               one(func(e *EndpointService) string { return e.Name }),
	"service-id":                 one((*EndpointService).id),
	"service-state":              one(func(*EndpointService) string { return "Available" }),
	"supported-ip-address-types": one(func(*EndpointService) string { return "ipv4" }),
}

func describeServiceConfigurations(c *call, in *describeConfigurationsInput) (*describeConfigurationsOutput, error) {
	var services []*EndpointService
	for _, id := range in.IDs {
		if _, err := c.ownService(id); err != nil {
			return nil, err
		}
	}
	for service := range inOrder(c.s.Services) {
		if service.AccountID == c.account && service.Region == c.region && (len(in.IDs) == 0 || slices.Contains(in.IDs, service.ID)) {
			services = append(services, service)
		}
	}
	services, err := selected(c, services, in.Filters, configurationFilters, (*EndpointService).id)
	if err != nil {
		return nil, err
	}
	services, next, err := page(in.paging, services, (*EndpointService).id)
	if err != nil {
		return nil, err
	}
	out := &describeConfigurationsOutput{NextToken: next}
	for _, service := range services {
		out.Services.Items = append(out.Services.Items, c.serviceXML(service))
	}
	return out, nil
}

// unsuccessfulXML is one of the items of a batch that did not work, in an answer of status 200.
type unsuccessfulXML struct {
	Error struct {
		Code    string `xml:"code"`
		Message string `xml:"message"`
	} `xml:"error"`
	ResourceID string `xml:"resourceId"`
}

type batchOutput struct {
	Unsuccessful set[unsuccessfulXML] `xml:"unsuccessful"`
}

func (b *batchOutput) add(id string, err *apiError) {
	item := unsuccessfulXML{ResourceID: id}
	item.Error.Code, item.Error.Message = err.Code, err.Message
	b.Unsuccessful.Items = append(b.Unsuccessful.Items, item)
}

type deleteServicesInput struct {
	IDs []string `q:"ServiceId,required"`
}

func deleteServices(c *call, in *deleteServicesInput) (*batchOutput, error) {
	out := &batchOutput{}
	for _, id := range in.IDs {
		service, err := c.ownService(id)
		switch {
		case err != nil:
			out.add(id, fail("InvalidVpcEndpointService.NotFound", "The VpcEndpointService Id '%s' does not exist", id))
		case slices.ContainsFunc(service.liveEndpoints(c.s), func(e *Endpoint) bool { return e.State != EndpointRejected }):
			out.add(id, fail("ExistingVpcEndpointConnections", "Service has existing active VPC Endpoint connections!"))
		default:
			// Endpoints that were rejected stay with their owners and lead nowhere.
			delete(c.s.Services, id)
			delete(c.s.Tags, id)
			c.s.forgetTokens(id)
		}
	}
	return out, nil
}
