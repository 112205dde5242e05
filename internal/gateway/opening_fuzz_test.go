package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// undriven is a gateway whose flows nobody drives but the test: it has rules and no engine.
func undriven(t testing.TB) *Gateway {
	t.Helper()
	g := &Gateway{cfg: Config{ID: "gw-1", Now: time.Now, Log: testLog(t)}, begun: time.Now(), meters: newMeters(1 << 20)}
	g.log = g.cfg.Log
	g.seen = newObserver(g.cfg, 1, nil)
	g.pool = backend.NewPool(backend.Config{})
	t.Cleanup(g.pool.Close)
	set := link.RuleSet{
		Revision: 1, Ports: []link.PortRule{{Port: sftpPort, Protocol: link.ProtocolTCP}, {Port: smtpPort, Denied: true}},
		Clusters: []link.ClusterRules{{
			ClusterID: acmeID, PrivateNames: []string{acmePrivate}, PublicNames: []string{acmePublic},
			Backends: []link.Backend{{Address: "127.0.0.1:1"}}, Endpoints: []link.EndpointID{endpointA}, PublicAccess: link.PublicEnabled,
			AllowList: []link.AllowEntry{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), UI: true, SQL: true}},
		}},
	}
	g.rules.Store(policy.Compile(set))
	return g
}

// outcome is what the first bytes of a flow come to.
type outcome struct {
	end      engine.Verb
	reason   string
	name     string
	endpoint link.EndpointID
	cluster  link.ID
	replies  string
	taken    int
}

// drive gives a flow the bytes in pieces of at most size, as they are asked for, and returns what came of it. A flow that
// asks for more than there is sees the end.
func (g *Gateway) drive(side link.Listener, in []byte, size int) outcome {
	f := &flow{g: g, listener: &listener{ListenerConfig: ListenerConfig{Side: side}, port: 443}, source: netip.MustParseAddrPort("192.0.2.1:4000")}
	var out outcome
	held, at := 0, 0 // what of in was discarded, what has arrived
	a := engine.Action{Do: engine.Read, Need: 1}
	if side == link.PublicListener {
		f.sourceTold = true
		if a = f.identified(); a.Do == goOn {
			a = f.more(nil, false, 1, reasonNotTLS)
		}
	}
	for a.Do == engine.Read {
		out.replies += string(a.Reply)
		for at-held < a.Need && at < len(in) {
			at = min(at+size, len(in))
		}
		eof := at-held < a.Need
		a = f.open(in[held:at], eof)
		held += a.Discard
	}
	out.end, out.reason, out.name, out.endpoint, out.cluster, out.taken = a.Do, a.Reason, f.name, f.endpoint, f.cluster, held
	f.finish(engine.End{})
	return out
}

// FuzzOpening: whatever comes first, and in whatever pieces it comes, no flow makes the gateway fall, what is decided does
// not depend on the pieces, and nothing is left counted of a flow that has ended.
func FuzzOpening(f *testing.F) {
	hello := clientHello(f, acmePrivate)
	header := proxyHeader(endpointA)
	for _, in := range [][]byte{
		nil, header, append(append([]byte{}, header...), hello...), hello, clientHello(f, acmePublic), []byte(l4.PostgresSSLRequest),
		append(append([]byte{}, header...), gssRequest+l4.PostgresSSLRequest...), append(append([]byte{}, header...), cancel...),
		[]byte("PROXY TCP4 192.0.2.1 198.51.100.1 1 2222\r\n"), []byte("GET / HTTP/1.1\r\n\r\n"), []byte(startup),
	} {
		f.Add(in, false, 1)
		f.Add(in, true, 7)
	}
	g := undriven(f)
	f.Fuzz(func(t *testing.T, in []byte, public bool, size int) {
		side := link.PrivateListener
		if public {
			side = link.PublicListener
		}
		whole := g.drive(side, in, max(len(in), 1))
		pieces := g.drive(side, in, max(size%1500, 1))
		// A request for TLS that has company is refused; how much came along depends on the pieces.
		if whole.reason != reasonEarlyBytes && pieces.reason != reasonEarlyBytes && whole != pieces {
			t.Errorf("whole:  %+v\npieces: %+v", whole, pieces)
		}
		if n := g.meters.open.Load(); n != 0 || g.live.Load() != 0 {
			t.Errorf("%d flows are still counted, %d live", n, g.live.Load())
		}
	})
}
