package proxyconf

import (
	"encoding/json"
	"net/netip"

	"github.com/postern/postern/internal/link"
)

// document is the settings in the words of the REST API, which `postern reverse-proxy set --file` takes.
type document struct {
	Server             link.WebServer       `json:"server"`
	ServerName         string               `json:"server_name,omitempty"`
	Wildcard           string               `json:"wildcard,omitempty"`
	Nodes              []documentNode       `json:"nodes,omitempty"`
	Upstream           string               `json:"upstream,omitempty"`
	AppContext         string               `json:"app_context"`
	PublicContext      string               `json:"public_context"`
	HTTP               bool                 `json:"http"`
	HTTPS              bool                 `json:"https"`
	HTTPPort           uint16               `json:"http_port"`
	HTTPSPort          uint16               `json:"https_port"`
	Certificate        string               `json:"certificate,omitempty"`
	Key                string               `json:"key,omitempty"`
	Profile            link.TLSProfile      `json:"tls_profile"`
	OverrideBaseURL    bool                 `json:"override_base_url"`
	Docker             link.DockerMethod    `json:"docker_method"`
	Repositories       []documentRepository `json:"repositories,omitempty"`
	ClientCertificates documentCertificates `json:"client_certificates"`
	ProxyProtocol      bool                 `json:"proxy_protocol"`
	TrustedPeers       []netip.Prefix       `json:"trusted_peers,omitempty"`
	Endpoints          []link.EndpointID    `json:"endpoints,omitempty"`
	Redirects          documentRedirects    `json:"redirects"`
}

type documentNode struct {
	Host       string `json:"host"`
	DirectPort uint16 `json:"direct_port"`
	RouterPort uint16 `json:"router_port,omitempty"`
}

type documentRepository struct {
	Key        string `json:"key"`
	ServerName string `json:"server_name,omitempty"`
	Port       uint16 `json:"port,omitempty"`
}

type documentCertificates struct {
	Mode    link.CertificateMode `json:"mode"`
	CAFile  string               `json:"ca_file,omitempty"`
	CRLFile string               `json:"crl_file,omitempty"`
	Depth   int                  `json:"depth"`
	Header  string               `json:"header"`
}

type documentRedirects struct {
	Mode  link.RedirectMode `json:"mode"`
	Hosts []string          `json:"hosts,omitempty"`
}

// embedded returns the document by which the gateway acts. JSON has no comments, so there is no first line.
func embedded(p link.ReverseProxy) Output {
	d := document{
		Server: p.Server, ServerName: p.ServerName, Wildcard: p.Wildcard, Upstream: p.Upstream, AppContext: p.AppContext, PublicContext: p.PublicContext,
		HTTP: p.HTTP, HTTPS: p.HTTPS, HTTPPort: p.HTTPPort, HTTPSPort: p.HTTPSPort, Certificate: p.Certificate, Key: p.Key, Profile: p.Profile,
		OverrideBaseURL: p.OverrideBaseURL, Docker: p.Docker, ClientCertificates: documentCertificates(p.ClientCertificates),
		ProxyProtocol: p.ProxyProtocol, TrustedPeers: p.TrustedPeers, Endpoints: p.Endpoints, Redirects: documentRedirects(p.Redirects),
	}
	for _, n := range p.Nodes {
		d.Nodes = append(d.Nodes, documentNode(n))
	}
	for _, r := range p.Repositories {
		d.Repositories = append(d.Repositories, documentRepository(r))
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic(err) // strings, numbers and prefixes always marshal
	}
	out := Output{Text: string(text) + "\n"}
	if p.ProxyProtocol || len(p.Endpoints) > 0 {
		out.Notes = append(out.Notes, Note{NoteEndpointsElsewhere, "the gateway knows its load balancers and the cluster's endpoints already; proxy_protocol, trusted_peers and endpoints change nothing"})
	}
	return out
}
