package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/proxytest"
	"github.com/postern/postern/internal/servertest"
)

// nameServer is the environment variable that has the program ask a DNS server of a test's, in place of the system's.
const nameServer = "POSTERN_GATEWAY_TEST_DNS"

func init() {
	if addr := os.Getenv(nameServer); addr != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", addr)
		}}
	}
}

// The names of the proxied cluster.
const (
	webPublic = "acme.us-east-1.postern.test"
	webDocker = "docker." + webPublic
)

// webVendor is a control plane with a cluster whose reverse proxy is the gateway, and the application behind it.
type webVendor struct {
	t         *testing.T
	url       string // of the control plane
	operator  *api.Client
	cluster   string
	app       *proxytest.Application
	authority *proxytest.Authority // of the gateways' certificates and of the storage's
	trust     string               // a file with the authority's certificate
	certs     string               // a directory for --certificates
}

// newWebVendor makes one that lets everybody at loopback in by the public name.
func newWebVendor(t *testing.T, registries ...*proxytest.Registry) *webVendor {
	t.Helper()
	v := &webVendor{t: t, app: proxytest.NewApplication(registries...), authority: proxytest.NewAuthority(t, "Servers")}
	node := v.app.Node(t, 0)
	var cluster api.Cluster
	v.url, v.operator, cluster = controlPlaneOf(t, net.JoinHostPort(node.Host, fmt.Sprint(node.RouterPort)))
	v.cluster = cluster.ID
	dir := t.TempDir()
	v.certs, v.trust = filepath.Join(dir, "certificates"), filepath.Join(dir, "ca.pem")
	chain, key := servertest.PEM(t, v.authority.Server(t, webPublic, "*."+webPublic, testName))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.authority.Certificate.Raw})
	if err := os.Mkdir(v.certs, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{v.trust: ca, filepath.Join(v.certs, "acme.crt"): chain, filepath.Join(v.certs, "acme.key"): key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SSL_CERT_FILE", v.trust) // which the programs' own connections are verified by
	if _, err := v.operator.AddAllowEntry(t.Context(), v.cluster, api.AllowEntry{CIDRIP: "127.0.0.0", CIDRMask: 8, UI: true, SQL: true}); err != nil {
		t.Fatal(err)
	}
	return v
}

// set gives the cluster a reverse proxy and waits until all gateways go by it.
func (v *webVendor) set(change func(*api.ReverseProxySettings)) {
	v.t.Helper()
	s := api.ReverseProxySettings{
		Server: "direct", ServerName: webPublic, HTTPS: true, DockerMethod: "SUBDOMAIN", Repositories: []api.ProxyRepository{{Key: "docker"}},
		OverrideBaseURL: true,
	}
	if change != nil {
		change(&s)
	}
	if _, err := v.operator.PutReverseProxy(v.t.Context(), v.cluster, s, false); err != nil {
		v.t.Fatal(err)
	}
	v.settled()
}

// settled waits until all gateways go by the newest rules.
func (v *webVendor) settled() {
	v.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		list, err := v.operator.AllowList(v.t.Context(), v.cluster, api.Page{})
		if err != nil {
			v.t.Fatal(err)
		}
		if !list.Propagating {
			return
		}
		if time.Since(start) > patience {
			v.t.Fatal("a gateway does not go by the newest rules")
		}
	}
}

// gateway starts a gateway of an installation of its own, and waits until it goes by the rules. Its public listener is where
// clients find port 443.
func (v *webVendor) gateway(i installation, id string, args ...string) *program {
	v.t.Helper()
	p := startProgram(v.t, i, append([]string{"--id", id, "--control-url", v.url, "--certificates", v.certs}, args...)...)
	p.await(v.t, `msg="rules applied"`)
	return p
}

// port returns the port of an address.
func port(addr string) uint16 { return netip.MustParseAddrPort(addr).Port() }

// client asks a gateway's public listener, whatever the host.
func (v *webVendor) client(p *program, two bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!two)
	protocols.SetHTTP2(two)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, p.public)
		},
		TLSClientConfig: &tls.Config{RootCAs: v.authority.Pool()}, Protocols: &protocols,
	}
	v.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: 2 * patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (v *webVendor) get(c *http.Client, url string, fields ...string) answer {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// storage is the object storage that an application sends its clients to: another host, with a certificate of the vendor's
// authority, at loopback.
type storage struct {
	port    string
	handler http.Handler

	mu    sync.Mutex
	asked []*http.Request
}

// storageName is the storage's host name.
const storageName = "bucket.storage.example"

func newStorage(t *testing.T, authority *proxytest.Authority) *storage {
	t.Helper()
	s := &storage{handler: http.NotFoundHandler()}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r)
		s.mu.Unlock()
		s.handler.ServeHTTP(w, r)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Server(t, storageName, "*.storage.example")}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, s.port, _ = net.SplitHostPort(srv.Listener.Addr().String())
	return s
}

// host is the storage's name with its port.
func (s *storage) host() string { return storageName + ":" + s.port }

// take returns what the storage was asked since it was called last.
func (s *storage) take() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// serveNames starts a DNS server that the programs ask from now on.
func serveNames(t *testing.T, names map[string][]string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		asked := q.Question[0]
		addrs, known := names[strings.ToLower(strings.TrimSuffix(asked.Name, "."))]
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		for _, a := range addrs {
			addr := netip.MustParseAddr(a)
			head := dns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: dns.ClassINET}
			switch {
			case addr.Is4() && asked.Qtype == dns.TypeA:
				m.Answer = append(m.Answer, &dns.A{Hdr: head, A: addr.AsSlice()})
			case addr.Is6() && asked.Qtype == dns.TypeAAAA:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: addr.AsSlice()})
			}
		}
		_ = w.WriteMsg(m)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	t.Setenv(nameServer, pc.LocalAddr().String())
}

// needs skips a test without these programs, each of which is a Debian package of its name.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (Debian package %s)", program, program)
		}
	}
}
