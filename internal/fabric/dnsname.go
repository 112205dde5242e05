package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// endpointZones holds the hosted zone ids of endpoint names, one per region. Regions that are not listed get an id
// of their own making.
var endpointZones = map[string]string{
	"us-east-1": "Z7HUB22UULQXV", "us-east-2": "ZC8PG0KIFKBRI", "us-west-1": "Z12I86A8N7VCZO", "us-west-2": "Z1YSA3EXCYUU9Z",
	"eu-west-1": "Z38GZ743OKFT7T", "eu-west-2": "Z7K1066E3PUKB", "eu-central-1": "Z273ZU8SZ5RJPC",
	"ap-southeast-1": "Z18LLCSTV4NVNL", "ap-southeast-2": "ZDK2GCRPAFKGO", "ap-northeast-1": "Z2E726K9Y6RL4W",
}

func endpointZone(region string) string {
	if id, known := endpointZones[region]; known {
		return id
	}
	return "ZVPCE" + strings.ToUpper(regionCode(region))
}

// dnsEntry is one name of an endpoint with the hosted zone it lives in.
type dnsEntry struct {
	Name         string // without the final dot
	HostedZoneID string
	Addresses    []netip.Addr
}

// dnsEntries lists the endpoint's own names: the regional one first, then one per zone. The private name of the service
// is not among them.
func (e *Endpoint) dnsEntries(s *State) []dnsEntry {
	suffix := fmt.Sprintf("%s.%s.vpce.amazonaws.com", e.ServiceID, e.Region)
	zone := endpointZone(e.Region)
	entries := []dnsEntry{{Name: fmt.Sprintf("%s-%s.%s", e.ID, e.Label, suffix), HostedZoneID: zone, Addresses: e.addresses(s)}}
	account := s.Accounts[e.AccountID]
	var zonal []dnsEntry
	for _, id := range e.InterfaceIDs {
		nic := s.NetworkInterfaces[id]
		if nic == nil {
			continue
		}
		name := fmt.Sprintf("%s-%s-%s.%s", e.ID, e.Label, account.zoneName(e.Region, nic.ZoneID), suffix)
		zonal = append(zonal, dnsEntry{Name: name, HostedZoneID: zone, Addresses: []netip.Addr{nic.Address}})
	}
	slices.SortFunc(zonal, func(a, b dnsEntry) int { return strings.Compare(a.Name, b.Name) })
	return append(entries, zonal...)
}

// privateName is the name that leads to the endpoint inside its VPC, such as "api.vendor.example" or "*.vendor.example";
// empty while private DNS is off or the endpoint is not available.
func (e *Endpoint) privateName(s *State) string {
	service := s.Services[e.ServiceID]
	if !e.PrivateDNSEnabled || e.State != EndpointAvailable || service == nil || service.PrivateDNS == nil {
		return ""
	}
	return service.PrivateDNS.Name
}
