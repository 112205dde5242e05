//go:build unix

package engine

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestEachHalfClosesAlone(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		for _, first := range []string{ClientClosed, ServerClosed} {
			r := newRig(t, start, Config{Idle: time.Minute}, &script{})
			one, other := r.pair()
			if first == ServerClosed {
				one, other = other, one
			}
			_ = one.CloseWrite()
			hearEnd(t, other)
			say(t, other, "a long answer, after the asker had closed its half")
			hear(t, one, "a long answer, after the asker had closed its half")
			_ = other.Close()
			hearEnd(t, one)
			in, out := int64(5), int64(57)
			if first == ServerClosed {
				in, out = 55, 7
			}
			if e := r.end(first); e.In != in || e.Out != out {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestBulkBothWaysAtOnce(t *testing.T) {
	const size = 48 << 20
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{Idle: time.Minute}, &script{})
		client, server := r.pair()
		var wg sync.WaitGroup
		wg.Go(func() { send(t, client, 1, size) })
		wg.Go(func() { send(t, server, 2, size) })
		wg.Go(func() { receive(t, server, 1, size) })
		wg.Go(func() { receive(t, client, 2, size) })
		wg.Wait()
		e := <-r.script.ends
		if e.Reason != ClientClosed && e.Reason != ServerClosed || e.In != size+5 || e.Out != size+7 {
			t.Errorf("%+v", e)
		}
	})
}

func TestBulkIsSpliced(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("event loops are of Linux alone")
	}
	const size = 64 << 20
	r := newRig(t, Start, Config{}, &script{})
	client, server := r.pair()
	go send(t, client, 1, size)
	receive(t, server, 1, size)
	_ = server.CloseWrite()
	r.end(ClientClosed)
	if err := r.engine.Drain(t.Context(), ""); err != nil {
		t.Error(err)
	}
	_ = r.engine.Close()
	st := r.engine.Stats()
	if st.Spliced < size/2 || st.Spliced > st.In {
		t.Errorf("of %d bytes %d were spliced", st.In, st.Spliced)
	}
}

// What a peer does not take waits in the kernel and in one buffer; its sender has to wait.
func TestASlowReaderHoldsItsSenderBack(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{Idle: time.Minute}, &script{})
		client, server := r.pair()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		chunk := make([]byte, 1<<20)
		var sent int64
		for {
			_, _ = io.ReadFull(noise(byte(sent>>20)), chunk)
			_ = client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := client.Write(chunk)
			sent += int64(n)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil || sent > 256<<20 {
				t.Fatalf("sent %d MB to a peer that takes nothing: %v", sent>>20, err)
			}
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%d bytes of memory for one flow", grown)
		}
		_ = client.CloseWrite()
		for i := range (sent + 1<<20 - 1) >> 20 {
			_, _ = io.ReadFull(noise(byte(i)), chunk)
			part := chunk[:min(1<<20, sent-i<<20)]
			got := make([]byte, len(part))
			if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, part) {
				t.Fatalf("megabyte %d is not what was sent: %v", i, err)
			}
		}
		hearEnd(t, server)
	})
}

func TestResetsAreToldApart(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		for _, who := range []string{ClientReset, ServerReset} {
			r := newRig(t, start, Config{}, &script{})
			client, server := r.pair()
			if who == ClientReset {
				reset(client)
				r.end(ClientReset)
				hearReset(t, server)
			} else {
				reset(server)
				hearEnd(t, client)
				_ = client.Close()
				r.end(ServerReset)
			}
		}
	})
}

// The backend is to know that the client broke off also while it does not read.
func TestAClientThatBreaksOffWhileTheBackendIsStuck(t *testing.T) {
	r := newRig(t, Start, Config{}, &script{})
	client, server := r.pair()
	_ = client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = io.Copy(struct{ io.Writer }{client}, noise(1))
	reset(client)
	r.end(ClientReset)
	hearReset(t, server)
}

// A server that answers before it has read everything, and closes, makes the kernel reset the connection. What it
// answered still has to arrive.
func TestAnEarlyAnswerArrives(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{}, &script{})
		client, server := r.pair()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.Copy(struct{ io.Writer }{client}, io.LimitReader(noise(1), 64<<20))
			_ = client.CloseWrite()
		}()
		_, _ = io.ReadFull(server, make([]byte, 1))
		say(t, server, "413: that is too much")
		_ = server.Close()
		hear(t, client, "413: that is too much")
		r.end(ServerClosed, ServerReset) // whichever is met first
		<-sent
	})
}

// What a slow client has not taken yet arrives too when the backend is gone and the client still sends: to close a socket
// with unread bytes would take it back.
func TestAnAnswerArrivesThoughTheBackendIsGone(t *testing.T) {
	const size = 64 << 10
	r := newRig(t, Start, Config{}, &script{})
	client, server := r.pair()
	_ = client.SetReadBuffer(4 << 10)
	_ = client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = io.Copy(struct{ io.Writer }{client}, noise(1)) // until nobody takes more
	send(t, server, 2, size)
	eventually(t, "the answer has left the backend", func() bool { return r.engine.Stats().Out >= size })
	reset(server)
	eventually(t, "the engine takes what the client sends", func() bool {
		_ = client.SetWriteDeadline(time.Now().Add(patience))
		n, _ := client.Write(make([]byte, 64<<10))
		return n == 64<<10
	})
	receive(t, client, 2, size)
	_ = client.Close()
	r.end(ServerClosed, ServerReset) // the answer's end or the reset, whichever is met first
}

// The same after the client has closed its half: that is what happened first, and the answer still has to arrive.
func TestAnAnswerBeforeAResetArrives(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{}, &script{})
		client, server := r.pair()
		_ = client.CloseWrite()
		hearEnd(t, server)
		say(t, server, "all there is to say")
		reset(server)
		r.end(ClientClosed)
		hear(t, client, "all there is to say")
		hearEnd(t, client)
	})
}

func TestAnIdleFlowEnds(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{Idle: 200 * time.Millisecond}, &script{})
		client, server := r.pair()
		r.end(Idle)
		hearReset(t, client)
		hearReset(t, server)
	})
}

func TestTrafficOneWayIsNotIdle(t *testing.T) {
	const idle = 400 * time.Millisecond
	both(t, func(t *testing.T, start starter) {
		for _, upload := range []bool{true, false} {
			r := newRig(t, start, Config{Idle: idle}, &script{})
			from, to := r.pair()
			if !upload {
				from, to = to, from
			}
			tick := time.NewTicker(idle / 16)
			for begun := time.Now(); time.Since(begun) < 3*idle; <-tick.C {
				say(t, from, ".")
				hear(t, to, ".")
			}
			tick.Stop()
			_ = from.Close()
			_ = to.Close()
			if e := <-r.script.ends; e.Reason == Idle {
				t.Error("a flow with traffic in one direction was taken for idle")
			}
		}
	})
}

func TestAPeerThatStopsReadingIsGivenUp(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{Idle: 200 * time.Millisecond}, &script{})
		client, server := r.pair()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(struct{ io.Writer }{client}, noise(1)) })
		wg.Go(func() { _, _ = io.Copy(io.Discard, client) })
		quit := make(chan struct{})
		wg.Go(func() { // the other direction is lively
			for {
				select {
				case <-quit:
					return
				case <-time.After(10 * time.Millisecond):
					_, _ = io.WriteString(server, ".")
				}
			}
		})
		r.end(Idle)
		close(quit)
		wg.Wait()
	})
}

func TestAHalfClosedFlowEndsWhenTheOtherHalfIsSilent(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		for _, cfg := range []Config{{HalfClose: 200 * time.Millisecond}, {Idle: 200 * time.Millisecond}} {
			r := newRig(t, start, cfg, &script{})
			client, server := r.pair()
			_ = client.CloseWrite()
			r.end(HalfClosed)
			hearReset(t, client)
			_ = server.Close()
		}
	})
}

// phases opens one flow in each phase that a flow can wait in, and returns them with what they are in.
func phases(t *testing.T, start starter, taken func(net.Conn, <-chan struct{})) (r *rig, flows map[string]*net.TCPConn) {
	t.Helper()
	hole := blackHole(t)
	h := &script{}
	h.received = func(f *Flow, read []byte, _ bool) Action {
		f.State = string(read)
		switch f.State {
		case "reading":
			return Action{Do: Read, Need: 100}
		case "connecting":
			return Action{Do: Dial, To: hole}
		case "detached":
			return Action{Do: Detach, Take: taken}
		}
		return Action{Do: Dial, To: h.to}
	}
	h.connected = func(f *Flow, _ error) Action {
		if f.State == "awaiting" {
			return Action{Do: Await, Need: 1}
		}
		return Action{Do: Relay}
	}
	r = newRig(t, start, Config{}, h)
	flows = map[string]*net.TCPConn{"accepted": r.dial()}
	for _, phase := range []string{"reading", "connecting", "awaiting", "relaying", "detached"} {
		flows[phase] = r.dial()
		say(t, flows[phase], phase)
	}
	r.accept()
	r.accept()
	seen := map[any]bool{}
	eventually(t, "every flow is in its phase", func() bool {
		r.engine.Each(func(f *Flow) (string, bool) {
			seen[f.State] = true
			return "", false
		})
		return len(seen) == len(flows)
	})
	return r, flows
}

func TestCutInEveryPhase(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r, flows := phases(t, start, func(_ net.Conn, done <-chan struct{}) { <-done })
		r.end(Detached)
		visits := 0
		r.engine.Each(func(f *Flow) (string, bool) {
			visits++
			return "REVOKED", f.State != nil // all but the one that has said nothing
		})
		if visits != len(flows) {
			t.Errorf("%d flows were visited, want %d", visits, len(flows))
		}
		for phase, c := range flows {
			if phase != "accepted" {
				hearReset(t, c)
			}
		}
		for range len(flows) - 2 {
			r.end("REVOKED")
		}
		eventually(t, "the others are gone", func() bool { return r.engine.Stats().Open == 1 })
		say(t, flows["accepted"], "relaying")
		hear(t, r.accept(), "relaying")
	})
}

func TestDrainCutsWhatIsLeft(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r, flows := phases(t, start, func(_ net.Conn, done <-chan struct{}) { <-done })
		r.end(Detached)
		ctx, cancel := contextThatEnds(t)
		cancel()
		if err := r.engine.Drain(ctx, "SHUTDOWN"); !errors.Is(err, ctx.Err()) {
			t.Errorf("%v", err)
		}
		if n := len(r.script.ends); n != len(flows)-1 {
			t.Errorf("%d flows had ended when Drain returned, want %d", n, len(flows)-1)
		}
		for range len(flows) - 1 {
			r.end("SHUTDOWN")
		}
		for _, c := range flows {
			hearReset(t, c)
		}
	})
}

func TestDrainWaitsForTheFlows(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		r := newRig(t, start, Config{}, &script{})
		client, server := r.pair()
		drained := make(chan error, 1)
		go func() { drained <- r.engine.Drain(t.Context(), "SHUTDOWN") }()
		eventually(t, "nothing is accepted", func() bool {
			c, err := net.Dial("tcp", r.addr.String())
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
		say(t, client, "the last words")
		hear(t, server, "the last words")
		select {
		case err := <-drained:
			t.Errorf("Drain did not wait: %v", err)
		default:
		}
		_ = client.Close()
		_ = server.Close()
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if err := r.engine.Listen(listen(t), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Listen after Drain: %v", err)
		}
	})
}

func TestMaxFlows(t *testing.T) {
	both(t, func(t *testing.T, start starter) {
		const most = 3
		r := newRig(t, start, Config{MaxFlows: most}, &script{})
		type flow struct{ client, server *net.TCPConn }
		var open []flow
		for range most {
			client, server := r.pair()
			open = append(open, flow{client, server})
		}
		waits := r.dial()
		say(t, waits, "hello")
		eventually(t, "accepting pauses", func() bool { return r.engine.Stats().Paused > 0 })
		if st := r.engine.Stats(); st.Open != most {
			t.Errorf("%+v", st)
		}
		for _, f := range open { // the others work on
			say(t, f.client, "still here")
			hear(t, f.server, "still here")
		}
		_ = open[0].client.Close()
		_ = open[0].server.Close()
		hear(t, r.accept(), "hello")
	})
}

// A backend that breaks while its client reads nothing ends one half: the other one has the time of HalfClose, not that
// of Idle, to bring home what is on its way.
func TestABackendThatBreaksWhileTheClientIsStuck(t *testing.T) {
	const limit = 200 * time.Millisecond
	r := newRig(t, Start, Config{Idle: time.Hour, HalfClose: limit}, &script{})
	client, server := r.pair()
	_ = server.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = io.Copy(struct{ io.Writer }{server}, noise(1))
	reset(server)
	say(t, client, "more")
	select {
	case e := <-r.script.ends:
		if e.Reason != HalfClosed {
			t.Errorf("ended for the reason %q, want %q", e.Reason, HalfClosed)
		}
	case <-time.After(patience / 2): // the first look at a flow is later than that
		t.Error("the flow has not ended")
	}
}

// A peer that has ended its half says nothing more by reading or writing: that it breaks has to be noticed all the same.
func TestAResetAfterAHalfClose(t *testing.T) {
	for _, byClient := range []bool{true, false} {
		r := newRig(t, Start, Config{}, &script{})
		one, other := r.pair()
		reason := ClientClosed
		if !byClient {
			one, other, reason = other, one, ServerClosed
		}
		_ = one.CloseWrite()
		hearEnd(t, other)
		reset(one)
		r.end(reason)
	}
}
