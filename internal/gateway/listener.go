package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/postern/postern/internal/link"
)

// listener is where flows of one side arrive.
type listener struct {
	ListenerConfig
	addr net.Addr
	port uint16 // that clients dial
}

// listen opens the listeners. When it fails some may be open: see closeListeners.
func (g *Gateway) listen(ctx context.Context) error {
	for _, c := range g.cfg.Listeners {
		if c.Listener == nil {
			var lc net.ListenConfig
			lc.SetMultipathTCP(false) // no balancer speaks it, and it makes every flow dearer
			opened, err := lc.Listen(ctx, "tcp", c.Addr)
			if err != nil {
				return fmt.Errorf("%s listener: %w", c.Side, err)
			}
			c.Listener = opened.(*net.TCPListener)
		}
		l := &listener{ListenerConfig: c, addr: c.Listener.Addr(), port: c.Port}
		if l.port == 0 {
			l.port = addrPort(l.addr).Port()
		}
		g.listeners = append(g.listeners, l)
	}
	return nil
}

// closeListeners closes the listeners that were opened and those that the caller brought, for a gateway that does not
// start.
func (g *Gateway) closeListeners(brought []ListenerConfig) {
	for _, l := range g.listeners {
		_ = l.Listener.Close()
	}
	for _, c := range brought {
		if c.Listener != nil {
			_ = c.Listener.Close()
		}
	}
}

// PrivateAddr returns where the first private listener listens, nil when there is none.
func (g *Gateway) PrivateAddr() net.Addr { return g.addrOf(link.PrivateListener) }

// PublicAddr returns where the first public listener listens, nil when there is none.
func (g *Gateway) PublicAddr() net.Addr { return g.addrOf(link.PublicListener) }

func (g *Gateway) addrOf(side link.Listener) net.Addr {
	for _, l := range g.listeners {
		if l.Side == side {
			return l.addr
		}
	}
	return nil
}

// addrPort returns a TCP address as a value, IPv4 as IPv4; the zero value for any other address.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// trusts reports whether PROXY headers of this peer count.
func (l *listener) trusts(peer netip.Addr) bool {
	for _, p := range l.TrustedPeers {
		if p.Contains(peer.WithZone("")) {
			return true
		}
	}
	return false
}
