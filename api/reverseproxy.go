package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// ReverseProxySettings is how a cluster's application is reached over HTTP through a web server in front of it. What is
// absent has the default that it names.
type ReverseProxySettings struct {
	Server     string `json:"server" enum:"nginx,apache,haproxy,caddy,direct" doc:"The web server; direct is the gateway itself"`
	ServerName string `json:"server_name,omitempty" doc:"Public host name" example:"art.example.com"`
	Wildcard   string `json:"wildcard,omitempty" doc:"Below which each repository has a name of its own, with the method SUBDOMAIN; *. and server_name when absent" example:"*.art.example.com"`

	Nodes    []ProxyNode `json:"nodes,omitempty" doc:"The application's servers. Direct leads to the cluster's backends, of which a vendor may name other ports here"`
	Upstream string      `json:"upstream,omitempty" doc:"Name of the group that several nodes are" example:"artifactory"`

	AppContext    string `json:"app_context,omitempty" doc:"First segment of the application's paths; artifactory when absent"`
	PublicContext string `json:"public_context,omitempty" doc:"First segment of the paths that clients use; app_context when absent"`

	HTTP            bool   `json:"http,omitempty"`
	HTTPS           bool   `json:"https,omitempty" doc:"Also when neither it nor http is true"`
	HTTPPort        int    `json:"http_port,omitempty" minimum:"1" maximum:"65535" doc:"80 when absent"`
	HTTPSPort       int    `json:"https_port,omitempty" minimum:"1" maximum:"65535" doc:"443 when absent"`
	Certificate     string `json:"certificate,omitempty" doc:"File on the web server; direct has its own" example:"/etc/ssl/certs/art.pem"`
	Key             string `json:"key,omitempty" doc:"File on the web server. The key itself is never sent here" example:"/etc/ssl/private/art.key"`
	TLSProfile      string `json:"tls_profile,omitempty" enum:"INTERMEDIATE,MODERN" doc:"INTERMEDIATE, which is TLS 1.2 and 1.3, when absent; MODERN is TLS 1.3 alone"`
	OverrideBaseURL bool   `json:"override_base_url,omitempty" doc:"Tell the application by X-JFrog-Override-Base-Url how the client reached it"`

	DockerMethod string            `json:"docker_method,omitempty" enum:"SUBDOMAIN,REPOPATHPREFIX,PORTPERREPO,NOVALUE" doc:"How a Docker client says which repository it wants; SUBDOMAIN when absent"`
	Repositories []ProxyRepository `json:"repositories,omitempty" doc:"The application's Docker repositories"`

	ClientCertificates *ProxyCertificates `json:"client_certificates,omitempty" doc:"How a web server other than direct asks for client certificates; of direct it is the cluster's client-certificates that count"`

	ProxyProtocol bool     `json:"proxy_protocol,omitempty" doc:"Whether trusted_peers send PROXY v2, and they alone may connect; direct knows that from its listeners"`
	TrustedPeers  []string `json:"trusted_peers,omitempty" doc:"Prefixes" example:"[\"10.0.0.0/16\"]"`
	Endpoints     []string `json:"endpoints,omitempty" doc:"Ids of the only endpoints through which requests pass; needs proxy_protocol. Any when absent"`

	Redirects *ProxyRedirects `json:"redirects,omitempty"`
}

// RepositoryNames are the names by which Docker clients reach the cluster's repositories through the gateway, in the order of
// the settings: a label below name, which is one of the cluster's own, or below the wildcard where that is at or below name.
// They are of settings as the API answers with them, which are complete. There are none with another server than the gateway,
// or with another method than SUBDOMAIN.
func (s ReverseProxySettings) RepositoryNames(name string) (names []string) {
	if s.Server != "direct" || s.DockerMethod != "SUBDOMAIN" {
		return nil
	}
	domain := name
	if below, ok := strings.CutPrefix(s.Wildcard, "*."); ok && strings.HasSuffix(below, "."+name) {
		domain = below
	}
	for _, r := range s.Repositories {
		names = append(names, strings.ToLower(r.Key)+"."+domain)
	}
	return names
}

// ProxyNode is one server of the application.
type ProxyNode struct {
	Host       string `json:"host" doc:"A name or an address" example:"localhost"`
	DirectPort int    `json:"direct_port,omitempty" minimum:"1" maximum:"65535" doc:"Serves app_context; 8081 when absent"`
	RouterPort int    `json:"router_port,omitempty" minimum:"1" maximum:"65535" doc:"Serves pages and the whole API; when absent 8082 if direct_port is, and none otherwise: then the direct port serves everything"`
}

// ProxyRepository is a Docker repository of the application.
type ProxyRepository struct {
	Key        string `json:"key" doc:"The repository's name" example:"docker-local"`
	ServerName string `json:"server_name,omitempty" doc:"With the method PORTPERREPO, where it is not the proxy's"`
	Port       int    `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"With the method PORTPERREPO; no two repositories have one"`
}

// ProxyCertificates is how a web server other than the gateway asks for client certificates, by files of its own.
type ProxyCertificates struct {
	Mode    string `json:"mode,omitempty" enum:"OFF,OPTIONAL,REQUIRED" doc:"OFF when absent"`
	CAFile  string `json:"ca_file,omitempty" doc:"On the web server: all certificates that are trusted, PEM"`
	CRLFile string `json:"crl_file,omitempty" doc:"On the web server; none when absent"`
	Depth   int    `json:"depth,omitempty" minimum:"1" maximum:"10" doc:"Of certificate chains; 2 when absent"`
	Header  string `json:"header,omitempty" doc:"That tells the application the certificate; X-JFrog-Client-Cert when absent"`
}

// ProxyRedirects is what becomes of an answer that sends a client to a host outside the private path.
type ProxyRedirects struct {
	Mode  string   `json:"mode,omitempty" enum:"PASS,FOLLOW,REWRITE,REFUSE" doc:"PASS: the client gets it as it is, also when absent. FOLLOW: the gateway gets what it leads to. REWRITE: the client is sent to the gateway, which then does so. REFUSE: the client gets an error"`
	Hosts []string `json:"hosts,omitempty" doc:"Exact names of the hosts that FOLLOW and REWRITE may lead to, by https"`
}

// ReverseProxy is a cluster's reverse proxy, with every default written out.
type ReverseProxy struct {
	ReverseProxySettings
	Version int64                `json:"version,omitempty" doc:"How often it was changed, from 1; absent of a dry run"`
	Snippet *ReverseProxySnippet `json:"snippet,omitempty" doc:"Of a dry run alone"`
}

// ReverseProxySnippet is the configuration of a web server.
type ReverseProxySnippet struct {
	Target string             `json:"target" doc:"What it is for: the server and its version" example:"nginx=1.22.1"`
	Text   string             `json:"text"`
	Notes  []ReverseProxyNote `json:"notes" doc:"What to know before it is used"`
}

// ReverseProxyNote is what a person should know before using a configuration.
type ReverseProxyNote struct {
	Code string `json:"code" doc:"Stable, upper snake case"`
	Text string `json:"text"`
}

// ReverseProxy returns the cluster's reverse proxy.
func (c *Client) ReverseProxy(ctx context.Context, clusterID string) (ReverseProxy, error) {
	var out ReverseProxy
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "reverse-proxy"), nil, nil, &out)
	return out, err
}

// ReverseProxyUnless is ReverseProxy for who polls: changed is false, and nothing else is told, while the reverse proxy still has
// the entity tag that came with it last. With an empty tag it is always told.
func (c *Client) ReverseProxyUnless(ctx context.Context, clusterID, tag string) (p ReverseProxy, now string, changed bool, err error) {
	now = tag
	err = c.callTagged(ctx, http.MethodGet, path("clusters", clusterID, "reverse-proxy"), nil, nil, &p, &now)
	if errors.Is(err, errUnchanged) {
		return p, now, false, nil
	}
	return p, now, err == nil, err
}

// PutReverseProxy makes the cluster's reverse proxy be as given. A dry run checks it and renders it, and stores nothing.
func (c *Client) PutReverseProxy(ctx context.Context, clusterID string, s ReverseProxySettings, dryRun bool) (ReverseProxy, error) {
	if dryRun {
		return c.TryReverseProxy(ctx, clusterID, s, "")
	}
	var out ReverseProxy
	err := c.call(ctx, http.MethodPut, path("clusters", clusterID, "reverse-proxy"), nil, s, &out)
	return out, err
}

// TryReverseProxy checks settings and renders them for a target, which is as in ReverseProxySnippet, and stores nothing.
func (c *Client) TryReverseProxy(ctx context.Context, clusterID string, s ReverseProxySettings, target string) (ReverseProxy, error) {
	query := url.Values{"dryRun": {"true"}}
	if target != "" {
		query.Set("target", target)
	}
	var out ReverseProxy
	err := c.call(ctx, http.MethodPut, path("clusters", clusterID, "reverse-proxy"), query, s, &out)
	return out, err
}

// DeleteReverseProxy takes the cluster's reverse proxy away: its flows pass the gateway unread again. There being none is no
// error.
func (c *Client) DeleteReverseProxy(ctx context.Context, clusterID string) error {
	return c.call(ctx, http.MethodDelete, path("clusters", clusterID, "reverse-proxy"), nil, nil, nil)
}

// ReverseProxySnippet returns the configuration of a web server that does what the cluster's reverse proxy says: of the
// target, for example nginx=1.22, or when it is empty of the server that the settings name.
func (c *Client) ReverseProxySnippet(ctx context.Context, clusterID, target string) (ReverseProxySnippet, error) {
	var query url.Values
	if target != "" {
		query = url.Values{"target": {target}}
	}
	var out ReverseProxySnippet
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "reverse-proxy", "snippet"), query, nil, &out)
	return out, err
}
