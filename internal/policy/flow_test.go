package policy

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
)

const (
	acme    = link.ID("11111111-1111-4111-8111-111111111111")
	globex  = link.ID("22222222-2222-4222-8222-222222222222")
	initech = link.ID("33333333-3333-4333-8333-333333333333")
	vpceA   = link.EndpointID("vpce-0a1b2c3d4e5f60718")
	vpceB   = link.EndpointID("vpce-0b0b0b0b0b0b0b0b0")
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// installation is the rule set of the tables: acme is public with an allow list, globex report-only, initech private,
// and "both" is a name that acme and globex claim.
func installation() link.RuleSet {
	return link.RuleSet{Revision: 3, Clusters: []link.ClusterRules{
		{
			ClusterID: acme, PrivateNames: []string{"acme.pe.test", "Split.Test.", "both.pe.test"}, PublicNames: []string{"acme.test", "split.test"},
			Backends: []link.Backend{{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443"}}, Endpoints: []link.EndpointID{vpceA, ""}, PublicAccess: link.PublicEnabled,
			AllowList: []link.AllowEntry{
				{Prefix: prefix("203.0.113.0/24"), UI: true},
				{Prefix: prefix("203.0.113.128/25")},
				{Prefix: prefix("203.0.113.200/32"), SQL: true},
				{Prefix: prefix("2001:db8::/32"), SQL: true},
			},
		},
		{
			ClusterID: globex, PrivateNames: []string{"globex.pe.test", "both.pe.test"}, PublicNames: []string{"globex.test"},
			Backends: []link.Backend{{Address: "10.0.1.1:443"}}, Endpoints: []link.EndpointID{vpceB}, PublicAccess: link.PublicReportOnly,
			AllowList: []link.AllowEntry{{Prefix: prefix("0.0.0.0/0"), UI: true, SQL: true}},
		},
		{ClusterID: initech, PrivateNames: []string{"initech.pe.test"}, PublicNames: []string{"initech.test", "door.test"}, PublicAccess: link.PublicDisabled},
	}}
}

func TestDecide(t *testing.T) {
	private := func(id link.EndpointID, name string) FlowFacts {
		return FlowFacts{Listener: link.PrivateListener, EndpointID: id, Source: netip.MustParseAddr("10.9.9.9"), Name: name}
	}
	public := func(source, name string) FlowFacts {
		f := FlowFacts{Listener: link.PublicListener, Name: name}
		if source != "" {
			f.Source = netip.MustParseAddr(source)
		}
		return f
	}
	acmeTarget := &Target{ClusterID: acme, Backends: []link.Backend{{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443"}}}
	refused := func(id link.ID, rule, reason string) Decision {
		return Decision{ClusterID: id, Rule: rule, Reason: reason}
	}
	byList := func(p string) Decision {
		return Decision{Allow: true, ClusterID: acme, Target: acmeTarget, Rule: "allowlist " + p}
	}
	tests := []struct {
		name string
		flow FlowFacts
		want Decision
	}{
		{"an authorised endpoint", private(vpceA, "acme.pe.test"), Decision{Allow: true, ClusterID: acme, Target: acmeTarget, Rule: RuleEndpoint}},
		{"the proof of path", private(vpceA, "proof.acme.pe.test"), Decision{Allow: true, ClusterID: acme, Proof: true, Rule: RuleEndpoint}},
		{"the proof of another's path", private(vpceB, "proof.acme.pe.test"), refused(acme, RuleDefault, EndpointNotAuthorised)},
		{"a proof without an endpoint", private("", "proof.acme.pe.test"), refused(acme, RuleDefault, NoEndpointID)},
		{"a proof of a proof", private(vpceA, "proof.proof.acme.pe.test"), refused("", RuleDefault, UnknownName)},
		{"a proof of a public name", private(vpceA, "proof.acme.test"), refused("", RuleDefault, UnknownName)},
		{"another cluster's endpoint", private(vpceB, "acme.pe.test"), refused(acme, RuleDefault, EndpointNotAuthorised)},
		{"no endpoint, though the list holds an empty one", private("", "acme.pe.test"), refused(acme, RuleDefault, NoEndpointID)},
		{"a cluster without endpoints", private(vpceA, "initech.pe.test"), refused(initech, RuleDefault, EndpointNotAuthorised)},
		{"no name", private(vpceA, ""), refused("", RuleDefault, NoServerName)},
		{"an unknown name", private(vpceA, "pe.test"), refused("", RuleDefault, UnknownName)},
		{"a name below a known one", private(vpceA, "x.acme.pe.test"), refused("", RuleDefault, UnknownName)},
		{"a public name at the private door", private(vpceA, "acme.test"), refused(acme, RuleDefault, WrongListener)},
		{"a private name at the public door", public("203.0.113.1", "acme.pe.test"), refused(acme, RuleDefault, WrongListener)},
		{"a proof at the public door", public("203.0.113.1", "proof.acme.pe.test"), refused(acme, RuleDefault, WrongListener)},
		{"no listener", FlowFacts{Name: "acme.test", EndpointID: vpceA}, refused(acme, RuleDefault, WrongListener)},
		{"a name that two clusters claim", private(vpceA, "both.pe.test"), refused("", RuleDefault, AmbiguousName)},
		{"the proof of such a name", private(vpceA, "proof.both.pe.test"), refused("", RuleDefault, AmbiguousName)},
		{"a split name, privately", private(vpceA, "split.test"), Decision{Allow: true, ClusterID: acme, Target: acmeTarget, Rule: RuleEndpoint}},
		{"a split name, publicly", public("203.0.113.1", "split.test"), byList("203.0.113.0/24")},

		{"an allowed address", public("203.0.113.1", "acme.test"), byList("203.0.113.0/24")},
		{"the same, mapped into IPv6", public("::ffff:203.0.113.1", "acme.test"), byList("203.0.113.0/24")},
		{"an IPv6 address, with a zone", public("2001:db8::1%eth0", "acme.test"), byList("2001:db8::/32")},
		{"a longer range that admits nothing", public("203.0.113.129", "acme.test"), refused(acme, "allowlist 203.0.113.128/25", AddressNotAllowed)},
		{"a still longer one that does", public("203.0.113.200", "acme.test"), byList("203.0.113.200/32")},
		{"an address on no list", public("198.51.100.1", "acme.test"), refused(acme, RuleDefault, AddressNotAllowed)},
		{"an IPv6 address on no list", public("2001:db9::1", "acme.test"), refused(acme, RuleDefault, AddressNotAllowed)},
		{"no address", public("", "acme.test"), refused(acme, RuleDefault, AddressNotAllowed)},
		{"report-only", public("198.51.100.1", "globex.test"), Decision{
			Allow: true, ClusterID: globex, Target: &Target{ClusterID: globex, Backends: []link.Backend{{Address: "10.0.1.1:443"}}}, Rule: RulePublicAccess, Reason: PublicAccessDisabled, WouldRefuse: true,
		}},
		{"report-only opens no further than the list", public("2001:db8::1", "globex.test"), refused(globex, RuleDefault, AddressNotAllowed)},
		{"a closed door", public("203.0.113.1", "initech.test"), refused(initech, RulePublicAccess, PublicAccessDisabled)},
	}
	rules := Compile(installation())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rules.Decide(tt.flow)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := (*Rules)(nil).Decide(tt.flow); !cmp.Equal(got, Decision{Rule: RuleDefault, Reason: NoRules}) {
				t.Errorf("without rules: %+v", got)
			}
		})
	}
}

// profile is an installation whose service has a profile of its ports. Acme and globex are of one project, which has an
// endpoint of its own, and umbrella of another alone; acme closes PostgreSQL's port.
func profile() link.RuleSet {
	set := installation()
	set.Ports = []link.PortRule{
		{Port: 22, Protocol: link.ProtocolTCP, BackendPort: 2222},
		{Port: 443, Traffic: link.TrafficUI},
		{Port: 5432, Traffic: link.TrafficSQL, BackendPort: 5433},
		{Port: 3306, Traffic: link.TrafficSQL},
		{Port: 9000, Denied: true, Protocol: link.ProtocolTCP},
	}
	set.Clusters[0].ProjectID, set.Clusters[1].ProjectID = "p", "p"
	set.Clusters[0].DeniedPorts = []uint16{9001, 5432}
	set.Clusters[2].DeniedPorts = []uint16{3306}
	set.Clusters[2].Endpoints = []link.EndpointID{vpceC}
	set.Clusters[2].Backends = []link.Backend{{Address: "[fd00::1]:443", Weight: 2}}
	set.Clusters = append(set.Clusters, link.ClusterRules{ClusterID: umbrella, ProjectID: "q", Endpoints: []link.EndpointID{vpceQ}})
	set.Projects = []link.ProjectRules{
		{ProjectID: "p", Endpoints: []link.EndpointID{vpceP}},
		{ProjectID: "q", Endpoints: []link.EndpointID{vpceQ}},
		{ProjectID: "empty", Endpoints: []link.EndpointID{vpceC}},
		{ProjectID: "", Endpoints: []link.EndpointID{vpceX}},
	}
	return set
}

const (
	umbrella = link.ID("44444444-4444-4444-8444-444444444444")
	vpceC    = link.EndpointID("vpce-0c0c0c0c0c0c0c0c0") // of initech, and of a project without clusters
	vpceP    = link.EndpointID("vpce-0d0d0d0d0d0d0d0d0") // of the project
	vpceQ    = link.EndpointID("vpce-0f0f0f0f0f0f0f0f0") // of umbrella, and of its project
	vpceX    = link.EndpointID("vpce-0e0e0e0e0e0e0e0e0") // of nobody
)

func TestDecideByPort(t *testing.T) {
	private := func(id link.EndpointID, name string, port uint16) FlowFacts {
		return FlowFacts{Listener: link.PrivateListener, EndpointID: id, Source: netip.MustParseAddr("10.9.9.9"), Name: name, Port: port}
	}
	public := func(source, name string, port uint16) FlowFacts {
		return FlowFacts{Listener: link.PublicListener, Source: netip.MustParseAddr(source), Name: name, Port: port}
	}
	passes := func(id link.ID, rule string, backends ...link.Backend) Decision {
		return Decision{Allow: true, ClusterID: id, Target: &Target{ClusterID: id, Backends: backends}, Rule: rule}
	}
	refused := func(id link.ID, rule, reason string) Decision {
		return Decision{ClusterID: id, Rule: rule, Reason: reason}
	}
	acme443 := []link.Backend{{Address: "10.0.0.1:443"}, {Address: "10.0.0.2:443"}}
	tests := []struct {
		name string
		flow FlowFacts
		want Decision
	}{
		{"a project's endpoint reaches one cluster of it", private(vpceP, "acme.pe.test", 443), passes(acme, RuleEndpoint, acme443...)},
		{"and the other", private(vpceP, "globex.pe.test", 443), passes(globex, RuleEndpoint, link.Backend{Address: "10.0.1.1:443"})},
		{"and no cluster beside it", private(vpceP, "initech.pe.test", 443), refused(initech, RuleDefault, EndpointNotAuthorised)},
		{"clusters of no project are not a project's", private(vpceX, "initech.pe.test", 443), refused(initech, RuleDefault, EndpointNotAuthorised)},

		{"a port with its own at the backends", private(vpceB, "globex.pe.test", 5432), passes(globex, RuleEndpoint, link.Backend{Address: "10.0.1.1:5433"})},
		{"a port that the cluster closes", private(vpceA, "acme.pe.test", 5432), refused(acme, RulePort, PortDenied)},
		{"the same, publicly", public("203.0.113.1", "acme.test", 9001), refused(acme, RulePort, PortDenied)},
		{"the same, for a proof", private(vpceA, "proof.acme.pe.test", 9001), refused(acme, RulePort, PortDenied)},
		{"a name that two claim, on a port that one closes", private(vpceA, "both.pe.test", 9001), refused("", RuleDefault, AmbiguousName)},
		{"a port that the service closes", private(vpceA, "acme.pe.test", 9000), refused("", RulePort, PortDenied)},
		{"whatever the name", private(vpceA, "", 9000), refused("", RulePort, PortDenied)},
		{"a port without a rule", private(vpceA, "acme.pe.test", 8443), passes(acme, RuleEndpoint, acme443...)},
		{"no known port", private(vpceA, "acme.pe.test", 0), passes(acme, RuleEndpoint, acme443...)},

		{"plain TCP through an endpoint of one cluster", private(vpceC, "", 22), passes(initech, RuleEndpoint, link.Backend{Address: "[fd00::1]:2222", Weight: 2})},
		{"there a name tells nothing", private(vpceC, "acme.pe.test", 22), passes(initech, RuleEndpoint, link.Backend{Address: "[fd00::1]:2222", Weight: 2})},
		{"through one that is a cluster's and its project's", private(vpceQ, "", 22), passes(umbrella, RuleEndpoint)},
		{"through an endpoint of two clusters", private(vpceP, "", 22), refused("", RuleDefault, AmbiguousEndpoint)},
		{"even with the name of one", private(vpceP, "acme.pe.test", 22), refused("", RuleDefault, AmbiguousEndpoint)},
		{"through an endpoint of nobody's", private(vpceX, "", 22), refused("", RuleDefault, EndpointNotAuthorised)},
		{"through no endpoint", private("", "", 22), refused("", RuleDefault, NoEndpointID)},
		{"at the public door nothing names a cluster", public("203.0.113.1", "acme.test", 22), refused("", RuleDefault, NoServerName)},

		{"a range for pages, on a port of pages", public("203.0.113.1", "acme.test", 443), passes(acme, "allowlist 203.0.113.0/24", acme443...)},
		{"on a port for queries", public("203.0.113.1", "acme.test", 3306), refused(acme, "allowlist 203.0.113.0/24", AddressNotAllowed)},
		{"publicly, to a port with its own at the backends", public("203.0.113.1", "globex.test", 5432), Decision{
			Allow: true, ClusterID: globex, Target: &Target{ClusterID: globex, Backends: []link.Backend{{Address: "10.0.1.1:5433"}}},
			Rule: RulePublicAccess, Reason: PublicAccessDisabled, WouldRefuse: true,
		}},
		{"a longer range for queries, on a port of pages", public("203.0.113.200", "acme.test", 443), refused(acme, "allowlist 203.0.113.200/32", AddressNotAllowed)},
		{"on a port for queries", public("203.0.113.200", "acme.test", 3306), passes(acme, "allowlist 203.0.113.200/32", acme443...)},
		{"on a port of no class", public("203.0.113.200", "acme.test", 8443), passes(acme, "allowlist 203.0.113.200/32", acme443...)},
	}
	rules := Compile(profile())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rules.Decide(tt.flow)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestOneClusterTwice: an endpoint that is a cluster's and its project's reaches one cluster, in whichever order the two
// are looked at, which differs from one making of the rules to the next.
func TestOneClusterTwice(t *testing.T) {
	for range 40 {
		d := Compile(profile()).Decide(FlowFacts{Listener: link.PrivateListener, EndpointID: vpceQ, Port: 22})
		if !d.Allow || d.ClusterID != umbrella {
			t.Fatalf("%+v", d)
		}
	}
}

func TestDecideClaim(t *testing.T) {
	const code = "k7f3q9x2m4c8v6b1"
	set := profile()
	set.Clusters[1].PrivateNames = append(set.Clusters[1].PrivateNames, "taken.claim.pe.test", "claim.pe.test")
	claim := func(id link.ID, cluster link.ID, code string, expires time.Time) link.ClaimRule {
		return link.ClaimRule{ID: id, ClusterID: cluster, Domain: "pe.test", Hash: sha256.Sum256([]byte(code)), ExpiresAt: expires}
	}
	later := epoch.Add(time.Hour)
	set.Claims = []link.ClaimRule{
		claim("k1", acme, code, later), claim("k2", globex, "taken", later), claim("k3", "gone", "lost", later),
		claim("k4", acme, "twice", later), claim("k5", globex, "twice", later), claim("k6", acme, "proof", later),
		claim("k7", acme, strings.Repeat("k", 63), later),
	}
	knock := func(id link.EndpointID, name string, at time.Time) FlowFacts {
		return FlowFacts{Listener: link.PrivateListener, EndpointID: id, Source: netip.MustParseAddr("10.9.9.9"), Name: name, Port: 443, At: at}
	}
	onPort := func(f FlowFacts, port uint16) FlowFacts { f.Port = port; return f }
	publicly := func(f FlowFacts) FlowFacts { f.Listener = link.PublicListener; return f }
	name := code + ".claim.pe.test"
	unknown := Decision{Rule: RuleDefault, Reason: UnknownClaim}
	claimed := Decision{Allow: true, ClusterID: acme, Claim: "k1", Rule: RuleClaim}
	tests := []struct {
		name string
		flow FlowFacts
		want Decision
	}{
		{"the code, through an endpoint that nobody knows yet", knock(vpceX, name, epoch), claimed},
		{"through one that another cluster admits", knock(vpceC, name, epoch), claimed},
		{"through no endpoint", knock("", name, epoch), Decision{Rule: RuleDefault, Reason: NoEndpointID}},
		{"just in time", knock(vpceX, name, later.Add(-1)), claimed},
		{"too late", knock(vpceX, name, later), Decision{ClusterID: acme, Rule: RuleClaim, Reason: ClaimExpired}},
		{"nobody knows how late", knock(vpceX, name, time.Time{}), Decision{ClusterID: acme, Rule: RuleClaim, Reason: ClaimExpired}},
		{"another code", knock(vpceX, "k7f3q9x2m4c8v6b2.claim.pe.test", epoch), unknown},
		{"a part of the code", knock(vpceX, code[:15]+".claim.pe.test", epoch), unknown},
		{"in another domain", knock(vpceX, code+".claim.test", epoch), unknown},
		{"as long as a label", knock(vpceX, strings.Repeat("k", 63)+".claim.pe.test", epoch), Decision{Allow: true, ClusterID: acme, Claim: "k7", Rule: RuleClaim}},
		{"longer than a label", knock(vpceX, strings.Repeat("k", 64)+".claim.pe.test", epoch), unknown},
		{"below the claim's name", knock(vpceX, "x."+name, epoch), Decision{Rule: RuleDefault, Reason: UnknownName}},
		{"no code", knock(vpceX, ".claim.pe.test", epoch), Decision{Rule: RuleDefault, Reason: UnknownName}},
		{"of a cluster that is no more", knock(vpceX, "lost.claim.pe.test", epoch), unknown},
		{"a code that two claims have", knock(vpceX, "twice.claim.pe.test", epoch), unknown},
		{"a cluster's own name", knock(vpceX, "taken.claim.pe.test", epoch), Decision{ClusterID: globex, Rule: RuleDefault, Reason: EndpointNotAuthorised}},
		{"a cluster's proof name", knock(vpceX, "proof.claim.pe.test", epoch), Decision{ClusterID: globex, Rule: RuleDefault, Reason: EndpointNotAuthorised}},
		{"on a port that the cluster closes", onPort(knock(vpceX, name, epoch), 9001), Decision{ClusterID: acme, Rule: RulePort, Reason: PortDenied}},
		{"on a port that the service closes", onPort(knock(vpceX, name, epoch), 9000), Decision{Rule: RulePort, Reason: PortDenied}},
		{"on a port without names", onPort(knock(vpceX, name, epoch), 22), Decision{Rule: RuleDefault, Reason: EndpointNotAuthorised}},
		{"at the public door it is no name", publicly(knock(vpceX, name, epoch)), Decision{Rule: RuleDefault, Reason: UnknownName}},
	}
	rules := Compile(set)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rules.Decide(tt.flow)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
