package proxyconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// longestHashed is the longest name that nginx's default server_names_hash_bucket_size has room for. A longer one becomes an
// expression, which no hash has to hold; the size is the whole server's, and not ours to change.
const longestHashed = 46

// nginx writes a file for nginx's conf.d or sites-enabled, which stand within http.
func (s *site) nginx() {
	s.nginxMaps()
	for _, kind := range s.groups() {
		s.block("upstream "+s.group(kind)+" {", "}", func() {
			for _, a := range s.addresses(kind == "router") {
				s.line("server %s;", a)
			}
			s.line("keepalive 32;")
		})
		s.line("")
	}
	for _, first := range s.ports() {
		s.line("# A request at port %d for any other name is answered 421, unless a file that is read earlier has that port too.", first.port)
		s.block("server {", "}", func() {
			s.nginxListen(first)
			s.line("server_name _;")
			s.line("underscores_in_headers off;")
			s.line("return 421;")
		})
		for _, d := range s.at(first.port) {
			s.line("")
			s.block("server {", "}", func() { s.nginxServer(d) })
		}
		s.line("")
	}
	s.note(NoteDefaultServer, "requests for other names are answered 421; where another file has a default_server at the same port, they are that one's: "+
		"remove Debian's sites-enabled/default")
	s.note(NoteUnderscores, "nginx drops headers with underscores unless underscores_in_headers is on; a port's first server decides, so leave it off everywhere")
}

// variable returns a variable of this site, without its $.
func (s *site) variable(name string) string { return "postern_" + s.id + "_" + name }

func (s *site) nginxMaps() {
	p := s.p
	m := func(source, name string, inside func()) {
		s.block(fmt.Sprintf("map %s $%s {", source, s.variable(name)), "}", inside)
		s.line("")
	}
	s.line("# The name and port that the client asked for, of which nothing else comes through.")
	m("$http_host", "authority", func() {
		s.line("default $host;")
		s.line(`"~:(?<postern_port>[0-9]+)$" $host:$postern_port;`)
	})
	s.line("# Of all upgrades only WebSocket's passes; HTTP/2 in clear would go round these rules.")
	m("$http_upgrade", "upgrade", func() {
		s.line(`default "";`)
		s.line("~*^websocket$ websocket;")
	})
	m("$"+s.variable("upgrade"), "connection", func() {
		s.line(`default "";`)
		s.line("websocket upgrade;")
	})
	if s.asksCertificates() {
		s.line("# A certificate passes only after it was verified.")
		m("$ssl_client_verify", "certificate", func() {
			s.line(`default "";`)
			s.line("SUCCESS $ssl_client_escaped_cert;")
		})
	}
	if p.ProxyProtocol {
		s.line("# Who may tell in PROXY headers where a flow comes from.")
		s.block(fmt.Sprintf("geo $realip_remote_addr $%s {", s.variable("peer")), "}", func() {
			s.line("default 0;")
			for _, peer := range p.TrustedPeers {
				s.line("%s 1;", peer)
			}
		})
		s.line("")
	}
	if len(p.Endpoints) > 0 {
		s.line("# The private endpoint that a flow came through, as the load balancer tells it, and those that may pass.")
		m("$proxy_protocol_tlv_0xEA", "endpoint", func() {
			s.line(`default "";`)
			// \z, since $ would let a new line pass.
			s.line(`"~^\x01(?<postern_vpce>vpce-[0-9a-f]+)\z" $postern_vpce;`)
		})
		m("$"+s.variable("endpoint"), "allowed", func() {
			s.line("default 0;")
			for _, e := range p.Endpoints {
				s.line("%s 1;", e)
			}
		})
	}
	if s.renamed() {
		s.line("# Paths as clients sent them, not decoded and encoded again.")
		m("$request_uri", "context", func() {
			s.line(`default "";`)
			s.line(`"~^/%s(?<postern_rest>[/?].*)?$" /%s$postern_rest;`, regexp.QuoteMeta(p.PublicContext), p.AppContext)
		})
	}
	switch {
	case s.byPath():
		s.line("# Where the repository that a path begins with has its registry. What is mounted from an image of the same repository")
		s.line("# has the repository's name in front too.")
		m("$request_uri", "registry", func() {
			s.line(`default "";`)
			key := "(?<postern_key>" + anyKey + ")"
			s.line(`"~^/(?<postern_v>v[12])/%s/(?<postern_rest>[^?]*\?(.*&)?from=)\k<postern_key>(/|%%2[Ff])(?<postern_from>.*)$" %s$postern_key/$postern_v/$postern_rest$postern_from;`,
				key, s.registry())
			s.line(`"~^/(?<postern_v>v[12])/%s/(?<postern_rest>.*)$" %s$postern_key/$postern_v/$postern_rest;`, key, s.registry())
			if first := s.first(); first != "" {
				s.line(`"~^/(?<postern_v>v[12])/(?<postern_rest>(_catalog|token)?(\?.*)?)$" %s%s/$postern_v/$postern_rest;`, s.registry(), first)
			} else {
				s.line(`"~^/(?<postern_v>v[12])/(?<postern_rest>token(\?.*)?)$" %snull/$postern_v/$postern_rest;`, s.registry())
				s.line(`"~^/v[12]/(_catalog)?(\?.*)?$" $request_uri;`)
			}
		})
	case slices.ContainsFunc(s.doors, s.docker): // without one, no name and no port tells a repository
		s.line("# Where the repository that the name or the port tells has its registry.")
		m("$request_uri", "registry", func() {
			s.line(`default "";`)
			s.line(`"~^/(?<postern_rest>v[12]/.*)$" %s$%s/$postern_rest;`, s.registry(), s.variable("repository"))
		})
	}
	for i, d := range s.nginxRegistries() {
		for _, r := range s.rewrites(d, true) {
			if r.header != "Link" && r.header != "WWW-Authenticate" {
				continue
			}
			upstream := "upstream_http_" + strings.ReplaceAll(strings.ToLower(r.header), "-", "_")
			m("$"+upstream, nginxHeader(r.header, i), func() {
				s.line("default $%s;", upstream)
				s.line("'~%s' '%s';", r.find, dollars(r.put))
			})
		}
	}
}

// nginxRegistries returns the doors to Docker registries, one of each name: what is made of their answers depends on that alone.
func (s *site) nginxRegistries() []door {
	var out []door
	for _, d := range s.doors {
		if s.docker(d) && !slices.ContainsFunc(out, func(o door) bool { return o.host() == d.host() }) {
			out = append(out, d)
		}
	}
	return out
}

// nginxHeader returns the variable of a header of the answers of the i-th of nginxRegistries.
func nginxHeader(header string, i int) string {
	name := strings.ReplaceAll(strings.ToLower(header), "-", "_")
	if i > 0 {
		name += fmt.Sprintf("_%d", i+1)
	}
	return name
}

// dollars returns a replacement in the spelling of those who write $1 for \1.
func dollars(put string) string { return strings.ReplaceAll(put, `\`, "$") }

func (s *site) nginxListen(d door) {
	flags := ""
	if d.tls {
		flags += " ssl"
		if s.t.Version.before(1, 25, 1) {
			flags += " http2"
		}
	}
	if s.p.ProxyProtocol {
		flags += " proxy_protocol"
	}
	s.line("listen %d%s;", d.port, flags)
	s.line("listen [::]:%d%s;", d.port, flags)
	if !d.tls {
		return
	}
	if !s.t.Version.before(1, 25, 1) {
		s.line("http2 on;")
	}
	s.nginxTLS()
}

func (s *site) nginxTLS() {
	p := s.p
	s.line("ssl_certificate %s;", p.Certificate)
	s.line("ssl_certificate_key %s;", p.Key)
	if s.modern() {
		s.line("ssl_protocols TLSv1.3;")
	} else {
		s.line("ssl_protocols TLSv1.2 TLSv1.3;")
		s.line("ssl_ciphers %s;", ciphers)
	}
	s.line("ssl_prefer_server_ciphers off;")
	s.line("ssl_ecdh_curve %s;", s.curves())
	m := p.ClientCertificates
	if !s.asksCertificates() {
		s.line("ssl_session_cache shared:%s:10m;", s.variable("tls"))
		s.line("ssl_session_timeout 1d;")
		return
	}
	v := s.t.Version
	if v.before(1, 26, 3) || v.Major == 1 && v.Minor == 27 && v.Patch < 4 {
		// CVE-2025-23419.
		s.line("ssl_session_tickets off;")
		s.line("ssl_session_cache off;")
		s.note(NoteResumption, "TLS sessions are not resumed: in nginx before 1.26.3 and 1.27.4 a resumed one skips the check of the client's certificate")
	} else {
		s.line("ssl_session_cache shared:%s:10m;", s.variable("tls"))
		s.line("ssl_session_timeout 1d;")
	}
	if m.Mode == link.CertificatesRequired {
		s.line("ssl_verify_client on;")
	} else {
		s.line("ssl_verify_client optional;")
	}
	s.line("ssl_verify_depth %d;", m.Depth)
	s.line("ssl_client_certificate %s;", m.CAFile)
	if m.CRLFile != "" {
		s.line("ssl_crl %s;", m.CRLFile)
	}
}

// nginxName returns what server_name takes for a door.
func (s *site) nginxName(d door) string {
	switch {
	case d.domain != "":
		return fmt.Sprintf(`"~^(?<%s>%s)%s$"`, s.variable("repository"), label, regexp.QuoteMeta("."+d.domain))
	case len(d.name) > longestHashed:
		return fmt.Sprintf(`"~^%s$"`, d.host())
	default:
		return d.name
	}
}

func (s *site) nginxServer(d door) {
	p := s.p
	s.nginxListen(d)
	s.line("server_name %s;", s.nginxName(d))
	s.line("underscores_in_headers off;")
	if d.repository != "" {
		s.line("set $%s %s;", s.variable("repository"), d.repository)
	}
	s.line("")
	if p.ProxyProtocol {
		s.line("real_ip_header proxy_protocol;")
		for _, peer := range p.TrustedPeers {
			s.line("set_real_ip_from %s;", peer)
		}
		s.block(fmt.Sprintf("if ($%s = 0) {", s.variable("peer")), "}", func() { s.line("return 403;") })
		if len(p.Endpoints) > 0 {
			s.block(fmt.Sprintf("if ($%s = 0) {", s.variable("allowed")), "}", func() { s.line("return 403;") })
		}
		s.line("")
	}
	if d.redirect {
		s.line("return 308 https://$host%s$request_uri;", s.securePort())
		return
	}
	if d.tls && s.asksCertificates() {
		s.line("error_page 495 496 =403 @postern_certificate;")
		s.block("location @postern_certificate {", "}", func() { s.line("return 403;") })
		s.line("")
	}
	s.nginxPassing(d)
	s.nginxLocations(d)
}

// nginxPassing writes what holds for every location of a door: none of them sets a header for the nodes of its own, since
// then it would inherit none.
func (s *site) nginxPassing(d door) {
	s.line("client_max_body_size 0;")
	s.line("proxy_http_version 1.1;")
	s.line("proxy_request_buffering off;")
	s.line("proxy_buffering off;")
	s.line("proxy_buffer_size 16k;")
	s.line("proxy_buffers 8 16k;")
	s.line("proxy_connect_timeout %ds;", dialing)
	s.line("proxy_read_timeout %ds;", silence)
	s.line("proxy_send_timeout %ds;", silence)
	s.line("send_timeout %ds;", silence)
	s.line("proxy_headers_hash_max_size 2048;")
	s.line("proxy_headers_hash_bucket_size 128;")
	s.line("absolute_redirect off;")
	s.line("")

	authority := "$" + s.variable("authority")
	set := map[string]string{
		"X-Forwarded-For": "$remote_addr", "X-Forwarded-Proto": "$scheme", "X-Forwarded-Port": fmt.Sprint(d.port), "X-Forwarded-Host": authority,
	}
	if s.p.OverrideBaseURL {
		set["X-Jfrog-Override-Base-Url"] = "$scheme://" + authority
	}
	if d.tls && s.asksCertificates() {
		set[s.certificateHeader()] = "$" + s.variable("certificate")
	}
	s.line("proxy_set_header Host %s;", authority)
	s.line("proxy_set_header Upgrade $%s;", s.variable("upgrade"))
	s.line("proxy_set_header Connection $%s;", s.variable("connection"))
	for _, h := range s.stripped() {
		if v := set[h]; v != "" {
			s.line("proxy_set_header %s %s;", h, v)
		} else {
			s.line(`proxy_set_header %s "";`, h)
		}
	}
	s.line("proxy_pass_header Server;")
	if d.tls {
		s.line("proxy_hide_header Strict-Transport-Security;")
	}
	s.line("")
}

// certificateHeader returns the header for certificates in the spelling of the list of those that are stripped.
func (s *site) certificateHeader() string {
	for _, h := range s.stripped() {
		if strings.EqualFold(h, s.p.ClientCertificates.Header) {
			return h
		}
	}
	return s.p.ClientCertificates.Header
}

func (s *site) nginxLocations(d door) {
	p := s.p
	direct := s.group("direct")
	own := func(docker bool) {
		// A location with a header of its own inherits none, so each has all.
		if d.tls {
			s.line(`add_header Strict-Transport-Security "%s" always;`, hsts)
		}
		for _, r := range s.rewrites(d, docker) {
			switch r.header {
			case "Location":
				s.line(`proxy_redirect "~%s" "%s";`, r.find, dollars(r.put))
			case "Set-Cookie":
				s.line("proxy_cookie_path ~^/%s(/.*)?$ /%s$1;", regexp.QuoteMeta(p.AppContext), p.PublicContext)
			default:
				i := slices.IndexFunc(s.nginxRegistries(), func(o door) bool { return o.host() == d.host() })
				s.line("proxy_hide_header %s;", r.header)
				s.line("add_header %s $%s always;", r.header, s.variable(nginxHeader(r.header, i)))
			}
		}
	}
	toDocker := func() {
		s.block(fmt.Sprintf(`if ($%s = "") {`, s.variable("registry")), "}", func() { s.line("return 404;") })
		s.line("proxy_pass http://%s$%s;", direct, s.variable("registry"))
		own(true)
	}
	if s.docker(d) {
		s.block("location ~ ^/v[12]/ {", "}", toDocker)
	}
	if s.renamed() {
		s.block(fmt.Sprintf("location ~ ^/%s(/|$) {", regexp.QuoteMeta(p.PublicContext)), "}", func() {
			s.block(fmt.Sprintf(`if ($%s = "") {`, s.variable("context")), "}", func() { s.line("return 400;") })
			s.line("proxy_pass http://%s$%s;", direct, s.variable("context"))
			own(false)
		})
	} else if s.hasRouter() {
		s.block(fmt.Sprintf("location /%s/ {", p.PublicContext), "}", func() {
			s.line("proxy_pass http://%s;", direct)
			own(false)
		})
	}
	s.block("location / {", "}", func() {
		s.line("proxy_pass http://%s;", s.everything())
		own(false)
	})
}
