package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
)

var egressNow = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

const (
	egressTarget = "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718"
	egressID     = link.EndpointID("vpce-0a1b2c3d4e5f60718")
)

// egress is a wanted endpoint in a state, asked for an hour ago, with whatever else set makes of it.
func egress(state link.State, set ...func(*link.Egress)) link.Egress {
	e := link.Egress{
		ID: "1", ClusterID: "c", Provider: link.AWS, Region: "us-east-1", Target: egressTarget, TargetType: link.PrivateService,
		State: state, Want: link.WantConnected, RequestedAt: egressNow.Add(-time.Hour), UpdatedAt: egressNow.Add(-time.Minute),
	}
	for _, s := range set {
		s(&e)
	}
	return e
}

func with(id link.EndpointID) func(*link.Egress) {
	return func(e *link.Egress) { e.EndpointID, e.Address = id, "address.example" }
}
func gone(e *link.Egress) { e.Want = link.WantGone }

func named(state link.NamesState, wanted, made string) func(*link.Egress) {
	return func(e *link.Egress) {
		e.NamesState, e.DomainNames, e.MadeNames = state, strings.Fields(wanted), strings.Fields(made)
	}
}

func asked(ago time.Duration) func(*link.Egress) {
	return func(e *link.Egress) { e.RequestedAt = egressNow.Add(-ago) }
}

func seen(state link.State) *plan.ObservedEgress {
	return &plan.ObservedEgress{EndpointID: egressID, State: state, Address: "address.example"}
}

func TestEgress(t *testing.T) {
	const fast, slow = time.Second, time.Minute
	for _, c := range []struct {
		name     string
		before   link.Egress
		observed *plan.ObservedEgress
		gone     bool

		action     plan.EgressAction
		state      link.State
		conditions string // Provisioned, Accepted, DNSReady
		notes      string
		names      string // to make / to take away / in the books, where the action is about names
		look       time.Duration
	}{
		{
			name: "asked for", before: egress(link.Pending),
			action: plan.EgressEnsure, state: link.Pending, conditions: "Unknown CREATING, Unknown CREATING, Unknown NO_DOMAIN_NAMES", look: fast,
		},
		{
			name: "made", before: egress(link.Pending), observed: seen(link.PendingAcceptance),
			state: link.PendingAcceptance, conditions: "True PROVISIONED, False AWAITS_CUSTOMER, Unknown NO_DOMAIN_NAMES",
			notes: "STATE_CHANGED AWAITS_CUSTOMER", look: fast,
		},
		{
			name: "accepted", before: egress(link.PendingAcceptance, with(egressID)), observed: seen(link.Pending),
			state: link.Pending, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED ACCEPTED_BY_CUSTOMER", look: fast,
		},
		{
			name: "works", before: egress(link.Pending, with(egressID)), observed: seen(link.Available),
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED ACCEPTED_BY_CUSTOMER", look: slow,
		},
		{
			name: "works, with names to come", before: egress(link.Pending, with(egressID), named(link.NamesPending, "a.b c.d", "")), observed: seen(link.Available),
			action: plan.EgressSetNames, names: "a.b c.d//a.b c.d",
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown DOMAIN_NAMES_PENDING", notes: "STATE_CHANGED ACCEPTED_BY_CUSTOMER", look: fast,
		},
		{
			name: "another name in the place of one", before: egress(link.Available, with(egressID), named(link.NamesPending, "a.b e.f", "a.b c.d")), observed: seen(link.Available),
			action: plan.EgressSetNames, names: "a.b e.f/c.d/a.b c.d e.f",
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown DOMAIN_NAMES_PENDING", look: fast,
		},
		{
			name: "names that nobody wants any more", before: egress(link.Available, with(egressID), named("", "", "a.b")), observed: seen(link.Available),
			action: plan.EgressSetNames, names: "/a.b/a.b",
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown NO_DOMAIN_NAMES", look: fast,
		},
		{
			name: "names that nobody wants of one that waits", before: egress(link.PendingAcceptance, with(egressID), named("", "", "a.b")), observed: seen(link.PendingAcceptance),
			action: plan.EgressSetNames, names: "/a.b/a.b",
			state: link.PendingAcceptance, conditions: "True PROVISIONED, False AWAITS_CUSTOMER, Unknown NO_DOMAIN_NAMES", notes: "NOT_ACCEPTED AWAITS_CUSTOMER", look: fast,
		},
		{
			name: "names that stand", before: egress(link.Available, with(egressID), named(link.NamesAvailable, "a.b", "a.b")), observed: seen(link.Available),
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, ", look: slow,
		},
		{
			name: "names wait for the endpoint", before: egress(link.PendingAcceptance, with(egressID), named(link.NamesPending, "a.b", "")), observed: seen(link.PendingAcceptance),
			state: link.PendingAcceptance, conditions: "True PROVISIONED, False AWAITS_CUSTOMER, Unknown DOMAIN_NAMES_WAIT_ENDPOINT", notes: "NOT_ACCEPTED AWAITS_CUSTOMER", look: fast,
		},
		{
			name: "rejected by the customer", before: egress(link.Available, with(egressID)), observed: seen(link.Rejected),
			state: link.Rejected, conditions: "True PROVISIONED, False REJECTED_BY_CUSTOMER, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED REJECTED_BY_CUSTOMER", look: slow,
		},
		{
			name: "accepted after all", before: egress(link.Rejected, with(egressID)), observed: seen(link.Available),
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED ACCEPTED_BY_CUSTOMER", look: slow,
		},
		{
			name: "deleted past us", before: egress(link.Available, with(egressID), named(link.NamesAvailable, "a.b", "a.b"), asked(30*24*time.Hour)),
			action: plan.EgressEnsure, state: link.Pending, conditions: "Unknown ENDPOINT_LOST, Unknown CREATING, Unknown DOMAIN_NAMES_WAIT_ENDPOINT",
			notes: "STATE_CHANGED ENDPOINT_LOST, DRIFT ENDPOINT_LOST", look: fast,
		},
		{
			name: "being deleted past us", before: egress(link.Available, with(egressID)), observed: seen(link.Deleting),
			state: link.Pending, conditions: "Unknown ENDPOINT_LOST, Unknown CREATING, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED ENDPOINT_LOST, DRIFT ENDPOINT_LOST", look: fast,
		},
		{
			name: "failed", before: egress(link.Pending, with(egressID)), observed: seen(link.Failed),
			action: plan.EgressRemove, state: link.Failed, conditions: "False ENDPOINT_FAILED, False ENDPOINT_FAILED, Unknown NO_DOMAIN_NAMES",
			notes: "STATE_CHANGED ENDPOINT_FAILED", look: fast,
		},
		{
			name: "failed and taken down", before: egress(link.Failed, with(egressID)), gone: true,
			state: link.Failed, conditions: ", , Unknown NO_DOMAIN_NAMES",
		},
		{
			name: "a day left", before: egress(link.PendingAcceptance, with(egressID), asked(6*24*time.Hour+time.Minute)), observed: seen(link.PendingAcceptance),
			state: link.PendingAcceptance, conditions: "True PROVISIONED, False EXPIRES_SOON, Unknown NO_DOMAIN_NAMES", notes: "EXPIRING EXPIRES_SOON", look: fast,
		},
		{
			name: "a day left for one that the customer never allowed", before: egress(link.Pending, asked(6*24*time.Hour+time.Minute)),
			action: plan.EgressEnsure, state: link.Pending, conditions: "Unknown CREATING, Unknown EXPIRES_SOON, Unknown NO_DOMAIN_NAMES", notes: "EXPIRING EXPIRES_SOON", look: fast,
		},
		{
			name: "nobody answered", before: egress(link.PendingAcceptance, with(egressID), asked(7*24*time.Hour)), observed: seen(link.PendingAcceptance),
			action: plan.EgressRemove, state: link.Expired, conditions: "False REQUEST_EXPIRED, False REQUEST_EXPIRED, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED REQUEST_EXPIRED", look: fast,
		},
		{
			name: "nobody allowed it", before: egress(link.Pending, asked(7*24*time.Hour)),
			action: plan.EgressRemove, state: link.Expired, conditions: "False REQUEST_EXPIRED, False REQUEST_EXPIRED, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED REQUEST_EXPIRED", look: fast,
		},
		{
			name: "the cloud's own patience is over", before: egress(link.PendingAcceptance, with(egressID)), observed: seen(link.Expired),
			action: plan.EgressRemove, state: link.Expired, conditions: "False REQUEST_EXPIRED, False REQUEST_EXPIRED, Unknown NO_DOMAIN_NAMES", notes: "STATE_CHANGED REQUEST_EXPIRED", look: fast,
		},
		{
			name: "accepted long ago does not expire", before: egress(link.Available, with(egressID), asked(100*24*time.Hour)), observed: seen(link.Available),
			state: link.Available, conditions: "True PROVISIONED, True ACCEPTED_BY_CUSTOMER, Unknown NO_DOMAIN_NAMES", look: slow,
		},
		{
			name: "its end, names first", before: egress(link.Deleting, gone, with(egressID), named(link.NamesAvailable, "a.b", "a.b c.d")), observed: seen(link.Available),
			action: plan.EgressSetNames, names: "/a.b c.d/a.b c.d",
			state: link.Deleting, conditions: "False DELETED, False DELETED, False DELETED", look: fast,
		},
		{
			name: "its end", before: egress(link.Deleting, gone, with(egressID)), observed: seen(link.Available),
			action: plan.EgressRemove, state: link.Deleting, conditions: "False DELETED, False DELETED, False DELETED", look: fast,
		},
		{
			name: "its end when none is seen", before: egress(link.Deleting, gone),
			action: plan.EgressRemove, state: link.Deleting, conditions: "False DELETED, False DELETED, False DELETED", look: fast,
		},
		{
			name: "ended", before: egress(link.Deleting, gone, with(egressID)), gone: true,
			state: link.Deleted, conditions: "False DELETED, False DELETED, False DELETED", notes: "STATE_CHANGED DELETED",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := plan.EgressFacts{
				Egress: c.before, Observed: c.observed, Gone: c.gone, Principal: "arn:aws:iam::111111111111:root", Now: egressNow,
				Cadence: plan.Cadence{Fast: fast, Slow: slow},
			}
			p := plan.Egress(facts)
			if p.Action != c.action || p.Egress.State != c.state || p.Look != c.look || p.Over != (c.state == link.Deleted) {
				t.Errorf("%s, %s, look again in %v, over %t; want %s, %s, %v", p.Action, p.Egress.State, p.Look, p.Over, c.action, c.state, c.look)
			}
			if got := told(p.Egress); got != c.conditions {
				t.Errorf("conditions %s\nwant       %s", got, c.conditions)
			}
			if got := lines(p.Notes); got != c.notes {
				t.Errorf("notes %s\nwant  %s", got, c.notes)
			}
			if p.Action == plan.EgressSetNames {
				if got := strings.Join(p.Names, " ") + "/" + strings.Join(p.Gone, " ") + "/" + strings.Join(p.Egress.MadeNames, " "); got != c.names {
					t.Errorf("names %s, want %s", got, c.names)
				}
			}
			if facts.Observed == nil && c.gone && p.Egress.EndpointID != "" {
				t.Error("it is held for standing and is gone")
			}
			// What is decided is decided: with the plan in the books, the same facts say nothing new.
			facts.Egress = p.Egress
			if again := plan.Egress(facts); again.Changed || len(again.Notes) > 0 {
				t.Errorf("again it says %+v", again)
			}
			if p.Changed != (told(c.before) != told(p.Egress) || c.before.State != p.Egress.State || c.before.EndpointID != p.Egress.EndpointID ||
				!slices.Equal(c.before.MadeNames, p.Egress.MadeNames)) {
				t.Errorf("changed: %t", p.Changed)
			}
		})
	}
}

// told are an endpoint's conditions Provisioned, Accepted and DNSReady.
func told(e link.Egress) string {
	var out []string
	for _, typ := range []string{link.ConditionProvisioned, link.ConditionAccepted, link.ConditionDNSReady} {
		c := link.ConditionOf(e.Conditions, typ)
		text := ""
		if c.Reason != "" {
			text = string(c.Status) + " " + c.Reason
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func lines(notes []plan.Note) string {
	var out []string
	for _, n := range notes {
		out = append(out, n.Type+" "+n.Reason)
	}
	return strings.Join(out, ", ")
}

// TestEgressNextSteps: who waits for the customer says what the customer types.
func TestEgressNextSteps(t *testing.T) {
	facts := plan.EgressFacts{Egress: egress(link.Pending), Observed: seen(link.PendingAcceptance), Principal: "arn:aws:iam::111111111111:root", Now: egressNow}
	accept := link.ConditionOf(plan.Egress(facts).Egress.Conditions, link.ConditionAccepted).NextStep
	if want := "aws ec2 accept-vpc-endpoint-connections --region us-east-1 --service-id vpce-svc-0a1b2c3d4e5f60718 --vpc-endpoint-ids " + string(egressID); !strings.Contains(accept, want) {
		t.Errorf("to accept: %s", accept)
	}
	facts.Observed = nil
	p := plan.EgressRefused(facts, plan.EgressEnsure, link.ReasonServiceNotVisible, plan.Refusal{Code: "InvalidServiceName", Message: "no"})
	allow := link.ConditionOf(p.Egress.Conditions, link.ConditionProvisioned).NextStep
	if want := "aws ec2 modify-vpc-endpoint-service-permissions --region us-east-1 --service-id vpce-svc-0a1b2c3d4e5f60718 --add-allowed-principals arn:aws:iam::111111111111:root"; !strings.Contains(allow, want) {
		t.Errorf("to allow: %s", allow)
	}
}

func TestEgressRefused(t *testing.T) {
	for _, c := range []struct {
		name, reason      string
		action            plan.EgressAction
		before            link.Egress
		state             link.State
		conditions, notes string
		names             link.NamesState
	}{
		{
			"not allowed", link.ReasonServiceNotVisible, plan.EgressEnsure, egress(link.Pending),
			link.Pending, "False SERVICE_NOT_VISIBLE, , ", "NOT_ACCEPTED SERVICE_NOT_VISIBLE", "",
		},
		{"no zone", link.ReasonNoCommonZone, plan.EgressEnsure, egress(link.Pending), link.Pending, "False NO_COMMON_ZONE, , ", "NOT_ACCEPTED NO_COMMON_ZONE", ""},
		{"our own", link.ReasonOwnService, plan.EgressEnsure, egress(link.Pending), link.Failed, "False OWN_SERVICE, , ", "STATE_CHANGED OWN_SERVICE", ""},
		{"the vendor's quota", "QUOTA_EXCEEDED", plan.EgressEnsure, egress(link.Pending), link.Pending, "False CLOUD_REFUSED, , ", "NOT_ACCEPTED CLOUD_REFUSED", ""},
		{
			"a name is taken", link.ReasonNameTaken, plan.EgressSetNames, egress(link.Available, named(link.NamesPending, "a.b", "a.b")),
			link.Available, ", , False NAME_TAKEN", "NOT_ACCEPTED NAME_TAKEN", link.NamesFailed,
		},
		{
			"names, otherwise", "NOT_AUTHORIZED", plan.EgressSetNames, egress(link.Available, named(link.NamesPending, "a.b", "a.b")),
			link.Available, ", , False CLOUD_REFUSED", "NOT_ACCEPTED CLOUD_REFUSED", link.NamesFailed,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := plan.EgressFacts{Egress: c.before, Now: egressNow, Cadence: plan.Cadence{Fast: time.Second, Slow: time.Minute}}
			if c.action == plan.EgressSetNames {
				facts.Observed = seen(link.Available)
			}
			no := plan.Refusal{Code: "SomeCode", Message: "the cloud's words"}
			p := plan.EgressRefused(facts, c.action, c.reason, no)
			if !p.Changed || p.Egress.State != c.state || p.Look != time.Minute || p.Egress.NamesState != c.names {
				t.Errorf("%+v", p)
			}
			if got := told(p.Egress); got != c.conditions {
				t.Errorf("conditions %s, want %s", got, c.conditions)
			}
			if got := lines(p.Notes); got != c.notes {
				t.Errorf("notes %s, want %s", got, c.notes)
			}
			// The next try and the next no of the same kind are nothing new.
			facts.Egress = p.Egress
			next := plan.Egress(facts)
			facts.Egress = next.Egress
			told := plan.EgressRefused(facts, c.action, c.reason, no)
			for _, n := range append(next.Notes, told.Notes...) {
				if n.Reason == p.Notes[0].Reason {
					t.Errorf("told again: %+v", n)
				}
			}
		})
	}
}

func TestEgressNamed(t *testing.T) {
	e := egress(link.Available, named(link.NamesPending, "a.b", "a.b c.d"))
	p := plan.EgressNamed(e, []string{"a.b"}, []string{"c.d"}, egressNow)
	if !p.Changed || p.Egress.NamesState != link.NamesAvailable || !slices.Equal(p.Egress.MadeNames, []string{"a.b"}) || lines(p.Notes) != "PROVISIONED DOMAIN_NAMES_READY" {
		t.Errorf("%+v", p)
	}
	p = plan.EgressNamed(e, nil, []string{"c.d"}, egressNow)
	if p.Egress.NamesState != link.NamesPending || !slices.Equal(p.Egress.MadeNames, []string{"a.b"}) {
		t.Errorf("only taken away: %+v", p)
	}
}

// TestEgressUnreachable: an outage takes nothing away from what is known.
func TestEgressUnreachable(t *testing.T) {
	works := plan.Egress(plan.EgressFacts{Egress: egress(link.Pending), Observed: seen(link.Available), Now: egressNow}).Egress
	p := plan.EgressUnreachable(works, egressNow)
	if !p.Changed || p.Egress.State != link.Available || !strings.HasPrefix(told(p.Egress), "Unknown CLOUD_UNREACHABLE, True ACCEPTED_BY_CUSTOMER") {
		t.Errorf("%s %s", p.Egress.State, told(p.Egress))
	}
	refused := plan.EgressRefused(plan.EgressFacts{Egress: egress(link.Pending), Now: egressNow}, plan.EgressEnsure, link.ReasonServiceNotVisible, plan.Refusal{}).Egress
	if p := plan.EgressUnreachable(refused, egressNow); p.Changed {
		t.Errorf("what the customer has to do was forgotten: %s", told(p.Egress))
	}
}
