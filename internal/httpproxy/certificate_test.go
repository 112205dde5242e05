package httpproxy

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
)

// trusting has a site ask for certificates of a CA, whose subject's common name is the user.
func trusting(ca *authority, mode link.CertificateMode) func(*link.ClusterRules) {
	return func(c *link.ClusterRules) {
		c.Proxy.Certificates = link.ClientCertificates{
			Mode: mode, Identity: []link.IdentitySource{link.IdentitySubjectCN}, Expression: `[^@]+(?=\d{0,}@)`,
			Users:   link.Users{Disabled: []string{"mallory"}},
			Trusted: []link.TrustedCertificate{{ID: "t1", Name: "ca", Kind: link.TrustCA, DER: ca.cert.Raw}},
		}
	}
}

func TestClientCertificates(t *testing.T) {
	ours, theirs := newAuthority(t, "Clients"), newAuthority(t, "Strangers")
	alice, nobody, mallory := ours.issue(t, "alice@example.com"), ours.issue(t, "device"), ours.issue(t, "mallory@example.com")
	stranger := theirs.issue(t, "alice@example.com")
	basic := func(user string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":secret"))
	}
	const off, optional, required = link.CertificatesOff, link.CertificatesOptional, link.CertificatesRequired
	for _, c := range []struct {
		name          string
		mode          link.CertificateMode
		certs         []tls.Certificate
		authorization string
		status        int
		code          string
		user          string // that the application is told
		told          bool   // the certificate
	}{
		{"off", off, []tls.Certificate{alice}, "", 200, "", "", false},
		{"optional, none", optional, nil, "", 200, "", "", false},
		{"required, none", required, nil, basic("alice"), 403, clientcert.CodeRequired, "", false},
		{"optional, a stranger's", optional, []tls.Certificate{stranger}, basic("alice"), 403, clientcert.CodeRefused, "", false},
		{"required, a stranger's", required, []tls.Certificate{stranger}, "", 403, clientcert.CodeRefused, "", false},
		{"known", required, []tls.Certificate{alice}, "", 200, "", "alice", true},
		{"known, own credentials", optional, []tls.Certificate{alice}, basic("alice"), 200, "", "alice", true},
		{"known, another's credentials", optional, []tls.Certificate{alice}, basic("bob"), 403, clientcert.CodeIdentityConflict, "", false},
		{"known, somebody's credentials", optional, []tls.Certificate{alice}, "Bearer abc", 403, clientcert.CodeIdentityConflict, "", false},
		{"disabled", optional, []tls.Certificate{mallory}, "", 401, clientcert.CodeUnauthenticated, "", false},
		{"nobody, no credentials", required, []tls.Certificate{nobody}, "", 401, clientcert.CodeUnauthenticated, "", false},
		{"nobody, credentials", required, []tls.Certificate{nobody}, basic("bob"), 200, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, http.HandlerFunc(echo), trusting(ours, c.mode), nil)
			bothProtocols(t, func(t *testing.T, two bool) {
				client := w.client(two, c.certs...)
				for range 2 {
					r := newRequest(t, "GET", "https://art.test/x", nil, "X-Postern-User", "admin", "X-Jfrog-Client-Cert", "forged")
					if c.authorization != "" {
						r.Header.Set("Authorization", c.authorization)
					}
					resp, body := do(t, client, r)
					if resp.status != c.status || c.code != "" && !strings.Contains(body, `"code":"`+c.code+`"`) {
						t.Fatalf("%s: %s", resp.Status, body)
					}
					if strings.Contains(body, "admin") || strings.Contains(body, "forged") || strings.Contains(body, "X-Postern-User: ") != (c.user != "") ||
						c.user != "" && !strings.Contains(body, "X-Postern-User: "+c.user+"\n") {
						t.Errorf("told: %s", body)
					}
					told := ""
					for line := range strings.Lines(body) {
						if v, ok := strings.CutPrefix(line, "X-Jfrog-Client-Cert: "); ok {
							told = strings.TrimSpace(v)
						}
					}
					if (told != "") != c.told {
						t.Errorf("the certificate's header: %q", told)
					}
					if c.told {
						leaf, _, err := clientcert.Parse(clientcert.NGINX, []string{told})
						if err != nil || !leaf.Equal(c.certs[0].Leaf) {
							text, _ := url.PathUnescape(told)
							t.Errorf("the header is not the certificate: %v: %s", err, text)
						}
					}
				}
			})
			if r := w.recorded(); r.Code != c.code || r.User != c.user || c.code != "" && r.Note == "" {
				t.Errorf("record: %+v", r)
			}
		})
	}
}

// New rules count on a connection that is open: its next request is refused when its certificate was revoked, and the
// connection is closed at once when somebody says that there are new rules.
func TestRevocationOnOpenConnections(t *testing.T) {
	ca := newAuthority(t, "Clients")
	alice := ca.issue(t, "alice@example.com")
	revoke := map[string]func(*link.ClusterRules){
		"removal": func(c *link.ClusterRules) { c.Proxy.Certificates.Trusted = nil },
		"serial": func(c *link.ClusterRules) {
			c.Proxy.Certificates.Revoked = []link.RevokedCertificate{{ID: "r1", TrustedID: "t1", Serial: clientcert.Serial(alice.Leaf.SerialNumber)}}
		},
	}
	ask := func(t *testing.T, conn *tls.Conn, in *bufio.Reader) int {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: art.test\r\n\r\n")
		resp, err := next(in)
		if err != nil {
			t.Fatal(err)
		}
		return resp.status
	}
	for name, change := range revoke {
		rules := func(c *link.ClusterRules) {
			trusting(ca, link.CertificatesRequired)(c)
			change(c)
		}
		t.Run(name+", next request", func(t *testing.T) {
			w := newWorld(t, http.HandlerFunc(echo), trusting(ca, link.CertificatesRequired), nil)
			conn := w.raw(alice)
			in := bufio.NewReader(conn)
			if status := ask(t, conn, in); status != 200 {
				t.Fatal(status)
			}
			w.rules(testRules(rules))
			if status := ask(t, conn, in); status != 403 {
				t.Errorf("after the revocation: %d", status)
			}
			if _, err := in.ReadByte(); err == nil {
				t.Error("the connection stays open")
			}
		})
		t.Run(name+", at once", func(t *testing.T) {
			w := newWorld(t, http.HandlerFunc(echo), trusting(ca, link.CertificatesRequired), nil)
			conn := w.raw(alice)
			in := bufio.NewReader(conn)
			ask(t, conn, in)
			if n := w.server.Recheck(); n != 0 {
				t.Errorf("%d flows closed under the same rules", n)
			}
			w.rules(testRules(rules))
			if n := w.server.Recheck(); n != 1 {
				t.Errorf("%d flows closed", n)
			}
			if _, err := in.ReadByte(); err == nil {
				t.Error("the connection stays open")
			}
		})
	}
	t.Run("certificates are asked for from now on", func(t *testing.T) {
		w := newWorld(t, http.HandlerFunc(echo), nil, nil)
		conn := w.raw(alice)
		in := bufio.NewReader(conn)
		if status := ask(t, conn, in); status != 200 {
			t.Fatal(status)
		}
		w.rules(testRules(trusting(ca, link.CertificatesOptional)))
		for end := time.Now().Add(patient); w.server.Recheck() == 0; {
			if time.Now().After(end) {
				t.Fatal("the flow stays open")
			}
		}
		if _, err := in.ReadByte(); err == nil {
			t.Error("the connection stays open")
		}
		if resp, body := do(t, w.client(false, alice), newRequest(t, "GET", "https://art.test/", nil)); resp.status != 200 || !strings.Contains(body, "X-Postern-User: alice") {
			t.Errorf("%s: %s", resp.Status, body)
		}
	})
}

// A session that was resumed would skip the proof of the certificate's key.
func TestSessionsAreNotResumedWithCertificates(t *testing.T) {
	ca := newAuthority(t, "Clients")
	for mode, resumed := range map[link.CertificateMode]bool{link.CertificatesOff: true, link.CertificatesOptional: false} {
		w := newWorld(t, http.HandlerFunc(echo), trusting(ca, mode), nil)
		cache := tls.NewLRUClientSessionCache(1)
		var last bool
		for range 2 {
			conn, err := tls.Dial("tcp", w.address, &tls.Config{RootCAs: w.ca.pool(), ServerName: siteName, ClientSessionCache: cache, NextProtos: []string{"http/1.1"}})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(conn, "GET / HTTP/1.0\r\nHost: art.test\r\n\r\n")
			_, _ = io.ReadAll(conn)
			last = conn.ConnectionState().DidResume
			conn.Close()
		}
		if last != resumed {
			t.Errorf("%s: resumed %v", mode, last)
		}
	}
}

func TestProfiles(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile link.TLSProfile
		client  *tls.Config
		ok      bool
	}{
		{"modern, TLS 1.3", link.TLSModern, &tls.Config{}, true},
		{"modern, TLS 1.2", link.TLSModern, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"intermediate, TLS 1.2", link.TLSIntermediate, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"intermediate, TLS 1.1", link.TLSIntermediate, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"intermediate, CBC", link.TLSIntermediate, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"another protocol", link.TLSIntermediate, &tls.Config{NextProtos: []string{"smtp"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, http.HandlerFunc(echo), func(r *link.ClusterRules) { r.Proxy.Proxy.Profile = c.profile }, nil)
			config := c.client.Clone()
			config.RootCAs, config.ServerName = w.ca.pool(), siteName
			conn, err := tls.Dial("tcp", w.address, config)
			if (err == nil) != c.ok {
				t.Errorf("handshake: %v", err)
			}
			if err == nil {
				conn.Close()
				return
			}
			if r := w.recorded(); r.Code != "tls_handshake_failed" || r.Err == nil || r.Host != siteName {
				t.Errorf("record: %+v", r)
			}
		})
	}
}
