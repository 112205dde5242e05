package l4

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Stream is one side of a relay: a connection of which the sending half can be closed alone. *net.TCPConn is one, and
// between two of them the kernel moves the bytes (splice) without showing them to us.
type Stream interface {
	net.Conn
	CloseWrite() error
}

// Why a relay ended. What happened first counts; Cut adds reasons of its caller's.
const (
	ClientClosed = "CLIENT_CLOSED" // the client was the first to end its half, in order
	ServerClosed = "SERVER_CLOSED"
	ClientReset  = "CLIENT_RESET" // the client's connection broke
	ServerReset  = "SERVER_RESET"
	WasCut       = "CUT"  // Cut was called without a reason
	Idle         = "IDLE" // no byte moved in either direction for as long as was allowed, or a peer stopped reading for so long
)

// Relay moves the bytes of one flow between a client and a server, both ways, each half closed when its source ends.
// Make one with NewRelay, call Run once; Cut and Bytes may be called at any time from anywhere.
type Relay struct {
	client, server Stream
	idle           time.Duration
	up, down       direction // from the client, to the client

	mu     sync.Mutex // guards what follows and every change of a deadline
	reason string     // why it ends: what happened first; empty while it lives
	abort  string     // why both directions have to stop now; empty while they need not
}

// direction is one half of a relay.
type direction struct {
	dst, src                 Stream
	closed, srcGone, dstGone string // the reasons that this direction can find

	count      atomic.Int64
	quietSince time.Time // guarded by Relay.mu: nothing moved from then …
	quietUntil time.Time // … until then; this one is zero while the direction has not looked yet
	ended      bool      // guarded by Relay.mu
}

// NewRelay prepares a relay. It owns both streams from Run on, which closes them. A flow on which nothing moves for
// idle ends within twice that time; 0 means that it may stay silent for ever.
func NewRelay(client, server Stream, idle time.Duration) *Relay {
	r := &Relay{client: client, server: server, idle: idle}
	r.up.dst, r.up.src = server, client
	r.up.closed, r.up.srcGone, r.up.dstGone = ClientClosed, ClientReset, ServerReset
	r.down.dst, r.down.src = client, server
	r.down.closed, r.down.srcGone, r.down.dstGone = ServerClosed, ServerReset, ClientReset
	return r
}

// Bytes returns how many bytes went from the client to the server and from the server to the client. While a flow is
// busy the numbers lag behind by up to the idle time: a splice tells how much it moved when it pauses.
func (r *Relay) Bytes() (in, out int64) { return r.up.count.Load(), r.down.count.Load() }

// Cut ends the relay at once: both peers see a reset, since what they got so far is not the whole. Run returns reason,
// unless the flow was being torn down for another one already. Cut before Run makes Run end at once.
func (r *Relay) Cut(reason string) {
	if reason == "" {
		reason = WasCut
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abort == "" {
		r.reason = reason // it tells more than that one side had already closed its half
		r.abortLocked(reason)
	}
}

// Run relays until both directions have ended and both streams are closed, and returns why.
func (r *Relay) Run() (reason string) {
	var wg sync.WaitGroup
	wg.Go(func() { r.pump(&r.up, &r.down) })
	r.pump(&r.down, &r.up)
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abort != "" {
		reset(r.server)
		if r.abort != ServerReset {
			// A client that got a part must not take it for the whole. When it was the server that broke off, what it had
			// sent is left to arrive: a reset would take it back.
			reset(r.client)
		}
	}
	_ = r.client.Close()
	_ = r.server.Close()
	return r.reason
}

// note keeps why the flow ends when nothing was noted before, and with abort wakes both directions for good.
func (r *Relay) note(reason string, abort bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == "" {
		r.reason = reason
	}
	if abort {
		r.abortLocked(reason)
	}
}

func (r *Relay) abortLocked(why string) {
	if r.abort == "" {
		r.abort = why
		_ = r.client.SetDeadline(longAgo)
		_ = r.server.SetDeadline(longAgo)
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// stuckPeriods is how many idle times a direction may take to return from a transfer: its reads end after one, so one
// that takes longer hangs in a write to a peer that has stopped reading.
const stuckPeriods = 3

// pump is one direction. With an idle time it works in periods of that length, which cost one wake-up each: so it
// counts what a splice moves, and sees that nothing moved, without touching a timer for every read.
func (r *Relay) pump(d, other *direction) {
	start := time.Now()
	r.mu.Lock()
	d.quietSince = start
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		d.ended = true
		r.mu.Unlock()
	}()
	for r.arm(d, start) {
		n, err := transfer(d.dst, d.src)
		d.count.Add(n)
		now := time.Now()
		switch {
		case err == nil:
			r.note(d.closed, false)
			_ = d.dst.CloseWrite() // an error here is one that the other direction meets too
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			if now.Sub(start) >= stuckPeriods*r.idle || !r.goOn(d, other, n, now) {
				r.note(Idle, true)
				return
			}
			start = now
		case broken(d.src):
			r.note(d.srcGone, true)
			return
		default:
			// The destination takes no more. What it sent before may still be on its way to the source: the other
			// direction brings that home and ends then, its own source being broken.
			r.note(d.dstGone, false)
			return
		}
	}
}

// arm sets the deadlines of a direction's next period. It reports false when the relay was stopped, whose deadlines
// must stay as they are.
func (r *Relay) arm(d *direction, start time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abort != "" {
		return false
	}
	if r.idle > 0 {
		_ = d.src.SetReadDeadline(start.Add(r.idle))
		_ = d.dst.SetWriteDeadline(start.Add(stuckPeriods * r.idle))
	}
	return true
}

// goOn takes the result of a period that ended at now, and reports whether the flow may live on: it may unless both
// directions were quiet for the idle time. The two do not end their periods together: one that finds itself quiet and
// knows nothing recent of the other wakes it, so that it looks too.
func (r *Relay) goOn(d, other *direction, n int64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abort != "" {
		return false
	}
	if n > 0 {
		d.quietSince = now
	}
	d.quietUntil = now
	slack := r.idle / 16
	since := d.quietSince
	if !other.ended {
		if other.quietSince.After(since) {
			since = other.quietSince
		}
		if now.Sub(since) >= r.idle-slack && now.Sub(other.quietUntil) > slack {
			_ = other.src.SetReadDeadline(longAgo)
			return true
		}
	}
	return now.Sub(since) < r.idle-slack
}

// transfer moves bytes from src to dst until src ends or a deadline passes. Between two TCP connections it splices.
func transfer(dst, src Stream) (int64, error) {
	if to, ok := dst.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(dst, src)
}

// broken reports whether a TCP connection is no more. The error of a splice does not say which of its two sides
// failed; a socket that was reset has no peer any longer.
func broken(s Stream) bool {
	c, ok := s.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		_, peerErr := syscall.Getpeername(int(fd))
		gone = peerErr != nil
	})
	return err != nil || gone
}

// reset makes the Close that follows send a reset in place of an orderly end.
func reset(s Stream) {
	if c, ok := s.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
}
