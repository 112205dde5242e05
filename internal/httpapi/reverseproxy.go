package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/proxyconf"
)

// ReverseProxyTarget is a web server and its version in a query.
type ReverseProxyTarget struct {
	Target string `query:"target" doc:"A server and its version, also that of its OpenSSL; without a version that of Debian 12, without a server the one that the settings name" example:"nginx=1.22"`
}

func (t ReverseProxyTarget) target() (proxyconf.Target, error) {
	if t.Target == "" {
		return proxyconf.Target{}, nil
	}
	return proxyconf.ParseTarget(t.Target)
}

func (s *server) reverseProxy() {
	const tag, path = "Reverse proxy", clusterBase + "/reverse-proxy"

	register(s, route{method: http.MethodGet, path: path, id: "GetReverseProxy", tag: tag, single: true, summary: "Get a cluster's reverse proxy"},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ReverseProxy, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ReverseProxy{}, err
			}
			v, err := s.plane.ReverseProxy(ctx, c, id)
			return wireReverseProxy(v), err
		})

	type put struct {
		ClusterPath
		ReverseProxyTarget
		DryRun bool `query:"dryRun" doc:"Check and render, and store nothing"`
		Body   api.ReverseProxySettings
	}
	register(s, route{
		method: http.MethodPut, path: path, id: "PutReverseProxy", tag: tag,
		summary: "Make a cluster's reverse proxy be as given; what is absent has its default. Every mistake is told at once",
	},
		func(ctx context.Context, c policy.Caller, in *put) (api.ReverseProxy, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ReverseProxy{}, err
			}
			u := control.ReverseProxyChange{Try: in.DryRun}
			if u.Target, err = in.target(); err != nil {
				return api.ReverseProxy{}, err
			}
			given, err := ReadReverseProxy(in.Body)
			if err != nil {
				return api.ReverseProxy{}, err
			}
			u.Make = func(link.ReverseProxy) (link.ReverseProxy, error) { return given, nil }
			v, tried, err := s.plane.SetReverseProxy(ctx, c, id, u)
			out := wireReverseProxy(v)
			if in.DryRun && err == nil {
				snippet := wireSnippet(tried)
				out.Snippet = &snippet
			}
			return out, err
		})

	register(s, route{
		method: http.MethodDelete, path: path, id: "DeleteReverseProxy", tag: tag,
		summary: "Take a cluster's reverse proxy away: its TLS passes the gateway unread again; idempotent",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (empty, error) {
			id, err := in.cluster()
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.DeleteReverseProxy(ctx, c, id)
		})

	type get struct {
		ClusterPath
		ReverseProxyTarget
		DownloadQuery
	}
	op := route{
		method: http.MethodGet, path: path + "/snippet", id: "GetReverseProxySnippet", tag: tag,
		summary: "Render a cluster's reverse proxy as the configuration of a web server; with its notes for who accepts JSON",
	}.operation()
	op.Responses = snippetResponses()
	op.Responses["200"].Content["application/json"] = &huma.MediaType{Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.ReverseProxySnippet](), true, "")}
	huma.Register(s.api, op, func(ctx context.Context, in *get) (*huma.StreamResponse, error) {
		id, err := in.cluster()
		if err != nil {
			return nil, err
		}
		t, err := in.target()
		if err != nil {
			return nil, err
		}
		out, err := s.plane.ReverseProxySnippet(ctx, callerOf(ctx), id, t)
		if err != nil {
			return nil, err
		}
		accept := requestOf(ctx).asked.Get("Accept")
		return sendSnippet(out, in.DownloadQuery, strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/plain")), nil
	})
	op.Responses["304"] = snippetCurrent
}

// DownloadQuery asks for a text as a file.
type DownloadQuery struct {
	Download bool `query:"download" doc:"Answer with a file to be saved"`
}

var snippetTag = map[string]*huma.Param{"ETag": {Schema: &huma.Schema{Type: huma.TypeString}, Description: "Of the text: who polls sends it as If-None-Match"}}

// snippetCurrent describes the answer to who has the configuration already. It is added last: huma describes no errors where
// there is more than one answer.
var snippetCurrent = &huma.Response{Description: "The caller's copy is current", Headers: snippetTag}

// snippetResponses describes an answer that is a configuration.
func snippetResponses() map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "The configuration", Headers: snippetTag,
		Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

// sendSnippet answers with a configuration, as text or with its notes as JSON.
func sendSnippet(out control.Snippet, d DownloadQuery, asJSON bool) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		tag := tagOf(out.Text)
		if asJSON {
			tag = tagOf(wireSnippet(out))
		}
		w.Header().Set("ETag", tag)
		w.Header().Set("Vary", "Accept")
		if tagListed(strings.Join(r.Header.Values("If-None-Match"), ","), tag, true) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if d.Download {
			w.Header().Set("Content-Disposition", `attachment; filename="`+fileOf[out.Target.Server]+`"`)
		}
		if asJSON {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			_ = json.NewEncoder(w).Encode(wireSnippet(out)) // the peer is gone when this fails
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, out.Text)
	}}
}

// fileOf is how a web server's configuration is called as a file.
var fileOf = map[link.WebServer]string{
	link.NGINX: "nginx.conf", link.Apache: "apache.conf", link.HAProxy: "haproxy.cfg", link.Caddy: "Caddyfile", link.Embedded: "reverse-proxy.json",
}

func wireSnippet(s control.Snippet) api.ReverseProxySnippet {
	return api.ReverseProxySnippet{
		Target: s.Target.String(), Text: s.Text,
		Notes: each(s.Notes, func(n proxyconf.Note) api.ReverseProxyNote { return api.ReverseProxyNote(n) }),
	}
}

// ReadReverseProxy reads settings, and refuses what their types cannot hold: everything of it at once. What may not be is for
// package proxyconf to say.
func ReadReverseProxy(in api.ReverseProxySettings) (link.ReverseProxy, error) {
	var errs []error
	port := func(field string, n int) uint16 {
		if n < 0 || n > 65535 { // of settings that no schema bounds
			errs = append(errs, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_PORT", Field: field, Message: fmt.Sprintf("not a port: %d", n), Hint: "ports are 1 to 65535",
			})
		}
		return uint16(n)
	}
	p := link.ReverseProxy{
		Server: link.WebServer(in.Server), ServerName: in.ServerName, Wildcard: in.Wildcard, Upstream: in.Upstream,
		AppContext: in.AppContext, PublicContext: in.PublicContext, HTTP: in.HTTP, HTTPS: in.HTTPS,
		HTTPPort: port("http_port", in.HTTPPort), HTTPSPort: port("https_port", in.HTTPSPort),
		Certificate: in.Certificate, Key: in.Key, Profile: link.TLSProfile(in.TLSProfile), OverrideBaseURL: in.OverrideBaseURL,
		Docker: link.DockerMethod(in.DockerMethod), ProxyProtocol: in.ProxyProtocol,
	}
	for i, n := range in.Nodes {
		at := fmt.Sprintf("nodes[%d].", i)
		p.Nodes = append(p.Nodes, link.ProxyNode{Host: n.Host, DirectPort: port(at+"direct_port", n.DirectPort), RouterPort: port(at+"router_port", n.RouterPort)})
	}
	for i, r := range in.Repositories {
		p.Repositories = append(p.Repositories, link.ProxyRepository{
			Key: r.Key, ServerName: r.ServerName, Port: port(fmt.Sprintf("repositories[%d].port", i), r.Port),
		})
	}
	if c := in.ClientCertificates; c != nil {
		p.ClientCertificates = link.ProxyCertificates{Mode: link.CertificateMode(c.Mode), CAFile: c.CAFile, CRLFile: c.CRLFile, Depth: c.Depth, Header: c.Header}
	}
	for i, peer := range in.TrustedPeers {
		prefix, err := readPrefix(peer)
		if err != nil {
			errs = append(errs, &link.Error{
				Kind: link.Invalid, Reason: "MALFORMED_CIDR", Field: fmt.Sprintf("trusted_peers[%d]", i), Message: "not an address range: " + link.Quote(peer),
				Hint: "for example 10.0.0.0/16, or one address",
			})
		}
		p.TrustedPeers = append(p.TrustedPeers, prefix)
	}
	for _, id := range in.Endpoints {
		p.Endpoints = append(p.Endpoints, link.EndpointID(id))
	}
	if r := in.Redirects; r != nil {
		p.Redirects = link.Redirects{Mode: link.RedirectMode(r.Mode), Hosts: append([]string(nil), r.Hosts...)}
	}
	return p, errors.Join(errs...)
}

func readPrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

func wireReverseProxy(v control.ReverseProxyView) api.ReverseProxy {
	p := v.ReverseProxy
	out := api.ReverseProxy{Version: v.Version, ReverseProxySettings: api.ReverseProxySettings{
		Server: string(p.Server), ServerName: p.ServerName, Wildcard: p.Wildcard, Upstream: p.Upstream,
		AppContext: p.AppContext, PublicContext: p.PublicContext, HTTP: p.HTTP, HTTPS: p.HTTPS, HTTPPort: int(p.HTTPPort), HTTPSPort: int(p.HTTPSPort),
		Certificate: p.Certificate, Key: p.Key, TLSProfile: string(p.Profile), OverrideBaseURL: p.OverrideBaseURL,
		DockerMethod: string(p.Docker), ProxyProtocol: p.ProxyProtocol, Endpoints: text(p.Endpoints),
		Nodes: each(p.Nodes, func(n link.ProxyNode) api.ProxyNode {
			return api.ProxyNode{Host: n.Host, DirectPort: int(n.DirectPort), RouterPort: int(n.RouterPort)}
		}),
		Repositories: each(p.Repositories, func(r link.ProxyRepository) api.ProxyRepository {
			return api.ProxyRepository{Key: r.Key, ServerName: r.ServerName, Port: int(r.Port)}
		}),
		TrustedPeers: each(p.TrustedPeers, netip.Prefix.String),
	}}
	if c := p.ClientCertificates; c != (link.ProxyCertificates{}) {
		out.ClientCertificates = &api.ProxyCertificates{
			Mode: string(cmp.Or(c.Mode, link.CertificatesOff)), CAFile: c.CAFile, CRLFile: c.CRLFile, Depth: c.Depth, Header: c.Header,
		}
	}
	if r := p.Redirects; r.Mode != "" {
		out.Redirects = &api.ProxyRedirects{Mode: string(r.Mode), Hosts: r.Hosts}
	}
	return out
}
