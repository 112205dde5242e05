package clientcert

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/servertest"
)

// front is a proxy that ends TLS, asks for a certificate, lets any through, and tells the application which it got.
type front struct {
	addr    netip.AddrPort
	backend string // host:port of the application
	dir     string
	ca      string // a file with some CA, which some proxies want to have
	server  string // a file with certificate and key of the proxy
}

func (f front) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func startNginx(t *testing.T, f front) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("needs nginx (Debian package nginx)")
	}
	config := f.write(t, "nginx.conf", fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen %[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[3]s; ssl_verify_client optional_no_ca;
    location / { proxy_pass http://%[4]s; proxy_set_header X-JFrog-Client-Cert $ssl_client_escaped_cert; }
  }
}
`, f.dir, f.addr, f.server, f.backend))
	servertest.Run(t, servertest.Account{}, f.addr, program, "-e", "stderr", "-p", f.dir, "-c", config)
}

func startApache(t *testing.T, f front, value string) {
	program, err := exec.LookPath("apache2")
	if err != nil {
		t.Skip("needs apache2 (Debian package apache2)")
	}
	modules := ""
	for _, m := range []string{"mpm_event", "authz_core", "ssl", "headers", "proxy", "proxy_http"} {
		modules += fmt.Sprintf("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "User www-data\nGroup www-data\n"
	}
	config := f.write(t, "apache.conf", modules+user+fmt.Sprintf(`ServerRoot %[1]s
ServerName localhost
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
ErrorLog /dev/stderr
Listen %[2]s https
SSLEngine on
SSLCertificateFile %[3]s
SSLCertificateKeyFile %[3]s
SSLVerifyClient optional_no_ca
RequestHeader set X-JFrog-Client-Cert "%[5]s"
ProxyPass / http://%[4]s/
`, f.dir, f.addr, f.server, f.backend, value))
	servertest.Run(t, servertest.Account{}, f.addr, program, "-D", "FOREGROUND", "-f", config)
}

func startHAProxy(t *testing.T, f front) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("needs haproxy (Debian package haproxy)")
	}
	config := f.write(t, "haproxy.cfg", fmt.Sprintf(`defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 30s
frontend f
  bind %s ssl crt %s verify optional ca-file %s ca-ignore-err all crt-ignore-err all
  http-request set-header Client-Cert :%%[ssl_c_der,base64]:
  default_backend b
backend b
  server s %s
`, f.addr, f.server, f.ca, f.backend))
	servertest.Run(t, servertest.Account{}, f.addr, program, "-db", "-f", config)
}

func startCaddy(t *testing.T, f front) {
	program, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("needs caddy (Debian package caddy)")
	}
	t.Setenv("XDG_CONFIG_HOME", f.dir) // where it notes down its configuration
	t.Setenv("XDG_DATA_HOME", f.dir)
	config := f.write(t, "Caddyfile", fmt.Sprintf(`{
  admin off
  auto_https off
  storage file_system %[1]s
}
https://localhost:%[2]d {
  bind %[3]s
  tls %[4]s %[4]s {
    client_auth {
      mode request
    }
  }
  reverse_proxy %[5]s {
    header_up Client-Cert ":{http.request.tls.client.certificate_der_base64}:"
  }
}
`, f.dir, f.addr.Port(), f.addr.Addr(), f.server, f.backend))
	servertest.Run(t, servertest.Account{}, f.addr, program, "run", "--adapter", "caddyfile", "--config", config)
}

// TestProxies: what real proxies make of certificates is read as what it was, and none as none, also where the client
// sends the header itself. The proxies let any certificate through: what is read is not yet trusted.
func TestProxies(t *testing.T) {
	today := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	root := newAuthority(t, "nobody's", nil, today)
	serverKey := newKey(t)
	serverCert := root.sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}, serverKey.Public(), today)
	pair := filepath.Join(t.TempDir(), "pair.pem")
	der, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	text := armour(serverCert) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	for path, text := range map[string]string{pair: text, ca: armour(newAuthority(t, "another", nil, today).cert)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		format Format
		start  func(*testing.T, front)
	}{
		{"nginx", NGINX, startNginx},
		{"apache, escaped", ApacheEscaped, func(t *testing.T, f front) { startApache(t, f, "expr=%{escape:%{SSL_CLIENT_CERT}}") }},
		{"apache, in PEM", ApachePEM, func(t *testing.T, f front) { startApache(t, f, "%{SSL_CLIENT_CERT}s") }},
		{"haproxy", RFC9440, startHAProxy},
		{"caddy", RFC9440, startCaddy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan []string, 1)
			backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Values(tt.format.Header()) }))
			t.Cleanup(backend.Close)
			f := front{addr: servertest.Addr(t), backend: backend.Listener.Addr().String(), dir: t.TempDir(), ca: ca, server: pair}
			tt.start(t, f)
			for _, subject := range []string{"", "alice@example.com", "Jürgen Müller, \"Abt. 1+2\"/x=y; z", "日本 <x>%20&", strings.Repeat("long ", 40)} {
				var client tls.Certificate
				var want *x509.Certificate
				if subject != "" {
					key := newKey(t)
					want = root.sign(t, &x509.Certificate{}, key.Public(), today, func(c *x509.Certificate) {
						c.Subject.CommonName, c.Subject.Organization = subject, []string{"Größe & Söhne", "O,U"}
						c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/ns/x"}}
					})
					client = tls.Certificate{Certificate: [][]byte{want.Raw}, PrivateKey: key}
				}
				values := ask(t, f.addr, client, root.cert, tt.format, Encode(tt.format, root.cert), got)
				leaf, chain, err := Parse(tt.format, values)
				if err != nil || (want == nil) != (leaf == nil) || want != nil && !want.Equal(leaf) || len(chain) > 0 {
					t.Errorf("%q: %v, from %q", subject, err, values)
				}
			}
		})
	}
}

// ask sends a request that carries a forged header, and returns what the application got.
func ask(t *testing.T, addr netip.AddrPort, client tls.Certificate, server *x509.Certificate, format Format, forged string, got <-chan []string) []string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server)
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		ServerName: "localhost", RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil },
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr.String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = fmt.Sprintf("localhost:%d", addr.Port())
	r.Header.Set(format.Header(), forged)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	select {
	case values := <-got:
		return values
	default:
		t.Fatalf("%s: %s", answer.Status, body)
		return nil
	}
}
