package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/policy"
)

// tlsClient returns a TLS client that takes any certificate.
func tlsClient(c net.Conn, name string) *tls.Conn {
	return tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true})
}

// dialFrom connects from another address of this host.
func (w *world) dialFrom(source string, addr net.Addr) net.Conn {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := d.DialContext(w.t.Context(), "tcp", addr.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * testPatient))
	return conn
}

// At the bound of flows the gateway stops to accept: what comes waits in the kernel's queue, costs it nothing, and has
// its turn when others end.
func TestAFloodBeyondTheBoundWaits(t *testing.T) {
	const bound = 16
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, func(c *Config) {
			if change != nil {
				change(c)
			}
			c.MaxFlows, c.Timeouts.Header = bound, 300*time.Millisecond
		})
		w.apply(w.rules(1))
		keeps := w.open(endpointA, acmePrivate)
		// Nobody knows yet whose these are: they are silent before their PROXY header.
		flood := make([]net.Conn, 4*bound)
		for i := range flood {
			flood[i] = w.dial(w.g.PrivateAddr())
		}
		eventually(t, "the gateway is full", func() bool { return w.g.engine.Stats().Open >= bound })
		echo(t, keeps, "whoever is in stays in")
		for _, c := range flood {
			closedWithoutAByte(t, c)
			if s := w.g.engine.Stats(); s.Open > bound+1 { // one more is counted while it turns away
				t.Fatalf("%d flows are open, of %d", s.Open, bound)
			}
		}
		if w.g.engine.Stats().Paused == 0 {
			t.Error("accepting never paused")
		}
		echo(t, w.open(endpointA, acmePrivate), "after the flood")
		echo(t, keeps, "still in")
	})
}

// A source that fills the public door with silence leaves room for others.
func TestASilentFloodLeavesRoomForOthers(t *testing.T) {
	const bound = 64
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, func(c *Config) {
			if change != nil {
				change(c)
			}
			c.MaxFlows = bound
		})
		w.apply(w.rules(1))
		for range 3 * bound {
			w.dial(w.g.PublicAddr())
		}
		w.control.awaitRefusal(reasonFairShare)
		over := tlsClient(w.dialFrom("127.0.0.2", w.g.PublicAddr()), acmePublic)
		if err := over.HandshakeContext(t.Context()); err != nil {
			t.Fatalf("another source is kept out: %v", err)
		}
		echo(t, over, "there is room")
		echo(t, w.open(endpointB, globexName), "for private endpoints too")
		if n := w.g.engine.Stats().Open; n > bound-bound/8+2 {
			t.Errorf("%d flows are open, of %d: the flood has what is for others", n, bound)
		}
	})
}

// One endpoint that opens all it can gets what nobody else wants, and no more; what it has it keeps.
func TestAGreedyEndpointLeavesRoomForOthers(t *testing.T) {
	const bound = 64
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, func(c *Config) {
			if change != nil {
				change(c)
			}
			c.MaxFlows = bound
		})
		rules := w.rules(1)
		carry(&rules, 2000, server(t, func(c net.Conn) { _, _ = io.Copy(c, c) }))
		rules.Clusters[1].Backends = rules.Clusters[0].Backends
		w.apply(rules)
		modest := w.balancerTo(endpointB, 2000)
		say(t, modest, "early", "early")
		var greedy []net.Conn
		for {
			c := w.balancerTo(endpointA, 2000)
			if _, err := io.WriteString(c, "more"); err != nil {
				break
			}
			if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
				break
			}
			if greedy = append(greedy, c); len(greedy) > bound {
				t.Fatalf("%d flows, of %d", len(greedy), bound)
			}
		}
		if r := w.control.awaitRefusal(reasonFairShare); r.EndpointID != endpointA {
			t.Errorf("refused %+v", r)
		}
		if len(greedy) < bound/2 {
			t.Errorf("the greedy endpoint got %d flows though nobody else wanted them", len(greedy))
		}
		for range bound / 16 {
			say(t, w.balancerTo(endpointB, 2000), "room", "room")
		}
		for _, c := range append(greedy, modest) {
			say(t, c, "still", "still")
		}
	})
}

// However many come at the same moment, as many get in as the limits say: not one more, and not one less.
func TestLimitsHoldWhenManyComeAtOnce(t *testing.T) {
	const limit, comers = 5, 60
	for name, tt := range map[string]struct {
		limits api.GatewayLimits
		reason string
	}{
		"of the cluster":   {api.GatewayLimits{Flows: limit}, reasonClusterFull},
		"of each endpoint": {api.GatewayLimits{FlowsPerEndpoint: limit}, reasonEndpointFull},
	} {
		t.Run(name, func(t *testing.T) {
			bothEngines(t, func(t *testing.T, change func(*Config)) {
				w := newWorld(t, func(c *Config) {
					if change != nil {
						change(c)
					}
					c.Loops = 4
				})
				rules := w.rules(1)
				rules.Clusters[0].Limits = &tt.limits
				carry(&rules, 2000, server(t, func(c net.Conn) { _, _ = io.Copy(c, c) }))
				w.apply(rules)
				conns := make([]net.Conn, comers)
				for i := range conns {
					conns[i] = w.dial(w.g.PrivateAddr())
				}
				header := headerTo(2000)
				var mu sync.Mutex
				var in []net.Conn
				var all sync.WaitGroup
				for _, c := range conns {
					all.Go(func() {
						_, _ = c.Write(slices.Concat(header, []byte("in?")))
						got, err := io.ReadAll(io.LimitReader(c, 3))
						switch {
						case err == nil && string(got) == "in?":
							mu.Lock()
							defer mu.Unlock()
							in = append(in, c)
						case len(got) > 0:
							t.Errorf("a refused peer got %q", got)
						}
					})
				}
				all.Wait()
				if len(in) != limit {
					t.Fatalf("%d flows were admitted, of %d that may be", len(in), limit)
				}
				w.control.await("the refusals", func() bool {
					var n int64
					for _, r := range w.control.refused {
						if r.Reason == tt.reason {
							n += r.Count
						}
					}
					return n == comers-limit
				})
				_ = in[0].Close()
				eventually(t, "a place is free", func() bool { return w.g.LiveFlows() == limit-1 })
				say(t, w.balancerTo(endpointA, 2000), "my turn", "my turn")
			})
		})
	}
}

// headerTo is the PROXY header of endpoint A's flow to a port.
func headerTo(port uint16) []byte {
	return l4.AppendProxyHeader(nil, l4.ProxyWriter{Source: addr4("10.1.2.3", 40000), Destination: addr4("10.1.0.9", port), AWSEndpoint: endpointA})
}

// Rules that change as fast as they can be told: a flow that all of them allow never blinks, the last ones hold, and who
// is refused by all of them gets nothing at any moment.
func TestAStormOfRules(t *testing.T) {
	const revisions = 200
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, change)
		rules := w.rules(1)
		carry(&rules, 2000, server(t, func(c net.Conn) { _, _ = io.Copy(c, c) }))
		w.apply(rules)
		stays := w.balancerTo(endpointA, 2000)
		var others sync.WaitGroup
		var over atomic.Bool
		others.Go(func() {
			buf := make([]byte, 8)
			for !over.Load() {
				if _, err := io.WriteString(stays, "constant"); err != nil {
					t.Errorf("the flow that stays: %v", err)
					return
				}
				if _, err := io.ReadFull(stays, buf); err != nil || string(buf) != "constant" {
					t.Errorf("the flow that stays got %q, %v", buf, err)
					return
				}
			}
		})
		others.Go(func() {
			for !over.Load() {
				if n := knockOnce(t.Context(), w.g.PrivateAddr(), endpointC, "anybody?"); n > 0 {
					t.Errorf("a refused peer got %d bytes", n)
					return
				}
			}
		})
		for i := range int64(revisions) {
			next := w.rules(2 + i)
			next.Ports = rules.Ports
			if i%2 == 0 {
				next.Clusters[1].EndpointIDs = nil
			}
			w.control.publish(next)
			if i%8 == 7 {
				w.awaitRevision(2 + i) // so that not all of them are overtaken before they are sent
			}
		}
		w.control.await("the acknowledgement of the last rules", func() bool { return slices.Contains(w.control.acks, revisions+1) })
		over.Store(true)
		others.Wait()
		echo(t, w.open(endpointB, globexName), "by the last rules")
	})
}

// knockOnce opens a flow to a port that carries anything, and returns how many bytes it got.
func knockOnce(ctx context.Context, addr net.Addr, endpoint, say string) int64 {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return 0
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testPatient))
	header := l4.AppendProxyHeader(nil, l4.ProxyWriter{Source: addr4("10.1.2.4", 40000), Destination: addr4("10.1.0.9", 2000), AWSEndpoint: endpoint})
	_, _ = c.Write(append(header, say...))
	n, _ := io.Copy(io.Discard, c)
	return n
}

// Whatever comes first, a peer that is not admitted gets no byte, and nothing of it stays.
func TestGarbageIsAnsweredWithNothing(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, change)
		w.apply(w.rules(1))
		rnd := rand.New(rand.NewPCG(1, 2))
		noise := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}
		header, hello := proxyHeader(endpointA), clientHello(t, acmePrivate)
		long := slices.Clone(header[:16])
		long[14], long[15] = 0xff, 0xff
		var first [][]byte
		for range 60 {
			first = append(first,
				noise(1+rnd.IntN(3000)),
				append(slices.Clone(header), noise(1+rnd.IntN(3000))...),
				header[:rnd.IntN(len(header))],
				append(slices.Clone(header), hello[:rnd.IntN(len(hello))]...),
				append(slices.Clone(long), noise(70_000)...),
				append(slices.Clone(header), append([]byte(l4.PostgresSSLRequest), noise(20)...)...),
				append(slices.Clone(header), append(bytes.Repeat([]byte(gssRequest), 3), noise(20)...)...),
				append([]byte{22, 3, 1, 0x40, 0}, noise(17_000)...),
			)
		}
		for i, send := range first {
			addr := w.g.PrivateAddr()
			if i%3 == 0 {
				addr = w.g.PublicAddr()
			}
			c := w.dial(addr)
			_, _ = c.Write(send) // which may be cut off in the middle
			_ = c.(*net.TCPConn).CloseWrite()
			got, _ := io.ReadAll(c)
			if len(got) > 0 {
				t.Errorf("to %x… of %d bytes there was an answer: %q", send[:min(40, len(send))], len(send), got)
			}
			_ = c.Close()
		}
		eventually(t, "nothing is left of them", func() bool { return w.g.engine.Stats().Open == 0 })
		echo(t, w.open(endpointA, acmePrivate), "and it goes on")
		w.knock(w.balancer(endpointC), acmePrivate, policy.EndpointNotAuthorised)
	})
}
