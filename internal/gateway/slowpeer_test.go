package gateway

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/l4"
)

// carry has flows that were dialled to port carried to a server on acme's host, whatever they carry.
func carry(rules *api.GatewayRules, port uint16, addr string) {
	if rules.Ports == nil {
		rules.Ports = &[]api.GatewayPort{}
	}
	*rules.Ports = append(*rules.Ports, api.GatewayPort{Port: port, Protocol: "TCP", BackendPort: netip.MustParseAddrPort(addr).Port()})
}

// halfEnded is a server that ends its half at once, and waits for the client's end.
func halfEnded(t testing.TB) (addr string) {
	return server(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
}

// Whoever is silent is given up after the time for what he owes: at every place where something is waited for.
func TestSilentPeersAreGivenUp(t *testing.T) {
	const short, answered = 150 * time.Millisecond, 1500 * time.Millisecond // the second where an answer has to come before
	const echoPort, endedPort = 2000, 2001
	hello := clientHello(t, acmePrivate)
	header := func(port uint16) string {
		return string(l4.AppendProxyHeader(nil, l4.ProxyWriter{
			Source: netip.MustParseAddrPort("10.1.2.3:40000"), Destination: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.9"), port), AWSEndpoint: endpointA,
		}))
	}
	tests := []struct {
		name   string
		change func(*Timeouts)
		send   string
		answer string // what the client gets all the same
		refuse string // the reason of the refusal …
		close  string // … or, for an admitted flow, of its end
	}{
		{name: "nothing at all", change: func(o *Timeouts) { o.Header = short }, refuse: reasonHeaderTimeout},
		{name: "half a PROXY header", change: func(o *Timeouts) { o.Header = short }, send: header(443)[:30], refuse: reasonHeaderTimeout},
		{name: "a PROXY header and no more", change: func(o *Timeouts) { o.Hello = short }, send: header(443), refuse: reasonHelloTimeout},
		{name: "half a hello", change: func(o *Timeouts) { o.Hello = short }, send: header(443) + string(hello[:60]), refuse: reasonHelloTimeout},
		{name: "half an SSLRequest", change: func(o *Timeouts) { o.Hello = short }, send: header(443) + l4.PostgresSSLRequest[:5], refuse: reasonHelloTimeout},
		{
			name: "an SSLRequest and no hello", change: func(o *Timeouts) { o.Hello = answered },
			send: header(443) + l4.PostgresSSLRequest, answer: "S", refuse: reasonHelloTimeout,
		},
		{name: "a flow on which nothing moves", change: func(o *Timeouts) { o.Idle = answered }, send: header(echoPort) + "x", answer: "x", close: engine.Idle},
		{
			name: "a backend that has ended its half, and a client that is silent", change: func(o *Timeouts) { o.HalfClose = short },
			send: header(endedPort), close: engine.HalfClosed,
		},
	}
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, func(c *Config) {
					if change != nil {
						change(c)
					}
					tt.change(&c.Timeouts)
				})
				rules := w.rules(1)
				carry(&rules, echoPort, server(t, func(c net.Conn) { _, _ = io.Copy(c, c) }))
				carry(&rules, endedPort, halfEnded(t))
				w.apply(rules)
				c := w.dial(w.g.PrivateAddr())
				say(t, c, tt.send, tt.answer)
				closedWithoutAByte(t, c)
				if tt.refuse != "" {
					w.control.awaitRefusal(tt.refuse)
				} else {
					w.control.awaitEnd(tt.close)
				}
				eventually(t, "nothing is left of the flow", func() bool { return w.g.engine.Stats().Open == 0 && w.g.LiveFlows() == 0 })
			})
		}
	})
}

// clientHello returns the first bytes of a TLS client that asks for a name.
func clientHello(t testing.TB, name string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	var client sync.WaitGroup
	defer client.Wait()
	defer far.Close()
	client.Go(func() { _ = tlsClient(near, name).HandshakeContext(t.Context()) })
	b := make([]byte, 64<<10)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// Peers that do not read cost what the kernel holds for them, and little beside: what is on its way to them stays with
// their peers, and arrives whole when they go on.
func TestPeersThatDoNotReadHoldLittleMemory(t *testing.T) {
	const (
		flows    = 32
		size     = 6 << 20   // beyond what the kernel's buffers take
		buffers  = 256 << 10 // the peers' own; below a segment's size everything would be slow
		perFlow  = 160 << 10 // the largest buffer that a flow holds, and what is recorded of it
		downPort = 2000
		upPort   = 2001
	)
	block := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(block)
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, change)
		read := make(chan struct{}) // closed when everybody begins to read
		whole := func(c net.Conn) {
			defer c.Close()
			<-read
			got := make([]byte, 64<<10)
			at := 0
			for at < size {
				n, err := c.Read(got)
				if !bytes.Equal(got[:n], block[at:at+n]) {
					t.Errorf("other bytes than were sent, within %d of %d", n, at)
					return
				}
				if at += n; err != nil {
					break
				}
			}
			if at != size {
				t.Errorf("%d of %d bytes arrived", at, size)
			}
		}
		rules := w.rules(1)
		carry(&rules, downPort, server(t, func(c net.Conn) {
			_ = c.(*net.TCPConn).SetWriteBuffer(buffers)
			_, _ = c.Write(block)
		}))
		carry(&rules, upPort, server(t, func(c net.Conn) {
			_ = c.(*net.TCPConn).SetReadBuffer(buffers)
			whole(c)
		}))
		w.apply(rules)
		before := heap()
		var peers sync.WaitGroup
		for i := range flows {
			port := []uint16{downPort, upPort}[i%2]
			c := w.balancerTo(endpointA, port).(*net.TCPConn)
			_ = c.SetDeadline(time.Now().Add(6 * testPatient))
			if port == downPort {
				_ = c.SetReadBuffer(buffers)
				peers.Go(func() { whole(c) })
				continue
			}
			_ = c.SetWriteBuffer(buffers)
			peers.Go(func() {
				_, _ = c.Write(block)
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			})
		}
		eventually(t, "all flows are relayed", func() bool { return w.g.engine.Stats().Relaying == flows })
		var last engine.Stats
		same := 0
		eventually(t, "nothing moves any more", func() bool {
			s := w.g.engine.Stats()
			if same++; s.In != last.In || s.Out != last.Out {
				same = 0
			}
			last = s
			return same > 30
		})
		if most := uint64(flows/2) * size; last.In >= most || last.Out >= most {
			t.Fatalf("%d bytes in and %d out: the buffers took all, so that nobody waits for anybody", last.In, last.Out)
		}
		held := int64(heap()) - int64(before)
		t.Logf("%d flows whose peers do not read: %d KiB of heap each", flows, held/flows>>10)
		if held > flows*perFlow {
			t.Errorf("%d flows hold %d bytes, more than %d each", flows, held, perFlow)
		}
		close(read)
		peers.Wait()
		eventually(t, "all flows have ended", func() bool { return w.g.engine.Stats().Open == 0 })
	})
}

// heap returns the bytes of the heap that are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one took out of a sync.Pool
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
