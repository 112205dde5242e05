package proxyconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// caddy writes a whole Caddyfile. Within a route directives act in the order in which they stand, which elsewhere is Caddy's own.
func (s *site) caddy() {
	p := s.p
	s.block("{", "}", func() {
		s.line("auto_https off")
		s.caddyPorts()
		s.block("servers {", "}", func() {
			s.line("protocols h1 h2")
			s.block("timeouts {", "}", func() { s.line("read_header 40s") })
		})
	})
	s.line("")
	if p.HTTPS {
		s.block("(postern_tls) {", "}", s.caddyTLS)
		s.line("")
	}
	s.block("(postern_request) {", "}", s.caddyRequest)
	s.line("")
	for _, first := range s.ports() {
		s.line("# A request at port %d for any other name; one that names it in TLS too gets no certificate.", first.port)
		s.block(fmt.Sprintf("%s://:%d {", first.scheme(), first.port), "}", func() {
			if first.tls {
				s.line("import postern_tls")
			}
			s.line("respond 421")
		})
		s.line("")
		for _, d := range s.at(first.port) {
			name := d.name
			if d.domain != "" {
				name = "*." + d.domain
			}
			s.block(fmt.Sprintf("%s://%s:%d {", d.scheme(), name, d.port), "}", func() { s.caddySite(d) })
			s.line("")
		}
	}
	s.note(NoteDefaultServer, "requests for other names are answered 421, or refused in TLS already")
	if len(p.Nodes) > 1 {
		s.note(NoteFailover, "a request with a body goes to one node alone: of those that meet a node that has just gone, one every %d seconds is answered 502",
			caddyFail)
	}
	if s.asksCertificates() {
		s.note(NoteDepth, "Caddy does not limit how long a client's chain is; depth %d is left to the application", p.ClientCertificates.Depth)
		s.note(NoteCertificateForm, "%s holds the certificate as RFC 9440 has it, the base64 of its DER between colons; nginx and Apache send percent-encoded PEM",
			p.ClientCertificates.Header)
	}
}

// caddyPorts moves what Caddy takes for the ports of HTTP and HTTPS out of the way where the settings have it otherwise: at the
// first it never speaks TLS, at the second it refuses not to.
func (s *site) caddyPorts() {
	for _, usual := range []struct {
		option string
		port   uint16
		not    bool // what a door there may not be: of TLS
	}{{"http_port", DefaultHTTPPort, true}, {"https_port", DefaultHTTPSPort, false}} {
		port := usual.port
		for slices.ContainsFunc(s.doors, func(d door) bool { return d.port == port && d.tls == usual.not }) {
			port++
		}
		if port != usual.port {
			s.line("%s %d", usual.option, port)
		}
	}
}

func (s *site) caddyTLS() {
	p, m := s.p, s.p.ClientCertificates
	s.block(fmt.Sprintf("tls %s %s {", p.Certificate, p.Key), "}", func() {
		if s.modern() {
			s.line("protocols tls1.3")
		} else {
			s.line("protocols tls1.2 tls1.3")
			s.line("ciphers %s", goCiphers)
		}
		s.line("curves %s", s.goCurves())
		if !s.asksCertificates() {
			return
		}
		s.block("client_auth {", "}", func() {
			if m.Mode == link.CertificatesRequired {
				s.line("mode require_and_verify")
			} else {
				s.line("mode verify_if_given")
			}
			if s.t.Version.before(2, 8, 0) {
				s.line("trusted_ca_cert_file %s", m.CAFile)
			} else {
				s.line("trust_pool file %s", m.CAFile)
			}
		})
	})
}

// caddyRequest writes what every request loses and gets.
func (s *site) caddyRequest() {
	s.line("# Of all upgrades only WebSocket's passes. What a client names in Connection would be taken from the request, also what is")
	s.line("# set below.")
	s.line("@websocket header_regexp Upgrade (?i)^websocket$")
	s.line("@ordinary not header_regexp Upgrade (?i)^websocket$")
	s.line("request_header @websocket Connection Upgrade")
	s.line("request_header @ordinary -Connection")
	s.line("request_header @ordinary -Upgrade")
	s.line("# What clients may not send, also with _ for -.")
	var gone []string
	take := func(name string) {
		if !slices.Contains(gone, name) {
			gone = append(gone, name)
			s.line("request_header -%s", name)
		}
	}
	for _, h := range s.stripped() {
		for i, c := range h {
			if c == '-' {
				take(h[:i] + "_*")
			}
		}
		take(h)
	}
	if s.asksCertificates() {
		s.line("# A certificate that is not trusted has ended the handshake.")
		s.line("@certificate vars_regexp {http.request.tls.client.certificate_der_base64} ^[A-Za-z0-9+/=]+$")
		s.line(`request_header @certificate %s ":{http.request.tls.client.certificate_der_base64}:"`, s.p.ClientCertificates.Header)
	}
}

func (s *site) caddySite(d door) {
	if d.tls {
		s.line("import postern_tls")
	}
	s.block("route {", "}", func() {
		if d.domain != "" {
			s.line("@other not header_regexp Host `%s`", repositoryHost(d))
		} else {
			s.line("@other not header_regexp Host `(?i)^%s(:[0-9]+)?$`", d.host())
		}
		s.line("respond @other 421")
		if d.redirect {
			s.line("redir https://{http.request.host}%s{http.request.orig_uri} 308", s.securePort())
			return
		}
		s.line("import postern_request")
		if d.tls {
			s.line(`header Strict-Transport-Security "%s"`, hsts)
		}
		s.caddyDocker(d)
		public := regexp.QuoteMeta(s.p.PublicContext)
		if s.hasRouter() || s.renamed() {
			s.line("@direct path_regexp ^/%s(/.*)?$", public)
			s.block("handle @direct {", "}", func() {
				if s.renamed() {
					s.line("uri path_regexp ^/%s(/|$) /%s$1", public, s.p.AppContext)
				}
				s.caddyProxy(d, false, false)
			})
		}
		s.block("handle {", "}", func() { s.caddyProxy(d, s.hasRouter(), false) })
	})
}

// repositoryHost is an expression of the names of repositories, whose first group is the repository. Caddy cannot make letters small,
// and a repository has small ones.
func repositoryHost(d door) string {
	return "^(" + label + ")(?i)" + regexp.QuoteMeta("."+d.domain) + "(:[0-9]+)?$"
}

// caddyDocker leads Docker's paths to the registry of their repository.
func (s *site) caddyDocker(d door) {
	if !s.docker(d) {
		return
	}
	registry := func(matcher, to string) {
		s.block("handle @"+matcher+" {", "}", func() {
			s.line("rewrite * %s%s", s.registry(), to)
			if matcher == "registry" && s.byPath() {
				s.line("# What is mounted from an image of the same repository has the repository's name in front too.")
				s.line("@from vars_regexp from {http.request.uri.query.from} ^([^/]+)/(.+)$")
				s.block("route @from {", "}", func() {
					s.line("@same expression {http.regexp.from.1} == {http.regexp.registry.2}")
					s.line("rewrite @same ?mount={http.request.uri.query.mount}&from={http.regexp.from.2}")
				})
			}
			s.caddyProxy(d, false, true)
		})
	}
	switch {
	case s.byPath():
		s.line("@registry path_regexp registry ^/(v[12])/(%s)/(.*)$", anyKey)
		registry("registry", "{http.regexp.registry.2}/{http.regexp.registry.1}/{http.regexp.registry.3}")
		if first := s.first(); first != "" {
			s.line("@none path_regexp none ^/(v[12])/((_catalog|token)?)$")
			registry("none", first+"/{http.regexp.none.1}/{http.regexp.none.2}")
		} else {
			s.line("@none path_regexp none ^/(v[12])/(token)$")
			registry("none", "null/{http.regexp.none.1}/{http.regexp.none.2}")
		}
	case d.domain != "":
		s.block("@registry {", "}", func() {
			s.line("header_regexp name Host `%s`", repositoryHost(d))
			s.line("path_regexp ^/v[12]/")
		})
		registry("registry", "{http.regexp.name.1}{http.request.uri}")
	default:
		s.line("@registry path_regexp ^/v[12]/")
		registry("registry", d.repository+"{http.request.uri}")
	}
}

// caddyFail is for how many seconds a node is left alone after it failed. A request with a body that meets a dead node is
// answered 502, so it is not to be tried often.
const caddyFail = 30

// caddyProxy writes how requests go to the nodes. Caddy has closed a request's body by the time it tries the next node, and takes
// the failure for that node's, so what has a body is tried at one node alone.
func (s *site) caddyProxy(d door, router, docker bool) {
	nodes := "http://" + strings.Join(s.addresses(router), " http://")
	if len(s.p.Nodes) == 1 {
		s.caddyNodes(d, nodes, docker, func() {})
		return
	}
	passive := func() {
		s.line("lb_policy least_conn")
		s.line("fail_duration %ds", caddyFail)
	}
	s.line("@bodies method POST PUT PATCH")
	s.caddyNodes(d, "@bodies "+nodes, docker, passive)
	s.caddyNodes(d, nodes, docker, func() {
		passive()
		s.line("lb_try_duration %ds", 2*dialing)
	})
}

func (s *site) caddyNodes(d door, nodes string, docker bool, balance func()) {
	s.block("reverse_proxy "+nodes+" {", "}", func() {
		s.line("flush_interval -1")
		balance()
		s.block("transport http {", "}", func() {
			s.line("dial_timeout %ds", dialing)
			s.line("response_header_timeout %ds", silence)
		})
		// The other forwarded headers are Caddy's own doing.
		s.line("header_up X-Forwarded-Port %d", d.port)
		if s.p.OverrideBaseURL {
			s.line("header_up X-JFrog-Override-Base-Url %s://{http.request.hostport}", d.scheme())
		}
		for _, r := range s.rewrites(d, docker) {
			s.line("header_down %s `%s` `%s`", r.header, r.find, dollars(r.put))
		}
		if d.tls {
			s.line("header_down -Strict-Transport-Security")
		}
	})
}
