package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/servertest"
)

// writePair writes a certificate of names as two files.
func writePair(t *testing.T, ca *authority, certFile, keyFile string, names ...string) {
	t.Helper()
	cert, err := ca.issue(names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	chain, key := servertest.PEM(t, cert)
	if err := errors.Join(os.WriteFile(certFile, chain, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestAPINeedsItsCertificate(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "c.pem")
	_, err := apiCertificates(config.TLS{CertificateFile: missing, KeyFile: missing}, t.TempDir(), 443, slog.New(slog.DiscardHandler))
	if e, ok := errors.AsType[*link.Error](err); !ok || e.Field != "api.tls" {
		t.Errorf("an API starts without its certificate: %v", err)
	}
}

// TestACME gets a certificate from a real authority, by its TLS challenge and by its HTTP challenge.
func TestACME(t *testing.T) {
	pebble, err := exec.LookPath("pebble")
	if err != nil {
		t.Skip("needs pebble (Debian package pebble)")
	}
	const name = "api.postern.test"
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			dir := t.TempDir()
			ca, err := openAuthority(dir, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			var lc net.ListenConfig
			ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
			challengeAddr := servertest.Addr(t)
			directory := servertest.Addr(t)
			management := servertest.Addr(t)
			settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
				"listenAddress": directory.String(), "managementListenAddress": management.String(),
				"certificate": filepath.Join(dir, "c.pem"), "privateKey": filepath.Join(dir, "k.pem"),
				"httpPort": challengeAddr.Port(), "tlsPort": port,
			}})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "pebble.json")
			if err := os.WriteFile(file, settings, 0o600); err != nil {
				t.Fatal(err)
			}
			to := netip.MustParseAddr("127.0.0.1")
			acme := config.ACME{
				Domains: []string{name}, CAFile: filepath.Join(dir, "ca.pem"), DirectoryURL: fmt.Sprintf("https://%s/dir", directory),
			}
			if challenge == "http-01" {
				acme.ChallengeAddr = challengeAddr.String()
				to = challengeAddr.Addr()
			}
			writePair(t, ca, filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem"), directory.Addr().String())
			t.Setenv("PEBBLE_VA_NOSLEEP", "1")
			t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
			servertest.Run(t, servertest.Account{}, directory, pebble, "-config", file, "-dnsserver", zoneOf(t, name, to))

			log := slog.New(slog.NewTextHandler(t.Output(), nil))
			certs, err := apiCertificates(config.TLS{ACME: acme}, dir, port, log)
			if err != nil {
				t.Fatal(err)
			}
			defer certs.close()
			server := &http.Server{
				Handler: http.NotFoundHandler(), TLSConfig: certs.config, ReadHeaderTimeout: time.Minute,
				ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			}
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.ServeTLS(ln, "", "") }) // until Close
			defer func() {
				_ = server.Close()
				serving.Wait()
			}()
			if err := certs.manage(); err != nil {
				t.Fatal(err)
			}
			err = poll(90*time.Second, func() error { return shown(t.Context(), ln.Addr().String(), name) })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// shown dials an API and tells whether it shows a certificate of a name. Who issued it is a root that the authority drew at
// its start.
func shown(ctx context.Context, addr, name string) error {
	var seen error
	d := tls.Dialer{Config: &tls.Config{
		ServerName: name, InsecureSkipVerify: true, //nolint:gosec // the check is below
		VerifyConnection: func(s tls.ConnectionState) error {
			leaf := s.PeerCertificates[0]
			if seen = leaf.VerifyHostname(name); seen == nil && !strings.Contains(leaf.Issuer.CommonName, "Pebble") {
				seen = fmt.Errorf("issued by %s", leaf.Issuer)
			}
			return nil
		},
	}}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return errors.Join(seen, c.Close())
}

// zoneOf serves a zone that holds one address, and returns where.
func zoneOf(t *testing.T, name string, addr netip.Addr) string {
	t.Helper()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA && strings.EqualFold(q.Question[0].Name, name+".") {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: addr.AsSlice()}}
		}
		_ = w.WriteMsg(m) // the asker asks again
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.ActivateAndServe() }) // until Shutdown
	t.Cleanup(func() {
		_ = s.Shutdown()
		serving.Wait()
	})
	return pc.LocalAddr().String()
}
