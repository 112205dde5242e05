package gateway

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/servertest"
)

// TestOpenSSLWhereTLSEnds has another TLS than Go's say what the gateway agrees to.
func TestOpenSSLWhereTLSEnds(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skipf("needs openssl (Debian package openssl): %v", err)
	}
	w := newWebWorld(t, nil)
	door := w.endpointDoor(endpointA, 443).String()
	ca := filepath.Join(w.dir, "acme.crt")
	speak := func(args ...string) said {
		t.Helper()
		request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", acmePrivate)
		return call(t, strings.NewReader(request), nil, openssl, append([]string{
			"s_client", "-connect", door, "-CAfile", ca, "-verify_return_error", "-ign_eof", "-nocommands",
		}, args...)...)
	}
	profile := func(name string) {
		w.change(func(r *api.GatewayClusterRules) {
			proxy := *r.Proxy
			proxy.TLSProfile = name
			r.Proxy = &proxy
		})
	}
	const old = "DEFAULT:@SECLEVEL=0" // OpenSSL itself is stricter by default
	named := []string{"-servername", acmePrivate}
	for _, tt := range []struct {
		profile, name string
		args          []string
		want          string // in what it says; empty: it gets no certificate and no answer
	}{
		{"INTERMEDIATE", "TLS 1.3", []string{"-tls1_3"}, "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"},
		{"INTERMEDIATE", "TLS 1.2", []string{"-tls1_2"}, "New, TLSv1.2, Cipher is ECDHE-ECDSA-"},
		{"INTERMEDIATE", "TLS 1.2 with ChaCha20", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}, "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"INTERMEDIATE", "TLS 1.2 with CBC", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"}, ""},
		{"INTERMEDIATE", "TLS 1.2 without forward secrecy", []string{"-tls1_2", "-cipher", "AES128-GCM-SHA256"}, ""},
		{"INTERMEDIATE", "TLS 1.2 with finite-field Diffie-Hellman", []string{"-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"}, ""},
		{"INTERMEDIATE", "TLS 1.1", []string{"-tls1_1", "-cipher", old}, ""},
		{"INTERMEDIATE", "TLS 1.0", []string{"-tls1", "-cipher", old}, ""},
		{"INTERMEDIATE", "X25519", []string{"-curves", "X25519"}, "X25519, 253 bits"},
		{"INTERMEDIATE", "P-384", []string{"-curves", "P-384"}, "ECDH, secp384r1"},
		{"INTERMEDIATE", "P-521", []string{"-curves", "P-521"}, ""},
		{"INTERMEDIATE", "HTTP/2", []string{"-alpn", "h2,http/1.1"}, "ALPN protocol: h2"},
		{"INTERMEDIATE", "HTTP/1.1", []string{"-alpn", "http/1.1"}, "ALPN protocol: http/1.1"},
		{"INTERMEDIATE", "another protocol", []string{"-alpn", "imap"}, ""},
		{"MODERN", "TLS 1.3", []string{"-tls1_3"}, "New, TLSv1.3"},
		{"MODERN", "TLS 1.2", []string{"-tls1_2"}, ""},
		{"MODERN", "TLS 1.1", []string{"-tls1_1", "-cipher", old}, ""},
	} {
		t.Run(tt.profile+" "+tt.name, func(t *testing.T) {
			if w.set.Clusters[0].Proxy.TLSProfile != tt.profile {
				profile(tt.profile)
			}
			s := speak(append(tt.args, named...)...)
			served := strings.Contains(s.out, "Verification: OK") && strings.Contains(s.out, tt.want)
			refused := s.code != 0 && strings.Contains(s.out, "no peer certificate available")
			if tt.want != "" && !served || tt.want == "" && !refused {
				t.Errorf("want %q: %+v", tt.want, s)
			}
		})
	}
	profile("INTERMEDIATE")

	t.Run("names", func(t *testing.T) {
		for name, args := range map[string][]string{
			"nobody's":             {"-servername", "nobody.pe.postern.test"},
			"another cluster's":    {"-servername", globexName},
			"below a repository's": {"-servername", "a.docker." + acmePrivate},
			"none":                 {"-noservername"},
		} {
			if s := speak(args...); s.code == 0 || !strings.Contains(s.out, "no peer certificate available") {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if s := speak("-servername", "docker."+acmePrivate); !strings.Contains(s.out, "Verification: OK") {
			t.Errorf("a repository's: %+v", s)
		}
	})

	// resumes reports whether a second connection goes on with the session of the first.
	resumes := func(t *testing.T, between func(), args ...string) bool {
		t.Helper()
		session := filepath.Join(t.TempDir(), "session")
		args = append(args, named...)
		if s := speak(append(args, "-sess_out", session)...); !strings.Contains(s.out, "HTTP/1.1 200") {
			t.Fatalf("the first: %+v", s)
		}
		between()
		s := speak(append(args, "-sess_in", session)...)
		if strings.Contains(s.errors, "open session file") {
			return false // there was nothing to keep
		}
		if !strings.Contains(s.out, "HTTP/1.1 200") {
			t.Fatalf("the second: %+v", s)
		}
		return strings.Contains(s.out, "Reused, ")
	}
	good := newClientCA(t, "good")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run("sessions "+version, func(t *testing.T) {
			off := func() {
				w.change(func(r *api.GatewayClusterRules) {
					proxy := *r.Proxy
					proxy.ClientCertificates = nil
					r.Proxy = &proxy
				})
			}
			off()
			if !resumes(t, func() {}, version) {
				t.Error("no session is resumed where no certificate is asked for")
			}
			if resumes(t, func() { w.asks("OPTIONAL", good) }, version) {
				t.Error("a session without a certificate goes on where one is asked for now")
			}
			chain, key := servertest.PEM(t, good.issue("ann"))
			shown := []string{version, "-cert", w.file("ann.crt", string(chain)), "-key", w.file("ann.key", string(key))}
			if resumes(t, func() {}, shown...) {
				t.Error("a session brings a certificate that nobody has proven since")
			}
			off()
		})
	}

	t.Run("who is asked for a certificate", func(t *testing.T) {
		const asked, authorities = "Requested Signature Algorithms:", "Acceptable client certificate CA names"
		if s := speak(named...); strings.Contains(s.out, asked) {
			t.Errorf("a certificate is asked for where it is of no use: %+v", s)
		}
		w.asks("REQUIRED", good)
		// The request names no authority: who trusts whom is nobody's business, and a list could not be as of now. The client shows
		// what it has.
		if s := speak(named...); !strings.Contains(s.out, asked) || strings.Contains(s.out, authorities) || !strings.Contains(s.out, "HTTP/1.1 403") {
			t.Errorf("without a certificate: %+v", s)
		}
		chain, key := servertest.PEM(t, good.issue("ann"))
		s := speak(append([]string{"-cert", w.file("ann.crt", string(chain)), "-key", w.file("ann.key", string(key))}, named...)...)
		if !strings.Contains(s.out, "HTTP/1.1 200") || !strings.Contains(s.out, `"X-Postern-User":["ann"]`) {
			t.Errorf("with one: %+v", s)
		}
	})
}
