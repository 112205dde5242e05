package l4

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for what has to happen.
const patience = 10 * time.Second

// pair returns the two ends of a connection over network, which is "tcp" or "unix".
func pair(t testing.TB, network string) (near, far Stream) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var d net.Dialer
	a, err := d.DialContext(t.Context(), network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a.(Stream), b.(Stream)
}

// rig is a relay between two peers.
type rig struct {
	relay          *Relay
	client, server Stream      // the peers
	done           chan string // gets Run's result
}

func newRig(t testing.TB, network string, idle time.Duration) *rig {
	client, in := pair(t, network)
	out, server := pair(t, network)
	for _, s := range []Stream{client, server} {
		_ = s.SetDeadline(time.Now().Add(2 * patience))
	}
	r := &rig{relay: NewRelay(in, out, idle), client: client, server: server, done: make(chan string, 1)}
	t.Cleanup(func() { r.relay.Cut("test is over") })
	return r
}

func (r *rig) run() { go func() { r.done <- r.relay.Run() }() }

func (r *rig) wait(t testing.TB, want string) {
	t.Helper()
	select {
	case got := <-r.done:
		if got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the relay did not end; want %q", want)
	}
}

func (r *rig) say(t testing.TB, from, to Stream, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
}

func TestRelayCarriesBothWaysAndHalfCloses(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, first := range []string{ClientClosed, ServerClosed} {
			t.Run(network+" "+first, func(t *testing.T) {
				r := newRig(t, network, time.Minute)
				r.run()
				one, other := r.client, r.server
				if first == ServerClosed {
					one, other = other, one
				}
				r.say(t, one, other, "a question")
				if err := one.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if rest, err := io.ReadAll(other); err != nil || len(rest) != 0 {
					t.Fatalf("after the half-close: %q, %v", rest, err)
				}
				r.say(t, other, one, "a long answer, after the asker had closed its half")
				_ = other.Close()
				if rest, err := io.ReadAll(one); err != nil || len(rest) != 0 {
					t.Fatalf("after the end: %q, %v", rest, err)
				}
				r.wait(t, first)
				in, out := r.relay.Bytes()
				if first == ServerClosed {
					in, out = out, in
				}
				if in != 10 || out != 50 {
					t.Errorf("counted %d and %d bytes, want 10 and 50", in, out)
				}
			})
		}
	}
}

func TestRelayCarriesBulkUnchanged(t *testing.T) {
	const size = 32 << 20
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			const idle = 200 * time.Millisecond // several periods pass while the bytes flow
			r := newRig(t, network, idle)
			r.run()
			var wg sync.WaitGroup
			send := func(s Stream, seed byte) {
				const parts = 16
				src := rand.NewChaCha8([32]byte{seed})
				tick := time.NewTicker(idle / 4)
				defer tick.Stop()
				for range parts {
					<-tick.C
					if _, err := io.Copy(s, io.LimitReader(src, size/parts)); err != nil {
						t.Errorf("send: %v", err)
					}
				}
				_ = s.CloseWrite()
			}
			receive := func(s Stream, seed byte) {
				got, want := sha256.New(), sha256.New()
				n, err := io.Copy(got, s)
				_, _ = io.Copy(want, io.LimitReader(rand.NewChaCha8([32]byte{seed}), size))
				if err != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
					t.Errorf("%d bytes of %d came, or others than were sent: %v", n, size, err)
				}
			}
			wg.Go(func() { send(r.client, 1) })
			wg.Go(func() { send(r.server, 2) })
			wg.Go(func() { receive(r.server, 1) })
			wg.Go(func() { receive(r.client, 2) })
			wg.Wait()
			if reason := <-r.done; reason != ClientClosed && reason != ServerClosed {
				t.Errorf("reason %q", reason)
			}
			if in, out := r.relay.Bytes(); in != size || out != size {
				t.Errorf("counted %d and %d", in, out)
			}
		})
	}
}

func TestCutEndsBothSidesAtOnceByAReset(t *testing.T) {
	r := newRig(t, "tcp", time.Minute)
	r.run()
	r.say(t, r.client, r.server, "hello")
	start := time.Now()
	r.relay.Cut("REVOKED")
	r.relay.Cut("too late to say why")
	r.wait(t, "REVOKED")
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	for name, s := range map[string]Stream{"client": r.client, "server": r.server} {
		if _, err := io.ReadAll(s); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the %s saw %v, want a reset: an orderly end would pass a part off as the whole", name, err)
		}
	}
}

func TestCutBeforeRun(t *testing.T) {
	r := newRig(t, "tcp", 0)
	r.relay.Cut("REVOKED")
	r.run()
	r.wait(t, "REVOKED")
}

func TestCutOfAHalfClosedFlow(t *testing.T) {
	r := newRig(t, "tcp", time.Minute)
	r.run()
	_ = r.client.CloseWrite()
	if _, err := io.ReadAll(r.server); err != nil {
		t.Fatal(err)
	}
	r.relay.Cut("REVOKED")
	r.wait(t, "REVOKED")
}

func TestCutWhileAWriteIsStuck(t *testing.T) {
	r := newRig(t, "tcp", 0)
	r.run()
	flooded := make(chan struct{})
	go func() { // the server never reads
		defer close(flooded)
		_, _ = io.Copy(r.client, rand.NewChaCha8([32]byte{}))
	}()
	_, _ = io.ReadFull(r.server, make([]byte, 1))
	r.relay.Cut("REVOKED")
	r.wait(t, "REVOKED")
	<-flooded
}

func TestResetsAreToldApart(t *testing.T) {
	for _, who := range []string{ClientReset, ServerReset} {
		t.Run(who, func(t *testing.T) {
			r := newRig(t, "tcp", time.Minute)
			r.run()
			r.say(t, r.client, r.server, "hello")
			r.say(t, r.server, r.client, "hello")
			one, other := r.client, r.server
			if who == ServerReset {
				one, other = other, one
			}
			reset(one)
			_ = one.Close()
			r.wait(t, who)
			_, err := io.ReadAll(other)
			if who == ClientReset && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server saw %v after the client broke off, want a reset", err)
			}
			if who == ServerReset && err != nil {
				t.Errorf("the client saw %v", err)
			}
		})
	}
}

// A server that answers before it has read everything, and closes, makes the kernel reset the connection. What it
// answered still has to arrive.
func TestAnEarlyAnswerArrives(t *testing.T) {
	r := newRig(t, "tcp", time.Minute)
	r.run()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(r.client, io.LimitReader(rand.NewChaCha8([32]byte{}), 64<<20))
	}()
	_, _ = io.ReadFull(r.server, make([]byte, 1))
	const answer = "413: that is too much"
	if _, err := io.WriteString(r.server, answer); err != nil {
		t.Fatal(err)
	}
	_ = r.server.Close()
	got := make([]byte, len(answer))
	_, err := io.ReadFull(r.client, got)
	if err != nil || string(got) != answer {
		t.Errorf("got %q, %v", got, err)
	}
	if reason := <-r.done; reason != ServerReset && reason != ServerClosed { // whichever the relay meets first
		t.Errorf("reason %q", reason)
	}
	<-sent
}

// The same after the client has closed its half: that is what happened first, and the answer still has to arrive.
func TestAnAnswerBeforeAResetArrives(t *testing.T) {
	r := newRig(t, "tcp", time.Minute)
	r.run()
	if err := r.client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r.server); err != nil {
		t.Fatal(err)
	}
	const answer = "all there is to say"
	if _, err := io.WriteString(r.server, answer); err != nil {
		t.Fatal(err)
	}
	reset(r.server)
	_ = r.server.Close()
	r.wait(t, ClientClosed)
	if got, err := io.ReadAll(r.client); err != nil || string(got) != answer {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestIdleFlowEndsInTime(t *testing.T) {
	const idle = 200 * time.Millisecond
	r := newRig(t, "tcp", idle)
	r.run()
	r.say(t, r.client, r.server, "the last word")
	start := time.Now()
	r.wait(t, Idle)
	if took := time.Since(start); took < idle-idle/8 || took > 10*idle {
		t.Errorf("ended after %v of silence, idle time is %v", took, idle)
	}
}

func TestOneWayTrafficIsNotIdle(t *testing.T) {
	const idle = 150 * time.Millisecond
	for _, upload := range []bool{true, false} {
		r := newRig(t, "tcp", idle)
		r.run()
		from, to := r.server, r.client
		if upload {
			from, to = to, from
		}
		tick := time.NewTicker(idle / 5)
		for start := time.Now(); time.Since(start) < 6*idle; <-tick.C {
			r.say(t, from, to, ".")
		}
		tick.Stop()
		_ = r.client.CloseWrite()
		_ = r.server.CloseWrite()
		if reason := <-r.done; reason == Idle {
			t.Error("a flow with traffic in one direction was taken for idle")
		}
	}
}

func TestAHalfClosedFlowEndsWhenTheOtherHalfIsSilent(t *testing.T) {
	r := newRig(t, "tcp", 100*time.Millisecond)
	r.run()
	_ = r.client.CloseWrite()
	if _, err := io.ReadAll(r.server); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	r.wait(t, ClientClosed) // that is what happened first
	if _, err := r.server.Write([]byte(strings.Repeat("x", 1<<20))); err == nil {
		_, err = io.ReadAll(r.server)
		if err == nil {
			t.Error("the server's half is still open")
		}
	}
}

func TestAPeerThatStopsReadingIsGivenUp(t *testing.T) {
	r := newRig(t, "tcp", 100*time.Millisecond)
	r.run()
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		_, _ = io.Copy(r.client, rand.NewChaCha8([32]byte{}))
	}()
	r.wait(t, Idle)
	<-flooded
}

func BenchmarkRelayBulk(b *testing.B) {
	r := newRig(b, "tcp", time.Minute)
	r.run()
	go func() { _, _ = io.Copy(io.Discard, r.server) }()
	chunk := make([]byte, 256<<10)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.client.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = r.client.Close()
	_ = r.server.CloseWrite()
	<-r.done
}
