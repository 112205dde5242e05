package httpproxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
)

// Behind a proxy that ended TLS every request is of whom the proxy says, with the certificate that it says, which is
// verified again.
func TestFront(t *testing.T) {
	ca, strangers := newAuthority(t, "Clients"), newAuthority(t, "Strangers")
	alice, stranger := ca.issue(t, "alice@example.com"), strangers.issue(t, "alice@example.com")
	w := newWorld(t, http.HandlerFunc(echo), trusting(ca, link.CertificatesOptional), nil)
	front := &Front{Format: clientcert.NGINX, Site: func(host string, source netip.Addr) *Site {
		if source == netip.MustParseAddr("198.51.100.66") {
			return nil
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.site
	}}
	w.mu.Lock()
	w.front = front
	w.mu.Unlock()
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patient))
	in := bufio.NewReader(conn)
	certificate := func(text string) string { return "X-JFrog-Client-Cert: " + text }
	encoded := clientcert.Encode(clientcert.NGINX, alice.Leaf)
	for _, c := range []struct {
		name   string
		fields []string
		status int
		want   []string
		not    string
	}{
		{"source", []string{"X-Forwarded-For: 192.0.2.1, 198.51.100.7"}, 200, []string{"X-Forwarded-For: 198.51.100.7\n", "X-Forwarded-Proto: https\n", "X-Forwarded-Port: 443\n"}, "192.0.2.1"},
		{"scheme and port", []string{"X-Forwarded-For: ::1", "X-Forwarded-Proto: http", "X-Forwarded-Port: 8080"}, 200, []string{"X-Forwarded-For: ::1\n", "X-Forwarded-Proto: http\n", "X-Forwarded-Port: 8080\n"}, "https"},
		{"certificate", []string{"X-Forwarded-For: 198.51.100.7", certificate(encoded)}, 200, []string{"X-Postern-User: alice\n", "X-Jfrog-Client-Cert: " + encoded + "\n"}, "?"},
		{"the next client's", []string{"X-Forwarded-For: 198.51.100.8"}, 200, []string{"X-Forwarded-For: 198.51.100.8\n"}, "alice"},
		{"a certificate in another format's field", []string{"X-Forwarded-For: 198.51.100.8", "Client-Cert: " + clientcert.Encode(clientcert.RFC9440, alice.Leaf)}, 200, nil, "alice"},
		{"somebody who may not", []string{"X-Forwarded-For: 198.51.100.66"}, 421, nil, "alice"},
		{"a stranger's", []string{"X-Forwarded-For: 198.51.100.7", certificate(clientcert.Encode(clientcert.NGINX, stranger.Leaf))}, 403, nil, "alice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: art.test\r\n%s\r\n\r\n", strings.Join(c.fields, "\r\n"))
			resp, err := next(in)
			if err != nil {
				t.Fatal(err)
			}
			body := resp.body
			if resp.status != c.status || strings.Contains(body, c.not) {
				t.Errorf("%s: %s", resp.Status, body)
			}
			for _, want := range c.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in:\n%s", want, body)
				}
			}
		})
	}
	for _, c := range []struct {
		name   string
		fields []string
		code   string
	}{
		{"no source", []string{"X: 1"}, "bad_request"},
		{"no address", []string{"X-Forwarded-For: unknown"}, "bad_request"},
		{"another scheme", []string{"X-Forwarded-For: ::1", "X-Forwarded-Proto: ftp"}, "bad_request"},
		{"no port", []string{"X-Forwarded-For: ::1", "X-Forwarded-Port: 70000"}, "bad_request"},
		{"no certificate", []string{"X-Forwarded-For: ::1", certificate("x")}, clientcert.CodeMalformed},
		{"two certificates", []string{"X-Forwarded-For: ::1", certificate(encoded), certificate(encoded)}, clientcert.CodeMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", w.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patient))
			fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: art.test\r\n%s\r\n\r\n", strings.Join(c.fields, "\r\n"))
			resp, err := next(bufio.NewReader(conn))
			if err != nil {
				t.Fatal(err)
			}
			if resp.status != 400 || !strings.Contains(resp.body, c.code) {
				t.Errorf("%s: %s", resp.Status, resp.body)
			}
		})
	}
}
