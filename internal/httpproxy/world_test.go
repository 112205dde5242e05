package httpproxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// patient is how long a test waits for what has to come.
const patient = 60 * time.Second

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial atomic.Int64

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key}
}

// issue makes a certificate for a server with names, or for a client with none.
func (a *authority) issue(t testing.TB, common string, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: common}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(names) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// world is a Server behind a listener, with an application.
type world struct {
	t       testing.TB
	ca      *authority
	server  *Server
	address string // of the gateway
	node    string // of the application
	port    atomic.Uint32

	mu      sync.Mutex
	front   *Front // of the flows from now on
	own     bool   // connections to the application are one flow's
	site    *Site
	records []Record
	ended   []bool // what the nodes were told: answered and not broken
}

// testNode is the application as Pick gives it.
type testNode struct {
	w       *world
	address string
}

func (n *testNode) Key() string { return "c1 " + n.address }

func (n *testNode) Own() bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.own
}

func (n *testNode) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.address)
}

func (n *testNode) Ended(answered, broken bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.ended = append(n.w.ended, answered && !broken)
}

const siteName = "art.test"

func testRules(change func(*link.ClusterRules)) *link.ClusterRules {
	rules := &link.ClusterRules{
		ClusterID: "c1", PublicNames: []string{siteName}, PrivateNames: []string{"c1.pe.test"},
		Proxy: &link.ProxyRules{Proxy: link.ReverseProxy{
			Server: link.Embedded, ServerName: siteName, Docker: link.DockerSubdomain,
			Repositories: []link.ProxyRepository{{Key: "docker-local", Port: 5001}, {Key: "docker-remote", Port: 5002}},
		}},
	}
	if change != nil {
		change(rules)
	}
	return rules
}

// newWorld starts a Server in front of application; rules and config may be changed.
func newWorld(t testing.TB, application http.Handler, change func(*link.ClusterRules), configure func(*Config)) *world {
	t.Helper()
	backend := httptest.NewServer(application)
	t.Cleanup(backend.Close)
	return newWorldAt(t, strings.TrimPrefix(backend.URL, "http://"), change, configure)
}

// newWorldAt starts a Server in front of an application that listens at node.
func newWorldAt(t testing.TB, node string, change func(*link.ClusterRules), configure func(*Config)) *world {
	t.Helper()
	w := &world{t: t, ca: newAuthority(t, "Server CA"), node: node}
	w.port.Store(443)
	w.rules(testRules(change))
	cert := w.ca.issue(t, siteName, siteName, "*."+siteName, "c1.pe.test", "*.c1.pe.test")
	cfg := Config{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		Pick: func(_ context.Context, to Destination) (Node, error) {
			if to.Failed != nil || w.node == "" {
				return nil, ErrNoNode
			}
			return &testNode{w: w, address: w.node}, nil
		},
		Record: func(r *Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.records = append(w.records, *r)
		},
	}
	if configure != nil {
		configure(&cfg)
	}
	var err error
	if w.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	var flows sync.WaitGroup
	flows.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			flows.Go(func() { w.serve(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		_ = w.server.Close()
		cancel()
		flows.Wait()
	})
	return w
}

func (w *world) serve(ctx context.Context, conn net.Conn) {
	w.mu.Lock()
	front := w.front
	w.mu.Unlock()
	_ = w.server.Serve(ctx, conn, &Flow{
		Front:    front,
		Listener: link.PublicListener, Source: netip.MustParseAddrPort("203.0.113.7:4711"), Port: uint16(w.port.Load()), Name: siteName,
		Site: func(string) *Site {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.site
		},
	})
}

// rules puts rules into force.
func (w *world) rules(c *link.ClusterRules) {
	w.t.Helper()
	site, err := Compile(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.site = site
	w.mu.Unlock()
}

// recorded waits for the record of the first request.
func (w *world) recorded() Record {
	w.t.Helper()
	for end := time.Now().Add(patient); time.Now().Before(end); <-time.After(time.Millisecond) {
		w.mu.Lock()
		records := w.records
		w.mu.Unlock()
		if len(records) > 0 {
			return records[0]
		}
	}
	w.t.Fatal("no record")
	return Record{}
}

// client is one that dials the gateway whatever host it asks for.
func (w *world) client(two bool, certs ...tls.Certificate) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!two)
	protocols.SetHTTP2(two)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, w.address)
		},
		TLSClientConfig: &tls.Config{RootCAs: w.ca.pool(), Certificates: certs}, Protocols: &protocols,
		DisableCompression: true, ExpectContinueTimeout: patient,
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patient, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// raw is a TLS connection that speaks what it is told to.
func (w *world) raw(certs ...tls.Certificate) *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.address, &tls.Config{
		RootCAs: w.ca.pool(), ServerName: siteName, NextProtos: []string{"http/1.1"}, Certificates: certs,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patient))
	return conn
}

// bothProtocols runs a test over HTTP/1.1 and HTTP/2.
func bothProtocols(t *testing.T, test func(t *testing.T, two bool)) {
	t.Run("HTTP/1.1", func(t *testing.T) { test(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { test(t, true) })
}

// answer is what came of a request, with the whole body.
type answer struct {
	Status, Proto      string
	status, ProtoMajor int
	Header, Trailer    http.Header
	ContentLength      int64
	Close              bool
	body               string
}

// readAnswer reads an answer to its end.
func readAnswer(resp *http.Response) (*answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{
		resp.Status, resp.Proto, resp.StatusCode, resp.ProtoMajor, resp.Header, resp.Trailer, resp.ContentLength, resp.Close, string(body),
	}, err
}

// do sends a request and returns its answer and the whole body.
func do(t testing.TB, client *http.Client, r *http.Request) (*answer, string) {
	t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAnswer(resp)
	if err != nil {
		t.Fatal(err)
	}
	return got, got.body
}

// next reads the next answer of a connection.
func next(in *bufio.Reader) (*answer, error) {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = http.NoBody
	}
	return readAnswer(resp)
}

func newRequest(t testing.TB, method, target string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}
