package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/certificate"
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

// getsAnew is gets for a client whose flow was cut, which it may find out by this request alone.
func (w *webWorld) getsAnew(c *http.Client, host, path string, status int) {
	w.t.Helper()
	if e, err := w.get(c, host, path); err != nil {
		w.gets(c, host, path, status)
	} else if e.status != status {
		w.t.Errorf("%s%s: status %d, want %d", host, path, e.status, status)
	}
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
