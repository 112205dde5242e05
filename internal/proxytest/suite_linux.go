package proxytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/servertest"
)

// Server is a web server, or what acts as one, that the suite tries in front of the application.
type Server interface {
	// Start runs it for settings, whose member Server it sets, until the test ends. It returns when it takes connections at
	// 127.0.0.1, at every port of the settings.
	Start(t *testing.T, p link.ReverseProxy)
	// Certificate reads what the header of a client certificate says; nil when it says that there is none.
	Certificate(values []string) (*x509.Certificate, error)
	// Lacks says what it cannot do; the suite then does not ask for it.
	Lacks() []Feature
}

// Feature is what not every server can do.
type Feature string

// The features.
const (
	PlainHTTP     Feature = "HTTP without TLS"
	ProxyProtocol Feature = "PROXY v2"
	CRL           Feature = "revocation lists"
	BodyFailover  Feature = "another node for a request with a body" // whose node is gone
)

// Suite is what servers are tried with: an application with two repositories, names below art.test, certificates. Several
// servers may be tried at once.
type Suite struct {
	app       *Application
	live      link.ProxyNode // two nodes of the application
	second    link.ProxyNode
	dead      link.ProxyNode // nobody listens there
	network   *Network
	image     Image
	authority *Authority // of the servers
	clients   *Authority
	strangers *Authority

	known, revoked, strange tls.Certificate // of clients

	authorityFile string
	base          link.ReverseProxy
}

// The names of the suite's proxies.
const (
	serverName = "art.test"
	wildcard   = "*.art.test"
)

// repositories are the keys of the application's Docker repositories: where one answers URLs, the other
// answers paths.
var repositories = []string{"docker", "team-images"}

// NewSuite starts what the servers share, until the test ends. The programs docker-registry, skopeo and curl have to be
// installed.
func NewSuite(t *testing.T) *Suite {
	t.Helper()
	absolute, relative := &Registry{Key: repositories[0]}, &Registry{Key: repositories[1], Relative: true}
	absolute.Start(t)
	relative.Start(t)
	s := &Suite{
		app: NewApplication(absolute, relative), network: NewNetwork(t), image: NewImage(t, 1),
		authority: NewAuthority(t, "Servers"), clients: NewAuthority(t, "Clients"), strangers: NewAuthority(t, "Strangers"),
	}
	s.live, s.second = s.app.Node(t, 0), s.app.Node(t, 1)
	s.dead = link.ProxyNode{Host: "127.0.0.1", DirectPort: servertest.Port(t), RouterPort: servertest.Port(t)}
	// What a header has to carry whole: characters that mean something in URLs, in headers, and to none of them.
	s.known = s.clients.Client(t, pkix.Name{CommonName: User + "@example.com", Organization: []string{"Müller + Söhne, 100% / \"Ltd\""}})
	s.revoked = s.clients.Client(t, pkix.Name{CommonName: "left@example.com"})
	s.strange = s.strangers.Client(t, pkix.Name{CommonName: User + "@example.com"})

	dir := t.TempDir()
	shown := s.authority.Server(t, serverName, wildcard)
	s.authorityFile = writePEM(t, dir, "servers.crt", "CERTIFICATE", s.authority.Certificate.Raw)
	s.base = link.ReverseProxy{
		ServerName: serverName, Nodes: []link.ProxyNode{s.live}, Upstream: "application",
		AppContext: "artifactory", PublicContext: "artifactory", OverrideBaseURL: true,
		HTTPS:       true,
		Certificate: writePEM(t, dir, "art.crt", "CERTIFICATE", shown.Certificate...),
		Key:         writeKey(t, dir, "art.key", shown),
		Profile:     link.TLSIntermediate, Docker: link.DockerNone,
		ClientCertificates: link.ProxyCertificates{Mode: link.CertificatesOff, Header: "X-JFrog-Client-Cert", Depth: 2},
	}
	for _, key := range repositories {
		s.base.Repositories = append(s.base.Repositories, link.ProxyRepository{Key: key})
	}
	writePEM(t, dir, "clients.crt", "CERTIFICATE", s.clients.Certificate.Raw)
	writePEM(t, dir, "clients.crl", "X509 CRL", s.clients.Revocations(t, s.revoked.Leaf))
	return s
}

// trial is one start of a server.
type trial struct {
	*Suite
	server   Server
	settings link.ReverseProxy
}

// Run tries a server, with each Docker method once and with what else there is to choose spread over them.
func (s *Suite) Run(t *testing.T, server Server) {
	lacks := server.Lacks()
	can := func(f Feature) bool { return !slices.Contains(lacks, f) }
	ports := func(t *testing.T) link.ReverseProxy {
		p := s.base
		p.HTTPSPort = servertest.Port(t)
		if p.HTTP = can(PlainHTTP); p.HTTP {
			p.HTTPPort = servertest.Port(t)
		}
		return p
	}
	t.Run("subdomain", func(t *testing.T) {
		p := ports(t)
		p.Docker, p.Wildcard = link.DockerSubdomain, wildcard
		p.ClientCertificates.Mode, p.ClientCertificates.CAFile = link.CertificatesOptional, s.file("clients.crt")
		if can(CRL) {
			p.ClientCertificates.CRLFile = s.file("clients.crl")
		}
		tr := s.start(t, server, p)
		tr.hosts(t)
		tr.headers(t)
		tr.forged(t, &s.known)
		tr.certificates(t)
		tr.streaming(t)
		tr.docker(t, nil)
	})
	t.Run("port", func(t *testing.T) {
		p := ports(t)
		p.Docker, p.Nodes = link.DockerPort, []link.ProxyNode{s.dead, s.second}
		if !can(BodyFailover) {
			p.Nodes[0] = s.live
		}
		p.Repositories = nil
		for _, key := range repositories {
			p.Repositories = append(p.Repositories, link.ProxyRepository{Key: key, Port: servertest.Port(t)})
		}
		p.Repositories[1].ServerName = "images." + serverName
		tr := s.start(t, server, p)
		tr.hosts(t)
		tr.headers(t)
		tr.forged(t, nil)
		tr.docker(t, nil)
	})
	t.Run("path", func(t *testing.T) {
		p := ports(t)
		p.Docker, p.Nodes, p.Profile, p.OverrideBaseURL = link.DockerPath, []link.ProxyNode{s.live, s.second}, link.TLSModern, false
		p.ClientCertificates.Mode, p.ClientCertificates.CAFile = link.CertificatesRequired, s.file("clients.crt")
		p.ClientCertificates.Header = "X-Who-Is-It"
		tr := s.start(t, server, p)
		tr.headers(t)
		tr.forged(t, &s.known)
		tr.certificates(t)
		tr.docker(t, &s.known)
	})
	t.Run("plain", func(t *testing.T) {
		p := ports(t)
		p.PublicContext = "packages"
		if can(PlainHTTP) {
			p.HTTPS, p.HTTPSPort, p.Certificate, p.Key = false, 0, "", ""
		}
		tr := s.start(t, server, p)
		tr.hosts(t)
		tr.headers(t)
		tr.context(t)
		tr.streaming(t)
	})
	t.Run("failover", func(t *testing.T) {
		p := ports(t)
		p.Nodes = []link.ProxyNode{s.dead, s.second}
		s.start(t, server, p).failover(t, can(BodyFailover))
	})
	if can(ProxyProtocol) {
		t.Run("proxied", func(t *testing.T) {
			p := ports(t)
			p.ProxyProtocol, p.TrustedPeers = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			p.Nodes = []link.ProxyNode{{Host: s.live.Host, DirectPort: s.live.DirectPort}}
			s.start(t, server, p).proxied(t)
		})
	}
}

func (s *Suite) file(name string) string {
	return filepath.Join(filepath.Dir(s.base.Certificate), name)
}

func (s *Suite) start(t *testing.T, server Server, p link.ReverseProxy) *trial {
	t.Helper()
	server.Start(t, p)
	return &trial{Suite: s, server: server, settings: p}
}

// scheme is how clients reach the server, port at which one.
func (tr *trial) scheme() (scheme string, port uint16) {
	if tr.settings.HTTPS {
		return "https", tr.settings.HTTPSPort
	}
	return "http", tr.settings.HTTPPort
}

// at is the authority of a name's URLs.
func at(name string, port uint16) string { return name + ":" + strconv.Itoa(int(port)) }

// url is the URL of a path at the server's own name.
func (tr *trial) url(path string) string {
	scheme, port := tr.scheme()
	return scheme + "://" + at(serverName, port) + path
}

// path is a path below the public context.
func (tr *trial) path(rest string) string { return "/" + tr.settings.PublicContext + "/" + rest }

// certificate is what a client shows that does not want to talk about certificates.
func (tr *trial) certificate() *tls.Certificate {
	if tr.settings.ClientCertificates.Mode == link.CertificatesRequired {
		return &tr.known
	}
	return nil
}

// client is one that finds every name at 127.0.0.1, shows a certificate unless it is nil, and follows no redirects.
func (tr *trial) client(t *testing.T, certificate *tls.Certificate, change ...func(*http.Transport)) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: tr.authority.Pool(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		},
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true)
	if certificate != nil {
		transport.TLSClientConfig.Certificates = []tls.Certificate{*certificate}
	}
	for _, c := range change {
		c(transport)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request. Each change is made to it first.
func ask(t *testing.T, c *http.Client, method, url string, body io.Reader, change ...func(*http.Request)) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(req)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text)}, err
}

// must is ask where there has to be an answer.
func must(t *testing.T, c *http.Client, method, url string, body io.Reader, change ...func(*http.Request)) answer {
	t.Helper()
	a, err := ask(t, c, method, url, body, change...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// echo reads what the application got. The error says that the request did not come that far.
func (a answer) echo() (Echo, error) {
	var e Echo
	if a.status != http.StatusOK {
		return e, errors.New(strconv.Itoa(a.status) + ": " + strings.TrimSpace(a.body))
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		return e, errors.New("not an echo: " + a.body)
	}
	return e, nil
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
