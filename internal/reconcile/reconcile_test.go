package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	customer = "111111111111"
	stranger = "222222222222"
	endpoint = link.EndpointID("vpce-0a1b2c3d4e5f60718")
	other    = link.EndpointID("vpce-0a1b2c3d4e5f60719")
)

var (
	operator = policy.Caller{Name: "op", Role: policy.Operator}
	gateway  = policy.Caller{Name: "gw", Role: policy.Gateway}
)

// house is one installation: a control plane with its reconciler over a data directory.
type house struct {
	t      *testing.T
	cloud  *memoryCloud
	st     *store.Store
	plane  *control.Plane
	r      *reconcile.Reconciler
	closed bool
}

func enter(t *testing.T, d storetest.Database, m *memoryCloud) *house {
	t.Helper()
	return enterAt(t, d, m, plan.Cadence{Fast: 20 * time.Millisecond, Slow: 100 * time.Millisecond})
}

func enterAt(t *testing.T, d storetest.Database, m *memoryCloud, cadence plan.Cadence) *house {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	st, err := d.TryOpen(t.Context(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, cloud: m, st: st, plane: control.New(st, control.Options{Domain: "postern.test", Log: log})}
	h.r, err = reconcile.Start(t.Context(), reconcile.Config{
		Store: st, Drivers: func(link.Provider, string) (cloud.Driver, error) { return m, nil },
		Cadence: cadence,
		Poll:    20 * time.Millisecond, Sweep: 50 * time.Millisecond, Backoff: 20 * time.Millisecond, Log: log,
	})
	if err != nil {
		t.Fatal(errors.Join(err, st.Close()))
	}
	t.Cleanup(h.leave)
	return h
}

func (h *house) leave() {
	if h.closed {
		return
	}
	h.closed = true
	if err := errors.Join(h.r.Close(), h.st.Close()); err != nil {
		h.t.Errorf("leave: %v", err)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// cluster makes a cluster with its service, trusting the given accounts. Called again it returns the same.
func (h *house) cluster(name string, trusted ...string) link.ID {
	h.t.Helper()
	ctx := h.t.Context()
	project := must[link.Project](h.t)(h.plane.CreateProject(ctx, operator, "", "p"))
	must[link.Region](h.t)(h.plane.PutRegion(ctx, operator, link.Region{
		Provider: link.AWS, Name: "us-east-1", VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"},
		Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7443")},
	}))
	c := must[link.Cluster](h.t)(h.plane.CreateCluster(ctx, operator, control.ClusterRequest{
		ProjectID: project.ID, Name: name, Provider: link.AWS, Regions: []string{"us-east-1"}, Backends: []string{"127.0.0.1:8443"},
	}))
	must[[]link.Service](h.t)(h.plane.CreateServices(ctx, operator, c.ID))
	for _, o := range trusted {
		h.trust(c.ID, o)
	}
	return c.ID
}

func (h *house) trust(c link.ID, account string) link.TrustedOwner {
	h.t.Helper()
	return must[link.TrustedOwner](h.t)(h.plane.AddTrustedOwner(h.t.Context(), operator, c, link.AWSAccountID, account))
}

func (h *house) connect(c link.ID, id link.EndpointID) {
	h.t.Helper()
	must[link.Connection](h.t)(h.plane.Connect(h.t.Context(), operator, c, string(id)))
}

// eventually waits until f says nothing is missing.
func (h *house) eventually(what string, f func() (missing string)) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	for {
		missing := f()
		if missing == "" {
			return
		}
		select {
		case <-deadline:
			h.t.Fatalf("%s: waited in vain: %s", what, missing)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *house) serviceUp() {
	h.t.Helper()
	h.eventually("the service", func() string {
		rs := must[[]control.RegionView](h.t)(h.plane.Regions(h.t.Context(), operator))
		if len(rs) == 1 && rs[0].Service != nil && rs[0].Service.State == link.ServiceAvailable && rs[0].Service.ServiceID != "" {
			return ""
		}
		return fmt.Sprintf("%+v", rs)
	})
}

// becomes waits until a connection has a state, its condition Accepted a reason (unless empty), and the rules list the
// endpoint exactly when listed.
func (h *house) becomes(c link.ID, id link.EndpointID, state link.State, reason string, listed bool) link.Connection {
	h.t.Helper()
	var conn link.Connection
	h.eventually(fmt.Sprintf("connection of %s becomes %s %s", id, state, reason), func() string {
		conn = must[link.Connection](h.t)(h.plane.Connection(h.t.Context(), operator, c, string(id)))
		accepted := link.ConditionOf(conn.Conditions, link.ConditionAccepted)
		in := h.listed(c, id)
		if conn.State == state && (reason == "" || accepted.Reason == reason) && in == listed {
			return ""
		}
		return fmt.Sprintf("it is %s, listed %t, conditions %+v", conn.State, in, conn.Conditions)
	})
	return conn
}

func (h *house) listed(c link.ID, id link.EndpointID) bool {
	h.t.Helper()
	in := false
	err := h.plane.Rules(h.t.Context(), gateway, 100, func(_ link.RulesVersion, part link.RuleSet) error {
		for _, r := range part.Clusters {
			in = in || r.ClusterID == c && slices.Contains(r.Endpoints, id)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

// cloudBecomes waits until the cloud shows the endpoint in a state.
func (h *house) cloudBecomes(state link.State) {
	h.t.Helper()
	h.eventually("the cloud", func() string {
		if s := h.cloud.state(endpoint); s != state {
			return fmt.Sprintf("%s is %s, want %s", endpoint, s, state)
		}
		return ""
	})
}

// history is the types and reasons of a connection's events.
func (h *house) history(c link.ID, id link.EndpointID) string {
	h.t.Helper()
	es, _, err := h.plane.Events(h.t.Context(), operator, link.ObjectRef{Kind: link.ObjectConnection, ID: string(c) + "/" + string(id)}, control.Page{})
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, e := range es {
		out = append(out, e.Type+" "+e.Reason)
	}
	return strings.Join(out, ", ")
}

func TestStoryOfAConnection(t *testing.T) {
	m := newMemoryCloud()
	m.stepwise = true
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	m.create(endpoint, customer)
	h.connect(c, endpoint)
	conn := h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	if conn.Region != "us-east-1" || conn.OwnerID != customer || !strings.HasPrefix(conn.ServiceName, "com.amazonaws.vpce.") {
		t.Errorf("the connection does not know its endpoint: %+v", conn)
	}
	if _, err := h.plane.Disconnect(t.Context(), operator, c, string(endpoint)); err != nil {
		t.Fatal(err)
	}
	if h.listed(c, endpoint) {
		t.Error("the rules still list the endpoint after the answer to its end")
	}
	h.becomes(c, endpoint, link.Deleted, link.ReasonDisconnected, false)
	h.cloudBecomes(link.Rejected)
	if conns := must[[]link.Connection](t)(h.plane.Connections(t.Context(), operator, c)); len(conns) != 0 {
		t.Errorf("still listed: %+v", conns)
	}
	// And back again.
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	if n := m.made["postern-"+h.st.InstallationID()+"-us-east-1"]; n != 1 {
		t.Errorf("%d services were made", n)
	}
}

func TestAnyOrderConverges(t *testing.T) {
	for name, steps := range map[string][]string{
		"registered first":  {"connect", "trust", "service", "create"},
		"trusted last":      {"service", "create", "connect", "trust"},
		"created last":      {"trust", "connect", "service", "create"},
		"registered last":   {"trust", "service", "create", "connect"},
		"all but the owner": {"connect", "service", "create", "trust"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemoryCloud()
			h := enter(t, storetest.New(t), m)
			c := h.cluster("acme")
			for _, s := range steps {
				switch s {
				case "connect":
					h.connect(c, endpoint)
				case "trust":
					h.trust(c, customer)
				case "service":
					h.serviceUp()
				case "create":
					m.create(endpoint, customer)
				}
			}
			h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
		})
	}
}

func TestTrustComesAndGoes(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme")
	h.serviceUp()
	m.create(endpoint, stranger)
	h.connect(c, endpoint)
	conn := h.becomes(c, endpoint, link.Rejected, link.ReasonOwnerNotTrusted, false)
	if next := link.ConditionOf(conn.Conditions, link.ConditionAccepted).NextStep; !strings.Contains(next, stranger) {
		t.Errorf("next step %q does not say whom to trust", next)
	}
	h.cloudBecomes(link.Rejected)
	o := h.trust(c, stranger)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	if _, err := h.plane.RemoveTrustedOwner(t.Context(), operator, c, o.ID); err != nil {
		t.Fatal(err)
	}
	if h.listed(c, endpoint) {
		t.Error("the rules still list an endpoint of an owner who is not trusted any more")
	}
	h.becomes(c, endpoint, link.Rejected, link.ReasonOwnerNotTrusted, false)
	h.cloudBecomes(link.Rejected)
	h.trust(c, policy.Everyone)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
}

// An owner becomes trusted while a look that read the books before is under way, and learns only then whose the endpoint
// is. The look decides on what it knew; the trust must not be lost on it.
func TestTrustDuringTheFirstLook(t *testing.T) {
	m := newMemoryCloud()
	h := enterAt(t, storetest.New(t), m, plan.Cadence{Fast: 20 * time.Millisecond, Slow: time.Hour}) // only the endpoint's look lists
	c := h.cluster("acme")
	h.serviceUp()
	m.create(endpoint, customer)
	listed, goOn := make(chan struct{}), make(chan struct{})
	rejected := false
	m.onCall(func(_ context.Context, point string) error {
		switch {
		case point == "reject done":
			rejected = true
		case point == "list done" && rejected: // the books were read; what they said then is decided on next
			rejected = false
			close(listed)
			<-goOn
		}
		return nil
	})
	h.connect(c, endpoint)
	<-listed
	h.trust(c, customer)
	close(goOn)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
}

func TestAdminDecidesAboutOneEndpoint(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme")
	h.serviceUp()
	m.create(endpoint, stranger)
	h.eventually("the endpoint is seen", func() string {
		if _, err := h.plane.SetEndpointState(t.Context(), operator, c, string(endpoint), link.Available); err != nil {
			return err.Error()
		}
		return ""
	})
	h.becomes(c, endpoint, link.Available, link.ReasonApproved, true)
	before := must[link.Endpoint](t)(h.plane.SetEndpointState(t.Context(), operator, c, string(endpoint), link.Rejected))
	if before.State != link.Available {
		t.Errorf("the endpoint before its rejection: %+v", before)
	}
	h.becomes(c, endpoint, link.Rejected, link.ReasonRejectedByAdmin, false)
	h.cloudBecomes(link.Rejected)
}

// seen waits until the control plane shows the endpoint to a cluster, in a state.
func (h *house) seen(c link.ID, state link.State) {
	h.t.Helper()
	h.eventually("the endpoint is seen", func() string {
		es := must[[]link.Endpoint](h.t)(h.plane.CloudEndpoints(h.t.Context(), operator, c))
		if len(es) == 1 && es[0].ID == endpoint && es[0].State == state {
			return ""
		}
		return fmt.Sprintf("%+v", es)
	})
}

// An endpoint that no cluster has a connection with is let in when some cluster trusts its owner, so that it can be
// claimed through the wire; it reaches nothing by that.
func TestUnregisteredEndpointOfATrustedOwnerIsLetIn(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	m.create(endpoint, customer)
	h.cloudBecomes(link.Available)
	h.seen(c, link.Available)
	if h.listed(c, endpoint) {
		t.Error("an endpoint that nobody registered reaches the cluster")
	}
	h.eventually("the service's history says so", func() string {
		es, _, err := h.plane.Events(t.Context(), operator, link.ObjectRef{Kind: link.ObjectService, ID: "AWS/us-east-1"}, control.Page{})
		if err == nil && slices.ContainsFunc(es, func(e link.Event) bool {
			return e.Type == plan.NoteAccepted && strings.Contains(e.Message, string(endpoint))
		}) {
			return ""
		}
		return fmt.Sprintf("%+v, %v", es, err)
	})
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	if n := m.called("accept"); n != 1 {
		t.Errorf("accepted %d times", n)
	}
}

func TestUnregisteredEndpointOfAStrangerWaits(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	m.create(endpoint, stranger)
	m.create(other, customer)
	h.eventually("the other endpoint, listed with it, is let in", func() string { return differs(m.state(other), link.Available) })
	if s := m.state(endpoint); s != link.PendingAcceptance {
		t.Errorf("a stranger's endpoint that nobody registered was acted on: it is %s", s)
	}
	// Any order converges: trust that comes after the endpoint lets it in.
	h.trust(c, stranger)
	h.cloudBecomes(link.Available)
	if m.called("reject") != 0 || h.listed(c, endpoint) {
		t.Error("it was rejected, or reaches the cluster")
	}
}

func differs(got, want link.State) string {
	if got != want {
		return fmt.Sprintf("%s, want %s", got, want)
	}
	return ""
}

// A cloud that says no to letting in what nobody registered is asked again.
func TestUnregisteredEndpointIsTriedAgain(t *testing.T) {
	m := newMemoryCloud()
	var refusals atomic.Int32
	m.onCall(func(_ context.Context, point string) error {
		if point == "accept" && refusals.Add(1) <= 2 {
			return &cloud.Refusal{Reason: "QUOTA", Code: "VpcEndpointLimitExceeded", Message: "too many"}
		}
		return nil
	})
	h := enter(t, storetest.New(t), m)
	h.cluster("acme", customer)
	h.serviceUp()
	m.create(endpoint, customer)
	h.cloudBecomes(link.Available)
}

func TestTwoClustersShareAnEndpoint(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	a, b := h.cluster("a", customer), h.cluster("b")
	h.serviceUp()
	m.create(endpoint, customer)
	h.connect(b, endpoint)
	h.becomes(b, endpoint, link.Rejected, link.ReasonOwnerNotTrusted, false)
	h.connect(a, endpoint)
	h.becomes(a, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	h.becomes(b, endpoint, link.Rejected, link.ReasonOwnerNotTrusted, false)
	h.trust(b, customer)
	h.becomes(b, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	if _, err := h.plane.Disconnect(t.Context(), operator, a, string(endpoint)); err != nil {
		t.Fatal(err)
	}
	h.becomes(a, endpoint, link.Deleted, link.ReasonDisconnected, false)
	h.becomes(b, endpoint, link.Available, link.ReasonOwnerTrusted, true)
	h.cloudBecomes(link.Available)
}

func TestCloudSaysNo(t *testing.T) {
	m := newMemoryCloud()
	m.onCall(func(_ context.Context, point string) error {
		if point == "ensure" {
			return &cloud.Refusal{Reason: "R", Code: "InvalidSubnetID.NotFound", Message: "The subnet ID 'subnet-1' does not exist"}
		}
		return nil
	})
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.eventually("the service fails with the cloud's words", func() string {
		ss := must[[]link.Service](t)(h.plane.Services(t.Context(), operator, c))
		cond := link.ConditionOf(ss[0].Conditions, link.ConditionProvisioned)
		if ss[0].State == link.ServiceCreateFailed && strings.Contains(cond.Message, "InvalidSubnetID.NotFound") && cond.NextStep != "" {
			return ""
		}
		return fmt.Sprintf("%+v", ss)
	})
	m.onCall(func(_ context.Context, point string) error {
		if point == "accept" {
			return &cloud.Refusal{Reason: "R", Code: "VpcEndpointLimitExceeded", Message: "too many"}
		}
		return nil
	})
	h.serviceUp()
	m.create(endpoint, customer)
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Failed, link.ReasonCloudRefused, false)
	before := h.history(c, endpoint)
	tries := m.called("accept")
	h.eventually("it is tried again", func() string {
		if m.called("accept") > tries+2 {
			return ""
		}
		return "not yet"
	})
	if after := h.history(c, endpoint); after != before {
		t.Errorf("a refusal that goes on is told again and again: %s", after)
	}
	m.onCall(nil)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
}

func TestOutageIsToldWithoutInternals(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	m.onCall(func(context.Context, string) error { return errors.New("dial tcp 10.9.8.7:443: secret detail") })
	h.connect(c, endpoint)
	h.eventually("the outage is told", func() string {
		conn := must[link.Connection](t)(h.plane.Connection(t.Context(), operator, c, string(endpoint)))
		if s := fmt.Sprint(conn.Conditions); strings.Contains(s, "secret") {
			t.Fatalf("internals leaked: %s", s)
		}
		if link.ConditionOf(conn.Conditions, link.ConditionRegistered).Reason == link.ReasonCloudUnreachable {
			return ""
		}
		return fmt.Sprint(conn.Conditions)
	})
	m.onCall(nil)
	m.create(endpoint, customer)
	h.becomes(c, endpoint, link.Available, link.ReasonOwnerTrusted, true)
}

// What is asked of the cloud must grow with the services and not with the connections.
func TestSettledConnectionsCostNothing(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	c := h.cluster("acme", customer)
	h.serviceUp()
	many := 40
	if raced {
		many = 5
	}
	var ids []link.EndpointID
	for i := range many {
		ids = append(ids, link.EndpointID(fmt.Sprintf("vpce-%017x", i)))
		m.create(ids[i], customer)
		h.connect(c, ids[i])
	}
	for _, id := range ids {
		h.becomes(c, id, link.Available, link.ReasonOwnerTrusted, true)
	}
	services, lists := m.called("service"), m.called("list")
	h.eventually("the service is looked at five times", func() string {
		if m.called("service") >= services+5 {
			return ""
		}
		return "not yet"
	})
	looks := m.called("service") - services
	if n := m.called("list") - lists; n > looks+2 {
		t.Errorf("%d lists in %d looks at the service, with %d settled connections", n, looks, many)
	}
}
