package gateway

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// proxyRules reads a cluster's proxy rules from the wire. What they mean together is for package httpproxy to judge when
// the cluster's first flow comes: rules that it cannot use close that cluster alone.
func proxyRules(cluster link.ID, w api.GatewayProxy) (*link.ProxyRules, error) {
	p := link.ReverseProxy{
		Server: link.Embedded, ServerName: w.ServerName, Wildcard: w.Wildcard, AppContext: w.AppContext, PublicContext: w.PublicContext,
		HTTP: w.HTTP, HTTPS: w.HTTPS, HTTPPort: w.HTTPPort, HTTPSPort: w.HTTPSPort, Profile: link.TLSProfile(w.TLSProfile),
		OverrideBaseURL: w.OverrideBaseURL, Docker: link.DockerMethod(w.DockerMethod),
	}
	p.ClientCertificates.Header = w.CertificateHeader
	var err error
	switch {
	case w.ServerName != "" && !hostName(w.ServerName):
		return nil, fmt.Errorf("not a host name: %s", link.Quote(w.ServerName))
	case w.Wildcard != "" && (!strings.HasPrefix(w.Wildcard, "*.") || !hostName(w.Wildcard[2:])):
		return nil, fmt.Errorf("not a wildcard: %s", link.Quote(w.Wildcard))
	}
	switch p.Profile {
	case "", link.TLSIntermediate, link.TLSModern:
	default:
		return nil, fmt.Errorf("unknown TLS profile %s", link.Quote(w.TLSProfile))
	}
	switch p.Docker {
	case "", link.DockerSubdomain, link.DockerPath, link.DockerPort, link.DockerNone:
	default:
		return nil, fmt.Errorf("unknown Docker method %s", link.Quote(w.DockerMethod))
	}
	if p.Nodes, err = all(w.Nodes, func(n api.GatewayProxyNode) (link.ProxyNode, error) {
		if !hostName(n.Host) {
			return link.ProxyNode{}, fmt.Errorf("not a node's host: %s", link.Quote(n.Host))
		}
		return link.ProxyNode(n), nil
	}); err != nil {
		return nil, err
	}
	if p.Repositories, err = all(w.Repositories, func(r api.GatewayProxyRepository) (link.ProxyRepository, error) {
		if !hostName(r.Key) || r.ServerName != "" && !hostName(r.ServerName) {
			return link.ProxyRepository{}, fmt.Errorf("not a repository: %s", link.Quote(r.Key))
		}
		return link.ProxyRepository(r), nil
	}); err != nil {
		return nil, err
	}
	if w.Redirects != nil {
		if p.Redirects, err = redirects(*w.Redirects); err != nil {
			return nil, err
		}
	}
	if n := len(w.TicketKey); n != 0 && n != link.TicketKeySize {
		return nil, fmt.Errorf("a ticket key of %d bytes, not %d", n, link.TicketKeySize)
	}
	rules := &link.ProxyRules{Proxy: p, TicketKey: w.TicketKey}
	if w.ClientCertificates != nil {
		if rules.Certificates, err = clientCertificates(cluster, *w.ClientCertificates); err != nil {
			return nil, fmt.Errorf("client certificates: %w", err)
		}
	}
	return rules, nil
}

func redirects(w api.GatewayRedirects) (r link.Redirects, err error) {
	r.Mode = link.RedirectMode(w.Mode)
	switch r.Mode {
	case link.RedirectPass, link.RedirectFollow, link.RedirectRewrite, link.RedirectRefuse:
	default:
		return r, fmt.Errorf("unknown mode of redirects %s", link.Quote(w.Mode))
	}
	r.Hosts, err = all(w.Hosts, someHostName)
	return r, err
}

func someHostName(n string) (string, error) {
	if !hostName(n) {
		return "", fmt.Errorf("not a host name: %s", link.Quote(n))
	}
	return n, nil
}

func clientCertificates(cluster link.ID, w api.GatewayClientCertificates) (c link.ClientCertificates, err error) {
	c = link.ClientCertificates{
		Mode: link.CertificateMode(w.Mode), Expression: w.Expression, OCSP: w.OCSP,
	}
	switch c.Mode {
	case link.CertificatesOptional, link.CertificatesRequired:
	default:
		return c, fmt.Errorf("unknown mode %s", link.Quote(w.Mode))
	}
	if c.Identity, err = all(w.Identity, identitySource); err != nil {
		return c, err
	}
	if c.Responders, err = all(w.Responders, someHostName); err != nil {
		return c, err
	}
	if w.Users != nil {
		c.Users = link.Users{Listed: w.Users.Listed, Names: w.Users.Names, Disabled: w.Users.Disabled}
	}
	if c.Trusted, err = all(w.Trusted, func(t api.GatewayTrustedCertificate) (link.TrustedCertificate, error) {
		return trustedCertificate(cluster, t)
	}); err != nil {
		return c, err
	}
	c.Revoked, err = all(w.Revoked, func(r api.GatewayRevokedCertificate) (link.RevokedCertificate, error) {
		return revokedCertificate(cluster, r)
	})
	return c, err
}

func identitySource(s string) (link.IdentitySource, error) {
	switch source := link.IdentitySource(s); source {
	case link.IdentitySubjectCN, link.IdentityEmail, link.IdentityURI, link.IdentityDNS:
		return source, nil
	}
	return "", fmt.Errorf("unknown source of identity %s", link.Quote(s))
}

func trustedCertificate(cluster link.ID, w api.GatewayTrustedCertificate) (t link.TrustedCertificate, err error) {
	t = link.TrustedCertificate{
		ClusterID: cluster, Name: w.Name, Kind: link.TrustKind(w.Kind), DER: w.Certificate, CRL: w.CRL, CRLNumber: w.CRLNumber,
	}
	if t.ID, err = link.ParseID("trusted certificate's id", w.ID); err != nil {
		return t, err
	}
	if t.Kind != link.TrustCA && t.Kind != link.TrustLeaf {
		return t, fmt.Errorf("unknown kind of trust %s", link.Quote(w.Kind))
	}
	if len(w.Certificate) == 0 {
		return t, fmt.Errorf("trusted certificate %s holds none", t.ID)
	}
	if w.CRLNext != nil {
		t.CRLNext = *w.CRLNext
	}
	return t, nil
}

func revokedCertificate(cluster link.ID, w api.GatewayRevokedCertificate) (r link.RevokedCertificate, err error) {
	r = link.RevokedCertificate{ClusterID: cluster, Serial: w.Serial, RevokedAt: w.RevokedAt}
	if r.ID, err = link.ParseID("revoked certificate's id", w.ID); err != nil {
		return r, err
	}
	if r.TrustedID, err = link.ParseID("trusted_id", w.TrustedID); err != nil {
		return r, err
	}
	if w.Serial == "" || strings.Trim(w.Serial, "0123456789abcdef") != "" {
		return r, errors.New("a serial number is not hexadecimal")
	}
	return r, nil
}
