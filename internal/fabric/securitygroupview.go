package fabric

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type createGroupInput struct {
	Description string             `q:"GroupDescription,required"`
	Name        string             `q:"GroupName,required"`
	VPCID       string             `q:"VpcId"`
	Tags        []tagSpecification `q:"TagSpecification"`
}

type createGroupOutput struct {
	ID   string      `xml:"groupId"`
	Tags set[tagXML] `xml:"tagSet"`
	ARN  string      `xml:"securityGroupArn"`
}

// groupText is what names and descriptions of security groups may hold.
var groupText = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}$`)

func createSecurityGroup(c *call, in *createGroupInput) (*createGroupOutput, error) {
	if in.VPCID == "" {
		for vpc := range inOrder(c.s.VPCs) {
			if vpc.Default && vpc.AccountID == c.account && vpc.Region == c.region {
				in.VPCID = vpc.ID
			}
		}
		if in.VPCID == "" {
			return nil, fail("VPCIdNotSpecified", "No default VPC for this user")
		}
	}
	vpc, err := c.ownVPC(in.VPCID)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"groupName": in.Name, "groupDescription": in.Description} {
		if !groupText.MatchString(value) {
			return nil, fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Character sets beyond ASCII are not supported.", value, name)
		}
	}
	if len(in.Name) > 3 && in.Name[:3] == "sg-" || in.Name == "default" {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter groupName is invalid. The name is reserved.", in.Name)
	}
	for _, other := range c.s.SecurityGroups {
		if other.VPCID == vpc.ID && other.Name == in.Name {
			return nil, fail("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", in.Name, vpc.ID)
		}
	}
	group := c.s.newGroup(vpc, in.Name, in.Description)
	if err := c.tagNew(group.ID, in.Tags); err != nil {
		return nil, err
	}
	return &createGroupOutput{group.ID, c.s.tagsOf(group.ID), group.arn()}, nil
}

type deleteGroupInput struct {
	ID   string `q:"GroupId"`
	Name string `q:"GroupName"`
}

type deleteGroupOutput struct {
	Return bool   `xml:"return"`
	ID     string `xml:"groupId"`
}

func deleteSecurityGroup(c *call, in *deleteGroupInput) (*deleteGroupOutput, error) {
	group, err := c.target(&rulesInput{GroupID: in.ID, GroupName: in.Name})
	if err != nil {
		return nil, err
	}
	if group.Name == "default" {
		return nil, fail("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", group.ID)
	}
	inUse := false
	for _, nic := range c.s.NetworkInterfaces {
		inUse = inUse || slices.Contains(nic.GroupIDs, group.ID)
	}
	for _, endpoint := range c.s.endpointsIn(group.VPCID) {
		inUse = inUse || slices.Contains(endpoint.GroupIDs, group.ID)
	}
	for _, other := range c.s.SecurityGroups {
		inUse = inUse || other != group && slices.ContainsFunc(other.Rules, func(r Rule) bool { return r.GroupID == group.ID })
	}
	if inUse {
		return nil, fail("DependencyViolation", "resource %s has a dependent object", group.ID)
	}
	c.s.deleteGroup(group)
	return &deleteGroupOutput{true, group.ID}, nil
}

// groupXML is a security group on the wire, with its rules gathered by protocol and ports.
type groupXML struct {
	ID          string                  `xml:"groupId"`
	Egress      set[permissionGroupXML] `xml:"ipPermissionsEgress"`
	Tags        set[tagXML]             `xml:"tagSet"`
	VPCID       string                  `xml:"vpcId"`
	ARN         string                  `xml:"securityGroupArn"`
	Owner       string                  `xml:"ownerId"`
	Name        string                  `xml:"groupName"`
	Description string                  `xml:"groupDescription"`
	Ingress     set[permissionGroupXML] `xml:"ipPermissions"`
}

type permissionGroupXML struct {
	Protocol string          `xml:"ipProtocol"`
	FromPort *int            `xml:"fromPort"`
	ToPort   *int            `xml:"toPort"`
	Groups   set[groupPeer]  `xml:"groups"`
	Ranges   set[rangePeer]  `xml:"ipRanges"`
	Ranges6  set[rangePeer6] `xml:"ipv6Ranges"`
	Prefixes set[string]     `xml:"prefixListIds"`
}

func gathered(group *SecurityGroup, egress bool) set[permissionGroupXML] {
	var out []permissionGroupXML
	index := map[string]int{}
	for _, rule := range group.Rules {
		if rule.Egress != egress {
			continue
		}
		key := fmt.Sprint(rule.Protocol, rule.FromPort, rule.ToPort)
		i, known := index[key]
		if !known {
			i = len(out)
			index[key] = i
			permission := permissionGroupXML{Protocol: rule.Protocol}
			if rule.Protocol != "-1" {
				permission.FromPort, permission.ToPort = &rule.FromPort, &rule.ToPort
			}
			out = append(out, permission)
		}
		switch {
		case rule.GroupID != "":
			out[i].Groups.Items = append(out[i].Groups.Items, groupPeer{Description: rule.Description, UserID: group.AccountID, ID: rule.GroupID})
		case rule.CIDR.Addr().Is6():
			out[i].Ranges6.Items = append(out[i].Ranges6.Items, rangePeer6{rule.Description, rule.CIDR.String()})
		default:
			out[i].Ranges.Items = append(out[i].Ranges.Items, rangePeer{rule.Description, rule.CIDR.String()})
		}
	}
	return setOf(out)
}

type describeGroupsInput struct {
	IDs     []string    `q:"GroupId"`
	Names   []string    `q:"GroupName"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeGroupsOutput struct {
	Groups    set[groupXML] `xml:"securityGroupInfo"`
	NextToken string        `xml:"nextToken,omitempty"`
}

var groupFilters = filters[*SecurityGroup]{
	"group-id":    one((*SecurityGroup).id),
	"group-name":  one(func(g *SecurityGroup) string { return g.Name }),
	"description": one(func(g *SecurityGroup) string { return g.Description }),
	"vpc-id":      one(func(g *SecurityGroup) string { return g.VPCID }),
	"owner-id":    one(func(g *SecurityGroup) string { return g.AccountID }),
}

func describeSecurityGroups(c *call, in *describeGroupsInput) (*describeGroupsOutput, error) {
	for _, id := range in.IDs {
		if _, err := c.ownGroup(id); err != nil {
			return nil, err
		}
	}
	var groups []*SecurityGroup
	for group := range inOrder(c.s.SecurityGroups) {
		if group.AccountID == c.account && group.Region == c.region && (len(in.IDs) == 0 || slices.Contains(in.IDs, group.ID)) &&
			(len(in.Names) == 0 || slices.Contains(in.Names, group.Name) && c.s.VPCs[group.VPCID].Default) {
			groups = append(groups, group)
		}
	}
	for _, name := range in.Names {
		if !slices.ContainsFunc(groups, func(g *SecurityGroup) bool { return g.Name == name }) {
			return nil, fail("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", name)
		}
	}
	groups, err := selected(c, groups, in.Filters, groupFilters, (*SecurityGroup).id)
	if err != nil {
		return nil, err
	}
	groups, next, err := page(in.paging, groups, (*SecurityGroup).id)
	if err != nil {
		return nil, err
	}
	out := &describeGroupsOutput{NextToken: next}
	for _, group := range groups {
		out.Groups.Items = append(out.Groups.Items, groupXML{
			ID: group.ID, Egress: gathered(group, true), Tags: c.s.tagsOf(group.ID), VPCID: group.VPCID, ARN: group.arn(),
			Owner: group.AccountID, Name: group.Name, Description: group.Description, Ingress: gathered(group, false),
		})
	}
	return out, nil
}

type describeRulesInput struct {
	IDs     []string    `q:"SecurityGroupRuleId"`
	Filters []ec2Filter `q:"Filter"`
	paging
}

type describeRulesOutput struct {
	Rules     set[ruleXML] `xml:"securityGroupRuleSet"`
	NextToken string       `xml:"nextToken,omitempty"`
}

func describeSecurityGroupRules(c *call, in *describeRulesInput) (*describeRulesOutput, error) {
	var rules []ruleXML
	for group := range inOrder(c.s.SecurityGroups) {
		if group.AccountID != c.account || group.Region != c.region {
			continue
		}
		for _, rule := range group.Rules {
			if len(in.IDs) == 0 || slices.Contains(in.IDs, rule.ID) {
				rules = append(rules, c.ruleXML(group, rule))
			}
		}
	}
	id := func(r ruleXML) string { return r.ID }
	for _, wanted := range in.IDs {
		if !slices.ContainsFunc(rules, func(r ruleXML) bool { return r.ID == wanted }) {
			return nil, fail("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", wanted)
		}
	}
	slices.SortFunc(rules, func(a, b ruleXML) int { return strings.Compare(a.ID, b.ID) })
	rules, err := selected(c, rules, in.Filters, filters[ruleXML]{
		"group-id":               one(func(r ruleXML) string { return r.GroupID }),
		"security-group-rule-id": one(id),
	}, id)
	if err != nil {
		return nil, err
	}
	rules, next, err := page(in.paging, rules, id)
	return &describeRulesOutput{setOf(rules), next}, err
}
