package fabric

import (
	"maps"
	"slices"
	"strings"
)

// mostTags is how many tags a resource may have.
const mostTags = 50

// tagXML is a tag in the answers of EC2.
type tagXML struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// ec2Tag is a tag in the requests of EC2.
type ec2Tag struct {
	Key   string  `q:"Key"`
	Value *string `q:"Value"` // nil in DeleteTags: whatever the value is
}

// tagSpecification gives tags to what a create action makes.
type tagSpecification struct {
	ResourceType string   `q:"ResourceType"`
	Tags         []ec2Tag `q:"Tag"`
}

// ec2Resources is the resource type behind each prefix of an id. Security groups' ids start like their rules' do, so
// the text up to the last hyphen counts.
var ec2Resources = map[string]string{
	"vpc": "vpc", "subnet": "subnet", "sg": "security-group", "sgr": "security-group-rule", "eni": "network-interface",
	"vpce": "vpc-endpoint", "vpce-svc": "vpc-endpoint-service",
}

func ec2ResourceType(id string) string {
	end := strings.LastIndex(id, "-")
	if end < 0 {
		return ""
	}
	return ec2Resources[id[:end]]
}

// tagNew gives a new resource the tags of a create action.
func (c *call) tagNew(id string, specifications []tagSpecification) error {
	for _, specification := range specifications {
		if kind := ec2ResourceType(id); specification.ResourceType != kind {
			return fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", specification.ResourceType)
		}
		if err := c.setTags(id, specification.Tags); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) setTags(id string, tags []ec2Tag) error {
	for _, tag := range tags {
		switch {
		case tag.Key == "":
			return fail("InvalidParameterValue", "Tag keys must not be empty.")
		case len(tag.Key) > 127 || tag.Value != nil && len(*tag.Value) > 255:
			return fail("InvalidParameterValue", "Tag keys have at most 127 characters and values at most 255.")
		case strings.HasPrefix(tag.Key, "aws:"):
			return fail("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
		if c.s.Tags[id] == nil {
			c.s.Tags[id] = map[string]string{}
		}
		var value string
		if tag.Value != nil {
			value = *tag.Value
		}
		c.s.Tags[id][tag.Key] = value
	}
	if len(c.s.Tags[id]) > mostTags {
		return fail("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return nil
}

// tagsOf lists a resource's tags by key.
func (s *State) tagsOf(id string) set[tagXML] {
	var tags []tagXML
	for _, key := range slices.Sorted(maps.Keys(s.Tags[id])) {
		tags = append(tags, tagXML{key, s.Tags[id][key]})
	}
	return setOf(tags)
}

// ownerOf says whose an EC2 resource is and where; false when there is none with that id.
func (s *State) ownerOf(id string) (account, region string, found bool) {
	if v := s.VPCs[id]; v != nil {
		return v.AccountID, v.Region, true
	}
	if v := s.Subnets[id]; v != nil {
		return v.AccountID, v.Region, true
	}
	if v := s.SecurityGroups[id]; v != nil {
		return v.AccountID, v.Region, true
	}
	if v := s.NetworkInterfaces[id]; v != nil {
		return v.AccountID, v.Region, true
	}
	if v := s.Services[id]; v != nil {
		return v.AccountID, v.Region, true
	}
	if v := s.Endpoints[id]; v != nil && v.State != EndpointDeleted {
		return v.AccountID, v.Region, true
	}
	for _, group := range s.SecurityGroups {
		for _, rule := range group.Rules {
			if rule.ID == id {
				return group.AccountID, group.Region, true
			}
		}
	}
	return "", "", false
}

type tagsInput struct {
	ResourceIDs []string `q:"ResourceId,required"`
	Tags        []ec2Tag `q:"Tag"`
}

// taggable checks that every id names something of the caller's.
func (c *call) taggable(ids []string) error {
	for _, id := range ids {
		if account, region, found := c.s.ownerOf(id); !found || account != c.account || region != c.region {
			if ec2ResourceType(id) == "" {
				return fail("InvalidID", "The ID '%s' is not valid", id)
			}
			return fail("InvalidID.NotFound", "The ID '%s' does not exist", id)
		}
	}
	return nil
}

func createTags(c *call, in *tagsInput) (*returned, error) {
	if len(in.Tags) == 0 {
		return nil, ec2Dialect.missing("Tag")
	}
	if err := c.taggable(in.ResourceIDs); err != nil {
		return nil, err
	}
	for _, id := range in.ResourceIDs {
		if err := c.setTags(id, in.Tags); err != nil {
			return nil, err
		}
	}
	return done, nil
}

func deleteTags(c *call, in *tagsInput) (*returned, error) {
	if err := c.taggable(in.ResourceIDs); err != nil {
		return nil, err
	}
	for _, id := range in.ResourceIDs {
		if len(in.Tags) == 0 {
			delete(c.s.Tags, id)
		}
		for _, tag := range in.Tags {
			if tag.Value == nil || c.s.Tags[id][tag.Key] == *tag.Value {
				delete(c.s.Tags[id], tag.Key)
			}
		}
	}
	return done, nil
}

type describedTag struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

func (t describedTag) id() string { return t.ResourceID + "/" + t.Key }

type describeTagsInput struct {
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeTagsOutput struct {
	Tags      set[describedTag] `xml:"tagSet"`
	NextToken string            `xml:"nextToken,omitempty"`
}

var describedTagFilters = filters[describedTag]{
	"resource-id":   one(func(t describedTag) string { return t.ResourceID }),
	"resource-type": one(func(t describedTag) string { return t.ResourceType }),
	"key":           one(func(t describedTag) string { return t.Key }),
	"value":         one(func(t describedTag) string { return t.Value }),
}

func describeTags(c *call, in *describeTagsInput) (*describeTagsOutput, error) {
	var tags []describedTag
	for _, id := range slices.Sorted(maps.Keys(c.s.Tags)) {
		if account, region, found := c.s.ownerOf(id); !found || account != c.account || region != c.region {
			continue
		}
		for _, tag := range c.s.tagsOf(id).Items {
			tags = append(tags, describedTag{id, ec2ResourceType(id), tag.Key, tag.Value})
		}
	}
	tags, err := selected(c, tags, in.Filters, describedTagFilters, nil)
	if err != nil {
		return nil, err
	}
	tags, next, err := page(in.paging, tags, describedTag.id)
	if err != nil {
		return nil, err
	}
	return &describeTagsOutput{setOf(tags), next}, nil
}
