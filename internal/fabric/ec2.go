package fabric

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

// ec2Service is EC2 (API version 2016-11-15).
var ec2Service = service{
	regional:    true,
	noSignature: errMissingToken,
	badSignature: func(reason string) *apiError {
		return failWith(http.StatusUnauthorized, "AuthFailure", "%s", reason)
	},
	unknownKey: errAuthFailure,
	wrong:      errAuthFailure,
	expired:    func(string) *apiError { return fail("RequestExpired", "Request has expired.") },
	wrongRegion: func(string) *apiError {
		return failWith(http.StatusUnauthorized, "AuthFailure", "Credential should be scoped to a valid region.")
	},
	fault: func(e *apiError, requestID string) []byte {
		return fmt.Appendf(nil, "<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>",
			escaped(e.Code), escaped(e.Message), requestID)
	},
}

var errAuthFailure = failWith(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")

var ec2Query = queryService{
	version: "2016-11-15",
	unknown: func(action, version string) *apiError {
		return fail("InvalidAction", "The action %s is not valid for this web service.", action)
	},
	wrap: func(action, requestID string, fields []byte) string {
		return fmt.Sprintf("<%[1]sResponse xmlns=%[2]q><requestId>%[3]s</requestId>%[4]s</%[1]sResponse>", action, ec2Namespace, requestID, fields)
	},
}

func init() {
	// Tables that lead back to functions that look at the services: filled here, or they would be an
	// initialization cycle.
	ec2Query.actions = ec2Actions
	ec2Service.serve = ec2Query.serveQuery
	elbQuery.actions = elbActions
	elbService.serve = elbQuery.serveQuery
	stsQuery.actions = stsActions
	stsService.serve = stsQuery.serveQuery
	route53Service.serve = serveRoute53
}

// ec2Actions is what EC2 can do here.
var ec2Actions = map[string]operation{
	"CreateVpc":            writes(createVPC),
	"DescribeVpcs":         reads(describeVPCs),
	"DeleteVpc":            writes(deleteVPC),
	"DescribeVpcAttribute": reads(describeVPCAttribute),
	"ModifyVpcAttribute":   writes(modifyVPCAttribute),

	"CreateSubnet":    writes(createSubnet),
	"DescribeSubnets": reads(describeSubnets),
	"DeleteSubnet":    writes(deleteSubnet),

	"CreateSecurityGroup":           writes(createSecurityGroup),
	"DescribeSecurityGroups":        reads(describeSecurityGroups),
	"DescribeSecurityGroupRules":    reads(describeSecurityGroupRules),
	"DeleteSecurityGroup":           writes(deleteSecurityGroup),
	"AuthorizeSecurityGroupIngress": writes(authorizeIngress),
	"AuthorizeSecurityGroupEgress":  writes(authorizeEgress),
	"RevokeSecurityGroupIngress":    writes(revokeIngress),
	"RevokeSecurityGroupEgress":     writes(revokeEgress),

	"DescribeNetworkInterfaces": reads(describeNetworkInterfaces),
	"DescribeAvailabilityZones": reads(describeAvailabilityZones),
	"DescribeRegions":           reads(describeRegions),
	"DescribeAccountAttributes": reads(describeAccountAttributes),

	"DescribeNetworkAcls": reads(describeNetworkACLs),
	"DescribeRouteTables": reads(describeRouteTables),
	"DescribePrefixLists": reads(describePrefixLists),

	"CreateTags":   writes(createTags),
	"DescribeTags": reads(describeTags),
	"DeleteTags":   writes(deleteTags),

	"CreateVpcEndpointServiceConfiguration":         writes(createService),
	"ModifyVpcEndpointServiceConfiguration":         writes(modifyService),
	"DescribeVpcEndpointServiceConfigurations":      reads(describeServiceConfigurations),
	"DeleteVpcEndpointServiceConfigurations":        writes(deleteServices),
	"ModifyVpcEndpointServicePermissions":           writes(modifyPermissions),
	"DescribeVpcEndpointServicePermissions":         reads(describePermissions),
	"StartVpcEndpointServicePrivateDnsVerification": writes(startVerification),
	"DescribeVpcEndpointConnections":                reads(describeConnections),
	"AcceptVpcEndpointConnections":                  writes(acceptConnections),
	"RejectVpcEndpointConnections":                  writes(rejectConnections),

	"DescribeVpcEndpointServices": reads(describeServices),
	"CreateVpcEndpoint":           writes(createEndpoint),
	"ModifyVpcEndpoint":           writes(modifyEndpoint),
	"DescribeVpcEndpoints":        reads(describeEndpoints),
	"DeleteVpcEndpoints":          writes(deleteEndpoints),
}

// set is a list on the wire of EC2. Empty ones are written too, as clients tell an empty list from none.
type set[T any] struct {
	Items []T `xml:"item"`
}

func setOf[T any](items []T) set[T] { return set[T]{Items: items} }

// returned is the output of actions that only say that they were done.
type returned struct {
	Return bool `xml:"return"`
}

var done = &returned{Return: true}

// ec2Time writes a time as EC2 does, in milliseconds.
func ec2Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// idPattern is what EC2 ids look like: 8 or 17 hexadecimal digits behind their prefix.
var idPattern = regexp.MustCompile(`^[a-z-]+-([0-9a-f]{8}|[0-9a-f]{17})$`)

func wellFormed(prefix, id string) bool {
	return strings.HasPrefix(id, prefix+"-") && idPattern.MatchString(id) && !strings.Contains(id[len(prefix)+1:], "-")
}

// owned finds what belongs to the caller in the call's region.
func owned[V any](c *call, table map[string]V, id string, home func(V) (account, region string)) (V, bool) {
	value, found := table[id]
	if found {
		account, region := home(value)
		found = account == c.account && region == c.region
	}
	if !found {
		var zero V
		return zero, false
	}
	return value, true
}

// ec2Filter is a filter of a Describe action.
type ec2Filter struct {
	Name   string   `q:"Name,required"`
	Values []string `q:"Value"`
}

// filters says which values of a resource each filter name looks at.
type filters[T any] map[string]func(T) []string

// one makes a filter function of a single value.
func one[T any](value func(T) string) func(T) []string {
	return func(t T) []string { return []string{value(t)} }
}

// selected keeps the resources that match every filter, in one of its values each. Values may hold * and ?. The tag
// filters look at the tags of id(resource).
func selected[T any](c *call, resources []T, given []ec2Filter, known filters[T], id func(T) string) ([]T, error) {
	for _, filter := range given {
		look := known[filter.Name]
		if look == nil && id != nil {
			look = tagFilter(c, filter.Name, id)
		}
		if look == nil {
			return nil, fail("InvalidParameterValue", "The filter '%s' is invalid", filter.Name)
		}
		resources = slices.DeleteFunc(slices.Clone(resources), func(resource T) bool {
			return !slices.ContainsFunc(look(resource), func(value string) bool {
				return slices.ContainsFunc(filter.Values, func(pattern string) bool { return wildcardMatch(pattern, value) })
			})
		})
	}
	return resources, nil
}

func tagFilter[T any](c *call, name string, id func(T) string) func(T) []string {
	if name == "tag-key" {
		return func(t T) []string {
			var keys []string
			for key := range c.s.Tags[id(t)] {
				keys = append(keys, key)
			}
			return keys
		}
	}
	key, isTag := strings.CutPrefix(name, "tag:")
	if !isTag {
		return nil
	}
	return func(t T) []string {
		value, tagged := c.s.Tags[id(t)][key]
		if !tagged {
			return nil
		}
		return []string{value}
	}
}

// wildcardMatch matches a filter's value: * stands for any characters, ? for one, and a backslash takes the next
// character as it is.
func wildcardMatch(pattern, text string) bool {
	if !strings.ContainsAny(pattern, `*?\`) {
		return pattern == text
	}
	var expression strings.Builder
	expression.WriteString("^(?s:")
	escape := false
	for _, r := range pattern {
		switch {
		case escape:
			expression.WriteString(regexp.QuoteMeta(string(r)))
			escape = false
		case r == '\\':
			escape = true
		case r == '*':
			expression.WriteString(".*")
		case r == '?':
			expression.WriteString(".")
		default:
			expression.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	expression.WriteString(")$")
	matcher, err := regexp.Compile(expression.String())
	return err == nil && matcher.MatchString(text)
}

// paging is the part of an input that asks for pages.
type paging struct {
	MaxResults *int   `q:"MaxResults"`
	NextToken  string `q:"NextToken"`
}

// page cuts one page out of resources that are sorted by id. The token names the last one that was seen, so that
// resources made or deleted in between neither repeat nor hide others.
func page[T any](p paging, resources []T, id func(T) string) ([]T, string, error) {
	size := 1000
	if p.MaxResults != nil {
		switch size = *p.MaxResults; {
		case size < 5:
			return nil, "", fail("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than 5.", size)
		case size > 1000:
			return nil, "", fail("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value less than or equal to 1000.", size)
		}
	}
	if p.NextToken != "" {
		raw, err := base64.RawURLEncoding.DecodeString(p.NextToken)
		last, ours := strings.CutPrefix(string(raw), "after ")
		if err != nil || !ours {
			return nil, "", fail("InvalidNextToken", "The token '%s' is invalid", p.NextToken)
		}
		for len(resources) > 0 && id(resources[0]) <= last {
			resources = resources[1:]
		}
	}
	if len(resources) <= size {
		return resources, "", nil
	}
	resources = resources[:size]
	return resources, base64.RawURLEncoding.EncodeToString([]byte("after " + id(resources[size-1]))), nil
}
