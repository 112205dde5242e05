package gateway

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// knock opens a TLS flow that has to be refused without a byte, and returns what was recorded of it.
func (w *world) knock(conn net.Conn, name, reason string) api.GatewayRefusal {
	w.t.Helper()
	recorder := &recording{Conn: conn}
	if c, err := w.tls(recorder, name); err == nil {
		w.t.Fatalf("the flow to %s was admitted: %v", name, c.RemoteAddr())
	}
	if recorder.got > 0 {
		w.t.Errorf("a refused peer got %d bytes", recorder.got)
	}
	return w.control.awaitRefusal(reason)
}

type recording struct {
	net.Conn
	got int
}

func (r *recording) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.got += n
	return n, err
}

func TestRefusals(t *testing.T) {
	private, public := link.PrivateListener, link.PublicListener
	narrow := []api.AllowRule{{Prefix: "203.0.113.0/24", UI: true}}
	tests := []struct {
		name     string
		listener link.Listener
		endpoint string
		ask      string
		rules    func(*api.GatewayRules)
		want     api.GatewayRefusal // Listener, counts and times are filled in
	}{
		{
			"an endpoint of another cluster", private, endpointB, acmePrivate, nil,
			api.GatewayRefusal{ClusterID: acmeID, EndpointID: endpointB, Name: acmePrivate, Source: "10.1.2.3", Reason: policy.EndpointNotAuthorised},
		},
		{
			"its proof name is no way round", private, endpointB, "proof." + acmePrivate, nil,
			api.GatewayRefusal{ClusterID: acmeID, EndpointID: endpointB, Name: "proof." + acmePrivate, Source: "10.1.2.3", Reason: policy.EndpointNotAuthorised},
		},
		{
			"not through an endpoint", private, "", acmePrivate, nil,
			api.GatewayRefusal{ClusterID: acmeID, Name: acmePrivate, Source: "10.1.2.3", Reason: policy.NoEndpointID},
		},
		{
			"an unknown name", private, endpointA, "nowhere.pe.postern.test", nil,
			api.GatewayRefusal{EndpointID: endpointA, Name: "nowhere.pe.postern.test", Source: "10.1.2.3", Reason: policy.UnknownName},
		},
		{
			"a public name at the private listener", private, endpointA, acmePublic, nil,
			api.GatewayRefusal{ClusterID: acmeID, EndpointID: endpointA, Name: acmePublic, Source: "10.1.2.3", Reason: policy.WrongListener},
		},
		{
			"a private name at the public listener", public, "", acmePrivate, nil,
			api.GatewayRefusal{ClusterID: acmeID, Name: acmePrivate, Source: "127.0.0.1", Reason: policy.WrongListener},
		},
		{
			"a proof name at the public listener", public, "", "proof." + acmePrivate, nil,
			api.GatewayRefusal{ClusterID: acmeID, Name: "proof." + acmePrivate, Source: "127.0.0.1", Reason: policy.WrongListener},
		},
		{
			"public access disabled", public, "", acmePublic,
			func(r *api.GatewayRules) { r.Clusters[0].PublicAccess = "DISABLED" },
			api.GatewayRefusal{ClusterID: acmeID, Name: acmePublic, Source: "127.0.0.1", Reason: policy.PublicAccessDisabled},
		},
		{
			"an address that is not on the allow list", public, "", acmePublic,
			func(r *api.GatewayRules) { r.Clusters[0].AllowList = narrow },
			api.GatewayRefusal{ClusterID: acmeID, Name: acmePublic, Source: "127.0.0.1", Reason: policy.AddressNotAllowed},
		},
		{
			"no server name", public, "", "127.0.0.1", nil, // a TLS client sends no server name for an address
			api.GatewayRefusal{Source: "127.0.0.1", Reason: policy.NoServerName},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			rules := w.rules(1)
			if tt.rules != nil {
				tt.rules(&rules)
			}
			w.apply(rules)
			var conn net.Conn
			if tt.listener == private {
				conn = w.balancer(tt.endpoint)
			} else {
				conn = w.dial(w.g.PublicAddr())
			}
			got := w.knock(conn, tt.ask, tt.want.Reason)
			tt.want.Listener, tt.want.Count = string(tt.listener), 1
			tt.want.FirstAt, tt.want.LastAt = got.FirstAt, got.LastAt
			if got != tt.want || got.FirstAt.IsZero() {
				t.Errorf("recorded %+v\nwant     %+v", got, tt.want)
			}
		})
	}
}

func TestRefusesEverybodyWithoutRules(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RulesFile = "" })
	if r := w.knock(w.balancer(endpointA), acmePrivate, policy.NoRules); r.EndpointID != endpointA || r.Name != acmePrivate {
		t.Errorf("recorded %+v", r)
	}
}

func TestReportOnlyLetsPassAndTells(t *testing.T) {
	w := newWorld(t, nil)
	rules := w.rules(1)
	rules.Clusters[0].PublicAccess = "REPORT_ONLY"
	w.apply(rules)
	c, err := w.tls(w.dial(w.g.PublicAddr()), acmePublic)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, "still open")
	if r := w.control.awaitRefusal(policy.PublicAccessDisabled); !r.WouldRefuse || r.ClusterID != acmeID {
		t.Errorf("recorded %+v", r)
	}
}

func TestRepeatedRefusalsAreCounted(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ReportEvery = 200 * time.Millisecond })
	w.apply(w.rules(1))
	for range 5 {
		if _, err := w.tls(w.balancer(endpointC), acmePrivate); err == nil {
			t.Fatal("admitted")
		}
	}
	w.control.await("five refused attempts", func() bool {
		var n int64
		for _, r := range w.control.refused {
			n += r.Count
		}
		return n == 5 && len(w.control.refused) < 5
	})
}

// proxyHeader is what the tests' balancer sends.
func proxyHeader(endpoint string) []byte {
	return l4.AppendProxyHeader(nil, l4.ProxyWriter{
		Source: netip.MustParseAddrPort("10.1.2.3:40000"), Destination: netip.MustParseAddrPort("10.1.0.9:443"), AWSEndpoint: endpoint,
	})
}

func TestFirstBytesThatAreRefused(t *testing.T) {
	flipped := proxyHeader(endpointA)
	flipped[20] ^= 1
	datagram := proxyHeader(endpointA)
	datagram[13] = 0x12
	long := make([]byte, 16)
	copy(long, flipped)
	binary.BigEndian.PutUint16(long[14:], 0xffff)
	huge := []byte{22, 3, 1, 0x40, 0, 1, 2, 0, 0} // a ClientHello of 128 KiB
	tests := []struct {
		name   string
		public bool
		send   []byte
		end    bool // the peer ends its half after that
		reason string
	}{
		{name: "no PROXY header at the private listener", send: []byte("\x16\x03\x01\x00\x05hello world, this is TLS"), reason: reasonNoProxyHeader},
		{name: "a PROXY header of version 1", send: []byte("PROXY TCP4 10.1.2.3 10.1.0.9 1 2\r\n"), reason: reasonNoProxyHeader},
		{name: "a header with a wrong checksum", send: flipped, reason: reasonBadProxyHeader},
		{name: "a header for UDP", send: datagram, reason: reasonBadProxyHeader},
		{name: "a header of 64 KiB", send: long, reason: reasonBadProxyHeader},
		{name: "a header cut short", send: flipped[:40], end: true, reason: reasonBadProxyHeader},
		{name: "an endpoint id that is none", send: proxyHeader("vpce-nope"), reason: reasonBadEndpointID},
		{name: "HTTP in the clear", send: append(proxyHeader(endpointA), "GET / HTTP/1.1\r\n\r\n"...), reason: reasonNotTLS},
		{name: "HTTP in the clear, from outside", public: true, send: []byte("GET / HTTP/1.1\r\n\r\n"), reason: reasonNotTLS},
		{name: "a PROXY header at the public listener is not believed", public: true, send: proxyHeader(endpointA), reason: reasonNotTLS},
		{name: "a TLS server's first bytes", public: true, send: []byte{22, 3, 3, 0, 4, 2, 0, 0, 0}, reason: reasonBadHello},
		{name: "a hello that is too long", public: true, send: huge, reason: reasonHelloTooLong},
		{name: "a hello cut short", public: true, send: []byte{22, 3, 1, 0, 200, 1, 0}, end: true, reason: reasonBadHello},
		{name: "silence after the header", send: proxyHeader(endpointA), reason: reasonHelloTimeout},
		{name: "silence", public: true, reason: reasonHelloTimeout},
		{name: "silence before the header", reason: reasonHeaderTimeout},
		{name: "half a header and silence", send: flipped[:40], reason: reasonHeaderTimeout},
	}
	w := newWorld(t, func(c *Config) { c.Timeouts.Header, c.Timeouts.Hello = 100*time.Millisecond, 100*time.Millisecond })
	w.apply(w.rules(1))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := w.g.PrivateAddr()
			if tt.public {
				addr = w.g.PublicAddr()
			}
			w.control.change(func() { w.control.refused = nil })
			conn := w.dial(addr)
			if _, err := conn.Write(tt.send); err != nil {
				t.Fatal(err)
			}
			if tt.end {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
			closedWithoutAByte(t, conn)
			w.control.awaitRefusal(tt.reason)
		})
	}
}

func TestATrickledHelloIsTakenAndASlowOneIsNot(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeouts.Hello = 300 * time.Millisecond })
	w.apply(w.rules(1))
	// Byte by byte, as a path with a tiny window would deliver it.
	crumbs := &crumbling{Conn: w.balancer(endpointA)}
	c, err := w.tls(crumbs, acmePrivate)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, "in crumbs")
	// One byte now and then keeps no flow open beyond the time for the whole hello.
	slow := w.balancer(endpointA)
	start := time.Now()
	hello := []byte{22, 3, 1, 0, 200}
	for i := 0; time.Since(start) < testPatient; i++ {
		b := byte(0)
		if i < len(hello) {
			b = hello[i]
		} else if i == len(hello) {
			b = 1
		}
		if _, err := slow.Write([]byte{b}); err != nil {
			break
		}
		_ = slow.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		if _, err := slow.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			break
		}
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("a slow client held a flow for %v", took)
	}
	w.control.awaitRefusal(reasonHelloTimeout)
}

type crumbling struct{ net.Conn }

func (c *crumbling) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestHealthChecksLeaveNoTrace(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	for _, send := range [][]byte{
		nil, // connects and leaves
		l4.AppendProxyHeader(nil, l4.ProxyWriter{}), // LOCAL
		proxyHeader(endpointA),                      // a client behind the balancer that connects and leaves
	} {
		conn := w.dial(w.g.PrivateAddr())
		if _, err := conn.Write(send); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		closedWithoutAByte(t, conn)
	}
	w.knock(w.balancer(endpointC), acmePrivate, policy.EndpointNotAuthorised) // what comes after them is recorded
	if n := len(w.control.refused); n != 1 {
		t.Errorf("%d kinds of refused attempts, want 1: %+v", n, w.control.refused)
	}
}

func TestOnlyTrustedPeersAreBelieved(t *testing.T) {
	for _, trusted := range [][]netip.Prefix{nil, {netip.MustParsePrefix("10.0.0.0/8")}} {
		w := newWorld(t, func(c *Config) { c.Listeners[0].TrustedPeers = trusted })
		w.apply(w.rules(1))
		r := w.knock(w.balancer(endpointA), acmePrivate, reasonUntrustedPeer)
		if r.Source != "127.0.0.1" || r.EndpointID != "" || r.ClusterID != "" {
			t.Errorf("recorded %+v: nothing of an untrusted header may be there", r)
		}
	}
}

func TestBackendsAreTriedInTurn(t *testing.T) {
	w := newWorld(t, nil)
	dead := listen(t)
	gone := dead.Addr().String()
	_ = dead.Close()
	rules := w.rules(1)
	rules.Clusters[0].Backends = []api.GatewayTarget{{Address: gone}, {Address: w.acme.addr}}
	rules.Clusters[1].Backends = []api.GatewayTarget{{Address: gone}}
	w.apply(rules)
	for range 4 {
		echo(t, w.open(endpointA, acmePrivate), "one of them lives")
	}
	if _, err := w.tls(w.balancer(endpointB), globexName); err == nil {
		t.Error("a flow without a living backend was answered")
	}
	w.control.await("the dead backend's health and the flow's record", func() bool {
		told := slices.ContainsFunc(w.control.health, func(h api.GatewayBackend) bool {
			return h.Backend == gone && !h.Healthy && h.Reason == backend.ConnectionRefused && h.ClusterID == globexID
		})
		for _, f := range w.control.flows {
			if told && f.ClusterID == globexID && f.CloseReason == reasonUnreachable && f.EndedAt != nil {
				return true
			}
		}
		return false
	})
	n := 0
	w.control.change(func() {
		for _, h := range w.control.health {
			if h.ClusterID == acmeID && h.Backend == gone {
				n++
			}
		}
	})
	if n > 1 {
		t.Errorf("an unchanged backend was reported %d times", n)
	}
}

func TestIdleFlowsEnd(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeouts.Idle = 200 * time.Millisecond })
	w.apply(w.rules(1))
	c := w.open(endpointA, acmePrivate)
	_, _ = io.ReadAll(c)
	w.control.await("the idle flow's record", func() bool {
		for _, f := range w.control.flows {
			if f.CloseReason == l4.Idle {
				return true
			}
		}
		return false
	})
}
