package policy

import (
	"net/netip"
	"testing"

	"github.com/postern/postern/internal/link"
)

func withRepositories(wildcard string, keys ...string) *link.ProxyRules {
	p := &link.ProxyRules{Proxy: link.ReverseProxy{Server: link.Embedded, Docker: link.DockerSubdomain, Wildcard: wildcard}}
	for _, k := range keys {
		p.Proxy.Repositories = append(p.Proxy.Repositories, link.ProxyRepository{Key: k})
	}
	return p
}

// TestRepositoryNames: Docker repositories with subdomains have names below their cluster's, which take nothing from anybody.
func TestRepositoryNames(t *testing.T) {
	everyone := []link.AllowEntry{{Prefix: prefix("0.0.0.0/0"), UI: true}}
	byPort := withRepositories("", "docker")
	byPort.Proxy.Docker = link.DockerPort
	rules := Compile(link.RuleSet{Revision: 1, Clusters: []link.ClusterRules{
		{
			ClusterID: acme, PrivateNames: []string{"acme.pe.test", "both.pe.test"}, PublicNames: []string{"acme.test"}, Endpoints: []link.EndpointID{vpceA},
			PublicAccess: link.PublicEnabled, AllowList: everyone,
			Proxy: withRepositories("*.docker.acme.pe.test", "docker", "Team-1", "proof", "taken", "a.b", "code", "hub"),
		},
		{
			ClusterID: globex, PrivateNames: []string{"globex.pe.test", "taken.acme.pe.test", "both.pe.test"}, PublicNames: []string{"globex.test"},
			Endpoints: []link.EndpointID{vpceA}, PublicAccess: link.PublicEnabled, AllowList: everyone,
			Proxy: withRepositories("*.acme.pe.test", "docker", "mine"), // beyond its own names: without effect
		},
		{ClusterID: initech, PrivateNames: []string{"initech.pe.test", "claim.pe.test"}, Endpoints: []link.EndpointID{vpceA}, Proxy: byPort},
	}})
	for _, tt := range []struct {
		listener link.Listener
		name     string
		cluster  link.ID
		reason   string
	}{
		{link.PrivateListener, "docker.acme.pe.test", acme, ""},
		{link.PrivateListener, "team-1.acme.pe.test", acme, ""},
		{link.PrivateListener, "docker.globex.pe.test", globex, ""},
		{link.PrivateListener, "docker.docker.acme.pe.test", acme, ""},
		{link.PrivateListener, "taken.acme.pe.test", globex, ""},
		{link.PublicListener, "docker.acme.test", acme, ""},
		{link.PublicListener, "proof.acme.test", acme, ""}, // there is no proof of a public path
		{link.PrivateListener, "other.acme.pe.test", "", UnknownName},
		{link.PrivateListener, "mine.acme.pe.test", "", UnknownName},
		{link.PrivateListener, "a.b.acme.pe.test", "", UnknownName},
		{link.PrivateListener, "b.acme.pe.test", "", UnknownName},
		{link.PrivateListener, "x.docker.acme.pe.test", "", UnknownName},
		{link.PrivateListener, "docker.initech.pe.test", "", UnknownName}, // by ports
		{link.PrivateListener, "docker.both.pe.test", "", AmbiguousName},
		{link.PrivateListener, "hub.both.pe.test", "", AmbiguousName},
		{link.PrivateListener, "none.both.pe.test", "", UnknownName},
		{link.PrivateListener, "docker.acme.test", acme, WrongListener},
		{link.PublicListener, "docker.acme.pe.test", acme, WrongListener},
		{link.PublicListener, "docker.docker.acme.test", "", UnknownName},
		{link.PrivateListener, "code.claim.pe.test", "", UnknownClaim},
	} {
		d := rules.Decide(FlowFacts{
			Listener: tt.listener, EndpointID: vpceA, Source: netip.MustParseAddr("192.0.2.1"), Name: tt.name, Port: 443, At: epoch,
		})
		if d.ClusterID != tt.cluster || d.Reason != tt.reason || d.Allow != (tt.reason == "") {
			t.Errorf("%s %s: %+v", tt.listener, tt.name, d)
		}
		if d.Allow && (d.Target.Proxy == nil || d.Target.Proxy.ClusterID != tt.cluster) {
			t.Errorf("%s: its target is not proxied", tt.name)
		}
	}
	if d := rules.Decide(FlowFacts{Listener: link.PrivateListener, EndpointID: vpceA, Name: "proof.acme.pe.test", At: epoch}); !d.Proof {
		t.Errorf("a repository took the place of the proof: %+v", d)
	}
}

// TestProxyStaysTheSame: who keeps something beside a target's Proxy keeps it until the proxy or the names change.
func TestProxyStaysTheSame(t *testing.T) {
	c := link.ClusterRules{ClusterID: acme, PrivateNames: []string{"acme.pe.test"}, Proxy: withRepositories("", "docker")}
	rules := Compile(link.RuleSet{Revision: 1, Clusters: []link.ClusterRules{c}})
	first := rules.Proxy(acme)
	for _, tt := range []struct {
		name   string
		change func(*link.ClusterRules)
		same   bool
	}{
		{"nothing", func(*link.ClusterRules) {}, true},
		{"another value that says the same", func(c *link.ClusterRules) { c.Proxy = withRepositories("", "docker") }, true},
		{"a backend", func(c *link.ClusterRules) { c.Backends = []link.Backend{{Address: "10.0.0.1:80"}} }, true},
		{"an endpoint", func(c *link.ClusterRules) { c.Endpoints = []link.EndpointID{vpceA} }, true},
		{"a name", func(c *link.ClusterRules) { c.PrivateNames = []string{"a.pe.test"} }, false},
		{"a repository", func(c *link.ClusterRules) { c.Proxy = withRepositories("", "docker", "more") }, false},
		{"a trusted certificate", func(c *link.ClusterRules) {
			c.Proxy = withRepositories("", "docker")
			c.Proxy.Certificates.Trusted = []link.TrustedCertificate{{ID: "t", DER: []byte{1}}}
		}, false},
		{"no proxy", func(c *link.ClusterRules) { c.Proxy = nil }, false},
	} {
		changed := c
		tt.change(&changed)
		next, err := rules.Apply(link.RuleDelta{From: 1, Revision: 2, Clusters: []link.ClusterRules{changed}})
		if err != nil {
			t.Fatal(err)
		}
		if got := next.Proxy(acme); (got == first) != tt.same {
			t.Errorf("%s: the same is %t, want %t", tt.name, got == first, tt.same)
		}
		for target := range next.Targets() {
			if target.Proxy != next.Proxy(acme) {
				t.Errorf("%s: target and cluster do not agree", tt.name)
			}
		}
	}
	if rules.Proxy(globex) != nil || (*Rules)(nil).Proxy(acme) != nil {
		t.Error("a proxy without rules")
	}
}
