package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
)

// processEnv has the test binary be something else than tests: what processMain does with its value.
const processEnv = "POSTERN_TEST_GATEWAY"

// processMain is nil where no test starts another process.
var processMain func(config string) error

func TestMain(m *testing.M) {
	if config := os.Getenv(processEnv); config != "" {
		if err := processMain(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// What the libraries for ACME and for look-ahead leave behind is the process's: it ends some seconds later, or never.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}

const (
	acmeID      = "11111111-1111-4111-8111-111111111111"
	globexID    = "22222222-2222-4222-8222-222222222222"
	acmePrivate = "acme.us-east-1.pe.postern.test"
	acmePublic  = "acme.us-east-1.postern.test"
	globexName  = "globex.us-east-1.pe.postern.test"
	endpointA   = "vpce-0a1b2c3d4e5f60718"
	endpointB   = "vpce-0b0b0b0b0b0b0b0b0"
	endpointC   = "vpce-0c0c0c0c0c0c0c0c0"
	testToken   = "gateway-token"
	testPatient = 10 * time.Second // how long a test waits for what has to happen
)

// fakeControl speaks the gateway's part of the API over real HTTP.
type fakeControl struct {
	t   testing.TB
	srv *httptest.Server

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced with every change
	line       []byte        // the current document
	mute       bool          // neither documents nor empty lines
	failing    int           // how many reports to answer with 503
	hellos     []string      // proof keys seen
	askedSince []string      // the revisions and tags of the hellos
	streams    int
	acks       []int64
	batches    map[string]int // batch id → how often it came
	flows      map[string]api.GatewayFlow
	refused    []api.GatewayRefusal
	health     []api.GatewayBackend
	claims     []api.GatewayClaim
	drop       context.CancelFunc
}

func newFakeControl(t testing.TB) *fakeControl {
	c := &fakeControl{t: t, changed: make(chan struct{}), batches: map[string]int{}, flows: map[string]api.GatewayFlow{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/gateway/rules", c.serveRules)
	mux.HandleFunc("POST /api/v1/gateway/ack", func(w http.ResponseWriter, r *http.Request) {
		var ack api.GatewayAck
		if c.read(w, r, &ack) {
			c.change(func() { c.acks = append(c.acks, ack.Revision) })
		}
	})
	mux.HandleFunc("POST /api/v1/gateway/reports", func(w http.ResponseWriter, r *http.Request) {
		var rep api.GatewayReport
		if !c.read(w, r, &rep) {
			return
		}
		c.change(func() {
			c.batches[rep.BatchID]++
			if c.batches[rep.BatchID] == 1 {
				for _, f := range rep.Flows {
					c.flows[f.ID] = f
				}
				c.refused = append(c.refused, rep.Refused...)
				c.health = append(c.health, rep.Backends...)
				c.claims = append(c.claims, rep.Claims...)
			}
			if c.failing > 0 { // stored, but the answer is lost: what makes a gateway send a batch twice
				c.failing--
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
	})
	c.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(c.close)
	return c
}

func (c *fakeControl) close() {
	c.srv.CloseClientConnections()
	c.srv.Close()
}

func (c *fakeControl) read(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil { // a gateway that ends breaks off what it was saying
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		c.t.Errorf("%s: %v", r.URL.Path, err)
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	return true
}

func (c *fakeControl) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *fakeControl) serveRules(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c.change(func() {
		c.hellos = append(c.hellos, r.URL.Query().Get("proof_key"))
		c.askedSince = append(c.askedSince, r.URL.Query().Get("revision")+" "+r.URL.Query().Get("tag"))
		c.streams++
		c.drop = cancel
	})
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flush := w.(http.Flusher).Flush
	flush()
	var sent []byte
	beat := time.NewTicker(20 * time.Millisecond)
	defer beat.Stop()
	for {
		c.mu.Lock()
		line, changed, mute := c.line, c.changed, c.mute
		c.mu.Unlock()
		if line != nil && !mute && !bytes.Equal(line, sent) {
			_, _ = w.Write(append(slices.Clone(line), '\n'))
			flush()
			sent = line
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-beat.C:
			if !mute {
				_, _ = io.WriteString(w, "\n")
				flush()
			}
		}
	}
}

// publish makes rules the current ones.
func (c *fakeControl) publish(rules api.GatewayRules) {
	c.t.Helper()
	line, err := json.Marshal(rules)
	if err != nil {
		c.t.Fatal(err)
	}
	c.change(func() { c.line = line })
}

// await waits until cond, which is called with c locked, holds.
func (c *fakeControl) await(what string, cond func() bool) {
	c.t.Helper()
	deadline := time.After(testPatient)
	for {
		c.mu.Lock()
		ok, changed := cond(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("waited in vain: %s\n%s", what, c.seen())
		}
	}
}

// seen is what came from the gateway so far.
func (c *fakeControl) seen() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("acks %v\nflows %+v\nrefused %+v\nhealth %+v", c.acks, c.flows, c.refused, c.health)
}

// awaitRefusal waits for a refused attempt of a reason and returns it.
func (c *fakeControl) awaitRefusal(reason string) (r api.GatewayRefusal) {
	c.t.Helper()
	c.await("a refused attempt with reason "+reason, func() bool {
		i := slices.IndexFunc(c.refused, func(r api.GatewayRefusal) bool { return r.Reason == reason })
		if i >= 0 {
			r = c.refused[i]
		}
		return i >= 0
	})
	return r
}

// world is a gateway with everything around it.
type world struct {
	t       testing.TB
	g       *Gateway
	cfg     Config
	control *fakeControl
	acme    *lineServer
	globex  *lineServer
	roots   *x509.CertPool
	cert    tls.Certificate
}

// bothEngines runs a test on event loops and on package net.
func bothEngines(t *testing.T, test func(*testing.T, func(*Config))) {
	t.Run("event loops", func(t *testing.T) { test(t, nil) })
	t.Run("package net", func(t *testing.T) { test(t, func(c *Config) { c.Net = true }) })
}

// newWorld starts a gateway with a control plane and two clusters with TLS backends. change may alter the configuration.
func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, control: newFakeControl(t), roots: x509.NewCertPool()}
	w.cert = selfSigned(t, w.roots, acmePrivate, acmePublic, globexName)
	w.acme, w.globex = newLineServer(t, "acme", w.cert), newLineServer(t, "globex", w.cert)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{
		ID: "gw-1", Key: key,
		Listeners: []ListenerConfig{
			{Side: link.PrivateListener, Addr: "127.0.0.1:0", TrustedPeers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
			{Side: link.PublicListener, Addr: "127.0.0.1:0"},
		},
		RulesFile: t.TempDir() + "/rules", ControlURL: w.control.srv.URL, Token: testToken,
		ReportEvery: 5 * time.Millisecond, Log: testLog(t),
	}
	if change != nil {
		change(&w.cfg)
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	g, err := Start(w.t.Context(), w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.g = g
	w.t.Cleanup(func() { _ = g.Close() })
}

// rules are the rules that most tests start with: endpoint A may reach acme, endpoint B globex.
func (w *world) rules(revision int64) api.GatewayRules {
	everyone := []api.AllowRule{{Prefix: "0.0.0.0/0", UI: true, SQL: true}}
	return api.GatewayRules{Revision: revision, Clusters: []api.GatewayClusterRules{
		{
			ClusterID: acmeID, PrivateNames: []string{acmePrivate}, PublicNames: []string{acmePublic},
			Backends: []api.GatewayTarget{{Address: w.acme.addr}}, EndpointIDs: []string{endpointA}, PublicAccess: "ENABLED", AllowList: everyone,
		},
		{
			ClusterID: globexID, PrivateNames: []string{globexName}, PublicNames: []string{},
			Backends: []api.GatewayTarget{{Address: w.globex.addr}}, EndpointIDs: []string{endpointB}, PublicAccess: "DISABLED", AllowList: []api.AllowRule{},
		},
	}}
}

// apply publishes rules and waits until the gateway has acknowledged them.
func (w *world) apply(rules api.GatewayRules) {
	w.t.Helper()
	var before int
	w.control.change(func() { before = len(w.control.acks) })
	w.control.publish(rules)
	w.control.await("the acknowledgement of the rules", func() bool {
		return slices.Contains(w.control.acks[before:], rules.Revision)
	})
}

// balancer opens a connection to the private listener as a network load balancer does.
func (w *world) balancer(endpoint string) net.Conn {
	w.t.Helper()
	return w.balancerTo(endpoint, 443)
}

// balancerTo is balancer for a client that dialled another port.
func (w *world) balancerTo(endpoint string, port uint16) net.Conn {
	w.t.Helper()
	conn := w.dial(w.g.PrivateAddr())
	header := l4.AppendProxyHeader(nil, l4.ProxyWriter{
		Source: netip.MustParseAddrPort("10.1.2.3:40000"), Destination: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.9"), port),
		AWSEndpoint: endpoint, PadTo: 100,
	})
	if _, err := conn.Write(header); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func (w *world) dial(addr net.Addr) net.Conn {
	w.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(w.t.Context(), "tcp", addr.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * testPatient))
	return conn
}

func (w *world) tls(conn net.Conn, name string) (*tls.Conn, error) {
	c := tls.Client(conn, &tls.Config{ServerName: name, RootCAs: w.roots})
	err := c.HandshakeContext(w.t.Context())
	return c, err
}

// open opens a flow that must be admitted.
func (w *world) open(endpoint, name string) *tls.Conn {
	w.t.Helper()
	c, err := w.tls(w.balancer(endpoint), name)
	if err != nil {
		w.t.Fatalf("the flow of %s to %s was not admitted: %v", endpoint, name, err)
	}
	return c
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// lineServer is a TLS server that answers each line with its name and the line.
type lineServer struct {
	addr string
	ln   net.Listener
}

func newLineServer(t testing.TB, name string, cert tls.Certificate) *lineServer {
	t.Helper()
	ln := listen(t)
	var wg sync.WaitGroup
	b := &lineServer{addr: ln.Addr().String(), ln: ln}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}}
	wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				c := tls.Server(raw, conf)
				defer c.Close()
				if c.HandshakeContext(context.Background()) != nil { // the listener's end ends it
					return
				}
				buf := make([]byte, 32<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						if errors.Is(err, io.EOF) {
							_, _ = io.WriteString(c, "bye from "+name)
						}
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return b
}

// echo sends a line and expects it back.
func echo(t testing.TB, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != line {
		t.Fatalf("sent %q, got %q, %v", line, got, err)
	}
}

func selfSigned(t testing.TB, roots *x509.CertPool, names ...string) tls.Certificate {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if ip := net.ParseIP(names[0]); ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// closedWithoutAByte fails unless the peer ends conn without sending anything.
func closedWithoutAByte(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(testPatient))
	got, err := io.ReadAll(conn)
	if len(got) > 0 {
		t.Errorf("a refused peer got %q", got)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the refused flow stays open")
	}
}

// answer is what the proof server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// askProof asks for a proof of path over an open connection.
func askProof(t *testing.T, c *tls.Conn, method, target string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://proof."+acmePrivate+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }, DisableKeepAlives: true,
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func nonce() string {
	var b [24]byte
	_, _ = rand.Read(b[:])
	return strings.TrimRight(base64.URLEncoding.EncodeToString(b[:]), "=")
}
