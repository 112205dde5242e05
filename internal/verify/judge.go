package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// Judge makes a report of what was seen and what the vendor knows. It is pure: the same facts give the same report.
func Judge(t Target, o Observations, vendor Vendor) Report {
	r := Report{
		Name: t.PrivateName, Port: t.Port, Vantage: o.Vantage, Side: SideNone,
		StartedAt: o.StartedAt, Took: o.Took, Checks: []Check{},
	}
	if o.VantageErr != "" {
		r.Verdict, r.Code, r.Side = NotProbed, "NOT_PROBED", SideEither
		r.Summary = "nothing is known about the path: " + o.VantageErr
		r.Next = "mend the place from which you verify, or choose another"
		return r
	}
	j := &judge{t: t, o: o, v: vendor}
	j.proof = j.acceptedProof()
	j.vendorSide()
	j.names()
	j.repositoryName()
	j.addresses()
	j.connects()
	j.handshakes()
	j.repositoryTLS()
	j.answers()
	j.proofs()
	j.publicDoor()
	r.Checks = j.checks
	if j.proof != nil {
		r.Proof, r.EndpointID = j.proof, j.proof.EndpointID
	}
	return concluded(r)
}

// concluded returns r with the verdict that its checks and its proof lead to.
func concluded(r Report) Report {
	failed := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Status == Fail })
	switch {
	case failed >= 0:
		c := r.Checks[failed]
		r.Verdict, r.Layer, r.Code, r.Side, r.Next = Broken, c.Group, c.Code, c.Side, c.Next
		r.Summary = c.about()
		if r.Proof != nil && (c.Group == GroupDNS || c.Group == GroupAddress) {
			r.Summary += "; the path behind it works"
		}
	case r.Proof != nil:
		r.Verdict = Proven
		r.Summary = "the path is private: it goes through endpoint " + string(r.Proof.EndpointID)
	default:
		r.Verdict = Unproven
		r.Summary = "the path works; that it goes through the endpoint is not proven"
	}
	return r
}

// about is the check's summary with what it is about.
func (c Check) about() string {
	if c.Subject == "" {
		return c.Summary
	}
	return c.Subject + ": " + c.Summary
}

type judge struct {
	t      Target
	o      Observations
	v      Vendor
	checks []Check
	proof  *link.PathProof // the first proof that holds; nil: none
}

// blame is why something fails, on whose side, and what to do about it.
type blame struct {
	cause string
	side  Side
	next  string
}

func (j *judge) add(c Check, b blame) {
	c.Cause, c.Side, c.Next = b.cause, b.side, b.next
	if c.Side == "" {
		c.Side = SideNone
	}
	j.checks = append(j.checks, c)
}

func (j *judge) skip(id string, g Group, why string) {
	j.add(Check{ID: id, Group: g, Status: Skip, Code: "SKIPPED", Summary: "skipped"}, blame{cause: why})
}

// vendorSide tells what the control plane knows. Where the proof of path contradicts it, the wire is right and the
// control plane late: what would be a failure is a warning then.
func (j *judge) vendorSide() {
	const id = "VENDOR_CONNECTION"
	if !j.v.Known {
		j.skip(id, GroupVendor, "the vendor's control plane was not asked")
		return
	}
	bad := Fail
	if j.proof != nil {
		bad = Warn
	}
	detail := map[string]string{}
	if j.v.Connection != nil {
		detail["state"] = string(j.v.Connection.State)
	}
	code, summary, b := j.connectionState()
	if code == "" {
		j.add(Check{ID: id, Group: GroupVendor, Status: OK, Code: "CONNECTION_AVAILABLE", Summary: summary, Detail: detail}, blame{})
	} else {
		j.add(Check{ID: id, Group: GroupVendor, Status: bad, Code: code, Summary: summary, Detail: detail}, b)
	}
	j.targets(bad)
	j.rules()
	j.backends(bad)
}

// targets tells when the load balancer has no gateway to forward to.
func (j *judge) targets(bad Status) {
	if j.v.Reachable.Status != link.False {
		return
	}
	j.add(Check{
		ID: "VENDOR_TARGETS", Group: GroupVendor, Status: bad, Code: "NO_HEALTHY_GATEWAY",
		Summary: "the load balancer reaches no gateway",
	}, j.noTarget())
}

func (j *judge) noTarget() blame {
	next := "the operator looks at the gateways, and at what may keep the load balancer's health checks from them"
	if j.v.Reachable.NextStep != "" {
		next = j.v.Reachable.NextStep
	}
	return blame{j.v.Reachable.Message, SideVendor, next}
}

// connectionState says why the vendor does not let the endpoint through; code is empty when it does.
func (j *judge) connectionState() (code, summary string, b blame) {
	if s := j.v.ServiceState; s != "" && s != link.ServiceAvailable {
		return "SERVICE_NOT_AVAILABLE", "the private endpoint service is " + string(s), blame{
			"no endpoint carries traffic before its service is AVAILABLE", SideVendor,
			"the operator looks at the service's conditions",
		}
	}
	if j.t.EndpointID == "" {
		return "", "no endpoint was named; the service is there", blame{}
	}
	id := string(j.t.EndpointID)
	c := j.v.Connection
	if c == nil {
		return "NOT_REGISTERED", "endpoint " + id + " is not registered with the cluster", blame{
			"an endpoint reaches only the clusters with which its id is registered", SideCustomer,
			"register it: run postern connect again, or POST its id to private-endpoint-connections",
		}
	}
	accepted := link.ConditionOf(c.Conditions, link.ConditionAccepted)
	say := func(cause, next string, side Side) blame {
		if accepted.Status == link.False && accepted.Message != "" {
			cause = accepted.Message
		}
		if accepted.NextStep != "" {
			next = accepted.NextStep
		}
		return blame{cause, side, next}
	}
	switch c.State {
	case link.Available:
		if zones := j.zonesApart(); zones != "" {
			return "ZONES_APART", zones, blame{
				"an endpoint's interface is served by the load balancer's node of its own zone", SideCustomer,
				"give the endpoint a subnet in one of the service's zones; compare zone ids, zone names differ per account",
			}
		}
		return "", "connection of " + id + " is AVAILABLE", blame{}
	case link.Pending:
		return "CONNECTION_PENDING", "connection of " + id + " is PENDING", say(
			"the endpoint has not been seen at the cloud, or was just accepted", "wait a minute, then verify again", SideVendor)
	case link.PendingAcceptance:
		return "CONNECTION_NOT_ACCEPTED", "connection of " + id + " is PENDING_ACCEPTANCE", say(
			"the endpoint waits to be accepted", "add the endpoint's account to the cluster's trusted owners, or accept the endpoint", SideVendor)
	case link.Rejected:
		return "CONNECTION_REJECTED", "connection of " + id + " is REJECTED", say(
			"the endpoint was refused", "add the endpoint's account to the cluster's trusted owners, or accept the endpoint", SideVendor)
	case link.Deleting, link.Deleted:
		return "CONNECTION_GONE", "connection of " + id + " is " + string(c.State), say(
			"the connection was removed, at the cluster or by deleting the endpoint", "connect again", SideCustomer)
	default:
		return "CONNECTION_FAILED", "connection of " + id + " is " + string(c.State), say(
			"the cloud gave the endpoint up", "delete the endpoint and connect again", SideCloud)
	}
}

func (j *judge) zonesApart() string {
	if len(j.v.ServiceZoneIDs) == 0 || len(j.v.EndpointZones) == 0 {
		return ""
	}
	for _, z := range j.v.EndpointZones {
		if slices.Contains(j.v.ServiceZoneIDs, z) {
			return ""
		}
	}
	return fmt.Sprintf("the endpoint stands in %s, the service in %s",
		strings.Join(j.v.EndpointZones, ", "), strings.Join(j.v.ServiceZoneIDs, ", "))
}

// rules tells whether a gateway decides by old rules, or none is heard of.
func (j *judge) rules() {
	if len(j.v.Gateways) == 0 && j.v.RulesRevision == 0 {
		return
	}
	c := Check{ID: "VENDOR_RULES", Group: GroupVendor, Status: OK, Code: "RULES_APPLIED"}
	alive, late := j.gateways()
	switch {
	case alive == 0:
		c.Status, c.Code, c.Summary = Warn, "GATEWAY_SILENT", "no gateway reports to the control plane"
		j.add(c, blame{
			"the gateways are down or cut off; one that is cut off goes on with its last rules", SideVendor,
			"the operator looks at the gateways",
		})
	case late != nil:
		c.Status, c.Code = Warn, "RULES_NOT_APPLIED"
		c.Summary = fmt.Sprintf("gateway %s decides by revision %d, not yet by %d", late.ID, late.AppliedRevision, j.v.RulesRevision)
		j.add(c, blame{"the change is under way to the gateway", SideVendor, "verify again in a few seconds"})
	default:
		c.Summary = fmt.Sprintf("rules revision %d applied everywhere", j.v.RulesRevision)
		j.add(c, blame{})
	}
}

// gateways counts those lately heard of and returns one of them that is behind, nil when none is.
func (j *judge) gateways() (alive int, late *link.Gateway) {
	since := j.o.StartedAt.Add(-gatewayAlive)
	for i, g := range j.v.Gateways {
		if g.LastSeenAt.Before(since) {
			continue
		}
		alive++
		if g.AppliedRevision < j.v.RulesRevision && late == nil {
			late = &j.v.Gateways[i]
		}
	}
	return alive, late
}

func (j *judge) backends(bad Status) {
	if len(j.v.Backends) == 0 {
		return
	}
	down, why := j.backendsDown()
	c := Check{ID: "VENDOR_BACKENDS", Group: GroupVendor, Status: OK, Code: "BACKENDS_HEALTHY"}
	switch {
	case down == 0:
		c.Summary = "the gateway reaches the backends"
		j.add(c, blame{})
	case down < len(j.v.Backends):
		c.Status, c.Code = Warn, "BACKENDS_DEGRADED"
		c.Summary = fmt.Sprintf("the gateway reaches %d of %d backends", len(j.v.Backends)-down, len(j.v.Backends))
		j.add(c, blame{"the others fail with " + why, SideVendor, "the operator looks at the cluster's backends"})
	default:
		// The proof of path does not pass through a backend: it excuses nothing here.
		if bad == Warn && j.anyTLS() {
			c.Code, c.Summary = "BACKENDS_RECOVERED", "the gateway reaches a backend again"
			j.add(c, blame{"lately every backend failed, with " + why, SideNone, ""})
			return
		}
		c.Status, c.Code, c.Summary = Fail, "BACKENDS_DOWN", "the gateway reaches no backend of the cluster"
		j.add(c, blame{"every backend fails, with " + why, SideVendor, "the operator looks at the cluster's backends"})
	}
}

func (j *judge) backendsDown() (down int, why string) {
	for _, b := range j.v.Backends {
		if !b.Healthy {
			down++
			why = b.Reason
		}
	}
	return down, why
}

func (j *judge) anyTLS() bool {
	return slices.ContainsFunc(j.o.Paths, func(p PathSeen) bool { return p.TLS.Done() })
}

// clockSlack is how far the gateway's clock may be behind this machine's for a refusal to be taken as the probe's own.
const clockSlack = 5 * time.Second

// refusal returns the latest attempt that a gateway refused around the time of the probe: one of this endpoint, else one
// on the private listener whose endpoint the gateway could not tell. nil: none was.
func (j *judge) refusal() *link.RefusedAttempt {
	if !j.v.Known {
		return nil
	}
	var ours, nobodys *link.RefusedAttempt
	for i := range j.v.Refused {
		a := &j.v.Refused[i]
		if a.WouldRefuse || a.Listener == link.PublicListener || a.LastAt.Before(j.o.StartedAt.Add(-clockSlack)) {
			continue
		}
		switch a.EndpointID {
		case "":
			if nobodys == nil || a.LastAt.After(nobodys.LastAt) {
				nobodys = a
			}
		case j.t.EndpointID:
			if ours == nil || a.LastAt.After(ours.LastAt) {
				ours = a
			}
		}
	}
	if ours != nil {
		return ours
	}
	return nobodys
}
