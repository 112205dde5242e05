package gateway

import (
	"net"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/l4"
)

// Pauses after a failed accept. Most of the time no file descriptor is left, which only the end of other flows heals:
// trying on at full speed would take the processor from them.
const (
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// accept takes flows from a listener until the gateway stops to accept.
func (g *Gateway) accept(l *listener) {
	side := l.Side
	pause := time.Duration(0)
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			select {
			case <-g.ending:
				return
			default:
			}
			if pause == 0 {
				g.log.Error("cannot accept flows: will go on trying", "listener", side, "error", err)
			}
			pause = min(max(2*pause, acceptPause), acceptPauseMax)
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-g.ending:
				timer.Stop()
				return
			}
			continue
		}
		if pause != 0 {
			g.log.Info("accepts flows again", "listener", side)
			pause = 0
		}
		stream, ok := conn.(l4.Stream)
		if !ok {
			g.log.Error("the listener gives connections that cannot be half-closed: only TCP listeners can be served", "listener", side)
			_ = conn.Close()
			continue
		}
		f := &flow{g: g, listener: l, conn: stream, peer: addrPort(conn.RemoteAddr())}
		f.facts.Listener = side
		g.flows.add(f)
		g.working.Go(f.serve)
	}
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
