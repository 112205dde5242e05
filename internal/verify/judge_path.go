package verify

import (
	"fmt"
	"time"

	"github.com/postern/postern/internal/link"
)

// connects judges the TCP step at each address.
func (j *judge) connects() {
	const id = "TCP_CONNECT"
	if len(j.o.Paths) == 0 {
		j.skip(id, GroupTCP, "there is no address to connect to")
		return
	}
	for _, p := range j.o.Paths {
		c := Check{ID: id, Group: GroupTCP, Subject: p.Host, Took: p.TCP.Took}
		if p.TCP.Done() {
			c.Status, c.Code, c.Summary = OK, "TCP_CONNECTS", fmt.Sprintf("connects on port %d", j.t.Port)
			j.add(c, blame{})
			continue
		}
		c.Status, c.Code = Fail, "TCP_"+string(p.TCP.Failure)
		c.Detail = map[string]string{"error": p.TCP.Error}
		var b blame
		switch p.TCP.Failure {
		case TimedOut:
			c.Summary = fmt.Sprintf("port %d does not answer within %s", j.t.Port, p.TCP.Took.Round(100*time.Millisecond))
			b = j.silence(p)
		case Refused:
			c.Summary = fmt.Sprintf("refuses connections on port %d", j.t.Port)
			b = j.noListener(p)
		case Reset, EOF:
			c.Code, c.Summary = "TCP_RESET", fmt.Sprintf("resets the connection on port %d", j.t.Port)
			b = blame{
				"the load balancer has no target to forward to", SideVendor,
				"the operator checks that the gateways are registered and healthy behind the load balancer",
			}
		case Unreachable:
			c.Summary = "is not reachable from here"
			b = blame{"no route leads to the address", SideCustomer, "check the route tables, peerings and transit between here and the endpoint's subnet"}
			if p.Addr.Is6() && j.otherConnects(p) {
				c.Status = Warn
				b = blame{"this place has no IPv6; the IPv4 addresses work", SideNone, ""}
			}
		default:
			c.Code, c.Summary = "TCP_OTHER", "fails: "+link.Quote(p.TCP.Error)
			b = blame{"the error is none of the known ones", SideEither, "look at the error, and verify again"}
		}
		if j.otherConnects(p) && b.side == SideCustomer {
			b.cause += "; other addresses of the endpoint answer, so it is this one's subnet or zone"
		}
		j.add(c, b)
	}
}

func (j *judge) otherConnects(p PathSeen) bool {
	for _, q := range j.o.Paths {
		if q.Host != p.Host && q.TCP.Done() {
			return true
		}
	}
	return false
}

// isEndpoints reports whether p is, as far as is known, an address of the endpoint.
func (j *judge) isEndpoints(p PathSeen) bool {
	if !p.FromDNS {
		return true
	}
	for _, a := range j.t.InterfaceAddrs {
		if a == p.Addr {
			return true
		}
	}
	return false
}

// silence explains a time-out: what the vendor knows first, then what only the customer's network can do.
func (j *judge) silence(p PathSeen) blame {
	groups := blame{
		"packets are dropped without a word: the client's security group (outbound), the endpoint's security group (inbound), " +
			"a network ACL, or no route",
		SideCustomer,
		fmt.Sprintf("allow TCP %d from the client in the endpoint's security group, and to the endpoint in the client's", j.t.Port),
	}
	if !j.v.Known {
		groups.cause += "; or the vendor has not accepted the endpoint"
		groups.side = SideEither
		groups.next += "; ask the vendor for the connection's state"
		return groups
	}
	if code, summary, b := j.connectionState(); code != "" {
		return blame{summary + ": an endpoint that is not let in drops packets without a word", b.side, b.next}
	}
	if j.v.Reachable.Status == link.False {
		return j.noTarget()
	}
	if alive, _ := j.gateways(); len(j.v.Gateways) > 0 && alive == 0 && j.isEndpoints(p) {
		return blame{"no gateway reports: the load balancer may have no target to forward to", SideVendor, "the operator looks at the gateways"}
	}
	if p.FromDNS && len(j.t.InterfaceAddrs) == 0 {
		groups.cause += "; or the address is not the endpoint's"
		groups.next = compareAddress + "; then " + groups.next
	}
	return groups
}

// compareAddress is the next step where the endpoint's interfaces are not known.
const compareAddress = "compare the address with the endpoint's interfaces"

func (j *judge) noListener(p PathSeen) blame {
	switch {
	case j.v.Known && j.v.Reachable.Status == link.False:
		return j.noTarget()
	case j.isEndpoints(p):
		return blame{
			fmt.Sprintf("the load balancer does not listen on port %d, or no gateway behind it takes connections", j.t.Port), SideVendor,
			"use the port that the vendor publishes, or have the operator look at the region's ports and gateways",
		}
	case len(j.t.InterfaceAddrs) == 0:
		return blame{
			"the address belongs to another host than the endpoint, or nothing behind the endpoint takes connections", SideEither,
			compareAddress + "; if it is one of them, have the operator look at the region's ports and gateways",
		}
	}
	return blame{
		"the address belongs to a host that does not listen on the port: likely not the endpoint's", SideCustomer,
		compareAddress,
	}
}

// handshakes judges TLS at each address that connects.
func (j *judge) handshakes() {
	const id = "TLS_PRIVATE"
	tried := false
	for _, p := range j.o.Paths {
		if p.TLS.Failure == NotTried {
			continue
		}
		tried = true
		j.handshake(Check{ID: id, Group: GroupTLS, Subject: p.Host, Took: p.TLS.Took}, p)
	}
	if !tried {
		j.skip(id, GroupTLS, "no address connects")
	}
}

func (j *judge) handshake(c Check, p PathSeen) {
	if p.TLS.Done() {
		j.certificate(c, p.TLS)
		return
	}
	c.Status, c.Code = Fail, "TLS_"+string(p.TLS.Failure)
	c.Detail = map[string]string{"error": p.TLS.Error}
	switch p.TLS.Failure {
	case EOF, Reset:
		c.Code, c.Summary = "TLS_CLOSED", "connects, then closes before TLS"
		j.add(c, j.closed(p))
	case TimedOut:
		c.Summary = "connects, then does not answer the TLS handshake"
		b := blame{
			"large packets are lost on the way (path MTU), or the gateway or the service behind it hangs", SideEither,
			"allow ICMP fragmentation-needed between client and endpoint; have the operator look at gateways and backends",
		}
		if p.PathProof.Done() {
			b = blame{"the gateway answers and the service behind it does not", SideVendor, "the operator looks at the cluster's backends"}
		}
		j.add(c, b)
	case Alert:
		c.Summary = "refuses the handshake: " + link.Quote(p.TLS.Error)
		j.add(c, blame{
			"the service does not know the name or takes none of the offered TLS versions", SideVendor,
			"the operator checks the certificate of the private name at the backend",
		})
	case NotTLS:
		c.Summary = "answers, but not with TLS"
		b := blame{"something else than the service listens there, or the service expects plain text", SideEither, "check address and port"}
		if p.PathProof.Done() {
			b = blame{"the gateway answers and the service behind it does not speak TLS on this port", SideVendor, "the operator checks the cluster's backends"}
		}
		j.add(c, b)
	default:
		c.Code, c.Summary = "TLS_OTHER", "the handshake fails: "+link.Quote(p.TLS.Error)
		j.add(c, blame{"the error is none of the known ones", SideEither, "look at the error, and verify again"})
	}
}

// closed explains a stream that is accepted and closed without a byte: that is how a gateway refuses, and all that it
// lets the peer know. The gateway's own record says why.
func (j *judge) closed(p PathSeen) blame {
	if a := j.refusal(); a != nil {
		return refusedBecause(*a)
	}
	if j.v.Known {
		if code, summary, b := j.connectionState(); code != "" {
			return blame{summary + ": the gateway refuses it", b.side, b.next}
		}
		if _, late := j.gateways(); late != nil {
			return blame{"the gateway decides by older rules, which do not know the endpoint yet", SideVendor, "verify again in a few seconds"}
		}
	}
	if p.PathProof.Done() {
		return blame{"the gateway lets the endpoint in and cannot reach the service behind it", SideVendor, "the operator looks at the cluster's backends"}
	}
	// Had the proof been tried, it would have come: no backend is asked for it.
	if down, why := j.backendsDown(); j.v.Known && p.PathProof.Failure == NotTried && down > 0 && down == len(j.v.Backends) {
		return blame{"the gateway reaches no backend (" + why + ")", SideVendor, "the operator looks at the cluster's backends"}
	}
	if j.v.Known {
		return blame{
			"the gateway refuses the flow without knowing its endpoint, most likely PROXY protocol on one side only, " +
				"or the load balancer has no healthy target",
			SideVendor,
			"the operator checks that the target groups send PROXY protocol v2 and that the gateways trust the load balancer's addresses",
		}
	}
	return blame{
		"the gateway refuses the flow: the endpoint is not registered with the cluster, or the gateway cannot tell the endpoint", SideEither,
		"check that the endpoint's id is registered with the cluster; ask the vendor for its refused attempts",
	}
}

// refusedBecause puts a gateway's refusal into words.
func refusedBecause(a link.RefusedAttempt) blame {
	cause := "the gateway refused this endpoint's flow: " + a.Reason
	if a.EndpointID == "" {
		cause = "the gateway refused a flow whose endpoint it could not tell: " + a.Reason
	}
	switch a.Reason {
	case "ENDPOINT_NOT_AUTHORISED":
		return blame{cause, SideCustomer, "register the endpoint's id with the cluster, or approve it in the refused attempts"}
	case "NO_ENDPOINT_ID", "NO_PROXY_HEADER", "MALFORMED_PROXY_HEADER", "PROXY_HEADER_TIMEOUT":
		return blame{cause, SideVendor, "the operator checks that the target groups send PROXY protocol v2"}
	case "UNTRUSTED_PEER":
		return blame{cause, SideVendor, "the operator adds the load balancer's addresses to those that the gateway trusts"}
	case "NO_RULES":
		return blame{cause, SideVendor, "the operator checks that the gateway reaches the control plane"}
	case "UNKNOWN_NAME", "NO_SERVER_NAME", "WRONG_LISTENER":
		return blame{cause, SideEither, "compare the name that is verified with the cluster's private name"}
	case "AMBIGUOUS_NAME":
		return blame{cause, SideVendor, "the operator gives each cluster names of its own"}
	default:
		return blame{cause, SideVendor, "the operator looks at the refused attempts"}
	}
}
