package proxyconf

import (
	"fmt"
	"strings"

	"github.com/postern/postern/internal/link"
)

// forged is the variable of requests with a header that clients may not send, in a spelling that no directive takes away.
const forged = "POSTERN_FORGED"

// registryVariable is the variable of requests to a Docker registry.
const registryVariable = "POSTERN_REGISTRY"

// apache writes a file for Apache's sites-enabled or conf.d.
func (s *site) apache() {
	p := s.p
	var elsewhere []string
	for _, d := range s.ports() {
		// The configurations that Apache comes with listen on these two, and a second Listen is an error.
		if d.port == DefaultHTTPPort || d.port == DefaultHTTPSPort {
			elsewhere = append(elsewhere, fmt.Sprint(d.port))
			continue
		}
		s.line("Listen %d", d.port)
	}
	if len(elsewhere) < len(s.ports()) {
		s.line("")
	}
	for _, kind := range s.groups() {
		s.block(fmt.Sprintf(`<Proxy "balancer://%s">`, s.group(kind)), "</Proxy>", func() {
			upgrade := " upgrade=websocket"
			if s.t.Version.before(2, 4, 47) {
				upgrade = ""
				s.note(NoteWebSocket, "WebSocket is left out, since Apache %s passes it on only with a module of its own; 2.4.47 does: --target apache=2.4.47", s.t.Version)
			}
			for _, a := range s.addresses(kind == "router") {
				s.line(`BalancerMember "http://%s" connectiontimeout=%d timeout=%d retry=10 ttl=30 flushpackets=on%s`, a, dialing, silence, upgrade)
			}
		})
		s.line("")
	}
	for _, first := range s.ports() {
		s.line("# A request at port %d for any other name is answered 421, unless a file that is read earlier has that port too.", first.port)
		s.block(fmt.Sprintf("<VirtualHost *:%d>", first.port), "</VirtualHost>", func() {
			s.line("ServerName postern-%s.invalid", s.id)
			s.apacheConnection(first)
			s.line("AllowEncodedSlashes NoDecode")
			s.line("RewriteEngine On")
			s.line("RewriteRule ^ - [R=421,L]")
		})
		s.line("")
		for _, d := range s.at(first.port) {
			s.block(fmt.Sprintf("<VirtualHost *:%d>", d.port), "</VirtualHost>", func() { s.apacheServer(d) })
			s.line("")
		}
	}
	if len(elsewhere) > 0 {
		s.note(NoteListen, "Apache has to listen on %s already, as Debian's ports.conf has it; ports that are not 80 or 443 are in this file",
			strings.Join(elsewhere, " and "))
	}
	modules := []string{"proxy", "proxy_http", "proxy_balancer", "lbmethod_byrequests", "slotmem_shm", "headers", "rewrite", "setenvif"}
	if p.HTTPS {
		modules = append(modules, "ssl", "socache_shmcb", "http2")
	}
	if p.ProxyProtocol {
		modules = append(modules, "remoteip")
	}
	s.note(NoteModules, "a2enmod %s", strings.Join(modules, " "))
	s.note(NoteDefaultServer, "requests for other names are answered 421; where a file that is read earlier has the same port, they are that one's: "+
		"a2dissite 000-default default-ssl")
}

// apacheConnection writes what has to be the same for every name at a port.
func (s *site) apacheConnection(d door) {
	p, m := s.p, s.p.ClientCertificates
	if p.ProxyProtocol {
		s.line("RemoteIPProxyProtocol On")
	}
	if !d.tls {
		s.line("Protocols http/1.1")
		return
	}
	s.line("Protocols h2 http/1.1")
	s.line("SSLEngine on")
	s.line(`SSLCertificateFile "%s"`, p.Certificate)
	s.line(`SSLCertificateKeyFile "%s"`, p.Key)
	if s.modern() {
		s.line("SSLProtocol -all +TLSv1.3")
	} else {
		s.line("SSLProtocol -all +TLSv1.2 +TLSv1.3")
		s.line("SSLCipherSuite %s", ciphers)
	}
	s.line("SSLHonorCipherOrder off")
	s.line("SSLOpenSSLConfCmd Curves %s", s.curves())
	if !s.asksCertificates() {
		s.line("SSLVerifyClient none")
		return
	}
	// CVE-2025-23048: a session of another name could stand for the client's certificate.
	s.line("SSLSessionTickets off")
	s.line("SSLStrictSNIVHostCheck on")
	if m.Mode == link.CertificatesRequired {
		s.line("SSLVerifyClient require")
	} else {
		s.line("SSLVerifyClient optional")
	}
	s.line("SSLVerifyDepth %d", m.Depth)
	s.line(`SSLCACertificateFile "%s"`, m.CAFile)
	if m.CRLFile != "" {
		s.line(`SSLCARevocationFile "%s"`, m.CRLFile)
		s.line("SSLCARevocationCheck chain")
	}
}

func (s *site) apacheServer(d door) {
	p := s.p
	if d.domain != "" {
		s.line("ServerName repository.%s", d.domain)
		s.line("ServerAlias *.%s", d.domain)
	} else {
		s.line("ServerName %s", d.name)
	}
	s.apacheConnection(d)
	s.line("")
	s.line("AllowEncodedSlashes NoDecode")
	s.line("RewriteEngine On")
	if p.ProxyProtocol {
		s.line("# PROXY headers count from known peers alone.")
		for _, peer := range p.TrustedPeers {
			s.line(`RewriteCond expr "! %%{CONN_REMOTE_ADDR} -ipmatch '%s'"`, peer)
		}
		s.line("RewriteRule ^ - [R=403,L]")
	}
	s.line("# The alias above covers more than the names that are served.")
	s.line(`RewriteCond "%%{HTTP_HOST}" "!^%s(:[0-9]+)?$" [NC]`, d.host())
	s.line("RewriteRule ^ - [R=421,L]")
	if d.redirect {
		s.line("# The path goes on as the client sent it; its query is added by itself.")
		s.line(`RewriteCond "%%{HTTP_HOST} %%{THE_REQUEST}" "^([^: ]+)[^ ]* [^ ]+ (/[^ ?]*)"`)
		s.line(`RewriteRule ^ "https://%%1%s%%2" [R=308,L,NE]`, s.securePort())
		s.line("RewriteRule ^ - [R=400,L]")
		return
	}
	s.line("# A header that clients may not send, spelled with _, would get past the directives below; applications often read both as one.")
	s.line(`SetEnvIfNoCase "^(?=.*_)(%s)$" "." %s=1`, s.spellings(), forged)
	s.line(`RewriteCond "%%{ENV:%s}" "=1"`, forged)
	s.line("RewriteRule ^ - [R=400,L]")
	s.apacheDocker(d)
	s.line("")
	s.apachePassing(d)
	s.line("")
	if s.renamed() || s.hasRouter() {
		s.line(`ProxyPass "/%s" "balancer://%s/%s" nocanon`, p.PublicContext, s.group("direct"), p.AppContext)
	}
	s.line(`ProxyPass "/" "balancer://%s/" nocanon`, s.everything())
}

// spellings is an expression of the headers that are taken away, with either sign between their words.
func (s *site) spellings() string {
	var names []string
	for _, h := range s.stripped() {
		if strings.Contains(h, "-") {
			names = append(names, strings.ReplaceAll(strings.ToLower(h), "-", "[-_]"))
		}
	}
	return strings.Join(names, "|")
}

// apacheDocker leads Docker's paths to the registry of their repository.
func (s *site) apacheDocker(d door) {
	if !s.docker(d) {
		return
	}
	flags := fmt.Sprintf("[P,L,E=%s:1]", registryVariable)
	to := "balancer://" + s.group("direct") + s.registry()
	switch {
	case s.byPath():
		s.line("# A path begins with its repository, and so does what is mounted from an image of the same repository.")
		key := "(" + anyKey + ")"
		s.line(`RewriteCond "%%{REQUEST_URI} %%{QUERY_STRING}" "^/v[12]/%s/[^ ]* ((.*&)?from=)\1(/|%%2[Ff])(.*)$"`, key)
		s.line(`RewriteRule "^/(v[12])/%s/(.*)$" "%s$2/$1/$3?%%2%%5" %s`, key, to, flags)
		s.line(`RewriteRule "^/(v[12])/%s/(.*)$" "%s$2/$1/$3" %s`, key, to, flags)
		if first := s.first(); first != "" {
			s.line(`RewriteRule "^/(v[12])/((_catalog|token)?)$" "%s%s/$1/$2" %s`, to, first, flags)
		} else {
			s.line(`RewriteRule "^/(v[12])/(token)$" "%snull/$1/$2" %s`, to, flags)
		}
	case d.domain != "":
		s.line("RewriteMap postern_lower int:tolower")
		s.line(`RewriteCond "%%{HTTP_HOST}" "^([^.]+)"`)
		s.line(`RewriteRule "^/(v[12]/.*)$" "%s${postern_lower:%%1}/$1" %s`, to, flags)
	default:
		s.line(`RewriteRule "^/(v[12]/.*)$" "%s%s/$1" %s`, to, d.repository, flags)
	}
	for _, r := range s.rewrites(d, true) {
		if r.header != "Set-Cookie" {
			s.line(`Header edit %s "%s" "%s" env=%s`, r.header, strings.ReplaceAll(r.find, `"`, `\"`), dollars(r.put), registryVariable)
		}
	}
}

func (s *site) apachePassing(d door) {
	s.line("LimitRequestBody 0")
	s.line("Timeout %d", silence)
	s.line("ProxyTimeout %d", silence)
	s.block("<IfModule reqtimeout_module>", "</IfModule>", func() {
		s.line("RequestReadTimeout header=20-40,MinRate=500 body=%d,MinRate=1", silence)
	})
	s.line("ProxyPreserveHost On")
	s.line("ProxyAddHeaders Off")
	s.line("# What a client names in Connection is taken from the request, also what is set below.")
	s.line(`RequestHeader edit Connection "(?i)^(?!(close|keep-alive|upgrade|keep-alive, *upgrade)$).*$" "close"`)
	for _, h := range s.stripped() {
		s.line("RequestHeader unset %s", h)
	}
	s.line(`RequestHeader set X-Forwarded-For "expr=%%{REMOTE_ADDR}"`)
	s.line(`RequestHeader set X-Forwarded-Host "expr=%%{HTTP_HOST}"`)
	s.line(`RequestHeader set X-Forwarded-Port "%d"`, d.port)
	s.line(`RequestHeader set X-Forwarded-Proto "%s"`, d.scheme())
	if s.p.OverrideBaseURL {
		s.line(`RequestHeader set X-JFrog-Override-Base-Url "expr=%s://%%{HTTP_HOST}"`, d.scheme())
	}
	if d.tls && s.asksCertificates() {
		s.line("# A certificate passes only after it was verified.")
		s.line(`RequestHeader set %s "expr=%%{escape:%%{SSL_CLIENT_CERT}}" "expr=%%{SSL_CLIENT_VERIFY} == 'SUCCESS'"`, s.p.ClientCertificates.Header)
	}
	if d.tls {
		s.line("Header unset Strict-Transport-Security")
		s.line(`Header always set Strict-Transport-Security "%s"`, hsts)
	}
	if !s.renamed() {
		return
	}
	for _, r := range s.rewrites(d, false) {
		s.line(`Header edit %s "%s" "%s"`, r.header, r.find, dollars(r.put))
	}
}
