package httpproxy

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

// curl speaks to the gateway as people's scripts do.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl (Debian package curl)")
	}
	ca := newAuthority(t, "Clients")
	alice, stranger := ca.issue(t, "alice@example.com"), newAuthority(t, "Strangers").issue(t, "alice@example.com")
	w := newWorld(t, http.HandlerFunc(echo), trusting(ca, link.CertificatesOptional), nil)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots := write("ca.pem", "CERTIFICATE", w.ca.cert.Raw)
	key := func(name string, private any) string {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return write(name, "PRIVATE KEY", der)
	}
	aliceCert, aliceKey := write("alice.pem", "CERTIFICATE", alice.Certificate[0]), key("alice.key", alice.PrivateKey)
	strangerCert, strangerKey := write("stranger.pem", "CERTIFICATE", stranger.Certificate[0]), key("stranger.key", stranger.PrivateKey)
	long := write("long.bin", "X", make([]byte, 1<<20))
	_, port, err := net.SplitHostPort(w.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"get", nil, []string{"GET /x HTTP/1.1\n", "X-Forwarded-For: 203.0.113.7\n", "status 200"}},
		{"long upload that asks first", []string{"-T", long, "-H", "Expect: 100-continue"}, []string{"PUT /x HTTP/1.1\n", "status 200"}},
		{"chunked upload", []string{"-T", long, "-H", "Transfer-Encoding: chunked"}, []string{"PUT /x HTTP/1.1\n", "status 200"}},
		{"form", []string{"-d", "a=b"}, []string{"POST /x HTTP/1.1\n", "\na=b", "status 200"}},
		{"certificate", []string{"--cert", aliceCert, "--key", aliceKey}, []string{"X-Postern-User: alice\n", "status 200"}},
		{"a stranger's certificate", []string{"--cert", strangerCert, "--key", strangerKey}, []string{"client_certificate_refused", "status 403"}},
		{"forged", []string{"-H", "X-Postern-User: admin", "-H", "x_jfrog_client_cert: x"}, []string{"status 200"}},
		{"another host", []string{"-H", "Host: evil.test"}, []string{"misdirected_request", "status 421"}},
		{"dots", []string{"--path-as-is", "--request-target", "/a/../b"}, []string{"bad_path", "status 400"}},
	} {
		for _, protocol := range []string{"--http1.1", "--http2"} {
			t.Run(c.name+protocol, func(t *testing.T) {
				args := append([]string{
					protocol, "--silent", "--show-error", "--max-time", "20", "--cacert", roots, "--connect-to", "art.test:443:127.0.0.1:" + port,
					"--write-out", "\nstatus %{http_code} over %{http_version}", "https://art.test/x",
				}, c.args...)
				out, err := exec.CommandContext(t.Context(), "curl", args...).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				for _, want := range append(c.want, map[string]string{"--http1.1": "over 1.1", "--http2": "over 2"}[protocol]) {
					if !strings.Contains(string(out), want) {
						t.Errorf("no %q in %.2000s", want, out)
					}
				}
				if strings.Contains(string(out), "admin") || strings.Contains(strings.ToLower(string(out)), "x_jfrog") {
					t.Errorf("%.2000s", out)
				}
			})
		}
	}
}
