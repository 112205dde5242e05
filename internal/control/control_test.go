package control_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

func TestTokens(t *testing.T) {
	d := newDesk(t)
	const token = "a-token-of-sufficient-length"
	if err := d.PutToken(d.ctx, "op", policy.Operator, token); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Authenticate(d.ctx, control.Visitor{}, token); err != nil || !reflect.DeepEqual(c, operator) {
		t.Errorf("Authenticate = %+v, %v", c, err)
	}
	if err := d.PutToken(d.ctx, "op", policy.Operator, "another-token-of-good-length"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", token, "nonsense"} {
		_, err := d.Authenticate(d.ctx, control.Visitor{}, bad)
		d.refuses(err, link.Unauthenticated, "TOKEN_UNKNOWN", "")
	}
	if d.PutToken(d.ctx, "op", policy.Operator, "short") == nil || d.PutToken(d.ctx, "x", policy.Anonymous, token) == nil {
		t.Error("a short token or one of no role was taken")
	}
}

func TestRolesAreKeptApart(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	for role, want := range map[policy.Role]link.Kind{policy.Anonymous: link.Unauthenticated, policy.Gateway: link.Denied} {
		who := policy.Caller{Role: role}
		_, err := d.Connect(d.ctx, who, c.ID, vpce)
		if link.KindOf(err) != want {
			t.Errorf("Connect by %q: %v", who.Role, err)
		}
		_, _, err = d.Clusters(d.ctx, who, control.Page{})
		if link.KindOf(err) != want {
			t.Errorf("Clusters by %q: %v", who.Role, err)
		}
	}
	_, err := d.WaitRules(d.ctx, operator, 0)
	d.refuses(err, link.Denied, "OPERATOR_IS_NO_GATEWAY", "")
	d.refuses(d.Report(d.ctx, operator, link.GatewayReport{GatewayID: "g", BatchID: "b"}), link.Denied, "OPERATOR_IS_NO_GATEWAY", "")
}

func TestBadInputNamesItsField(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	cluster := func(edit func(*control.ClusterRequest)) error {
		r := d.request("new")
		edit(&r)
		_, err := d.CreateCluster(d.ctx, operator, r)
		return err
	}
	region := func(edit func(*link.Region)) error {
		r := d.region()
		edit(&r)
		_, err := d.PutRegion(d.ctx, operator, r)
		return err
	}
	connect := func(id string) error { _, err := d.Connect(d.ctx, operator, c.ID, id); return err }
	trust := func(typ link.OwnerType, id string) error {
		_, err := d.AddTrustedOwner(d.ctx, operator, c.ID, typ, id)
		return err
	}
	allow := func(p netip.Prefix, name string) error {
		_, err := d.AddAllowEntry(d.ctx, operator, c.ID, link.AllowEntry{Prefix: p, Name: name})
		return err
	}
	before := d.revision()
	for _, row := range []struct {
		name   string
		err    error
		reason string
		field  string
	}{
		{"project without name", func() error { _, err := d.CreateProject(d.ctx, operator, "", ""); return err }(), "NAME_REQUIRED", "name"},
		{"project name with line break", func() error { _, err := d.CreateProject(d.ctx, operator, "", "a\nb"); return err }(), "MALFORMED_NAME", "name"},
		{"cluster name upper case", cluster(func(r *control.ClusterRequest) { r.Name = "Acme" }), "MALFORMED_NAME", "name"},
		{"cluster name empty", cluster(func(r *control.ClusterRequest) { r.Name = "" }), "MALFORMED_NAME", "name"},
		{"cluster name with dot", cluster(func(r *control.ClusterRequest) { r.Name = "a.b" }), "MALFORMED_NAME", "name"},
		{"cluster name of 41", cluster(func(r *control.ClusterRequest) { r.Name = strings.Repeat("a", 41) }), "NAME_TOO_LONG", "name"},
		{"unknown project", cluster(func(r *control.ClusterRequest) { r.ProjectID = link.NewID() }), "PROJECT_NOT_FOUND", "project_id"},
		{"other provider", cluster(func(r *control.ClusterRequest) { r.Provider = link.GCP }), "PROVIDER_NOT_SUPPORTED", "cloud_provider"},
		{"no region", cluster(func(r *control.ClusterRequest) { r.Regions = nil }), "REGIONS_REQUIRED", "regions"},
		{"region not offered", cluster(func(r *control.ClusterRequest) { r.Regions = []string{"us-east-1", "mars-1"} }), "REGION_NOT_OFFERED", "regions[1]"},
		{"region twice", cluster(func(r *control.ClusterRequest) { r.Regions = []string{"us-east-1", "us-east-1"} }), "DUPLICATE", "regions[1]"},
		{"backend without port", cluster(func(r *control.ClusterRequest) { r.Backends = []string{"a:1", "b"} }), "MALFORMED_BACKEND", "backends[1]"},
		{"backend with port 0", cluster(func(r *control.ClusterRequest) { r.Backends = []string{"a:0"} }), "MALFORMED_BACKEND", "backends[0]"},
		{"backend with port 65536", cluster(func(r *control.ClusterRequest) { r.Backends = []string{"a:65536"} }), "MALFORMED_BACKEND", "backends[0]"},
		{"backend with no host", cluster(func(r *control.ClusterRequest) { r.Backends = []string{":443"} }), "MALFORMED_BACKEND", "backends[0]"},
		{"backend that is a URL", cluster(func(r *control.ClusterRequest) { r.Backends = []string{"https://a:443"} }), "MALFORMED_BACKEND", "backends[0]"},
		{"public access made up", cluster(func(r *control.ClusterRequest) { r.PublicAccess = "AJAR" }), "MALFORMED_PUBLIC_ACCESS", "public_access"},
		{"region name", region(func(r *link.Region) { r.Name = "US" }), "MALFORMED_NAME", "region"},
		{"region of another provider", region(func(r *link.Region) { r.Provider = link.Azure }), "PROVIDER_NOT_SUPPORTED", "provider"},
		{"region VPC", region(func(r *link.Region) { r.VPCID = "10.0.0.0" }), "MALFORMED_VPC_ID", "vpc_id"},
		{"region without subnet", region(func(r *link.Region) { r.SubnetIDs = nil }), "SUBNETS_REQUIRED", "subnet_ids"},
		{"region with a subnet twice", region(func(r *link.Region) { r.SubnetIDs = []string{"subnet-1", "subnet-1"} }), "DUPLICATE", "subnet_ids[1]"},
		{"region without target", region(func(r *link.Region) { r.Targets = nil }), "TARGETS_REQUIRED", "gateway_targets"},
		{"region target nowhere", region(func(r *link.Region) { r.Targets = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")} }), "MALFORMED_TARGET", "gateway_targets[0]"},
		{"region target IPv4 as IPv6", region(func(r *link.Region) { r.Targets = []netip.AddrPort{netip.MustParseAddrPort("[::ffff:10.0.0.1]:1")} }), "MALFORMED_TARGET", "gateway_targets[0]"},
		{"region target of one link", region(func(r *link.Region) { r.Targets = []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%eth0]:1")} }), "MALFORMED_TARGET", "gateway_targets[0]"},
		{"region with 101 ports", region(func(r *link.Region) {
			for p := range 101 {
				r.Ports = append(r.Ports, uint16(p+1))
			}
		}), "TOO_MANY", "ports"},
		{"101 backends", cluster(func(r *control.ClusterRequest) {
			r.Backends = nil
			for n := range 101 {
				r.Backends = append(r.Backends, fmt.Sprintf("h%d:1", n))
			}
		}), "TOO_MANY", "backends"},
		{"region port 0", region(func(r *link.Region) { r.Ports = []uint16{443, 0} }), "MALFORMED_PORT", "ports[1]"},
		{"endpoint id", connect("vpce-nope"), "MALFORMED_ENDPOINT_ID", "endpoint_id"},
		{"endpoint id upper case", connect("VPCE-0A1B2C3D4E5F60718"), "MALFORMED_ENDPOINT_ID", "endpoint_id"},
		{"endpoint id of 300 characters", connect("vpce-" + strings.Repeat("a", 295)), "MALFORMED_ENDPOINT_ID", "endpoint_id"},
		{"owner of 11 digits", trust(link.AWSAccountID, "11111111111"), "MALFORMED_OWNER_ID", "external_owner_id"},
		{"owner of another cloud", trust(link.GCPProjectID, "p"), "OWNER_TYPE_MISMATCH", "type"},
		{"no range", allow(netip.Prefix{}, ""), "MALFORMED_ADDRESS", "cidr_ip"},
		{"range with host bits", allow(netip.MustParsePrefix("10.0.0.1/8"), ""), "HOST_BITS_SET", "cidr_ip"},
		{"changed entry's name", func() error {
			name := strings.Repeat("x", 101)
			_, err := d.UpdateAllowEntry(d.ctx, operator, c.ID, netip.MustParsePrefix("0.0.0.0/0"), control.AllowUpdate{Name: &name})
			return err
		}(), "NAME_TOO_LONG", "name"},
		{"entry's name", allow(netip.MustParsePrefix("10.0.0.0/8"), strings.Repeat("x", 101)), "NAME_TOO_LONG", "name"},
		{"status made up", func() error { _, err := d.SetEndpointState(d.ctx, operator, c.ID, vpce, "OPEN"); return err }(), "MALFORMED_STATUS", "status"},
		{"page made up", func() error { _, _, err := d.Clusters(d.ctx, operator, control.Page{Token: "nonsense"}); return err }(), "MALFORMED_PAGE", "pagination.page"},
		{"proof key", d.GatewayHello(d.ctx, gateway, "g", []byte("short")), "MALFORMED_PROOF_KEY", "proof_key"},
		{"batch id", d.Report(d.ctx, gateway, link.GatewayReport{GatewayID: "g"}), "MALFORMED_BATCH_ID", "batch_id"},
		{"gateway id", d.Report(d.ctx, gateway, link.GatewayReport{BatchID: "b"}), "MALFORMED_GATEWAY_ID", "gateway_id"},
	} {
		t.Run(row.name, func(t *testing.T) {
			(&desk{t: t}).refuses(row.err, link.Invalid, row.reason, row.field)
		})
	}
	if after := d.revision(); after != before {
		t.Errorf("refused input changed the rules: revision %d, before %d", after, before)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	no := link.NewID()
	second := func(_ any, err error) error { return err }
	for _, row := range []struct {
		err    error
		reason string
	}{
		{second(d.Project(d.ctx, operator, no)), "PROJECT_NOT_FOUND"},
		{second(d.Cluster(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{second(d.Services(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{second(d.CreateServices(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{second(d.Connections(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{second(d.Connect(d.ctx, operator, no, vpce)), "CLUSTER_NOT_FOUND"},
		{second(d.Connection(d.ctx, operator, c.ID, vpce)), "CONNECTION_NOT_FOUND"},
		{second(d.Disconnect(d.ctx, operator, c.ID, vpce)), "CONNECTION_NOT_FOUND"},
		{second(d.SetEndpointState(d.ctx, operator, c.ID, vpce, link.Available)), "ENDPOINT_NOT_FOUND"},
		{second(d.CloudEndpoints(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{second(d.TrustedOwners(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{second(d.TrustedOwner(d.ctx, operator, c.ID, no)), "TRUSTED_OWNER_NOT_FOUND"},
		{second(d.RemoveTrustedOwner(d.ctx, operator, c.ID, no)), "TRUSTED_OWNER_NOT_FOUND"},
		{second(d.AllowList(d.ctx, operator, no, control.Page{})), "CLUSTER_NOT_FOUND"},
		{second(d.UpdateAllowEntry(d.ctx, operator, c.ID, netip.MustParsePrefix("10.0.0.0/8"), control.AllowUpdate{})), "ALLOW_ENTRY_NOT_FOUND"},
		{second(d.RemoveAllowEntry(d.ctx, operator, c.ID, netip.MustParsePrefix("10.0.0.0/8"))), "ALLOW_ENTRY_NOT_FOUND"},
		{second(d.ProofKeys(d.ctx, operator, no)), "CLUSTER_NOT_FOUND"},
		{d.DeleteCluster(d.ctx, operator, no), "CLUSTER_NOT_FOUND"},
		{d.Acknowledge(d.ctx, gateway, "nobody", 1), "GATEWAY_NOT_FOUND"},
	} {
		d.refuses(row.err, link.NotFound, row.reason, "")
	}
}

func TestClusterAndItsRules(t *testing.T) {
	d := newDesk(t)
	var c link.Cluster
	d.bumps("creating a cluster", true, func() (err error) { c, err = d.CreateCluster(d.ctx, operator, d.request("acme")); return err })
	want := []link.ClusterRegion{{Name: "us-east-1", PublicName: "acme.us-east-1.postern.test", PrivateName: "acme.us-east-1.pe.postern.test"}}
	if diff := cmp.Diff(want, c.Regions); diff != "" || c.PublicAccess != link.PublicEnabled {
		t.Errorf("regions: %s, public access %s", diff, c.PublicAccess)
	}
	d.bumps("creating it again", false, func() error {
		again, err := d.CreateCluster(d.ctx, operator, d.request("acme"))
		if again.ID != c.ID {
			t.Errorf("asked again for the same cluster there is another: %s", again.ID)
		}
		return err
	})
	another := d.request("acme")
	another.Backends = nil
	_, err := d.CreateCluster(d.ctx, operator, another)
	d.refuses(err, link.Conflict, "NAME_TAKEN", "name")

	backends := []string{"a:1", "b:2"}
	d.bumps("changing the backends", true, func() error {
		_, err := d.UpdateCluster(d.ctx, operator, c.ID, control.ClusterUpdate{Backends: &backends})
		return err
	})
	d.bumps("changing nothing", false, func() error {
		_, err := d.UpdateCluster(d.ctx, operator, c.ID, control.ClusterUpdate{Backends: &backends})
		return err
	})
	d.bumps("closing the public door", true, func() error { _, err := d.SetPublicAccess(d.ctx, operator, c.ID, link.PublicDisabled); return err })
	d.bumps("closing it again", false, func() error { _, err := d.SetPublicAccess(d.ctx, operator, c.ID, link.PublicDisabled); return err })
	office := link.AllowEntry{Prefix: netip.MustParsePrefix("203.0.113.0/24"), UI: true, Name: "office"}
	d.bumps("allowing a range", true, func() error { _, err := d.AddAllowEntry(d.ctx, operator, c.ID, office); return err })
	d.bumps("allowing it again", false, func() error { _, err := d.AddAllowEntry(d.ctx, operator, c.ID, office); return err })
	d.bumps("removing everyone", true, func() error {
		e, err := d.RemoveAllowEntry(d.ctx, operator, c.ID, netip.MustParsePrefix("0.0.0.0/0"))
		if e.Name != "everyone" {
			t.Errorf("removed %+v", e)
		}
		return err
	})

	_, set := d.rules()
	got := set.Clusters
	if len(got) != 1 || got[0].ProjectID == "" || got[0].ProjectID == c.ProjectID {
		t.Errorf("the rules name the cluster's project in its region: %+v", got)
	}
	var targets []link.Backend
	for _, b := range backends {
		targets = append(targets, link.Backend{Address: b})
	}
	wantRules := []link.ClusterRules{{
		ClusterID: c.ID, PrivateNames: []string{"acme.us-east-1.pe.postern.test"}, PublicNames: []string{"acme.us-east-1.postern.test"},
		Backends: targets, PublicAccess: link.PublicDisabled,
		AllowList: []link.AllowEntry{{Prefix: netip.MustParsePrefix("::/0"), UI: true, SQL: true, Name: "everyone"}, office},
	}}
	if diff := cmp.Diff(wantRules, got, cmpopts.IgnoreFields(link.ClusterRules{}, "ProjectID"), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rules: %s", diff)
	}
	if got, want := d.history(link.ObjectCluster, string(c.ID)), "CREATED, CHANGED BACKENDS, CHANGED PUBLIC_ACCESS, CHANGED ALLOWLIST, CHANGED ALLOWLIST"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}

	ok[link.Connection](d.t)(d.Connect(d.ctx, operator, c.ID, vpce))
	d.refuses(d.DeleteCluster(d.ctx, operator, c.ID), link.Precondition, "CONNECTIONS_EXIST", "")
	spare := d.cluster("spare")
	d.bumps("deleting a cluster", true, func() error { return d.DeleteCluster(d.ctx, operator, spare.ID) })
}

// TestAllowEntryChangesDoNotUndoEachOther has two people change different halves of one entry at the same time, again and
// again: neither may write back the half that the other changed.
func TestAllowEntryChangesDoNotUndoEachOther(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	everyone := netip.MustParsePrefix("0.0.0.0/0")
	for round := range 50 {
		want := round%2 == 0
		var both sync.WaitGroup
		for _, u := range []control.AllowUpdate{{UI: &want}, {SQL: &want}} {
			both.Go(func() {
				if _, err := d.UpdateAllowEntry(d.ctx, operator, c.ID, everyone, u); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		got := ok[control.AllowListPage](t)(d.AllowList(d.ctx, operator, c.ID, control.Page{})).Entries[0]
		if want := (link.AllowEntry{Prefix: everyone, UI: want, SQL: want, Name: "everyone"}); got != want {
			t.Fatalf("round %d: %+v, want %+v", round, got, want)
		}
	}
	d.bumps("changing nothing", false, func() error {
		_, err := d.UpdateAllowEntry(d.ctx, operator, c.ID, everyone, control.AllowUpdate{})
		return err
	})
}

func TestConnectAndDisconnectAreIdempotent(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	conn := ok[link.Connection](d.t)(d.Connect(d.ctx, operator, c.ID, vpce))
	if conn.State != link.Pending || conn.Want != link.WantConnected || link.ConditionOf(conn.Conditions, link.ConditionAccepted).Reason == "" {
		t.Errorf("a new connection: %+v", conn)
	}
	if list := ok[[]link.Connection](d.t)(d.Connections(d.ctx, operator, c.ID)); len(list) != 1 || list[0].EndpointID != vpce {
		t.Errorf("the very next list: %+v", list)
	}
	d.bumps("connecting again", false, func() error {
		again, err := d.Connect(d.ctx, operator, c.ID, vpce)
		if again.Version != conn.Version {
			t.Errorf("connecting again changed it: %+v", again)
		}
		return err
	})
	d.bumps("disconnecting", true, func() error {
		gone, err := d.Disconnect(d.ctx, operator, c.ID, vpce)
		if gone.State != link.Deleting || gone.Want != link.WantGone {
			t.Errorf("disconnected: %+v", gone)
		}
		return err
	})
	d.bumps("disconnecting again", false, func() error { _, err := d.Disconnect(d.ctx, operator, c.ID, vpce); return err })
	d.bumps("connecting anew", true, func() error {
		back, err := d.Connect(d.ctx, operator, c.ID, vpce)
		if back.State != link.Pending || back.Want != link.WantConnected {
			t.Errorf("connected anew: %+v", back)
		}
		return err
	})
	if got, want := d.history(link.ObjectConnection, string(c.ID)+"/"+vpce), "CONNECTED, DISCONNECTED, CONNECTED"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}
}

func TestTrustedOwners(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	var o link.TrustedOwner
	d.bumps("trusting", true, func() (err error) {
		o, err = d.AddTrustedOwner(d.ctx, operator, c.ID, link.AWSAccountID, "111111111111")
		return err
	})
	d.bumps("trusting again", false, func() error {
		again, err := d.AddTrustedOwner(d.ctx, operator, c.ID, link.AWSAccountID, "111111111111")
		if again != o {
			t.Errorf("trusted twice: %+v, %+v", o, again)
		}
		return err
	})
	if got := ok[link.TrustedOwner](d.t)(d.TrustedOwner(d.ctx, operator, c.ID, o.ID)); got != o {
		t.Errorf("TrustedOwner = %+v, want %+v", got, o)
	}
	d.bumps("no longer trusting", true, func() error {
		got, err := d.RemoveTrustedOwner(d.ctx, operator, c.ID, o.ID)
		if got != o {
			t.Errorf("removed %+v, want %+v", got, o)
		}
		return err
	})
	if left := ok[[]link.TrustedOwner](d.t)(d.TrustedOwners(d.ctx, operator, c.ID)); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestServicesAreSharedAndMadeOnce(t *testing.T) {
	d := newDesk(t)
	a, b := d.cluster("a"), d.cluster("b")
	if ss := ok[[]link.Service](d.t)(d.Services(d.ctx, operator, a.ID)); len(ss) != 0 {
		t.Errorf("services nobody asked for: %+v", ss)
	}
	first := ok[[]link.Service](d.t)(d.CreateServices(d.ctx, operator, a.ID))
	again := ok[[]link.Service](d.t)(d.CreateServices(d.ctx, operator, b.ID))
	if len(first) != 1 || first[0].State != link.ServiceCreating || !cmp.Equal(first, again) {
		t.Errorf("services %+v, %+v; want one, the same", first, again)
	}
	if rs := ok[[]control.RegionView](d.t)(d.Regions(d.ctx, operator)); len(rs) != 1 || rs[0].Service == nil || rs[0].Region.Version != 1 || !cmp.Equal(rs[0].Region.Ports, []uint16{443}) {
		t.Errorf("regions: %+v", rs)
	}
	changed := d.region()
	changed.Ports = []uint16{443, 26257}
	if r := ok[link.Region](d.t)(d.PutRegion(d.ctx, operator, changed)); r.Version != 2 {
		t.Errorf("changed region: %+v", r)
	}
}

func TestPagesListEverythingOnce(t *testing.T) {
	d := newDesk(t)
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		d.cluster(n)
	}
	for descending, want := range map[bool]string{false: "ab|cd|e|", true: "ed|cb|a|"} {
		got, page := "", control.Page{Limit: 2, Descending: descending}
		for {
			cs, next, err := d.Clusters(d.ctx, operator, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cs {
				got += c.Name
			}
			got += "|"
			if next == "" {
				break
			}
			page.Token = next
		}
		if got != want {
			t.Errorf("descending %t: %s, want %s", descending, got, want)
		}
		page.Descending = !descending
		_, _, err := d.Clusters(d.ctx, operator, page)
		d.refuses(err, link.Invalid, "MALFORMED_PAGE", "pagination.page")
	}
}

func TestReportsProveConnections(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	ok[link.Connection](d.t)(d.Connect(d.ctx, operator, c.ID, vpce))
	if err := d.GatewayHello(d.ctx, gateway, "g1", make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	is := func(typ string, want link.Truth) {
		t.Helper()
		conn := ok[link.Connection](d.t)(d.Connection(d.ctx, operator, c.ID, vpce))
		if got := link.ConditionOf(conn.Conditions, typ); got.Status != want || got.Reason == "" {
			t.Errorf("%s: %+v, want %s", typ, got, want)
		}
	}
	report := func(batch string, r link.GatewayReport) {
		t.Helper()
		r.GatewayID, r.BatchID, r.SentAt = "g1", batch, d.now
		if err := d.Report(d.ctx, gateway, r); err != nil {
			t.Error(err)
		}
	}
	flow := link.Flow{ID: "f1", ClusterID: c.ID, Listener: link.PrivateListener, EndpointID: vpce, Name: "something.else", StartedAt: d.now}
	is(link.ConditionReachable, link.Unknown)
	is(link.ConditionBackendHealthy, link.Unknown)
	report("b1", link.GatewayReport{
		Flows:    []link.Flow{flow},
		Refused:  []link.RefusedAttempt{{ClusterID: c.ID, Reason: "R", Count: 2, FirstAt: d.now, LastAt: d.now}, {Reason: "UNKNOWN_NAME", Count: 1}},
		Backends: []link.BackendHealth{{ClusterID: c.ID, Backend: "db.internal:26257", Reason: "REFUSED", At: d.now}, {ClusterID: c.ID, Backend: "old:1", Healthy: true, At: d.now}},
	})
	is(link.ConditionReachable, link.True)
	is(link.ConditionDNSReady, link.Unknown)
	is(link.ConditionBackendHealthy, link.False)
	flow.ID, flow.Name = "f2", "proof.acme.us-east-1.pe.postern.test"
	again := link.GatewayReport{
		Flows: []link.Flow{flow}, Refused: []link.RefusedAttempt{{ClusterID: c.ID, Reason: "R", Count: 3, FirstAt: d.now, LastAt: d.now}},
		Backends: []link.BackendHealth{{ClusterID: c.ID, Backend: "db.internal:26257", Healthy: true, At: d.now}},
	}
	report("b2", again)
	report("b2", again) // the answer was lost, and the gateway sent it again
	is(link.ConditionDNSReady, link.True)
	is(link.ConditionBackendHealthy, link.True)
	refused, _, err := d.RefusedAttempts(d.ctx, operator, c.ID, control.Page{})
	if err != nil || len(refused) != 1 || refused[0].Count != 5 {
		t.Errorf("refused: %+v, %v; want one of count 5", refused, err)
	}
	if unrouted, _, err := d.UnroutedAttempts(d.ctx, operator, control.Page{}); err != nil || len(unrouted) != 1 {
		t.Errorf("unrouted: %+v, %v", unrouted, err)
	}
	flows, _, err := d.Flows(d.ctx, operator, c.ID, control.Page{})
	if err != nil || len(flows) != 2 || flows[0].ID != "f2" || flows[0].GatewayID != "g1" {
		t.Errorf("flows, newest first: %+v, %v", flows, err)
	}
}

// TestLateReportProvesNothing: the record of a connection's last flow comes after the connection was turned away.
func TestLateReportProvesNothing(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	conn := ok[link.Connection](t)(d.Connect(d.ctx, operator, c.ID, vpce))
	err := d.st.Write(d.ctx, func(tx *store.Tx) (err error) {
		if conn, err = tx.Connection(c.ID, vpce); err != nil {
			return err
		}
		conn.State = link.Rejected
		conn, err = tx.SwapConnection(conn)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	flow := link.Flow{
		ID: "f1", ClusterID: c.ID, Listener: link.PrivateListener, EndpointID: vpce, Name: c.Regions[0].PrivateName,
		StartedAt: d.now, EndedAt: d.now, CloseReason: "REVOKED",
	}
	if err := d.Report(d.ctx, gateway, link.GatewayReport{GatewayID: "g1", BatchID: "b1", Flows: []link.Flow{flow}}); err != nil {
		t.Fatal(err)
	}
	conn = ok[link.Connection](t)(d.Connection(d.ctx, operator, c.ID, vpce))
	for _, typ := range []string{link.ConditionReachable, link.ConditionDNSReady} {
		if got := link.ConditionOf(conn.Conditions, typ); got.Status == link.True {
			t.Errorf("of a rejected connection it is said: %+v", got)
		}
	}
}

func TestPropagating(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	is := func(want bool, when string) {
		t.Helper()
		if got := ok[control.AllowListPage](d.t)(d.AllowList(d.ctx, operator, c.ID, control.Page{})).Propagating; got != want {
			t.Errorf("%s: propagating %t", when, got)
		}
	}
	is(false, "no gateway")
	if err := d.GatewayHello(d.ctx, gateway, "g1", make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	is(true, "a gateway that has no rules yet")
	if err := d.Acknowledge(d.ctx, gateway, "g1", d.revision()); err != nil {
		t.Fatal(err)
	}
	is(false, "acknowledged")
	ok[link.Cluster](d.t)(d.SetPublicAccess(d.ctx, operator, c.ID, link.PublicDisabled))
	is(true, "changed")
	d.now = d.now.Add(31 * time.Second)
	is(false, "the gateway is not live any more")
}
