package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/policy"
)

const (
	gssRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	startup    = "\x00\x00\x00\x0d\x00\x03\x00\x00user\x00"
	cancel     = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x07\x01\x02\x03\x04"
	smtpPort   = 25   // denied by the service
	sftpPort   = 2222 // carries anything
)

// server is a TCP server that hands each flow to serve and closes it after.
func server(t testing.TB, serve func(net.Conn)) (addr string) {
	t.Helper()
	ln := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// postgres is a server that takes TLS as PostgreSQL does, and echoes over it. It answers SSLRequest with answer.
func (w *world) postgres(answer string) (addr string) {
	return server(w.t, func(c net.Conn) {
		var request [len(l4.PostgresSSLRequest)]byte
		if _, err := io.ReadFull(c, request[:]); err != nil || string(request[:]) != l4.PostgresSSLRequest {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil || answer != "S" {
			_, _ = io.Copy(io.Discard, c)
			return
		}
		over := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{w.cert}})
		_, _ = io.Copy(over, over)
	})
}

// say sends bytes and reads as many as answer has, which they have to be.
func say(t testing.TB, c net.Conn, send, answer string) {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(answer))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != answer {
		t.Fatalf("sent %q, got %q, %v; want %q", send, got, err, answer)
	}
}

func TestPostgresIsPassedThrough(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, change)
		rules := w.rules(1)
		rules.Clusters[0].Backends = []api.GatewayTarget{{Address: w.postgres("S")}}
		w.apply(rules)
		for name, ask := range map[string]func(net.Conn){
			"TLS":                    func(c net.Conn) { say(t, c, l4.PostgresSSLRequest, "S") },
			"GSSAPI first, then TLS": func(c net.Conn) { say(t, c, gssRequest, "N"); say(t, c, l4.PostgresSSLRequest, "S") },
		} {
			c := w.balancer(endpointA)
			ask(c)
			over, err := w.tls(c, acmePrivate)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			echo(t, over, "select 1")
		}
		// The hello in crumbs, and the request before it too.
		c := &crumbling{Conn: w.balancer(endpointA)}
		say(t, c, l4.PostgresSSLRequest, "S")
		over, err := w.tls(c, acmePrivate)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, over, "select 2")
	})
}

func TestPostgresFirstMessages(t *testing.T) {
	w := newWorld(t, nil)
	var cancelled sync.WaitGroup
	cancelled.Add(1)
	rules := w.rules(1)
	rules.Clusters[0].Backends = []api.GatewayTarget{{Address: server(t, func(c net.Conn) {
		if got, _ := io.ReadAll(c); string(got) == cancel {
			cancelled.Done()
		}
	})}}
	w.apply(rules)
	for _, tt := range []struct{ name, send, reason string }{
		{"a session without TLS", startup, reasonNoTLS},
		{"bytes behind SSLRequest, before its answer", l4.PostgresSSLRequest + "\x16\x03\x01", reasonEarlyBytes},
		{"a length that no first message has", "\x00\x00\xff\xff\x00\x03\x00\x00", reasonNotTLS},
		{"a code that is none", "\x00\x00\x00\x08\x04\xd2\x16\x00", reasonNotTLS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.balancer(endpointA)
			if _, err := io.WriteString(c, tt.send); err != nil {
				t.Fatal(err)
			}
			closedWithoutAByte(t, c)
			w.control.awaitRefusal(tt.reason)
		})
	}
	t.Run("GSSAPI is refused once", func(t *testing.T) {
		c := w.balancer(endpointA)
		say(t, c, gssRequest, "N")
		if _, err := io.WriteString(c, gssRequest); err != nil {
			t.Fatal(err)
		}
		closedWithoutAByte(t, c)
		w.control.awaitRefusal(reasonBadPostgres)
	})
	t.Run("the name decides after SSLRequest too", func(t *testing.T) {
		c := w.balancer(endpointA)
		say(t, c, l4.PostgresSSLRequest, "S")
		w.knock(c, globexName, policy.EndpointNotAuthorised)
	})
	t.Run("a cancel request goes where the endpoint leads", func(t *testing.T) {
		c := w.balancer(endpointA)
		if _, err := io.WriteString(c, cancel); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		cancelled.Wait()
	})
	t.Run("and nowhere through an endpoint that leads nowhere", func(t *testing.T) {
		c := w.balancer(endpointC)
		if _, err := io.WriteString(c, cancel); err != nil {
			t.Fatal(err)
		}
		closedWithoutAByte(t, c)
		w.control.awaitRefusal(policy.EndpointNotAuthorised)
	})
}

func TestABackendWithoutTLSGetsNoHello(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeouts.Dial = 200 * time.Millisecond })
	for answer, name := range map[string]string{"N": "it says no", "E": "it does not know the request", "": "it is silent"} {
		rules := w.rules(int64(len(answer)) + 1)
		rules.Clusters[0].Backends = []api.GatewayTarget{{Address: w.postgres(answer)}}
		w.apply(rules)
		w.control.change(func() { w.control.flows = map[string]api.GatewayFlow{} })
		c := w.balancer(endpointA)
		say(t, c, l4.PostgresSSLRequest, "S")
		if _, err := w.tls(c, acmePrivate); err == nil {
			t.Errorf("%s: the handshake succeeded", name)
		}
		w.control.awaitEnd(reasonBackendTLS)
	}
}

// A backend that takes flows and does not answer SSLRequest is held to be as ill as one that closes every flow unanswered.
func TestABackendThatDoesNotAnswerPostgresIsNoticed(t *testing.T) {
	w := newWorld(t, nil)
	deaf := server(t, func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, len(l4.PostgresSSLRequest))) })
	rules := w.rules(1)
	rules.Clusters[0].Backends = append(rules.Clusters[0].Backends[:0], api.GatewayTarget{Address: deaf})
	w.apply(rules)
	for range 5 {
		c := w.balancer(endpointA)
		say(t, c, l4.PostgresSSLRequest, "S")
		if _, err := w.tls(c, acmePrivate); err == nil {
			t.Fatal("the handshake succeeded")
		}
	}
	w.control.await("the news of the backend", func() bool {
		return slices.ContainsFunc(w.control.health, func(h api.GatewayBackend) bool {
			return h.Backend == deaf && h.Reason == backend.ClosesUnanswered
		})
	})
}

// awaitEnd waits for the record of a flow that ended for a reason, and returns it.
func (c *fakeControl) awaitEnd(reason string) (found api.GatewayFlow) {
	c.t.Helper()
	c.await("a flow that ended with "+reason, func() bool {
		for _, f := range c.flows {
			if f.CloseReason == reason {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

func TestAPortThatCarriesAnything(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, change)
		rules := w.rules(1)
		banner := server(t, func(c net.Conn) { // speaks first, as SSH does
			_, _ = io.WriteString(c, "SSH-2.0-test\r\n")
			_, _ = io.Copy(c, c)
		})
		_, port, _ := net.SplitHostPort(banner)
		backendPort := netip.MustParseAddrPort("127.0.0.1:" + port).Port()
		rules.Ports = &[]api.GatewayPort{
			{Port: sftpPort, Protocol: "TCP", BackendPort: backendPort}, {Port: smtpPort, Denied: true},
		}
		rules.Clusters[1].EndpointIDs = append(rules.Clusters[1].EndpointIDs, endpointC)
		rules.Clusters[0].EndpointIDs = append(rules.Clusters[0].EndpointIDs, endpointC)
		w.apply(rules)

		c := w.balancerTo(endpointA, sftpPort)
		say(t, c, "", "SSH-2.0-test\r\n")
		say(t, c, "hello", "hello")
		_ = c.Close()
		if f := w.control.awaitEnd("CLIENT_CLOSED"); f.Port != sftpPort || f.Name != "" || f.ClusterID != acmeID || f.Backend != w.acme.addr {
			if !strings.HasSuffix(f.Backend, ":"+port) {
				t.Errorf("recorded %+v", f)
			}
		}
		for _, tt := range []struct {
			name, endpoint string
			port           uint16
			reason         string
		}{
			{"an endpoint of nobody", "vpce-0d0d0d0d0d0d0d0d0", sftpPort, policy.EndpointNotAuthorised},
			{"an endpoint of two clusters", endpointC, sftpPort, policy.AmbiguousEndpoint},
			{"no endpoint", "", sftpPort, policy.NoEndpointID},
			{"a port that the service denies", endpointA, smtpPort, policy.PortDenied},
		} {
			closedWithoutAByte(t, w.balancerTo(tt.endpoint, tt.port))
			if r := w.control.awaitRefusal(tt.reason); r.EndpointID != tt.endpoint {
				t.Errorf("%s: recorded %+v", tt.name, r)
			}
		}
	})
}

func TestAPortOfOneProtocol(t *testing.T) {
	w := newWorld(t, nil)
	rules := w.rules(1)
	rules.Ports = &[]api.GatewayPort{{Port: 443, Protocol: "TLS"}, {Port: 5432, Protocol: "POSTGRES"}}
	rules.Clusters[0].DeniedPorts = []uint16{8443}
	w.apply(rules)
	c := w.balancerTo(endpointA, 443)
	if _, err := io.WriteString(c, l4.PostgresSSLRequest); err != nil {
		t.Fatal(err)
	}
	closedWithoutAByte(t, c)
	w.control.awaitRefusal(reasonNotTLS)

	w.control.change(func() { w.control.refused = nil })
	w.knock(w.balancerTo(endpointA, 5432), acmePrivate, reasonNotTLS) // TLS at once, without saying that it is PostgreSQL
	direct := tls.Client(w.balancerTo(endpointA, 5432), &tls.Config{ServerName: acmePrivate, RootCAs: w.roots, NextProtos: []string{l4.PostgresALPN}})
	if err := direct.HandshakeContext(t.Context()); err != nil {
		t.Errorf("direct TLS with PostgreSQL's ALPN: %v", err)
	}
	w.knock(w.balancerTo(endpointA, 8443), acmePrivate, policy.PortDenied) // by the cluster's own profile
}

func TestBehindAPublicBalancer(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Listeners[1].TrustedPeers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	rules := w.rules(1)
	rules.Clusters[0].AllowList = []api.AllowRule{{Prefix: "203.0.113.0/24", SQL: true}}
	w.apply(rules)
	header := func(source string) map[string][]byte {
		v2 := l4.AppendProxyHeader(nil, l4.ProxyWriter{
			Source: netip.MustParseAddrPort(source + ":4000"), Destination: netip.MustParseAddrPort("198.51.100.1:443"), AWSEndpoint: endpointB,
		})
		return map[string][]byte{"v1": []byte("PROXY TCP4 " + source + " 198.51.100.1 4000 443\r\n"), "v2": v2}
	}
	for version, h := range header("203.0.113.9") {
		c := w.dial(w.g.PublicAddr())
		if _, err := c.Write(h); err != nil {
			t.Fatal(err)
		}
		over, err := w.tls(c, acmePublic)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		echo(t, over, "from the address that the balancer told")
	}
	for version, h := range header("192.0.2.1") {
		c := w.dial(w.g.PublicAddr())
		if _, err := c.Write(h); err != nil {
			t.Fatal(err)
		}
		if r := w.knock(c, acmePublic, policy.AddressNotAllowed); r.Source != "192.0.2.1" || r.EndpointID != "" {
			t.Errorf("%s: recorded %+v", version, r)
		}
		w.control.change(func() { w.control.refused = nil })
	}
	w.knock(w.dial(w.g.PublicAddr()), acmePublic, reasonNoProxyHeader)
}

func TestTheBackendLearnsWhoTheClientIs(t *testing.T) {
	w := newWorld(t, nil)
	headers := make(chan l4.ProxyHeader, 1)
	rules := w.rules(1)
	rules.Clusters[0].ProxyProtocol = true
	rules.Clusters[0].Backends = []api.GatewayTarget{{Address: server(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		n, err := io.ReadAtLeast(c, buf, 120)
		if err != nil {
			return
		}
		h, at, err := l4.ParseProxyHeader(buf[:n])
		if err != nil {
			t.Error(err)
			return
		}
		h.AWSEndpoint = bytes.Clone(h.AWSEndpoint)
		if _, _, err := l4.ParseClientHello(buf[at:n]); err != nil && !errors.Is(err, l4.ErrIncomplete) {
			t.Errorf("behind the header: %v", err)
		}
		headers <- h
	})}}
	w.apply(rules)
	_, _ = w.tls(w.balancer(endpointA), acmePrivate)
	if h := <-headers; string(h.AWSEndpoint) != endpointA || h.Source.String() != "10.1.2.3:40000" || h.Destination.Port() != 443 {
		t.Errorf("the backend was told %+v", h)
	}
}

func TestClaim(t *testing.T) {
	const code, claimID, domain = "kxq3v5m2p7", "33333333-3333-4333-8333-333333333333", "us-east-1.pe.postern.test"
	hash := sha256.Sum256([]byte(code))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var clock sync.Mutex
	at := now
	w := newWorld(t, func(c *Config) {
		c.Now = func() time.Time {
			clock.Lock()
			defer clock.Unlock()
			return at
		}
	})
	rules := w.rules(1)
	rules.Claims = []api.GatewayClaimRule{{ID: claimID, ClusterID: acmeID, Domain: domain, Hash: hash[:], ExpiresAt: now.Add(time.Hour)}}
	w.apply(rules)
	name := func(code string) string { return code + ".claim." + domain }

	w.knock(w.balancer(endpointC), name("wrong"), policy.UnknownClaim)
	r := w.knock(w.balancer(""), name(code), policy.NoEndpointID)
	if strings.Contains(r.Name, code) {
		t.Errorf("the code is in the record: %q", r.Name)
	}
	c := tls.Client(w.balancer(endpointC), &tls.Config{ServerName: name(code), InsecureSkipVerify: true})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.control.await("the claim", func() bool { return len(w.control.claims) == 1 })
	got := w.control.claims[0]
	if got.ClaimID != claimID || got.EndpointID != endpointC || got.Source != "10.1.2.3" || !got.At.Equal(now) {
		t.Errorf("reported %+v", got)
	}
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }, DisableKeepAlives: true}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name(code)+"/", nil)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var said claimAnswer
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.EndpointID != endpointC || said.ClusterID != acmeID || said.ClaimID != claimID {
		t.Errorf("answered %+v, %v", said, err)
	}
	f := w.control.awaitEnd(reasonClaimDone)
	if strings.Contains(f.Name, code) {
		t.Errorf("the code is in the record: %q", f.Name)
	}
	w.knock(w.balancer(endpointB), name(code), reasonClaimUsed)
	clock.Lock()
	at = now.Add(time.Hour)
	clock.Unlock()
	w.knock(w.balancer("vpce-0d0d0d0d0d0d0d0d0"), name(code), policy.ClaimExpired)
	for range claimBurst {
		_, _ = w.tls(w.balancer("vpce-0e0e0e0e0e0e0e0e0"), name("guess"))
	}
	w.knock(w.balancer("vpce-0e0e0e0e0e0e0e0e0"), name("guess"), reasonClaimRate)
}
