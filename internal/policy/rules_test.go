package policy

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

func TestCompile(t *testing.T) {
	if r := Compile(link.RuleSet{Clusters: installation().Clusters}); r != nil || r.Revision() != 0 {
		t.Error("rules of revision 0 are rules")
	}
	set := installation()
	set.Clusters[0].Health.Statuses = []int{200}
	r := Compile(set)
	if r.Revision() != 3 {
		t.Errorf("revision %d", r.Revision())
	}
	if clusters, endpoints := r.Counts(); clusters != 3 || endpoints != 2 {
		t.Errorf("%d clusters and %d endpoints, want 3 and 2: the empty id is none", clusters, endpoints)
	}
	flow := FlowFacts{Listener: link.PrivateListener, EndpointID: vpceA, Name: "acme.pe.test"}
	before := r.Decide(flow)
	set.Clusters[0].Backends[0].Address, set.Clusters[0].Endpoints[0], set.Clusters[0].Health.Statuses[0] = "evil:1", vpceB, 500
	if got := r.Decide(flow); !cmp.Equal(got, before) || got.Target.Backends[0].Address != "10.0.0.1:443" || got.Target.Health.Statuses[0] != 200 {
		t.Errorf("a change of the rule set reached the compiled rules: %+v", got)
	}
	unknown := link.RuleSet{Revision: 1, Clusters: []link.ClusterRules{{
		ClusterID: acme, PublicNames: []string{"a.test"},
		AllowList: []link.AllowEntry{{Prefix: prefix("0.0.0.0/0"), UI: true}},
	}}}
	f := FlowFacts{Listener: link.PublicListener, Source: netip.MustParseAddr("10.0.0.1"), Name: "a.test"}
	if got := Compile(unknown).Decide(f); got.Allow || got.Reason != PublicAccessDisabled {
		t.Errorf("without a state the public door is open: %+v", got)
	}
}

// TestOfTwoWithOneIDTheLastCounts: a name or an endpoint of the first must not linger.
func TestOfTwoWithOneIDTheLastCounts(t *testing.T) {
	set := installation()
	set.Clusters = append(set.Clusters, link.ClusterRules{ClusterID: acme, PrivateNames: []string{"late.pe.test"}, Endpoints: []link.EndpointID{vpceB}})
	r := Compile(set)
	for _, tt := range []struct {
		id     link.EndpointID
		name   string
		reason string
	}{
		{vpceA, "acme.pe.test", UnknownName},
		{vpceA, "late.pe.test", EndpointNotAuthorised},
		{vpceB, "late.pe.test", ""},
	} {
		d := r.Decide(FlowFacts{Listener: link.PrivateListener, EndpointID: tt.id, Name: tt.name})
		if d.Reason != tt.reason {
			t.Errorf("%s through %s: %+v, want reason %q", tt.name, tt.id, d, tt.reason)
		}
	}
}

func TestRevisionsThatDoNotFit(t *testing.T) {
	r := Compile(installation()) // revision 3
	for _, tt := range []struct {
		name  string
		rules *Rules
		delta link.RuleDelta
		want  string
	}{
		{"no rules", nil, link.RuleDelta{From: 0, Revision: 1}, "there are no rules to change"},
		{"from an older one", r, link.RuleDelta{From: 2, Revision: 4}, "from revision 2 does not fit rules of revision 3"},
		{"from a newer one", r, link.RuleDelta{From: 4, Revision: 5}, "from revision 4 does not fit rules of revision 3"},
		{"nowhere", r, link.RuleDelta{From: 3, Revision: 3}, "leads back to 3"},
		{"back", r, link.RuleDelta{From: 3, Revision: 2}, "leads back to 2"},
	} {
		if got, err := tt.rules.Apply(tt.delta); got != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want an error with %q", tt.name, got, err, tt.want)
		}
	}
}

// TestApply is a story: each change is applied to the rules that the one before it made.
func TestApply(t *testing.T) {
	private := func(id link.EndpointID, name string) FlowFacts {
		return FlowFacts{Listener: link.PrivateListener, EndpointID: id, Source: netip.MustParseAddr("10.9.9.9"), Name: name, Port: 443}
	}
	tcp := FlowFacts{Listener: link.PrivateListener, EndpointID: vpceB, Port: 22}
	clusters := func(c ...link.ClusterRules) link.RuleDelta { return link.RuleDelta{Clusters: c} }
	shadow := link.ClusterRules{ClusterID: initech, PrivateNames: []string{"proof.acme.pe.test"}, Endpoints: []link.EndpointID{vpceB}}
	acmeAlone := link.ClusterRules{ClusterID: acme, PrivateNames: []string{"acme.pe.test"}, Endpoints: []link.EndpointID{vpceA}}
	steps := []struct {
		name  string
		delta link.RuleDelta
		flow  FlowFacts
		want  string // the reason, or what let the flow pass and to which cluster
	}{
		{"at first two claim the name", link.RuleDelta{}, private(vpceB, "both.pe.test"), AmbiguousName},
		{"one gives it up: the other has it", clusters(acmeAlone), private(vpceB, "both.pe.test"), "endpoint " + string(globex)},
		{"a cluster takes another's proof name", clusters(shadow), private(vpceB, "proof.acme.pe.test"), "endpoint " + string(initech)},
		{"it goes: the proof name is one again", link.RuleDelta{RemovedClusters: []link.ID{initech}}, private(vpceA, "proof.acme.pe.test"), "proof " + string(acme)},
		{"an endpoint is authorised for a project", link.RuleDelta{Projects: []link.ProjectRules{{ProjectID: "p", Endpoints: []link.EndpointID{vpceB}}}}, private(vpceB, "acme.pe.test"), EndpointNotAuthorised},
		{"a cluster joins the project later", clusters(link.ClusterRules{ClusterID: acme, ProjectID: "p", PrivateNames: []string{"acme.pe.test"}}), private(vpceB, "acme.pe.test"), "endpoint " + string(acme)},
		{"that change took its own endpoint away", link.RuleDelta{}, private(vpceA, "acme.pe.test"), EndpointNotAuthorised},
		{"a port becomes one without names, and the endpoint reaches two", link.RuleDelta{Ports: &[]link.PortRule{{Port: 22, Protocol: link.ProtocolTCP, BackendPort: 2222}}}, tcp, AmbiguousEndpoint},
		{"one of the two goes", link.RuleDelta{RemovedClusters: []link.ID{globex}}, tcp, "endpoint " + string(acme)},
		{"the project's rules go, not the project", link.RuleDelta{RemovedProjects: []link.ID{"p"}}, tcp, EndpointNotAuthorised},
		{"the project's rules come again", link.RuleDelta{Projects: []link.ProjectRules{{ProjectID: "p", Endpoints: []link.EndpointID{vpceB}}}}, tcp, "endpoint " + string(acme)},
		{"a cluster leaves the project", clusters(acmeAlone), tcp, EndpointNotAuthorised},
		{"a port is closed", link.RuleDelta{Ports: &[]link.PortRule{{Port: 443, Denied: true}}}, private(vpceA, "acme.pe.test"), PortDenied},
		{"no word on ports: it stays closed", clusters(acmeAlone), private(vpceA, "acme.pe.test"), PortDenied},
		{"no port has a rule", link.RuleDelta{Ports: &[]link.PortRule{}}, private(vpceA, "acme.pe.test"), "endpoint " + string(acme)},
		{
			"put and removed at once is removed",
			link.RuleDelta{Clusters: []link.ClusterRules{acmeAlone}, RemovedClusters: []link.ID{acme}},
			private(vpceA, "acme.pe.test"), UnknownName,
		},
		{"what is not there is removed", link.RuleDelta{RemovedClusters: []link.ID{"x"}, RemovedProjects: []link.ID{"x"}, RemovedClaims: []link.ID{"x"}}, tcp, NoServerName},
	}
	rules := Compile(installation())
	for _, s := range steps {
		s.delta.From, s.delta.Revision = rules.Revision(), rules.Revision()+1
		next, err := rules.Apply(s.delta)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		rules = next
		d := rules.Decide(s.flow)
		got := d.Reason
		switch {
		case d.Proof:
			got = "proof " + string(d.ClusterID)
		case d.Allow:
			got = d.Rule + " " + string(d.ClusterID)
		}
		if got != s.want {
			t.Errorf("%s: %q, want %q", s.name, got, s.want)
		}
	}
	if clusters, endpoints := rules.Counts(); clusters != 0 || endpoints != 1 {
		t.Errorf("at the end %d clusters and %d endpoints, want none, and the project's", clusters, endpoints)
	}
}

// TestTargetsStay: the pool of backends knows a Target by its pointer.
func TestTargetsStay(t *testing.T) {
	set := installation()
	set.Ports = []link.PortRule{{Port: 5432, BackendPort: 5432}, {Port: 443, BackendPort: 443}}
	rules := Compile(set)
	on := func(r *Rules, port uint16) *Target {
		return r.Decide(FlowFacts{Listener: link.PrivateListener, EndpointID: vpceA, Name: "acme.pe.test", Port: port}).Target
	}
	if on(rules, 443) != on(rules, 0) {
		t.Error("a port that the backends' addresses name anyway has a Target of its own")
	}
	changed := set.Clusters[0]
	changed.DeniedPorts = []uint16{22}
	next, err := rules.Apply(link.RuleDelta{From: 3, Revision: 4, Clusters: []link.ClusterRules{changed}})
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{0, 443, 5432} {
		if on(next, port) != on(rules, port) {
			t.Errorf("port %d: a change that is none to the backends made a new Target", port)
		}
	}
	changed.Backends = []link.Backend{{Address: "10.0.0.1:443", Draining: true}}
	last, err := next.Apply(link.RuleDelta{From: 4, Revision: 5, Clusters: []link.ClusterRules{changed}})
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]string{0: "10.0.0.1:443", 5432: "10.0.0.1:5432"} {
		if got := on(last, port).Backends; !cmp.Equal(got, []link.Backend{{Address: want, Draining: true}}) {
			t.Errorf("port %d: %+v", port, got)
		}
	}
	seen := map[*Target]bool{}
	for target := range last.Targets() {
		seen[target] = true
	}
	if len(seen) != 5 || !seen[on(last, 0)] || !seen[on(last, 5432)] { // initech has no backends that a port could change
		t.Errorf("%d Targets, want 5", len(seen))
	}
	for range last.Targets() {
		break
	}
	for range (*Rules)(nil).Targets() {
		t.Error("no rules have Targets")
	}
}

// TestTargetsFollow: whatever of a Target changes, flows get the new one.
func TestTargetsFollow(t *testing.T) {
	set := installation()
	set.Ports = []link.PortRule{{Port: 5432, BackendPort: 5432}}
	rules := Compile(set)
	for name, change := range map[string]func(c *link.ClusterRules){
		"a backend":      func(c *link.ClusterRules) { c.Backends = c.Backends[:1] },
		"a weight":       func(c *link.ClusterRules) { c.Backends = []link.Backend{{Address: "10.0.0.1:443", Weight: 9}} },
		"the check":      func(c *link.ClusterRules) { c.Health.Check = link.CheckHTTP },
		"its statuses":   func(c *link.ClusterRules) { c.Health.Statuses = []int{204} },
		"PROXY protocol": func(c *link.ClusterRules) { c.ProxyProtocol = true },
		"a limit":        func(c *link.ClusterRules) { c.Limits.FlowsPerEndpoint = 7 },
	} {
		c := installation().Clusters[0]
		change(&c)
		next, err := rules.Apply(link.RuleDelta{From: 3, Revision: 4, Clusters: []link.ClusterRules{c}})
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range []link.PortRule{{}, set.Ports[0]} {
			got := next.Decide(FlowFacts{Listener: link.PrivateListener, EndpointID: vpceA, Name: "acme.pe.test", Port: port.Port}).Target
			if diff := cmp.Diff(naiveTarget(c, port), got); diff != "" {
				t.Errorf("%s, port %d: -want +got:\n%s", name, port.Port, diff)
			}
		}
	}
}

// TestNamedTwice: a name and an endpoint that a cluster's rules hold twice are held once, and go when they hold neither.
func TestNamedTwice(t *testing.T) {
	twice := link.ClusterRules{ClusterID: acme, PrivateNames: []string{"a.test", "A.test."}, Endpoints: []link.EndpointID{vpceA, vpceB, vpceA}}
	once := link.ClusterRules{ClusterID: acme, PrivateNames: []string{"a.test"}, Endpoints: []link.EndpointID{vpceA}}
	flow := FlowFacts{Listener: link.PrivateListener, EndpointID: vpceA, Name: "a.test"}
	rules := Compile(link.RuleSet{Revision: 1, Clusters: []link.ClusterRules{twice}})
	for i, c := range []link.ClusterRules{once, twice, {ClusterID: acme}} {
		if d := rules.Decide(flow); !d.Allow {
			t.Errorf("before change %d: %+v", i, d)
		}
		next, err := rules.Apply(link.RuleDelta{From: rules.Revision(), Revision: rules.Revision() + 1, Clusters: []link.ClusterRules{c}})
		if err != nil {
			t.Fatal(err)
		}
		rules = next
	}
	if d := rules.Decide(flow); d.Reason != UnknownName {
		t.Errorf("at the end: %+v", d)
	}
	if _, endpoints := rules.Counts(); endpoints != 0 {
		t.Errorf("%d endpoints are left", endpoints)
	}
}

func TestPort(t *testing.T) {
	set := installation()
	set.Ports = []link.PortRule{{Port: 22, Protocol: link.ProtocolTCP}, {Port: 443}, {Port: 443, Denied: true}, {Port: 0, Denied: true, BackendPort: 9}}
	r := Compile(set)
	if got := sizes(r).targets; got != 3 {
		t.Errorf("%d Targets for 3 clusters: port 0 is none that a rule could be of", got)
	}
	for port, want := range map[uint16]link.PortRule{
		0: {}, 1: {}, 22: {Port: 22, Protocol: link.ProtocolTCP}, 443: {Port: 443, Denied: true},
	} {
		if got := r.Port(port); got != want {
			t.Errorf("Port(%d) = %+v, want %+v", port, got, want)
		}
	}
	if got := (*Rules)(nil).Port(22); got != (link.PortRule{}) {
		t.Errorf("no rules have a rule of a port: %+v", got)
	}
	if clusters, endpoints := (*Rules)(nil).Counts(); clusters != 0 || endpoints != 0 {
		t.Errorf("no rules have %d clusters and %d endpoints", clusters, endpoints)
	}
}

// TestClaimsAreFoundByTheWholeHash: the index knows a part of it only.
func TestClaimsAreFoundByTheWholeHash(t *testing.T) {
	near := sha256.Sum256([]byte("one"))
	near[31] ^= 1
	set := installation()
	set.Claims = []link.ClaimRule{{ID: "near", ClusterID: acme, Domain: "pe.test", Hash: near, ExpiresAt: epoch.AddDate(1, 0, 0)}}
	f := FlowFacts{Listener: link.PrivateListener, EndpointID: vpceB, Name: "one.claim.pe.test", At: epoch}
	if d := Compile(set).Decide(f); d.Reason != UnknownClaim {
		t.Errorf("%+v", d)
	}
	set.Claims = append(set.Claims, link.ClaimRule{ID: "it", ClusterID: acme, Domain: "PE.test.", Hash: sha256.Sum256([]byte("one")), ExpiresAt: epoch.AddDate(1, 0, 0)})
	if d := Compile(set).Decide(f); d.Claim != "it" {
		t.Errorf("%+v", d)
	}
}
