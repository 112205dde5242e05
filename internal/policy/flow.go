package policy

import (
	"net/netip"
	"time"

	"github.com/postern/postern/internal/link"
)

// Why a flow was refused. The words are stable: they stand in the list of refused attempts and in flow records.
const (
	NoRules               = "NO_RULES"                // the gateway has no rules yet: it refuses everybody
	NoServerName          = "NO_SERVER_NAME"          // the client sent no server name, so no cluster can be told
	UnknownName           = "UNKNOWN_NAME"            // no cluster has this name
	AmbiguousName         = "AMBIGUOUS_NAME"          // several clusters claim this name: none gets the flow
	WrongListener         = "WRONG_LISTENER"          // a private name at the public listener, or the other way round
	NoEndpointID          = "NO_ENDPOINT_ID"          // the flow did not come through a private endpoint
	EndpointNotAuthorised = "ENDPOINT_NOT_AUTHORISED" // it came through one that this cluster does not admit
	PublicAccessDisabled  = "PUBLIC_ACCESS_DISABLED"  // the cluster's public door is closed
	AddressNotAllowed     = "ADDRESS_NOT_ALLOWED"     // the cluster's allow list does not admit the source address
)

// What let a flow pass, or would refuse it, as Decision.Rule says it. A rule of the allow list reads
// "allowlist 203.0.113.0/24".
const (
	RuleEndpoint     = "endpoint"
	RulePublicAccess = "public-access"
	RuleAllowList    = "allowlist"
	RuleDefault      = "default" // nothing admits the flow
)

// FlowFacts is what a gateway knows of a flow when it has to decide. Only what the wire can be trusted for belongs in
// here: the endpoint id and the source of a flow behind a load balancer are those that the balancer told.
type FlowFacts struct {
	Listener   link.Listener
	EndpointID link.EndpointID // empty: not through a private endpoint
	Source     netip.Addr      // invalid when not known, which no allow list admits
	Name       string          // the server name in lower case without a final dot; empty when the client sent none
	Port       uint16          // as the client dialled it; 0 when not known, to which no rule of a port applies
	At         time.Time       // now, which claims expire by
}

// Decision is what becomes of a flow, and why. The zero value refuses without saying why; Decide never returns it.
type Decision struct {
	Allow       bool
	ClusterID   link.ID // also of a refusal when the name led to a cluster
	Target      *Target // where it goes; nil when it is refused, and when Proof or Claim is set
	Proof       bool    // the gateway itself answers, with a proof of path
	Claim       link.ID // the gateway itself answers: the endpoint was claimed by this claim's code
	Rule        string  // what decided: one of the Rule… constants, with the range for an allow-list entry
	Reason      string  // why not; also set, on an allowed flow, when WouldRefuse is
	WouldRefuse bool    // report-only: the flow passes, and would not were public access disabled
}

// Target is where the flows of a cluster go on one port. It is shared and never changes: two Targets of one cluster and
// port that are not the same pointer may still say the same.
type Target struct {
	ClusterID     link.ID
	Backends      []link.Backend // with the port's own BackendPort put in already
	Health        link.HealthCheck
	ProxyProtocol bool
	Limits        link.Limits
}

// Decide says whether a flow may pass. It reads nothing but its input, takes no lock and allocates nothing. A nil
// *Rules refuses everything.
func (r *Rules) Decide(f FlowFacts) Decision {
	if r == nil {
		return Decision{Rule: RuleDefault, Reason: NoRules}
	}
	if f.Name == "" {
		return Decision{Rule: RuleDefault, Reason: NoServerName}
	}
	at, known := r.names[f.Name]
	if !known {
		return Decision{Rule: RuleDefault, Reason: UnknownName}
	}
	switch f.Listener {
	case link.PrivateListener:
		if at.private != nil {
			return at.private.decidePrivate(f, at.proof)
		}
	case link.PublicListener:
		if at.public != nil {
			return at.public.decidePublic(f)
		}
	}
	d := Decision{Rule: RuleDefault, Reason: WrongListener}
	if c := at.either(); c != nil {
		d.ClusterID = c.id
	}
	return d
}

func (c *cluster) decidePrivate(f FlowFacts, proof bool) Decision {
	d := Decision{ClusterID: c.id, Rule: RuleDefault}
	switch {
	case c.ambiguous:
		d.Reason = AmbiguousName
	case f.EndpointID == "":
		d.Reason = NoEndpointID
	case !c.admits(f.EndpointID):
		d.Reason = EndpointNotAuthorised
	default:
		d.Allow, d.Rule, d.Proof = true, RuleEndpoint, proof
		if !proof {
			d.Target = c.target
		}
	}
	return d
}

// decidePublic: report-only opens the door exactly as far as enabled does, never further, so that trying out the
// closing of the door cannot let in whom the allow list keeps out.
func (c *cluster) decidePublic(f FlowFacts) Decision {
	d := Decision{ClusterID: c.id, Rule: RuleDefault}
	if c.ambiguous {
		d.Reason = AmbiguousName
		return d
	}
	if c.public != link.PublicEnabled && c.public != link.PublicReportOnly {
		d.Rule, d.Reason = RulePublicAccess, PublicAccessDisabled
		return d
	}
	rule, ok := c.allow.admits(f.Source)
	if rule != "" {
		d.Rule = rule
	}
	if !ok {
		d.Reason = AddressNotAllowed
		return d
	}
	d.Allow, d.Target = true, c.target
	if c.public == link.PublicReportOnly {
		d.WouldRefuse, d.Rule, d.Reason = true, RulePublicAccess, PublicAccessDisabled
	}
	return d
}
