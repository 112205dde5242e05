package gateway

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/l4"
)

// resolvePause is how long a flow waits before it asks again for the address of a backend whose name was not looked up
// before, which only the first flows after a change of backends meet.
const resolvePause = 20 * time.Millisecond

// dial sends the flow to a backend other than failed.
func (f *flow) dial(failed *backend.Backend) engine.Action {
	f.phase = inDial
	b, to, err := f.g.pool.Pick(f.addressee(), failed)
	switch {
	case errors.Is(err, backend.ErrUnresolved) && time.Duration(f.waits)*resolvePause < f.g.cfg.Timeouts.Dial:
		f.waits++
		return engine.Action{Do: engine.Wait, Within: resolvePause}
	case err != nil && failed != nil:
		return f.end(reasonUnreachable)
	case err != nil:
		return f.end(reasonNoBackend)
	}
	f.backend, f.to = b, to
	f.dials++
	return engine.Action{
		Do: engine.Dial, To: to, Within: f.g.cfg.Timeouts.Dial, Preface: f.preface(to), Eager: !f.postgres,
	}
}

// addressee is where the flow goes, in the pool's terms.
func (f *flow) addressee() backend.Target {
	t := f.target
	return backend.Target{
		ClusterID: t.ClusterID, Port: f.backendPort, Backends: t.Backends, Health: t.Health, ProxyProtocol: t.ProxyProtocol,
	}
}

// end ends an admitted flow.
func (f *flow) end(reason string) engine.Action {
	return engine.Action{Do: engine.Close, Reason: reason}
}

// preface is what a backend gets before the client's own bytes; nil for most.
func (f *flow) preface(to netip.AddrPort) []byte {
	if !f.postgres && !f.target.ProxyProtocol {
		return nil
	}
	var b []byte
	if f.target.ProxyProtocol {
		b = l4.AppendProxyHeader(make([]byte, 0, 128), f.proxyHeader(to))
	}
	if f.postgres {
		b = append(b, l4.PostgresSSLRequest...)
	}
	return b
}

// proxyHeader tells a backend who the client is, as the load balancer told us. The destination is the backend with the
// port that the client dialled: the address that it dialled means nothing here.
func (f *flow) proxyHeader(to netip.AddrPort) l4.ProxyWriter {
	w := l4.ProxyWriter{Source: f.source, Destination: netip.AddrPortFrom(to.Addr(), f.port)}
	id := string(f.endpoint)
	if n, ok := strings.CutPrefix(id, azureEndpointIDPrefix); ok {
		v, err := strconv.ParseUint(n, 10, 32)
		w.AzureLink, w.HasAzureLink = uint32(v), err == nil
	} else if n, ok := strings.CutPrefix(id, gcpEndpointIDPrefix); ok {
		v, err := strconv.ParseUint(n, 10, 64)
		w.GCPConnection, w.HasGCPConnection = v, err == nil
	} else {
		w.AWSEndpoint = id
	}
	return w
}

// Connected implements engine.Handler.
func (d *dataPath) Connected(ef *engine.Flow, err error) engine.Action {
	f := ef.State.(*flow)
	b := f.backend
	switch {
	case err == nil:
		b.Connected()
		if f.postgres {
			f.phase = inGreeting
			return engine.Action{Do: engine.Await, Need: 1, Within: f.g.cfg.Timeouts.Dial}
		}
		f.phase = inRelay
		return engine.Action{Do: engine.Relay}
	case errors.Is(err, engine.ErrLocal):
		b.Ended(false, false) // no fault of its own
		f.backend = nil
		return f.end(reasonExhausted)
	}
	b.Failed(f.to, err)
	f.backend = nil
	if f.dials >= mostDials {
		return f.end(reasonUnreachable)
	}
	return f.dial(b)
}

// Answered implements engine.Handler: the backend's answer to SSLRequest is one byte.
func (d *dataPath) Answered(ef *engine.Flow, read []byte, _ bool) engine.Action {
	f := ef.State.(*flow)
	if len(read) != 1 || read[0] != l4.PostgresYes {
		return f.notGreeted()
	}
	f.phase = inRelay
	return engine.Action{Do: engine.Relay, Discard: 1}
}

func (f *flow) notGreeted() engine.Action {
	return f.end(reasonBackendTLS)
}

// Ended implements engine.Handler.
func (d *dataPath) Ended(ef *engine.Flow, e engine.End) {
	f := ef.State.(*flow)
	if e.Reason == engine.Detached {
		return // its goroutine calls finish
	}
	f.finish(e)
	ef.State = nil
	flows.Put(f)
}

// finish gives back what the flow was counted for, and records its end.
func (f *flow) finish(e engine.End) {
	g := f.g
	if f.backend != nil {
		silent := e.Reason == reasonBackendTLS && e.FirstByte == 0 // SSLRequest was not answered, which no client can bring about
		f.backend.Ended(e.Out > 0, silent || e.Reason == engine.ServerClosed || e.Reason == engine.ServerReset)
	}
	g.seen.ended(f, e)
	if f.admitted {
		g.meters.release(f.cluster)
		g.live.Add(-1)
	}
	if f.entered {
		g.meters.leave(f.party())
	}
}

// answer hands the flow to the gateway's own server.
func (f *flow) answer(reason string) engine.Action {
	f.phase = inRelay
	return engine.Action{Do: engine.Detach, Take: func(stream net.Conn, done <-chan struct{}) {
		in, out := f.g.proof.answer(f, stream.(l4.Stream), done)
		f.finish(engine.End{Reason: f.cutOr(done, reason), In: in, Out: out})
	}}
}

// cutOr returns why the flow was cut when it was, and reason otherwise.
func (f *flow) cutOr(done <-chan struct{}, reason string) string {
	select {
	case <-done:
		if r := f.cut.Load(); r != nil {
			return *r
		}
		return reasonShutdown
	default:
		return reason
	}
}
