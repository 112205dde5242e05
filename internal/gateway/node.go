package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/httpproxy"
	"github.com/postern/postern/internal/l4"
)

// node is a backend that one request goes to. It implements httpproxy.Node; its methods are called one after the other.
type node struct {
	flow    *flow
	backend *backend.Backend
	to      netip.AddrPort
	key     string
	own     bool // its connections begin with a PROXY header
	over    bool // the backend was told how it ended
}

// pick implements httpproxy.Config's Pick.
func (w *webServer) pick(ctx context.Context, d httpproxy.Destination) (httpproxy.Node, error) {
	wf := d.Flow.State.(*webFlow)
	site := w.sites.get(wf.rules.Load())
	target := wf.target.Load()
	if site.made == nil {
		return nil, httpproxy.ErrNoNode // the rules changed under the request
	}
	list, group := site.backends(target, d.Direct)
	to := backend.Target{
		ClusterID: target.ClusterID, Port: wf.flow.backendPort, Group: group, Backends: list, Health: target.Health,
		ProxyProtocol: target.ProxyProtocol,
	}
	var exclude *backend.Backend
	if failed, ok := d.Failed.(*node); ok {
		exclude = failed.backend
	}
	until := w.g.cfg.Timeouts.Dial
	for {
		b, addr, err := w.g.pool.Pick(to, exclude)
		switch {
		case err == nil:
			wf.backend.Store(b)
			n := &node{flow: wf.flow, backend: b, to: addr, key: site.key(addr), own: target.ProxyProtocol}
			return n, nil
		case !errors.Is(err, backend.ErrUnresolved) || until <= 0:
			return nil, fmt.Errorf("%w: %w", httpproxy.ErrNoNode, err)
		}
		until -= resolvePause
		if !sleep(ctx, resolvePause) {
			return nil, context.Cause(ctx)
		}
	}
}

// Key implements httpproxy.Node.
func (n *node) Key() string { return n.key }

// Own implements httpproxy.Node: a connection that told the backend whose flow it is belongs to that flow alone.
func (n *node) Own() bool { return n.own }

// Dial implements httpproxy.Node.
func (n *node) Dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: n.flow.g.cfg.Timeouts.Dial}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", n.to.String())
	if err == nil && n.own {
		_ = conn.SetWriteDeadline(time.Now().Add(n.flow.g.cfg.Timeouts.Dial))
		if _, err = conn.Write(l4.AppendProxyHeader(make([]byte, 0, 128), n.flow.proxyHeader(n.to))); err != nil {
			_ = conn.Close()
		}
		_ = conn.SetWriteDeadline(time.Time{})
	}
	switch {
	case err == nil:
		n.backend.Connected()
		return conn, nil
	case context.Cause(ctx) != nil: // the client has left, which tells nothing of the backend
		n.end(func() { n.backend.Ended(false, false) })
	default:
		n.end(func() { n.backend.Failed(n.to, err) })
	}
	return nil, err
}

// Ended implements httpproxy.Node.
func (n *node) Ended(answered, broken bool) {
	n.end(func() { n.backend.Ended(answered, broken) })
}

func (n *node) end(tell func()) {
	if !n.over {
		n.over = true
		tell()
	}
}
