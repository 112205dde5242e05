package fabric

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ownsName says whether a public zone of the fabric carries the TXT record that proves the provider's claim to the
// service's private DNS name.
func (s *State) ownsName(service *EndpointService) bool {
	claim := service.PrivateDNS
	name := claim.RecordName + "." + strings.TrimPrefix(claim.Name, "*.") + "." // a wildcard is proven for what is below its star
	for _, zone := range s.HostedZones {
		if zone.Private {
			continue
		}
		for _, record := range zone.Records {
			if record.Type == "TXT" && record.Name == name && slices.Contains(record.Values, `"`+claim.RecordValue+`"`) {
				return true
			}
		}
	}
	return false
}

// registerDomain gives an account the public zone that comes with a domain, unless it is there from an earlier start.
func (s *State) registerDomain(d Domain, now time.Time) error {
	name, valid := canonicalZoneName(d.Name)
	if !valid {
		return fmt.Errorf("fabric: %q is not a domain name", d.Name)
	}
	if s.Accounts[d.AccountID] == nil {
		return fmt.Errorf("fabric: domain %s belongs to account %q, which is not configured", d.Name, d.AccountID)
	}
	reference := "registered " + name
	for _, zone := range s.HostedZones {
		if zone.AccountID == d.AccountID && zone.CallerReference == reference {
			return nil
		}
	}
	zone := s.newHostedZone(d.AccountID, name, reference, now)
	zone.Comment = "made for the registered domain"
	s.HostedZones[zone.ID] = zone
	return nil
}
