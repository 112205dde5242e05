package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

var (
	now     = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	cadence = Cadence{Fast: time.Second, Slow: time.Minute}
)

const (
	mine = "111111111111" // trusted in these tables
	them = "222222222222" // not
)

// wish is a connection as a table spells it.
type wish struct {
	want     link.Want
	state    link.State // PENDING when empty
	accepted string     // reason of the condition Accepted
	truth    link.Truth // of the condition Accepted
	approved bool       // by an admin
	trusts   string     // an account, or nobody
	seen     bool       // the endpoint was seen before
	noneYet  bool       // no service of its regions stands
	age      time.Duration
}

func (w wish) build() Wish {
	state := w.state
	if state == "" {
		state = link.Pending
	}
	c := link.Connection{
		ClusterID: "c", EndpointID: "vpce-0a1b2c3d4e5f60718", Provider: link.AWS, State: state, Want: w.want, Approved: w.approved,
		CreatedAt: now.Add(-w.age), UpdatedAt: now.Add(-w.age), Version: 7,
	}
	if w.seen {
		c.OwnerID, c.Region, c.ServiceID = mine, "us-east-1", "vpce-svc-1"
	}
	if w.accepted != "" {
		c.Conditions = link.SetCondition(nil, link.Condition{Type: link.ConditionAccepted, Status: w.truth, Reason: w.accepted}, now.Add(-time.Hour))
	}
	out := Wish{Connection: c, ServiceReady: !w.noneYet}
	if w.trusts != "" {
		out.Owners = []link.TrustedOwner{{Type: link.AWSAccountID, ExternalOwnerID: w.trusts}}
	}
	return out
}

func at(state link.State, owner string) *link.Endpoint {
	return &link.Endpoint{
		Provider: link.AWS, Region: "us-east-1", ServiceID: "vpce-svc-1", ID: "vpce-0a1b2c3d4e5f60718", OwnerID: owner, State: state, SeenAt: now,
	}
}

func TestEndpoint(t *testing.T) {
	const connected, rejected, gone = link.WantConnected, link.WantRejected, link.WantGone
	var absent *link.Endpoint
	for _, c := range []struct {
		name     string
		endpoint *link.Endpoint
		wish     wish
		action   Action
		state    link.State
		reason   string // of the condition Accepted, or of Registered where the endpoint was not seen
		look     time.Duration
		notes    string
	}{
		// Wanted, and its owner trusted.
		{"asks to come in", at(link.PendingAcceptance, mine), wish{want: connected, trusts: mine}, Accept, link.PendingAcceptance, "ACCEPTING", cadence.Fast, "STATE_CHANGED"},
		{"is being set up", at(link.Pending, mine), wish{want: connected, trusts: mine}, Nothing, link.Pending, "OWNER_TRUSTED", cadence.Fast, "ACCEPTED"},
		{"is set up for a long time already", at(link.Pending, mine), wish{want: connected, trusts: mine, seen: true, accepted: "OWNER_TRUSTED", truth: link.True, age: time.Hour}, Nothing, link.Pending, "OWNER_TRUSTED", cadence.Fast, ""},
		{"stands", at(link.Available, mine), wish{want: connected, trusts: mine}, Nothing, link.Available, "OWNER_TRUSTED", 0, "STATE_CHANGED ACCEPTED"},
		{"stands, everyone is trusted", at(link.Available, mine), wish{want: connected, trusts: "*"}, Nothing, link.Available, "OWNER_TRUSTED", 0, "STATE_CHANGED ACCEPTED"},
		{"was rejected for its owner, who is trusted now", at(link.Rejected, mine), wish{want: connected, trusts: mine, state: link.Rejected, accepted: "OWNER_NOT_TRUSTED", truth: link.False}, Accept, link.Pending, "ACCEPTING", cadence.Fast, "STATE_CHANGED"},
		{"was rejected and is asked for again", at(link.Rejected, mine), wish{want: connected, trusts: mine, accepted: "LOOKING", truth: link.Unknown}, Accept, link.Pending, "ACCEPTING", cadence.Fast, ""},
		{"the cloud refused to let it in; tried again", at(link.PendingAcceptance, mine), wish{want: connected, trusts: mine, state: link.Failed, accepted: "CLOUD_REFUSED", truth: link.False}, Accept, link.PendingAcceptance, "ACCEPTING", cadence.Fast, "STATE_CHANGED"},
		{"was let in, and somebody rejected it at the cloud", at(link.Rejected, mine), wish{want: connected, trusts: mine, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True}, Nothing, link.Rejected, "REJECTED_OUTSIDE", 0, "STATE_CHANGED DRIFT"},
		{"still rejected by somebody at the cloud", at(link.Rejected, mine), wish{want: connected, trusts: mine, state: link.Rejected, accepted: "REJECTED_OUTSIDE", truth: link.False}, Nothing, link.Rejected, "REJECTED_OUTSIDE", 0, ""},
		{"somebody at the cloud thought better of it", at(link.Available, mine), wish{want: connected, trusts: mine, state: link.Rejected, accepted: "REJECTED_OUTSIDE", truth: link.False}, Nothing, link.Available, "OWNER_TRUSTED", 0, "STATE_CHANGED ACCEPTED"},
		{"expired", at(link.Expired, mine), wish{want: connected, trusts: mine}, Nothing, link.Expired, "ENDPOINT_EXPIRED", 0, "STATE_CHANGED NOT_ACCEPTED"},
		{"failed at the cloud", at(link.Failed, mine), wish{want: connected, trusts: mine}, Nothing, link.Failed, "ENDPOINT_FAILED", 0, "STATE_CHANGED NOT_ACCEPTED"},
		{"its owner deletes it", at(link.Deleting, mine), wish{want: connected, trusts: mine, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True}, Nothing, link.Deleting, "ENDPOINT_DELETED", cadence.Fast, "STATE_CHANGED DRIFT"},
		{"its owner deleted it", at(link.Deleted, mine), wish{want: connected, trusts: mine, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True}, Nothing, link.Deleted, "ENDPOINT_DELETED", 0, "STATE_CHANGED DRIFT"},
		{"is gone from the list", absent, wish{want: connected, trusts: mine, seen: true, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True}, Nothing, link.Deleted, "ENDPOINT_DELETED", 0, "STATE_CHANGED DRIFT"},
		{"was seen, and its service does not stand now", absent, wish{want: connected, trusts: mine, seen: true, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True, noneYet: true}, Nothing, link.Available, "SERVICE_NOT_READY", cadence.Fast, ""},
		{"was never seen", absent, wish{want: connected, trusts: mine}, Nothing, link.Pending, "ENDPOINT_NOT_SEEN", cadence.Fast, ""},
		{"was not seen for an hour, as is known", absent, wish{want: connected, trusts: mine, age: time.Hour}, Nothing, link.Pending, "ENDPOINT_NOT_SEEN", cadence.Fast, ""},
		{"no service yet", absent, wish{want: connected, trusts: mine, noneYet: true}, Nothing, link.Pending, "SERVICE_NOT_READY", cadence.Fast, ""},

		// Wanted, and its owner not trusted.
		{"a stranger asks to come in", at(link.PendingAcceptance, them), wish{want: connected, trusts: mine}, Reject, link.PendingAcceptance, "OWNER_NOT_TRUSTED", cadence.Fast, "STATE_CHANGED NOT_ACCEPTED"},
		{"a stranger is in", at(link.Available, them), wish{want: connected, trusts: mine, state: link.Available, accepted: "OWNER_NOT_TRUSTED", truth: link.False}, Reject, link.Available, "OWNER_NOT_TRUSTED", cadence.Fast, ""},
		{"a stranger is being let in", at(link.Pending, them), wish{want: connected}, Reject, link.Pending, "OWNER_NOT_TRUSTED", cadence.Fast, "NOT_ACCEPTED"},
		{"a stranger was rejected", at(link.Rejected, them), wish{want: connected, trusts: mine, accepted: "OWNER_NOT_TRUSTED", truth: link.False}, Nothing, link.Rejected, "OWNER_NOT_TRUSTED", 0, "STATE_CHANGED"},
		{"a stranger whom an admin approved asks to come in", at(link.PendingAcceptance, them), wish{want: connected, approved: true}, Accept, link.PendingAcceptance, "ACCEPTING", cadence.Fast, "STATE_CHANGED"},
		{"a stranger whom an admin approved is in", at(link.Available, them), wish{want: connected, approved: true}, Nothing, link.Available, "APPROVED_BY_ADMIN", 0, "STATE_CHANGED ACCEPTED"},

		// Rejected by an admin, whoever owns it.
		{"rejected, asks to come in", at(link.PendingAcceptance, mine), wish{want: rejected, trusts: mine, state: link.Rejected, accepted: "REJECTED_BY_ADMIN", truth: link.False}, Reject, link.PendingAcceptance, "REJECTED_BY_ADMIN", cadence.Fast, "STATE_CHANGED"},
		{"rejected, is in", at(link.Available, mine), wish{want: rejected, trusts: mine, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True}, Reject, link.Available, "REJECTED_BY_ADMIN", cadence.Fast, "NOT_ACCEPTED"},
		{"rejected, and out", at(link.Rejected, mine), wish{want: rejected, trusts: mine, state: link.Rejected, accepted: "REJECTED_BY_ADMIN", truth: link.False}, Nothing, link.Rejected, "REJECTED_BY_ADMIN", 0, ""},
		{"rejected before it was seen", absent, wish{want: rejected, state: link.Rejected, accepted: "REJECTED_BY_ADMIN", truth: link.False}, Nothing, link.Rejected, "REJECTED_BY_ADMIN", 0, ""},

		// Deleted by whoever asked for it.
		{"unwanted, is in", at(link.Available, mine), wish{want: gone, trusts: mine, state: link.Deleting, accepted: "DISCONNECTED", truth: link.False}, Reject, link.Deleting, "DISCONNECTED", cadence.Fast, ""},
		{"unwanted, asks to come in", at(link.PendingAcceptance, mine), wish{want: gone, trusts: mine, state: link.Deleting, accepted: "DISCONNECTED", truth: link.False}, Reject, link.Deleting, "DISCONNECTED", cadence.Fast, ""},
		{"unwanted, and out", at(link.Rejected, mine), wish{want: gone, trusts: mine, state: link.Deleting, accepted: "DISCONNECTED", truth: link.False}, Nothing, link.Deleted, "DISCONNECTED", 0, "STATE_CHANGED"},
		{"unwanted, and deleted by its owner", at(link.Deleted, mine), wish{want: gone, state: link.Deleting, accepted: "DISCONNECTED", truth: link.False}, Nothing, link.Deleted, "DISCONNECTED", 0, "STATE_CHANGED"},
		{"unwanted, and never seen", absent, wish{want: gone, state: link.Deleting, accepted: "DISCONNECTED", truth: link.False}, Nothing, link.Deleted, "DISCONNECTED", 0, "STATE_CHANGED"},
		{"unwanted, and expired", at(link.Expired, mine), wish{want: gone, state: link.Deleting, accepted: "DISCONNECTED", truth: link.False}, Nothing, link.Deleted, "DISCONNECTED", 0, "STATE_CHANGED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := EndpointFacts{Endpoint: c.endpoint, ServiceName: "com.amazonaws.vpce.us-east-1.vpce-svc-1", Wishes: []Wish{c.wish.build()}, Now: now, Cadence: cadence}
			got := Endpoint(facts)
			conn := got.Connections[0]
			if got.Action != c.action || conn.Connection.State != c.state || got.Look != c.look {
				t.Errorf("%s, state %s, look %v; want %s, %s, %v", got.Action, conn.Connection.State, got.Look, c.action, c.state, c.look)
			}
			accepted := link.ConditionOf(conn.Connection.Conditions, link.ConditionAccepted)
			registered := link.ConditionOf(conn.Connection.Conditions, link.ConditionRegistered)
			if accepted.Reason != c.reason && (c.endpoint != nil || registered.Reason != c.reason) {
				t.Errorf("reasons %s, %s; want %s", accepted.Reason, registered.Reason, c.reason)
			}
			var types []string
			for _, n := range conn.Notes {
				types = append(types, n.Type)
				if n.Message == "" || n.Reason == "" {
					t.Errorf("a note says nothing: %+v", n)
				}
			}
			if s := strings.Join(types, " "); s != c.notes {
				t.Errorf("notes %q, want %q", s, c.notes)
			}
			settles(t, facts, got)
			explains(t, conn.Connection)
		})
	}
}

// settles checks that a plan carried into the books is not news the next time.
func settles(t *testing.T, f EndpointFacts, p EndpointPlan) {
	t.Helper()
	for i, c := range p.Connections {
		if !c.Changed && !cmp.Equal(c.Connection, f.Wishes[i].Connection) {
			t.Errorf("not told as changed: %s", cmp.Diff(f.Wishes[i].Connection, c.Connection))
		}
		if !c.Changed && len(c.Notes) > 0 {
			t.Errorf("nothing changed, and yet: %+v", c.Notes)
		}
		f.Wishes[i].Connection = c.Connection
	}
	f.Now = f.Now.Add(time.Second)
	for _, c := range Endpoint(f).Connections {
		if c.Changed || len(c.Notes) > 0 {
			t.Errorf("the same facts are news again: %+v", c)
		}
	}
}

// explains checks that a state that is not good says what to do, and that a good one asks for nothing.
func explains(t *testing.T, c link.Connection) {
	t.Helper()
	accepted := link.ConditionOf(c.Conditions, link.ConditionAccepted)
	switch c.State {
	case link.Rejected, link.Failed, link.Expired:
		if accepted.Status != link.False || accepted.NextStep == "" {
			t.Errorf("%s and no next step: %+v", c.State, accepted)
		}
	case link.Available:
		if accepted.Status == link.True && accepted.NextStep != "" {
			t.Errorf("accepted, and still something to do: %+v", accepted)
		}
	case link.Deleted, link.Deleting:
		if r := link.ConditionOf(c.Conditions, link.ConditionReachable); r.Status == link.True {
			t.Errorf("%s and reachable", c.State)
		}
	}
}

func TestWaitingGetsSlow(t *testing.T) {
	w := wish{want: link.WantConnected, trusts: mine}.build()
	f := EndpointFacts{Wishes: []Wish{w}, Now: now, Cadence: cadence}
	first := Endpoint(f)
	f.Wishes[0].Connection = first.Connections[0].Connection // recorded now
	f.Wishes[0].Connection.UpdatedAt = now
	for _, c := range []struct{ after, look time.Duration }{
		{0, cadence.Fast}, {4 * cadence.Fast, cadence.Fast}, {2 * time.Minute, 30 * time.Second}, {40 * time.Minute, LongestLook}, {24 * time.Hour, LongestLook},
	} {
		f.Now = now.Add(c.after)
		if got := Endpoint(f).Look; got != c.look {
			t.Errorf("%v after it was connected an unseen endpoint is looked for again in %v, want %v", c.after, got, c.look)
		}
	}
}

func TestSharedEndpoint(t *testing.T) {
	in := wish{want: link.WantConnected, trusts: mine}
	untrusting := wish{want: link.WantConnected}
	leaving := wish{want: link.WantGone, state: link.Deleting}
	rejecting := wish{want: link.WantRejected, state: link.Rejected}
	outside := wish{want: link.WantConnected, trusts: mine, state: link.Available, accepted: "OWNER_TRUSTED", truth: link.True}
	for _, c := range []struct {
		name   string
		at     link.State
		wishes []wish
		action Action
		states []link.State
	}{
		{"nobody registered it", link.PendingAcceptance, nil, Nothing, nil},
		{"nobody registered it, and it is in", link.Available, nil, Nothing, nil},
		{"one lets it in", link.PendingAcceptance, []wish{untrusting, in}, Accept, []link.State{link.Rejected, link.PendingAcceptance}},
		{"one keeps it in", link.Available, []wish{untrusting, in, rejecting, leaving}, Nothing, []link.State{link.Rejected, link.Available, link.Rejected, link.Deleted}},
		{"the last one leaves", link.Available, []wish{leaving, untrusting}, Reject, []link.State{link.Deleting, link.Available}},
		{"all leave", link.Available, []wish{leaving, leaving}, Reject, []link.State{link.Deleting, link.Deleting}},
		{"one asks anew for what was rejected outside", link.Rejected, []wish{outside, in}, Accept, []link.State{link.Rejected, link.Pending}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := EndpointFacts{Endpoint: at(c.at, mine), Now: now, Cadence: cadence}
			for _, w := range c.wishes {
				f.Wishes = append(f.Wishes, w.build())
			}
			got := Endpoint(f)
			var states []link.State
			for _, p := range got.Connections {
				states = append(states, p.Connection.State)
			}
			if got.Action != c.action || !cmp.Equal(states, c.states) {
				t.Errorf("%s, %v; want %s, %v", got.Action, states, c.action, c.states)
			}
			settles(t, f, got)
		})
	}
}

func TestUnregisteredEndpoint(t *testing.T) {
	mineIs, anyone := []link.TrustedOwner{{Type: link.AWSAccountID, ExternalOwnerID: mine}}, []link.TrustedOwner{{Type: link.AWSAccountID, ExternalOwnerID: policy.Everyone}}
	for _, c := range []struct {
		name   string
		at     *link.Endpoint
		owners []link.TrustedOwner
		want   Action
	}{
		{"asks to come in, its owner is trusted by some cluster", at(link.PendingAcceptance, mine), mineIs, Accept},
		{"asks to come in, some cluster trusts everyone", at(link.PendingAcceptance, them), anyone, Accept},
		{"asks to come in, nobody trusts its owner", at(link.PendingAcceptance, them), mineIs, Nothing},
		{"asks to come in, nobody trusts anybody", at(link.PendingAcceptance, mine), nil, Nothing},
		{"asks to come in, the same number is an account of another cloud", at(link.PendingAcceptance, mine), []link.TrustedOwner{{Type: link.GCPProjectID, ExternalOwnerID: mine}}, Nothing},
		{"asks to come in, its owner is not known yet", at(link.PendingAcceptance, ""), anyone, Nothing},
		{"was let in", at(link.Available, mine), mineIs, Nothing},
		{"is in, and its owner is trusted no more", at(link.Available, mine), nil, Nothing},
		{"was rejected", at(link.Rejected, mine), mineIs, Nothing},
		{"expired", at(link.Expired, mine), mineIs, Nothing},
		{"is gone", nil, mineIs, Nothing},
	} {
		got := Endpoint(EndpointFacts{Endpoint: c.at, Owners: c.owners, Now: now, Cadence: cadence})
		if got.Action != c.want || len(got.Connections) != 0 || got.Look != 0 {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
	// Whom other clusters trust is nothing to one that has a connection and does not.
	f := EndpointFacts{Endpoint: at(link.PendingAcceptance, mine), Owners: mineIs, Wishes: []Wish{wish{want: link.WantConnected}.build()}, Now: now, Cadence: cadence}
	if got := Endpoint(f); got.Action != Reject {
		t.Errorf("registered with a cluster that does not trust its owner: %s, want it rejected", got.Action)
	}
}

func TestConnectionThatComesBackHasToBeProvenAnew(t *testing.T) {
	w := wish{want: link.WantConnected, state: link.Available}.build()
	w.Connection.Conditions = link.SetCondition(w.Connection.Conditions, link.Condition{Type: link.ConditionReachable, Status: link.True, Reason: link.ReasonFlowSeen}, now)
	f := EndpointFacts{Endpoint: at(link.Rejected, mine), Wishes: []Wish{w}, Now: now, Cadence: cadence}
	reachable := func() link.Condition {
		f.Wishes[0].Connection = Endpoint(f).Connections[0].Connection
		return link.ConditionOf(f.Wishes[0].Connection.Conditions, link.ConditionReachable)
	}
	if got := reachable(); got.Status != link.False || got.Reason != link.ReasonNotConnected {
		t.Errorf("rejected: %+v", got)
	}
	f.Wishes[0].Owners = []link.TrustedOwner{{Type: link.AWSAccountID, ExternalOwnerID: mine}}
	f.Endpoint = at(link.Available, mine)
	if got := reachable(); got.Status != link.Unknown || got.Reason != link.ReasonNoFlowYet {
		t.Errorf("back again: %+v", got)
	}
}

func TestRefusedAndUnreachable(t *testing.T) {
	c := wish{want: link.WantConnected, state: link.PendingAcceptance}.build().Connection
	no := Refusal{Code: "VpcEndpointLimitExceeded", Message: "too many"}
	p := Refused(c, Accept, no, now)
	accepted := link.ConditionOf(p.Connection.Conditions, link.ConditionAccepted)
	if p.Connection.State != link.Failed || !p.Changed || !strings.Contains(accepted.Message, "VpcEndpointLimitExceeded: too many") || accepted.NextStep == "" {
		t.Errorf("refused to accept: %+v", p)
	}
	if again := Refused(p.Connection, Accept, no, now.Add(time.Hour)); again.Changed || len(again.Notes) > 0 {
		t.Errorf("the same refusal is news again: %+v", again)
	}
	if p := Refused(c, Reject, no, now); p.Connection.State != c.State {
		t.Errorf("refused to reject: state %s, want it as it was", p.Connection.State)
	}
	u := Unreachable(c, now)
	if cond := link.ConditionOf(u.Connection.Conditions, link.ConditionRegistered); u.Connection.State != c.State || cond.Status != link.Unknown || cond.Reason != link.ReasonCloudUnreachable {
		t.Errorf("unreachable: %+v", u)
	}
	if Unreachable(u.Connection, now.Add(time.Hour)).Changed {
		t.Error("the same outage is news again")
	}
}

// A project's connection is for one region: an endpoint of another one is not there for it, whoever owns it.
func TestProjectsEndpointElsewhere(t *testing.T) {
	for region, want := range map[string]struct {
		action Action
		state  link.State
		reason string // of the condition Registered
	}{
		"us-east-1": {Accept, link.PendingAcceptance, link.ReasonSeen},
		"us-west-2": {Reject, link.Pending, link.ReasonNotSeen},
	} {
		w := wish{want: link.WantConnected, trusts: mine}.build()
		w.Connection.ClusterID, w.Connection.ProjectID, w.Connection.Region = "", "p", region
		p := Endpoint(EndpointFacts{Endpoint: at(link.PendingAcceptance, mine), Wishes: []Wish{w}, Now: now, Cadence: cadence})
		c := p.Connections[0].Connection
		if got := link.ConditionOf(c.Conditions, link.ConditionRegistered); p.Action != want.action || c.State != want.state || got.Reason != want.reason || c.Region != region {
			t.Errorf("%s: %s, %+v", region, p.Action, c)
		}
	}
}
