package fabric

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const elbNamespace = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"

// elbService is Elastic Load Balancing (API version 2015-12-01), of which network load balancers are served.
var elbService = service{
	regional:     true,
	noSignature:  errMissingToken,
	badSignature: incompleteSignature,
	unknownKey:   errUnknownToken,
	wrong:        errWrongToken,
	expired:      expiredSignature,
	wrongRegion:  wrongScope,
	fault:        errorEnvelope(elbNamespace),
}

var elbQuery = queryService{
	version: "2015-12-01",
	unknown: unknownAction,
	wrap:    resultEnvelope(elbNamespace),
}

func unknownAction(action, version string) *apiError {
	return fail("InvalidAction", "Could not find operation %s for version %s", action, version)
}

// elbActions is what Elastic Load Balancing can do here.
var elbActions = map[string]operation{
	"CreateLoadBalancer":             writes(createLoadBalancer),
	"DescribeLoadBalancers":          reads(describeLoadBalancers),
	"DeleteLoadBalancer":             writes(deleteLoadBalancer),
	"DescribeLoadBalancerAttributes": reads(describeLoadBalancerAttributes),
	"ModifyLoadBalancerAttributes":   writes(modifyLoadBalancerAttributes),
	"SetSubnets":                     writes(setSubnets),
	"DescribeCapacityReservation":    reads(describeCapacityReservation),

	"CreateTargetGroup":             writes(createTargetGroup),
	"DescribeTargetGroups":          reads(describeTargetGroups),
	"ModifyTargetGroup":             writes(modifyTargetGroup),
	"DeleteTargetGroup":             writes(deleteTargetGroup),
	"DescribeTargetGroupAttributes": reads(describeTargetGroupAttributes),
	"ModifyTargetGroupAttributes":   writes(modifyTargetGroupAttributes),
	"RegisterTargets":               writes(registerTargets),
	"DeregisterTargets":             writes(deregisterTargets),
	"DescribeTargetHealth":          reads(describeTargetHealth),

	"CreateListener":             writes(createListener),
	"DescribeListeners":          reads(describeListeners),
	"ModifyListener":             writes(modifyListener),
	"DeleteListener":             writes(deleteListener),
	"DescribeListenerAttributes": reads(describeListenerAttributes),
	"ModifyListenerAttributes":   writes(modifyListenerAttributes),

	"AddTags":      writes(addELBTags),
	"RemoveTags":   writes(removeELBTags),
	"DescribeTags": reads(describeELBTags),
}

// members is a list on the wire of Elastic Load Balancing.
type members[T any] struct {
	Items []T `xml:"member"`
}

func membersOf[T any](items []T) members[T] { return members[T]{Items: items} }

// elbNamePattern is what load balancers and target groups may be called.
var elbNamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$`)

func checkELBName(kind, name string) error {
	if !elbNamePattern.MatchString(name) || kind == "load balancer" && strings.HasPrefix(name, "internal-") {
		return fail("ValidationError", "The %s name '%s' must have at most 32 alphanumeric characters and hyphens, with no hyphen at either end", kind, name)
	}
	return nil
}

func (c *call) arn(rest string) string {
	return "arn:aws:elasticloadbalancing:" + c.region + ":" + c.account + ":" + rest
}

type attributePair struct {
	Key   string `q:"Key,required" xml:"Key"`
	Value string `q:"Value" xml:"Value"`
}

type attributesOutput struct {
	Attributes members[attributePair] `xml:"Attributes"`
}

func attributesOf(attributes map[string]string) *attributesOutput {
	out := &attributesOutput{}
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		out.Attributes.Items = append(out.Attributes.Items, attributePair{key, attributes[key]})
	}
	return out
}

// setAttributes changes attributes that the resource has; allowed says what values a key takes, anything when absent.
func setAttributes(attributes map[string]string, changes []attributePair, allowed map[string]*regexp.Regexp) error {
	for _, change := range changes {
		if _, known := attributes[change.Key]; !known {
			return fail("ValidationError", "The attribute key '%s' is not recognized", change.Key)
		}
		pattern := allowed[change.Key]
		if pattern == nil && strings.HasSuffix(change.Key, ".enabled") {
			pattern = trueOrFalse
		}
		if pattern != nil && !pattern.MatchString(change.Value) {
			return fail("ValidationError", "The attribute value '%s' is not valid for '%s'", change.Value, change.Key)
		}
		attributes[change.Key] = change.Value
	}
	return nil
}

var (
	trueOrFalse = regexp.MustCompile(`^(true|false)$`)
	wholeNumber = regexp.MustCompile(`^[0-9]{1,5}$`)
)

// marking is the part of an input that asks for pages.
type marking struct {
	Marker   string `q:"Marker"`
	PageSize *int   `q:"PageSize"`
}

// marked cuts one page out of resources that are sorted by ARN.
func marked[T any](m marking, resources []T, arn func(T) string) ([]T, string, error) {
	size := 400
	if m.PageSize != nil {
		if size = *m.PageSize; size < 1 || size > 400 {
			return nil, "", fail("ValidationError", "PageSize must be between 1 and 400")
		}
	}
	if m.Marker != "" {
		raw, err := base64.RawURLEncoding.DecodeString(m.Marker)
		last, ours := strings.CutPrefix(string(raw), "after ")
		if err != nil || !ours {
			return nil, "", fail("ValidationError", "The marker '%s' is not valid", m.Marker)
		}
		for len(resources) > 0 && arn(resources[0]) <= last {
			resources = resources[1:]
		}
	}
	if len(resources) <= size {
		return resources, "", nil
	}
	resources = resources[:size]
	return resources, base64.RawURLEncoding.EncodeToString([]byte("after " + arn(resources[size-1]))), nil
}

// elbTag is a tag in requests and answers.
type elbTag struct {
	Key   string `q:"Key,required" xml:"Key"`
	Value string `q:"Value" xml:"Value"`
}

// tagELB gives tags to a resource.
func (c *call) tagELB(arn string, tags []elbTag) error {
	for _, tag := range tags {
		if err := c.setTags(arn, []ec2Tag{{Key: tag.Key, Value: &tag.Value}}); err != nil {
			return fail("ValidationError", "The tag '%s' is not valid or one too many", tag.Key)
		}
	}
	return nil
}

type elbTagsInput struct {
	ARNs []string `q:"ResourceArns,required"`
	Tags []elbTag `q:"Tags"`
	Keys []string `q:"TagKeys"`
}

// ownELB checks that every ARN names something of the caller's.
func (c *call) ownELB(arns []string) error {
	for _, arn := range arns {
		var err error
		switch {
		case strings.Contains(arn, ":loadbalancer/"):
			_, err = c.ownLoadBalancer(arn)
		case strings.Contains(arn, ":targetgroup/"):
			_, err = c.ownTargetGroup(arn)
		case strings.Contains(arn, ":listener/"):
			_, err = c.ownListener(arn)
		default:
			err = fail("ValidationError", "'%s' is not a valid ARN of a load balancer, target group or listener", arn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func addELBTags(c *call, in *elbTagsInput) (*none, error) {
	if err := c.ownELB(in.ARNs); err != nil {
		return nil, err
	}
	for _, arn := range in.ARNs {
		if err := c.tagELB(arn, in.Tags); err != nil {
			return nil, err
		}
	}
	return &none{}, nil
}

func removeELBTags(c *call, in *elbTagsInput) (*none, error) {
	if err := c.ownELB(in.ARNs); err != nil {
		return nil, err
	}
	for _, arn := range in.ARNs {
		for _, key := range in.Keys {
			delete(c.s.Tags[arn], key)
		}
	}
	return &none{}, nil
}

type tagDescription struct {
	ARN  string          `xml:"ResourceArn"`
	Tags members[elbTag] `xml:"Tags"`
}

type describeELBTagsOutput struct {
	Descriptions members[tagDescription] `xml:"TagDescriptions"`
}

func describeELBTags(c *call, in *elbTagsInput) (*describeELBTagsOutput, error) {
	if err := c.ownELB(in.ARNs); err != nil {
		return nil, err
	}
	out := &describeELBTagsOutput{}
	for _, arn := range in.ARNs {
		description := tagDescription{ARN: arn}
		for _, tag := range c.s.tagsOf(arn).Items {
			description.Tags.Items = append(description.Tags.Items, elbTag(tag))
		}
		out.Descriptions.Items = append(out.Descriptions.Items, description)
	}
	return out, nil
}
