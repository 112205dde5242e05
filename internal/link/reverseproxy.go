package link

import "net/netip"

// WebServer is a program that can stand in front of a cluster. The words are those of the documented API, in lower case.
type WebServer string

// The servers. Embedded is Postern's own gateway, "direct" in the documented API.
const (
	NGINX    WebServer = "nginx"
	Apache   WebServer = "apache"
	HAProxy  WebServer = "haproxy"
	Caddy    WebServer = "caddy"
	Embedded WebServer = "direct"
)

// DockerMethod is how a Docker client tells which repository it wants. The words are those of the documented API.
type DockerMethod string

// The methods. The zero value is not one; DockerNone has no Docker access.
const (
	DockerSubdomain DockerMethod = "SUBDOMAIN"      // <repository>.<server name>/v2/…
	DockerPath      DockerMethod = "REPOPATHPREFIX" // <server name>/v2/<repository>/…
	DockerPort      DockerMethod = "PORTPERREPO"    // <server name>:<the repository's port>/v2/…
	DockerNone      DockerMethod = "NOVALUE"
)

// TLSProfile is a set of versions and suites of Mozilla's guideline for TLS at servers.
type TLSProfile string

// The profiles. The zero value is Intermediate.
const (
	TLSIntermediate TLSProfile = "INTERMEDIATE" // TLS 1.2 and 1.3
	TLSModern       TLSProfile = "MODERN"       // TLS 1.3 alone
)

// RedirectMode is what becomes of an answer that sends a client to a host outside the private path.
type RedirectMode string

// The modes. The zero value is RedirectPass.
const (
	RedirectPass    RedirectMode = "PASS"    // the client gets it as it is
	RedirectFollow  RedirectMode = "FOLLOW"  // the gateway gets what it leads to, from a host of Redirects.Hosts
	RedirectRewrite RedirectMode = "REWRITE" // the client is sent to a signed address at the gateway, which then does so
	RedirectRefuse  RedirectMode = "REFUSE"  // the client gets 502 with a code
)

// ReverseProxy is how a cluster's application is reached over HTTP through a web server in front of it. A cluster
// without one is reached as its flows say: TLS passes through the gateway unread. Package proxyconf completes, checks and
// renders it; with the server Embedded the gateway itself acts by it.
type ReverseProxy struct {
	Server WebServer

	// ServerName is the public host name, in lower case without a final dot. Wildcard is "*." and the domain below which
	// each repository has a name of its own (DockerSubdomain); empty means below ServerName.
	ServerName, Wildcard string

	// Nodes are the application's servers; of several, Upstream names the group.
	Nodes    []ProxyNode
	Upstream string

	// AppContext is the first segment of the application's paths at its nodes, PublicContext that which clients use;
	// mostly the same. Both without slashes.
	AppContext, PublicContext string

	HTTP, HTTPS         bool
	HTTPPort, HTTPSPort uint16
	Certificate, Key    string // files on the web server; the embedded server has its own
	Profile             TLSProfile

	// OverrideBaseURL has the application told by X-JFrog-Override-Base-Url how the client reached it.
	OverrideBaseURL bool

	Docker       DockerMethod
	Repositories []ProxyRepository // that the application has; sorted by key

	ClientCertificates ProxyCertificates

	// ProxyProtocol expects PROXY v2 from TrustedPeers alone. Endpoints, when there are any, are the only endpoints
	// through which requests pass; that needs ProxyProtocol. The embedded server knows both from its listeners and rules.
	ProxyProtocol bool
	TrustedPeers  []netip.Prefix
	Endpoints     []EndpointID

	Redirects Redirects
}

// ProxyNode is one server of the application. It has two ports: the router's serves pages and the whole API, the direct one
// AppContext alone.
type ProxyNode struct {
	Host       string // a name or an address
	DirectPort uint16
	RouterPort uint16 // 0: there is none, the direct port serves everything
}

// ProxyRepository is a Docker repository of the application.
type ProxyRepository struct {
	Key        string
	ServerName string // of the port method, where it is not the proxy's
	Port       uint16 // of the port method; no two repositories have one, nor is it the proxy's own
}

// CertificateMode is whether clients show a certificate.
type CertificateMode string

// The modes. The zero value is CertificatesOff.
const (
	CertificatesOff      CertificateMode = "OFF"
	CertificatesOptional CertificateMode = "OPTIONAL"
	CertificatesRequired CertificateMode = "REQUIRED"
)

// ProxyCertificates is how a foreign web server asks for client certificates. It verifies them by files of its own and
// passes on what it verified; the application, or the gateway behind it, verifies again.
type ProxyCertificates struct {
	Mode    CertificateMode
	CAFile  string // on the web server; of all certificates that are trusted
	CRLFile string // empty: none
	Depth   int    // of chains; 0 means 2
	Header  string // that tells the application the certificate; empty means X-JFrog-Client-Cert
}

// Redirects is what becomes of redirects that leave the private path, of the embedded server.
type Redirects struct {
	Mode RedirectMode
	// Hosts are the exact host names that FOLLOW and REWRITE may lead to, over https on port 443, unless a port is given.
	Hosts []string
}

// ForwardedHeaders are the headers by which proxies tell where a request came from. A client's own never pass.
var ForwardedHeaders = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme",
	"X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url",
	"X-Jfrog-Override-Base-Url", "X-Artifactory-Override-Base-Url",
}

// CertificateHeaders are the headers by which proxies tell a client's certificate, in any of the known formats. A client's
// own never pass, nor do their spellings with '_' for '-'.
var CertificateHeaders = []string{
	"Client-Cert", "Client-Cert-Chain", "X-Jfrog-Client-Cert", "X-Client-Cert", "X-Ssl-Cert", "X-Ssl-Client-Cert",
	"Ssl-Client-Cert", "X-Ssl-Client-Verify", "X-Ssl-Client-S-Dn", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert",
	"X-Forwarded-Tls-Client-Cert-Info", "X-Amzn-Mtls-Clientcert", "X-Amzn-Mtls-Clientcert-Leaf",
	"X-Amzn-Mtls-Clientcert-Serial-Number", "X-Amzn-Mtls-Clientcert-Issuer", "X-Amzn-Mtls-Clientcert-Subject",
	"X-Amzn-Mtls-Clientcert-Validity", "X-Arr-Clientcert", "X-Postern-User",
}
