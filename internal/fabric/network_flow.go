package fabric

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// flow is one TCP stream from a vantage point to a target or an internet host. It is a net.Conn whose addresses are
// those of the fabric's world, and it can half-close. Whoever opened it closes it; the network cuts it when its
// endpoint is deleted, when it was idle for too long, and at the end.
type flow struct {
	conn       *net.TCPConn // to this machine's port; nil when the load balancer resets instead
	client     netip.AddrPort
	server     netip.AddrPort
	endpointID string // "" when it came through none
	r          way
	network    *network

	used  atomic.Int64 // when bytes last moved, in Unix nanoseconds
	timer *time.Timer  // the idle watch
	once  sync.Once
}

func (fl *flow) touch() { fl.used.Store(time.Now().UnixNano()) }

// errReset is what a reader sees of a load balancer that has nowhere to send a stream.
var errReset = os.NewSyscallError("read", syscall.ECONNRESET)

// Read reads what the target sends.
func (fl *flow) Read(b []byte) (int, error) {
	if fl.conn == nil {
		return 0, errReset
	}
	n, err := fl.conn.Read(b)
	if n > 0 {
		fl.touch()
	}
	return n, err
}

// Write sends to the target.
func (fl *flow) Write(b []byte) (int, error) {
	if fl.conn == nil {
		return 0, errReset
	}
	n, err := fl.conn.Write(b)
	if n > 0 {
		fl.touch()
	}
	return n, err
}

// CloseWrite tells the target that nothing more will come, and leaves its own direction open.
func (fl *flow) CloseWrite() error {
	if fl.conn == nil {
		return nil
	}
	return fl.conn.CloseWrite()
}

// Close ends the flow.
func (fl *flow) Close() error {
	var err error
	fl.once.Do(func() {
		fl.network.forget(fl)
		if fl.timer != nil {
			fl.timer.Stop()
		}
		if fl.conn != nil {
			err = fl.conn.Close()
		}
	})
	return err
}

// cut ends the flow as a load balancer does that has lost it: both sides see a reset.
func (fl *flow) cut() {
	if fl.conn != nil {
		_ = fl.conn.SetLinger(0)
	}
	_ = fl.Close()
}

// watchIdle cuts the flow once no byte has moved for so long. network.mu is held.
func (fl *flow) watchIdle(most time.Duration) {
	fl.timer = time.AfterFunc(most, func() {
		fl.network.mu.Lock() // watchIdle runs under it: the timer is set from here on
		timer := fl.timer
		fl.network.mu.Unlock()
		if left := most - time.Since(time.Unix(0, fl.used.Load())); left > 0 {
			timer.Reset(left)
			return
		}
		fl.cut()
	})
}

// LocalAddr is the client's address in its VPC.
func (fl *flow) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(fl.client) }

// RemoteAddr is the address that was dialled: an endpoint's interface, say.
func (fl *flow) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(fl.server) }

// SetDeadline sets both deadlines.
func (fl *flow) SetDeadline(t time.Time) error {
	if fl.conn == nil {
		return nil
	}
	return fl.conn.SetDeadline(t)
}

// SetReadDeadline sets the deadline of reads.
func (fl *flow) SetReadDeadline(t time.Time) error {
	if fl.conn == nil {
		return nil
	}
	return fl.conn.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of writes.
func (fl *flow) SetWriteDeadline(t time.Time) error {
	if fl.conn == nil {
		return nil
	}
	return fl.conn.SetWriteDeadline(t)
}

// splice relays between client and the flow until both directions have ended, or either broke. ahead is what the client
// sent before the flow stood. Each direction ends on its own: a client that has finished sending still gets its answer.
func (fl *flow) splice(client *net.TCPConn, ahead []byte) {
	if fl.conn == nil {
		_ = client.SetLinger(0)
		return
	}
	if len(ahead) > 0 {
		if _, err := fl.Write(ahead); err != nil {
			_ = client.SetLinger(0)
			return
		}
	}
	broken := func() {
		_ = client.SetLinger(0)
		_ = client.Close()
		fl.cut()
	}
	var wg sync.WaitGroup
	for _, dir := range [2]struct{ to, from *net.TCPConn }{{fl.conn, client}, {client, fl.conn}} {
		wg.Go(func() {
			if err := fl.pour(dir.to, dir.from); err != nil {
				broken()
				return
			}
			_ = dir.to.CloseWrite()
		})
	}
	wg.Wait()
}

// spliceLook is how often a direction that moves without a pause is noted down as used.
const spliceLook = 10 * time.Second

// pour moves bytes until from ends. Between two TCP connections the kernel moves them (splice(2)) and tells nothing
// meanwhile, so a read deadline interrupts it now and then to see whether any moved; it strikes only while waiting for
// bytes, so that none is lost.
func (fl *flow) pour(to, from *net.TCPConn) error {
	look := spliceLook
	if idle := fl.r.idle; idle > 0 {
		look = min(look, idle/4)
	}
	for {
		if err := from.SetReadDeadline(time.Now().Add(look)); err != nil {
			return err
		}
		n, err := io.Copy(to, from)
		if n > 0 {
			fl.touch()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}
