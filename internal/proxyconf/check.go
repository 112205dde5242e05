package proxyconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Limits of what a text is made of. They keep lines and names within what every server takes.
const (
	longestPath    = 255
	longestSegment = 64
	deepestChain   = 10

	mostHostBytes = 1500 // of all nodes: an expression names them all, and nginx takes words of 4096 bytes
	mostPeers     = 200
	mostEndpoints = 1000 // nginx's default map_hash_max_size is 2048
)

const serverList = "nginx, apache, haproxy, caddy, direct"

func known(s link.WebServer) bool {
	return slices.Contains([]link.WebServer{link.NGINX, link.Apache, link.HAProxy, link.Caddy, link.Embedded}, s)
}

func wrong(field, reason, message, hint string) *link.Error {
	return &link.Error{Kind: link.Invalid, Reason: reason, Field: field, Message: message, Hint: hint}
}

// Check returns everything that is wrong with p, which is complete; nothing when p can be rendered for its server. Each error
// is of kind Invalid and has the field at fault in the words of the REST API: server_name, nodes[0].host, repositories[1].port.
func Check(p link.ReverseProxy) []*link.Error {
	c := checker{p: p, foreign: p.Server != link.Embedded}
	c.server()
	c.nodes()
	c.ports()
	c.repositories()
	c.certificates()
	c.peers()
	c.redirects()
	c.folders()
	return c.errs
}

// checker gathers what is wrong with p. A foreign server is one that reads a text, and knows nothing but what stands in it.
type checker struct {
	p       link.ReverseProxy
	foreign bool
	errs    []*link.Error
}

func (c *checker) add(field, reason, message, hint string) {
	c.errs = append(c.errs, wrong(field, reason, message, hint))
}

func (c *checker) server() {
	p := c.p
	if !known(p.Server) {
		c.add("server", "UNKNOWN_SERVER", "not a web server: "+link.Quote(string(p.Server)), "one of "+serverList)
	}
	switch {
	case p.ServerName == "" && c.foreign:
		c.add("server_name", "SERVER_NAME_REQUIRED", "a web server needs the name by which clients reach it", "for example art.example.com")
	case p.ServerName != "" && !publicName(p.ServerName):
		c.add("server_name", "MALFORMED_SERVER_NAME", "not a host name: "+link.Quote(p.ServerName), "for example art.example.com")
	}
	if p.Wildcard != "" {
		domain, ok := strings.CutPrefix(p.Wildcard, "*.")
		// A label of a repository comes in front, which leaves that much less for the domain.
		if !ok || !publicName(domain) || !strings.Contains(domain, ".") || len(domain) > 253-64 {
			c.add("wildcard", "MALFORMED_WILDCARD", "not a wildcard name: "+link.Quote(p.Wildcard), "*. and a domain, for example *.art.example.com")
		}
	}
	if p.Upstream != "" && !segment(p.Upstream, "-_") {
		c.add("upstream", "MALFORMED_UPSTREAM", "not a name of a group of servers: "+link.Quote(p.Upstream), "letters, digits, - and _")
	}
	for _, s := range []struct{ field, value string }{{"app_context", p.AppContext}, {"public_context", p.PublicContext}} {
		if !segment(s.value, "._-") {
			c.add(s.field, "MALFORMED_CONTEXT", "not one segment of a path: "+link.Quote(s.value), "letters, digits, dots, - and _, without slashes")
		}
	}
	if p.Docker != link.DockerNone && (p.PublicContext == "v1" || p.PublicContext == "v2") {
		c.add("public_context", "CONTEXT_TAKEN", "Docker clients use /"+p.PublicContext+"/ themselves", "give another context, or docker_method NOVALUE")
	}
	if !slices.Contains([]link.TLSProfile{link.TLSIntermediate, link.TLSModern}, p.Profile) {
		c.add("tls_profile", "UNKNOWN_TLS_PROFILE", "not a TLS profile: "+link.Quote(string(p.Profile)), "INTERMEDIATE or MODERN")
	}
}

func (c *checker) nodes() {
	if c.foreign && len(c.p.Nodes) == 0 {
		c.add("nodes", "NODE_REQUIRED", "a web server needs at least one server of the application", "give its host, and its ports where they are not 8081 and 8082")
	}
	routers, size := 0, 0
	for i, n := range c.p.Nodes {
		size += len(n.Host)
		at := fmt.Sprintf("nodes[%d].", i)
		if !nodeHost(n.Host) {
			c.add(at+"host", "MALFORMED_HOST", "neither a host name nor an address: "+link.Quote(n.Host), "for example 10.0.0.5 or localhost")
		}
		if n.DirectPort == 0 {
			c.add(at+"direct_port", "MALFORMED_PORT", "a port is between 1 and 65535", "the application's own is 8081")
		}
		if n.RouterPort != 0 {
			routers++
		}
		if slices.Contains(c.p.Nodes[:i], n) {
			c.add(at+"host", "DUPLICATE_NODE", "given twice: "+n.Host, "give each node once")
		}
	}
	if size > mostHostBytes {
		c.add("nodes", "TOO_MANY", fmt.Sprintf("the nodes' hosts have %d characters, more than %d", size, mostHostBytes), "give fewer nodes, or their addresses")
	}
	if routers != 0 && routers != len(c.p.Nodes) {
		c.add("nodes", "MIXED_NODES", "some nodes have a router's port and some have none", "give every node a router_port, or none")
	}
}

func (c *checker) ports() {
	p := c.p
	if !p.HTTP && !p.HTTPS {
		c.add("https", "NO_LISTENER", "neither HTTP nor HTTPS is on", "turn https on")
	}
	if p.HTTPPort == 0 {
		c.add("http_port", "MALFORMED_PORT", "a port is between 1 and 65535", "HTTP's own is 80")
	}
	if p.HTTPSPort == 0 {
		c.add("https_port", "MALFORMED_PORT", "a port is between 1 and 65535", "HTTPS's own is 443")
	}
	if p.HTTP && p.HTTPS && p.HTTPPort == p.HTTPSPort {
		c.add("http_port", "PORT_TAKEN", fmt.Sprintf("port %d is that of HTTPS", p.HTTPPort), "give each its own port")
	}
	for _, f := range []struct{ field, path string }{{"certificate", p.Certificate}, {"key", p.Key}} {
		if f.path == "" {
			if p.HTTPS && c.foreign {
				c.add(f.field, strings.ToUpper(f.field)+"_REQUIRED", "HTTPS needs the file of the "+f.field, "for example /etc/ssl/private/art.pem")
			}
			continue
		}
		c.file(f.field, f.path)
	}
}

func (c *checker) file(field, path string) {
	if !filePath(path) {
		c.add(field, "MALFORMED_PATH", "not a path to a file that can stand in a configuration: "+link.Quote(path),
			"absolute, at most 255 characters, of letters, digits and / . , _ - + = @ alone")
	}
}

// folders finds paths that cannot be those of files, since others are said to be below them.
func (c *checker) folders() {
	m := c.p.ClientCertificates
	files := []struct{ field, path string }{
		{"certificate", c.p.Certificate}, {"key", c.p.Key}, {"client_certificates.ca_file", m.CAFile}, {"client_certificates.crl_file", m.CRLFile},
	}
	for _, f := range files {
		for _, other := range files {
			if f.path != "" && strings.HasPrefix(other.path, f.path+"/") {
				c.add(f.field, "FOLDER", link.Quote(f.path)+" is a folder, if "+other.field+" is a file in it", "give the path of the file")
				break
			}
		}
	}
}

func (c *checker) repositories() {
	p := c.p
	if !slices.Contains([]link.DockerMethod{link.DockerSubdomain, link.DockerPath, link.DockerPort, link.DockerNone}, p.Docker) {
		c.add("docker_method", "UNKNOWN_DOCKER_METHOD", "not a way of Docker access: "+link.Quote(string(p.Docker)),
			"SUBDOMAIN, REPOPATHPREFIX, PORTPERREPO or NOVALUE")
	}
	for i, r := range p.Repositories {
		at := fmt.Sprintf("repositories[%d].", i)
		others := p.Repositories[:i]
		if slices.ContainsFunc(others, func(o link.ProxyRepository) bool { return o.Key == r.Key }) {
			c.add(at+"key", "DUPLICATE_REPOSITORY", "given twice: "+link.Quote(r.Key), "give each repository once")
		}
		c.key(at+"key", r.Key)
		if r.ServerName != "" && !publicName(r.ServerName) {
			c.add(at+"server_name", "MALFORMED_SERVER_NAME", "not a host name: "+link.Quote(r.ServerName), "for example docker.example.com")
		}
		if r.Port == 0 {
			if p.Docker == link.DockerPort {
				c.add(at+"port", "PORT_REQUIRED", "docker_method PORTPERREPO needs a port for "+link.Quote(r.Key), "give it a port of its own")
			}
			continue
		}
		if j := slices.IndexFunc(others, func(o link.ProxyRepository) bool { return o.Port == r.Port }); j >= 0 {
			c.add(at+"port", "PORT_TAKEN", fmt.Sprintf("port %d is that of repository %s", r.Port, link.Quote(others[j].Key)), "give it a port of its own")
		}
		if p.HTTPS && r.Port == p.HTTPSPort || p.HTTP && r.Port == p.HTTPPort {
			c.add(at+"port", "PORT_TAKEN", fmt.Sprintf("port %d is the proxy's own", r.Port), "give it a port of its own")
		}
	}
}

// key checks a repository's key. Its alphabet is narrower where it is a label of a host name, or part of an image's name.
func (c *checker) key(field, key string) {
	malformed := func(why string) {
		c.add(field, "MALFORMED_REPOSITORY_KEY", "not a repository's key: "+link.Quote(key), why)
	}
	switch {
	case !segment(key, "._-"):
		malformed("letters, digits, dots, - and _, at most 64 characters")
	case c.p.Docker == link.DockerSubdomain && strings.Contains(key, "."):
		c.add(field, "KEY_HAS_DOT", "a wildcard certificate covers one label, and "+link.Quote(key)+" has a dot", "rename the repository, or use another docker_method")
	case c.p.Docker == link.DockerSubdomain && (len(key) > 63 || !made(key, lower+digits+"_-") || strings.HasSuffix(key, "-")):
		malformed("a label of a host name: lower case letters, digits, - and _, at most 63 characters")
	case c.p.Docker == link.DockerPath && !made(key, lower+digits+"._-"):
		malformed("part of an image's name: lower case letters, digits, dots, - and _")
	}
}

func (c *checker) certificates() {
	p, m := c.p, c.p.ClientCertificates
	const at = "client_certificates."
	if !slices.Contains([]link.CertificateMode{link.CertificatesOff, link.CertificatesOptional, link.CertificatesRequired}, m.Mode) {
		c.add(at+"mode", "UNKNOWN_MODE", "not a mode: "+link.Quote(string(m.Mode)), "OFF, OPTIONAL or REQUIRED")
	}
	if m.Mode != link.CertificatesOff {
		if !p.HTTPS {
			c.add(at+"mode", "HTTPS_REQUIRED", "clients show certificates over HTTPS alone", "turn https on")
		}
		if m.CAFile == "" && c.foreign {
			c.add(at+"ca_file", "CA_FILE_REQUIRED", "a web server needs the file of the certificates that it trusts", "for example /etc/ssl/client-ca.pem")
		}
	}
	if m.CAFile != "" {
		c.file(at+"ca_file", m.CAFile)
	}
	if m.CRLFile != "" {
		c.file(at+"crl_file", m.CRLFile)
	}
	if m.Depth < 1 || m.Depth > deepestChain {
		c.add(at+"depth", "MALFORMED_DEPTH", "not a depth of a chain: "+strconv.Itoa(m.Depth), "between 1 and 10; 2 is usual")
	}
	switch {
	case !headerName(m.Header):
		c.add(at+"header", "MALFORMED_HEADER", "not a name of a header: "+link.Quote(m.Header), "letters, digits and -, for example X-JFrog-Client-Cert")
	case slices.ContainsFunc(slices.Concat(link.ForwardedHeaders, takenHeaders), func(h string) bool { return strings.EqualFold(h, m.Header) }):
		c.add(at+"header", "HEADER_TAKEN", m.Header+" has a meaning of its own", "for example X-JFrog-Client-Cert")
	}
}

// takenHeaders are those that a certificate must not take the place of: what HTTP itself acts by, credentials, and what the
// proxy or an application tells in them.
var takenHeaders = []string{
	"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Date",
	"Docker-Distribution-Api-Version", "Etag", "Expect", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
	"If-Unmodified-Since", "Keep-Alive", "Link", "Location", "Origin", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Range", "Referer", "Server", "Set-Cookie", "Strict-Transport-Security", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
	"Via", "Www-Authenticate", "X-Jfrog-Art-Api", "X-Postern-User",
}

// peers checks what a foreign server has to be told of private endpoints; the gateway knows them from its listeners and rules.
func (c *checker) peers() {
	p := c.p
	if !c.foreign {
		return
	}
	if p.ProxyProtocol && len(p.TrustedPeers) == 0 {
		c.add("trusted_peers", "TRUSTED_PEERS_REQUIRED", "PROXY headers count from known load balancers alone", "give the addresses of the load balancer's subnets")
	}
	if !p.ProxyProtocol && len(p.TrustedPeers) > 0 {
		c.add("trusted_peers", "PROXY_PROTOCOL_REQUIRED", "trusted peers are those that send PROXY headers", "turn proxy_protocol on, or give no peers")
	}
	if len(p.TrustedPeers) > mostPeers {
		c.add("trusted_peers", "TOO_MANY", fmt.Sprintf("%d networks, more than %d", len(p.TrustedPeers), mostPeers), "give the networks that hold them")
	}
	for i, peer := range p.TrustedPeers {
		field := fmt.Sprintf("trusted_peers[%d]", i)
		switch {
		case !peer.IsValid() || peer.Addr().Is4In6():
			c.add(field, "MALFORMED_PREFIX", "not a network: "+link.Quote(peer.String()), "for example 10.0.0.0/16")
		case peer.Bits() == 0:
			c.add(field, "EVERYBODY_TRUSTED", peer.String()+" is everybody, who could then claim any endpoint", "give the addresses of the load balancer's subnets")
		case slices.Contains(p.TrustedPeers[:i], peer):
			c.add(field, "DUPLICATE_PEER", "given twice: "+peer.String(), "give each network once")
		}
	}
	if !p.ProxyProtocol && len(p.Endpoints) > 0 {
		c.add("endpoints", "PROXY_PROTOCOL_REQUIRED", "a web server learns the endpoint from PROXY headers alone", "turn proxy_protocol on, or give no endpoints")
	}
	if len(p.Endpoints) > mostEndpoints {
		c.add("endpoints", "TOO_MANY", fmt.Sprintf("%d endpoints, more than %d", len(p.Endpoints), mostEndpoints), "let the gateway decide who passes: server direct")
	}
	for i, e := range p.Endpoints {
		field := fmt.Sprintf("endpoints[%d]", i)
		if _, err := link.ParseEndpointID(link.AWS, string(e)); err != nil {
			c.add(field, "MALFORMED_ENDPOINT_ID", "not an endpoint id: "+link.Quote(string(e)), "for example vpce-0a1b2c3d4e5f60718")
		} else if slices.Contains(p.Endpoints[:i], e) {
			c.add(field, "DUPLICATE_ENDPOINT", "given twice: "+string(e), "give each endpoint once")
		}
	}
}

func (c *checker) redirects() {
	r := c.p.Redirects
	follows := r.Mode == link.RedirectFollow || r.Mode == link.RedirectRewrite
	switch {
	case !follows && r.Mode != link.RedirectPass && r.Mode != link.RedirectRefuse:
		c.add("redirects.mode", "UNKNOWN_MODE", "not a mode: "+link.Quote(string(r.Mode)), "PASS, FOLLOW, REWRITE or REFUSE")
	case c.foreign && r.Mode != link.RedirectPass:
		c.add("redirects.mode", "EMBEDDED_REQUIRED", "only the gateway itself looks at redirects that leave the private path", "server direct, or redirects.mode PASS")
	case follows && len(r.Hosts) == 0:
		c.add("redirects.hosts", "HOSTS_REQUIRED", string(r.Mode)+" leads to known hosts alone", "give the exact names of the hosts")
	}
	for i, h := range r.Hosts {
		field := fmt.Sprintf("redirects.hosts[%d]", i)
		name, port, ported := strings.Cut(h, ":")
		n, err := strconv.ParseUint(port, 10, 16)
		switch {
		case !publicName(name) || !strings.Contains(name, ".") || ported && (err != nil || n == 0 || port[0] == '0'):
			c.add(field, "MALFORMED_HOST", "not an exact host name: "+link.Quote(h), "without a wildcard, for example bucket.s3.us-east-1.amazonaws.com")
		case slices.Contains(r.Hosts[:i], h):
			c.add(field, "DUPLICATE_HOST", "given twice: "+h, "give each host once")
		}
	}
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// made reports whether s is not empty and consists of characters of alphabet.
func made(s, alphabet string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) })
}

// labels reports whether s is a host name whose labels are of alphabet (RFC 1123, section 2.1). What ends in a number is not:
// programs take it for an address.
func labels(s, alphabet string) bool {
	if len(s) > 253 {
		return false
	}
	parts := strings.Split(s, ".")
	for _, l := range parts {
		if len(l) > 63 || !made(l, alphabet) || strings.Trim(l, "-_") != l {
			return false
		}
	}
	return !made(parts[len(parts)-1], digits)
}

// publicName reports whether s is a host name that a certificate can have.
func publicName(s string) bool { return labels(s, lower+digits+"-") }

// nodeHost reports whether s is an address or a host name; those of private networks have underscores at times.
func nodeHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified()
	}
	return labels(s, lower+digits+"-_")
}

// segment reports whether s is a letter or digit, then more of them and of marks.
func segment(s, marks string) bool {
	return len(s) <= longestSegment && made(s, lower+upper+digits+marks) && !strings.ContainsRune(marks, rune(s[0]))
}

// headerName reports whether s is a header's name of the tame sort: HTTP allows more (RFC 9110, section 5.6.2), servers do not.
func headerName(s string) bool {
	return len(s) <= longestSegment && made(s, lower+upper+digits+"-") && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--")
}

// filePath reports whether s is an absolute path to a file without a detour, of characters that mean nothing to any server.
func filePath(s string) bool {
	if len(s) > longestPath || !made(s, lower+upper+digits+"/.,_-+=@") || s[0] != '/' {
		return false
	}
	return !slices.ContainsFunc(strings.Split(s[1:], "/"), func(part string) bool { return part == "" || part == "." || part == ".." })
}
