package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

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
		// What the client has had may not have been counted yet.
		for _, want := range []string{`http_requests_total{listener="private",status="2xx"} 4`, `http_requests_total{listener="public",status="2xx"} 2`, `certificates 1`} {
			tick := time.NewTicker(5 * time.Millisecond)
			for start := time.Now(); !strings.Contains(scrapeGateway(t, w.g), "postern_gateway_"+want+"\n"); <-tick.C {
				if time.Since(start) > 2*testPatient {
					t.Fatalf("no %s in\n%s", want, scrapeGateway(t, w.g))
				}
			}
			tick.Stop()
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
