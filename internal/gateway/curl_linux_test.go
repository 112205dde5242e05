package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"sync"
	"testing"

	"github.com/postern/postern/api"
)

// web is an HTTP server that serves body, and takes what is put and keeps its checksum; over TLS when secure.
type web struct {
	addr string
	body []byte

	mu  sync.Mutex
	put [sha256.Size]byte
}

func (w *world) web(secure bool) *web {
	w.t.Helper()
	s := &web{body: make([]byte, 8<<20)}
	_, _ = rand.Read(s.body)
	srv := httptest.NewUnstartedServer(s)
	if secure {
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{w.cert}}
		srv.StartTLS()
	} else {
		srv.Start()
	}
	w.t.Cleanup(srv.Close)
	s.addr = srv.Listener.Addr().String()
	return s
}

func (s *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		sum := sha256.New()
		_, _ = io.Copy(sum, r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.put = [sha256.Size]byte(sum.Sum(nil))
		return
	}
	_, _ = rw.Write(s.body)
}

// curl runs the real curl.
func curl(t *testing.T, stdin io.Reader, args ...string) said {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("needs curl (Debian package curl): %v", err)
	}
	return call(t, stdin, nil, path, append([]string{"-q", "-sS", "--noproxy", "*", "--max-time", "50"}, args...)...)
}

// exchange gets the body and puts other bytes, with curl.
func (s *web) exchange(t *testing.T, url string, args ...string) {
	t.Helper()
	got := curl(t, nil, append(args, url)...)
	if got.code != 0 || got.out != string(s.body) {
		t.Errorf("curl got %d bytes of %d, or others; exit %d: %s", len(got.out), len(s.body), got.code, got.errors)
	}
	other := make([]byte, len(s.body))
	_, _ = rand.Read(other)
	if put := curl(t, bytes.NewReader(other), append(args, "-T", "-", url)...); put.code != 0 {
		t.Errorf("curl: exit %d: %s", put.code, put.errors)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put != sha256.Sum256(other) {
		t.Error("the server got other bytes than curl put")
	}
}

func TestCurl(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		const httpPort = 8080
		w := newWorld(t, change)
		secure, plain := w.web(true), w.web(false)
		rules := w.rules(1)
		rules.Clusters[0].Backends = targets(secure.addr)
		rules.Clusters[1].Backends = targets(plain.addr)
		rules.Ports = &[]api.GatewayPort{{Port: httpPort, Protocol: "TCP", BackendPort: netip.MustParseAddrPort(plain.addr).Port()}}
		w.apply(rules)
		ca := w.trust()
		to := func(addr string) string { return "::" + addr }
		t.Run("by the public name", func(t *testing.T) {
			secure.exchange(t, "https://"+acmePublic+"/", "--cacert", ca, "--connect-to", to(w.g.PublicAddr().String()))
		})
		t.Run("by the private name", func(t *testing.T) {
			secure.exchange(t, "https://"+acmePrivate+"/", "--cacert", ca, "--connect-to", to(w.endpointDoor(endpointA, 443).String()))
		})
		t.Run("without TLS, by the endpoint alone", func(t *testing.T) {
			plain.exchange(t, "http://any.name.test/", "--connect-to", to(w.endpointDoor(endpointB, httpPort).String()))
		})
		t.Run("without TLS, where a name is needed", func(t *testing.T) {
			if s := curl(t, nil, "--connect-to", to(w.g.PublicAddr().String()), "http://"+acmePublic+"/"); s.code == 0 || s.out != "" {
				t.Errorf("%+v", s)
			}
			w.control.awaitRefusal(reasonNotTLS)
		})
	})
}
