package link

import (
	"fmt"
	"strings"
	"time"
)

// EgressType says what an egress private endpoint leads to.
type EgressType string

// PrivateService is an endpoint service that the customer publishes. It is the only type as yet; the REST API knows
// others, for managed services of a cloud.
const PrivateService EgressType = "PRIVATE_SERVICE"

// NamesState is how the domain names of an egress private endpoint stand. The zero value: it has none.
type NamesState string

// The states of domain names.
const (
	NamesPending   NamesState = "PENDING"
	NamesAvailable NamesState = "AVAILABLE" // the vendor's network answers them with the endpoint's addresses
	NamesFailed    NamesState = "FAILED"
)

// EgressLife is how long an egress private endpoint may wait for the customer. Clouds forget requests after that time too:
// https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html.
const EgressLife = 7 * 24 * time.Hour

// Egress is an egress private endpoint: the vendor's endpoint, in the network of one region, to a service of the customer
// whose cluster asked for it. EndpointID and Address are empty while the cloud has none.
type Egress struct {
	ID          ID
	ClusterID   ID
	Provider    Provider
	Region      string
	Target      string // the service's name at the cloud
	TargetType  EgressType
	EndpointID  EndpointID
	Address     string // DNS name of the endpoint inside the vendor's network
	State       State
	Want        Want     // WantConnected or WantGone
	DomainNames []string // by which the vendor's network is to reach the endpoint; sorted, lower case, "*." at most in front
	MadeNames   []string // that may stand at the cloud, wanted or not: what has to be cleaned up
	NamesState  NamesState
	Conditions  []Condition
	RequestedAt time.Time // since when it waits for the customer: it expires EgressLife later
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     int64 // grows with every write; results are written by compare-and-swap on it
}

// ParseEgressTarget reads the name of a customer's endpoint service in a region:
// com.amazonaws.vpce.<region>.vpce-svc-<17 hexadecimal digits>. Names of the cloud's own services are refused: an egress
// endpoint leads to what a customer published and to nothing else. Errors are of kind Invalid.
func ParseEgressTarget(p Provider, region, s string) (string, error) {
	fail := func(reason, message, hint string) (string, error) {
		return "", &Error{Kind: Invalid, Reason: reason, Field: "target_service_identifier", Message: message, Hint: hint}
	}
	if p != AWS {
		return fail("PROVIDER_NOT_SUPPORTED", "egress endpoints of provider "+Quote(string(p))+" are not supported yet", "use a cluster on AWS")
	}
	hint := fmt.Sprintf("it looks like com.amazonaws.vpce.%s.vpce-svc-0a1b2c3d4e5f60718; "+
		`"aws ec2 describe-vpc-endpoint-service-configurations" shows yours as ServiceName`, region)
	rest, ok := strings.CutPrefix(s, "com.amazonaws.vpce.")
	in, id, found := strings.Cut(rest, ".")
	if !ok || !found {
		return fail("MALFORMED_SERVICE_NAME", "not the name of an endpoint service: "+Quote(s), hint)
	}
	hex, ok := strings.CutPrefix(id, "vpce-svc-")
	ok = ok && (len(hex) == 17 || len(hex) == 8)
	for i := 0; ok && i < len(hex); i++ {
		ok = isLowerHex(hex[i])
	}
	if !ok {
		return fail("MALFORMED_SERVICE_NAME", "not the name of an endpoint service: "+Quote(s), hint)
	}
	if in != region {
		return fail("SERVICE_IN_OTHER_REGION", fmt.Sprintf("the service is in region %s, the endpoint would be in %s", Quote(in), region),
			"publish the service in "+region+", or ask for the endpoint in the service's region")
	}
	return s, nil
}

// EgressServiceID is the id in the name of an endpoint service: vpce-svc-….
func EgressServiceID(target string) string { return target[strings.LastIndexByte(target, '.')+1:] }

// AccountPrincipal names an AWS account to those who may allow it something. The zero account is nobody.
func AccountPrincipal(region, account string) string {
	partition := "aws"
	switch {
	case account == "":
		return ""
	case strings.HasPrefix(region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return "arn:" + partition + ":iam::" + account + ":root"
}

// ParseDomainName reads a host name of at least two labels, in any case and with or without its final dot; "*." may stand
// in front for all names below. It returns it in lower case without the final dot. field names the input in the error,
// which is of kind Invalid.
func ParseDomainName(field, s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	host := strings.TrimPrefix(name, "*.")
	ok := len(name) <= 253 && strings.Contains(host, ".")
	letters := false // in the last label: without one it would be an address
	for label := range strings.SplitSeq(host, ".") {
		ok = ok && label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		letters = false
		for _, c := range []byte(label) {
			letters = letters || c >= 'a' && c <= 'z'
			ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
		}
	}
	if !ok || !letters {
		return "", &Error{
			Kind: Invalid, Reason: "MALFORMED_DOMAIN_NAME", Field: field, Message: "not a domain name: " + Quote(s),
			Hint: "for example kafka.acme.example, or *.acme.example for every name below",
		}
	}
	return name, nil
}

// NameZone is the domain that a name takes for itself, with everything below: the name without the star in front.
func NameZone(name string) string { return strings.TrimPrefix(name, "*.") }

// Below tells whether name is domain or stands below it. Both are in lower case without a final dot.
func Below(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }
