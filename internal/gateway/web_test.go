package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/servertest"
)

// application is the plain HTTP server behind a proxied cluster: it answers with the request as it came.
type application struct {
	addr string
	hold chan struct{} // /held waits until it is closed
	in   chan struct{} // gets a token for each request to /held
}

func newApplication(t testing.TB) *application {
	t.Helper()
	a := &application{hold: make(chan struct{}), in: make(chan struct{}, 100)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			a.in <- struct{}{}
			select {
			case <-a.hold:
			case <-r.Context().Done():
			}
		}
		if r.Header.Get("Upgrade") == "shout" {
			a.shout(w)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"host": r.Host, "path": r.URL.Path, "header": r.Header})
	}))
	a.addr = srv.Listener.Addr().String()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return a
}

// shout upgrades to a protocol in which each line comes back in capitals.
func (a *application) shout(w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
	for rw.Flush() == nil {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = rw.WriteString(strings.ToUpper(line))
	}
}

// webWorld is a world whose first cluster is proxied.
type webWorld struct {
	*world
	dir string // of server certificates
	app *application
	set api.GatewayRules
}

func newWebWorld(t testing.TB, change func(*Config)) *webWorld {
	t.Helper()
	w := &webWorld{dir: t.TempDir(), app: newApplication(t)}
	var roots []*x509.Certificate
	w.show(t, func(c *x509.Certificate) { roots = append(roots, c) })
	var served *certificate.Directory
	w.world = newWorld(t, func(c *Config) {
		var err error
		if served, err = certificate.OpenDirectory(w.dir, nil, testLog(t)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(served.Close)
		c.Certificates = served
		if change != nil {
			change(c)
		}
	})
	for _, c := range roots {
		w.roots.AddCert(c)
	}
	w.set = w.rules(1)
	acme := &w.set.Clusters[0]
	acme.Backends = targets(w.app.addr)
	acme.Proxy = &api.GatewayProxy{
		ServerName: acmePublic, AppContext: "artifactory", PublicContext: "artifactory", HTTPS: true, HTTPSPort: 443, DockerMethod: "SUBDOMAIN",
		Repositories: []api.GatewayProxyRepository{{Key: "docker"}}, TLSProfile: "INTERMEDIATE",
	}
	w.apply(w.set)
	return w
}

// show writes a new server certificate of the proxied cluster's names, once those who ask trust it.
func (w *webWorld) show(t testing.TB, trust func(*x509.Certificate)) {
	t.Helper()
	cert := selfSigned(t, x509.NewCertPool(), acmePrivate, acmePublic, "*."+acmePrivate, "*."+acmePublic)
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	trust(parsed)
	chain, key := servertest.PEM(t, cert)
	for suffix, text := range map[string][]byte{".crt": chain, ".key": key} {
		at := filepath.Join(w.dir, "acme"+suffix)
		if err := os.WriteFile(at+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at+".new", at); err != nil {
			t.Fatal(err)
		}
	}
}

// change publishes the rules with a change to the proxied cluster.
func (w *webWorld) change(f func(*api.GatewayClusterRules)) {
	w.t.Helper()
	w.set.Revision++
	f(&w.set.Clusters[0])
	w.apply(w.set)
}

// client speaks HTTP through an endpoint, or at the public door without one.
func (w *webWorld) client(endpoint string, two bool, certs ...tls.Certificate) *http.Client {
	w.t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!two)
	protocols.SetHTTP2(two)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.roots, Certificates: certs}, Protocols: protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if endpoint == "" {
				return w.dial(w.g.PublicAddr()), nil
			}
			return w.balancer(endpoint), nil
		},
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 3 * testPatient}
}

// echoed is what the application says of a request.
type echoed struct {
	status int
	proto  int
	body   string
	host   string
	header http.Header
}

func (w *webWorld) get(c *http.Client, host, path string) (echoed, error) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return echoed{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	e := echoed{status: resp.StatusCode, proto: resp.ProtoMajor, body: string(text)}
	var said struct {
		Host   string      `json:"host"`
		Header http.Header `json:"header"`
	}
	if json.Unmarshal(text, &said) == nil {
		e.host, e.header = said.Host, said.Header
	}
	return e, err
}

// gets fails unless a request has a status.
func (w *webWorld) gets(c *http.Client, host, path string, status int) echoed {
	w.t.Helper()
	e, err := w.get(c, host, path)
	if err != nil || e.status != status {
		w.t.Fatalf("%s%s: status %d, want %d: %v\n%s", host, path, e.status, status, err, e.body)
	}
	return e
}

// ended waits for a flow's record with a reason for its end.
func (w *webWorld) ended(reason string) (found api.GatewayFlow) {
	w.t.Helper()
	w.control.await("a flow that ended with "+reason, func() bool {
		for _, f := range w.control.flows {
			if f.EndedAt != nil && f.CloseReason == reason {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

func webOnBothEngines(t *testing.T, test func(*testing.T, func(*Config))) {
	t.Helper()
	bothEngines(t, test)
}

func TestProxiedCluster(t *testing.T) {
	webOnBothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWebWorld(t, change)
		for _, two := range []bool{false, true} {
			private, public := w.client(endpointA, two), w.client("", two)
			e := w.gets(private, acmePrivate, "/artifactory/api/system/ping", 200)
			if e.header.Get("X-Forwarded-For") != "10.1.2.3" || e.host != acmePrivate || e.proto == 2 != two {
				t.Errorf("privately the application sees %+v", e)
			}
			e = w.gets(public, acmePublic, "/", 200)
			if e.header.Get("X-Forwarded-For") != "127.0.0.1" || e.header.Get("X-Forwarded-Proto") != "https" {
				t.Errorf("publicly the application sees %+v", e)
			}
			w.gets(w.client(endpointA, two), "docker."+acmePrivate, "/v2/", 200)
		}
		if n := w.g.LiveFlows(); n == 0 {
			t.Error("kept-alive flows are not counted")
		}
		text := scrapeGateway(t, w.g)
		for _, want := range []string{`http_requests_total{listener="private",status="2xx"} 4`, `http_requests_total{listener="public",status="2xx"} 2`, `certificates 1`} {
			if !strings.Contains(text, "postern_gateway_"+want+"\n") {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		// A drain ends flows that do nothing at once.
		if err := w.g.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f := w.ended(reasonHTTPDone); f.BytesIn == 0 || f.BytesOut == 0 || f.Backend != w.app.addr || f.ClusterID != acmeID {
			t.Errorf("%+v", f)
		}
		w.control.await("the record of a private flow", func() bool {
			for _, f := range w.control.flows {
				if f.EndpointID == endpointA && f.Name == acmePrivate && f.Listener == "private" && f.EndedAt != nil {
					return true
				}
			}
			return false
		})
	})
}

func scrapeGateway(t *testing.T, g *Gateway) (text string) {
	t.Helper()
	rec := httptest.NewRecorder()
	g.Metrics().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

// TestProxiedNames: a flow may ask for what its client could have opened a flow to, and for nothing else.
func TestProxiedNames(t *testing.T) {
	w := newWebWorld(t, nil)
	ask := func(host string) int {
		t.Helper()
		c, err := w.tls(w.balancer(endpointA), acmePrivate)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for host, want := range map[string]int{
		acmePrivate: 200, strings.ToUpper(acmePrivate): 200, "docker." + acmePrivate: 200, acmePrivate + ":443": 200,
		"maven." + acmePrivate: 421, acmePublic: 421, globexName: 421, "proof." + acmePrivate: 421, "evil.test": 421, "127.0.0.1": 421,
		acmePrivate + ".evil.test": 421,
	} {
		if got := ask(host); got != want {
			t.Errorf("%s: status %d, want %d", host, got, want)
		}
	}
	if _, err := w.tls(w.balancer(endpointB), acmePrivate); err == nil {
		t.Error("another cluster's endpoint was let in")
	}
	w.control.awaitRefusal("ENDPOINT_NOT_AUTHORISED")
	// What is no HTTP passes as ever.
	if c := w.open(endpointB, globexName); c != nil {
		echo(t, c, "hello\n")
	}
}

// TestNewRulesAndOpenFlows: rules count on flows that are open, at their next request at the latest.
func TestNewRulesAndOpenFlows(t *testing.T) {
	webOnBothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWebWorld(t, change)
		reused := func(c *http.Client, host string, status int) {
			t.Helper()
			flows := w.g.LiveFlows()
			w.gets(c, host, "/", status)
			if w.g.LiveFlows() != flows {
				t.Errorf("the request opened a flow of its own")
			}
		}
		c := w.client(endpointA, false)
		w.gets(c, acmePrivate, "/", 200)
		reused(c, acmePrivate, 200)

		other := newApplication(t)
		w.change(func(r *api.GatewayClusterRules) { r.Backends = targets(other.addr) })
		reused(c, acmePrivate, 200)

		// The endpoint is taken away: the flow is cut, and no other comes through.
		w.change(func(r *api.GatewayClusterRules) { r.EndpointIDs = []string{endpointC} })
		if f := w.ended(reasonRevoked); f.EndpointID != endpointA {
			t.Errorf("%+v", f)
		}
		if e, err := w.get(c, acmePrivate, "/"); err == nil {
			t.Errorf("after its endpoint was taken away a client got %+v", e)
		}

		// The cluster is no longer proxied: what passes unread now does not go through flows that were read.
		w.change(func(r *api.GatewayClusterRules) { r.EndpointIDs = []string{endpointA} })
		w.gets(c, acmePrivate, "/", 200)
		before := w.set.Clusters[0].Proxy
		w.change(func(r *api.GatewayClusterRules) { r.Proxy = nil; r.Backends = targets(w.acme.addr) })
		w.control.await("the end of the proxied flow", func() bool { return w.g.LiveFlows() == 0 })
		raw := w.open(endpointA, acmePrivate)
		if shown := raw.ConnectionState().PeerCertificates[0]; !bytes.Equal(shown.Raw, w.cert.Certificate[0]) {
			t.Error("the flow does not pass unread")
		}
		echo(t, raw, "unread\n")
		w.change(func(r *api.GatewayClusterRules) { r.Proxy = before; r.Backends = targets(w.app.addr) })
		if _, err := io.ReadAll(raw); err == nil {
			t.Error("a flow that nobody reads stays open beside the cluster's proxy")
		}
		w.gets(w.client(endpointA, true), acmePrivate, "/", 200)
	})
}

// TestRequestsEndBeforeTheGatewayDoes: draining waits for them.
func TestRequestsEndBeforeTheGatewayDoes(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", two), func(t *testing.T) { requestsEndBeforeTheGatewayDoes(t, two) })
	}
}

func requestsEndBeforeTheGatewayDoes(t *testing.T, two bool) {
	w := newWebWorld(t, nil)
	type result struct {
		e   echoed
		err error
	}
	done := make(chan result, 1)
	go func() {
		e, err := w.get(w.client(endpointA, two), acmePrivate, "/held")
		done <- result{e, err}
	}()
	<-w.app.in
	ended := make(chan error, 1)
	go func() { ended <- w.g.Shutdown(context.WithoutCancel(t.Context())) }()
	for deadline := time.Now().Add(2 * testPatient); ; {
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", w.g.PrivateAddr().String())
		if err != nil {
			break // it does not accept any more
		}
		_ = c.Close()
		if time.Now().After(deadline) {
			t.Fatal("a gateway that drains goes on to accept")
		}
	}
	close(w.app.hold)
	if r := <-done; r.err != nil || r.e.status != 200 {
		t.Errorf("the request under way: %+v, %v", r.e, r.err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestHandshakesThatFail: without a certificate for the name, with rules of no use, and with a client that is no good.
func TestHandshakesThatFail(t *testing.T) {
	w := newWebWorld(t, nil)
	w.change(func(r *api.GatewayClusterRules) { r.PrivateNames = append(r.PrivateNames, "other.pe.postern.test") })
	_, err := w.tls(w.balancer(endpointA), "other.pe.postern.test")
	if err == nil || strings.Contains(err.Error(), "acme") {
		t.Errorf("a name without a certificate: %v", err)
	}
	w.ended(reasonNoCertificate)
	w.control.awaitRefusal(reasonNoCertificate)

	old := tls.Client(w.balancer(endpointA), &tls.Config{ServerName: acmePrivate, RootCAs: w.roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}) //nolint:gosec // that is the point
	if err := old.HandshakeContext(t.Context()); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	w.ended(reasonHandshake)

	w.change(func(r *api.GatewayClusterRules) {
		broken := *r.Proxy
		broken.ClientCertificates = &api.GatewayClientCertificates{Mode: "REQUIRED", Trusted: []api.GatewayTrustedCertificate{
			{ID: globexID, Kind: "CA", Certificate: []byte("not a certificate")},
		}}
		r.Proxy = &broken
	})
	if _, err := w.tls(w.balancer(endpointA), acmePrivate); err == nil {
		t.Error("rules of no use were put to use")
	}
	w.ended(reasonProxyRules)
	if c := w.open(endpointB, globexName); c != nil { // and close that cluster alone
		echo(t, c, "hello\n")
	}
	text := scrapeGateway(t, w.g)
	for _, reason := range []string{reasonNoCertificate, reasonHandshake} {
		if !strings.Contains(text, `tls_handshakes_failed_total{reason="`+reason+`"} 1`) {
			t.Errorf("%s is not counted", reason)
		}
	}
}

// TestCertificatesAreRenewedUnderLoad: no request fails while the server certificate changes again and again.
func TestCertificatesAreRenewedUnderLoad(t *testing.T) {
	w := newWebWorld(t, nil)
	var stop atomic.Bool
	var requests atomic.Int64
	seen := sync.Map{}
	roots := w.roots.Clone()
	var mu sync.Mutex // of roots
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := 0; !stop.Load(); n++ {
				mu.Lock()
				trusted := roots.Clone()
				mu.Unlock()
				c := &http.Client{Timeout: 3 * testPatient, Transport: &http.Transport{
					TLSClientConfig: &tls.Config{
						RootCAs: trusted, VerifyConnection: func(s tls.ConnectionState) error {
							seen.Store(string(s.PeerCertificates[0].Raw), true)
							return nil
						},
					},
					ForceAttemptHTTP2: i%2 == 0,
					DialContext: func(context.Context, string, string) (net.Conn, error) {
						return w.balancer(endpointA), nil
					},
				}}
				for range 3 {
					if e, err := w.get(c, acmePrivate, "/"); err != nil || e.status != 200 {
						t.Errorf("a request failed: %+v, %v", e, err)
						stop.Store(true)
					}
					requests.Add(1)
				}
				c.CloseIdleConnections()
			}
		})
	}
	count := func() (n int) {
		seen.Range(func(any, any) bool { n++; return true })
		return n
	}
	for round := range 2 {
		w.show(t, func(c *x509.Certificate) {
			mu.Lock()
			defer mu.Unlock()
			roots.AddCert(c)
		})
		deadline := time.Now().Add(3 * testPatient)
		for count() < round+2 && time.Now().Before(deadline) && !stop.Load() {
			<-time.After(10 * time.Millisecond)
		}
	}
	stop.Store(true)
	clients.Wait()
	if n := count(); n < 3 {
		t.Errorf("%d certificates were seen in %d requests", n, requests.Load())
	}
}

// TestBackendsOfAProxiedCluster: which one gets a request, and what it is told.
func TestBackendsOfAProxiedCluster(t *testing.T) {
	w := newWebWorld(t, nil)
	away := servertestAddr(t)
	w.change(func(r *api.GatewayClusterRules) { r.Backends = append(targets(away), targets(w.app.addr)...) })
	c := w.client(endpointA, false)
	for range 8 {
		w.gets(c, acmePrivate, "/", 200) // one backend refuses: the other answers
	}
	w.change(func(r *api.GatewayClusterRules) { r.Backends = targets(away) })
	if e := w.gets(c, acmePrivate, "/", 503); !strings.Contains(e.body, `"code"`) || strings.Contains(e.body, away) {
		t.Errorf("without a backend that answers a client is told %s", e.body)
	}
	w.change(func(r *api.GatewayClusterRules) { r.Backends = nil })
	w.gets(c, acmePrivate, "/", 503)

	// The settings' nodes count where they stand at hosts of backends, with their own ports.
	host, port, _ := net.SplitHostPort(w.app.addr)
	var number uint16
	_, _ = fmt.Sscan(port, &number)
	w.change(func(r *api.GatewayClusterRules) {
		r.Backends = targets(net.JoinHostPort(host, "1"))
		proxy := *r.Proxy
		proxy.Nodes = []api.GatewayProxyNode{{Host: "127.0.0.9", DirectPort: number}, {Host: host, DirectPort: number}}
		r.Proxy = &proxy
	})
	for range 8 {
		w.gets(c, acmePrivate, "/artifactory/x", 200)
	}
}

// TestProxiedBackendsAreToldOfTheFlow: with PROXY protocol an upstream connection tells of one flow, and carries no other's.
func TestProxiedBackendsAreToldOfTheFlow(t *testing.T) {
	w := newWebWorld(t, nil)
	var mu sync.Mutex
	var heads []string
	addr := server(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		head, err := r.Peek(16)
		if err != nil {
			return
		}
		header := make([]byte, 16+int(head[14])<<8+int(head[15]))
		if _, err := io.ReadFull(r, header); err != nil {
			return
		}
		mu.Lock()
		heads = append(heads, string(header))
		mu.Unlock()
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	w.change(func(r *api.GatewayClusterRules) {
		r.Backends, r.ProxyProtocol, r.EndpointIDs = targets(addr), true, []string{endpointA, endpointC}
	})
	for _, endpoint := range []string{endpointA, endpointC} {
		c := w.client(endpoint, false)
		for range 3 {
			w.gets(c, acmePrivate, "/", 200)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heads) != 2 || !strings.Contains(heads[0], endpointA) || !strings.Contains(heads[1], endpointC) {
		t.Errorf("%d upstream connections for two flows: %q", len(heads), heads)
	}
}

func TestUpgradedFlowThroughTheGateway(t *testing.T) {
	w := newWebWorld(t, nil)
	c, err := w.tls(w.balancer(endpointA), acmePrivate)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n", acmePrivate)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", resp, err)
	}
	defer resp.Body.Close()
	for _, line := range []string{"hello", "again"} {
		_, _ = io.WriteString(c, line+"\n")
		if got, err := r.ReadString('\n'); err != nil || got != strings.ToUpper(line)+"\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	// Rules that end the flow end it in the middle of what it is.
	w.change(func(r *api.GatewayClusterRules) { r.EndpointIDs = nil })
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the upgraded flow goes on")
	}
	w.ended(reasonRevoked)
}

// clientCA issues client certificates.
type clientCA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newClientCA(t testing.TB, name string) *clientCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &clientCA{t: t, cert: cert, key: key, next: 16}
}

func (ca *clientCA) issue(user string) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.next), Subject: pkix.Name{CommonName: user}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// asks makes the proxied cluster ask for certificates.
func (w *webWorld) asks(mode string, trusted ...*clientCA) {
	w.t.Helper()
	w.change(func(r *api.GatewayClusterRules) {
		proxy := *r.Proxy
		proxy.ClientCertificates = &api.GatewayClientCertificates{Mode: mode, Identity: []string{"subject.cn"}}
		for i, ca := range trusted {
			proxy.ClientCertificates.Trusted = append(proxy.ClientCertificates.Trusted, api.GatewayTrustedCertificate{
				ID: trustID(i), Name: ca.cert.Subject.CommonName, Kind: "CA", Certificate: ca.cert.Raw,
			})
		}
		r.Proxy = &proxy
	})
}

func trustID(i int) string { return fmt.Sprintf("77777777-7777-4777-8777-%012d", i) }

// TestClientCertificatesAtTheGateway: the certificate decides, on every request and as of now.
func TestClientCertificatesAtTheGateway(t *testing.T) {
	webOnBothEngines(t, func(t *testing.T, change func(*Config)) {
		for _, two := range []bool{false, true} {
			t.Run(fmt.Sprintf("HTTP/2 %t", two), func(t *testing.T) {
				w := newWebWorld(t, change)
				good, other := newClientCA(t, "good"), newClientCA(t, "other")
				ann, bob, eve := good.issue("ann"), good.issue("bob"), other.issue("eve")

				before := w.client(endpointA, two)
				w.gets(before, acmePrivate, "/", 200)
				w.asks("REQUIRED", good)
				w.gets(before, acmePrivate, "/", 403) // a flow from before does not get around it
				w.control.awaitRefusal("CLIENT_CERTIFICATE_ABSENT")
				c := w.client(endpointA, two, ann)
				if e := w.gets(c, acmePrivate, "/", 200); e.header.Get("X-Postern-User") != "ann" || e.header.Get("X-Jfrog-Client-Cert") == "" {
					t.Errorf("the application is told %v", e.header)
				}
				w.gets(w.client(endpointA, two, eve), acmePrivate, "/", 403)
				w.control.awaitRefusal("CLIENT_CERTIFICATE_UNTRUSTED")
				w.asks("OPTIONAL", good, other)
				w.gets(c, acmePrivate, "/", 200)
				evil := w.client(endpointA, two, eve)
				w.gets(evil, acmePrivate, "/", 200)
				if e := w.gets(w.client(endpointA, two), acmePrivate, "/", 200); e.header.Get("X-Postern-User") != "" {
					t.Errorf("nobody is told to be %s", e.header.Get("X-Postern-User"))
				}

				// A trust entry goes: what stands on it is closed at once, and comes in no more.
				flows := w.g.LiveFlows()
				w.asks("OPTIONAL", good)
				w.control.await("the end of the flow whose certificate is trusted no more", func() bool { return w.g.LiveFlows() < flows })
				w.gets(evil, acmePrivate, "/", 403)
				w.gets(c, acmePrivate, "/", 200)

				// One certificate is revoked: it alone.
				w.gets(w.client(endpointA, two, bob), acmePrivate, "/", 200)
				w.change(func(r *api.GatewayClusterRules) {
					proxy, certs := *r.Proxy, *r.Proxy.ClientCertificates
					certs.Revoked = []api.GatewayRevokedCertificate{{
						ID: globexID, TrustedID: trustID(0), Serial: ann.Leaf.SerialNumber.Text(16), RevokedAt: time.Now(),
					}}
					proxy.ClientCertificates = &certs
					r.Proxy = &proxy
				})
				w.gets(c, acmePrivate, "/", 403)
				w.control.awaitRefusal("CLIENT_CERTIFICATE_REVOKED")
				w.gets(w.client(endpointA, two, bob), acmePrivate, "/", 200)
				w.control.change(func() {
					if slices.ContainsFunc(w.control.refused, func(r api.GatewayRefusal) bool {
						return strings.HasPrefix(r.Reason, "CLIENT_") && (r.EndpointID != endpointA || r.ClusterID != acmeID || r.WouldRefuse)
					}) {
						t.Errorf("refusals: %+v", w.control.refused)
					}
				})
			})
		}
	})
}

// TestWhatIsNotHTTPPassesAProxiedCluster: PostgreSQL and ports of TCP stay as they are.
func TestWhatIsNotHTTPPassesAProxiedCluster(t *testing.T) {
	w := newWebWorld(t, nil)
	plain := server(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	w.set.Ports = &[]api.GatewayPort{{Port: 22, Protocol: "TCP"}}
	w.change(func(r *api.GatewayClusterRules) { r.Backends = targets(plain) })
	c := w.balancerTo(endpointA, 22)
	echo(t, c, "SSH-2.0-test\r\n")
	_ = c.Close()

	pg := server(t, func(c net.Conn) {
		request := make([]byte, 8)
		if _, err := io.ReadFull(c, request); err == nil {
			_, _ = io.WriteString(c, "S")
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{w.cert}})
			if s.HandshakeContext(context.Background()) == nil { // the test's end ends it
				_, _ = io.Copy(s, s)
			}
		}
	})
	w.change(func(r *api.GatewayClusterRules) { r.Backends = targets(pg) })
	sql := w.balancer(endpointA)
	_, _ = sql.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	yes := make([]byte, 1)
	if _, err := io.ReadFull(sql, yes); err != nil || yes[0] != 'S' {
		t.Fatalf("%q, %v", yes, err)
	}
	s := tls.Client(sql, &tls.Config{ServerName: acmePrivate, InsecureSkipVerify: true}) //nolint:gosec // it is the backend's own
	if err := s.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	echo(t, s, "select 1")
	if f := w.g.LiveFlows(); f == 0 {
		t.Error("the flow is not counted")
	}
}

// servertestAddr is an address at which nobody listens.
func servertestAddr(t testing.TB) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

func TestProxiedWithoutCertificates(t *testing.T) {
	w := newWebWorld(t, func(c *Config) { c.Certificates = nil })
	if _, err := w.tls(w.balancer(endpointA), acmePrivate); err == nil {
		t.Error("a gateway without certificates showed one")
	} else if errors.Is(err, io.EOF) {
		t.Log("closed without an alert")
	}
	if r := w.control.awaitRefusal(reasonNoCertificate); r.ClusterID != acmeID || r.Listener != string(link.PrivateListener) {
		t.Errorf("%+v", r)
	}
}
