package fabric

import (
	"strings"
	"time"
)

type dnsEntryXML struct {
	Name         string `xml:"dnsName"`
	HostedZoneID string `xml:"hostedZoneId"`
}

// connectionXML is an endpoint as the provider of its service sees it.
type connectionXML struct {
	ServiceID     string           `xml:"serviceId"`
	EndpointID    string           `xml:"vpcEndpointId"`
	Owner         string           `xml:"vpcEndpointOwner"`
	State         EndpointState    `xml:"vpcEndpointState"`
	CreatedAt     string           `xml:"creationTimestamp"`
	DNSEntries    set[dnsEntryXML] `xml:"dnsEntrySet"`
	LoadBalancers set[string]      `xml:"networkLoadBalancerArnSet"`
	IPAddressType string           `xml:"ipAddressType"`
	ConnectionID  string           `xml:"vpcEndpointConnectionId"`
	Tags          set[tagXML]      `xml:"tagSet"`
	Region        string           `xml:"vpcEndpointRegion"`
}

func (e *Endpoint) id() string { return e.ID }

// connectionFilters has no vpc-endpoint-id: the documentation lists it and the real service refuses it.
var connectionFilters = filters[*Endpoint]{
	"service-id":          one(func(e *Endpoint) string { return e.ServiceID }),
	"vpc-endpoint-owner":  one(func(e *Endpoint) string { return e.AccountID }),
	"vpc-endpoint-state":  one(func(e *Endpoint) string { return string(e.State) }),
	"vpc-endpoint-region": one(func(e *Endpoint) string { return e.Region }),
	"ip-address-type":     one(func(*Endpoint) string { return "ipv4" }),
}

type describeConnectionsInput struct {
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeConnectionsOutput struct {
	Connections set[connectionXML] `xml:"vpcEndpointConnectionSet"`
	NextToken   string             `xml:"nextToken,omitempty"`
}

func describeConnections(c *call, in *describeConnectionsInput) (*describeConnectionsOutput, error) {
	for _, filter := range in.Filters {
		if connectionFilters[filter.Name] == nil {
			return nil, fail("InvalidFilter", "The filter '%s' is invalid", filter.Name)
		}
	}
	var endpoints []*Endpoint
	for endpoint := range inOrder(c.s.Endpoints) {
		if service := c.s.Services[endpoint.ServiceID]; service != nil && service.AccountID == c.account && service.Region == c.region {
			endpoints = append(endpoints, endpoint)
		}
	}
	endpoints, err := selected(c, endpoints, in.Filters, connectionFilters, nil)
	if err != nil {
		return nil, err
	}
	endpoints, next, err := page(in.paging, endpoints, (*Endpoint).id)
	if err != nil {
		return nil, err
	}
	out := &describeConnectionsOutput{NextToken: next}
	for _, endpoint := range endpoints {
		out.Connections.Items = append(out.Connections.Items, connectionXML{
			ServiceID: endpoint.ServiceID, EndpointID: endpoint.ID, Owner: endpoint.AccountID, State: endpoint.State,
			CreatedAt: ec2Time(endpoint.CreatedAt), DNSEntries: dnsEntriesXML(endpoint.dnsEntries(c.s)),
			LoadBalancers: setOf(c.s.Services[endpoint.ServiceID].LoadBalancerARNs), IPAddressType: "ipv4",
			ConnectionID: "vpce-con-" + strings.TrimPrefix(endpoint.ID, "vpce-"), Region: endpoint.Region,
		})
	}
	return out, nil
}

func dnsEntriesXML(entries []dnsEntry) set[dnsEntryXML] {
	var out set[dnsEntryXML]
	for _, entry := range entries {
		out.Items = append(out.Items, dnsEntryXML{entry.Name, entry.HostedZoneID})
	}
	return out
}

type judgeInput struct {
	ServiceID   string   `q:"ServiceId,required"`
	EndpointIDs []string `q:"VpcEndpointId,required"`
}

// acceptConnections lets endpoints in. One that was rejected may be let in later, and accepting what is accepted
// already changes nothing; the documentation leaves both open.
func acceptConnections(c *call, in *judgeInput) (*batchOutput, error) {
	return c.judge(in, "accepted", func(endpoint *Endpoint) bool {
		switch endpoint.State {
		case EndpointPendingAcceptance, EndpointRejected:
			endpoint.State, endpoint.Due = EndpointPending, c.now.Add(c.s.settle)
			return true
		}
		return endpoint.State == EndpointPending || endpoint.State == EndpointAvailable
	})
}

// rejectConnections refuses endpoints, also ones that were let in. They stay in their owners' accounts.
func rejectConnections(c *call, in *judgeInput) (*batchOutput, error) {
	return c.judge(in, "rejected", func(endpoint *Endpoint) bool {
		switch endpoint.State {
		case EndpointPendingAcceptance, EndpointPending, EndpointAvailable:
			endpoint.State, endpoint.Due = EndpointRejected, time.Time{}
			endpoint.PrivateDNSEnabled = false
			return true
		}
		return endpoint.State == EndpointRejected
	})
}

// judge calls decide for each endpoint of the service and reports those that are not there or cannot be decided on.
func (c *call) judge(in *judgeInput, verdict string, decide func(*Endpoint) bool) (*batchOutput, error) {
	service, err := c.ownService(in.ServiceID)
	if err != nil {
		return nil, err
	}
	for _, id := range in.EndpointIDs {
		if !wellFormed("vpce", id) {
			return nil, malformedEndpoint(id)
		}
	}
	out := &batchOutput{}
	for _, id := range in.EndpointIDs {
		endpoint := c.s.Endpoints[id]
		switch {
		case endpoint == nil || endpoint.ServiceID != service.ID || endpoint.State == EndpointDeleted:
			out.add(id, fail("InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '%s' does not exist", id))
		case !decide(endpoint):
			out.add(id, fail("InvalidState", "The VPC endpoint %s is in state %s and cannot be %s.", id, endpoint.State, verdict))
		}
	}
	return out, nil
}

func malformedEndpoint(id string) *apiError {
	return fail("InvalidVpcEndpointId.Malformed", "Invalid Id: '%s' (expecting 'vpce-...')", id)
}

type startVerificationInput struct {
	ServiceID string `q:"ServiceId,required"`
}

// startVerification looks for the TXT record of the service's private DNS name, after a while.
func startVerification(c *call, in *startVerificationInput) (*returned, error) {
	service, err := c.ownService(in.ServiceID)
	if err != nil {
		return nil, err
	}
	if service.PrivateDNS == nil {
		return nil, fail("InvalidParameter", "The service %s does not have a private DNS name.", service.ID)
	}
	if service.PrivateDNS.State != "verified" {
		service.PrivateDNS.State, service.PrivateDNS.Due = "pendingVerification", c.now.Add(c.s.settle)
	}
	return done, nil
}
