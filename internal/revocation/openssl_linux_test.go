package revocation_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/httpproxy"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/revocation"
	"github.com/postern/postern/internal/servertest"
)

// opensslCA is a CA as `openssl ca` keeps it, in a folder.
type opensslCA struct {
	t   *testing.T
	dir string
}

// newOpensslCA makes a CA whose clients' certificates name a responder, and which has certified that.
func newOpensslCA(t *testing.T, at netip.AddrPort) opensslCA {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl (Debian package openssl)")
	}
	ca := opensslCA{t, t.TempDir()}
	for name, text := range map[string]string{
		"index.txt": "", "serial": "1000", "crlnumber": "01",
		"ca.cnf": fmt.Sprintf(`[ca]
default_ca = d
[d]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = p
unique_subject = no
[p]
commonName = supplied
[client]
extendedKeyUsage = clientAuth
authorityInfoAccess = OCSP;URI:http://%s/
[server]
subjectAltName = DNS:art.test
[responder]
extendedKeyUsage = OCSPSigning
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
`, at),
	} {
		if err := os.WriteFile(filepath.Join(ca.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root", "-days", "30",
		"-config", "ca.cnf", "-extensions", "root")
	ca.issue("responder", "responder")
	return ca
}

func (ca opensslCA) run(args ...string) {
	ca.t.Helper()
	cmd := exec.CommandContext(ca.t.Context(), "openssl", args...)
	cmd.Dir = ca.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		ca.t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}

// issue makes a certificate NAME.pem with the extensions of a section.
func (ca opensslCA) issue(name, section string) {
	ca.t.Helper()
	ca.run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", name+".key", "-out", name+".csr", "-subj", "/CN="+name, "-config", "ca.cnf")
	ca.run("ca", "-batch", "-notext", "-config", "ca.cnf", "-extensions", section, "-in", name+".csr", "-out", name+".pem")
}

func (ca opensslCA) revoke(name string) {
	ca.t.Helper()
	ca.run("ca", "-batch", "-config", "ca.cnf", "-revoke", name+".pem")
}

func (ca opensslCA) crl() []byte {
	ca.t.Helper()
	ca.run("ca", "-gencrl", "-config", "ca.cnf", "-out", "crl.pem")
	return ca.read("crl.pem")
}

func (ca opensslCA) read(name string) []byte {
	ca.t.Helper()
	b, err := os.ReadFile(filepath.Join(ca.dir, name))
	if err != nil {
		ca.t.Fatal(err)
	}
	return b
}

func (ca opensslCA) cert(name string) *x509.Certificate {
	ca.t.Helper()
	cert, err := clientcert.ReadCertificate(ca.read(name + ".pem"))
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

// pair returns a certificate with its key, for a client.
func (ca opensslCA) pair(name string) tls.Certificate {
	ca.t.Helper()
	pair, err := tls.X509KeyPair(ca.read(name+".pem"), ca.read(name+".key"))
	if err != nil {
		ca.t.Fatal(err)
	}
	return pair
}

// site is a proxied cluster at the gateway's HTTP server, with rules that may be changed.
type site struct {
	address string
	server  tls.Certificate
	compile func(link.ClientCertificates)
}

// newSite starts one; the application says whom it was told.
func newSite(t *testing.T, server tls.Certificate, k *revocation.Keeper, now func() time.Time) site {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "as "+r.Header.Get("X-Postern-User"))
	}))
	t.Cleanup(application.Close)
	var rules atomic.Pointer[httpproxy.Site]
	proxy, err := httpproxy.New(httpproxy.Config{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &server, nil },
		Pick: func(context.Context, httpproxy.Destination) (httpproxy.Node, error) {
			return node(application.Listener.Addr().String()), nil
		},
		Revocation: k, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var flows sync.WaitGroup
	flows.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			flows.Go(func() {
				_ = proxy.Serve(t.Context(), conn, &httpproxy.Flow{
					Listener: link.PublicListener, Source: netip.MustParseAddrPort("203.0.113.7:4711"), Port: 443, Name: "art.test",
					Site: func(string) *httpproxy.Site { return rules.Load() },
				})
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		_ = proxy.Close()
		flows.Wait()
	})
	return site{listener.Addr().String(), server, func(c link.ClientCertificates) {
		compiled, err := httpproxy.Compile(&link.ClusterRules{
			ClusterID: "c", PublicNames: []string{"art.test"},
			Proxy: &link.ProxyRules{Proxy: link.ReverseProxy{Server: link.Embedded, ServerName: "art.test", Docker: link.DockerNone}, Certificates: c},
		})
		if err != nil {
			t.Fatal(err)
		}
		rules.Store(compiled)
	}}
}

// node is the application.
type node string

func (n node) Key() string { return string(n) }

func (node) Own() bool { return false }

func (n node) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", string(n))
}

func (node) Ended(_, _ bool) {}

// flow is a connection of a client that stays open.
type flow struct {
	t    *testing.T
	conn *tls.Conn
	in   *bufio.Reader
}

func (s site) open(t *testing.T, client tls.Certificate) flow {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.server.Leaf)
	conn, err := tls.Dial("tcp", s.address, &tls.Config{ServerName: "art.test", RootCAs: roots, Certificates: []tls.Certificate{client}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return flow{t, conn, bufio.NewReader(conn)}
}

// ask sends a request and returns what came of it.
func (f flow) ask() string {
	f.t.Helper()
	_, _ = io.WriteString(f.conn, "GET / HTTP/1.1\r\nHost: art.test\r\n\r\n")
	answer, err := http.ReadResponse(f.in, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", answer.StatusCode, body)
}

const patience = 60 * time.Second

// TestOpenSSL: a certificate that openssl revokes stops working on the connection that is open, at the responder's next
// answer and with the CA's next list, and the others go on.
func TestOpenSSL(t *testing.T) {
	at := servertest.Addr(t)
	ca := newOpensslCA(t, at)
	for _, name := range []string{"alice", "bob", "carol"} {
		ca.issue(name, "client")
	}
	openssl, _ := exec.LookPath("openssl")
	file := func(name string) string { return filepath.Join(ca.dir, name) }
	servertest.RunSaying(t, servertest.Account{}, "waiting for OCSP client connections", openssl, "ocsp", "-index", file("index.txt"),
		"-port", strconv.Itoa(int(at.Port())), "-CA", file("ca.pem"), "-rsigner", file("responder.pem"), "-rkey", file("responder.key"), "-nmin", "30")

	var ahead atomic.Int64 // of the real time
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	keeper := func(now func() time.Time) *revocation.Keeper {
		k := revocation.New(revocation.Config{Now: now, Every: time.Minute, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		t.Cleanup(k.Close)
		return k
	}
	k := keeper(now)
	k.Start()
	settings := link.ClientCertificates{
		Mode: link.CertificatesRequired, OCSP: true, Responders: []string{at.String()},
		Trusted: []link.TrustedCertificate{{ID: "root", Name: "root", Kind: link.TrustCA, DER: ca.cert("ca").Raw}},
	}
	ca.issue("art.test", "server")
	s := newSite(t, ca.pair("art.test"), k, now)
	s.compile(settings)
	flows := map[string]flow{}
	for _, name := range []string{"alice", "bob", "carol"} {
		f := s.open(t, ca.pair(name))
		flows[name] = f
		if got := f.ask(); got != "200 as "+name {
			t.Fatalf("%s: %s", name, got)
		}
	}

	before := ca.crl()
	ca.revoke("alice")
	trust, err := clientcert.Compile(settings)
	if err != nil {
		t.Fatal(err)
	}
	q := trust.Verify(ca.cert("alice"), nil, now()).Question
	eventually(t, "openssl, which looks at its index between two connections, says so", func() bool {
		return keeper(nil).Await(t.Context(), *q) == clientcert.Revoked
	})
	if got := flows["alice"].ask(); got != "200 as alice" {
		t.Errorf("while the answer is not due to be renewed: %s", got)
	}
	ahead.Store(int64(time.Minute))
	eventually(t, "the revocation is noticed", func() bool {
		answer, _ := k.Look(*q)
		return answer == clientcert.Revoked
	})
	if got := flows["alice"].ask(); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, clientcert.CodeRefused) {
		t.Errorf("alice, by the responder: %s", got)
	}
	if got := flows["bob"].ask(); got != "200 as bob" {
		t.Errorf("bob, by the responder: %s", got)
	}

	accept := func(old, data []byte) (clientcert.CRL, error) {
		return clientcert.AcceptCRL(ca.cert("ca"), old, data, time.Now())
	}
	settings.OCSP = false
	first, err := accept(nil, before)
	if err != nil {
		t.Fatal(err)
	}
	settings.Trusted[0].CRL = first.DER
	s.compile(settings)
	if got := flows["bob"].ask(); got != "200 as bob" {
		t.Errorf("bob, by the first list: %s", got)
	}
	ca.revoke("bob")
	second, err := accept(first.DER, ca.crl())
	if err != nil || second.Revoked != 2 {
		t.Fatalf("%+v, %v", second, err)
	}
	settings.Trusted[0].CRL = second.DER
	s.compile(settings)
	if got := flows["bob"].ask(); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, clientcert.CodeRefused) {
		t.Errorf("bob, by the second list: %s", got)
	}
	if got := flows["carol"].ask(); got != "200 as carol" {
		t.Errorf("carol, by the second list: %s", got)
	}
	_, err = accept(second.DER, before)
	if e, ok := errors.AsType[*link.Error](err); !ok || e.Reason != clientcert.ReasonNumberLower {
		t.Errorf("the first list, after the second: %v", err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late, beat := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer beat.Stop()
	for !holds() {
		select {
		case <-beat.C:
		case <-late:
			t.Fatalf("it does not come about that %s", what)
		}
	}
}
