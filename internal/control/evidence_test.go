package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
)

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

// step is an entry about a cluster, so many minutes after noon.
type step struct {
	minute        int
	who           string
	kind, id      string
	before, after any
}

func cast(t *testing.T, steps []step) (out []audit.Entry) {
	t.Helper()
	for _, s := range steps {
		before, err := audit.Value(s.before)
		if err != nil {
			t.Fatal(err)
		}
		after, err := audit.Value(s.after)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, audit.Entry{
			At: noon.Add(time.Duration(s.minute) * time.Minute), Actor: audit.Actor{Name: s.who}, Decision: audit.Done,
			Object: link.ObjectRef{Kind: s.kind, ID: strings.TrimSuffix("c/"+s.id, "/")}, Before: before, After: after,
		})
	}
	return out
}

// Who could pass traffic follows from the entries alone. Intervals are written as "from-to what by", in minutes after noon.
func TestWhoCouldPass(t *testing.T) {
	const acct = "222222222222"
	created := step{0, "op", link.ObjectCluster, "", nil, audit.ClusterValue{
		Name: "acme", Provider: link.AWS, Regions: []string{"us-east-1"}, PublicAccess: link.PublicEnabled, AllowList: []audit.AllowValue{{Prefix: "0.0.0.0/0", UI: true}},
	}}
	conn := func(want link.Want, state link.State, approved bool, owner string) audit.ConnectionValue {
		return audit.ConnectionValue{Want: want, State: state, Approved: approved, OwnerID: owner}
	}
	up := conn(link.WantConnected, link.Available, false, acct)
	owner := func(id string) audit.OwnerValue {
		return audit.OwnerValue{Type: link.AWSAccountID, ExternalOwnerID: id}
	}
	ofProject := func(region string) audit.ConnectionValue {
		v := up
		v.Region, v.Provider = region, link.AWS
		return v
	}
	reaches := func(want link.Want, state link.State) audit.EgressValue {
		return audit.EgressValue{Region: "us-east-1", Target: "t", Want: want, State: state}
	}
	for _, c := range []struct {
		name     string
		from, to int
		steps    []step
		could    []string
		public   []string
		allowed  []string
		egress   []string
	}{
		{
			"nobody is trusted", 0, 60,
			[]step{created, {5, "alice", link.ObjectConnection, "e", nil, up}},
			nil,
			[]string{"0-60 ENABLED op"},
			nil,
			nil,
		},
		{"a trusted account, trusted before and after", 10, 60, []step{
			created,
			{1, "bob", link.ObjectTrustedOwner, "o1", nil, owner(acct)},
			{5, "alice", link.ObjectConnection, "e", nil, up},
			{20, "bob", link.ObjectTrustedOwner, "o1", owner(acct), nil},
			{30, "carol", link.ObjectTrustedOwner, "o2", nil, owner("*")},
		}, []string{"10-20 account 222222222222 is trusted bob", "30-60 account * is trusted carol"}, []string{"10-60 ENABLED op"}, []string{"0.0.0.0/0"}, nil},
		{"the account is known only once the endpoint was seen", 0, 60, []step{
			created,
			{1, "bob", link.ObjectTrustedOwner, "o1", nil, owner("*")},
			{5, "alice", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.Pending, false, "")},
			{7, "reconciler", link.ObjectConnection, "e", nil, up},
		}, []string{"7-60 account * is trusted bob"}, []string{"0-60 ENABLED op"}, nil, nil},
		{"approved, and rejected later", 0, 60, []step{
			created,
			{5, "alice", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.Pending, true, "")},
			{6, "reconciler", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.Available, true, acct)},
			{40, "bob", link.ObjectConnection, "e", nil, conn(link.WantRejected, link.Rejected, false, acct)},
		}, []string{"5-40 approved alice"}, []string{"0-60 ENABLED op"}, nil, nil},
		{"waiting for acceptance, then gone past Postern", 0, 60, []step{
			created,
			{1, "bob", link.ObjectTrustedOwner, "o1", nil, owner(acct)},
			{5, "alice", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.PendingAcceptance, false, acct)},
			{6, "reconciler", link.ObjectConnection, "e", nil, up},
			{9, "reconciler", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.Deleted, false, acct)},
		}, []string{"6-9 account 222222222222 is trusted bob"}, []string{"0-60 ENABLED op"}, nil, nil},
		{"over before the time, and begun after it", 10, 20, []step{
			created,
			{1, "alice", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.Available, true, acct)},
			{2, "alice", link.ObjectConnection, "e", nil, conn(link.WantGone, link.Deleting, false, acct)},
		}, nil, []string{"10-20 ENABLED op"}, []string{"0.0.0.0/0"}, nil},
		{"the cluster's end ends all", 0, 60, []step{
			created,
			{1, "alice", link.ObjectConnection, "e", nil, conn(link.WantConnected, link.Available, true, acct)},
			{30, "op", link.ObjectCluster, "", audit.ClusterValue{Name: "acme"}, nil},
		}, []string{"1-30 approved alice"}, []string{"0-30 ENABLED op"}, nil, nil},
		{
			name: "the project's connection, for the cluster's life", from: 0, to: 60, steps: []step{
				{-9, "pat", link.ObjectProjectTrustedOwner, "o1", nil, owner(acct)},
				{-8, "pat", link.ObjectProjectConnection, "e", nil, ofProject("us-east-1")},
				{2, "op", link.ObjectCluster, "", nil, created.after},
				{20, "pat", link.ObjectProjectTrustedOwner, "o1", owner(acct), nil},
				{30, "quinn", link.ObjectProjectTrustedOwner, "o2", nil, owner(acct)},
				{50, "op", link.ObjectCluster, "", audit.ClusterValue{Name: "acme"}, nil},
			}, could: []string{"2-20 account 222222222222 is trusted for the project pat", "30-50 account 222222222222 is trusted for the project quinn"},
			public: []string{"2-50 ENABLED op"},
		},
		{name: "the project's connection in another region, and its owner for the cluster's own", from: 0, to: 60, steps: []step{
			created,
			{1, "pat", link.ObjectProjectTrustedOwner, "o1", nil, owner(acct)},
			{2, "pat", link.ObjectProjectConnection, "e", nil, ofProject("eu-west-1")},
			{3, "pat", link.ObjectConnection, "e", nil, up},
		}, public: []string{"0-60 ENABLED op"}},
		{name: "an egress endpoint", from: 0, to: 60, steps: []step{
			created,
			{1, "gus", link.ObjectEgress, "x", nil, reaches(link.WantConnected, link.Pending)},
			{5, "reconciler", link.ObjectEgress, "x", nil, reaches(link.WantConnected, link.Available)},
			{25, "gus", link.ObjectEgress, "x", nil, reaches(link.WantGone, link.Deleting)},
		}, public: []string{"0-60 ENABLED op"}, egress: []string{"5-25 available reconciler"}},
		{name: "the public door and its list", from: 15, to: 60, steps: []step{
			created,
			{10, "dan", link.ObjectPublicAccess, "", nil, audit.PublicValue{PublicAccess: link.PublicReportOnly}},
			{12, "dan", link.ObjectAllowList, "10.0.0.0/8", nil, audit.AllowValue{Prefix: "10.0.0.0/8"}},
			{13, "dan", link.ObjectAllowList, "0.0.0.0/0", audit.AllowValue{Prefix: "0.0.0.0/0"}, nil},
			{20, "eve", link.ObjectPublicAccess, "", nil, audit.PublicValue{PublicAccess: link.PublicDisabled}},
			{21, "eve", link.ObjectAllowList, "10.0.0.0/8", audit.AllowValue{Prefix: "10.0.0.0/8"}, nil},
		}, public: []string{"15-20 REPORT_ONLY dan", "20-60 DISABLED eve"}, allowed: []string{"10.0.0.0/8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
			r := newReplay(at(c.from), at(c.to))
			for _, e := range cast(t, c.steps) {
				r.entry(e)
			}
			r.end()
			tell := func(is []Interval) (out []string) {
				for _, i := range is {
					out = append(out, fmt.Sprintf("%.0f-%.0f %s %s", i.From.Sub(noon).Minutes(), i.To.Sub(noon).Minutes(), i.What, i.By))
				}
				return out
			}
			var could, allowed, egress []string
			for _, d := range []*door{r.own, r.project} {
				if e := d.endpoints["e"]; e != nil {
					could = append(could, tell(e.could.spans)...)
				}
			}
			for _, e := range r.egressEvidence() {
				egress = append(egress, tell(e.Could)...)
			}
			if !slices.Equal(egress, c.egress) {
				t.Errorf("could reach %q, want %q", egress, c.egress)
			}
			for _, a := range r.atStart {
				allowed = append(allowed, a.Prefix)
			}
			if !slices.Equal(could, c.could) {
				t.Errorf("could pass %q, want %q", could, c.could)
			}
			if got := tell(r.public.spans); !slices.Equal(got, c.public) {
				t.Errorf("public %q, want %q", got, c.public)
			}
			if !slices.Equal(allowed, c.allowed) {
				t.Errorf("allow list %q, want %q", allowed, c.allowed)
			}
		})
	}
}

// However often somebody is refused, the log grows by a bounded number of entries in a minute, and counts them all.
func TestRefusalsDoNotFlood(t *testing.T) {
	var r refusals
	var wrote []audit.Entry
	refused := func(object string, at time.Time) {
		wrote = append(wrote, r.add("", audit.Entry{
			Actor: audit.Actor{Name: "mallory"}, Action: "cluster.read", Object: link.ObjectRef{Kind: "cluster", ID: object}, Decision: audit.Refused,
		}, at)...)
	}
	for i := range 1000 {
		refused("c1", noon.Add(time.Duration(i)*time.Millisecond))
	}
	if len(wrote) != 1 {
		t.Fatalf("%d entries for one kind of refusal, want the first alone", len(wrote))
	}
	for i := range 5000 {
		refused(fmt.Sprint("guess ", i), noon.Add(30*time.Second))
	}
	if len(wrote) > mostRefusals {
		t.Errorf("%d entries within the minute", len(wrote))
	}
	if early := r.take(noon.Add(59*time.Second), false); early != nil {
		t.Errorf("%d entries before the minute was over", len(early))
	}
	wrote = append(wrote, r.take(noon.Add(time.Minute), false)...)
	if len(wrote) > 2*mostRefusals+1 {
		t.Errorf("%d entries after the minute", len(wrote))
	}
	var total int64
	for _, e := range wrote {
		total += max(e.Count, 1)
	}
	if total != 6000 {
		t.Errorf("%d refusals are counted, want 6000", total)
	}
	refused("c1", noon.Add(2*time.Minute))
	if n := len(wrote); wrote[n-1].Object.ID != "c1" || wrote[n-1].Count != 0 {
		t.Errorf("the first of a new minute: %+v", wrote[n-1])
	}
}
