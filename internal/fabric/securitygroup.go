package fabric

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
)

// mostRules is how many rules a group may have in one direction: the default quota.
const mostRules = 60

func (g *SecurityGroup) id() string { return g.ID }

func (g *SecurityGroup) arn() string {
	return "arn:aws:ec2:" + g.Region + ":" + g.AccountID + ":security-group/" + g.ID
}

// ownGroup finds a security group of the caller's.
func (c *call) ownGroup(id string) (*SecurityGroup, error) {
	if !wellFormed("sg", id) {
		return nil, fail("InvalidGroupId.Malformed", "Invalid id: \"%s\" (expecting \"sg-...\")", id)
	}
	group, found := owned(c, c.s.SecurityGroups, id, func(g *SecurityGroup) (string, string) { return g.AccountID, g.Region })
	if !found {
		return nil, fail("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
	}
	return group, nil
}

// groupsIn checks that the groups are the VPC's and returns each once.
func (c *call) groupsIn(vpc *VPC, ids []string) ([]string, error) {
	var groups []string
	for _, id := range ids {
		group, err := c.ownGroup(id)
		if err != nil {
			return nil, err
		}
		if group.VPCID != vpc.ID {
			return nil, fail("InvalidParameter", "The security group %s does not belong to the VPC %s.", id, vpc.ID)
		}
		if !slices.Contains(groups, id) {
			groups = append(groups, id)
		}
	}
	return groups, nil
}

// permissionGroup is a rule's protocol and ports with every peer that it allows, as EC2 groups them on the wire.
type permissionGroup struct {
	Protocol string       `q:"IpProtocol"`
	FromPort *int         `q:"FromPort"`
	ToPort   *int         `q:"ToPort"`
	Groups   []groupPeer  `q:"Groups"`
	Ranges   []rangePeer  `q:"IpRanges"`
	Ranges6  []rangePeer6 `q:"Ipv6Ranges"`
	Prefixes []struct{}   `q:"PrefixListIds"`
}

type groupPeer struct {
	Description string `q:"Description" xml:"description,omitempty"`
	UserID      string `q:"UserId" xml:"userId"`
	ID          string `q:"GroupId" xml:"groupId"`
	Name        string `q:"GroupName" xml:"-"`
	VPCID       string `q:"VpcId" xml:"-"`
}

type rangePeer struct {
	Description string `q:"Description" xml:"description,omitempty"`
	CIDR        string `q:"CidrIp" xml:"cidrIp"`
}

type rangePeer6 struct {
	Description string `q:"Description" xml:"description,omitempty"`
	CIDR        string `q:"CidrIpv6" xml:"cidrIpv6"`
}

// rulesInput is the input of the four actions that add and remove rules. The fields behind Permissions are the older
// way to give a single rule.
type rulesInput struct {
	GroupID     string             `q:"GroupId"`
	GroupName   string             `q:"GroupName"`
	Permissions []permissionGroup  `q:"IpPermissions"`
	RuleIDs     []string           `q:"SecurityGroupRuleId"`
	Protocol    string             `q:"IpProtocol"`
	FromPort    *int               `q:"FromPort"`
	ToPort      *int               `q:"ToPort"`
	CIDR        string             `q:"CidrIp"`
	SourceName  unsupported        `q:"SourceSecurityGroupName"`
	SourceOwner unsupported        `q:"SourceSecurityGroupOwnerId"`
	Tags        []tagSpecification `q:"TagSpecification"`
}

// target finds the group that the rules are for.
func (c *call) target(in *rulesInput) (*SecurityGroup, error) {
	if in.GroupID != "" {
		return c.ownGroup(in.GroupID)
	}
	if in.GroupName == "" {
		return nil, fail("MissingParameter", "The request must contain the parameter groupName or groupId")
	}
	for group := range inOrder(c.s.SecurityGroups) {
		if group.AccountID == c.account && group.Region == c.region && group.Name == in.GroupName && c.s.VPCs[group.VPCID].Default {
			return group, nil
		}
	}
	return nil, fail("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", in.GroupName)
}

// rules expands an input into single rules without ids.
func (c *call) rules(group *SecurityGroup, in *rulesInput, egress bool) ([]Rule, error) {
	permissions := in.Permissions
	if in.Protocol != "" || in.CIDR != "" {
		permissions = append(permissions, permissionGroup{Protocol: in.Protocol, FromPort: in.FromPort, ToPort: in.ToPort, Ranges: []rangePeer{{CIDR: in.CIDR}}})
	}
	var rules []Rule
	for _, permission := range permissions {
		base, err := permission.rule(egress)
		if err != nil {
			return nil, err
		}
		if len(permission.Prefixes) > 0 {
			return nil, fail("UnsupportedOperation", "Rules for prefix lists are not supported here.")
		}
		for _, peer := range permission.Ranges6 {
			rule := base
			rule.Description = peer.Description
			network, err := netip.ParsePrefix(peer.CIDR)
			if err != nil || !network.Addr().Is6() {
				return nil, fail("InvalidParameterValue", "CIDR block %s is malformed", peer.CIDR)
			}
			rule.CIDR = network.Masked()
			rules = append(rules, rule)
		}
		for _, peer := range permission.Ranges {
			rule := base
			rule.Description = peer.Description
			network, err := netip.ParsePrefix(peer.CIDR)
			if err != nil || !network.Addr().Is4() {
				return nil, fail("InvalidParameterValue", "CIDR block %s is malformed", peer.CIDR)
			}
			rule.CIDR = network.Masked() // EC2 takes host bits and drops them
			rules = append(rules, rule)
		}
		for _, peer := range permission.Groups {
			rule := base
			rule.Description, rule.GroupID = peer.Description, peer.ID
			if other, err := c.ownGroup(peer.ID); err != nil {
				return nil, err
			} else if other.VPCID != group.VPCID {
				return nil, fail("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
			}
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

var protocolNumbers = map[string]string{"6": "tcp", "17": "udp", "1": "icmp", "all": "-1"}

var protocolPattern = regexp.MustCompile(`^(-1|tcp|udp|icmp|[0-9]{1,3})$`)

// rule checks protocol and ports.
func (p permissionGroup) rule(egress bool) (Rule, error) {
	protocol := cmp.Or(protocolNumbers[p.Protocol], p.Protocol)
	if protocol == "" {
		return Rule{}, fail("MissingParameter", "The request must contain the parameter ipProtocol")
	}
	if !protocolPattern.MatchString(protocol) {
		return Rule{}, fail("InvalidParameterValue", "Invalid value '%s' for IP protocol. Unknown protocol.", p.Protocol)
	}
	rule := Rule{Egress: egress, Protocol: protocol, FromPort: -1, ToPort: -1}
	if protocol != "tcp" && protocol != "udp" {
		return rule, nil
	}
	if p.FromPort == nil || p.ToPort == nil {
		return Rule{}, fail("InvalidParameterValue", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
	}
	if rule.FromPort, rule.ToPort = *p.FromPort, *p.ToPort; rule.FromPort < 0 || rule.ToPort > 65535 || rule.FromPort > rule.ToPort {
		return Rule{}, fail("InvalidParameterValue", "Invalid TCP/UDP port range (%d:%d)", rule.FromPort, rule.ToPort)
	}
	return rule, nil
}

// same says whether two rules allow the same, whatever their ids and descriptions are.
func (r Rule) same(other Rule) bool {
	other.ID, other.Description = r.ID, r.Description
	return r == other
}

func (r Rule) peer() string {
	if r.GroupID != "" {
		return r.GroupID
	}
	return r.CIDR.String()
}

func (r Rule) String() string {
	ports := "ALL"
	if r.FromPort >= 0 {
		ports = "from port: " + strconv.Itoa(r.FromPort) + ", to port: " + strconv.Itoa(r.ToPort)
	}
	return "peer: " + r.peer() + ", " + r.Protocol + ", " + ports + ", ALLOW"
}

type ruleXML struct {
	ID          string        `xml:"securityGroupRuleId"`
	GroupID     string        `xml:"groupId"`
	GroupOwner  string        `xml:"groupOwnerId"`
	Egress      bool          `xml:"isEgress"`
	Protocol    string        `xml:"ipProtocol"`
	FromPort    int           `xml:"fromPort"`
	ToPort      int           `xml:"toPort"`
	CIDR        string        `xml:"cidrIpv4,omitempty"`
	CIDR6       string        `xml:"cidrIpv6,omitempty"`
	Peer        *groupPeerXML `xml:"referencedGroupInfo"`
	Description string        `xml:"description,omitempty"`
	Tags        set[tagXML]   `xml:"tagSet"`
}

type groupPeerXML struct {
	ID     string `xml:"groupId"`
	UserID string `xml:"userId"`
}

func (c *call) ruleXML(group *SecurityGroup, rule Rule) ruleXML {
	out := ruleXML{
		ID: rule.ID, GroupID: group.ID, GroupOwner: group.AccountID, Egress: rule.Egress, Protocol: rule.Protocol,
		FromPort: rule.FromPort, ToPort: rule.ToPort, Description: rule.Description, Tags: c.s.tagsOf(rule.ID),
	}
	switch {
	case rule.GroupID != "":
		out.Peer = &groupPeerXML{rule.GroupID, group.AccountID}
	case rule.CIDR.Addr().Is6():
		out.CIDR6 = rule.CIDR.String()
	default:
		out.CIDR = rule.CIDR.String()
	}
	return out
}

type rulesOutput struct {
	Return bool         `xml:"return"`
	Rules  set[ruleXML] `xml:"securityGroupRuleSet"`
}

func authorizeIngress(c *call, in *rulesInput) (*rulesOutput, error) { return c.authorize(in, false) }

func authorizeEgress(c *call, in *rulesInput) (*rulesOutput, error) { return c.authorize(in, true) }

func (c *call) authorize(in *rulesInput, egress bool) (*rulesOutput, error) {
	group, err := c.target(in)
	if err != nil {
		return nil, err
	}
	rules, err := c.rules(group, in, egress)
	if err != nil {
		return nil, err
	}
	if len(rules) == 0 {
		return nil, fail("MissingParameter", "The request must contain the parameter ipPermissions")
	}
	out := &rulesOutput{Return: true}
	for _, rule := range rules {
		if slices.ContainsFunc(group.Rules, rule.same) {
			return nil, fail("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", rule)
		}
		rule.ID = c.s.newID("sgr")
		group.Rules = append(group.Rules, rule)
		if err := c.tagNew(rule.ID, in.Tags); err != nil {
			return nil, err
		}
		out.Rules.Items = append(out.Rules.Items, c.ruleXML(group, rule))
	}
	inDirection := 0
	for _, rule := range group.Rules {
		if rule.Egress == egress {
			inDirection++
		}
	}
	if inDirection > mostRules {
		return nil, fail("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	return out, nil
}

func revokeIngress(c *call, in *rulesInput) (*returned, error) { return c.revoke(in, false) }
func revokeEgress(c *call, in *rulesInput) (*returned, error)  { return c.revoke(in, true) }

func (c *call) revoke(in *rulesInput, egress bool) (*returned, error) {
	group, err := c.target(in)
	if err != nil {
		return nil, err
	}
	rules, err := c.rules(group, in, egress)
	if err != nil {
		return nil, err
	}
	if len(rules) == 0 && len(in.RuleIDs) == 0 {
		return nil, fail("MissingParameter", "The request must contain the parameter ipPermissions")
	}
	remove := func(match func(Rule) bool, missing *apiError) error {
		i := slices.IndexFunc(group.Rules, match)
		if i < 0 {
			return missing
		}
		delete(c.s.Tags, group.Rules[i].ID)
		group.Rules = slices.Delete(group.Rules, i, i+1)
		return nil
	}
	for _, rule := range rules {
		if err := remove(rule.same, fail("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")); err != nil {
			return nil, err
		}
	}
	for _, id := range in.RuleIDs {
		matches := func(rule Rule) bool { return rule.ID == id && rule.Egress == egress }
		if err := remove(matches, fail("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)); err != nil {
			return nil, err
		}
	}
	return done, nil
}
