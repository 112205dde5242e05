//go:build unix

package engine

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestAFlowIsRelayed(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		before := descriptors()
		var peer netip.AddrPort
		var tag any
		r := newRig(t, start, Config{}, &script{accepted: func(f *Flow) Action {
			peer, tag = f.Peer(), f.Tag()
			f.State = "mine"
			return Action{Do: Read, Need: 1}
		}})
		client, server := r.pair()
		if st := r.engine.Stats(); st.Open != 1 || st.Accepted != 1 {
			t.Errorf("%+v", st)
		}
		_ = client.CloseWrite()
		hearEnd(t, server)
		say(t, server, "goodbye")
		_ = server.Close()
		hear(t, client, "goodbye")
		hearEnd(t, client)
		_ = client.Close()
		if e := r.end(ClientClosed); e.In != 5 || e.Out != 14 || e.Connect <= 0 || e.FirstByte <= 0 {
			t.Errorf("%+v", e)
		}
		if peer != addrPort(client.LocalAddr()) || tag != "door" {
			t.Errorf("peer %v, tag %v", peer, tag)
		}
		_ = r.engine.Close()
		if st := r.engine.Stats(); st.In != 5 || st.Out != 14 {
			t.Errorf("%+v", st)
		}
		if before > 0 {
			eventually(t, "as many descriptors as before", func() bool { return descriptors() <= before+1 }) // the backend's
		}
	})
}

func TestAnOpeningInPieces(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		var seen []string
		r := newRig(t, start, Config{}, &script{
			accepted: func(*Flow) Action { return Action{Do: Read, Need: 4} },
			received: func(_ *Flow, read []byte, eof bool) Action {
				seen = append(seen, string(read))
				if eof {
					t.Error("told of an end that was none")
				}
				if rest, ok := strings.CutPrefix(string(read), "head"); ok && len(rest) < 9 {
					return Action{Do: Read, Discard: 4, Need: 9}
				}
				return Action{Do: Close, Reason: "SEEN"}
			},
		})
		c := r.dial()
		for _, b := range []byte("headbody12345") {
			say(t, c, string(b))
		}
		r.end("SEEN")
		// How the pieces come together is the network's choice, but never less than was asked for.
		if n := len(seen); n > 2 || !strings.HasPrefix(seen[0], "head") || !strings.HasSuffix(seen[n-1], "body12345") {
			t.Errorf("saw %q", seen)
		}
	})
}

func TestALongOpening(t *testing.T) {
	const size = 100 << 10 // more than any read brings at once
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{}, &script{
			accepted: func(*Flow) Action { return Action{Do: Read, Need: size} },
		})
		c := r.dial()
		go send(t, c, 1, size)
		s := r.accept()
		receive(t, s, 1, size)
		_ = s.CloseWrite()
		r.end(ClientClosed)
	})
}

func TestBytesThatAreDiscardedAreNotPassedOn(t *testing.T) {
	for _, eager := range []bool{false, true} {
		both(t, func(t *testing.T, start starter) {
			h := &script{}
			h.received = func(*Flow, []byte, bool) Action {
				return Action{Do: Dial, To: h.to, Discard: 6, Preface: []byte("PROXY "), Eager: eager}
			}
			r := newRig(t, start, Config{}, h)
			c := r.dial()
			say(t, c, "headerbody")
			s := r.accept()
			hear(t, s, "PROXY body")
			_ = c.Close()
			hearEnd(t, s)
			_ = s.Close()
			if e := r.end(ClientClosed); e.In != 4 {
				t.Errorf("%d bytes in, want those of the client's own that went out", e.In)
			}
		})
	}
}

func TestAReplyBeforeTheNextRead(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		h := &script{}
		h.received = func(_ *Flow, read []byte, _ bool) Action {
			if string(read) == "SSL?" {
				return Action{Do: Read, Discard: 4, Reply: []byte("S"), Need: 1}
			}
			return Action{Do: Dial, To: h.to}
		}
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "SSL?")
		hear(t, c, "S")
		say(t, c, "hello")
		hear(t, r.accept(), "hello")
	})
}

// As PostgreSQL has it: the backend's answer to the preface is taken before the client's bytes go out.
func TestAwaitingAnAnswer(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		h := &script{}
		h.received = func(*Flow, []byte, bool) Action {
			return Action{Do: Dial, To: h.to, Preface: []byte("SSL?")}
		}
		h.connected = func(_ *Flow, err error) Action {
			if err != nil {
				t.Error(err)
			}
			return Action{Do: Await, Need: 2}
		}
		h.answered = func(_ *Flow, read []byte, eof bool) Action {
			if string(read) != "S+" || eof {
				t.Errorf("answered %q, %v", read, eof)
			}
			return Action{Do: Relay, Discard: 1}
		}
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "hello")
		s := r.accept()
		hear(t, s, "SSL?")
		say(t, s, "S")
		say(t, s, "+")
		hear(t, s, "hello")
		hear(t, c, "+")
		_ = c.CloseWrite()
		hearEnd(t, s)
		_ = s.Close()
		if e := r.end(ClientClosed); e.In != 5 || e.Out != 1 || e.FirstByte <= 0 {
			t.Errorf("%+v", e)
		}
	})
}

func TestAnotherBackendWhenTheAnswerDoesNotCome(t *testing.T) {
	for name, fail := range map[string]func(*net.TCPConn){
		"refused":  func(s *net.TCPConn) { say(t, s, "N") },
		"closed":   func(s *net.TCPConn) { _ = s.Close() },
		"reset":    reset,
		"too late": func(*net.TCPConn) {},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, start starter) {
				h := &script{}
				again := func() Action { return Action{Do: Dial, To: h.to, Preface: []byte("SSL?")} }
				h.received = func(*Flow, []byte, bool) Action { return again() }
				h.connected = func(*Flow, error) Action { return Action{Do: Await, Within: 300 * time.Millisecond} }
				h.timedOut = func(*Flow, []byte) Action { return again() }
				h.answered = func(_ *Flow, read []byte, eof bool) Action {
					if string(read) == "S" {
						return Action{Do: Relay, Discard: 1}
					}
					return again()
				}
				r := newRig(t, start, Config{}, h)
				c := r.dial()
				say(t, c, "hello")
				s := r.accept()
				hear(t, s, "SSL?")
				fail(s)
				s = r.accept()
				hear(t, s, "SSL?")
				say(t, s, "S")
				hear(t, s, "hello")
			})
		})
	}
}

func TestTheClientsEndWhileItOpens(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		h := &script{}
		var eofs atomic.Int32
		h.received = func(_ *Flow, read []byte, eof bool) Action {
			if eof {
				eofs.Add(1)
			}
			return Action{Do: Read, Need: len(read) + 1}
		}
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "half a hea")
		_ = c.CloseWrite()
		hearEnd(t, c)
		r.end(ClientClosed)
		if eofs.Load() != 1 {
			t.Errorf("told %d times", eofs.Load())
		}
		reset(r.dial())
		r.end(ClientReset)
	})
}

// Who says all there is to say and closes its half before the backend is reached is served all the same.
func TestTheClientsEndBeforeTheDial(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{}, &script{accepted: func(*Flow) Action { return Action{Do: Read, Need: 100} }})
		c := r.dial()
		say(t, c, "a question")
		_ = c.CloseWrite()
		s := r.accept()
		hear(t, s, "a question")
		hearEnd(t, s)
		say(t, s, "an answer")
		_ = s.Close()
		hear(t, c, "an answer")
		hearEnd(t, c)
		r.end(ClientClosed)
	})
}

func TestTimeLimits(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		h := &script{
			accepted: func(*Flow) Action { return Action{Do: Read, Need: 10, Within: 50 * time.Millisecond} },
		}
		h.timedOut = func(_ *Flow, read []byte) Action {
			if string(read) == "hel" {
				return Action{Do: Read, Within: 50 * time.Millisecond, Reply: []byte("go on")}
			}
			return Action{Reason: "TOO_LATE", Reset: true}
		}
		// The second Read leaves the limit of the first in force.
		h.received = func(*Flow, []byte, bool) Action { return Action{Do: Read, Need: 100} }
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "hel")
		hear(t, c, "go on")
		say(t, c, "lo, world")
		hearReset(t, c)
		r.end("TOO_LATE")
	})
}

func TestAPauseBetweenTwoTries(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		h := &script{}
		h.received = func(*Flow, []byte, bool) Action { return Action{Do: Wait, Within: 20 * time.Millisecond, Discard: 1} }
		waits := 0
		h.timedOut = func(_ *Flow, read []byte) Action {
			if waits++; waits < 3 {
				return Action{Do: Wait, Within: 20 * time.Millisecond, Discard: 1}
			}
			return Action{Do: Dial, To: h.to, Preface: append([]byte(nil), read...)}
		}
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "1234five")
		hear(t, r.accept(), "4five4five")
	})
}

func TestADialThatFails(t *testing.T) {
	nobody := listen(t)
	closed := addrPort(nobody.Addr())
	_ = nobody.Close()
	both(t, func(t *testing.T, start starter) {
		h := &script{}
		h.received = func(*Flow, []byte, bool) Action {
			return Action{Do: Dial, To: closed, Preface: []byte("PROXY "), Eager: true}
		}
		var failures []error
		h.connected = func(_ *Flow, err error) Action {
			if err == nil {
				return Action{Do: Relay}
			}
			failures = append(failures, err)
			return Action{Do: Dial, To: h.to, Preface: []byte("OTHER ")}
		}
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "hello")
		s := r.accept()
		hear(t, s, "OTHER hello")
		_ = r.engine.Close() // no call of the Handler comes after
		if len(failures) != 1 || !errors.Is(failures[0], syscall.ECONNREFUSED) || errors.Is(failures[0], ErrLocal) {
			t.Errorf("%v", failures)
		}
	})
}

// socket4 returns a bare socket, of which nothing is known to package net.
func socket4(t testing.TB) int {
	t.Helper()
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return fd
}

// blackHole returns an address that takes no connection and refuses none: a listener with a full queue.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd := socket4(t)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 4 {
		c, err := net.DialTimeout("tcp", to.String(), 100*time.Millisecond)
		if err != nil {
			return to
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("this system's queues are never full")
	return to
}

func TestADialThatTakesTooLong(t *testing.T) {
	hole := blackHole(t)
	both(t, func(t *testing.T, start starter) {
		h := &script{}
		h.received = func(*Flow, []byte, bool) Action { return Action{Do: Dial, To: hole, Within: 100 * time.Millisecond} }
		h.connected = func(_ *Flow, err error) Action {
			if err == nil {
				return Action{Do: Relay}
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", err)
			}
			return Action{Do: Dial, To: h.to}
		}
		r := newRig(t, start, Config{}, h)
		c := r.dial()
		say(t, c, "hello")
		hear(t, r.accept(), "hello")
	})
}

func TestAHandlerMayCloseAtAnyCall(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		for _, reset := range []bool{false, true} {
			bye := func(at string) Action { return Action{Do: Close, Reason: at, Reset: reset} }
			for at, s := range map[string]*script{
				"TIMED_OUT": {
					received: func(*Flow, []byte, bool) Action { return Action{Do: Read, Within: time.Millisecond} },
					timedOut: func(*Flow, []byte) Action { return bye("TIMED_OUT") },
				},
				"RECEIVED":  {received: func(*Flow, []byte, bool) Action { return bye("RECEIVED") }},
				"CONNECTED": {connected: func(*Flow, error) Action { return bye("CONNECTED") }},
			} {
				r := newRig(t, start, Config{}, s)
				c := r.dial()
				say(t, c, "h")
				if reset {
					hearReset(t, c)
				} else {
					hearEnd(t, c)
				}
				r.end(at)
			}
		}
	})
}

func TestAVerbThatIsNotPossible(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		told := make(chan error, 10)
		r := newRig(t, start, Config{Trouble: func(err error) { told <- err }},
			&script{received: func(*Flow, []byte, bool) Action { return Action{Do: Relay} }})
		c := r.dial()
		say(t, c, "h")
		hearReset(t, c)
		r.end(WasCut)
		if err := <-told; !strings.Contains(err.Error(), "not possible") {
			t.Error(err)
		}
	})
}

func TestDetach(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		returned := make(chan string, 1)
		r := newRig(t, start, Config{}, &script{received: func(*Flow, []byte, bool) Action {
			return Action{Do: Detach, Discard: 2, Take: func(stream net.Conn, _ <-chan struct{}) {
				half, ok := stream.(interface{ CloseWrite() error })
				if !ok {
					t.Errorf("a %T cannot close its half", stream)
					return
				}
				_, _ = io.WriteString(stream, "taken")
				_ = half.CloseWrite()
				var all strings.Builder
				_, _ = io.Copy(&all, stream)
				returned <- all.String()
			}}
		}})
		c := r.dial()
		say(t, c, "first")
		hear(t, c, "taken")
		hearEnd(t, c)
		r.end(Detached)
		if st := r.engine.Stats(); st.Open != 1 {
			t.Errorf("%+v: a detached flow is open", st)
		}
		say(t, c, " and second")
		_ = c.Close()
		if got := <-returned; got != "rst and second" {
			t.Errorf("the taker read %q", got)
		}
		eventually(t, "no flow is left", func() bool { return r.engine.Stats().Open == 0 })
	})
}
