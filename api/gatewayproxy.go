package api

import "time"

// GatewayProxy has the flows of a cluster end at the gateway, which speaks HTTP with both sides by these settings. What
// only other web servers act by is not in it.
type GatewayProxy struct {
	ServerName        string                   `json:"server_name,omitempty"`
	Wildcard          string                   `json:"wildcard,omitempty"` // *.domain
	Nodes             []GatewayProxyNode       `json:"nodes,omitempty"`
	AppContext        string                   `json:"app_context,omitempty"`
	PublicContext     string                   `json:"public_context,omitempty"`
	HTTP              bool                     `json:"http,omitempty"`
	HTTPS             bool                     `json:"https,omitempty"`
	HTTPPort          uint16                   `json:"http_port,omitempty"`
	HTTPSPort         uint16                   `json:"https_port,omitempty"`
	TLSProfile        string                   `json:"tls_profile,omitempty"` // INTERMEDIATE, MODERN
	OverrideBaseURL   bool                     `json:"override_base_url,omitempty"`
	DockerMethod      string                   `json:"docker_method,omitempty"` // SUBDOMAIN, REPOPATHPREFIX, PORTPERREPO, NOVALUE
	Repositories      []GatewayProxyRepository `json:"repositories,omitempty"`
	CertificateHeader string                   `json:"certificate_header,omitempty"` // that tells the application the client's certificate
	Redirects         *GatewayRedirects        `json:"redirects,omitempty"`          // absent: they pass
	TicketKey         []byte                   `json:"ticket_key,omitempty"`         // 32 bytes, secret, with REWRITE; absent: each gateway's own

	ClientCertificates *GatewayClientCertificates `json:"client_certificates,omitempty"` // absent: none are asked for
}

// GatewayProxyNode is a server of the application.
type GatewayProxyNode struct {
	Host       string `json:"host"`
	DirectPort uint16 `json:"direct_port,omitempty"`
	RouterPort uint16 `json:"router_port,omitempty"`
}

// GatewayProxyRepository is a Docker repository of the application.
type GatewayProxyRepository struct {
	Key        string `json:"key"`
	ServerName string `json:"server_name,omitempty"`
	Port       uint16 `json:"port,omitempty"`
}

// GatewayRedirects says what becomes of redirects that leave the private path.
type GatewayRedirects struct {
	Mode  string   `json:"mode"` // PASS, FOLLOW, REWRITE, REFUSE
	Hosts []string `json:"hosts,omitempty"`
}

// GatewayClientCertificates says whose certificates clients may show, and what they say of who the client is.
type GatewayClientCertificates struct {
	Mode       string                      `json:"mode"`               // OPTIONAL, REQUIRED
	Identity   []string                    `json:"identity,omitempty"` // subject.cn, san.email, san.uri, san.dns
	Expression string                      `json:"expression,omitempty"`
	Users      *GatewayUsers               `json:"users,omitempty"` // absent: all are known
	OCSP       bool                        `json:"ocsp,omitempty"`
	Responders []string                    `json:"responders,omitempty"`
	Trusted    []GatewayTrustedCertificate `json:"trusted,omitempty"`
	Revoked    []GatewayRevokedCertificate `json:"revoked,omitempty"`
}

// GatewayUsers says which users the application has.
type GatewayUsers struct {
	Listed   bool     `json:"listed,omitempty"` // only Names are known
	Names    []string `json:"names,omitempty"`
	Disabled []string `json:"disabled,omitempty"`
}

// GatewayTrustedCertificate is an entry of a cluster's trust.
type GatewayTrustedCertificate struct {
	ID          string     `json:"id"`
	Name        string     `json:"name,omitempty"`
	Kind        string     `json:"kind"`        // CA, LEAF
	Certificate []byte     `json:"certificate"` // DER
	CRL         []byte     `json:"crl,omitempty"`
	CRLNumber   string     `json:"crl_number,omitempty"` // decimal
	CRLNext     *time.Time `json:"crl_next,omitempty"`
}

// GatewayRevokedCertificate is one certificate that is not trusted though an entry vouches for it.
type GatewayRevokedCertificate struct {
	ID        string    `json:"id"`
	TrustedID string    `json:"trusted_id"`
	Serial    string    `json:"serial"` // lower hexadecimal
	RevokedAt time.Time `json:"revoked_at"`
}
