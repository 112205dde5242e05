package gateway

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxytest"
)

// embedded is the gateway as the web server of a proxied cluster, at its public door: the private one takes nobody without
// a load balancer.
type embedded struct{}

// Lacks implements proxytest.Server: the gateway knows whose a flow is by the name in its TLS handshake.
func (embedded) Lacks() []proxytest.Feature { return []proxytest.Feature{proxytest.PlainHTTP} }

// Certificate implements proxytest.Server.
func (embedded) Certificate(values []string) (*x509.Certificate, error) {
	leaf, _, err := clientcert.Parse(clientcert.NGINX, values)
	return leaf, err
}

// Start implements proxytest.Server.
func (embedded) Start(t *testing.T, p link.ReverseProxy) {
	dir := t.TempDir()
	for name, from := range map[string]string{"art.crt": p.Certificate, "art.key": p.Key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	served, err := certificate.OpenDirectory(dir, nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(served.Close)

	names, ports := []string{p.ServerName}, []uint16{p.HTTPSPort}
	proxy := &api.GatewayProxy{
		ServerName: p.ServerName, Wildcard: p.Wildcard, AppContext: p.AppContext, PublicContext: p.PublicContext, HTTPS: true, HTTPSPort: p.HTTPSPort,
		TLSProfile: string(p.Profile), OverrideBaseURL: p.OverrideBaseURL, DockerMethod: string(p.Docker), CertificateHeader: p.ClientCertificates.Header,
		ClientCertificates: trustOf(t, p.ClientCertificates),
	}
	cluster := api.GatewayClusterRules{
		ClusterID: acmeID, PrivateNames: []string{}, EndpointIDs: []string{}, PublicAccess: "ENABLED", AllowList: []api.AllowRule{{Prefix: "0.0.0.0/0", UI: true, SQL: true}},
		Proxy: proxy,
	}
	for _, n := range p.Nodes {
		proxy.Nodes = append(proxy.Nodes, api.GatewayProxyNode(n))
		cluster.Backends = append(cluster.Backends, targets(fmt.Sprintf("%s:%d", n.Host, cmp.Or(n.RouterPort, n.DirectPort)))...)
	}
	for _, r := range p.Repositories {
		proxy.Repositories = append(proxy.Repositories, api.GatewayProxyRepository(r))
		if r.ServerName != "" {
			names = append(names, r.ServerName)
		}
		if r.Port != 0 {
			ports = append(ports, r.Port)
		}
	}
	cluster.PublicNames = names
	w := newWorld(t, func(c *Config) {
		c.Certificates = served
		c.Listeners = nil
		for _, port := range ports {
			c.Listeners = append(c.Listeners, ListenerConfig{Side: link.PublicListener, Addr: fmt.Sprintf("127.0.0.1:%d", port), TrustedPeers: p.TrustedPeers})
		}
	})
	w.apply(api.GatewayRules{Revision: 1, Clusters: []api.GatewayClusterRules{cluster}})
}

// trustOf makes the files of a foreign server's settings the gateway's own trust; a certificate names its user.
func trustOf(t *testing.T, c link.ProxyCertificates) *api.GatewayClientCertificates {
	t.Helper()
	if c.Mode == link.CertificatesOff {
		return nil
	}
	trusted := api.GatewayTrustedCertificate{ID: globexID, Name: "clients", Kind: string(link.TrustCA), Certificate: blockOf(t, c.CAFile)}
	if c.CRLFile != "" {
		trusted.CRL = blockOf(t, c.CRLFile)
		list, err := x509.ParseRevocationList(trusted.CRL)
		if err != nil {
			t.Fatal(err)
		}
		trusted.CRLNumber, trusted.CRLNext = list.Number.String(), &list.NextUpdate
	}
	return &api.GatewayClientCertificates{
		Mode: string(c.Mode), Identity: []string{string(link.IdentitySubjectCN)}, Expression: `[^@]+(?=\d{0,}@)`,
		Trusted: []api.GatewayTrustedCertificate{trusted},
	}
}

func blockOf(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no PEM in %s", file)
	}
	return block.Bytes
}

// TestGatewayAsWebServer has the gateway do what nginx, Apache, HAProxy and Caddy do with what is rendered for them.
func TestGatewayAsWebServer(t *testing.T) {
	for _, program := range []string{"docker-registry", "skopeo", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (Debian package %s)", program, program)
		}
	}
	proxytest.NewSuite(t).Run(t, embedded{})
}
