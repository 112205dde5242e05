package proxyconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// haproxy writes the whole file. HAProxy chooses by port first, so a port is a frontend and its names are conditions there.
func (s *site) haproxy() {
	p := s.p
	s.block("global", "", func() {
		if how, _ := s.haproxyCertificate(); p.HTTPS && how == besideStem {
			s.line("ssl-load-extra-del-ext")
		}
		if s.asksCertificates() {
			s.line("# Room to add a certificate to a request whose body fills the rest of the buffer.")
			s.line("tune.bufsize 32768")
			s.line("tune.maxrewrite 12288")
		}
	})
	s.line("")
	s.block("defaults postern", "", func() {
		s.line("mode http")
		s.line("option http-no-delay")
		s.line("option redispatch")
		s.line("retries 3")
		s.line("timeout connect %ds", dialing)
		s.line("timeout http-request 40s")
		s.line("timeout http-keep-alive 75s")
		for _, of := range []string{"client", "server", "tunnel"} {
			s.line("timeout %s %ds", of, silence)
		}
	})
	s.line("")
	if how, _ := s.haproxyCertificate(); p.HTTPS && how == inStore {
		s.block("crt-store postern", "", func() {
			s.line("load crt %s key %s alias site", p.Certificate, p.Key)
		})
		s.line("")
	}
	for _, first := range s.ports() {
		s.block(fmt.Sprintf("frontend postern-%s-%d from postern", s.id, first.port), "", func() { s.haproxyFrontend(first) })
		s.line("")
	}
	for _, kind := range s.groups() {
		s.block(fmt.Sprintf("backend %s from postern", s.group(kind)), "", func() {
			check := ""
			if len(p.Nodes) > 1 {
				s.line("balance leastconn")
				check = " check inter 5s"
			}
			for i, a := range s.addresses(kind == "router") {
				s.line("server node%d %s%s", i+1, a, check)
			}
		})
		s.line("")
	}
	s.note(NoteGlobal, "this text names no user, group, chroot or log; read it besides the file that does, as in haproxy -f /etc/haproxy/haproxy.cfg -f FILE")
	if s.asksCertificates() {
		s.note(NoteCertificateForm, "%s holds the certificate as RFC 9440 has it, the base64 of its DER between colons; nginx and Apache send percent-encoded PEM",
			p.ClientCertificates.Header)
	}
}

// How HAProxy finds the key of a certificate.
const (
	inOneFile  = "one file" // that holds both
	beside     = "beside"   // the name of the certificate with .key behind it
	besideStem = "stem"     // the same after .crt is taken away
	inStore    = "store"    // each is named, since HAProxy 3.0
)

// haproxyCertificate returns how the target finds the key of the certificate, and whether it does.
func (s *site) haproxyCertificate() (how string, ok bool) {
	stem, crt := strings.CutSuffix(s.p.Certificate, ".crt")
	switch {
	case s.p.Certificate == s.p.Key:
		return inOneFile, true
	case s.p.Certificate+".key" == s.p.Key:
		return beside, true
	case !s.t.Version.before(3, 0, 0):
		return inStore, true
	case crt && stem+".key" == s.p.Key:
		return besideStem, true
	default:
		return "", false
	}
}

func (s *site) haproxyBind(d door) {
	p, m := s.p, s.p.ClientCertificates
	tls := ""
	if d.tls {
		certificate := p.Certificate
		if how, _ := s.haproxyCertificate(); how == inStore {
			certificate = "@postern/site"
		}
		tls = " ssl crt " + certificate + " alpn h2,http/1.1"
		if s.modern() {
			tls += " ssl-min-ver TLSv1.3"
		} else {
			tls += " ssl-min-ver TLSv1.2 ciphers " + ciphers
		}
		tls += " prefer-client-ciphers curves " + s.curves()
		if s.asksCertificates() {
			tls += " ca-file " + m.CAFile
			if m.CRLFile != "" {
				tls += " crl-file " + m.CRLFile
			}
			if m.Mode == link.CertificatesRequired {
				tls += " verify required"
			} else {
				tls += " verify optional"
			}
			s.note(NoteDepth, "HAProxy does not limit how long a client's chain is; depth %d is left to the application", m.Depth)
		}
	}
	s.line("bind 0.0.0.0:%d%s", d.port, tls)
	s.line("bind [::]:%d v6only%s", d.port, tls)
}

func (s *site) haproxyFrontend(first door) {
	p := s.p
	doors := s.at(first.port)
	s.haproxyBind(first)
	if p.ProxyProtocol {
		s.line("# PROXY headers count from known peers alone.")
		for peers := range slices.Chunk(p.TrustedPeers, mostWords) {
			s.line("acl trusted src %s", words(peers))
		}
		s.line("tcp-request connection reject unless trusted")
		s.line("tcp-request connection expect-proxy layer4")
	}
	names := make([]string, len(doors))
	for i, d := range doors {
		names[i] = d.host()
	}
	s.line("http-request return status 421 unless { req.fhdr(host) -m reg -i '^(%s)(:[0-9]+)?$' }", strings.Join(names, "|"))
	if len(p.Endpoints) > 0 {
		s.line("# By way of a variable: a condition on fc_pp_tlv itself may never end.")
		s.line("http-request set-var(txn.vpce) fc_pp_tlv(0xEA)")
		s.line("http-request return status 403 unless { var(txn.vpce),bytes(0,1),hex -m str 01 }")
		// A string is compared up to its first zero byte alone.
		s.line("http-request return status 403 unless { var(txn.vpce),bytes(1) -m reg ^vpce-[0-9a-f]+$ }")
		for ids := range slices.Chunk(p.Endpoints, mostWords) {
			s.line("acl endpoint var(txn.vpce),bytes(1) -m str %s", words(ids))
		}
		s.line("http-request return status 403 unless endpoint")
	}
	if first.redirect {
		s.line("http-request redirect code 308 prefix https://%%[req.fhdr(host),lower,field(1,:)]%s", s.securePort())
		return
	}
	s.haproxyRequest(first)
	for _, d := range doors {
		s.haproxyDocker(d)
	}
	public := regexp.QuoteMeta(p.PublicContext)
	if s.hasRouter() || s.renamed() {
		s.line("http-request set-var(txn.direct) bool(true) if { path -m reg '^/%s(/.*)?$' }", public)
	}
	if s.renamed() {
		s.line("http-request replace-path '^/%s(/.*)?$' '/%s\\1' if { var(txn.direct) -m bool }", public, p.AppContext)
	}
	s.haproxyResponse(first)
	if s.hasRouter() {
		s.line("use_backend %s if { var(txn.registry) -m bool } or { var(txn.direct) -m bool }", s.group("direct"))
	}
	s.line("default_backend %s", s.everything())
}

// mostWords is how many values a line has; HAProxy takes 64 words.
const mostWords = 32

func (s *site) haproxyRequest(d door) {
	p := s.p
	s.line("# Of all upgrades only WebSocket's passes; HTTP/2 in clear would go round these rules. What a client names in Connection")
	s.line("# would be taken from the request by the application, also what is set below.")
	s.line("http-request del-header connection")
	s.line("http-request del-header upgrade unless { req.hdr(upgrade) -i websocket }")
	s.line("http-request set-header connection upgrade if { req.hdr(upgrade) -m found }")
	names := make([]string, 0, len(s.stripped()))
	for _, h := range s.stripped() {
		names = append(names, strings.ReplaceAll(strings.ToLower(h), "-", "[-_]"))
	}
	s.line("# What clients may not send, also with _ for -.")
	s.line("http-request del-header '^(%s)$' -m reg", strings.Join(names, "|"))
	s.line("http-request set-header X-Forwarded-For %%[src]")
	s.line("http-request set-header X-Forwarded-Host %%[req.fhdr(host)]")
	s.line("http-request set-header X-Forwarded-Port %d", d.port)
	s.line("http-request set-header X-Forwarded-Proto %s", d.scheme())
	if p.OverrideBaseURL {
		s.line("http-request set-header X-JFrog-Override-Base-Url %s://%%[req.fhdr(host)]", d.scheme())
	}
	if d.tls && s.asksCertificates() {
		s.line("# A certificate passes only after it was verified.")
		s.line("http-request set-header %s ':%%[ssl_c_der,base64]:' if { ssl_c_used } { ssl_c_verify 0 }", p.ClientCertificates.Header)
	}
}

// haproxyDocker leads Docker's paths to the registry of their repository.
func (s *site) haproxyDocker(d door) {
	if !s.docker(d) {
		return
	}
	switch {
	case s.byPath():
		s.line("# A path begins with its repository, and so does what is mounted from an image of the same repository.")
		orNone := "|token$"
		if s.first() != "" {
			orNone = "|(_catalog|token)?$"
		}
		s.line("http-request set-var(txn.registry) bool(true) if { path -m reg '^/v[12]/(%s/%s)' }", anyKey, orNone)
		s.line(`http-request replace-pathq '^/(v[12])/(%s)/([^?]*[?](.*&)?from=)\2(/|%%2[Ff])(.*)$' '%s\2/\1/\3\6'`, anyKey, s.registry())
		s.line(`http-request replace-pathq '^/(v[12])/(%s)/(.*)$' '%s\2/\1/\3'`, anyKey, s.registry())
		if first := s.first(); first != "" {
			s.line(`http-request replace-pathq '^/(v[12])/((_catalog|token)?([?].*)?)$' '%s%s/\1/\2'`, s.registry(), first)
		} else {
			s.line(`http-request replace-pathq '^/(v[12])/(token([?].*)?)$' '%snull/\1/\2'`, s.registry())
		}
		return
	case d.domain != "":
		s.line("http-request set-var(txn.repository) req.fhdr(host),lower,field(1,.) if { req.fhdr(host) -m reg -i '^%s(:[0-9]+)?$' }", d.host())
		if link.Below(s.p.ServerName, d.domain) {
			s.line("http-request unset-var(txn.repository) if { req.fhdr(host),lower,field(1,:) -m str %s }", s.p.ServerName)
		}
	default:
		s.line("http-request set-var(txn.repository) str(%s)", d.repository)
	}
	s.line("http-request set-var(txn.registry) bool(true) if { var(txn.repository) -m found } { path -m reg '^/v[12]/' }")
	s.line("http-request set-path %s%%[var(txn.repository)]%%[path] if { var(txn.registry) -m bool }", s.registry())
}

func (s *site) haproxyResponse(d door) {
	docker := s.p.Docker != link.DockerNone
	if docker {
		for _, r := range s.rewrites(d, true) {
			if r.header != "Set-Cookie" {
				s.line("http-response replace-header %s '%s' '%s' if { var(txn.registry) -m bool }", r.header, r.find, r.put)
			}
		}
	}
	for _, r := range s.rewrites(d, false) {
		s.line("http-response replace-header %s '%s' '%s'", r.header, r.find, r.put)
	}
	if d.tls {
		s.line("http-after-response set-header Strict-Transport-Security %s", hsts)
	}
}
