package fabric

import (
	"fmt"
	"slices"
	"strings"
)

// zonesIn says how many availability zones a region of the fabric has.
func zonesIn(region string) int {
	if region == "us-east-1" {
		return 6
	}
	return 4
}

// zoneIDs lists the zone ids of a region in order: use1-az1, use1-az2 and so on.
func zoneIDs(region string) []string {
	ids := make([]string, zonesIn(region))
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-az%d", regionCode(region), i+1)
	}
	return ids
}

// regionCode shortens a region's name as zone ids do: us-east-1 is use1, ap-southeast-2 is apse2.
func regionCode(region string) string {
	parts := strings.Split(region, "-")
	var code strings.Builder
	for i, part := range parts {
		switch {
		case i == 0 || i == len(parts)-1:
			code.WriteString(part)
		case strings.HasSuffix(part, "east") && part != "east", strings.HasSuffix(part, "west") && part != "west":
			code.WriteString(part[:1] + part[5:6])
		default:
			code.WriteString(part[:1])
		}
	}
	return code.String()
}

// permuteZones gives the account its own order of the region's zones, different from that of every other account as
// long as there are unused orders.
func (s *State) permuteZones(a *accountRecord, region string) {
	order := zoneIDs(region)
	for range 64 {
		for i := len(order) - 1; i > 0; i-- {
			j := int(s.draw() % uint64(i+1))
			order[i], order[j] = order[j], order[i]
		}
		taken := false
		for _, other := range s.Accounts {
			taken = taken || other != a && slices.Equal(other.Zones[region], order)
		}
		if !taken && !slices.IsSorted(order) {
			break
		}
	}
	a.Zones[region] = order
}

// zoneName is the account's own name of a zone id, such as us-east-1c; empty when the region has no such zone.
func (a *accountRecord) zoneName(region, zoneID string) string {
	i := slices.Index(a.Zones[region], zoneID)
	if i < 0 {
		return ""
	}
	return region + string(rune('a'+i))
}

// zoneID is the id behind the account's own zone name; empty when there is none.
func (a *accountRecord) zoneID(region, zoneName string) string {
	for i, id := range a.Zones[region] {
		if zoneName == region+string(rune('a'+i)) {
			return id
		}
	}
	return ""
}
