package fabric

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// recordTypes is what record sets may hold.
var recordTypes = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SPF", "SRV", "TXT"}

// required says whether the zone cannot be without the record set.
func (r RecordSet) required(zone *HostedZone) bool {
	return r.Name == zone.Name && (r.Type == "NS" || r.Type == "SOA")
}

type valueXML struct {
	Value string `xml:"Value"`
}

type aliasXML struct {
	HostedZoneID   string `xml:"HostedZoneId"`
	DNSName        string `xml:"DNSName"`
	EvaluateHealth bool   `xml:"EvaluateTargetHealth"`
}

// recordSetXML is a record set on the wire. The routing policies that choose between several sets of one name are
// refused.
type recordSetXML struct {
	Name          string     `xml:"Name"`
	Type          string     `xml:"Type"`
	SetIdentifier string     `xml:"SetIdentifier,omitempty"`
	HealthCheckID string     `xml:"HealthCheckId,omitempty"`
	TTL           *int64     `xml:"TTL"`
	Values        []valueXML `xml:"ResourceRecords>ResourceRecord"`
	Alias         *aliasXML  `xml:"AliasTarget"`
}

func (r RecordSet) xml() recordSetXML {
	out := recordSetXML{Name: wireName(r.Name), Type: r.Type}
	if r.Alias != nil {
		out.Alias = &aliasXML{r.Alias.HostedZoneID, wireName(r.Alias.DNSName), r.Alias.EvaluateHealth}
		return out
	}
	ttl := int64(r.TTL)
	out.TTL = &ttl
	for _, value := range r.Values {
		out.Values = append(out.Values, valueXML{value})
	}
	return out
}

// parse checks what can be seen from a record set alone.
func (in recordSetXML) parse(action string) (RecordSet, error) {
	what := fmt.Sprintf("in Change with [Action=%s, Name=%s, Type=%s, SetIdentifier=null]", action, in.Name, in.Type)
	name, valid := canonicalZoneName(in.Name)
	record := RecordSet{Name: name, Type: in.Type}
	switch {
	case !valid:
		return record, fail("InvalidChangeBatch", "[FATAL problem: DomainLabelEmpty (Domain label is empty) encountered with '%s']", in.Name)
	case !slices.Contains(recordTypes, in.Type):
		return record, fail("InvalidInput", "Invalid type '%s' %s", in.Type, what)
	case in.SetIdentifier != "" || in.HealthCheckID != "":
		return record, fail("InvalidInput", "Routing policies and health checks are not supported here, %s", what)
	case in.Alias != nil && (in.TTL != nil || len(in.Values) > 0):
		return record, fail("InvalidInput", "Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or TrafficPolicyInstanceId], but found more than one %s", what)
	case in.Alias == nil && in.TTL == nil:
		return record, fail("InvalidInput", "Missing field 'TTL' %s", what)
	case in.Alias == nil && len(in.Values) == 0:
		return record, fail("InvalidInput", "Missing field 'ResourceRecords' %s", what)
	case in.Alias == nil && (*in.TTL < 0 || *in.TTL > 2147483647):
		return record, fail("InvalidInput", "Invalid TTL '%d' %s", *in.TTL, what)
	}
	if in.Alias != nil {
		target, valid := canonicalZoneName(in.Alias.DNSName)
		if !valid || in.Alias.HostedZoneID == "" {
			return record, fail("InvalidInput", "Invalid AliasTarget %s", what)
		}
		record.Alias = &Alias{strings.TrimPrefix(in.Alias.HostedZoneID, "/hostedzone/"), target, in.Alias.EvaluateHealth}
		return record, nil
	}
	record.TTL = uint32(*in.TTL)
	for _, value := range in.Values {
		if problem := valueProblem(in.Type, value.Value); problem != "" {
			return record, fail("InvalidChangeBatch", "[Invalid Resource Record: '%s encountered with '%s'']", problem, value.Value)
		}
		if slices.Contains(record.Values, value.Value) {
			return record, fail("InvalidChangeBatch", "[Duplicate Resource Record: '%s']", value.Value)
		}
		record.Values = append(record.Values, value.Value)
	}
	if in.Type == "CNAME" && len(record.Values) != 1 {
		return record, fail("InvalidChangeBatch", "[InvalidChange: more than one value for a CNAME record set]")
	}
	return record, nil
}

// valueProblem says what is wrong with a record's value, empty when nothing is. The types that no story of the fabric
// needs are taken as they come.
func valueProblem(kind, value string) string {
	address, err := netip.ParseAddr(value)
	switch kind {
	case "A":
		if err != nil || !address.Is4() {
			return "FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)"
		}
	case "AAAA":
		if err != nil || !address.Is6() {
			return "FATAL problem: AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address)"
		}
	case "CNAME", "NS", "PTR":
		if _, valid := canonicalZoneName(value); !valid {
			return "FATAL problem: InvalidCharacterInDomainName (Value is not a valid domain name)"
		}
	case "TXT", "SPF":
		if !strings.HasPrefix(value, `"`) || !strings.HasSuffix(value, `"`) || len(value) < 2 {
			return "FATAL problem: InvalidCharacterString (Value should be enclosed in quotation marks)"
		}
	}
	return ""
}

type changeXML struct {
	Action    string       `xml:"Action"`
	RecordSet recordSetXML `xml:"ResourceRecordSet"`
}

// changeRecordSets applies a batch of changes, all of them or none.
func changeRecordSets(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	var in struct {
		Comment string      `xml:"ChangeBatch>Comment"`
		Changes []changeXML `xml:"ChangeBatch>Changes>Change"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Changes) == 0 {
		return nil, fail("InvalidInput", "The change batch is empty")
	}
	var problems []string
	for _, change := range in.Changes {
		record, err := change.RecordSet.parse(change.Action)
		if err != nil {
			return nil, err
		}
		if problem := c.apply(zone, change.Action, record); problem != "" {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return nil, fail("InvalidChangeBatch", "[%s]", strings.Join(problems, ", "))
	}
	slices.SortFunc(zone.Records, compareRecords)
	return &changeOutput{c.submitted(in.Comment)}, nil
}

// compareRecords is the order in which Route 53 lists record sets.
func compareRecords(a, b RecordSet) int {
	return cmp.Or(cmp.Compare(listOrder(a.Name), listOrder(b.Name)), cmp.Compare(a.Type, b.Type))
}

// apply makes one change to the zone, or says in the words of Route 53 why it cannot be made.
func (c *call) apply(zone *HostedZone, action string, record RecordSet) string {
	what := fmt.Sprintf("resource record set [name='%s', type='%s']", wireName(record.Name), record.Type)
	i := slices.IndexFunc(zone.Records, func(r RecordSet) bool { return r.Name == record.Name && r.Type == record.Type })
	switch {
	case record.Name != zone.Name && !strings.HasSuffix(record.Name, "."+zone.Name):
		return fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", wireName(record.Name), wireName(zone.Name))
	case action == "DELETE" && i < 0:
		return "Tried to delete " + what + " but it was not found"
	case action == "DELETE" && !reflect.DeepEqual(zone.Records[i], record):
		return "Tried to delete " + what + " but the values provided do not match the current values"
	case action == "DELETE" && record.required(zone):
		return "A HostedZone must contain at least one NS record and exactly one SOA record for the zone itself."
	case action == "DELETE":
		zone.Records = slices.Delete(zone.Records, i, i+1)
		return ""
	case action == "CREATE" && i >= 0:
		return "Tried to create " + what + " but it already exists"
	case action != "CREATE" && action != "UPSERT":
		return fmt.Sprintf("Invalid action '%s' for %s", action, what)
	case record.Type == "CNAME" && record.Name == zone.Name:
		return fmt.Sprintf("RRSet of type CNAME with DNS name %s is not permitted at apex in zone %s", wireName(record.Name), wireName(zone.Name))
	case slices.ContainsFunc(zone.Records, func(r RecordSet) bool {
		return r.Name == record.Name && r.Type != record.Type && (r.Type == "CNAME" || record.Type == "CNAME")
	}):
		return fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted as it conflicts with other records with the same DNS name in zone %s", record.Type, wireName(record.Name), wireName(zone.Name))
	}
	if problem := c.aliasProblem(zone, what, record); problem != "" {
		return problem
	}
	if i >= 0 {
		zone.Records[i] = record
	} else {
		zone.Records = append(zone.Records, record)
	}
	return ""
}

// aliasProblem checks that an alias leads to a name in the zone that it says the name is in.
func (c *call) aliasProblem(zone *HostedZone, what string, record RecordSet) string {
	alias := record.Alias
	if alias == nil {
		return ""
	}
	outside := fmt.Sprintf("Tried to create an alias that targets %s, type %s in zone %s, but the alias target name does not lie within the target zone", wireName(alias.DNSName), record.Type, alias.HostedZoneID)
	switch {
	case record.Type != "A" && record.Type != "AAAA" && alias.HostedZoneID != zone.ID:
		return "Tried to create " + what + " as an alias, but only aliases of types A and AAAA may leave their zone"
	case alias.HostedZoneID == zone.ID:
		if !slices.ContainsFunc(zone.Records, func(r RecordSet) bool { return r.Name == alias.DNSName && r.Type == record.Type }) {
			return fmt.Sprintf("Tried to create an alias that targets %s, type %s in zone %s, but that target was not found", wireName(alias.DNSName), record.Type, alias.HostedZoneID)
		}
	case strings.HasSuffix(alias.DNSName, ".vpce.amazonaws.com."):
		labels := strings.Split(alias.DNSName, ".")
		if region := labels[max(0, len(labels)-5)]; endpointZone(region) != alias.HostedZoneID {
			return outside
		}
	case strings.HasSuffix(alias.DNSName, ".amazonaws.com."):
		// Load balancers and other names of the cloud itself: their zones are not modelled.
	default:
		if other := c.s.HostedZones[alias.HostedZoneID]; other == nil || !strings.HasSuffix("."+alias.DNSName, "."+other.Name) {
			return outside
		}
	}
	return ""
}

type recordSetsOutput struct {
	Records   []recordSetXML `xml:"ResourceRecordSets>ResourceRecordSet"`
	Truncated bool           `xml:"IsTruncated"`
	NextName  string         `xml:"NextRecordName,omitempty"`
	NextType  string         `xml:"NextRecordType,omitempty"`
	MaxItems  int            `xml:"MaxItems"`
}

func listRecordSets(c *call, r *zoneRequest) (any, error) {
	zone, err := c.ownZone(r.id)
	if err != nil {
		return nil, err
	}
	most, err := r.wantedItems(300)
	if err != nil {
		return nil, err
	}
	var from RecordSet
	if text := r.query.Get("name"); text != "" {
		name, valid := canonicalZoneName(text)
		if !valid {
			return nil, fail("InvalidInput", "Invalid name '%s'", text)
		}
		from = RecordSet{Name: name, Type: r.query.Get("type")}
	} else if r.query.Get("type") != "" {
		return nil, fail("InvalidInput", "The input is not valid: a start type needs a start name")
	}
	out := &recordSetsOutput{MaxItems: most}
	for _, record := range zone.Records {
		switch {
		case from.Name != "" && compareRecords(record, from) < 0:
		case len(out.Records) == most:
			if !out.Truncated {
				out.Truncated, out.NextName, out.NextType = true, wireName(record.Name), record.Type
			}
		default:
			out.Records = append(out.Records, record.xml())
		}
	}
	return out, nil
}
