package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
)

// ServiceFacts is all that bears on a region's service.
type ServiceFacts struct {
	Region         link.Region
	Service        link.Service
	AppliedVersion int64            // version of Region that the cloud was last made to match; 0 never
	PrivateDNSName string           // that the service should carry; empty: none
	Observed       *ObservedService // nil when the cloud has none
	Gone           bool             // its end was asked for
	Ensured        bool             // Observed is what there was after the cloud had been made to match Region
	Now            time.Time
	Cadence        Cadence
}

// ObservedService is a service as a cloud shows it.
type ObservedService struct {
	ServiceID  string
	Name       string
	State      link.ServiceState
	ZoneIDs    []string
	Principals []string
	Targets    []ObservedTarget
	Problem    string // what the cloud says is wrong; empty when nothing is

	PrivateDNSName     string // empty: none
	PrivateDNSVerified bool
	PrivateDNSMissing  string // what a person has to publish before it can be verified; empty: nothing
}

// ObservedTarget is one address behind the load balancer.
type ObservedTarget struct {
	Addr    netip.AddrPort
	Healthy bool
	Reason  string // the cloud's own words when it is not
}

// ServicePlan is what to do about a service, and how it stands.
type ServicePlan struct {
	Delete         bool         // remove it from the cloud, with its endpoints turned away before
	Ensure         bool         // make the cloud match the region, observe, and plan again with Ensured
	Service        link.Service // as it should be stored
	AppliedVersion int64
	Notes          []Note
	Changed        bool
	Look           time.Duration
}

// Principals is who may create endpoints for a service: everybody. Who gets in is decided endpoint by endpoint.
func Principals() []string { return []string{"*"} }

// Service decides about a region's service. A service that is not at the cloud is made, also when somebody deleted it
// there; one that differs from what its region says is made to match.
func Service(f ServiceFacts) ServicePlan {
	before := f.Service
	p := ServicePlan{Service: before, AppliedVersion: f.AppliedVersion}
	s := &p.Service
	s.Conditions = slices.Clone(before.Conditions)
	if f.Ensured {
		p.AppliedVersion = f.Region.Version
	}
	var provisioned link.Condition
	switch {
	case f.Gone:
		provisioned = f.leaving(&p)
	case f.Observed == nil:
		provisioned = f.absent(&p)
	default:
		provisioned = f.present(&p)
		s.Conditions = link.SetCondition(s.Conditions, f.reachable(), f.Now)
		if f.PrivateDNSName != "" {
			s.Conditions = link.SetCondition(s.Conditions, f.privateDNS(), f.Now)
		}
	}
	was := link.ConditionOf(before.Conditions, link.ConditionProvisioned)
	s.Conditions = link.SetCondition(s.Conditions, provisioned, f.Now)
	p.Notes = append(p.Notes, stateNote(before.State, s.State, provisioned)...)
	if provisioned.Status == link.True && was.Status != link.True {
		p.Notes = append(p.Notes, noteOf(NoteProvisioned, provisioned))
	}
	p.Changed = !sameService(before, *s) || p.AppliedVersion != f.AppliedVersion
	since := before.UpdatedAt
	if p.Changed {
		since = f.Now
	}
	switch {
	case p.Ensure:
		p.Look = f.Cadence.Fast
	case s.State == link.ServiceAvailable && provisioned.Status == link.True:
		p.Look = f.Cadence.Slow
	default:
		p.Look = f.Cadence.waiting(since, f.Now)
	}
	return p
}

// leaving plans for a service whose end was asked for.
func (f ServiceFacts) leaving(p *ServicePlan) link.Condition {
	p.Delete, p.Look = true, f.Cadence.Fast
	was := link.ConditionOf(f.Service.Conditions, link.ConditionProvisioned)
	if f.Service.State == link.ServiceDeleteFailed && was.Reason == link.ReasonDeleteFailed {
		return was // until it is gone, or the cloud says something else
	}
	p.Service.State = link.ServiceDeleting
	return provision(link.False, link.ReasonDeleting, "the service is being deleted", "")
}

// ServiceNotDeleted says how a service stands that the cloud does not let go. attached: because endpoints still use it.
func ServiceNotDeleted(s link.Service, r Refusal, attached bool, now time.Time) ServicePlan {
	next := "mend what the cloud names; it is tried again by itself"
	if attached {
		next = "the owners of the endpoints that still use the service delete them; it is tried again by itself"
	}
	cond := provision(link.False, link.ReasonDeleteFailed, fmt.Sprintf("the cloud refused to delete the service: %s: %s", r.Code, r.Message), next)
	p := ServicePlan{Service: s}
	p.Service.State = link.ServiceDeleteFailed
	p.Service.Conditions = link.SetCondition(s.Conditions, cond, now)
	p.Notes = stateNote(s.State, p.Service.State, cond)
	p.Changed = !sameService(s, p.Service)
	return p
}

func provision(s link.Truth, reason, message, next string) link.Condition {
	return link.Condition{Type: link.ConditionProvisioned, Status: s, Reason: reason, Message: message, NextStep: next}
}

// absent plans for a service that the cloud does not have.
func (f ServiceFacts) absent(p *ServicePlan) link.Condition {
	s := &p.Service
	p.Ensure = !f.Ensured
	deleted := s.ServiceID != ""
	if deleted {
		p.Notes = append(p.Notes, Note{
			Type: NoteDrift, Reason: link.ReasonDeletedOutside,
			Message: fmt.Sprintf("service %s was deleted at the cloud, not through Postern; it is made anew under another name, and endpoints of the old one are lost", s.ServiceID),
		})
	}
	s.State, s.ServiceID, s.Name, s.ZoneIDs = link.ServiceCreating, "", "", nil
	if deleted || link.ConditionOf(s.Conditions, link.ConditionProvisioned).Reason == link.ReasonDeletedOutside {
		return provision(link.False, link.ReasonDeletedOutside, "the service was deleted at the cloud and is being made anew",
			"find out who deleted it; customers have to create new endpoints for the new service name")
	}
	return provision(link.Unknown, link.ReasonCreating, "the load balancer and the endpoint service are being made", "")
}

// present plans for a service that the cloud has.
func (f ServiceFacts) present(p *ServicePlan) link.Condition {
	s, o := &p.Service, f.Observed
	s.State, s.ServiceID, s.Name, s.ZoneIDs = o.State, o.ServiceID, o.Name, slices.Clone(o.ZoneIDs)
	switch o.State {
	case link.ServiceDeleting, link.ServiceDeleteFailed:
		// Somebody deletes it at the cloud. When it is gone it is made anew; meanwhile there is nothing to be done.
		return provision(link.False, link.ReasonDeletedOutside, "the service is being deleted at the cloud, not through Postern",
			"find out who deletes it; it is made anew when it is gone")
	}
	drifted := f.drifted()
	// A name that is not verified yet is asked about again: the proof may have been published meanwhile.
	p.Ensure = !f.Ensured && (p.AppliedVersion != f.Region.Version || o.State == link.ServiceCreateFailed || drifted ||
		f.PrivateDNSName != "" && !o.PrivateDNSVerified)
	if p.Ensure && drifted && p.AppliedVersion == f.Region.Version && o.State == link.ServiceAvailable {
		p.Notes = append(p.Notes, Note{Type: NoteDrift, Reason: "SERVICE_CHANGED", Message: "the service's targets, principals or private DNS name were changed at the cloud, not through Postern; they are put back"})
	}
	switch o.State {
	case link.ServiceAvailable:
		message := "the load balancer and the endpoint service stand"
		if o.Problem != "" {
			message += "; the cloud says: " + o.Problem
		}
		return provision(link.True, link.ReasonProvisioned, message, "")
	case link.ServiceCreateFailed:
		return provision(link.False, link.ReasonCreateFailed, "the cloud could not make the service: "+orSilence(o.Problem),
			"mend what the cloud names; it is tried again by itself")
	}
	return provision(link.Unknown, link.ReasonCreating, "the load balancer and the endpoint service are being made", "")
}

func orSilence(problem string) string {
	if problem == "" {
		return "it does not say why"
	}
	return problem
}

// drifted tells whether what stands at the cloud differs from what the region says, as far as the cloud shows it.
func (f ServiceFacts) drifted() bool {
	if !slices.Equal(f.Observed.Principals, Principals()) || f.Observed.PrivateDNSName != f.PrivateDNSName {
		return true
	}
	for _, want := range f.Region.Targets {
		if !slices.ContainsFunc(f.Observed.Targets, func(t ObservedTarget) bool { return t.Addr == want }) {
			return true
		}
	}
	return slices.ContainsFunc(f.Observed.Targets, func(t ObservedTarget) bool { return !slices.Contains(f.Region.Targets, t.Addr) })
}

// reachable says whether the load balancer reaches a gateway.
func (f ServiceFacts) reachable() link.Condition {
	c := link.Condition{
		Type: link.ConditionReachable, Status: link.Unknown, Reason: link.ReasonHealthUnknown,
		Message: "the load balancer has not checked any gateway yet",
	}
	for _, t := range f.Observed.Targets {
		if t.Healthy {
			c.Status, c.Reason, c.Message = link.True, link.ReasonGatewayHealthy, "the load balancer reaches a gateway"
			return c
		}
		if t.Reason != "" {
			c.Status, c.Reason = link.False, link.ReasonNoGateway
			c.Message = fmt.Sprintf("the load balancer reaches no gateway; of %s it says: %s", t.Addr, t.Reason)
			c.NextStep = "check that a gateway listens at the region's targets and that the load balancer may reach them"
		}
	}
	return c
}

// privateDNS says whether endpoints may answer the clusters' private names by themselves.
func (f ServiceFacts) privateDNS() link.Condition {
	if f.Observed.PrivateDNSName == f.PrivateDNSName && f.Observed.PrivateDNSVerified {
		return link.Condition{
			Type: link.ConditionDNSReady, Status: link.True, Reason: link.ReasonPrivateDNSVerified,
			Message: "endpoints may answer " + f.PrivateDNSName + " inside their networks",
		}
	}
	c := link.Condition{
		Type: link.ConditionDNSReady, Status: link.Unknown, Reason: link.ReasonPrivateDNSUnverified,
		Message:  "the cloud has not verified the private DNS name " + f.PrivateDNSName + "; private hosted zones work without it",
		NextStep: f.Observed.PrivateDNSMissing,
	}
	return c
}

// ServiceRefused says how a service stands after the cloud refused to make it or to make it match.
func ServiceRefused(s link.Service, r Refusal, now time.Time) ServicePlan {
	cond := provision(link.False, link.ReasonCloudRefused, fmt.Sprintf("the cloud refused: %s: %s", r.Code, r.Message),
		"mend what the cloud names, in the region's settings or at the cloud; it is tried again by itself")
	p := ServicePlan{Service: s}
	old := link.ConditionOf(s.Conditions, link.ConditionProvisioned)
	if s.State == link.ServiceCreating {
		p.Service.State = link.ServiceCreateFailed
	}
	p.Service.Conditions = link.SetCondition(s.Conditions, cond, now)
	p.Notes = stateNote(s.State, p.Service.State, cond)
	if len(p.Notes) == 0 && old.Reason != cond.Reason {
		p.Notes = []Note{noteOf(NoteNotAccepted, cond)}
	}
	p.Changed = !sameService(s, p.Service)
	return p
}

// ServiceUnreachable says how a service stands when the cloud could not be asked: as before, and that this is not known.
func ServiceUnreachable(s link.Service, now time.Time) ServicePlan {
	p := ServicePlan{Service: s}
	p.Service.Conditions = link.SetCondition(s.Conditions, provision(link.Unknown, link.ReasonCloudUnreachable,
		"the cloud could not be asked about the service; it is tried again by itself", ""), now)
	p.Changed = !sameService(s, p.Service)
	return p
}

func sameService(a, b link.Service) bool {
	return a.State == b.State && a.ServiceID == b.ServiceID && a.Name == b.Name && slices.Equal(a.ZoneIDs, b.ZoneIDs) &&
		slices.Equal(a.Conditions, b.Conditions)
}
