package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Action is what to do to an endpoint at the cloud.
type Action uint8

// The actions.
const (
	Nothing Action = iota
	Accept
	Reject
)

func (a Action) String() string { return [...]string{"nothing", "accept", "reject"}[a] }

// Wish is one connection of an endpoint, with what its cluster, or its project, says of it.
type Wish struct {
	Connection   link.Connection
	Owners       []link.TrustedOwner // whom the cluster trusts
	ServiceReady bool                // a service of one of the cluster's regions stands, and was searched for the endpoint
}

// holder is whom the connection is with, in words for people.
func (w Wish) holder() string {
	if w.Connection.ProjectID != "" {
		return "project"
	}
	return "cluster"
}

// EndpointFacts is all that bears on one endpoint. Several clusters may have a connection with it, and there is one
// endpoint to accept or reject for all of them.
type EndpointFacts struct {
	Endpoint    *link.Endpoint // nil when no service has it
	ServiceName string         // of the service that has it
	Wishes      []Wish
	Owners      []link.TrustedOwner // whom any cluster trusts; counts where there are no Wishes
	Expiry      time.Duration       // how long a request is waited for that nobody answers; 0: for ever
	Now         time.Time
	Cadence     Cadence
}

// EndpointPlan is what to do about an endpoint.
type EndpointPlan struct {
	Action      Action
	Connections []ConnectionPlan // one per wish, in their order
	Look        time.Duration    // when to look again; 0: not before something is changed or the service's list differs
}

// ConnectionPlan is how a connection stands.
type ConnectionPlan struct {
	Connection link.Connection // as it should be stored; equal to what there was when nothing is new
	Notes      []Note
	Changed    bool
}

// Endpoint decides about an endpoint and all of its connections.
//
// It is let in when any connection that is wanted names it and that connection's cluster trusts its owner or an admin
// approved it; it is rejected when there are connections and none of them lets it in. An endpoint without connections
// that asks to come in is let in when a cluster trusts its owner: only through it can its owner claim it, and until then
// the gateways refuse all of its flows. Otherwise it is left alone: its owner may still register it. An endpoint that we
// had let in and that somebody rejected at the cloud stays rejected until somebody asks for it again: two hands must not
// fight over it.
func Endpoint(f EndpointFacts) EndpointPlan {
	anyIn := slices.ContainsFunc(f.Wishes, f.letsIn)
	p := EndpointPlan{Action: f.action(anyIn)}
	for _, w := range f.Wishes {
		p.Connections = append(p.Connections, f.of(w).connection(w, anyIn))
	}
	p.Look = f.look(p)
	return p
}

// of is the facts as a connection has them: an endpoint of another region than the one that a project's connection is
// for is not there for it.
func (f EndpointFacts) of(w Wish) EndpointFacts {
	if w.Connection.ProjectID != "" && f.Endpoint != nil && f.Endpoint.Region != w.Connection.Region {
		f.Endpoint = nil
	}
	return f
}

// admits tells whether the connection's cluster would let the endpoint in, whatever happened at the cloud.
func (f EndpointFacts) admits(w Wish) bool {
	return f.Endpoint != nil && w.Connection.Want == link.WantConnected &&
		(w.Connection.Approved || policy.Trusts(w.Owners, f.Endpoint.Provider, f.Endpoint.OwnerID))
}

// rejectedOutside tells that we hold the endpoint for accepted and the cloud shows it rejected. Whatever rejects it on
// our side first takes back the condition, so this can only be somebody else.
func (f EndpointFacts) rejectedOutside(w Wish) bool {
	was := link.ConditionOf(w.Connection.Conditions, link.ConditionAccepted)
	return f.Endpoint != nil && f.Endpoint.State == link.Rejected &&
		(was.Status == link.True || was.Reason == link.ReasonRejectedOutside)
}

func (f EndpointFacts) letsIn(w Wish) bool {
	own := f.of(w)
	return own.admits(w) && !own.rejectedOutside(w) && !own.expired(w)
}

// unanswered tells whether a connection waits for people: for whoever creates its endpoint, or trusts the endpoint's owner.
func (f EndpointFacts) unanswered(w Wish) bool {
	c := w.Connection
	if c.Want != link.WantConnected || c.AskedAt.IsZero() {
		return false
	}
	if f.Endpoint == nil {
		return c.OwnerID == ""
	}
	return f.Endpoint.State == link.PendingAcceptance && !f.admits(w)
}

// expired tells whether nobody waits for a connection any more: nobody answered in time. It stays so until it is asked for
// again, also when its endpoint shows up: whoever asked may have forgotten it long ago.
func (f EndpointFacts) expired(w Wish) bool {
	c := w.Connection
	if c.Want == link.WantConnected && c.State == link.Expired && link.ConditionOf(c.Conditions, link.ConditionAccepted).Reason == link.ReasonRequestExpired {
		return true
	}
	return f.Expiry > 0 && f.unanswered(w) && !f.Now.Before(c.AskedAt.Add(f.Expiry))
}

// expiring is the condition that says so a day before, and takes it back when somebody answered. There is none while
// nothing has to be said.
func (f EndpointFacts) expiring(w Wish) (c link.Condition, say bool) {
	was := link.ConditionOf(w.Connection.Conditions, link.ConditionExpiring)
	end := w.Connection.AskedAt.Add(f.Expiry)
	if f.Expiry > 0 && f.unanswered(w) && !f.expired(w) && !f.Now.Before(end.Add(-min(link.ExpiryWarning, f.Expiry/2))) {
		what := "its endpoint was not seen"
		next := "create the endpoint for the " + w.holder() + "'s service name and check its id; or delete the connection"
		if f.Endpoint != nil {
			what = "its endpoint's owner " + f.Endpoint.OwnerID + " is not trusted"
			next = "add " + f.Endpoint.OwnerID + " to the " + w.holder() + "'s trusted owners; or delete the connection"
		}
		return link.Condition{
			Type: link.ConditionExpiring, Status: link.True, Reason: link.ReasonRequestExpiring,
			Message: fmt.Sprintf("%s, and at %s it is waited for no more", what, end.Format(time.RFC3339)), NextStep: next,
		}, true
	}
	return link.Condition{
		Type: link.ConditionExpiring, Status: link.False, Reason: link.ReasonRequestAnswered, Message: "it is not waited for any more",
	}, was.Status == link.True
}

func (f EndpointFacts) action(anyIn bool) Action {
	if f.Endpoint == nil {
		return Nothing
	}
	if len(f.Wishes) > 0 && !slices.ContainsFunc(f.Wishes, func(w Wish) bool { return !f.of(w).expired(w) }) {
		return Nothing // nobody asks any more
	}
	if len(f.Wishes) == 0 {
		if f.Endpoint.State == link.PendingAcceptance && policy.Trusts(f.Owners, f.Endpoint.Provider, f.Endpoint.OwnerID) {
			return Accept
		}
		return Nothing
	}
	switch f.Endpoint.State {
	case link.PendingAcceptance:
		if anyIn {
			return Accept
		}
		return Reject
	case link.Pending, link.Available:
		if !anyIn {
			return Reject
		}
	case link.Rejected:
		if anyIn {
			return Accept
		}
	}
	return Nothing
}

// connection says how one connection stands; the facts are as it has them.
func (f EndpointFacts) connection(w Wish, anyIn bool) ConnectionPlan {
	before := w.Connection
	after := before
	if e := f.Endpoint; e != nil {
		after.Region, after.ServiceID, after.OwnerID = e.Region, e.ServiceID, e.OwnerID
		if f.ServiceName != "" {
			after.ServiceName = f.ServiceName
		}
	}
	state, registered, accepted := f.judge(w, anyIn)
	after.State = state
	after.Conditions = link.SetCondition(after.Conditions, registered, f.Now)
	after.Conditions = link.SetCondition(after.Conditions, accepted, f.Now)
	after.Conditions = traffic(after.Conditions, state, f.Now)
	warning, say := f.expiring(w)
	if say {
		after.Conditions = link.SetCondition(after.Conditions, warning, f.Now)
	}

	p := ConnectionPlan{Connection: after, Changed: !sameConnection(before, after)}
	because := accepted
	if f.Endpoint == nil {
		because = registered
	}
	p.Notes = stateNote(before.State, after.State, because)
	old := link.ConditionOf(before.Conditions, link.ConditionAccepted)
	switch {
	case accepted.Reason == link.ReasonRejectedOutside && old.Reason != accepted.Reason,
		accepted.Reason == link.ReasonEndpointDeleted && old.Reason != accepted.Reason:
		p.Notes = append(p.Notes, noteOf(NoteDrift, accepted))
	case old.Status != accepted.Status && accepted.Status == link.True:
		p.Notes = append(p.Notes, noteOf(NoteAccepted, accepted))
	case (old.Status != accepted.Status || old.Reason != accepted.Reason) && accepted.Status == link.False:
		p.Notes = append(p.Notes, noteOf(NoteNotAccepted, accepted))
	}
	if say && warning.Status == link.True && link.ConditionOf(before.Conditions, link.ConditionExpiring).Status != link.True {
		p.Notes = append(p.Notes, noteOf(NoteExpiring, warning))
	}
	return p
}

func sameConnection(a, b link.Connection) bool {
	return a.Region == b.Region && a.ServiceID == b.ServiceID && a.ServiceName == b.ServiceName && a.OwnerID == b.OwnerID &&
		a.State == b.State && slices.Equal(a.Conditions, b.Conditions)
}

// judge returns a connection's state and its conditions Registered and Accepted.
func (f EndpointFacts) judge(w Wish, anyIn bool) (state link.State, isRegistered, isAccepted link.Condition) {
	c := w.Connection
	registered := f.registered(w)
	accepted := func(s link.Truth, reason, message, next string) link.Condition {
		return link.Condition{Type: link.ConditionAccepted, Status: s, Reason: reason, Message: message, NextStep: next}
	}
	if c.Want == link.WantGone {
		gone := accepted(link.False, link.ReasonDisconnected, "the connection was deleted", "")
		// Another cluster may keep the endpoint in; this connection's part in it is over all the same.
		if e := f.Endpoint; e == nil || anyIn || !slices.Contains([]link.State{link.PendingAcceptance, link.Pending, link.Available}, e.State) {
			return link.Deleted, registered, gone
		}
		return link.Deleting, registered, gone
	}
	if f.expired(w) {
		return link.Expired, registered, accepted(link.False, link.ReasonRequestExpired,
			"nobody answered in time: the endpoint was not seen, or its owner not trusted",
			"create the endpoint, have its owner trusted, and connect it again; or delete the connection")
	}
	if f.Endpoint == nil {
		switch {
		case c.Want == link.WantRejected:
			return link.Rejected, registered, policy.RejectedByAdmin()
		case registered.Reason == link.ReasonEndpointDeleted:
			return link.Deleted, registered, accepted(link.False, link.ReasonEndpointDeleted, registered.Message, registered.NextStep)
		case c.OwnerID != "":
			return c.State, registered, keep(c, link.ConditionAccepted)
		}
		return link.Pending, registered, accepted(link.Unknown, registered.Reason, "the endpoint is accepted or refused once it was seen", "")
	}
	e := *f.Endpoint
	switch e.State {
	case link.Deleting, link.Deleted:
		return e.State, registered, accepted(link.False, link.ReasonEndpointDeleted, registered.Message, registered.NextStep)
	case link.Expired:
		return e.State, registered, accepted(link.False, link.ReasonEndpointExpired,
			"the endpoint's request to connect was not accepted in time", "the endpoint's owner deletes it, creates a new one and connects that")
	case link.Failed:
		return e.State, registered, accepted(link.False, link.ReasonEndpointFailed,
			"the cloud could not set the endpoint up", "the endpoint's owner reads its last error at the cloud, deletes it and creates a new one")
	}
	switch {
	case c.Want == link.WantRejected:
		return refusedState(e.State, anyIn), registered, policy.RejectedByAdmin()
	case !f.admits(w):
		return refusedState(e.State, anyIn), registered, policy.NotTrusted(w.holder(), e.OwnerID)
	case f.rejectedOutside(w):
		return link.Rejected, registered, accepted(link.False, link.ReasonRejectedOutside,
			"the endpoint had been accepted and was rejected at the cloud, not through Postern",
			"find out who rejected it and why; connect the endpoint again to accept it")
	case e.State == link.Rejected:
		// Its state at the cloud says what was; what it is now is on its way in.
		return link.Pending, registered, accepted(link.Unknown, link.ReasonAccepting, "the endpoint may come in again and is being accepted", "")
	case e.State == link.PendingAcceptance:
		return e.State, registered, accepted(link.Unknown, link.ReasonAccepting, "the endpoint may come in and is being accepted", "")
	case c.Approved:
		return e.State, registered, accepted(link.True, link.ReasonApproved, "an admin approved this endpoint", "")
	}
	return e.State, registered, accepted(link.True, link.ReasonOwnerTrusted, "owner "+e.OwnerID+" is trusted", "")
}

// refusedState is the state of a connection that may not be: rejected once the cloud says so or another cluster's
// connection holds the endpoint in, and until then what the cloud shows.
func refusedState(at link.State, anyIn bool) link.State {
	if anyIn {
		return link.Rejected
	}
	return at
}

func keep(c link.Connection, typ string) link.Condition { return link.ConditionOf(c.Conditions, typ) }

// registered says whether the endpoint was seen, and where.
func (f EndpointFacts) registered(w Wish) link.Condition {
	c := w.Connection
	cond := func(s link.Truth, reason, message, next string) link.Condition {
		return link.Condition{Type: link.ConditionRegistered, Status: s, Reason: reason, Message: message, NextStep: next}
	}
	const anew = "its owner creates a new endpoint and connects that; delete this connection"
	switch e := f.Endpoint; {
	case e != nil && (e.State == link.Deleted || e.State == link.Deleting):
		return cond(link.False, link.ReasonEndpointDeleted, "the endpoint was deleted in its owner's account", anew)
	case e != nil:
		return cond(link.True, link.ReasonSeen, fmt.Sprintf("the endpoint of account %s asks for the service in %s", e.OwnerID, e.Region), "")
	case !w.ServiceReady:
		return cond(link.False, link.ReasonServiceNotReady, "none of the "+w.holder()+"'s regions has a private endpoint service yet",
			"create the private endpoint services of a cluster there, or wait until they are available")
	case c.OwnerID != "":
		return cond(link.False, link.ReasonEndpointDeleted, "the endpoint is gone from the service: it was deleted in its owner's account", anew)
	}
	return cond(link.False, link.ReasonNotSeen, "no private endpoint service of this "+w.holder()+" knows the endpoint",
		"check the endpoint's id, and that it was created for this "+w.holder()+"'s service name in one of its regions; a new endpoint shows up within a minute")
}

// traffic keeps what is said about flows true to the state: without a connection nothing is reachable, and a connection
// that came back has to be proven anew.
func traffic(conds []link.Condition, state link.State, now time.Time) []link.Condition {
	for _, typ := range []string{link.ConditionDNSReady, link.ConditionReachable} {
		was := link.ConditionOf(conds, typ)
		c := link.Condition{
			Type: typ, Status: link.Unknown, Reason: link.ReasonNoFlowYet, Message: "no flow came through this endpoint yet",
			NextStep: "run postern verify from a host in the endpoint's network",
		}
		switch up := state == link.Available || state == link.Pending || state == link.PendingAcceptance; {
		case up && was.Status == link.True:
			continue
		case !up:
			c.Status, c.Reason, c.Message, c.NextStep = link.False, link.ReasonNotConnected, "the endpoint is not connected", ""
		}
		conds = link.SetCondition(conds, c, now)
	}
	return conds
}

// look says when to look at the endpoint again: soon while anything about it is under way. What is settled needs no look
// of its own, because a difference in the service's list makes the endpoint due.
func (f EndpointFacts) look(p EndpointPlan) time.Duration {
	var look time.Duration
	for _, c := range p.Connections {
		var next time.Duration
		since := c.Connection.UpdatedAt
		if c.Changed {
			since = f.Now
		}
		switch c.Connection.State {
		case link.Pending, link.PendingAcceptance, link.Deleting:
			next = f.Cadence.waiting(since, f.Now)
		}
		if link.ConditionOf(c.Connection.Conditions, link.ConditionRegistered).Reason == link.ReasonServiceNotReady {
			// Also where the endpoint was seen: a service that is made anew lists what it has, and not what it has not.
			next = f.Cadence.waiting(since, f.Now)
		}
		if p.Action != Nothing {
			next = f.Cadence.Fast
		}
		if next > 0 && (look == 0 || next < look) {
			look = next
		}
	}
	return look
}

// Refused says how a connection stands after the cloud refused what Endpoint asked for.
func Refused(c link.Connection, a Action, r Refusal, now time.Time) ConnectionPlan {
	cond := link.Condition{
		Type: link.ConditionAccepted, Status: link.False, Reason: link.ReasonCloudRefused,
		Message:  fmt.Sprintf("the cloud refused to %s the endpoint: %s: %s", a, r.Code, r.Message),
		NextStep: "mend what the cloud names; it is tried again by itself",
	}
	before := c
	if a == Accept {
		c.State = link.Failed
	}
	old := link.ConditionOf(c.Conditions, link.ConditionAccepted)
	c.Conditions = traffic(link.SetCondition(c.Conditions, cond, now), c.State, now)
	p := ConnectionPlan{Connection: c, Changed: !sameConnection(before, c), Notes: stateNote(before.State, c.State, cond)}
	if len(p.Notes) == 0 && old.Reason != cond.Reason {
		p.Notes = []Note{noteOf(NoteNotAccepted, cond)}
	}
	return p
}

// Unreachable says how a connection stands when the cloud could not be asked: as before, and that this is not known.
func Unreachable(c link.Connection, now time.Time) ConnectionPlan {
	before := c
	c.Conditions = link.SetCondition(c.Conditions, link.Condition{
		Type: link.ConditionRegistered, Status: link.Unknown, Reason: link.ReasonCloudUnreachable,
		Message: "the cloud could not be asked about the endpoint; it is tried again by itself",
	}, now)
	return ConnectionPlan{Connection: c, Changed: !sameConnection(before, c)}
}
