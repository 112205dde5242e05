package proxyconf_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// targets can render everything but what their comments say.
var targets = []string{
	"nginx=1.28.0,openssl=3.5", "apache=2.4.65", "haproxy=3.2", "caddy=2.10", "direct", "nginx", "apache", "haproxy", "caddy",
}

// drawSettings draws settings of which most pass Check, with the occasional value that does not.
func drawSettings(t *rapid.T) link.ReverseProxy {
	odd := func(g *rapid.Generator[string]) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			if rapid.IntRange(0, 99).Draw(t, "odd") == 99 {
				return rapid.SampledFrom(hostile).Draw(t, "hostile")
			}
			return g.Draw(t, "tame")
		})
	}
	label := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`)
	name := odd(rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(label, 1, 12).Draw(t, "labels"), ".") + ".example"
	}))
	path := odd(rapid.StringMatching(`(/[A-Za-z0-9._+=@-]{1,30}){1,8}`))
	segment := odd(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,63}`))
	key := odd(rapid.OneOf(rapid.StringMatching(`[a-z0-9][a-z0-9_-]{0,40}[a-z0-9]`), rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,63}`)))
	port := rapid.Custom(func(t *rapid.T) uint16 {
		return rapid.OneOf(rapid.Uint16(), rapid.SampledFrom([]uint16{0, 80, 443, 5000, 8443, 65535})).Draw(t, "port")
	})
	maybe := func(g *rapid.Generator[string]) string {
		return rapid.OneOf(rapid.Just(""), g).Draw(t, "maybe")
	}
	var p link.ReverseProxy
	p.Server = rapid.SampledFrom([]link.WebServer{link.NGINX, link.Apache, link.HAProxy, link.Caddy, link.Embedded}).Draw(t, "server")
	p.ServerName = name.Draw(t, "server name")
	if rapid.Bool().Draw(t, "wildcard") {
		p.Wildcard = "*." + name.Draw(t, "domain")
	}
	routers := rapid.Bool().Draw(t, "routers")
	for range rapid.IntRange(1, 3).Draw(t, "nodes") {
		n := link.ProxyNode{Host: rapid.OneOf(name, rapid.SampledFrom([]string{"localhost", "10.0.0.5", "::1", "art_1"})).Draw(t, "host"), DirectPort: port.Draw(t, "direct")}
		if routers {
			n.RouterPort = port.Draw(t, "router")
		}
		p.Nodes = append(p.Nodes, n)
	}
	p.Upstream, p.AppContext, p.PublicContext = maybe(segment), maybe(segment), maybe(segment)
	p.HTTP, p.HTTPS = rapid.Bool().Draw(t, "http"), rapid.Bool().Draw(t, "https")
	p.HTTPPort, p.HTTPSPort = port.Draw(t, "http port"), port.Draw(t, "https port")
	p.Certificate = path.Draw(t, "certificate")
	p.Key = rapid.OneOf(rapid.Just(p.Certificate), rapid.Just(p.Certificate+".key"), path).Draw(t, "key")
	p.Profile = rapid.SampledFrom([]link.TLSProfile{"", link.TLSIntermediate, link.TLSModern}).Draw(t, "profile")
	p.OverrideBaseURL = rapid.Bool().Draw(t, "override")
	p.Docker = rapid.SampledFrom([]link.DockerMethod{"", link.DockerSubdomain, link.DockerPath, link.DockerPort, link.DockerNone}).Draw(t, "docker")
	for range rapid.IntRange(0, 4).Draw(t, "repositories") {
		p.Repositories = append(p.Repositories, link.ProxyRepository{Key: key.Draw(t, "key"), ServerName: maybe(name), Port: port.Draw(t, "repository's port")})
	}
	if rapid.Bool().Draw(t, "certificates") {
		p.ClientCertificates = link.ProxyCertificates{
			Mode:   rapid.SampledFrom([]link.CertificateMode{link.CertificatesOff, link.CertificatesOptional, link.CertificatesRequired}).Draw(t, "mode"),
			CAFile: path.Draw(t, "ca"), CRLFile: maybe(path), Depth: rapid.IntRange(0, 10).Draw(t, "depth"),
			Header: maybe(odd(rapid.StringMatching(`[A-Z][a-z0-9]{0,20}(-[A-Za-z0-9]{1,10}){0,3}`))),
		}
	}
	if rapid.Bool().Draw(t, "proxy") {
		p.ProxyProtocol = true
		p.TrustedPeers = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		if rapid.Bool().Draw(t, "endpoints") {
			p.Endpoints = []link.EndpointID{link.EndpointID(odd(rapid.StringMatching(`vpce-[0-9a-f]{17}`)).Draw(t, "endpoint"))}
		}
	}
	return p
}

// hostile are values that mean something to one server or another.
var hostile = []string{
	"", " ", "\n", "\r\n", "\x00", ";", "}", "{", "a;b", "a}b", "a\nb", "a b", "a\tb", `a"b`, `a'b`, "a`b", `a\b`, "a#b", "a$b", "${a}", "$host", "%{HTTP_HOST}", "%[src]", "{$HOME}",
	"{env.HOME}", "a|b", "a(b", "a)b", "a*b", "a?b", "a/b", "../a", "/a/../b", "/a;b", "/a b", "/a\nb", "/a{b", "/a$b", "/a%b", "/a\"b", "/a'b", "/a`b", "/a\\b", "/a#b",
	"é", "a\u202eb", "a\u2028b", "-a", "_a", "<a>", "@a", "a,b", "a:b", "a=b", "&a", "a\\\n",
}

// TestEveryCheckedSettingRenders: what passes Check renders for every server, but for what a version cannot do, which is said by
// a reason of its own; the same settings give the same text, and so do those that were rendered.
func TestEveryCheckedSettingRenders(t *testing.T) {
	rendered := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawSettings(t)
		complete := proxyconf.Complete(p)
		if again := proxyconf.Complete(complete); !reflect.DeepEqual(again, complete) {
			t.Fatalf("completed twice: %+v, once: %+v", again, complete)
		}
		if len(proxyconf.Check(complete)) > 0 {
			return
		}
		for _, target := range targets {
			to, err := proxyconf.ParseTarget(target)
			if err != nil {
				t.Fatal(err)
			}
			asked := complete
			asked.Server = to.Server
			fine := len(proxyconf.Check(asked)) == 0
			out, err := proxyconf.Render(p, to)
			if err != nil {
				for _, e := range flat(err) {
					if fine && e.Reason != "TARGET_CANNOT" || e.Hint == "" || e.Field == "" {
						t.Fatalf("%s: %+v", target, e)
					}
				}
				continue
			}
			if !fine {
				t.Fatalf("%s renders what does not pass Check", target)
			}
			again, err := proxyconf.Render(complete, to)
			if err != nil || again.Text != out.Text || !slices.Equal(again.Notes, out.Notes) {
				t.Fatalf("%s: rendered again: %v\n%s", target, err, proxyconf.Diff(out.Text, again.Text))
			}
			if to.Server != link.Embedded && !strings.HasPrefix(out.Text, "# postern-proxyconf 1, for "+to.String()+", settings sha256:") {
				t.Fatalf("first line: %.100s", out.Text)
			}
			rendered++
		}
	})
	if rendered < 10 { // as a rule some hundreds
		t.Errorf("only %d texts were rendered: the settings that are drawn are too odd", rendered)
	}
}

// flat returns the errors that are joined in err.
func flat(err error) []*link.Error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*link.Error
		for _, e := range many.Unwrap() {
			out = append(out, flat(e)...)
		}
		return out
	}
	e, ok := err.(*link.Error) //nolint:errorlint // Render promises this type
	if !ok {
		return []*link.Error{{Message: "an error of another type: " + err.Error()}}
	}
	return []*link.Error{e}
}

// TestHostileValuesAreRefused puts values that could end a directive or begin another into every place that takes a text. None
// passes; what does is of letters, digits and signs that mean nothing to any server.
func TestHostileValuesAreRefused(t *testing.T) {
	places := map[string]func(p *link.ReverseProxy, v string){
		"server_name": func(p *link.ReverseProxy, v string) { p.ServerName = v }, "wildcard": func(p *link.ReverseProxy, v string) { p.Wildcard = v },
		"wildcard's domain": func(p *link.ReverseProxy, v string) { p.Wildcard = "*." + v }, "nodes[0].host": func(p *link.ReverseProxy, v string) { p.Nodes[0].Host = v },
		"upstream": func(p *link.ReverseProxy, v string) { p.Upstream = v }, "app_context": func(p *link.ReverseProxy, v string) { p.AppContext = v },
		"public_context": func(p *link.ReverseProxy, v string) { p.PublicContext = v }, "certificate": func(p *link.ReverseProxy, v string) { p.Certificate, p.Key = v, v },
		"repositories[0].key": func(p *link.ReverseProxy, v string) { p.Repositories[0].Key = v }, "repositories[0].server_name": func(p *link.ReverseProxy, v string) { p.Repositories[0].ServerName = v },
		"client_certificates.ca_file":  func(p *link.ReverseProxy, v string) { p.ClientCertificates.CAFile = v },
		"client_certificates.crl_file": func(p *link.ReverseProxy, v string) { p.ClientCertificates.CRLFile = v },
		"client_certificates.header":   func(p *link.ReverseProxy, v string) { p.ClientCertificates.Header = v },
		"endpoints[0]":                 func(p *link.ReverseProxy, v string) { p.Endpoints[0] = link.EndpointID(v) },
		"docker_method":                func(p *link.ReverseProxy, v string) { p.Docker = link.DockerMethod(v) },
		"tls_profile":                  func(p *link.ReverseProxy, v string) { p.Profile = link.TLSProfile(v) },
		"client_certificates.mode":     func(p *link.ReverseProxy, v string) { p.ClientCertificates.Mode = link.CertificateMode(v) },
	}
	tame := func(method link.DockerMethod) link.ReverseProxy {
		return link.ReverseProxy{
			ServerName: "art.example.com", Wildcard: "*.art.example.com", Nodes: []link.ProxyNode{{Host: "node"}}, Upstream: "group",
			AppContext: "app", PublicContext: "public", Certificate: "/cert", Key: "/cert", Docker: method, OverrideBaseURL: true,
			Repositories:       []link.ProxyRepository{{Key: "key", Port: 5000, ServerName: "docker.example.com"}},
			ClientCertificates: link.ProxyCertificates{Mode: link.CertificatesOptional, CAFile: "/ca", CRLFile: "/crl", Header: "X-Some-Cert"},
			ProxyProtocol:      true, TrustedPeers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Endpoints: []link.EndpointID{"vpce-0a1b2c3d4e5f60718"},
		}
	}
	for _, target := range []string{"nginx=1.28,openssl=3.5", "apache=2.4.65", "haproxy=3.2", "caddy=2.10"} {
		to, err := proxyconf.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []link.DockerMethod{link.DockerSubdomain, link.DockerPort, link.DockerPath} {
			base := tame(method)
			if to.Server == link.Caddy {
				base.ClientCertificates.CRLFile, base.ProxyProtocol, base.TrustedPeers = "", false, nil
			}
			if to.Server == link.Caddy || to.Server == link.Apache {
				base.Endpoints = nil
			}
			if _, err := proxyconf.Render(base, to); err != nil {
				t.Fatal(err)
			}
			for place, put := range places {
				if place == "endpoints[0]" && base.Endpoints == nil || place == "client_certificates.crl_file" && to.Server == link.Caddy {
					continue
				}
				for _, value := range hostile {
					if value == "" {
						continue // not given
					}
					p := base
					p.Nodes, p.Repositories, p.Endpoints = slices.Clone(p.Nodes), slices.Clone(p.Repositories), slices.Clone(p.Endpoints)
					put(&p, value)
					if out, err := proxyconf.Render(p, to); err == nil {
						t.Errorf("%s: %s %q passes:\n%s", target, place, value, out.Text)
					}
				}
			}
		}
	}
}

// FuzzRender gives settings as a peer may send them.
func FuzzRender(f *testing.F) {
	for _, c := range cases {
		text, err := json.Marshal(c.p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var p link.ReverseProxy
		if json.Unmarshal(text, &p) != nil {
			return
		}
		for _, target := range targets {
			to, err := proxyconf.ParseTarget(target)
			if err != nil {
				t.Fatal(err)
			}
			out, err := proxyconf.Render(p, to)
			if err != nil {
				for _, e := range flat(err) {
					if e.Kind != link.Invalid || e.Field == "" {
						t.Errorf("%s: %+v", target, e)
					}
				}
				continue
			}
			if i := strings.IndexFunc(out.Text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\t' }); i >= 0 {
				t.Errorf("%s: an odd character in %s", target, fmt.Sprintf("%q", out.Text[max(0, i-20):i+1]))
			}
		}
	})
}
