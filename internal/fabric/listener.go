package fabric

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

type listenerXML struct {
	ARN             string             `xml:"ListenerArn"`
	LoadBalancerARN string             `xml:"LoadBalancerArn"`
	Port            int                `xml:"Port"`
	Protocol        string             `xml:"Protocol"`
	Actions         members[actionXML] `xml:"DefaultActions"`
	ALPN            *members[string]   `xml:"AlpnPolicy"`
}

type actionXML struct {
	Type           string                  `xml:"Type"`
	TargetGroupARN string                  `xml:"TargetGroupArn"`
	Forward        members[targetTupleXML] `xml:"ForwardConfig>TargetGroups"`
}

type targetTupleXML struct {
	ARN string `xml:"TargetGroupArn"`
}

func (l *Listener) xml() listenerXML {
	out := listenerXML{
		ARN: l.ARN, LoadBalancerARN: l.LoadBalancerARN, Port: l.Port, Protocol: l.Protocol,
		Actions: membersOf([]actionXML{{"forward", l.TargetGroupARN, membersOf([]targetTupleXML{{l.TargetGroupARN}})}}),
	}
	if len(l.ALPN) > 0 {
		out.ALPN = &members[string]{l.ALPN}
	}
	return out
}

func (l *Listener) arn() string { return l.ARN }

// ownListener finds a listener of the caller's.
func (c *call) ownListener(arn string) (*Listener, error) {
	listener, found := owned(c, c.s.Listeners, arn, func(l *Listener) (string, string) { return l.AccountID, l.Region })
	if !found {
		return nil, fail("ListenerNotFound", "Listener '%s' not found", arn)
	}
	return listener, nil
}

// actionInput is what a listener does with its connections. Of network load balancers only forwarding to one target
// group is known.
type actionInput struct {
	Type           string      `q:"Type,required"`
	TargetGroupARN string      `q:"TargetGroupArn"`
	Order          *int        `q:"Order"`
	OIDC           unsupported `q:"AuthenticateOidcConfig"`
	Cognito        unsupported `q:"AuthenticateCognitoConfig"`
	Redirect       unsupported `q:"RedirectConfig"`
	Fixed          unsupported `q:"FixedResponseConfig"`
	JWT            unsupported `q:"JwtValidationConfig"`
	Forward        struct {
		Groups []struct {
			ARN    string `q:"TargetGroupArn"`
			Weight *int   `q:"Weight"`
		} `q:"TargetGroups"`
		Stickiness struct {
			Enabled  *bool `q:"Enabled"`
			Duration *int  `q:"DurationSeconds"`
		} `q:"TargetGroupStickinessConfig"`
	} `q:"ForwardConfig"`
}

// forwardTo finds the target group that the actions lead to.
func (c *call) forwardTo(balancer *LoadBalancer, protocol string, actions []actionInput) (string, error) {
	if len(actions) != 1 || actions[0].Type != "forward" {
		return "", fail("InvalidLoadBalancerAction", "A listener of a network load balancer has exactly one action, which forwards")
	}
	arn := actions[0].TargetGroupARN
	switch groups := actions[0].Forward.Groups; {
	case len(groups) > 1:
		return "", fail("OperationNotPermitted", "Forwarding to more than one target group is not supported here")
	case len(groups) == 1 && arn != "" && arn != groups[0].ARN:
		return "", fail("InvalidLoadBalancerAction", "You cannot specify different target groups in TargetGroupArn and ForwardConfig")
	case len(groups) == 1:
		arn = groups[0].ARN
	}
	group, err := c.ownTargetGroup(arn)
	if err != nil {
		return "", err
	}
	if group.VPCID != balancer.VPCID {
		return "", fail("InvalidConfigurationRequest", "The target group '%s' and the load balancer '%s' are in different VPCs", arn, balancer.ARN)
	}
	if group.Protocol != protocol {
		return "", fail("InvalidConfigurationRequest", "Protocol '%s' of the listener does not go with protocol '%s' of target group '%s'", protocol, group.Protocol, arn)
	}
	for _, other := range c.s.balancersOf(group.ARN) {
		if other != balancer.ARN {
			return "", fail("TargetGroupAssociationLimit", "The following target groups cannot be associated with more than one load balancer: '%s'", arn)
		}
	}
	return group.ARN, nil
}

type createListenerInput struct {
	LoadBalancerARN string        `q:"LoadBalancerArn,required"`
	Protocol        string        `q:"Protocol"`
	Port            *int          `q:"Port"`
	Policy          unsupported   `q:"SslPolicy"`
	Certificates    unsupported   `q:"Certificates"`
	Actions         []actionInput `q:"DefaultActions,required"`
	ALPN            []string      `q:"AlpnPolicy"`
	Tags            []elbTag      `q:"Tags"`
	Mutual          unsupported   `q:"MutualAuthentication"`
}

type listenersOutput struct {
	Listeners  members[listenerXML] `xml:"Listeners"`
	NextMarker string               `xml:"NextMarker,omitempty"`
}

// portFree checks that no other listener of the load balancer has the port.
func (c *call) portFree(balancerARN string, port int, self *Listener) error {
	if port < 1 || port > 65535 {
		return fail("ValidationError", "The port '%d' must be in the range 1 to 65535", port)
	}
	for _, other := range c.s.listenersOf(balancerARN) {
		if other != self && other.Port == port {
			return fail("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", balancerARN)
		}
	}
	return nil
}

func createListener(c *call, in *createListenerInput) (*listenersOutput, error) {
	balancer, err := c.ownLoadBalancer(in.LoadBalancerARN)
	if err != nil {
		return nil, err
	}
	if in.Port == nil {
		return nil, elbDialect.missing("Port")
	}
	if !slices.Contains([]string{"TCP", "UDP", "TCP_UDP"}, in.Protocol) {
		return nil, fail("ValidationError", "Protocol '%s' must be one of TCP, UDP and TCP_UDP", in.Protocol)
	}
	// As with the real service, the same listener again is no error.
	group, err := c.forwardTo(balancer, in.Protocol, in.Actions)
	if err != nil {
		return nil, err
	}
	for _, other := range c.s.listenersOf(balancer.ARN) {
		if other.Port == *in.Port && other.Protocol == in.Protocol && other.TargetGroupARN == group && slices.Equal(other.ALPN, in.ALPN) {
			return &listenersOutput{Listeners: membersOf([]listenerXML{other.xml()})}, nil
		}
	}
	if err := c.portFree(balancer.ARN, *in.Port, nil); err != nil {
		return nil, err
	}
	listener := &Listener{
		ARN:       strings.Replace(balancer.ARN, ":loadbalancer/", ":listener/", 1) + "/" + c.s.drawHex(16),
		AccountID: c.account, Region: c.region, LoadBalancerARN: balancer.ARN, Protocol: in.Protocol, Port: *in.Port,
		TargetGroupARN: group, ALPN: in.ALPN, IdleSeconds: 350,
	}
	c.s.Listeners[listener.ARN] = listener
	if err := c.tagELB(listener.ARN, in.Tags); err != nil {
		return nil, err
	}
	return &listenersOutput{Listeners: membersOf([]listenerXML{listener.xml()})}, nil
}

type describeListenersInput struct {
	LoadBalancerARN string   `q:"LoadBalancerArn"`
	ARNs            []string `q:"ListenerArns"`
	marking
}

func describeListeners(c *call, in *describeListenersInput) (*listenersOutput, error) {
	var listeners []*Listener
	switch {
	case len(in.ARNs) > 0 && in.LoadBalancerARN != "":
		return nil, fail("ValidationError", "You cannot specify both listener ARNs and a load balancer ARN")
	case len(in.ARNs) > 0:
		for _, arn := range in.ARNs {
			listener, err := c.ownListener(arn)
			if err != nil {
				return nil, fail("ListenerNotFound", "One or more listeners not found")
			}
			listeners = append(listeners, listener)
		}
	default:
		balancer, err := c.ownLoadBalancer(in.LoadBalancerARN)
		if err != nil {
			return nil, err
		}
		listeners = c.s.listenersOf(balancer.ARN)
	}
	slices.SortFunc(listeners, func(a, b *Listener) int { return cmp.Compare(a.ARN, b.ARN) })
	listeners, next, err := marked(in.marking, listeners, (*Listener).arn)
	if err != nil {
		return nil, err
	}
	out := &listenersOutput{NextMarker: next}
	for _, listener := range listeners {
		out.Listeners.Items = append(out.Listeners.Items, listener.xml())
	}
	return out, nil
}

type modifyListenerInput struct {
	ARN          string        `q:"ListenerArn,required"`
	Port         *int          `q:"Port"`
	Protocol     string        `q:"Protocol"`
	Policy       unsupported   `q:"SslPolicy"`
	Certificates unsupported   `q:"Certificates"`
	Actions      []actionInput `q:"DefaultActions"`
	ALPN         []string      `q:"AlpnPolicy"`
	Mutual       unsupported   `q:"MutualAuthentication"`
}

func modifyListener(c *call, in *modifyListenerInput) (*listenersOutput, error) {
	listener, err := c.ownListener(in.ARN)
	if err != nil {
		return nil, err
	}
	balancer := c.s.LoadBalancers[listener.LoadBalancerARN]
	if in.Port != nil {
		if err := c.portFree(balancer.ARN, *in.Port, listener); err != nil {
			return nil, err
		}
		listener.Port = *in.Port
	}
	listener.Protocol = cmp.Or(in.Protocol, listener.Protocol)
	if len(in.ALPN) > 0 {
		listener.ALPN = in.ALPN
	}
	actions := in.Actions
	if len(actions) == 0 {
		actions = []actionInput{{Type: "forward", TargetGroupARN: listener.TargetGroupARN}}
	}
	if listener.TargetGroupARN, err = c.forwardTo(balancer, listener.Protocol, actions); err != nil {
		return nil, err
	}
	return &listenersOutput{Listeners: membersOf([]listenerXML{listener.xml()})}, nil
}

type listenerInput struct {
	ARN string `q:"ListenerArn,required"`
}

func deleteListener(c *call, in *listenerInput) (*none, error) {
	listener, err := c.ownListener(in.ARN)
	if err != nil {
		return nil, err
	}
	delete(c.s.Listeners, listener.ARN)
	delete(c.s.Tags, listener.ARN)
	return &none{}, nil
}

const attrIdleTimeout = "tcp.idle_timeout.seconds"

func (l *Listener) attributes() map[string]string {
	return map[string]string{attrIdleTimeout: strconv.Itoa(l.IdleSeconds)}
}

func describeListenerAttributes(c *call, in *listenerInput) (*attributesOutput, error) {
	listener, err := c.ownListener(in.ARN)
	if err != nil {
		return nil, err
	}
	return attributesOf(listener.attributes()), nil
}

type modifyListenerAttributesInput struct {
	ARN        string          `q:"ListenerArn,required"`
	Attributes []attributePair `q:"Attributes,required"`
}

func modifyListenerAttributes(c *call, in *modifyListenerAttributesInput) (*attributesOutput, error) {
	listener, err := c.ownListener(in.ARN)
	if err != nil {
		return nil, err
	}
	attributes := listener.attributes()
	if err := setAttributes(attributes, in.Attributes, nil); err != nil {
		return nil, err
	}
	seconds, err := strconv.Atoi(attributes[attrIdleTimeout])
	if err != nil || seconds < 60 || seconds > 6000 {
		return nil, fail("ValidationError", "The attribute value '%s' is not valid for '%s': 60 to 6000", attributes[attrIdleTimeout], attrIdleTimeout)
	}
	listener.IdleSeconds = seconds
	return attributesOf(listener.attributes()), nil
}
