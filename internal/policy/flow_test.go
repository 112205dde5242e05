package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

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

func TestCompile(t *testing.T) {
	if r := Compile(link.RuleSet{Clusters: installation().Clusters}); r != nil || r.Revision() != 0 {
		t.Error("rules of revision 0 are rules")
	}
	set := installation()
	r := Compile(set)
	if r.Revision() != 3 {
		t.Errorf("revision %d", r.Revision())
	}
	flow := FlowFacts{Listener: link.PrivateListener, EndpointID: vpceA, Name: "acme.pe.test"}
	before := r.Decide(flow)
	set.Clusters[0].Backends[0].Address, set.Clusters[0].Endpoints[0] = "evil:1", vpceB
	if got := r.Decide(flow); !cmp.Equal(got, before) || got.Target.Backends[0].Address != "10.0.0.1:443" {
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
	own := link.RuleSet{Revision: 1, Clusters: []link.ClusterRules{
		{ClusterID: acme, PrivateNames: []string{"a.test"}, Endpoints: []link.EndpointID{vpceA}},
		{ClusterID: globex, PrivateNames: []string{"proof.a.test"}, Endpoints: []link.EndpointID{vpceB}},
	}}
	got := Compile(own).Decide(FlowFacts{Listener: link.PrivateListener, EndpointID: vpceB, Name: "proof.a.test"})
	if !got.Allow || got.Proof || got.ClusterID != globex {
		t.Errorf("a cluster's own name has to come before another's proof name: %+v", got)
	}
}

// naive decides as the words of the design do, by walking everything.
func naive(set link.RuleSet, f FlowFacts) (allow bool, cluster link.ID, proof bool, reason string) {
	if set.Revision == 0 {
		return false, "", false, NoRules
	}
	if f.Name == "" {
		return false, "", false, NoServerName
	}
	owners := func(names func(link.ClusterRules) []string, want string) (out []link.ClusterRules) {
		for _, c := range set.Clusters {
			for _, n := range names(c) {
				if strings.EqualFold(strings.TrimSuffix(n, "."), want) {
					out = append(out, c)
					break
				}
			}
		}
		return out
	}
	privateNames := func(c link.ClusterRules) []string { return c.PrivateNames }
	publicNames := func(c link.ClusterRules) []string { return c.PublicNames }
	private, public := owners(privateNames, f.Name), owners(publicNames, f.Name)
	if len(private) == 0 {
		if below, ok := strings.CutPrefix(f.Name, "proof."); ok && below != "" {
			private = owners(privateNames, below)
			proof = len(private) > 0
		}
	}
	here := private
	if f.Listener == link.PublicListener {
		here, proof = public, false
	}
	if len(private)+len(public) == 0 {
		return false, "", false, UnknownName
	}
	if len(here) == 0 || f.Listener != link.PrivateListener && f.Listener != link.PublicListener {
		other := private
		if len(other) == 0 {
			other = public
		}
		if len(other) == 1 {
			cluster = other[0].ClusterID
		}
		return false, cluster, false, WrongListener
	}
	if len(here) > 1 {
		return false, "", false, AmbiguousName
	}
	c := here[0]
	if f.Listener == link.PrivateListener {
		if f.EndpointID == "" {
			return false, c.ClusterID, false, NoEndpointID
		}
		for _, e := range c.Endpoints {
			if e == f.EndpointID {
				return true, c.ClusterID, proof, ""
			}
		}
		return false, c.ClusterID, false, EndpointNotAuthorised
	}
	if c.PublicAccess != link.PublicEnabled && c.PublicAccess != link.PublicReportOnly {
		return false, c.ClusterID, false, PublicAccessDisabled
	}
	longest, admit := -1, false
	for _, e := range c.AllowList {
		if !e.Prefix.Contains(f.Source.Unmap()) {
			continue
		}
		if e.Prefix.Bits() > longest {
			longest, admit = e.Prefix.Bits(), e.UI || e.SQL
		} else if e.Prefix.Bits() == longest {
			admit = admit || e.UI || e.SQL
		}
	}
	if !admit {
		return false, c.ClusterID, false, AddressNotAllowed
	}
	if c.PublicAccess == link.PublicReportOnly {
		reason = PublicAccessDisabled
	}
	return true, c.ClusterID, false, reason
}

func TestDecideAgreesWithTheNaiveModel(t *testing.T) {
	names := []string{"a.test", "b.test", "proof.a.test", "A.Test.", "proof.proof.a.test", "c.test"}
	asked := []string{"", "a.test", "b.test", "proof.a.test", "proof.b.test", "proof.proof.a.test", "c.test", "proof.c.test", "d.test", "proof."}
	ids := []link.EndpointID{"", vpceA, vpceB}
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		last := rapid.Byte().Draw(t, "last")
		switch rapid.IntRange(0, 3).Draw(t, "family") {
		case 0:
			return netip.AddrFrom4([4]byte{10, 0, rapid.SampledFrom([]byte{0, 1, 128}).Draw(t, "third"), last})
		case 1:
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: last})
		case 2:
			return netip.AddrFrom16(netip.AddrFrom4([4]byte{10, 0, 0, last}).As16())
		}
		return netip.Addr{}
	})
	entry := rapid.Custom(func(t *rapid.T) link.AllowEntry {
		a := rapid.Custom(func(t *rapid.T) netip.Addr { return addr.Filter(netip.Addr.IsValid).Draw(t, "a").Unmap() }).Draw(t, "addr")
		p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
		if err != nil {
			t.Fatal(err)
		}
		return link.AllowEntry{Prefix: p, UI: rapid.Bool().Draw(t, "ui"), SQL: rapid.Bool().Draw(t, "sql")}
	})
	var n int
	cluster := rapid.Custom(func(t *rapid.T) link.ClusterRules {
		n++
		return link.ClusterRules{
			ClusterID:    link.ID(fmt.Sprint("cluster-", n)),
			PrivateNames: rapid.SliceOfN(rapid.SampledFrom(names), 0, 2).Draw(t, "private"),
			PublicNames:  rapid.SliceOfN(rapid.SampledFrom(names), 0, 2).Draw(t, "public"),
			Backends:     []link.Backend{{Address: "10.0.0.1:1"}},
			Endpoints:    rapid.SliceOfN(rapid.SampledFrom(ids), 0, 3).Draw(t, "endpoints"),
			PublicAccess: rapid.SampledFrom([]link.PublicAccess{"", link.PublicEnabled, link.PublicReportOnly, link.PublicDisabled}).Draw(t, "access"),
			AllowList:    rapid.SliceOfN(entry, 0, 4).Draw(t, "allow"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		set := link.RuleSet{Revision: rapid.Int64Range(0, 3).Draw(t, "revision"), Clusters: rapid.SliceOfN(cluster, 0, 4).Draw(t, "clusters")}
		rules := Compile(set)
		for range 8 {
			f := FlowFacts{
				Listener:   rapid.SampledFrom([]link.Listener{link.PrivateListener, link.PublicListener, ""}).Draw(t, "listener"),
				EndpointID: rapid.SampledFrom(ids).Draw(t, "endpoint"), Source: addr.Draw(t, "source"),
				Name: rapid.SampledFrom(asked).Draw(t, "name"),
			}
			got := rules.Decide(f)
			allow, id, proof, reason := naive(set, f)
			if got.Allow != allow || got.ClusterID != id || got.Proof != proof || got.Reason != reason ||
				got.WouldRefuse != (allow && reason != "") || (got.Target != nil) != (allow && !proof) || got.Rule == "" {
				t.Fatalf("%+v\ngot  %+v\nwant allow %v, cluster %q, proof %v, reason %q", f, got, allow, id, proof, reason)
			}
			if got.Allow && f.Listener == link.PrivateListener && f.EndpointID == "" {
				t.Fatal("a flow without an endpoint id came through the private listener")
			}
		}
	})
}

// large is an installation of many clusters with many endpoints each.
func large(clusters, endpoints int) link.RuleSet {
	set := link.RuleSet{Revision: 1}
	for i := range clusters {
		c := link.ClusterRules{
			ClusterID: link.ID(fmt.Sprintf("c%d", i)), PrivateNames: []string{fmt.Sprintf("c%d.pe.test", i)}, PublicNames: []string{fmt.Sprintf("c%d.test", i)},
			Backends: []link.Backend{{Address: "10.0.0.1:443"}}, PublicAccess: link.PublicEnabled,
		}
		for j := range endpoints {
			c.Endpoints = append(c.Endpoints, link.EndpointID(fmt.Sprintf("vpce-%017x", i*endpoints+j)))
		}
		for bits := 8; bits <= 32; bits += 4 {
			p, _ := netip.AddrFrom4([4]byte{10, 200, 30, 4}).Prefix(bits)
			c.AllowList = append(c.AllowList, link.AllowEntry{Prefix: p, UI: true})
		}
		set.Clusters = append(set.Clusters, c)
	}
	return set
}

func TestDecideAllocatesNothing(t *testing.T) {
	rules := Compile(large(10, 10))
	for name, f := range benchmarkFlows() {
		if n := testing.AllocsPerRun(100, func() { rules.Decide(f) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func benchmarkFlows() map[string]FlowFacts {
	return map[string]FlowFacts{
		"private":  {Listener: link.PrivateListener, EndpointID: "vpce-0000000000000002b", Name: "c4.pe.test"},
		"public":   {Listener: link.PublicListener, Source: netip.MustParseAddr("10.1.1.1"), Name: "c4.test"},
		"refused":  {Listener: link.PrivateListener, EndpointID: "vpce-fffffffffffffffff", Name: "c4.pe.test"},
		"mapped":   {Listener: link.PublicListener, Source: netip.MustParseAddr("::ffff:10.1.1.1"), Name: "c4.test"},
		"unknown":  {Listener: link.PrivateListener, EndpointID: "vpce-fffffffffffffffff", Name: "d.pe.test"},
		"no rules": {},
	}
}

func BenchmarkDecide(b *testing.B) {
	rules := Compile(large(10_000, 10))
	for name, f := range benchmarkFlows() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rules.Decide(f)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	set := large(10_000, 10)
	b.ReportAllocs()
	for b.Loop() {
		Compile(set)
	}
}
