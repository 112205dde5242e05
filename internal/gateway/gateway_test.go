package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

func TestAdmittedFlowIsPassedThroughAndRecorded(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	c := w.open(endpointA, acmePrivate)
	echo(t, c, "hello through the wall")
	w.control.await("the record of the flow's start", func() bool { return len(w.control.flows) == 1 })
	if n := w.g.LiveFlows(); n != 1 {
		t.Errorf("live flows: %d, want 1", n)
	}
	// The end of TCP alone: after TLS's own farewell it would be a matter of luck which side ends first.
	_ = c.NetConn().(*net.TCPConn).CloseWrite()
	var f api.GatewayFlow
	w.control.await("the record of the flow's end", func() bool {
		for _, f = range w.control.flows {
		}
		return f.EndedAt != nil
	})
	if f.ClusterID != acmeID || f.EndpointID != endpointA || f.Listener != "private" || f.Name != acmePrivate ||
		f.Source != "10.1.2.3:40000" || f.CloseReason != "CLIENT_CLOSED" || f.BytesIn < 200 || f.BytesOut < 200 {
		t.Errorf("record: %+v", f)
	}
	w.control.await("the backend's health", func() bool { return len(w.control.health) > 0 })
	if h := w.control.health[0]; !h.Healthy || h.Backend != w.acme.addr || h.ClusterID != acmeID {
		t.Errorf("backend health: %+v", h)
	}
	key := base64.RawURLEncoding.EncodeToString(w.cfg.Key.Public().(ed25519.PublicKey))
	if w.control.hellos[0] != key {
		t.Errorf("the stream was opened with proof key %q, want %q", w.control.hellos[0], key)
	}
}

func TestPublicFlowIsPassedThrough(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	c, err := w.tls(w.dial(w.g.PublicAddr()), acmePublic)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, "in by the front door")
}

func TestHalfCloseReachesTheOtherSide(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	c := w.open(endpointA, acmePrivate)
	echo(t, c, "first")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "bye from acme" {
		t.Errorf("after the client's half was closed: %q, %v", got, err)
	}
}

func TestRevocationCutsTheFlowAndNoOther(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	revoked := w.open(endpointA, acmePrivate)
	echo(t, revoked, "still allowed")
	stays := w.open(endpointB, globexName)

	// The flow that stays carries random data both ways all the while.
	var traffic sync.WaitGroup
	stop := make(chan struct{})
	var sent, received int64
	in, out := sha256.New(), sha256.New()
	traffic.Go(func() {
		src := rand.NewChaCha8([32]byte{1})
		buf := make([]byte, 16<<10)
		for {
			select {
			case <-stop:
				_ = stays.CloseWrite()
				return
			default:
			}
			_, _ = src.Read(buf)
			n, err := stays.Write(buf)
			if err != nil {
				t.Errorf("the flow that stays: write: %v", err)
				return
			}
			sent += int64(n)
			out.Write(buf[:n])
		}
	})
	traffic.Go(func() {
		// What comes back ends with the backend's farewell, which is not part of the echo.
		n, err := io.Copy(&tailless{h: in, hold: len("bye from globex")}, stays)
		received = n - int64(len("bye from globex"))
		if err != nil {
			t.Errorf("the flow that stays: read: %v", err)
		}
	})

	without := w.rules(2)
	without.Clusters[0].EndpointIDs = []string{}
	start := time.Now()
	w.control.publish(without)
	_, err := io.ReadAll(revoked)
	if took := time.Since(start); err == nil || took > time.Second {
		t.Errorf("the revoked flow ended after %v with %v; it has to be cut within a second, by a reset", took, err)
	}
	w.control.await("the record of the cut", func() bool {
		for _, f := range w.control.flows {
			if f.CloseReason == "REVOKED" && f.EndpointID == endpointA {
				return true
			}
		}
		return false
	})
	for i := int64(3); i < 10; i++ {
		w.apply(w.rules(i))
	}
	close(stop)
	traffic.Wait()
	if sent != received || [32]byte(in.Sum(nil)) != [32]byte(out.Sum(nil)) || sent == 0 {
		t.Errorf("the flow that stays sent %d bytes and got %d back, or others than it sent", sent, received)
	}
}

// tailless hashes everything but the last hold bytes.
type tailless struct {
	h    hash.Hash
	hold int
	tail []byte
}

func (w *tailless) Write(b []byte) (int, error) {
	w.tail = append(w.tail, b...)
	if n := len(w.tail) - w.hold; n > 0 {
		w.h.Write(w.tail[:n])
		w.tail = append(w.tail[:0], w.tail[n:]...)
	}
	return len(b), nil
}

func TestProofOfPath(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	gatewayKey := w.cfg.Key.Public().(ed25519.PublicKey)
	ask := func(t *testing.T, method, target string) answer {
		t.Helper()
		c := tls.Client(w.balancer(endpointA), &tls.Config{ServerName: "proof." + acmePrivate, InsecureSkipVerify: true})
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		state := c.ConnectionState()
		if state.Version != tls.VersionTLS13 || !gatewayKey.Equal(state.PeerCertificates[0].PublicKey) {
			t.Errorf("version %x, key %v: want TLS 1.3 with the gateway's proof key", state.Version, state.PeerCertificates[0].PublicKey)
		}
		return askProof(t, c, method, target)
	}
	n := nonce()
	resp := ask(t, "GET", "/?nonce="+n)
	var p link.PathProof
	if err := json.Unmarshal(resp.body, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(n, []ed25519.PublicKey{gatewayKey}); err != nil {
		t.Error(err)
	}
	if p.EndpointID != endpointA || p.ClusterID != acmeID || p.Source != "10.1.2.3:40000" || p.Listener != link.PrivateListener ||
		p.Name != "proof."+acmePrivate || p.GatewayID != "gw-1" {
		t.Errorf("proof: %+v", p)
	}
	if cc := resp.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("Cache-Control %q", cc)
	}
	w.control.await("the proof's flow record", func() bool {
		for _, f := range w.control.flows {
			if f.CloseReason == "PROOF_DONE" && f.EndpointID == endpointA && f.BytesIn > 0 && f.BytesOut > 0 {
				return true
			}
		}
		return false
	})
	for _, tt := range []struct {
		name, method, target string
		status               int
	}{
		{"no nonce", "GET", "/", 400},
		{"short nonce", "GET", "/?nonce=abc", 400},
		{"long nonce", "GET", "/?nonce=" + string(make129()), 400},
		{"nonce with a line break", "GET", "/?nonce=0123456789abcdef%0a", 400},
		{"two nonces", "GET", "/?nonce=" + n + "&nonce=" + n, 400},
		{"another path", "GET", "/favicon.ico", 404},
		{"another method", "POST", "/?nonce=" + n, 405},
		{"HEAD", "HEAD", "/?nonce=" + n, 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, tt.method, tt.target).status; got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
		})
	}
}

// A gateway that does not start leaves no listener open: its owner may try again at the same addresses.
func TestAGatewayThatDoesNotStartClosesItsListeners(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	for name, spoil := range map[string]func(*Config){
		"an address is taken": func(c *Config) { c.Listeners[0].Addr = taken.Addr().String() },
		"a bad configuration": func(c *Config) { c.ID = "" },
	} {
		t.Run(name, func(t *testing.T) {
			_, key, _ := ed25519.GenerateKey(nil)
			brought := listen(t)
			cfg := Config{ID: "gw", Key: key, Listeners: []ListenerConfig{
				{Side: link.PrivateListener, Addr: "127.0.0.1:0"},
				{Side: link.PublicListener, Listener: brought.(*net.TCPListener)},
			}}
			spoil(&cfg)
			if g, err := Start(t.Context(), cfg); err == nil {
				_ = g.Close()
				t.Fatal("it started")
			}
			if err := brought.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the listener was left open: %v", err)
			}
		})
	}
}

func TestAProofIsOneRequest(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	c := tls.Client(w.balancer(endpointA), &tls.Config{ServerName: "proof." + acmePrivate, InsecureSkipVerify: true})
	request := "GET /?nonce=" + nonce() + " HTTP/1.1\r\nHost: proof\r\n\r\n"
	if _, err := io.WriteString(c, request+request); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(c)
	if n := strings.Count(string(text), "200 OK"); n != 1 {
		t.Errorf("%d of two requests on one flow were answered, want 1", n)
	}
}

// A client that stops in the middle of the handshake with the gateway itself does not hold up a revocation.
func TestARevokedProofEndsInItsHandshake(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	halt := &gated{Conn: w.balancer(endpointA), until: make(chan struct{})}
	var shaking sync.WaitGroup
	shaking.Go(func() {
		_ = tls.Client(halt, &tls.Config{ServerName: "proof." + acmePrivate}).HandshakeContext(t.Context())
	})
	eventually(t, "the flow is admitted", func() bool { return w.g.LiveFlows() == 1 })
	begun := time.Now()
	rules := w.rules(2)
	rules.Clusters[0].EndpointIDs = nil
	w.apply(rules)
	w.control.awaitEnd(reasonRevoked)
	if took := time.Since(begun); took >= proofTimeout-time.Second {
		t.Errorf("it ended after %v, with the time of the handshake", took)
	}
	close(halt.until)
	shaking.Wait()
}

func make129() []byte {
	b := make([]byte, 129)
	for i := range b {
		b[i] = 'n'
	}
	return b
}

func TestGoesOnWithoutTheControlPlaneAndAfterARestart(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(7))
	flow := w.open(endpointA, acmePrivate)
	w.control.close()
	echo(t, flow, "the control plane is gone")
	echo(t, w.open(endpointA, acmePrivate), "and new flows pass")
	if err := w.g.Close(); err != nil {
		t.Fatal(err)
	}
	w.start()
	if r := w.g.Revision(); r != 7 {
		t.Fatalf("revision after the restart: %d, want 7", r)
	}
	echo(t, w.open(endpointA, acmePrivate), "after its own restart too")
	c, err := w.tls(w.balancer(endpointC), acmePrivate)
	if err == nil {
		t.Errorf("an endpoint that is not authorised got through: %v", c.ConnectionState().ServerName)
	}
}

// Rules change while flows are being opened: whenever in its life a flow is met by the change, it must not survive it.
func TestNoFlowSlipsThroughAChange(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ControlURL, c.Token = "", "" })
	compiled := func(rules api.GatewayRules) *policy.Rules {
		d, err := ruleDelta(rules)
		if err != nil {
			t.Fatal(err)
		}
		return policy.Compile(link.RuleSet{Revision: d.Revision, Clusters: d.Clusters})
	}
	allowed, without := compiled(w.rules(1)), w.rules(2)
	without.Clusters[0].EndpointIDs = nil
	revoked := compiled(without)
	for range 40 {
		w.g.enforce(allowed)
		var openers sync.WaitGroup
		for range 4 {
			conn := w.balancer(endpointA)
			openers.Go(func() {
				if c, err := w.tls(conn, acmePrivate); err == nil {
					_, _ = io.ReadAll(c) // until it is cut
				}
			})
		}
		eventually(t, "a flow is on its way", func() bool {
			return w.g.engine.Stats().Open > 0
		})
		w.g.enforce(revoked)
		openers.Wait()
		eventually(t, "no flow is left", func() bool { return w.g.LiveFlows() == 0 })
	}
}

func TestShutdownDrainsThenCuts(t *testing.T) {
	w := newWorld(t, nil)
	w.apply(w.rules(1))
	c := w.open(endpointA, acmePrivate)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { done <- w.g.Shutdown(ctx) }()
	echo(t, c, "while it drains")
	late := errors.New("the deadline")
	cancel(late)
	if err := <-done; !errors.Is(err, late) {
		t.Errorf("Shutdown: %v, want that a flow was cut at the deadline", err)
	}
	w.control.await("the last report", func() bool {
		for _, f := range w.control.flows {
			if f.CloseReason == "GATEWAY_SHUTDOWN" {
				return true
			}
		}
		return false
	})
}

// BenchmarkShortFlow is one flow from connect to close: PROXY header, TLS handshake, one small exchange. Most of it is
// the peers' cryptography.
func BenchmarkShortFlow(b *testing.B) {
	w := newWorld(b, func(c *Config) { c.Log = nil })
	w.apply(w.rules(1))
	b.ReportAllocs()
	for b.Loop() {
		c := w.open(endpointA, acmePrivate)
		echo(b, c, "ping")
		_ = c.Close()
	}
}
