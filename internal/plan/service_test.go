package plan

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

func TestService(t *testing.T) {
	target := netip.MustParseAddrPort("10.0.0.1:7443")
	elsewhere := netip.MustParseAddrPort("10.9.9.9:7443")
	region := link.Region{Provider: link.AWS, Name: "us-east-1", Targets: []netip.AddrPort{target}, Version: 3}
	observe := func(state link.ServiceState, edit ...func(*ObservedService)) *ObservedService {
		o := &ObservedService{
			ServiceID: "vpce-svc-1", Name: "com.amazonaws.vpce.us-east-1.vpce-svc-1", State: state, ZoneIDs: []string{"use1-az4"},
			Principals: []string{"*"}, Targets: []ObservedTarget{{Addr: target, Healthy: true}},
		}
		for _, f := range edit {
			f(o)
		}
		return o
	}
	with := func(ts ...ObservedTarget) func(*ObservedService) {
		return func(o *ObservedService) { o.Targets = ts }
	}
	fresh := link.Service{State: link.ServiceCreating, UpdatedAt: now}
	standing := link.Service{State: link.ServiceAvailable, ServiceID: "vpce-svc-1", Name: "com.amazonaws.vpce.us-east-1.vpce-svc-1", ZoneIDs: []string{"use1-az4"}, UpdatedAt: now}
	standing.Conditions = link.SetCondition(nil, link.Condition{Type: link.ConditionProvisioned, Status: link.True, Reason: link.ReasonProvisioned}, now)
	creating := link.Service{State: link.ServiceCreating, UpdatedAt: now.Add(-time.Hour)}

	for _, c := range []struct {
		name      string
		service   link.Service
		applied   int64
		observed  *ObservedService
		ensured   bool
		ensure    bool
		state     link.ServiceState
		reason    string // of the condition Provisioned
		reachable string // reason of the condition Reachable
		look      time.Duration
		notes     string
	}{
		{"was asked for", fresh, 0, nil, false, true, link.ServiceCreating, "CREATING", "", cadence.Fast, ""},
		{"was made, and the cloud does not show it yet", fresh, 0, nil, true, false, link.ServiceCreating, "CREATING", "", cadence.Fast, ""},
		{"is being made", fresh, 0, observe(link.ServiceCreating), true, false, link.ServiceCreating, "CREATING", "GATEWAY_HEALTHY", cadence.Fast, ""},
		{"is there from before a crash", fresh, 0, observe(link.ServiceAvailable), false, true, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Fast, "STATE_CHANGED PROVISIONED"},
		{"stands for the first time", fresh, 0, observe(link.ServiceAvailable), true, false, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Slow, "STATE_CHANGED PROVISIONED"},
		{"stands", standing, 3, observe(link.ServiceAvailable), false, false, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Slow, ""},
		{"the region was changed", standing, 2, observe(link.ServiceAvailable), false, true, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Fast, ""},
		{"could not be made", creating, 0, observe(link.ServiceCreateFailed, func(o *ObservedService) { o.Problem = "no addresses left" }), true, false, link.ServiceCreateFailed, "CREATE_FAILED", "GATEWAY_HEALTHY", cadence.Fast, "STATE_CHANGED"},
		{"could not be made, and is tried again", link.Service{State: link.ServiceCreateFailed}, 3, observe(link.ServiceCreateFailed), false, true, link.ServiceCreateFailed, "CREATE_FAILED", "GATEWAY_HEALTHY", cadence.Fast, ""},
		{"somebody deleted it", standing, 3, nil, false, true, link.ServiceCreating, "SERVICE_DELETED", "", cadence.Fast, "DRIFT STATE_CHANGED"},
		{"somebody deletes it", standing, 3, observe(link.ServiceDeleting), false, false, link.ServiceDeleting, "SERVICE_DELETED", "GATEWAY_HEALTHY", cadence.Fast, "STATE_CHANGED"},
		{"somebody cannot delete it", standing, 3, observe(link.ServiceDeleteFailed), false, false, link.ServiceDeleteFailed, "SERVICE_DELETED", "GATEWAY_HEALTHY", cadence.Fast, "STATE_CHANGED"},
		{"somebody took a target away", standing, 3, observe(link.ServiceAvailable, with()), false, true, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTH_UNKNOWN", cadence.Fast, "DRIFT"},
		{"somebody added a target", standing, 3, observe(link.ServiceAvailable, with(ObservedTarget{Addr: target, Healthy: true}, ObservedTarget{Addr: elsewhere})), false, true, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Fast, "DRIFT"},
		{"somebody took the principals away", standing, 3, observe(link.ServiceAvailable, func(o *ObservedService) { o.Principals = nil }), false, true, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Fast, "DRIFT"},
		{"what differs cannot be put right", standing, 3, observe(link.ServiceAvailable, with()), true, false, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTH_UNKNOWN", cadence.Slow, ""},
		{"reaches no gateway", standing, 3, observe(link.ServiceAvailable, with(ObservedTarget{Addr: target, Reason: "Target.Timeout"})), false, false, link.ServiceAvailable, "PROVISIONED", "NO_HEALTHY_GATEWAY", cadence.Slow, ""},
		{"one listener's targets are healthy", standing, 3, observe(link.ServiceAvailable, with(ObservedTarget{Addr: target, Reason: "Target.Timeout"}, ObservedTarget{Addr: target, Healthy: true})), false, false, link.ServiceAvailable, "PROVISIONED", "GATEWAY_HEALTHY", cadence.Slow, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ServiceFacts{Region: region, Service: c.service, AppliedVersion: c.applied, Observed: c.observed, Ensured: c.ensured, Now: now, Cadence: cadence}
			got := Service(f)
			provisioned := link.ConditionOf(got.Service.Conditions, link.ConditionProvisioned)
			reachable := link.ConditionOf(got.Service.Conditions, link.ConditionReachable)
			if got.Ensure != c.ensure || got.Service.State != c.state || got.Look != c.look {
				t.Errorf("ensure %t, %s, look %v; want %t, %s, %v", got.Ensure, got.Service.State, got.Look, c.ensure, c.state, c.look)
			}
			if provisioned.Reason != c.reason || reachable.Reason != c.reachable {
				t.Errorf("reasons %s, %s; want %s, %s", provisioned.Reason, reachable.Reason, c.reason, c.reachable)
			}
			if provisioned.Status == link.False && provisioned.NextStep == "" {
				t.Errorf("no next step: %+v", provisioned)
			}
			var types []string
			for _, n := range got.Notes {
				types = append(types, n.Type)
			}
			if s := strings.Join(types, " "); s != c.notes {
				t.Errorf("notes %q, want %q", s, c.notes)
			}
			if c.ensured && got.AppliedVersion != region.Version || !c.ensured && got.AppliedVersion != c.applied {
				t.Errorf("applied version %d", got.AppliedVersion)
			}
			if !got.Changed && !cmp.Equal(got.Service, c.service) {
				t.Errorf("not told as changed: %s", cmp.Diff(c.service, got.Service))
			}
			// Recorded and seen again, it is no news.
			f.Service, f.AppliedVersion, f.Ensured, f.Now = got.Service, got.AppliedVersion, true, now.Add(time.Second)
			f.Region.Version = got.AppliedVersion
			if again := Service(f); again.Changed || len(again.Notes) > 0 {
				t.Errorf("the same facts are news again: %+v", again)
			}
		})
	}
}

func TestServiceRefusedAndUnreachable(t *testing.T) {
	no := Refusal{Code: "InvalidSubnetID.NotFound", Message: "no such subnet"}
	for _, c := range []struct{ before, after link.ServiceState }{
		{link.ServiceCreating, link.ServiceCreateFailed},
		{link.ServiceCreateFailed, link.ServiceCreateFailed},
		{link.ServiceAvailable, link.ServiceAvailable}, // it stands as it was; what was asked of it does not
	} {
		p := ServiceRefused(link.Service{State: c.before}, no, now)
		cond := link.ConditionOf(p.Service.Conditions, link.ConditionProvisioned)
		if p.Service.State != c.after || cond.Status != link.False || !strings.Contains(cond.Message, no.Code) || len(p.Notes) == 0 {
			t.Errorf("refused while %s: %+v", c.before, p)
		}
		if again := ServiceRefused(p.Service, no, now.Add(time.Hour)); again.Changed || len(again.Notes) > 0 {
			t.Errorf("the same refusal is news again: %+v", again)
		}
	}
	u := ServiceUnreachable(link.Service{State: link.ServiceAvailable}, now)
	if cond := link.ConditionOf(u.Service.Conditions, link.ConditionProvisioned); u.Service.State != link.ServiceAvailable || cond.Status != link.Unknown {
		t.Errorf("unreachable: %+v", u)
	}
	if ServiceUnreachable(u.Service, now.Add(time.Hour)).Changed {
		t.Error("the same outage is news again")
	}
}
