package proxyconf_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// TestCheck shows every rule by settings that break it, and some by settings that only look as if they did.
func TestCheck(t *testing.T) {
	repositories := func(r ...link.ProxyRepository) func(*link.ReverseProxy) {
		return func(p *link.ReverseProxy) { p.Repositories = r }
	}
	set := func(change func(p *link.ReverseProxy)) func(*link.ReverseProxy) { return change }
	gateway := func(p *link.ReverseProxy) {
		*p = link.ReverseProxy{Server: link.Embedded}
	}
	for _, c := range []struct {
		name    string
		changes []func(*link.ReverseProxy)
		want    string // field and reason of each error
	}{
		{"the least", nil, ""},
		{"the gateway's least", []func(*link.ReverseProxy){gateway}, ""},
		{"a server of no kind", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Server = "iis" })}, "server UNKNOWN_SERVER"},
		{
			"everything at once",
			[]func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { *p = link.ReverseProxy{Server: link.Apache} })},
			"server_name SERVER_NAME_REQUIRED, nodes NODE_REQUIRED, certificate CERTIFICATE_REQUIRED, key KEY_REQUIRED",
		},

		{"upper case and a final dot", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ServerName = "Art.Example.COM." })}, ""},
		{"a label", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ServerName = "artifactory"; p.Docker = link.DockerNone })}, ""},
		{"a label without a domain of its own", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ServerName = "artifactory" })}, "wildcard MALFORMED_WILDCARD"},
		{"an address for a name", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ServerName, p.Docker = "10.0.0.1", link.DockerNone })}, "server_name MALFORMED_SERVER_NAME"},
		{"a name with a port", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ServerName, p.Docker = "art.example.com:443", link.DockerNone })}, "server_name MALFORMED_SERVER_NAME"},
		{"an expression for a name", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ServerName, p.Docker = "~^art", link.DockerNone })}, "server_name MALFORMED_SERVER_NAME"},
		{"a long label", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) {
			p.ServerName, p.Docker = strings.Repeat("a", 64)+".example", link.DockerNone
		})}, "server_name MALFORMED_SERVER_NAME"},
		{"a wildcard elsewhere", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Wildcard = "*.docker.example.com" })}, ""},
		{"a wildcard of no domain", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Wildcard = "*.com" })}, "wildcard MALFORMED_WILDCARD"},
		{"a wildcard inside", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Wildcard = "a.*.example.com" })}, "wildcard MALFORMED_WILDCARD"},

		{"a node in brackets", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "[::1]"})}, "nodes[0].host MALFORMED_HOST"},
		{"a node with IPv6", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "::1"})}, ""},
		{"a node with a zone", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "fe80::1%eth0"})}, "nodes[0].host MALFORMED_HOST"},
		{"a node in a container", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "artifactory_1"})}, ""},
		{"a node twice", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "a"}, link.ProxyNode{Host: "A."})}, "nodes[1].host DUPLICATE_NODE"},
		{"two nodes at a host", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "a", DirectPort: 1}, link.ProxyNode{Host: "a", DirectPort: 2})}, ""},
		{"a router here and none there", []func(*link.ReverseProxy){nodes(link.ProxyNode{Host: "a"}, link.ProxyNode{Host: "b", DirectPort: 8081})}, "nodes MIXED_NODES"},
		{"nodes without end", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) {
			p.Nodes = nil
			for i := range 100 {
				p.Nodes = append(p.Nodes, link.ProxyNode{Host: fmt.Sprintf("node-%d.of.a.very.large.cluster", i)})
			}
		})}, "nodes TOO_MANY"},
		{"a group's name", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Upstream = "a b" })}, "upstream MALFORMED_UPSTREAM"},

		{
			"a context with a slash",
			[]func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.AppContext = "a/b" })},
			"app_context MALFORMED_CONTEXT, public_context MALFORMED_CONTEXT",
		},
		{"a context of dots", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.PublicContext = ".." })}, "public_context MALFORMED_CONTEXT"},
		{"Docker's own context", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.PublicContext = "v2" })}, "public_context CONTEXT_TAKEN"},

		{"one port for both", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.HTTP, p.HTTPS, p.HTTPPort = true, true, 443 })}, "http_port PORT_TAKEN"},
		{"a port that is not used", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.HTTPPort = 443 })}, ""},
		{"no key", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Key = "" })}, "key KEY_REQUIRED"},
		{"no certificate for plain HTTP", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.HTTP, p.Certificate, p.Key = true, "", "" })}, ""},
		{"a relative path", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Certificate = "art.pem" })}, "certificate MALFORMED_PATH"},
		{"a path with a detour", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Key = "/etc/../root/key" })}, "key MALFORMED_PATH"},
		{"a path that ends the line", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Key = "/etc/key\n}" })}, "key MALFORMED_PATH"},
		{"a key in a file", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Certificate, p.Key = "/etc/art", "/etc/art/key" })}, "certificate FOLDER"},
		{"a key with a certificate's name", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Certificate, p.Key = "/etc/art", "/etc/art.key" })}, ""},
		{"a profile of no kind", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Profile = "OLD" })}, "tls_profile UNKNOWN_TLS_PROFILE"},

		{"a method of no kind", []func(*link.ReverseProxy){docker("PATH")}, "docker_method UNKNOWN_DOCKER_METHOD"},
		{
			"a port of two repositories",
			[]func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "a", Port: 5000}, link.ProxyRepository{Key: "b", Port: 5000})},
			"repositories[1].port PORT_TAKEN",
		},
		{"the proxy's port", []func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "a", Port: 443})}, "repositories[0].port PORT_TAKEN"},
		{"a port that HTTP does not use", []func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "a", Port: 80})}, ""},
		{"no port", []func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "a"})}, "repositories[0].port PORT_REQUIRED"},
		{"no port needed", []func(*link.ReverseProxy){docker(link.DockerPath, link.ProxyRepository{Key: "a"})}, ""},
		{"a repository twice", []func(*link.ReverseProxy){docker(link.DockerPath, link.ProxyRepository{Key: "a"}, link.ProxyRepository{Key: "a"})}, "repositories[1].key DUPLICATE_REPOSITORY"},
		{"a key with a dot below a wildcard", []func(*link.ReverseProxy){repositories(link.ProxyRepository{Key: "a.b"})}, "repositories[0].key KEY_HAS_DOT"},
		{"a key with a dot at a port", []func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "a.b", Port: 5000})}, ""},
		{"a key in upper case at a port", []func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "Local", Port: 5000})}, ""},
		{"a key in upper case in a name", []func(*link.ReverseProxy){repositories(link.ProxyRepository{Key: "Local"})}, "repositories[0].key MALFORMED_REPOSITORY_KEY"},
		{"a key in upper case in a path", []func(*link.ReverseProxy){docker(link.DockerPath, link.ProxyRepository{Key: "Local"})}, "repositories[0].key MALFORMED_REPOSITORY_KEY"},
		{"a key with a slash", []func(*link.ReverseProxy){docker(link.DockerPath, link.ProxyRepository{Key: "a/b"})}, "repositories[0].key MALFORMED_REPOSITORY_KEY"},
		{"a repository's name", []func(*link.ReverseProxy){docker(link.DockerPort, link.ProxyRepository{Key: "a", Port: 5000, ServerName: "a b"})}, "repositories[0].server_name MALFORMED_SERVER_NAME"},

		{
			"certificates without an authority",
			[]func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ClientCertificates.Mode = link.CertificatesRequired })},
			"client_certificates.ca_file CA_FILE_REQUIRED",
		},
		{"certificates over HTTP", []func(*link.ReverseProxy){certificates(link.CertificatesOptional), set(func(p *link.ReverseProxy) { p.HTTP = true })}, "client_certificates.mode HTTPS_REQUIRED"},
		{"a mode of no kind", []func(*link.ReverseProxy){certificates("MAYBE")}, "client_certificates.mode UNKNOWN_MODE"},
		{"a negative depth", []func(*link.ReverseProxy){certificates(link.CertificatesOptional), set(func(p *link.ReverseProxy) { p.ClientCertificates.Depth = -1 })}, "client_certificates.depth MALFORMED_DEPTH"},
		{
			"a path of lists",
			[]func(*link.ReverseProxy){certificates(link.CertificatesOptional), set(func(p *link.ReverseProxy) { p.ClientCertificates.CRLFile = "/a b" })},
			"client_certificates.crl_file MALFORMED_PATH",
		},
		{"a header of two lines", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ClientCertificates.Header = "A\r\nB" })}, "client_certificates.header MALFORMED_HEADER"},
		{"a header that is taken", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ClientCertificates.Header = "authorization" })}, "client_certificates.header HEADER_TAKEN"},
		{"a forwarded header", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ClientCertificates.Header = "X-Forwarded-For" })}, "client_certificates.header HEADER_TAKEN"},
		{"a certificate's header", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ClientCertificates.Header = "Client-Cert" })}, ""},

		{"PROXY from nobody", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.ProxyProtocol = true })}, "trusted_peers TRUSTED_PEERS_REQUIRED"},
		{"PROXY from everybody", []func(*link.ReverseProxy){behindLoadBalancer, set(func(p *link.ReverseProxy) { p.TrustedPeers[1] = netip.MustParsePrefix("::/0") })}, "trusted_peers[1] EVERYBODY_TRUSTED"},
		{"PROXY from nowhere", []func(*link.ReverseProxy){behindLoadBalancer, set(func(p *link.ReverseProxy) { p.TrustedPeers[0] = netip.Prefix{} })}, "trusted_peers[0] MALFORMED_PREFIX"},
		{"peers and endpoints without end", []func(*link.ReverseProxy){behindLoadBalancer, set(func(p *link.ReverseProxy) {
			p.TrustedPeers = nil
			for i := range 201 {
				p.TrustedPeers = append(p.TrustedPeers, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24))
			}
			for i := range 1001 {
				p.Endpoints = append(p.Endpoints, link.EndpointID(fmt.Sprintf("vpce-%017x", i)))
			}
		})}, "trusted_peers TOO_MANY, endpoints TOO_MANY"},
		{"peers without PROXY", []func(*link.ReverseProxy){behindLoadBalancer, set(func(p *link.ReverseProxy) { p.ProxyProtocol = false })}, "trusted_peers PROXY_PROTOCOL_REQUIRED"},
		{"endpoints without PROXY", []func(*link.ReverseProxy){endpoints}, "endpoints PROXY_PROTOCOL_REQUIRED"},
		{"an endpoint of no kind", []func(*link.ReverseProxy){behindLoadBalancer, set(func(p *link.ReverseProxy) { p.Endpoints = []link.EndpointID{`"`} })}, "endpoints[0] MALFORMED_ENDPOINT_ID"},
		{"an endpoint twice", []func(*link.ReverseProxy){behindLoadBalancer, endpoints, set(func(p *link.ReverseProxy) { p.Endpoints[0] = p.Endpoints[1] })}, "endpoints[1] DUPLICATE_ENDPOINT"},
		{"what the gateway knows already", []func(*link.ReverseProxy){gateway, endpoints}, ""},

		{"a redirect that nginx does not follow", []func(*link.ReverseProxy){set(func(p *link.ReverseProxy) { p.Redirects.Mode = link.RedirectRefuse })}, "redirects.mode EMBEDDED_REQUIRED"},
		{"following to nowhere", []func(*link.ReverseProxy){gateway, set(func(p *link.ReverseProxy) { p.Redirects.Mode = link.RedirectFollow })}, "redirects.hosts HOSTS_REQUIRED"},
		{"following to anywhere", []func(*link.ReverseProxy){gateway, set(func(p *link.ReverseProxy) {
			p.Redirects = link.Redirects{Mode: link.RedirectRewrite, Hosts: []string{"*.amazonaws.com"}}
		})}, "redirects.hosts[0] MALFORMED_HOST"},
		{"following to an address", []func(*link.ReverseProxy){gateway, set(func(p *link.ReverseProxy) {
			p.Redirects = link.Redirects{Mode: link.RedirectFollow, Hosts: []string{"169.254.169.254", "a.example:8443"}}
		})}, "redirects.hosts[0] MALFORMED_HOST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, e := range proxyconf.Check(proxyconf.Complete(with(c.changes...))) {
				got = append(got, e.Field+" "+e.Reason)
				if e.Kind != link.Invalid || e.Message == "" || e.Hint == "" {
					t.Errorf("%s does not say what is wrong, or what to do: %+v", e.Field, e)
				}
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// TestCompleteOnce: completing what is complete changes nothing, and what was given stays.
func TestComplete(t *testing.T) {
	p := proxyconf.Complete(link.ReverseProxy{
		Server: link.NGINX, ServerName: "Art.Example.com.",
		Nodes: []link.ProxyNode{{Host: "a"}, {Host: "b", DirectPort: 9081}, {Host: "c", RouterPort: 9082}},
	})
	want := []link.ProxyNode{{Host: "a", DirectPort: 8081, RouterPort: 8082}, {Host: "b", DirectPort: 9081}, {Host: "c", DirectPort: 8081, RouterPort: 9082}}
	if !slices.Equal(p.Nodes, want) {
		t.Errorf("nodes %+v, want %+v", p.Nodes, want)
	}
	if p.ServerName != "art.example.com" || p.Wildcard != "*.art.example.com" || p.AppContext != "artifactory" || p.PublicContext != "artifactory" ||
		p.HTTP || !p.HTTPS || p.HTTPPort != 80 || p.HTTPSPort != 443 || p.Profile != link.TLSIntermediate || p.Docker != link.DockerSubdomain {
		t.Errorf("defaults: %+v", p)
	}
	if c := p.ClientCertificates; c.Mode != link.CertificatesOff || c.Depth != 2 || c.Header != "X-JFrog-Client-Cert" {
		t.Errorf("defaults of certificates: %+v", c)
	}
}

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"nginx", "nginx=1.22.1,openssl=3.0"},
		{"nginx=1.22", "nginx=1.22.1,openssl=3.0"},
		{"nginx=1.28.0,openssl=3.5", "nginx=1.28,openssl=3.5"},
		{"apache=2.4", "apache=2.4.57,openssl=3.0"},
		{"haproxy=3.2.1", "haproxy=3.2.1,openssl=3.0"},
		{"caddy=2", "caddy=2.0"},
		{"embedded", "direct"},
		{"direct", "direct"},
		{"", ""},
		{"iis", ""},
		{"nginx=", ""},
		{"nginx=1.x", ""},
		{"nginx=1.2.3.4", ""},
		{"nginx=-1", ""},
		{"nginx,openssl=", ""},
		{"nginx,ssl=3", ""},
		{"NGINX", ""},
	} {
		target, err := proxyconf.ParseTarget(c.in)
		switch {
		case c.want == "":
			if link.KindOf(err) != link.Invalid {
				t.Errorf("%q: %v, want an error of kind Invalid", c.in, err)
			}
		case err != nil:
			t.Errorf("%q: %v", c.in, err)
		case target.String() != c.want:
			t.Errorf("%q is %s, want %s", c.in, target, c.want)
		default:
			if again, err := proxyconf.ParseTarget(target.String()); err != nil || again.String() != c.want {
				t.Errorf("%s read again is %s, %v", target, again, err)
			}
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"nginx", "nginx=1.22", "haproxy=3.0.1,openssl=3.5", "embedded", "caddy=2.10", "nginx=65535.0.0", "=,="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := proxyconf.ParseTarget(s)
		if err != nil {
			return
		}
		if again, err := proxyconf.ParseTarget(target.String()); err != nil || again.String() != target.String() {
			t.Errorf("%q is %s, which reads as %s, %v", s, target, again, err)
		}
	})
}
