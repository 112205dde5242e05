package fabric

import "slices"

// ownsName says whether a public zone of the fabric carries the TXT record that proves the provider's claim to the
// service's private DNS name.
func (s *State) ownsName(service *EndpointService) bool {
	claim := service.PrivateDNS
	name := claim.RecordName + "." + claim.Name + "."
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
