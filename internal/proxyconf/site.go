package proxyconf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Time-outs of every server. An upload of a large layer or the search of a large index may be silent for long.
const (
	silence = 2400 // seconds without a byte until a request is given up
	dialing = 5    // seconds until a node counts as gone
)

// site is what the texts of all servers are made of.
type site struct {
	text
	p     link.ReverseProxy
	t     Target
	id    string // tells this site's names from those of others in the same server
	doors []door
	noted []Note
}

// door is a name at a port.
type door struct {
	port     uint16
	tls      bool
	redirect bool // to HTTPS, of everything

	name   string // exact; empty where domain is not
	domain string // below which every label is a repository

	repository string // that the whole door is for
}

func newSite(p link.ReverseProxy, t Target) *site {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", p.ServerName, p.HTTPPort, p.HTTPSPort))
	s := &site{p: p, t: t, id: hex.EncodeToString(sum[:4])}
	s.step = "    "
	if t.Server == link.Caddy {
		s.step = "\t" // as caddy fmt has it
	}
	domain := ""
	if p.Docker == link.DockerSubdomain {
		domain = strings.TrimPrefix(p.Wildcard, "*.")
	}
	at := func(d door) {
		d.name = p.ServerName
		s.doors = append(s.doors, d)
		if domain != "" {
			d.name, d.domain = "", domain
			s.doors = append(s.doors, d)
		}
	}
	if p.HTTP {
		at(door{port: p.HTTPPort, redirect: p.HTTPS})
	}
	if p.HTTPS {
		at(door{port: p.HTTPSPort, tls: true})
	}
	if p.Docker == link.DockerPort {
		for _, r := range p.Repositories {
			s.doors = append(s.doors, door{port: r.Port, tls: p.HTTPS, name: cmp.Or(r.ServerName, p.ServerName), repository: r.Key})
		}
	}
	return s
}

// ports returns the doors by port: of each port the first door, which tells whether TLS is spoken there.
func (s *site) ports() []door {
	var out []door
	for _, d := range s.doors {
		if !slices.ContainsFunc(out, func(o door) bool { return o.port == d.port }) {
			out = append(out, d)
		}
	}
	return out
}

// at returns the doors of a port.
func (s *site) at(port uint16) []door {
	var out []door
	for _, d := range s.doors {
		if d.port == port {
			out = append(out, d)
		}
	}
	return out
}

// docker reports whether a door leads to a Docker registry, at paths that the door's own kind tells.
func (s *site) docker(d door) bool {
	return !d.redirect && (d.domain != "" || d.repository != "" || s.p.Docker == link.DockerPath)
}

// byPath reports whether a door's images begin with their repository.
func (s *site) byPath() bool { return s.p.Docker == link.DockerPath }

// scheme returns that of a door.
func (d door) scheme() string {
	if d.tls {
		return "https"
	}
	return "http"
}

// securePort returns what stands behind a host name in addresses of HTTPS.
func (s *site) securePort() string {
	if s.p.HTTPSPort == DefaultHTTPSPort {
		return ""
	}
	return fmt.Sprintf(":%d", s.p.HTTPSPort)
}

func (s *site) asksCertificates() bool { return s.p.ClientCertificates.Mode != link.CertificatesOff }

func (s *site) hasRouter() bool { return s.p.Nodes[0].RouterPort != 0 }

// renamed reports whether clients use another context than the nodes have.
func (s *site) renamed() bool { return s.p.PublicContext != s.p.AppContext }

// group returns the name of the nodes at their direct or router's ports, in what every server takes for a name of a host.
func (s *site) group(kind string) string {
	return strings.ReplaceAll(strings.ToLower(cmp.Or(s.p.Upstream, "postern-"+s.id)), "_", "-") + "-" + kind
}

// addresses returns the nodes' addresses, of the router's ports or of the direct ones.
func (s *site) addresses(router bool) []string {
	out := make([]string, len(s.p.Nodes))
	for i, n := range s.p.Nodes {
		port := n.DirectPort
		if router {
			port = n.RouterPort
		}
		out[i] = fmt.Sprintf("%s:%d", bracketed(n.Host), port)
	}
	return out
}

// bracketed returns a host as it stands in front of a port.
func bracketed(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return "[" + host + "]"
	}
	return host
}

// groups returns which groups of nodes there are: the router's is left out where there is none.
func (s *site) groups() []string {
	if s.hasRouter() {
		return []string{"router", "direct"}
	}
	return []string{"direct"}
}

// everything returns the group that serves what has no other.
func (s *site) everything() string { return s.group(s.groups()[0]) }

// registry is where the application has its Docker registries, by key.
func (s *site) registry() string { return "/" + s.p.AppContext + "/api/docker/" }

// first returns the repository that answers what is asked of none: the challenge of /v2/ is the same for all. Empty: none is known.
func (s *site) first() string {
	if len(s.p.Repositories) == 0 {
		return ""
	}
	return s.p.Repositories[0].Key
}

// Regular expressions are of what POSIX has, the least of what the servers read (HAProxy may be built with no other), and
// every group counts.
const (
	label  = "[a-z0-9][a-z0-9_-]*"  // of a repository as a label of a host name
	anyKey = "[a-z0-9][a-z0-9._-]*" // of a repository in a path
)

// hosts returns an expression of the names by which a door's clients know the proxy, without an anchor or a port. The names of
// other repositories' ports are not among them: there may be many, and no answer of this one leads there.
func (s *site) hosts(d door, nodes bool) string {
	names := []string{regexp.QuoteMeta(s.p.ServerName)}
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, other := range s.doors {
		if other.domain != "" {
			add(other.host())
		}
	}
	add(d.host())
	if nodes {
		for _, n := range s.p.Nodes {
			add(regexp.QuoteMeta(bracketed(n.Host)))
		}
	}
	return strings.Join(names, "|")
}

// host returns an expression of a door's name.
func (d door) host() string {
	if d.domain != "" {
		return label + regexp.QuoteMeta("."+d.domain)
	}
	return regexp.QuoteMeta(d.name)
}

// rewrite is an edit of a header: what is found, and what takes its place with \1 for the first group.
type rewrite struct {
	header, find, put string
}

// own is an expression of an address's scheme and host where they are the proxy's or a node's, or absent. It has three groups.
func (s *site) own(d door) string { return "(https?://(" + s.hosts(d, true) + ")(:[0-9]+)?)?" }

// rewrites returns what has to change in the answers of a Docker registry or of what else the nodes have, so that clients stay on
// the paths that they know. A registry makes addresses of the Host and X-Forwarded headers that it got and of the prefix at which
// it lives, which clients do not use; it may also leave the host out. Addresses become relative to the host: the client knows
// better than anybody how it reached the proxy.
func (s *site) rewrites(d door, docker bool) []rewrite {
	var out []rewrite
	if docker {
		path := s.registry() + "([^/]+)/(v[12])/"
		to := func(key, version, rest string) string {
			if s.byPath() {
				return "/" + version + "/" + key + "/" + rest
			}
			return "/" + version + "/" + rest
		}
		out = append(out,
			rewrite{"Location", "^" + s.own(d) + path + "(.*)$", to(`\4`, `\5`, `\6`)},
			rewrite{"Link", "^<" + s.own(d) + path + "(.*)$", "<" + to(`\4`, `\5`, `\6`)},
			// A realm is an absolute address (RFC 6750), so its host stays; the application made it of the Host that it was told.
			rewrite{"WWW-Authenticate", `^(.*realm=")(https?://(` + s.hosts(d, false) + ")(:[0-9]+)?)" + path + "(.*)$", `\1\2` + to(`\5`, `\6`, `\7`)})
	}
	if s.renamed() && !docker {
		out = append(out,
			rewrite{"Location", "^" + s.own(d) + "/" + regexp.QuoteMeta(s.p.AppContext) + "(/.*)?$", "/" + s.p.PublicContext + `\4`})
	}
	if s.renamed() {
		out = append(out,
			rewrite{"Set-Cookie", "^(.*; *[Pp]ath=)/" + regexp.QuoteMeta(s.p.AppContext) + "([/;].*)?$", `\1/` + s.p.PublicContext + `\2`})
	}
	return out
}

// stripped are the headers that clients may not send: the forwarded ones, the certificates', and the one that was chosen.
func (s *site) stripped() []string {
	out := slices.Concat(link.ForwardedHeaders, link.CertificateHeaders)
	if !slices.ContainsFunc(out, func(h string) bool { return strings.EqualFold(h, s.p.ClientCertificates.Header) }) {
		out = append(out, s.p.ClientCertificates.Header)
	}
	return out
}

// words returns values as they stand in a line.
func words[T any](values []T) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprint(v)
	}
	return strings.Join(out, " ")
}

// text is a configuration in the making.
type text struct {
	strings.Builder
	step  string // of indentation
	depth int
}

// line writes a line at the present depth; an empty one stays empty.
func (t *text) line(format string, args ...any) {
	if format == "" {
		t.WriteByte('\n')
		return
	}
	t.WriteString(strings.Repeat(t.step, t.depth))
	fmt.Fprintf(t, format, args...)
	t.WriteByte('\n')
}

// block writes what stands between two lines, one step deeper.
func (t *text) block(open, end string, inside func()) {
	t.line("%s", open)
	t.depth++
	inside()
	t.depth--
	if end != "" {
		t.line("%s", end)
	}
}
