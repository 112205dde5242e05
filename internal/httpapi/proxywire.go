package httpapi

import (
	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// wireProxy is a cluster's proxy rules as gateways get them.
func wireProxy(r link.ProxyRules) *api.GatewayProxy {
	p := r.Proxy
	out := &api.GatewayProxy{
		TicketKey:  r.TicketKey,
		ServerName: p.ServerName, Wildcard: p.Wildcard, AppContext: p.AppContext, PublicContext: p.PublicContext,
		HTTP: p.HTTP, HTTPS: p.HTTPS, HTTPPort: p.HTTPPort, HTTPSPort: p.HTTPSPort, TLSProfile: string(p.Profile),
		OverrideBaseURL: p.OverrideBaseURL, DockerMethod: string(p.Docker), CertificateHeader: p.ClientCertificates.Header,
		Nodes: each(p.Nodes, func(n link.ProxyNode) api.GatewayProxyNode { return api.GatewayProxyNode(n) }),
		Repositories: each(p.Repositories, func(r link.ProxyRepository) api.GatewayProxyRepository {
			return api.GatewayProxyRepository(r)
		}),
	}
	if p.Redirects.Mode != "" || len(p.Redirects.Hosts) > 0 {
		out.Redirects = &api.GatewayRedirects{Mode: string(p.Redirects.Mode), Hosts: p.Redirects.Hosts}
	}
	if c := r.Certificates; c.Mode != "" && c.Mode != link.CertificatesOff {
		out.ClientCertificates = wireClientCertificates(c)
	}
	return out
}

func wireClientCertificates(c link.ClientCertificates) *api.GatewayClientCertificates {
	out := &api.GatewayClientCertificates{
		Mode: string(c.Mode), Identity: text(c.Identity), Expression: c.Expression, OCSP: c.OCSP, Responders: c.Responders,
		Trusted: each(c.Trusted, func(t link.TrustedCertificate) api.GatewayTrustedCertificate {
			w := api.GatewayTrustedCertificate{
				ID: string(t.ID), Name: t.Name, Kind: string(t.Kind), Certificate: t.DER, CRL: t.CRL, CRLNumber: t.CRLNumber,
			}
			if !t.CRLNext.IsZero() {
				next := t.CRLNext.UTC()
				w.CRLNext = &next
			}
			return w
		}),
		Revoked: each(c.Revoked, func(r link.RevokedCertificate) api.GatewayRevokedCertificate {
			return api.GatewayRevokedCertificate{
				ID: string(r.ID), TrustedID: string(r.TrustedID), Serial: r.Serial, RevokedAt: r.RevokedAt.UTC(),
			}
		}),
	}
	if u := c.Users; u.Listed || len(u.Disabled) > 0 {
		out.Users = &api.GatewayUsers{Listed: u.Listed, Names: u.Names, Disabled: u.Disabled}
	}
	return out
}
