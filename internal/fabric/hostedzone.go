package fabric

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// canonicalZoneName reads a domain name as Route 53 does: case does not count, octal escapes are decoded, and the final
// dot may be missing. False when it is no name.
func canonicalZoneName(text string) (string, bool) {
	var name strings.Builder
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b == '\\' {
			if i+3 >= len(text) {
				return "", false
			}
			var value int
			for _, digit := range text[i+1 : i+4] {
				if digit < '0' || digit > '7' {
					return "", false
				}
				value = value*8 + int(digit-'0')
			}
			if value > 0xff {
				return "", false
			}
			b = byte(value)
			i += 3
		}
		if b <= ' ' || b >= 0x7f {
			return "", false
		}
		name.WriteByte(b)
	}
	canonical := strings.ToLower(strings.TrimSuffix(name.String(), "."))
	if canonical == "" || len(canonical) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(canonical, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	return canonical + ".", true
}

// wireName writes a name as Route 53 does: a wildcard's asterisk and other unusual characters in octal.
func wireName(name string) string {
	var text strings.Builder
	for _, b := range []byte(name) {
		if 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-' || b == '_' || b == '.' {
			text.WriteByte(b)
		} else {
			fmt.Fprintf(&text, `\%03o`, b)
		}
	}
	return text.String()
}

// listOrder is the order in which Route 53 lists names: by their labels from the right.
func listOrder(name string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, "\x00")
}

type hostedZoneXML struct {
	ID              string `xml:"Id"`
	Name            string `xml:"Name"`
	CallerReference string `xml:"CallerReference"`
	Comment         string `xml:"Config>Comment,omitempty"`
	Private         bool   `xml:"Config>PrivateZone"`
	Records         int    `xml:"ResourceRecordSetCount"`
}

type zoneVPCXML struct {
	Region string `xml:"VPCRegion"`
	ID     string `xml:"VPCId"`
}

func (z *HostedZone) xml() hostedZoneXML {
	return hostedZoneXML{"/hostedzone/" + z.ID, wireName(z.Name), z.CallerReference, z.Comment, z.Private, len(z.Records)}
}

// nameServers are the servers that every zone names in its NS records.
var nameServers = []string{"ns-1.awsdns-00.example.", "ns-2.awsdns-00.example.", "ns-3.awsdns-00.example.", "ns-4.awsdns-00.example."}

type nameServersXML struct {
	Servers []string `xml:"NameServers>NameServer"`
}

func (z *HostedZone) delegation() *nameServersXML {
	if z.Private {
		return nil
	}
	return &nameServersXML{nameServers}
}

type createZoneOutput struct {
	Zone       hostedZoneXML   `xml:"HostedZone"`
	Change     changeInfoXML   `xml:"ChangeInfo"`
	Delegation *nameServersXML `xml:"DelegationSet"`
	VPC        *zoneVPCXML     `xml:"VPC"`
}

func createHostedZone(c *call, r *zoneRequest) (any, error) {
	var in struct {
		Name            string      `xml:"Name"`
		CallerReference string      `xml:"CallerReference"`
		VPC             *zoneVPCXML `xml:"VPC"`
		Comment         string      `xml:"HostedZoneConfig>Comment"`
		Private         bool        `xml:"HostedZoneConfig>PrivateZone"`
		DelegationSet   string      `xml:"DelegationSetId"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	name, valid := canonicalZoneName(in.Name)
	switch {
	case in.CallerReference == "" || len(in.CallerReference) > 128:
		return nil, fail("InvalidInput", "CallerReference must have 1 to 128 characters")
	case !valid || !strings.Contains(strings.TrimSuffix(name, "."), ".") && in.VPC == nil || strings.HasPrefix(name, "*"):
		return nil, fail("InvalidDomainName", "%s is not a valid domain name.", in.Name)
	case in.DelegationSet != "":
		return nil, fail("InvalidInput", "Reusable delegation sets are not supported here")
	case in.Private && in.VPC == nil:
		return nil, fail("InvalidVPCId", "When you're creating a private hosted zone, you must specify the ID of a VPC.")
	}
	for _, zone := range c.s.HostedZones {
		if zone.AccountID == c.account && zone.CallerReference == in.CallerReference {
			return nil, failWith(http.StatusConflict, "HostedZoneAlreadyExists", "A hosted zone has already been created with the specified caller reference.")
		}
	}
	zone := c.s.newHostedZone(c.account, name, in.CallerReference, c.now)
	zone.Comment, zone.Private = in.Comment, in.VPC != nil
	if zone.Private {
		if err := c.bindZone(zone, *in.VPC); err != nil {
			return nil, err
		}
	}
	c.s.HostedZones[zone.ID] = zone
	return &createZoneOutput{zone.xml(), c.submitted(""), zone.delegation(), in.VPC}, nil
}

// newHostedZone draws a zone with the records that every zone has; the caller puts it into the state.
func (s *State) newHostedZone(account, name, reference string, now time.Time) *HostedZone {
	return &HostedZone{
		ID: "Z" + s.drawFrom(upperDigits, 20), AccountID: account, Name: name, CallerReference: reference, CreatedAt: now,
		Records: []RecordSet{
			{Name: name, Type: "NS", TTL: 172800, Values: nameServers},
			{Name: name, Type: "SOA", TTL: 900, Values: []string{nameServers[0] + " awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"}},
		},
	}
}

// bindZone makes a private zone answer in a VPC of the caller's.
func (c *call) bindZone(zone *HostedZone, to zoneVPCXML) error {
	vpc := c.s.VPCs[to.ID]
	switch {
	case vpc == nil || vpc.Region != to.Region:
		return fail("InvalidVPCId", "The VPC: %s that you provided is not authorized or nonexistent.", to.ID)
	case vpc.AccountID != c.account:
		return failWith(http.StatusUnauthorized, "NotAuthorizedException", "The VPC: %s has not authorized to associate with your hosted zone.", to.ID)
	}
	for _, other := range c.s.privateZonesOf(vpc.ID) {
		if other.Name == zone.Name {
			return fail("ConflictingDomainExists", "The VPC %s in region %s has already been associated with the hosted zone %s with the same domain name.", vpc.ID, vpc.Region, other.ID)
		}
	}
	for _, endpoint := range c.s.endpointsIn(vpc.ID) {
		if name := endpoint.privateName(c.s); name != "" && strings.TrimPrefix(name, "*.")+"." == zone.Name {
			return fail("ConflictingDomainExists", "The VPC %s in region %s has already been associated with the hosted zone %s with the same domain name.", vpc.ID, vpc.Region, privateZoneID(endpoint))
		}
	}
	zone.VPCs = append(zone.VPCs, ZoneVPC{vpc.ID, vpc.Region})
	return nil
}

type getZoneOutput struct {
	Zone       hostedZoneXML   `xml:"HostedZone"`
	Delegation *nameServersXML `xml:"DelegationSet"`
	VPCs       []zoneVPCXML    `xml:"VPCs>VPC"`
}

func getHostedZone(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	out := &getZoneOutput{Zone: zone.xml(), Delegation: zone.delegation()}
	for _, vpc := range zone.VPCs {
		out.VPCs = append(out.VPCs, zoneVPCXML{vpc.Region, vpc.ID})
	}
	return out, nil
}

func updateHostedZoneComment(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	var in struct {
		Comment string `xml:"Comment"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	zone.Comment = in.Comment
	return &getZoneOutput{Zone: zone.xml()}, nil
}

func deleteHostedZone(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	for _, record := range zone.Records {
		if !record.required(zone) {
			return nil, fail("HostedZoneNotEmpty", "The specified hosted zone contains non-required resource record sets  and so cannot be deleted.")
		}
	}
	delete(c.s.HostedZones, zone.ID)
	delete(c.s.Tags, zone.ID)
	return &changeOutput{c.submitted("")}, nil
}

type listZonesOutput struct {
	Zones        []hostedZoneXML `xml:"HostedZones>HostedZone"`
	DNSName      string          `xml:"DNSName,omitempty"`
	HostedZoneID string          `xml:"HostedZoneId,omitempty"`
	Marker       *string         `xml:"Marker"`
	Truncated    bool            `xml:"IsTruncated"`
	NextMarker   string          `xml:"NextMarker,omitempty"`
	NextName     string          `xml:"NextDNSName,omitempty"`
	NextID       string          `xml:"NextHostedZoneId,omitempty"`
	MaxItems     int             `xml:"MaxItems"`
}

// ownZones lists the caller's hosted zones by id.
func (c *call) ownZones() []*HostedZone {
	var zones []*HostedZone
	for zone := range inOrder(c.s.HostedZones) {
		if zone.AccountID == c.account {
			zones = append(zones, zone)
		}
	}
	return zones
}

func listHostedZones(c *call, r *zoneRequest) (any, error) {
	most, err := r.wantedItems(100)
	if err != nil {
		return nil, err
	}
	marker := r.query.Get("marker")
	out := &listZonesOutput{Marker: &marker, MaxItems: most}
	for _, zone := range c.ownZones() {
		switch {
		case zone.ID < marker, r.query.Get("hostedzonetype") == "PrivateHostedZone" && !zone.Private:
		case len(out.Zones) == most:
			if !out.Truncated {
				out.Truncated, out.NextMarker = true, zone.ID
			}
		default:
			out.Zones = append(out.Zones, zone.xml())
		}
	}
	return out, nil
}

func listHostedZonesByName(c *call, r *zoneRequest) (any, error) {
	most, err := r.wantedItems(100)
	if err != nil {
		return nil, err
	}
	start, startID := r.query.Get("dnsname"), strings.TrimPrefix(r.query.Get("hostedzoneid"), "/hostedzone/")
	out := &listZonesOutput{DNSName: start, HostedZoneID: startID, MaxItems: most}
	if start != "" {
		canonical, valid := canonicalZoneName(start)
		if !valid {
			return nil, fail("InvalidDomainName", "%s is not a valid domain name.", start)
		}
		start = canonical
	} else if startID != "" {
		return nil, fail("InvalidInput", "hostedzoneid needs dnsname")
	}
	order := func(a, b *HostedZone) int {
		return cmp.Or(cmp.Compare(listOrder(a.Name), listOrder(b.Name)), cmp.Compare(a.ID, b.ID))
	}
	from := &HostedZone{Name: start, ID: startID}
	for _, zone := range slices.SortedFunc(slices.Values(c.ownZones()), order) {
		switch {
		case start != "" && order(zone, from) < 0:
		case len(out.Zones) == most:
			if !out.Truncated {
				out.Truncated, out.NextName, out.NextID = true, wireName(zone.Name), zone.ID
			}
		default:
			out.Zones = append(out.Zones, zone.xml())
		}
	}
	return out, nil
}

type zoneSummaryXML struct {
	ID    string `xml:"HostedZoneId"`
	Name  string `xml:"Name"`
	Owner string `xml:"Owner>OwningAccount"`
}

type zonesByVPCOutput struct {
	Summaries []zoneSummaryXML `xml:"HostedZoneSummaries>HostedZoneSummary"`
	MaxItems  int              `xml:"MaxItems"`
	NextToken string           `xml:"NextToken,omitempty"`
}

func listHostedZonesByVPC(c *call, r *zoneRequest) (any, error) {
	most, err := r.wantedItems(100)
	if err != nil {
		return nil, err
	}
	vpc := c.s.VPCs[r.query.Get("vpcid")]
	if vpc == nil || vpc.AccountID != c.account || vpc.Region != r.query.Get("vpcregion") {
		return nil, fail("InvalidVPCId", "The VPC: %s that you provided is not authorized or nonexistent.", r.query.Get("vpcid"))
	}
	zones := c.s.privateZonesOf(vpc.ID)
	slices.SortFunc(zones, func(a, b *HostedZone) int { return strings.Compare(a.ID, b.ID) })
	out := &zonesByVPCOutput{MaxItems: most}
	for _, zone := range zones {
		switch {
		case zone.ID < r.query.Get("nexttoken"):
		case len(out.Summaries) == most:
			if out.NextToken == "" {
				out.NextToken = zone.ID
			}
		default:
			out.Summaries = append(out.Summaries, zoneSummaryXML{zone.ID, wireName(zone.Name), zone.AccountID})
		}
	}
	return out, nil
}

type bindInput struct {
	VPC     zoneVPCXML `xml:"VPC"`
	Comment string     `xml:"Comment"`
}

func associateVPC(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	var in bindInput
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	if !zone.Private {
		return nil, fail("PublicZoneVPCAssociation", "You're trying to associate a VPC with a public hosted zone. Amazon Route 53 doesn't support associating a VPC with a public hosted zone.")
	}
	if slices.Contains(zone.VPCs, ZoneVPC{in.VPC.ID, in.VPC.Region}) {
		return &changeOutput{c.submitted(in.Comment)}, nil
	}
	if err := c.bindZone(zone, in.VPC); err != nil {
		return nil, err
	}
	return &changeOutput{c.submitted(in.Comment)}, nil
}

func disassociateVPC(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	var in bindInput
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	i := slices.Index(zone.VPCs, ZoneVPC{in.VPC.ID, in.VPC.Region})
	switch {
	case i < 0:
		return nil, failWith(http.StatusNotFound, "VPCAssociationNotFound", "The VPC: %s and hosted zone: %s are not associated.", in.VPC.ID, zone.ID)
	case len(zone.VPCs) == 1:
		return nil, fail("LastVPCAssociation", "The VPC: %s is the only VPC that is associated with hosted zone: %s.", in.VPC.ID, zone.ID)
	}
	zone.VPCs = slices.Delete(zone.VPCs, i, i+1)
	return &changeOutput{c.submitted(in.Comment)}, nil
}
