package gateway

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
)

// TestOpenSSL speaks PostgreSQL's two ways to begin TLS with another client than PostgreSQL's.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skipf("needs openssl (Debian package openssl): %v", err)
	}
	w := newWorld(t, nil)
	conf := &tls.Config{Certificates: []tls.Certificate{w.cert}, NextProtos: []string{l4.PostgresALPN}}
	oneLine := func(c net.Conn) {
		over := tls.Server(c, conf)
		defer over.Close()
		if line, err := bufio.NewReader(over).ReadString('\n'); err == nil {
			_, _ = io.WriteString(over, line)
		}
	}
	rules := w.rules(1)
	rules.Ports = &[]api.GatewayPort{{Port: postgresPort, Protocol: "POSTGRES"}}
	rules.Clusters[0].Backends = targets(server(t, func(c net.Conn) {
		request := make([]byte, len(l4.PostgresSSLRequest))
		if _, err := io.ReadFull(c, request); err != nil || string(request) != l4.PostgresSSLRequest {
			return
		}
		_, _ = c.Write([]byte{l4.PostgresYes})
		oneLine(c)
	}))
	rules.Clusters[1].Backends = targets(server(t, oneLine)) // as PostgreSQL 17 does
	w.apply(rules)
	ca := w.trust()
	client := func(endpoint, name string, args ...string) said {
		door := w.endpointDoor(endpoint, postgresPort).String()
		return call(t, strings.NewReader("SELECT 1\n"), nil, openssl, append([]string{
			"s_client", "-connect", door, "-servername", name, "-verify_hostname", name, "-verify_return_error", "-CAfile", ca,
			"-ign_eof", "-nocommands",
		}, args...)...)
	}
	for _, tt := range []struct {
		name, endpoint, ask string
		args                []string
		want                []string
	}{
		{"SSLRequest", endpointA, acmePrivate, []string{"-starttls", "postgres"}, []string{"Verification: OK", "New, TLSv1.3", "No ALPN negotiated"}},
		{"SSLRequest, TLS 1.2", endpointA, acmePrivate, []string{"-starttls", "postgres", "-tls1_2"}, []string{"Verification: OK", "New, TLSv1.2"}},
		{"TLS at once", endpointB, globexName, []string{"-alpn", l4.PostgresALPN}, []string{"Verification: OK", "ALPN protocol: postgresql"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := client(tt.endpoint, tt.ask, tt.args...)
			for _, want := range append(tt.want, "\nSELECT 1\n") {
				if !strings.Contains(s.out, want) {
					t.Errorf("openssl did not say %q: %+v", want, s)
				}
			}
		})
	}
	if s := client(endpointB, globexName); s.code == 0 {
		t.Errorf("TLS at once, without the protocol: %+v", s)
	}
	w.control.awaitRefusal(reasonNotTLS)
}

// TestPostQuantumHello: a key share of X25519MLKEM768 makes a ClientHello longer than a segment; here it comes in
// segments of one byte. Debian 12's OpenSSL does not know it, Go's TLS does.
func TestPostQuantumHello(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, change)
		w.apply(w.rules(1))
		c := tls.Client(&crumbling{Conn: w.balancer(endpointA)}, &tls.Config{
			ServerName: acmePrivate, RootCAs: w.roots, CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		})
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id := c.ConnectionState().CurveID; id != tls.X25519MLKEM768 {
			t.Errorf("the keys were agreed on with %v", id)
		}
		echo(t, c, "safe for later")
	})
}
