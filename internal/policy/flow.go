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
	AddressNotAllowed     = "ADDRESS_NOT_ALLOWED"     // the cluster's allow list does not admit the source address to this port
	PortDenied            = "PORT_DENIED"             // the service's profile, or the cluster's own, closes this port
	AmbiguousEndpoint     = "AMBIGUOUS_ENDPOINT"      // on a port without names: the endpoint is authorised for several clusters
	UnknownClaim          = "UNKNOWN_CLAIM"           // the name is a claim's, and its code is none
	ClaimExpired          = "CLAIM_EXPIRED"           // the code was right once
)

// What let a flow pass, or would refuse it, as Decision.Rule says it. A rule of the allow list reads
// "allowlist 203.0.113.0/24".
const (
	RuleEndpoint     = "endpoint"
	RulePublicAccess = "public-access"
	RuleAllowList    = "allowlist"
	RulePort         = "port"
	RuleClaim        = "claim"
	RuleDefault      = "default" // nothing admits the flow
)

// FlowFacts is what a gateway knows of a flow when it has to decide. Only what the wire can be trusted for belongs in
// here: the endpoint id and the source of a flow behind a load balancer are those that the balancer told.
type FlowFacts struct {
	Listener   link.Listener
	EndpointID link.EndpointID // empty: not through a private endpoint
	Source     netip.Addr      // invalid when not known, which no allow list admits
	Name       string          // the server name in lower case without a final dot; empty when the client sent none
	Nameless   bool            // the client had no way to send a name: the endpoint alone tells the cluster
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

	// Proxy is set when the cluster's TLS ends at the gateway, which speaks HTTP by it: the cluster's id, names and Proxy
	// alone. It is one and the same as long as these are.
	Proxy *link.ClusterRules
}

// Decide says whether a flow may pass. It reads nothing but its input, takes no lock and allocates nothing. A nil
// *Rules refuses everything.
//
// The name leads to the cluster. A name that several clusters claim at a listener leads nowhere: which of them it is
// can't be told, and a guess could hand one customer's traffic to another. Below each private name P, proof.P leads to
// the gateway's proof of path and a name of link.CutClaim's form to a claim, unless a cluster has that very name. Below
// each name of a cluster whose proxy gives Docker repositories subdomains, and below its wildcard, the key of each of them
// leads to the cluster too, unless the name has one of those meanings.
func (r *Rules) Decide(f FlowFacts) Decision {
	if r == nil {
		return Decision{Rule: RuleDefault, Reason: NoRules}
	}
	port := r.Port(f.Port)
	switch {
	case port.Denied:
		return Decision{Rule: RulePort, Reason: PortDenied}
	case port.Protocol == link.ProtocolTCP || f.Nameless:
		return r.decideNameless(f, port)
	case f.Name == "":
		return Decision{Rule: RuleDefault, Reason: NoServerName}
	}
	switch f.Listener {
	case link.PrivateListener:
		if l := r.privateLead(f.Name); l.known {
			return r.decidePrivate(f, port, l)
		}
	case link.PublicListener:
		if l := r.publicLead(f.Name); l.known {
			return decidePublic(f, port, l.to)
		}
	}
	return r.decideElsewhere(f)
}

// decideElsewhere is the decision on a flow whose name leads to no cluster at its own listener.
func (r *Rules) decideElsewhere(f FlowFacts) Decision {
	l := r.privateLead(f.Name)
	if !l.known {
		l = r.publicLead(f.Name)
	}
	if l.known {
		d := Decision{Rule: RuleDefault, Reason: WrongListener}
		if l.to != nil {
			d.ClusterID = l.to.self.id
		}
		return d
	}
	if code, domain, ok := link.CutClaim(f.Name); ok && f.Listener == link.PrivateListener {
		return r.decideClaim(f, code, domain)
	}
	return Decision{Rule: RuleDefault, Reason: UnknownName}
}

func (r *Rules) decidePrivate(f FlowFacts, port link.PortRule, l lead) Decision {
	c := l.to
	if c == nil {
		return Decision{Rule: RuleDefault, Reason: AmbiguousName}
	}
	d := Decision{ClusterID: c.self.id, Rule: RuleDefault}
	switch {
	case c.denies(f.Port):
		d.Rule, d.Reason = RulePort, PortDenied
	case f.EndpointID == "":
		d.Reason = NoEndpointID
	case !r.authorised(f.EndpointID, c):
		d.Reason = EndpointNotAuthorised
	default:
		d.Allow, d.Rule, d.Proof = true, RuleEndpoint, l.proof
		if !l.proof {
			d.Target = c.on(port.BackendPort)
		}
	}
	return d
}

// authorised reports whether an endpoint may reach a cluster, for itself or for its project.
func (r *Rules) authorised(id link.EndpointID, c *cluster) bool {
	parties, _ := r.endpoints.get(id)
	return parties.has(c.self) || parties.has(c.project)
}

// decideNameless is the decision on a flow to a port that carries anything: there the endpoint has to tell the cluster,
// and tells it only when it may reach no other.
func (r *Rules) decideNameless(f FlowFacts, port link.PortRule) Decision {
	switch {
	case f.Listener != link.PrivateListener:
		return Decision{Rule: RuleDefault, Reason: NoServerName}
	case f.EndpointID == "":
		return Decision{Rule: RuleDefault, Reason: NoEndpointID}
	}
	c, several := r.soleCluster(f.EndpointID)
	switch {
	case several:
		return Decision{Rule: RuleDefault, Reason: AmbiguousEndpoint}
	case c == nil:
		return Decision{Rule: RuleDefault, Reason: EndpointNotAuthorised}
	case c.denies(f.Port):
		return Decision{ClusterID: c.self.id, Rule: RulePort, Reason: PortDenied}
	}
	return Decision{Allow: true, ClusterID: c.self.id, Target: c.on(port.BackendPort), Rule: RuleEndpoint}
}

// soleCluster returns the one cluster that an endpoint may reach; nil when there is none, or when there are several.
func (r *Rules) soleCluster(id link.EndpointID) (_ *cluster, several bool) {
	parties, _ := r.endpoints.get(id)
	var sole *party
	for p := range parties.all() {
		if !p.project {
			if sole != nil && sole != p {
				return nil, true
			}
			sole = p
			continue
		}
		in, _ := r.projects.get(p.id)
		for member := range in.members.all() {
			if sole != nil && sole != member {
				return nil, true
			}
			sole = member
		}
	}
	if sole == nil {
		return nil, false
	}
	c, _ := r.clusters.get(sole.id)
	return c, false
}

// decidePublic: report-only opens the door exactly as far as enabled does, never further, so that trying out the
// closing of the door cannot let in whom the allow list keeps out.
func decidePublic(f FlowFacts, port link.PortRule, c *cluster) Decision {
	if c == nil {
		return Decision{Rule: RuleDefault, Reason: AmbiguousName}
	}
	d := Decision{ClusterID: c.self.id, Rule: RuleDefault}
	if c.denies(f.Port) {
		d.Rule, d.Reason = RulePort, PortDenied
		return d
	}
	if c.access != link.PublicEnabled && c.access != link.PublicReportOnly {
		d.Rule, d.Reason = RulePublicAccess, PublicAccessDisabled
		return d
	}
	rule, ok := c.allow.admits(f.Source, port.Traffic)
	if rule != "" {
		d.Rule = rule
	}
	if !ok {
		d.Reason = AddressNotAllowed
		return d
	}
	d.Allow, d.Target = true, c.on(port.BackendPort)
	if c.access == link.PublicReportOnly {
		d.WouldRefuse, d.Rule, d.Reason = true, RulePublicAccess, PublicAccessDisabled
	}
	return d
}
