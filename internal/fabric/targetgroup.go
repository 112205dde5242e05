package fabric

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type targetGroupXML struct {
	ARN                string          `xml:"TargetGroupArn"`
	Name               string          `xml:"TargetGroupName"`
	Protocol           string          `xml:"Protocol"`
	Port               int             `xml:"Port"`
	VPCID              string          `xml:"VpcId"`
	CheckProtocol      string          `xml:"HealthCheckProtocol"`
	CheckPort          string          `xml:"HealthCheckPort"`
	CheckEnabled       bool            `xml:"HealthCheckEnabled"`
	IntervalSeconds    int             `xml:"HealthCheckIntervalSeconds"`
	TimeoutSeconds     int             `xml:"HealthCheckTimeoutSeconds"`
	HealthyThreshold   int             `xml:"HealthyThresholdCount"`
	UnhealthyThreshold int             `xml:"UnhealthyThresholdCount"`
	CheckPath          string          `xml:"HealthCheckPath,omitempty"`
	Matcher            *matcherXML     `xml:"Matcher"`
	LoadBalancers      members[string] `xml:"LoadBalancerArns"`
	TargetType         string          `xml:"TargetType"`
	IPAddressType      string          `xml:"IpAddressType"`
}

type matcherXML struct {
	HTTPCode string `xml:"HttpCode"`
}

// balancersOf lists the load balancers with a listener for the target group.
func (s *State) balancersOf(targetGroupARN string) []string {
	var arns []string
	for listener := range inOrder(s.Listeners) {
		if listener.TargetGroupARN == targetGroupARN && !slices.Contains(arns, listener.LoadBalancerARN) {
			arns = append(arns, listener.LoadBalancerARN)
		}
	}
	return arns
}

func (c *call) targetGroupXML(g *TargetGroup) targetGroupXML {
	out := targetGroupXML{
		ARN: g.ARN, Name: g.Name, Protocol: g.Protocol, Port: g.Port, VPCID: g.VPCID,
		CheckProtocol: g.HealthCheck.Protocol, CheckPort: g.HealthCheck.Port, CheckEnabled: g.HealthCheck.Enabled,
		IntervalSeconds: g.HealthCheck.IntervalSeconds, TimeoutSeconds: g.HealthCheck.TimeoutSeconds,
		HealthyThreshold: g.HealthCheck.HealthyThreshold, UnhealthyThreshold: g.HealthCheck.UnhealthyThreshold,
		CheckPath: g.HealthCheck.Path, LoadBalancers: membersOf(c.s.balancersOf(g.ARN)), TargetType: g.TargetType, IPAddressType: "ipv4",
	}
	if g.HealthCheck.Matcher != "" {
		out.Matcher = &matcherXML{g.HealthCheck.Matcher}
	}
	return out
}

func (g *TargetGroup) arn() string { return g.ARN }

func (c *call) findTargetGroup(arn string) (*TargetGroup, bool) {
	return owned(c, c.s.TargetGroups, arn, func(g *TargetGroup) (string, string) { return g.AccountID, g.Region })
}

// ownTargetGroup finds a target group of the caller's.
func (c *call) ownTargetGroup(arn string) (*TargetGroup, error) {
	group, found := c.findTargetGroup(arn)
	if !found {
		return nil, fail("TargetGroupNotFound", "Target group '%s' not found", arn)
	}
	return group, nil
}

// healthInput is the part of an input that says how health is checked; nil and empty fields leave it as it is.
type healthInput struct {
	Protocol  string `q:"HealthCheckProtocol"`
	Port      string `q:"HealthCheckPort"`
	Enabled   *bool  `q:"HealthCheckEnabled"`
	Path      string `q:"HealthCheckPath"`
	Interval  *int   `q:"HealthCheckIntervalSeconds"`
	Timeout   *int   `q:"HealthCheckTimeoutSeconds"`
	Healthy   *int   `q:"HealthyThresholdCount"`
	Unhealthy *int   `q:"UnhealthyThresholdCount"`
	Matcher   struct {
		HTTPCode string      `q:"HttpCode"`
		GRPCCode unsupported `q:"GrpcCode"`
	} `q:"Matcher"`
}

// apply changes the health check and fills in the defaults of its protocol.
func (in *healthInput) apply(check *HealthCheck) error {
	check.Protocol = cmp.Or(in.Protocol, check.Protocol)
	check.Port = cmp.Or(in.Port, check.Port)
	if in.Enabled != nil {
		check.Enabled = *in.Enabled
	}
	if !slices.Contains([]string{"TCP", "HTTP", "HTTPS"}, check.Protocol) {
		return fail("ValidationError", "Health check protocol '%s' must be TCP, HTTP or HTTPS", check.Protocol)
	}
	if port, err := strconv.Atoi(check.Port); check.Port != "traffic-port" && (err != nil || port < 1 || port > 65535) {
		return fail("ValidationError", "Health check port '%s' must be 'traffic-port' or in the range 1 to 65535", check.Port)
	}
	if check.Protocol == "TCP" {
		if in.Path != "" || in.Matcher.HTTPCode != "" {
			return fail("InvalidConfigurationRequest", "You cannot specify a health check path or matcher for health checks with the protocol TCP")
		}
		check.Path, check.Matcher = "", ""
	} else {
		check.Path = cmp.Or(in.Path, check.Path, "/")
		check.Matcher = cmp.Or(in.Matcher.HTTPCode, check.Matcher, "200-399")
	}
	for _, limit := range []struct {
		name     string
		given    *int
		field    *int
		min, max int
	}{
		{"Health check interval", in.Interval, &check.IntervalSeconds, 5, 300},
		{"Health check timeout", in.Timeout, &check.TimeoutSeconds, 2, 120},
		{"Healthy threshold count", in.Healthy, &check.HealthyThreshold, 2, 10},
		{"Unhealthy threshold count", in.Unhealthy, &check.UnhealthyThreshold, 2, 10},
	} {
		if limit.given == nil {
			continue
		}
		if *limit.given < limit.min || *limit.given > limit.max {
			return fail("ValidationError", "%s '%d' must be in the range %d to %d", limit.name, *limit.given, limit.min, limit.max)
		}
		*limit.field = *limit.given
	}
	return nil
}

type createTargetGroupInput struct {
	Name          string      `q:"Name,required"`
	Protocol      string      `q:"Protocol"`
	Version       unsupported `q:"ProtocolVersion"`
	Port          *int        `q:"Port"`
	VPCID         string      `q:"VpcId"`
	TargetType    string      `q:"TargetType"`
	Tags          []elbTag    `q:"Tags"`
	IPAddressType string      `q:"IpAddressType"`
	ControlPort   unsupported `q:"TargetControlPort"`
	healthInput               // has a Protocol of its own, of the checks
}

type targetGroupsOutput struct {
	Groups     members[targetGroupXML] `xml:"TargetGroups"`
	NextMarker string                  `xml:"NextMarker,omitempty"`
}

func createTargetGroup(c *call, in *createTargetGroupInput) (*targetGroupsOutput, error) {
	kind := cmp.Or(in.TargetType, "instance")
	switch {
	case kind != "instance" && kind != "ip":
		return nil, fail("OperationNotPermitted", "Target groups of type '%s' are not supported here", kind)
	case !slices.Contains([]string{"TCP", "TLS", "UDP", "TCP_UDP"}, in.Protocol):
		return nil, fail("ValidationError", "Protocol '%s' must be one of TCP, TLS, UDP and TCP_UDP", in.Protocol)
	case in.Port == nil || *in.Port < 1 || *in.Port > 65535:
		return nil, fail("ValidationError", "A port in the range 1 to 65535 must be specified")
	case in.VPCID == "":
		return nil, fail("ValidationError", "A VPC ID must be specified")
	case in.IPAddressType != "" && in.IPAddressType != "ipv4":
		return nil, fail("ValidationError", "The IP address type '%s' is not supported here", in.IPAddressType)
	}
	if err := checkELBName("target group", in.Name); err != nil {
		return nil, err
	}
	vpc, err := c.ownVPC(in.VPCID)
	if err != nil {
		return nil, fail("ValidationError", "The VPC ID '%s' is not found", in.VPCID)
	}
	group := &TargetGroup{
		ARN: c.arn("targetgroup/" + in.Name + "/"), Name: in.Name, AccountID: c.account, Region: c.region, VPCID: vpc.ID,
		Protocol: in.Protocol, Port: *in.Port, TargetType: kind, Targets: []Target{},
		HealthCheck: HealthCheck{Enabled: true, Protocol: "TCP", Port: "traffic-port", IntervalSeconds: 30, TimeoutSeconds: 10, HealthyThreshold: 5, UnhealthyThreshold: 2},
		Attributes:  targetGroupDefaults(kind),
	}
	if in.healthInput.Protocol == "HTTP" {
		group.HealthCheck.TimeoutSeconds = 6
	}
	if err := in.apply(&group.HealthCheck); err != nil {
		return nil, err
	}
	for other := range inOrder(c.s.TargetGroups) {
		if other.AccountID != c.account || other.Region != c.region || other.Name != in.Name {
			continue
		}
		// The name makes the call idempotent, as long as it asks for what is there.
		if other.VPCID == group.VPCID && other.Protocol == group.Protocol && other.Port == group.Port && other.TargetType == kind && other.HealthCheck == group.HealthCheck {
			return &targetGroupsOutput{Groups: membersOf([]targetGroupXML{c.targetGroupXML(other)})}, nil
		}
		return nil, fail("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", in.Name)
	}
	group.ARN += c.s.drawHex(16)
	c.s.TargetGroups[group.ARN] = group
	if err := c.tagELB(group.ARN, in.Tags); err != nil {
		return nil, err
	}
	return &targetGroupsOutput{Groups: membersOf([]targetGroupXML{c.targetGroupXML(group)})}, nil
}

// targetGroupDefaults are the attributes of a new target group. Clients' addresses are kept by default only where
// targets are instances.
func targetGroupDefaults(kind string) map[string]string {
	return map[string]string{
		AttrProxyProtocolV2: "false", "preserve_client_ip.enabled": strconv.FormatBool(kind == "instance"),
		"deregistration_delay.timeout_seconds": "300", "deregistration_delay.connection_termination.enabled": "false",
		"stickiness.enabled": "false", "stickiness.type": "source_ip", AttrCrossZone: "use_load_balancer_configuration",
		"target_group_health.dns_failover.minimum_healthy_targets.count":                 "1",
		"target_group_health.dns_failover.minimum_healthy_targets.percentage":            "off",
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count":      "1",
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
		"target_health_state.unhealthy.connection_termination.enabled":                   "true",
		"target_health_state.unhealthy.draining_interval_seconds":                        "0",
	}
}

var targetGroupValues = map[string]*regexp.Regexp{
	"deregistration_delay.timeout_seconds": wholeNumber,
	AttrCrossZone:                          regexp.MustCompile(`^(true|false|use_load_balancer_configuration)$`),
}

type describeTargetGroupsInput struct {
	LoadBalancerARN string   `q:"LoadBalancerArn"`
	ARNs            []string `q:"TargetGroupArns"`
	Names           []string `q:"Names"`
	marking
}

func describeTargetGroups(c *call, in *describeTargetGroupsInput) (*targetGroupsOutput, error) {
	if in.LoadBalancerARN != "" {
		if _, err := c.ownLoadBalancer(in.LoadBalancerARN); err != nil {
			return nil, err
		}
	}
	var groups []*TargetGroup
	for group := range inOrder(c.s.TargetGroups) {
		if group.AccountID == c.account && group.Region == c.region &&
			(len(in.ARNs) == 0 || slices.Contains(in.ARNs, group.ARN)) && (len(in.Names) == 0 || slices.Contains(in.Names, group.Name)) &&
			(in.LoadBalancerARN == "" || slices.Contains(c.s.balancersOf(group.ARN), in.LoadBalancerARN)) {
			groups = append(groups, group)
		}
	}
	for _, wanted := range slices.Concat(in.ARNs, in.Names) {
		if !slices.ContainsFunc(groups, func(g *TargetGroup) bool { return g.ARN == wanted || g.Name == wanted }) {
			return nil, fail("TargetGroupNotFound", "One or more target groups not found")
		}
	}
	groups, next, err := marked(in.marking, groups, (*TargetGroup).arn)
	if err != nil {
		return nil, err
	}
	out := &targetGroupsOutput{NextMarker: next}
	for _, group := range groups {
		out.Groups.Items = append(out.Groups.Items, c.targetGroupXML(group))
	}
	return out, nil
}

type modifyTargetGroupInput struct {
	ARN string `q:"TargetGroupArn,required"`
	healthInput
}

func modifyTargetGroup(c *call, in *modifyTargetGroupInput) (*targetGroupsOutput, error) {
	group, err := c.ownTargetGroup(in.ARN)
	if err != nil {
		return nil, err
	}
	if err := in.apply(&group.HealthCheck); err != nil {
		return nil, err
	}
	return &targetGroupsOutput{Groups: membersOf([]targetGroupXML{c.targetGroupXML(group)})}, nil
}

type targetGroupInput struct {
	ARN string `q:"TargetGroupArn,required"`
}

// deleteTargetGroup deletes a target group that no listener uses. One that is gone already is no error.
func deleteTargetGroup(c *call, in *targetGroupInput) (*none, error) {
	group, found := c.findTargetGroup(in.ARN)
	if !found {
		return &none{}, nil
	}
	if len(c.s.balancersOf(group.ARN)) > 0 {
		return nil, fail("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", in.ARN)
	}
	delete(c.s.TargetGroups, group.ARN)
	delete(c.s.Tags, group.ARN)
	return &none{}, nil
}

func describeTargetGroupAttributes(c *call, in *targetGroupInput) (*attributesOutput, error) {
	group, err := c.ownTargetGroup(in.ARN)
	if err != nil {
		return nil, err
	}
	return attributesOf(group.Attributes), nil
}

type modifyTargetGroupAttributesInput struct {
	ARN        string          `q:"TargetGroupArn,required"`
	Attributes []attributePair `q:"Attributes,required"`
}

func modifyTargetGroupAttributes(c *call, in *modifyTargetGroupAttributesInput) (*attributesOutput, error) {
	group, err := c.ownTargetGroup(in.ARN)
	if err != nil {
		return nil, err
	}
	if err := setAttributes(group.Attributes, in.Attributes, targetGroupValues); err != nil {
		return nil, err
	}
	return attributesOf(group.Attributes), nil
}

// targetInput names a target; a nil port is the target group's.
type targetInput struct {
	ID   string      `q:"Id,required"`
	Port *int        `q:"Port"`
	Zone string      `q:"AvailabilityZone"`
	QUIC unsupported `q:"QuicServerId"`
}

type targetsInput struct {
	ARN     string        `q:"TargetGroupArn,required"`
	Targets []targetInput `q:"Targets"`
	Include []string      `q:"Include"`
}

// targetOf checks a target of the group and finds its zone. Besides the VPC's own addresses and private ones, those of
// this machine (127.0.0.0/8) may be targets: that is how a load balancer here reaches a real server.
func (c *call) targetOf(group *TargetGroup, in targetInput) (Target, error) {
	target := Target{ID: in.ID, Port: group.Port, Zone: "all"}
	if in.Port != nil {
		target.Port = *in.Port
	}
	if target.Port < 1 || target.Port > 65535 {
		return Target{}, fail("ValidationError", "The port '%d' must be in the range 1 to 65535", target.Port)
	}
	if group.TargetType == "instance" {
		if !wellFormed("i", in.ID) {
			return Target{}, fail("ValidationError", "Instance ID '%s' is not valid", in.ID)
		}
		return Target{}, fail("InvalidTarget", "The following targets are not in a running state and cannot be registered: '%s'", in.ID)
	}
	address, err := netip.ParseAddr(in.ID)
	if err != nil || !address.Is4() {
		return Target{}, fail("ValidationError", "The IP address '%s' is not a valid IPv4 address", in.ID)
	}
	vpc := c.s.VPCs[group.VPCID]
	if vpc != nil && vpc.CIDR.Contains(address) {
		for _, subnet := range c.s.subnetsOf(vpc.ID) {
			if subnet.CIDR.Contains(address) {
				target.Zone = subnet.ZoneID
			}
		}
		return target, nil
	}
	shared := netip.MustParsePrefix("100.64.0.0/10")
	if !address.IsPrivate() && !address.IsLoopback() && !shared.Contains(address) {
		return Target{}, fail("ValidationError", "The IP address '%s' is not within a valid range for the target group", in.ID)
	}
	if in.Zone != "" && in.Zone != "all" {
		if target.Zone = c.s.Accounts[c.account].zoneID(c.region, in.Zone); target.Zone == "" {
			return Target{}, fail("ValidationError", "The Availability Zone '%s' is not valid", in.Zone)
		}
	}
	return target, nil
}

func registerTargets(c *call, in *targetsInput) (*none, error) {
	group, err := c.ownTargetGroup(in.ARN)
	if err != nil {
		return nil, err
	}
	if len(in.Targets) == 0 {
		return nil, elbDialect.missing("Targets")
	}
	for _, given := range in.Targets {
		target, err := c.targetOf(group, given)
		if err != nil {
			return nil, err
		}
		same := func(t Target) bool { return t.ID == target.ID && t.Port == target.Port }
		if i := slices.IndexFunc(group.Targets, same); i >= 0 {
			group.Targets[i] = target
		} else {
			group.Targets = append(group.Targets, target)
		}
	}
	if len(group.Targets) > 1000 {
		return nil, fail("TooManyTargets", "The number of targets of '%s' exceeds the limit", group.Name)
	}
	return &none{}, nil
}

func deregisterTargets(c *call, in *targetsInput) (*none, error) {
	group, err := c.ownTargetGroup(in.ARN)
	if err != nil {
		return nil, err
	}
	for _, given := range in.Targets {
		group.Targets = slices.DeleteFunc(group.Targets, given.names)
	}
	return &none{}, nil
}

// names says whether the input means the target.
func (in targetInput) names(t Target) bool {
	return t.ID == in.ID && (in.Port == nil || t.Port == *in.Port)
}

type targetHealthXML struct {
	ID        string    `xml:"Target>Id"`
	Port      int       `xml:"Target>Port"`
	Zone      string    `xml:"Target>AvailabilityZone,omitempty"`
	CheckPort string    `xml:"HealthCheckPort"`
	Health    healthXML `xml:"TargetHealth"`
}

type healthXML struct {
	State       string `xml:"State"`
	Reason      string `xml:"Reason,omitempty"`
	Description string `xml:"Description,omitempty"`
}

type targetHealthOutput struct {
	Descriptions members[targetHealthXML] `xml:"TargetHealthDescriptions"`
}

func describeTargetHealth(c *call, in *targetsInput) (*targetHealthOutput, error) {
	group, err := c.ownTargetGroup(in.ARN)
	if err != nil {
		return nil, err
	}
	out := &targetHealthOutput{}
	describe := func(t Target, health TargetHealth) {
		port := strings.Replace(group.HealthCheck.Port, "traffic-port", strconv.Itoa(t.Port), 1)
		zone := t.Zone
		if zone != "all" {
			zone = c.s.Accounts[group.AccountID].zoneName(group.Region, zone)
		}
		out.Descriptions.Items = append(out.Descriptions.Items, targetHealthXML{t.ID, t.Port, zone, port, healthXML(health)})
	}
	for _, target := range group.Targets {
		if len(in.Targets) == 0 || slices.ContainsFunc(in.Targets, func(wanted targetInput) bool { return wanted.names(target) }) {
			describe(target, c.f.network.targetHealth(c.s, group.ARN, target))
		}
	}
	for _, wanted := range in.Targets {
		if !slices.ContainsFunc(group.Targets, wanted.names) {
			port := group.Port
			if wanted.Port != nil {
				port = *wanted.Port
			}
			describe(Target{ID: wanted.ID, Port: port, Zone: "all"}, TargetHealth{State: "unused", Reason: "Target.NotRegistered", Description: "Target is not registered to the target group"})
		}
	}
	return out, nil
}
