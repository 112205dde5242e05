package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// netFlow is a Flow and what its goroutine knows of it.
type netFlow struct {
	Flow
	e      *netEngine
	turn   *sync.Mutex // its loop's
	client *net.TCPConn

	// Guarded by turn.
	wasCut string // why; empty while it was not
	stop   func() // ends what the goroutine is waiting for; nil while it waits for nothing
	begun  bool   // Accepted was called
	over   bool   // Ended was called, and no detached stream is left

	// The goroutine's own.
	up, down       []byte  // read from the client, from the backend, and not passed on
	got            *[]byte // which of them the Handler's last call got, if any
	upEnd, downEnd bool    // nothing comes after these
	server         *net.TCPConn
	eager          bool
	limit          time.Time // of Read and Await; zero is never
	dialed         time.Time // or connected, once it is
	tally          netTally
	end            End
}

// ask has the Handler decide. A flow that was cut closes, whatever the Handler would want.
func (f *netFlow) ask(decide func(Handler) Action) Action {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.stop = nil
	if f.wasCut != "" {
		return Action{Do: Close, Reason: f.wasCut, Reset: true}
	}
	return decide(f.e.cfg.Handler)
}

// begin notes how to stop what the goroutine is about to wait for. It reports false when the flow was cut before.
func (f *netFlow) begin(stop func()) bool {
	f.turn.Lock()
	defer f.turn.Unlock()
	if f.wasCut != "" {
		return false
	}
	f.stop = stop
	return true
}

// cut is called with the turn held.
func (f *netFlow) cut(reason string) {
	if f.wasCut != "" {
		return
	}
	f.wasCut = reason
	if reason == "" {
		f.wasCut = WasCut
	}
	if f.stop != nil {
		f.stop()
	}
}

// live is the flow's goroutine.
func (f *netFlow) live(a Action) {
	for {
		if f.got != nil {
			*f.got = (*f.got)[min(max(a.Discard, 0), len(*f.got)):]
		}
		f.got = nil
		switch connected := f.server != nil; {
		case a.Do == Close:
			f.close(a.Reason, a.Reset)
			return
		case a.Do == Read && !connected:
			if len(a.Reply) > 0 { // to write nothing would take an error that the Read is to find
				if _, err := f.client.Write(a.Reply); err != nil {
					f.close(ClientReset, true)
					return
				}
			}
			if f.upEnd {
				f.close(ClientClosed, false)
				return
			}
			a = f.read(f.client, &f.up, &f.upEnd, a, Handler.Received)
		case a.Do == Dial && (!connected || !f.eager):
			a = f.dial(a)
		case a.Do == Await && connected && !f.eager:
			if f.downEnd {
				f.close(ServerClosed, false)
				return
			}
			a = f.read(f.server, &f.down, &f.downEnd, a, Handler.Answered)
		case a.Do == Wait && (!connected || !f.eager):
			a = f.wait(a)
		case a.Do == Relay && connected:
			reason := f.relay()
			f.finish(reason)
			return
		case a.Do == Detach && !connected:
			f.detach(a.Take)
			return
		default:
			if f.e.cfg.Trouble != nil {
				f.e.cfg.Trouble(fmt.Errorf("the handler answered with verb %d, which is not possible then", a.Do))
			}
			f.close(WasCut, true)
			return
		}
	}
}

var longAgo = time.Unix(1, 0)

// read reads until what is needed is there, and asks tell what to do then.
func (f *netFlow) read(from *net.TCPConn, got *[]byte, end *bool, a Action,
	tell func(Handler, *Flow, []byte, bool) Action,
) Action {
	if a.Within > 0 {
		f.limit = time.Now().Add(a.Within)
	}
	need := max(a.Need, len(*got)+1)
	_ = from.SetReadDeadline(f.limit)
	defer func() { _ = from.SetReadDeadline(time.Time{}) }()
	if !f.begin(func() { _ = from.SetReadDeadline(longAgo) }) {
		return f.ask(nil)
	}
	buf := make([]byte, 4<<10)
	for len(*got) < need && !*end {
		n, err := from.Read(buf)
		*got = append(*got, buf[:n]...)
		if n > 0 && from == f.server {
			f.sawFirstByte()
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return f.timedOut()
		case from == f.client && !errors.Is(err, io.EOF):
			return Action{Do: Close, Reason: ClientReset, Reset: true}
		default:
			*end = true
		}
	}
	f.got = got
	return f.ask(func(h Handler) Action { return tell(h, &f.Flow, *got, *end) })
}

func (f *netFlow) timedOut() Action {
	f.limit, f.got = time.Time{}, &f.up
	return f.ask(func(h Handler) Action { return h.TimedOut(&f.Flow, f.up) })
}

// wait waits for the time limit.
func (f *netFlow) wait(a Action) Action {
	if a.Within > 0 {
		f.limit = time.Now().Add(a.Within)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !f.limit.IsZero() {
		timer := time.AfterFunc(time.Until(f.limit), cancel)
		defer timer.Stop()
	}
	if f.begin(cancel) {
		<-ctx.Done()
	}
	return f.timedOut()
}

func (f *netFlow) sawFirstByte() {
	if f.end.FirstByte == 0 {
		f.end.FirstByte = max(time.Since(f.dialed), 1)
	}
}

// dial connects and writes the preface.
func (f *netFlow) dial(a Action) Action {
	f.hangUp()
	f.limit = time.Time{}
	f.eager, f.dialed = a.Eager, time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if a.Within > 0 {
		ctx, cancel = context.WithTimeout(ctx, a.Within)
		defer cancel()
	}
	if !f.begin(cancel) {
		return f.ask(nil)
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", a.To.String())
	if err == nil {
		first := a.Preface
		if a.Eager {
			first = append(append([]byte(nil), first...), f.up...)
		}
		f.server = conn.(*net.TCPConn)
		if _, err = f.server.Write(first); err != nil {
			f.hangUp()
		}
	}
	if err != nil {
		return f.ask(func(h Handler) Action { return h.Connected(&f.Flow, dialError(ctx, err)) })
	}
	f.end.Connect = max(time.Since(f.dialed), 1)
	f.dialed = time.Now()
	if a.Eager {
		f.tally.in.Add(int64(len(f.up)))
		f.e.in.Add(uint64(len(f.up)))
		f.up = nil
	}
	return f.ask(func(h Handler) Action { return h.Connected(&f.Flow, nil) })
}

// dialError returns what the Handler is told.
func dialError(ctx context.Context, err error) error {
	var errno syscall.Errno
	switch {
	case ctx.Err() != nil:
		return os.ErrDeadlineExceeded
	case errors.As(err, &errno):
		switch errno {
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
			return fmt.Errorf("%w: %w", ErrLocal, errno)
		}
		return errno
	}
	return err
}

func (f *netFlow) hangUp() {
	if f.server == nil {
		return
	}
	_ = f.server.SetLinger(0)
	_ = f.server.Close()
	f.server, f.down, f.downEnd = nil, nil, false
	f.end.Connect, f.end.FirstByte = 0, 0
}

// detach hands the client's stream over. The goroutine is the taker's then.
func (f *netFlow) detach(take func(net.Conn, <-chan struct{})) {
	done := make(chan struct{})
	f.turn.Lock()
	if f.wasCut != "" {
		close(done)
	}
	f.stop = func() {
		_ = f.client.SetLinger(0)
		close(done)
	}
	f.e.cfg.Handler.Ended(&f.Flow, End{Reason: Detached})
	f.turn.Unlock()
	var conn net.Conn = f.client
	if len(f.up) > 0 {
		conn = &prefixed{TCPConn: f.client, rest: f.up}
	}
	take(conn, done)
	_ = conn.Close()
	f.turn.Lock()
	f.over = true
	f.turn.Unlock()
	f.leave()
}

// close ends a flow that does not relay.
func (f *netFlow) close(reason string, reset bool) {
	f.turn.Lock()
	cut := f.wasCut
	f.turn.Unlock()
	if cut != "" {
		reason, reset = cut, true
	}
	if reset {
		_ = f.client.SetLinger(0)
	}
	_ = f.client.Close()
	end := f.end // hangUp forgets
	f.hangUp()
	f.end = end
	f.finish(reason)
}

// finish tells the Handler that the flow has ended.
func (f *netFlow) finish(reason string) {
	f.end.Reason, f.end.In, f.end.Out = reason, f.tally.in.Load(), f.tally.out.Load()
	f.turn.Lock()
	f.e.cfg.Handler.Ended(&f.Flow, f.end)
	f.over = true
	f.turn.Unlock()
	f.leave()
}

func (f *netFlow) leave() {
	f.e.mu.Lock()
	delete(f.e.flows, f)
	f.e.mu.Unlock()
	f.e.census.leave()
}
