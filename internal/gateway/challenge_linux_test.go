package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/servertest"
)

// TestACMEAtTheGateway gets a proxied cluster's certificate from a real authority, which is on no allow list and comes to
// the public listener to see who holds the name.
func TestACMEAtTheGateway(t *testing.T) {
	pebble, err := exec.LookPath("pebble")
	if err != nil {
		t.Skip("needs pebble (Debian package pebble)")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	public := listen(t).(*net.TCPListener)
	directory, management := servertest.Addr(t), servertest.Addr(t)
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": directory.String(), "managementListenAddress": management.String(),
		"certificate": at("c.pem"), "privateKey": at("k.pem"), "httpPort": servertest.Addr(t).Port(), "tlsPort": addrPort(public.Addr()).Port(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	own := selfSigned(t, x509.NewCertPool(), directory.Addr().String())
	chain, key := servertest.PEM(t, own)
	for name, text := range map[string][]byte{"pebble.json": settings, "c.pem": chain, "k.pem": key} {
		if err := os.WriteFile(at(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	servertest.Run(t, servertest.Account{}, directory, pebble, "-config", at("pebble.json"), "-dnsserver", zoneOf(t, acmePublic))

	authority, err := certificate.NewACME(certificate.ACMEConfig{
		Domains: []string{acmePublic}, DirectoryURL: fmt.Sprintf("https://%s/dir", directory), CAFile: at("c.pem"),
		Port: addrPort(public.Addr()).Port(), Dir: dir, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(authority.Close)
	w := newWebWorld(t, func(c *Config) {
		c.Certificates = certificate.Sources{authority}
		c.Listeners[1].Listener = public
	})
	w.change(func(r *api.GatewayClusterRules) { r.AllowList = nil }) // of which the authority is none
	if err := authority.Manage(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(90 * time.Second)
	for len(authority.All()) == 0 && time.Now().Before(deadline) {
		<-time.After(50 * time.Millisecond)
	}
	w.change(func(r *api.GatewayClusterRules) { r.AllowList = []api.AllowRule{{Prefix: "127.0.0.0/8", UI: true}} })
	c := tls.Client(w.dial(w.g.PublicAddr()), &tls.Config{ServerName: acmePublic, InsecureSkipVerify: true}) //nolint:gosec // the check is below
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	leaf := c.ConnectionState().PeerCertificates[0]
	if err := leaf.VerifyHostname(acmePublic); err != nil || !strings.Contains(leaf.Issuer.CommonName, "Pebble") {
		t.Errorf("issued by %s: %v", leaf.Issuer, err)
	}
	text := scrapeGateway(t, w.g)
	if !strings.Contains(text, `flows_closed_total{listener="public",reason="`+reasonChallenge+`"}`) {
		t.Error("the challenge is not counted")
	}

	// Who offers the protocol for another name, or without a challenge under way, gets nothing.
	for _, name := range []string{acmePublic, "other.test"} {
		c := tls.Client(w.dial(w.g.PublicAddr()), &tls.Config{
			ServerName: name, InsecureSkipVerify: true, NextProtos: []string{certificate.ChallengeProtocol}, //nolint:gosec // nothing is to come
		})
		if err := c.HandshakeContext(t.Context()); err == nil {
			t.Errorf("%s: an answer to no challenge", name)
		}
	}
}

// zoneOf serves a zone in which a name leads to loopback, and returns where.
func zoneOf(t *testing.T, name string) string {
	t.Helper()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA && strings.EqualFold(q.Question[0].Name, name+".") {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: netip.MustParseAddr("127.0.0.1").AsSlice(),
			}}
		}
		_ = w.WriteMsg(m) // the asker asks again
	})}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = s.Shutdown()
		serving.Wait()
	})
	return pc.LocalAddr().String()
}
