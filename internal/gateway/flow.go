package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Why an admitted flow ended, beside the engine's own reasons. The words are stable.
const (
	reasonRevoked     = "REVOKED"             // new rules no longer allow the flow
	reasonShutdown    = "GATEWAY_SHUTDOWN"    // the gateway's own end cut it
	reasonNoBackend   = "NO_BACKEND"          // the cluster has no backend
	reasonUnreachable = "BACKEND_UNREACHABLE" // no backend took the flow
	reasonBackendTLS  = "BACKEND_WITHOUT_TLS" // the backend did not answer SSLRequest with yes
	reasonExhausted   = "GATEWAY_EXHAUSTED"   // the gateway had no descriptor or port left to reach a backend
	reasonProofDone   = "PROOF_DONE"          // the gateway itself answered
	reasonClaimDone   = "CLAIM_DONE"          // the gateway itself answered
)

// mostDials is how many backends a flow tries.
const mostDials = 2

// flow is one stream from accept to end: the State of an engine's Flow. The engine's calls for one flow come one after
// the other; what an answering goroutine may read is written before it starts. There may be a million of them that do
// nothing, so that what can be found out again is not kept.
type flow struct {
	g        *Gateway
	listener *listener
	loop     int32

	phase       phase
	port        uint16 // as the client dialled it
	backendPort uint16 // of the rule of that port
	dials       uint8
	waits       uint16        // for the backend's address
	protocol    link.Protocol // of the rule of that port
	sourceTold  bool          // source is the client's: nobody stands between, or who does told
	nameless    bool
	timed       bool // the time for the ClientHello runs
	refusedGSS  bool
	postgres    bool // the client asked for TLS as PostgreSQL's clients do, and so must we
	entered     bool // counted as its party's
	admitted    bool
	proof       bool

	source   netip.AddrPort  // the client: as the load balancer told, or the peer
	endpoint link.EndpointID // empty: not through a private endpoint
	name     string          // the server name that the client sent
	at       time.Time       // when it was decided

	cluster link.ID
	claim   link.ID
	target  *policy.Target
	web     *webFlow // nil unless the gateway speaks HTTP on it
	backend *backend.Backend
	to      netip.AddrPort // the backend's address
	id      [16]byte       // of the flow's record
	ticket  ticket
	cut     atomic.Pointer[string] // why it was cut, once it was
}

// facts are what policy decides by.
func (f *flow) facts() policy.FlowFacts {
	facts := policy.FlowFacts{
		Listener: f.listener.Side, EndpointID: f.endpoint, Name: f.name, Nameless: f.nameless, Port: f.port, At: f.at,
	}
	if f.sourceTold {
		facts.Source = f.source.Addr()
	}
	return facts
}

func (f *flow) party() party { return partyOf(f.endpoint, f.source.Addr()) }

// flows recycles the values of flows that have ended.
var flows = sync.Pool{New: func() any { return new(flow) }}

// dataPath is the gateway as its engine calls it.
type dataPath Gateway

// Accepted implements engine.Handler.
func (d *dataPath) Accepted(ef *engine.Flow) engine.Action {
	g := (*Gateway)(d)
	f := flows.Get().(*flow)
	f.reset(g, ef)
	ef.State = f
	g.seen.counts.accepted(int(f.loop), f.listener.Side)
	peer := f.source.Addr()
	trusted := f.listener.trusts(peer)
	front := f.listener.Front
	if (f.listener.Side == link.PrivateListener || front != nil) && !trusted {
		return f.refuse("", reasonUntrustedPeer)
	}
	if trusted && (front == nil || front.ProxyHeader) {
		return engine.Action{Do: engine.Read, Need: 1, Within: g.cfg.Timeouts.Header}
	}
	f.sourceTold = true
	if a := f.identified(); a.Do != goOn {
		return a
	}
	return f.more(nil, false, 1, reasonNotTLS)
}

func (f *flow) reset(g *Gateway, ef *engine.Flow) {
	l := ef.Tag().(*listener)
	*f = flow{g: g, listener: l, loop: int32(ef.Loop()), source: ef.Peer(), port: l.port}
}

// Received implements engine.Handler.
func (d *dataPath) Received(ef *engine.Flow, read []byte, eof bool) engine.Action {
	return ef.State.(*flow).open(read, eof)
}

// TimedOut implements engine.Handler.
func (d *dataPath) TimedOut(ef *engine.Flow, read []byte) engine.Action {
	f := ef.State.(*flow)
	switch f.phase {
	case inHeader:
		return f.refuse("", reasonHeaderTimeout)
	case inDial:
		return f.dial(nil)
	case inGreeting:
		return f.notGreeted()
	}
	return f.refuse("", reasonHelloTimeout)
}

// refuse closes a flow that may not pass. The peer is told nothing.
func (f *flow) refuse(cluster link.ID, reason string) engine.Action {
	f.g.seen.refused(f, cluster, reason, false)
	return engine.Action{Do: engine.Close, Reason: reason}
}

// decide asks policy, and sends an admitted flow on its way.
func (f *flow) decide() engine.Action {
	g := f.g
	f.at = g.cfg.Now()
	now := g.monotonic()
	_, _, isClaim := link.CutClaim(f.name)
	if isClaim && !g.meters.mayClaim(f.party(), now) {
		return f.refuse("", reasonClaimRate) // before it is known whether the code is right
	}
	d := g.rules.Load().Decide(f.facts())
	if d.Claim != "" && !g.claims.open(d.Claim, f.endpoint) {
		return f.refuse(d.ClusterID, reasonClaimUsed)
	}
	if !d.Allow {
		return f.refuse(d.ClusterID, d.Reason)
	}
	var limits link.Limits
	if d.Target != nil {
		limits = d.Target.Limits
	}
	if reason := g.meters.admit(f.party(), d.ClusterID, limits, now); reason != "" {
		return f.refuse(d.ClusterID, reason)
	}
	if d.WouldRefuse {
		g.seen.refused(f, d.ClusterID, d.Reason, true)
	}
	f.admitted, f.cluster, f.proof, f.claim, f.target = true, d.ClusterID, d.Proof, d.Claim, d.Target
	g.live.Add(1)
	g.seen.started(f)
	switch {
	case d.Claim != "":
		return f.answer(reasonClaimDone)
	case d.Proof:
		return f.answer(reasonProofDone)
	}
	if f.proxied(d.Target) {
		return f.serve()
	}
	return f.dial(nil)
}

// holds reports whether rules still let a flow pass that was admitted: to the same cluster and in the same way, which is
// to say with its TLS ended here or not. That its backends changed does not end a flow, and an answer to a claim is not
// cut short by the claim's own success.
func (f *flow) holds(rules *policy.Rules) bool {
	switch {
	case f.claim != "":
		return true
	case f.fronted():
		return f.web.holds(rules)
	}
	d := rules.Decide(f.facts())
	return d.Allow && d.ClusterID == f.cluster && d.Proof == f.proof && f.proxied(d.Target) == (f.web != nil)
}

// recheck cuts the admitted flows that rules no longer allow, and returns how many. The rules must be in force already:
// a flow that is decided from now on looks at them itself.
func (g *Gateway) recheck(rules *policy.Rules) int {
	var cut atomic.Int64
	reason := reasonRevoked
	g.engine.Each(func(ef *engine.Flow) (string, bool) {
		f, _ := ef.State.(*flow)
		if f == nil || !f.admitted && !f.fronted() || f.holds(rules) {
			return "", false
		}
		if f.cut.CompareAndSwap(nil, &reason) {
			cut.Add(1)
		}
		return reason, true
	})
	g.web.server.Recheck()
	return int(cut.Load())
}
