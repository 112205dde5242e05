package proxyconf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// generation counts what texts were like: a change of what is rendered from the same settings is a new one.
const generation = 1

// Output is a server's whole configuration: a file of its own for nginx (within http) and Apache, everything for HAProxy and
// Caddy, and for the gateway the document that sets it. Notes are what a person should know before using it.
type Output struct {
	Text  string
	Notes []Note
}

// Note is one thing to know. Code is stable and upper snake case.
type Note struct {
	Code, Text string
}

// The codes of notes.
const (
	NoteModules             = "MODULES"              // of the server that have to be there
	NotePorts               = "PORTS"                // that have to be open to clients
	NoteListen              = "LISTEN"               // ports that the server's own configuration has to listen on
	NoteWildcardCertificate = "WILDCARD_CERTIFICATE" // names that the certificate has to cover
	NoteCertificateFile     = "CERTIFICATE_FILE"     // how the server finds certificate and key
	NoteCertificateForm     = "CERTIFICATE_FORM"     // in which the application gets a client's certificate
	NoteRevocationLists     = "REVOCATION_LISTS"     // what the file of them has to hold
	NoteCurve               = "CURVE_LEFT_OUT"       // for want of a newer library
	NoteResumption          = "RESUMPTION_OFF"       // of TLS sessions, since it would skip the client's certificate
	NoteWebSocket           = "WEBSOCKET_LEFT_OUT"   // for want of a newer server
	NoteDepth               = "DEPTH_LEFT_OUT"       // of chains, which the server cannot limit
	NoteRepositories        = "NO_REPOSITORIES"      // none are known, which leaves something without an answer
	NoteEndpointsElsewhere  = "ENDPOINTS_ELSEWHERE"  // the gateway knows them from its own rules
	NoteDefaultServer       = "DEFAULT_SERVER"       // what becomes of requests for other names
	NoteFailover            = "FAILOVER"             // what becomes of requests when a node is gone
	NoteUnderscores         = "UNDERSCORES"          // in names of headers, by which a client's own could pass
	NoteGlobal              = "GLOBAL"               // what the server's own configuration has to say besides
	NoteUntried             = "UNTRIED"              // a version that is older than those that texts were tried with
)

// Render returns the configuration of the target's server for p, which need not be complete and may have been made for another
// server. A target without a server has that of p. The text begins with a line that tells the generator, the target and a
// digest of the settings; it has no time in it, so the same input gives the same text. Errors are *link.Error of kind Invalid,
// all of them joined: what Check finds, and what the target's version cannot do.
func Render(p link.ReverseProxy, t Target) (Output, error) {
	t.Server = cmp.Or(t.Server, p.Server)
	t = t.complete()
	p.Server = t.Server
	p = Complete(p)
	if errs := Check(p); len(errs) > 0 {
		return Output{}, joined(errs)
	}
	if p.Server == link.Embedded {
		return embedded(p), nil
	}
	s := newSite(p, t)
	if errs := s.refused(); len(errs) > 0 {
		return Output{}, joined(errs)
	}
	s.line("# postern-proxyconf %d, for %s, settings sha256:%s", generation, t, digest(p))
	s.line("# Made from the settings of the reverse proxy of %s. Change those and render again rather than this file.", p.ServerName)
	if p.Server != link.Caddy { // whose own form has none here
		s.line("")
	}
	s.notes()
	switch p.Server {
	case link.NGINX:
		s.nginx()
	case link.Apache:
		s.apache()
	case link.HAProxy:
		s.haproxy()
	case link.Caddy:
		s.caddy()
	}
	return Output{Text: strings.TrimRight(s.text.String(), "\n") + "\n", Notes: s.noted}, nil
}

func joined(errs []*link.Error) error {
	all := make([]error, len(errs))
	for i, e := range errs {
		all[i] = e
	}
	return errors.Join(all...)
}

// digest identifies settings.
func digest(p link.ReverseProxy) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings, numbers and prefixes always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// refused returns what the target's version cannot do, and what has no way round it.
func (s *site) refused() []*link.Error {
	p, v := s.p, s.t.Version
	var errs []*link.Error
	add := func(field, message, hint string) {
		errs = append(errs, wrong(field, "TARGET_CANNOT", message, hint))
	}
	switch s.t.Server {
	case link.NGINX:
		if len(p.Endpoints) > 0 && v.before(1, 23, 2) {
			add("endpoints", fmt.Sprintf("nginx %s does not read endpoints from PROXY headers", v), "nginx does since 1.23.2: --target nginx=1.24")
		}
	case link.Apache:
		if len(p.Endpoints) > 0 {
			add("endpoints", "Apache does not read endpoints from PROXY headers", "use nginx since 1.23.2, HAProxy since 2.9, or the gateway")
		}
	case link.HAProxy:
		if len(p.Endpoints) > 0 && v.before(2, 9, 0) {
			add("endpoints", fmt.Sprintf("HAProxy %s does not read endpoints from PROXY headers", v), "HAProxy does since 2.9: --target haproxy=3.0")
		}
		if _, ok := s.haproxyCertificate(); p.HTTPS && !ok {
			add("key", fmt.Sprintf("HAProxy %s looks for the key beside the certificate", v),
				"put both into one file and name it as certificate and as key, or name the key "+p.Certificate+".key")
		}
	case link.Caddy:
		for i, n := range p.Nodes {
			field := "direct_port"
			if n.RouterPort == DefaultHTTPSPort {
				field = "router_port"
			}
			if n.DirectPort == DefaultHTTPSPort || n.RouterPort == DefaultHTTPSPort {
				add(fmt.Sprintf("nodes[%d].%s", i, field), "Caddy speaks nothing but TLS to port 443, and nodes get plain HTTP", "give the node another port, or use another server")
			}
		}
		if p.ProxyProtocol {
			add("proxy_protocol", "Caddy also serves peers that send no PROXY header, whoever they are", "use another server, or the gateway")
		}
		if s.asksCertificates() && p.ClientCertificates.CRLFile != "" {
			add("client_certificates.crl_file", "Caddy does not read revocation lists", "use another server, or leave revocation to the application")
		}
	}
	return errs
}

func (s *site) note(code, format string, args ...any) {
	n := Note{Code: code, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(s.noted, n) {
		s.noted = append(s.noted, n)
	}
}

// notes gathers what holds for every foreign server; each adds its own.
func (s *site) notes() {
	p := s.p
	var ports []string
	for _, d := range s.doors {
		if port := fmt.Sprint(d.port); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	if oldest := debian12[s.t.Server]; s.t.Version.Compare(oldest) < 0 {
		s.note(NoteUntried, "%s %s is older than %s, the oldest that such a text was tried with", s.t.Server, s.t.Version, oldest)
	}
	s.note(NotePorts, "clients have to reach these ports: %s", strings.Join(ports, ", "))
	if p.Docker == link.DockerSubdomain && p.HTTPS {
		_, domain, _ := strings.Cut(p.Wildcard, "*.")
		s.note(NoteWildcardCertificate, "the certificate has to cover %s and *.%s, which is one label and no more; DNS needs both names too",
			p.ServerName, domain)
	}
	if p.Docker == link.DockerPort && len(p.Repositories) == 0 {
		s.note(NoteRepositories, "no repository has a port yet, so Docker clients reach none")
	}
	if p.Docker == link.DockerPath && len(p.Repositories) == 0 {
		s.note(NoteRepositories, "no repository is known, so /v2/ itself goes to the application as it is; it has to answer it")
	}
	if s.asksCertificates() && p.ClientCertificates.CRLFile != "" {
		s.note(NoteRevocationLists, "%s has to hold a list in force of every authority in a chain; without one, its certificates are refused",
			p.ClientCertificates.CRLFile)
	}
}
