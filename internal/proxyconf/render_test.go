package proxyconf_test

import (
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plain is the least that every server takes.
func plain() link.ReverseProxy {
	return link.ReverseProxy{
		Server: link.NGINX, ServerName: "art.example.com", Nodes: []link.ProxyNode{{Host: "localhost"}},
		Certificate: "/etc/ssl/certs/art.pem", Key: "/etc/ssl/certs/art.pem",
	}
}

func with(changes ...func(*link.ReverseProxy)) link.ReverseProxy {
	p := plain()
	for _, change := range changes {
		change(&p)
	}
	return p
}

func docker(m link.DockerMethod, repositories ...link.ProxyRepository) func(*link.ReverseProxy) {
	return func(p *link.ReverseProxy) { p.Docker, p.Repositories = m, repositories }
}

func nodes(n ...link.ProxyNode) func(*link.ReverseProxy) {
	return func(p *link.ReverseProxy) { p.Nodes = n }
}

func certificates(m link.CertificateMode) func(*link.ReverseProxy) {
	return func(p *link.ReverseProxy) {
		p.ClientCertificates = link.ProxyCertificates{Mode: m, CAFile: "/etc/ssl/certs/client-ca.pem"}
	}
}

func behindLoadBalancer(p *link.ReverseProxy) {
	p.ProxyProtocol = true
	p.TrustedPeers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("2001:db8::/48")}
}

func endpoints(p *link.ReverseProxy) {
	p.Endpoints = []link.EndpointID{"vpce-0a1b2c3d4e5f60718", "vpce-0123456789abcdef0"}
}

// cases are settings and the targets that they are rendered for; "" is every foreign server as Debian 12 has it.
var cases = []struct {
	name    string
	p       link.ReverseProxy
	targets []string
}{
	{"subdomain", with(docker(link.DockerSubdomain)), nil},
	{"port", with(docker(link.DockerPort, link.ProxyRepository{Key: "docker-local", Port: 5001},
		link.ProxyRepository{Key: "docker.remote", Port: 5002, ServerName: "mirror.example.com"})), nil},
	{"path", with(docker(link.DockerPath, link.ProxyRepository{Key: "docker-local"}, link.ProxyRepository{Key: "apps"})), nil},
	{"path-unlisted", with(docker(link.DockerPath), nodes(link.ProxyNode{Host: "10.0.0.5", DirectPort: 8081})), nil},
	{"none", with(docker(link.DockerNone)), nil},
	{"http", with(func(p *link.ReverseProxy) { p.HTTP, p.Certificate, p.Key = true, "", "" }), nil},
	{"redirect", with(func(p *link.ReverseProxy) { p.HTTP, p.HTTPS, p.HTTPPort, p.HTTPSPort = true, true, 8080, 8443 }), nil},
	{"swapped", with(docker(link.DockerNone), func(p *link.ReverseProxy) { p.HTTP, p.HTTPS, p.HTTPPort, p.HTTPSPort = true, true, 443, 80 }), []string{"nginx", "caddy"}},
	{"nodes", with(nodes(link.ProxyNode{Host: "10.0.0.5"}, link.ProxyNode{Host: "10.0.0.6", DirectPort: 9081, RouterPort: 9082}, link.ProxyNode{Host: "2001:db8::7"}),
		func(p *link.ReverseProxy) { p.Upstream = "artifactory" }), nil},
	{"contexts", with(docker(link.DockerSubdomain), func(p *link.ReverseProxy) {
		p.AppContext, p.PublicContext, p.OverrideBaseURL, p.Wildcard = "artifactory", "repo", true, "*.docker.example.com"
	}), nil},
	{"certificates", with(certificates(link.CertificatesOptional), docker(link.DockerNone)), nil},
	{"certificates-required", with(certificates(link.CertificatesRequired), func(p *link.ReverseProxy) {
		p.ClientCertificates.CRLFile, p.ClientCertificates.Depth, p.ClientCertificates.Header = "/etc/ssl/certs/client.crl", 3, "X-Acme-Cert"
		p.Profile = link.TLSModern
	}), []string{"nginx", "apache", "haproxy"}},
	{"modern", with(docker(link.DockerNone), certificates(link.CertificatesOptional), func(p *link.ReverseProxy) {
		p.Profile, p.Certificate, p.Key = link.TLSModern, "/etc/ssl/art/fullchain.pem", "/etc/ssl/art/privkey.pem"
	}), []string{"nginx=1.28.0,openssl=3.5", "apache=2.4.65,openssl=3.5", "haproxy=3.2,openssl=3.5", "caddy=2.10"}},
	{"proxy", with(docker(link.DockerNone), behindLoadBalancer), []string{"nginx", "apache", "haproxy"}},
	{"endpoints", with(docker(link.DockerNone), behindLoadBalancer, endpoints), []string{"nginx=1.24", "haproxy=3.0"}},
	{"embedded", with(docker(link.DockerPath, link.ProxyRepository{Key: "apps"}), behindLoadBalancer, func(p *link.ReverseProxy) {
		p.Server, p.Redirects = link.Embedded, link.Redirects{Mode: link.RedirectFollow, Hosts: []string{"bucket.s3.us-east-1.amazonaws.com"}}
	}), []string{"direct"}},
}

// TestRender holds the texts and notes of the cases to their golden files.
func TestRender(t *testing.T) {
	left := map[string]bool{}
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		left[f] = true
	}
	for _, c := range cases {
		targets := c.targets
		if targets == nil {
			targets = []string{"nginx", "apache", "haproxy", "caddy"}
		}
		for _, target := range targets {
			t.Run(c.name+"/"+target, func(t *testing.T) {
				to, err := proxyconf.ParseTarget(target)
				if err != nil {
					t.Fatal(err)
				}
				out, err := proxyconf.Render(c.p, to)
				if err != nil {
					t.Fatal(err)
				}
				var notes strings.Builder
				for _, n := range out.Notes {
					notes.WriteString(n.Code + ": " + n.Text + "\n")
				}
				base := filepath.Join("testdata", c.name+"."+string(to.Server))
				golden(t, base+".conf", out.Text)
				golden(t, base+".notes", notes.String())
				delete(left, base+".conf")
				delete(left, base+".notes")
			})
		}
	}
	for _, f := range slices.Sorted(maps.Keys(left)) {
		if !strings.HasSuffix(f, "fuzz") && !strings.HasSuffix(f, "rapid") {
			t.Errorf("%s is of no case", f)
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestRenderForTarget: what a version cannot do is refused with the way round it, and nothing is left out in silence.
func TestRenderForTarget(t *testing.T) {
	apart := func(p *link.ReverseProxy) { p.Key = "/etc/ssl/private/art.key" }
	for _, c := range []struct {
		target string
		p      link.ReverseProxy
		field  string // at fault; empty when it can be rendered
	}{
		{"nginx", with(behindLoadBalancer, endpoints), "endpoints"},
		{"nginx=1.23.1", with(behindLoadBalancer, endpoints), "endpoints"},
		{"nginx=1.23.2", with(behindLoadBalancer, endpoints), ""},
		{"apache", with(behindLoadBalancer, endpoints), "endpoints"},
		{"haproxy", with(behindLoadBalancer, endpoints), "endpoints"},
		{"haproxy=2.9", with(behindLoadBalancer, endpoints), ""},
		{"caddy=2.10", with(behindLoadBalancer, endpoints), "proxy_protocol"},
		{"caddy", with(behindLoadBalancer), "proxy_protocol"},
		{"caddy=2.10", with(nodes(link.ProxyNode{Host: "a", DirectPort: 443})), "nodes[0].direct_port"},
		{"nginx", with(nodes(link.ProxyNode{Host: "a", DirectPort: 443})), ""},
		{"haproxy", with(apart), "key"},
		{"haproxy=3.0", with(apart), ""},
		{"nginx", with(apart), ""},
		{"caddy", with(certificates(link.CertificatesRequired), func(p *link.ReverseProxy) { p.ClientCertificates.CRLFile = "/etc/ssl/client.crl" }), "client_certificates.crl_file"},
		{"nginx", with(func(p *link.ReverseProxy) { p.Server, p.Certificate = link.Embedded, "" }), "certificate"},
		{"direct", with(func(p *link.ReverseProxy) { p.Certificate, p.Key = "", "" }), ""},
	} {
		to, err := proxyconf.ParseTarget(c.target)
		if err != nil {
			t.Fatal(err)
		}
		_, err = proxyconf.Render(c.p, to)
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", c.target, err)
			}
			continue
		}
		e, ok := errors.AsType[*link.Error](err)
		if !ok || e.Field != c.field || e.Kind != link.Invalid || e.Hint == "" {
			t.Errorf("%s: error %#v, want one of field %s", c.target, err, c.field)
		}
	}
}

// TestEmbeddedIsTheAPIs: what the gateway acts by is what the REST API takes, name for name.
func TestEmbeddedIsTheAPIs(t *testing.T) {
	p := with(docker(link.DockerPort, link.ProxyRepository{Key: "a", Port: 5000, ServerName: "a.example.com"}), certificates(link.CertificatesRequired),
		behindLoadBalancer, endpoints, func(p *link.ReverseProxy) {
			p.Upstream, p.OverrideBaseURL, p.HTTPS, p.Wildcard, p.ClientCertificates.CRLFile = "art", true, true, "*.art.example.com", "/etc/ssl/client.crl"
			p.Redirects = link.Redirects{Mode: link.RedirectFollow, Hosts: []string{"a.example.com"}}
		})
	out, err := proxyconf.Render(p, proxyconf.Target{Server: link.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	var settings api.ReverseProxySettings
	in := json.NewDecoder(strings.NewReader(out.Text))
	in.DisallowUnknownFields()
	if err := in.Decode(&settings); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	// What is false may be left out.
	sorted := func(text string) any {
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(v, func(_ string, value any) bool {
			truth, ok := value.(bool)
			return ok && !truth
		})
		return v
	}
	if diff := cmp.Diff(sorted(out.Text), sorted(string(again))); diff != "" {
		t.Errorf("document and API (-document +API):\n%s", diff)
	}
}
