package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
)

// EgressAction is what to do at the cloud about an egress private endpoint.
type EgressAction uint8

// The actions.
const (
	EgressNothing  EgressAction = iota
	EgressEnsure                // make the endpoint
	EgressSetNames              // make EgressPlan.Names lead to it, and take EgressPlan.Gone away
	EgressRemove                // take down whatever was made
)

func (a EgressAction) String() string {
	return [...]string{"nothing", "make the endpoint", "set the domain names", "delete the endpoint"}[a]
}

// EgressFacts is all that bears on an egress private endpoint.
type EgressFacts struct {
	Egress    link.Egress
	Observed  *ObservedEgress // nil when the cloud has none
	Gone      bool            // the cloud was told to take down all of it, and says that nothing is left
	Principal string          // whom the customer has to allow; empty while not known
	Now       time.Time
	Cadence   Cadence
}

// ObservedEgress is an egress private endpoint as a cloud shows it.
type ObservedEgress struct {
	EndpointID link.EndpointID
	State      link.State
	Address    string
	Problem    string // what the cloud says is wrong; empty when nothing is
}

// EgressPlan is what to do about an egress private endpoint, and how it stands. What is to be stored is stored before the
// action: names that may come to stand at the cloud are in the books first.
type EgressPlan struct {
	Action  EgressAction
	Names   []string    // of EgressSetNames: to make
	Gone    []string    // of EgressSetNames: to take away
	Egress  link.Egress // as it should be stored
	Notes   []Note
	Changed bool
	Over    bool          // it is deleted and nothing of it is left
	Look    time.Duration // when to look again; 0: not before something is asked of it
}

// Egress decides about an egress private endpoint. One that is wanted is made, and made anew when it was deleted past
// Postern; the customer then has to accept it again. What the customer does not answer within link.EgressLife expires and
// is taken down, as is what the cloud could not set up; both stay so until somebody asks again. Domain names lead to the
// endpoint from the moment in which it works, and go before it does.
func Egress(f EgressFacts) EgressPlan {
	p := EgressPlan{Egress: f.Egress}
	e := &p.Egress
	e.Conditions = slices.Clone(e.Conditions)
	var provisioned, accepted link.Condition
	switch {
	case f.Egress.Want == link.WantGone:
		provisioned, accepted = f.going(&p)
	case f.settled():
		provisioned, accepted = f.over(&p)
	case f.Observed == nil:
		provisioned, accepted = f.missing(&p)
	default:
		provisioned, accepted = f.standing(&p)
	}
	e.Conditions = link.SetCondition(e.Conditions, provisioned, f.Now)
	e.Conditions = link.SetCondition(e.Conditions, f.warned(*e, accepted), f.Now)
	f.names(&p)

	p.Changed = !sameEgress(f.Egress, *e)
	p.Notes = egressNotes(f.Egress, *e)
	p.Look = f.look(p)
	return p
}

// settled tells that the endpoint is over unless somebody asks again, or that this moment makes it so.
func (f EgressFacts) settled() bool {
	switch f.Egress.State {
	case link.Expired, link.Failed:
		return true
	case link.Pending, link.PendingAcceptance:
		waits := f.Observed == nil || f.Observed.State == link.PendingAcceptance
		return f.failed() || f.Observed != nil && f.Observed.State == link.Expired || waits && f.Now.Sub(f.Egress.RequestedAt) >= link.EgressLife
	}
	return f.failed()
}

// lastCall is how long before its end a request is said to expire.
const lastCall = 24 * time.Hour

// warned adds to a condition Accepted that the time is nearly over.
func (f EgressFacts) warned(e link.Egress, c link.Condition) link.Condition {
	end := e.RequestedAt.Add(link.EgressLife)
	waits := e.Want != link.WantGone && c.Status != link.True && (e.State == link.Pending || e.State == link.PendingAcceptance)
	if waits && f.Now.After(end.Add(-lastCall)) {
		c.Reason = link.ReasonExpiresSoon
		c.Message += "; the request expires at " + end.Format(time.RFC3339)
	}
	return c
}

func (f EgressFacts) failed() bool { return f.Observed != nil && f.Observed.State == link.Failed }

func (f EgressFacts) provisioned(s link.Truth, reason, message, next string) link.Condition {
	return link.Condition{Type: link.ConditionProvisioned, Status: s, Reason: reason, Message: message, NextStep: next}
}

func (f EgressFacts) accepted(s link.Truth, reason, message, next string) link.Condition {
	return link.Condition{Type: link.ConditionAccepted, Status: s, Reason: reason, Message: message, NextStep: next}
}

// remove plans to take down what stands, names first, so that none leads to an endpoint that is no more. It reports whether
// nothing is left.
func (f EgressFacts) remove(p *EgressPlan) bool {
	switch {
	case len(p.Egress.MadeNames) > 0:
		p.Action, p.Gone = EgressSetNames, p.Egress.MadeNames
	case !f.Gone: // also when no endpoint is seen: what was made beside it may be left
		p.Action = EgressRemove
	default:
		p.Egress.EndpointID, p.Egress.Address = "", ""
		return true
	}
	return false
}

// going plans the end of an endpoint that nobody wants any more.
func (f EgressFacts) going(p *EgressPlan) (isProvisioned, isAccepted link.Condition) {
	e := &p.Egress
	e.State = link.Deleting
	f.see(e)
	if f.remove(p) {
		e.State, p.Over = link.Deleted, true
	}
	const message = "the egress endpoint was deleted"
	return f.provisioned(link.False, link.ReasonEgressDeleted, message, ""), f.accepted(link.False, link.ReasonEgressDeleted, message, "")
}

// see takes over what the cloud shows of the endpoint, and keeps the rest: while something may be left, its id is not
// forgotten.
func (f EgressFacts) see(e *link.Egress) {
	if o := f.Observed; o != nil {
		e.EndpointID, e.Address = o.EndpointID, o.Address
	}
}

// over plans for an endpoint that failed or expired: nothing of it stays at the cloud.
func (f EgressFacts) over(p *EgressPlan) (isProvisioned, isAccepted link.Condition) {
	e := &p.Egress
	f.see(e)
	const again = "ask for the egress endpoint again, or delete it"
	old := link.ConditionOf(e.Conditions, link.ConditionProvisioned)
	oldAccepted := link.ConditionOf(e.Conditions, link.ConditionAccepted)
	switch {
	case e.State == link.Expired || e.State == link.Failed:
		isProvisioned, isAccepted = old, oldAccepted
	case f.failed():
		e.State = link.Failed
		isProvisioned = f.provisioned(link.False, link.ReasonEndpointFailed, "the cloud could not set the endpoint up: "+orSilence(f.Observed.Problem), again)
		isAccepted = f.accepted(link.False, link.ReasonEndpointFailed, "the endpoint failed", "")
	default:
		message := fmt.Sprintf("the customer did not answer within %d days", int(link.EgressLife.Hours()/24))
		if old.Status == link.False {
			message += "; last: " + old.Message
		}
		e.State = link.Expired
		isProvisioned = f.provisioned(link.False, link.ReasonEgressExpired, message, again)
		isAccepted = f.accepted(link.False, link.ReasonEgressExpired, message, again)
	}
	f.remove(p)
	return isProvisioned, isAccepted
}

// missing plans for an endpoint that the cloud does not have.
func (f EgressFacts) missing(p *EgressPlan) (isProvisioned, isAccepted link.Condition) {
	e := &p.Egress
	p.Action = EgressEnsure
	isAccepted = f.accepted(link.Unknown, link.ReasonCreating, "the customer is asked once the endpoint is made", "")
	was := link.ConditionOf(e.Conditions, link.ConditionProvisioned)
	if e.EndpointID != "" {
		// The customer has to be asked again, and gets the whole time for it.
		e.State, e.EndpointID, e.Address, e.RequestedAt = link.Pending, "", "", f.Now
		return f.provisioned(link.Unknown, link.ReasonEgressLost, "the endpoint was deleted at the cloud, not through Postern; it is made anew",
			"find out who deleted it; the customer has to accept the new one"), isAccepted
	}
	e.State, e.Address = link.Pending, ""
	if was.Status == link.False || was.Reason == link.ReasonEgressLost {
		return was, isAccepted // the cloud's last no stands until the next try says something else
	}
	return f.provisioned(link.Unknown, link.ReasonCreating, "the endpoint is being made", ""), isAccepted
}

// standing plans for an endpoint that the cloud has.
func (f EgressFacts) standing(p *EgressPlan) (isProvisioned, isAccepted link.Condition) {
	e, o := &p.Egress, f.Observed
	f.see(e)
	message := "the endpoint " + string(o.EndpointID) + " stands"
	if o.Problem != "" {
		message += "; the cloud says: " + o.Problem
	}
	isProvisioned = f.provisioned(link.True, link.ReasonProvisioned, message, "")
	accept := fmt.Sprintf("the customer checks that the request is from %s and runs: aws ec2 accept-vpc-endpoint-connections --region %s --service-id %s --vpc-endpoint-ids %s",
		o.EndpointID, e.Region, link.EgressServiceID(e.Target), o.EndpointID)
	switch o.State {
	case link.Deleting, link.Deleted:
		e.State = link.Pending
		isProvisioned = f.provisioned(link.Unknown, link.ReasonEgressLost, "the endpoint is being deleted at the cloud, not through Postern; it is made anew",
			"find out who deletes it; the customer has to accept the new one")
		isAccepted = f.accepted(link.Unknown, link.ReasonCreating, "the customer is asked once the endpoint is made", "")
	case link.PendingAcceptance:
		e.State = link.PendingAcceptance
		isAccepted = f.accepted(link.False, link.ReasonAwaitsCustomer, "the customer has to accept the endpoint "+string(o.EndpointID), accept)
	case link.Rejected:
		e.State = link.Rejected
		isAccepted = f.accepted(link.False, link.ReasonCustomerRejected, "the customer rejected the endpoint "+string(o.EndpointID),
			accept+"; or somebody deletes the egress endpoint")
	case link.Expired: // one that had been accepted before
		e.State = link.Expired
		isAccepted = f.accepted(link.False, link.ReasonEgressExpired, "the request to connect expired at the cloud", "ask for the egress endpoint again, or delete it")
	case link.Available:
		e.State = link.Available
		isAccepted = f.accepted(link.True, link.ReasonCustomerAccepted, "the customer's service takes connections through "+string(o.EndpointID), "")
	default:
		e.State = link.Pending
		isAccepted = f.accepted(link.True, link.ReasonCustomerAccepted, "the customer accepted; the cloud sets the endpoint up", "")
	}
	return isProvisioned, isAccepted
}

// names plans for the domain names of an endpoint.
func (f EgressFacts) names(p *EgressPlan) {
	e := &p.Egress
	cond := func(s link.Truth, reason, message, next string) {
		e.Conditions = link.SetCondition(e.Conditions, link.Condition{Type: link.ConditionDNSReady, Status: s, Reason: reason, Message: message, NextStep: next}, f.Now)
	}
	stale := without(e.MadeNames, e.DomainNames)
	up := e.Want != link.WantGone && e.State == link.Available
	switch {
	case e.Want == link.WantGone:
		e.NamesState = ""
		cond(link.False, link.ReasonEgressDeleted, "the egress endpoint was deleted", "")
		return
	case up && (len(stale) > 0 || len(e.DomainNames) > 0 && e.NamesState != link.NamesAvailable):
		p.Action, p.Names, p.Gone = EgressSetNames, e.DomainNames, stale
		e.MadeNames = slices.Concat(e.MadeNames, without(e.DomainNames, e.MadeNames))
		slices.Sort(e.MadeNames)
	case len(stale) > 0 && p.Action != EgressRemove:
		p.Action, p.Gone = EgressSetNames, stale
	}
	switch {
	case len(e.DomainNames) == 0:
		e.NamesState = ""
		cond(link.Unknown, link.ReasonNoNames, "the endpoint has no domain names: it is reached by its own address", "")
	case up && e.NamesState == link.NamesFailed:
		// The cloud's last no stands until the next try says something else.
	case up && p.Action == EgressSetNames:
		e.NamesState = link.NamesPending
		cond(link.Unknown, link.ReasonNamesPending, "the vendor's network is being told the domain names", "")
	case !up:
		e.NamesState = link.NamesPending
		cond(link.Unknown, link.ReasonNamesWait, "the domain names lead to the endpoint once it is available", "")
	}
}

// without returns the names of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool { return slices.Contains(b, name) })
}

// EgressNamed says how an endpoint stands after names were made and others taken away.
func EgressNamed(e link.Egress, made, gone []string, now time.Time) EgressPlan {
	before := e
	e.MadeNames = without(e.MadeNames, gone)
	if len(made) > 0 && slices.Equal(made, e.DomainNames) {
		e.NamesState = link.NamesAvailable
		e.Conditions = link.SetCondition(e.Conditions, link.Condition{
			Type: link.ConditionDNSReady, Status: link.True, Reason: link.ReasonNamesReady, Message: "the vendor's network answers the domain names with the endpoint",
		}, now)
	}
	return EgressPlan{Egress: e, Changed: !sameEgress(before, e), Notes: egressNotes(before, e)}
}

// EgressRefused says how an endpoint stands after the cloud refused an action. What the customer or the vendor can mend is
// tried again by itself until the request expires.
func EgressRefused(f EgressFacts, a EgressAction, reason string, r Refusal) EgressPlan {
	e := f.Egress
	said := fmt.Sprintf("the cloud refused to %s: %s: %s", a, r.Code, r.Message)
	const mend = "the vendor mends what the cloud names; it is tried again by itself"
	if a == EgressSetNames {
		c := link.Condition{Type: link.ConditionDNSReady, Status: link.False, Reason: link.ReasonCloudRefused, Message: said, NextStep: mend}
		if reason == link.ReasonNameTaken {
			c.Reason, c.Message, c.NextStep = reason, r.Message, "choose other domain names, or ask the vendor to free them; it is tried again by itself"
		}
		e.NamesState = link.NamesFailed
		e.Conditions = link.SetCondition(e.Conditions, c, f.Now)
		return f.refused(e)
	}
	c := f.provisioned(link.False, link.ReasonCloudRefused, said, mend)
	switch reason {
	case link.ReasonServiceNotVisible:
		c.Reason, c.Message = reason, "there is no endpoint service "+e.Target+", or it does not allow the vendor yet"
		c.NextStep = "the customer checks the name and allows the vendor"
		if f.Principal != "" {
			c.NextStep += fmt.Sprintf(": aws ec2 modify-vpc-endpoint-service-permissions --region %s --service-id %s --add-allowed-principals %s",
				e.Region, link.EgressServiceID(e.Target), f.Principal)
		}
	case link.ReasonNoCommonZone:
		c.Reason, c.Message = reason, r.Message
		c.NextStep = "the customer adds a zone of the vendor's network, by its id, to the load balancer of the service"
	case link.ReasonOwnService:
		c.Reason, c.Message, c.NextStep = reason, "the service is one of the vendor's own", "name a service of the customer's"
		e.State = link.Failed
	}
	e.Conditions = link.SetCondition(e.Conditions, c, f.Now)
	return f.refused(e)
}

func (f EgressFacts) refused(e link.Egress) EgressPlan {
	return EgressPlan{Egress: e, Changed: !sameEgress(f.Egress, e), Notes: egressNotes(f.Egress, e), Look: f.Cadence.Slow}
}

// EgressUnreachable says how an endpoint stands when the cloud could not be asked: as before, and that this is not known.
func EgressUnreachable(e link.Egress, now time.Time) EgressPlan {
	before := e
	if link.ConditionOf(e.Conditions, link.ConditionProvisioned).Status != link.False { // what the cloud said before says more
		e.Conditions = link.SetCondition(e.Conditions, provision(link.Unknown, link.ReasonCloudUnreachable,
			"the cloud could not be asked about the endpoint; it is tried again by itself", ""), now)
	}
	return EgressPlan{Egress: e, Changed: !sameEgress(before, e)}
}

// look says when to look again. What waits for people or stands is looked at slowly: nobody tells us when they have acted.
func (f EgressFacts) look(p EgressPlan) time.Duration {
	since := p.Egress.UpdatedAt
	if p.Changed {
		since = f.Now
	}
	switch {
	case p.Over:
		return 0
	case p.Action != EgressNothing:
		return f.Cadence.Fast
	case p.Egress.State == link.Expired, p.Egress.State == link.Failed:
		return 0 // nothing is left, and nothing comes by itself
	case p.Egress.State == link.Available, p.Egress.State == link.Rejected:
		return f.Cadence.Slow
	}
	return f.Cadence.waiting(since, f.Now)
}

func sameEgress(a, b link.Egress) bool {
	return a.State == b.State && a.EndpointID == b.EndpointID && a.Address == b.Address && a.NamesState == b.NamesState &&
		a.RequestedAt.Equal(b.RequestedAt) && slices.Equal(a.MadeNames, b.MadeNames) && slices.Equal(a.Conditions, b.Conditions)
}

// egressNotes are the lines of history between two views of an endpoint: its state, and whatever somebody has to act on
// that the change of state does not say.
func egressNotes(before, after link.Egress) []Note {
	because := link.ConditionOf(after.Conditions, link.ConditionAccepted)
	if because.Status == link.Unknown || after.State == link.Failed {
		because = link.ConditionOf(after.Conditions, link.ConditionProvisioned)
	}
	notes := stateNote(before.State, after.State, because)
	for _, now := range after.Conditions {
		old := link.ConditionOf(before.Conditions, now.Type)
		switch {
		case now.Reason == old.Reason && now.Status == old.Status:
		case now.Reason == link.ReasonExpiresSoon:
			notes = append(notes, note(NoteExpiring, now))
		case now.Reason == link.ReasonEgressLost:
			notes = append(notes, note(NoteDrift, now))
		case len(notes) > 0 && now.Reason == because.Reason:
			// The change of state says it.
		case now.Reason == link.ReasonNamesReady:
			notes = append(notes, note(NoteProvisioned, now))
		case now.Status == link.False && now.NextStep != "":
			notes = append(notes, note(NoteNotAccepted, now))
		}
	}
	return notes
}

// note tells of a condition, with what has to be done about it.
func note(typ string, c link.Condition) Note {
	n := Note{Type: typ, Reason: c.Reason, Message: c.Message}
	if c.NextStep != "" {
		n.Message += "; next: " + c.NextStep
	}
	return n
}
