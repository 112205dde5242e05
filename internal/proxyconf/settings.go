// Package proxyconf turns the settings of a cluster's reverse proxy into the configuration of a web server: nginx, Apache,
// HAProxy, Caddy, or the document by which Postern's own gateway acts. It is pure: settings in, text and notes out, and the
// same settings always give the same text.
//
// Values reach a text only after Check has held them to a strict grammar, so that none of them can end a directive and begin
// another.
package proxyconf

import (
	"cmp"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// The defaults that the documented product has.
const (
	DefaultDirectPort = 8081
	DefaultRouterPort = 8082
	DefaultHTTPPort   = 80
	DefaultHTTPSPort  = 443
	DefaultContext    = "artifactory"
	DefaultDepth      = 2
	DefaultHeader     = "X-JFrog-Client-Cert"
)

// Complete returns p with the defaults in place of what was left empty, names in lower case and without a final dot, and
// repositories, peers, endpoints and hosts in order. It changes nothing of a complete p. The server has no default. Neither of
// HTTP and HTTPS means HTTPS. A node without any port has the two documented ones; with a direct port alone it has no router.
func Complete(p link.ReverseProxy) link.ReverseProxy {
	p.ServerName = hostName(p.ServerName)
	p.Wildcard = hostName(p.Wildcard)
	p.AppContext = cmp.Or(p.AppContext, DefaultContext)
	p.PublicContext = cmp.Or(p.PublicContext, p.AppContext)
	if !p.HTTP && !p.HTTPS {
		p.HTTPS = true
	}
	p.HTTPPort = cmp.Or(p.HTTPPort, DefaultHTTPPort)
	p.HTTPSPort = cmp.Or(p.HTTPSPort, DefaultHTTPSPort)
	p.Profile = cmp.Or(p.Profile, link.TLSIntermediate)
	p.Docker = cmp.Or(p.Docker, link.DockerSubdomain)
	if p.Docker == link.DockerSubdomain && p.Wildcard == "" && p.ServerName != "" {
		p.Wildcard = "*." + p.ServerName
	}

	p.Nodes = slices.Clone(p.Nodes)
	for i := range p.Nodes {
		n := &p.Nodes[i]
		n.Host = hostName(n.Host)
		if n.DirectPort == 0 && n.RouterPort == 0 {
			n.RouterPort = DefaultRouterPort
		}
		n.DirectPort = cmp.Or(n.DirectPort, DefaultDirectPort)
	}

	p.Repositories = slices.Clone(p.Repositories)
	for i := range p.Repositories {
		p.Repositories[i].ServerName = hostName(p.Repositories[i].ServerName)
	}
	slices.SortStableFunc(p.Repositories, func(a, b link.ProxyRepository) int { return cmp.Compare(a.Key, b.Key) })

	c := &p.ClientCertificates
	c.Mode = cmp.Or(c.Mode, link.CertificatesOff)
	c.Depth = cmp.Or(c.Depth, DefaultDepth)
	c.Header = cmp.Or(c.Header, DefaultHeader)

	p.TrustedPeers = slices.Clone(p.TrustedPeers)
	for i := range p.TrustedPeers {
		p.TrustedPeers[i] = p.TrustedPeers[i].Masked()
	}
	p.Endpoints = slices.Sorted(slices.Values(p.Endpoints))
	p.Redirects.Mode = cmp.Or(p.Redirects.Mode, link.RedirectPass)
	p.Redirects.Hosts = slices.Clone(p.Redirects.Hosts)
	for i := range p.Redirects.Hosts {
		p.Redirects.Hosts[i] = hostName(p.Redirects.Hosts[i])
	}
	slices.Sort(p.Redirects.Hosts)
	return p
}

func hostName(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }
