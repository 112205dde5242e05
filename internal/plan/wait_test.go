package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postern/postern/internal/link"
)

// Nothing may wait without a next look: whatever the facts, what is in a state that ends by itself or by somebody is
// looked at again, and soon.
func TestNothingWaitsUnseen(t *testing.T) {
	states := []link.State{
		link.Pending, link.PendingAcceptance, link.Available, link.Deleting, link.Deleted, link.Rejected, link.Failed, link.Expired,
	}
	waiting := []link.State{link.Pending, link.PendingAcceptance, link.Deleting}
	reasons := []string{
		"", link.ReasonLooking, link.ReasonAccepting, link.ReasonOwnerTrusted, link.ReasonApproved, link.ReasonOwnerNotTrusted,
		link.ReasonRejectedByAdmin, link.ReasonRejectedOutside, link.ReasonDisconnected, link.ReasonCloudRefused, link.ReasonRequestExpired,
	}
	truths := []link.Truth{link.True, link.False, link.Unknown}
	rapid.Check(t, func(t *rapid.T) {
		duration := func(what string, most time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, what))
		}
		f := EndpointFacts{
			Now:     now,
			Cadence: Cadence{Fast: duration("fast", time.Minute) + 1, Slow: duration("slow", time.Hour) + 1},
			Expiry:  duration("expiry", 48*time.Hour),
		}
		if rapid.Bool().Draw(t, "seen") {
			f.Endpoint = at(rapid.SampledFrom(states).Draw(t, "state at the cloud"), rapid.SampledFrom([]string{mine, them}).Draw(t, "owner"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "wishes") {
			w := wish{
				want:     rapid.SampledFrom([]link.Want{link.WantConnected, link.WantRejected, link.WantGone}).Draw(t, "want"),
				state:    rapid.SampledFrom(states).Draw(t, "state"),
				accepted: rapid.SampledFrom(reasons).Draw(t, "reason"),
				truth:    rapid.SampledFrom(truths).Draw(t, "truth"),
				approved: rapid.Bool().Draw(t, "approved"),
				trusts:   rapid.SampledFrom([]string{"", mine, "*"}).Draw(t, "trusts"),
				seen:     rapid.Bool().Draw(t, "seen before"),
				noneYet:  rapid.Bool().Draw(t, "no service"),
				age:      duration("age", 72*time.Hour),
			}.build()
			w.Connection.AskedAt = now.Add(-duration("asked", 72*time.Hour))
			f.Wishes = append(f.Wishes, w)
		}
		p := Endpoint(f)
		for _, c := range p.Connections {
			unknown := link.ConditionOf(c.Connection.Conditions, link.ConditionRegistered).Reason == link.ReasonServiceNotReady
			if (unknown || slices.Contains(waiting, c.Connection.State)) && (p.Look <= 0 || p.Look > LongestLook) {
				t.Fatalf("%s with a look in %v", c.Connection.State, p.Look)
			}
			if c.Changed == sameConnection(f.Wishes[0].Connection, c.Connection) && len(p.Connections) == 1 {
				t.Fatal("what changed is not told as changed")
			}
		}

		var s ServiceFacts
		s.Now, s.Cadence, s.Gone = now, f.Cadence, rapid.Bool().Draw(t, "gone")
		s.Ensured = rapid.Bool().Draw(t, "ensured")
		s.Service.State = rapid.SampledFrom([]link.ServiceState{
			link.ServiceCreating, link.ServiceAvailable, link.ServiceCreateFailed, link.ServiceDeleting, link.ServiceDeleteFailed,
		}).Draw(t, "service state")
		s.Service.UpdatedAt = now.Add(-duration("service age", 72*time.Hour))
		if rapid.Bool().Draw(t, "service seen") {
			s.Observed = &ObservedService{ServiceID: "vpce-svc-1", State: rapid.SampledFrom([]link.ServiceState{
				link.ServiceCreating, link.ServiceAvailable, link.ServiceCreateFailed, link.ServiceDeleting, link.ServiceDeleteFailed,
			}).Draw(t, "service at the cloud")}
		}
		if look := Service(s).Look; look <= 0 || look > max(LongestLook, f.Cadence.Slow) {
			t.Fatalf("a service with a look in %v", look)
		}
	})
}

func TestUnansweredRequestExpires(t *testing.T) {
	const week = link.RequestExpiry
	strange := at(link.PendingAcceptance, them)
	for _, c := range []struct {
		name     string
		endpoint *link.Endpoint
		wish     wish
		asked    time.Duration // ago
		state    link.State
		expiring bool
		action   Action
	}{
		{"not seen, asked for today", nil, wish{want: link.WantConnected}, time.Hour, link.Pending, false, Nothing},
		{"not seen for six days and a bit", nil, wish{want: link.WantConnected}, week - 23*time.Hour, link.Pending, true, Nothing},
		{"not seen for a week", nil, wish{want: link.WantConnected}, week, link.Expired, false, Nothing},
		{"an admin approved it, and it was not seen for a week", nil, wish{want: link.WantConnected, approved: true}, week, link.Expired, false, Nothing},
		{"its owner was not trusted, and the cloud did not let it be rejected", strange, wish{want: link.WantConnected}, week, link.Expired, false, Nothing},
		{"the same, a day before", strange, wish{want: link.WantConnected}, week - time.Hour, link.PendingAcceptance, true, Reject},
		{"being let in takes its time", at(link.Pending, mine), wish{want: link.WantConnected, trusts: mine, accepted: "OWNER_TRUSTED", truth: link.True}, 2 * week, link.Pending, false, Nothing},
		{"asked for long ago, and stands", at(link.Available, mine), wish{want: link.WantConnected, trusts: mine}, 2 * week, link.Available, false, Nothing},
		{"asked for long ago, and gone since", nil, wish{want: link.WantConnected, seen: true, state: link.Available, trusts: mine}, 2 * week, link.Deleted, false, Nothing},
		{"rejected by an admin long ago", nil, wish{want: link.WantRejected, state: link.Rejected}, 2 * week, link.Rejected, false, Nothing},
		{"disconnected before it was seen", nil, wish{want: link.WantGone, state: link.Deleting}, 2 * week, link.Deleted, false, Nothing},
		{"expired, and shows up later", at(link.PendingAcceptance, mine), wish{want: link.WantConnected, trusts: mine, state: link.Expired, accepted: "REQUEST_EXPIRED", truth: link.False}, 2 * week, link.Expired, false, Nothing},
		{"expired, and asked for again", at(link.PendingAcceptance, mine), wish{want: link.WantConnected, trusts: mine, accepted: "LOOKING", truth: link.Unknown}, time.Second, link.PendingAcceptance, false, Accept},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := EndpointFacts{Endpoint: c.endpoint, Wishes: []Wish{c.wish.build()}, Expiry: week, Now: now, Cadence: cadence}
			f.Wishes[0].Connection.AskedAt = now.Add(-c.asked)
			got := Endpoint(f)
			conn := got.Connections[0]
			if conn.Connection.State != c.state || got.Action != c.action {
				t.Errorf("%s, %s; want %s, %s", conn.Connection.State, got.Action, c.state, c.action)
			}
			warning := link.ConditionOf(conn.Connection.Conditions, link.ConditionExpiring)
			told := slices.ContainsFunc(conn.Notes, func(n Note) bool { return n.Type == NoteExpiring })
			if (warning.Status == link.True) != c.expiring || told != c.expiring || c.expiring && warning.NextStep == "" {
				t.Errorf("warned %t, told %t, want %t: %+v", warning.Status == link.True, told, c.expiring, warning)
			}
			settles(t, f, got)
			explains(t, conn.Connection)
			if !c.expiring {
				return
			}
			// Somebody answers: the warning is taken back.
			f.Wishes[0].Connection = conn.Connection
			f.Endpoint, f.Wishes[0].Owners = at(link.Available, mine), []link.TrustedOwner{{Type: link.AWSAccountID, ExternalOwnerID: mine}}
			after := Endpoint(f).Connections[0].Connection
			if c := link.ConditionOf(after.Conditions, link.ConditionExpiring); c.Status != link.False || strings.Contains(c.NextStep, "delete") {
				t.Errorf("answered, and still: %+v", c)
			}
		})
	}
}

func TestFullListsCostAPageAMinute(t *testing.T) {
	for _, c := range []struct {
		endpoints int
		want      time.Duration
	}{
		{0, cadence.Slow}, {999, cadence.Slow}, {1000, 10 * time.Minute}, {10_000, 10 * time.Minute}, {10_001, 20 * time.Minute}, {100_000, 100 * time.Minute},
	} {
		if got := cadence.FullList(c.endpoints); got != c.want {
			t.Errorf("%d endpoints are all listed every %v, want %v", c.endpoints, got, c.want)
		}
	}
}
