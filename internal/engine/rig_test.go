//go:build unix

package engine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds how long a test waits for what has to happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(starvingEnv) != "" {
		os.Exit(starve())
	}
	goleak.VerifyTestMain(m)
}

// both runs a test against every engine.
func both(t *testing.T, test func(t *testing.T, start starter)) {
	t.Helper()
	for name, start := range starters {
		t.Run(name, func(t *testing.T) { test(t, start) })
	}
}

type starter func(Config) (Engine, error)

var starters = map[string]starter{
	"loops": Start,
	"loops that hold their processors": func(c Config) (Engine, error) {
		c.HoldProcessors, c.Loops = true, max(1, runtime.GOMAXPROCS(0)-1)
		return Start(c)
	},
	"net": StartNet,
}

// script is a Handler made of functions. Without one it does the simple thing: it waits for one byte, dials, relays.
type script struct {
	to        netip.AddrPort // where the simple thing dials
	accepted  func(f *Flow) Action
	received  func(f *Flow, read []byte, eof bool) Action
	timedOut  func(f *Flow, read []byte) Action
	connected func(f *Flow, err error) Action
	answered  func(f *Flow, read []byte, eof bool) Action
	ends      chan End // gets every End
}

const patienceEnds = 1 << 16

func (s *script) Accepted(f *Flow) Action {
	if s.accepted != nil {
		return s.accepted(f)
	}
	return Action{Do: Read, Need: 1}
}

func (s *script) Received(f *Flow, read []byte, eof bool) Action {
	if s.received != nil {
		return s.received(f, read, eof)
	}
	if eof && len(read) == 0 {
		return Action{Reason: ClientClosed}
	}
	return Action{Do: Dial, To: s.to, Within: patience, Eager: true}
}

func (s *script) TimedOut(f *Flow, read []byte) Action {
	if s.timedOut != nil {
		return s.timedOut(f, read)
	}
	return Action{Reason: "TIMED_OUT"}
}

func (s *script) Connected(f *Flow, err error) Action {
	switch {
	case s.connected != nil:
		return s.connected(f, err)
	case err != nil:
		return Action{Reason: "UNREACHABLE"}
	}
	return Action{Do: Relay}
}

func (s *script) Answered(f *Flow, read []byte, eof bool) Action { return s.answered(f, read, eof) }
func (s *script) Ended(_ *Flow, e End)                           { s.ends <- e }

// rig is a running engine with a listener, and a backend's listener.
type rig struct {
	t       testing.TB
	engine  Engine
	script  *script
	addr    netip.AddrPort
	backend *net.TCPListener
}

func newRig(t testing.TB, start starter, cfg Config, s *script) *rig {
	t.Helper()
	r := &rig{t: t, script: s, backend: listen(t)}
	if !s.to.IsValid() {
		s.to = addrPort(r.backend.Addr())
	}
	s.ends = make(chan End, patienceEnds)
	cfg.Handler = s
	var err error
	if r.engine, err = start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.engine.Close(); err != nil {
			t.Error(err)
		}
		if st := r.engine.Stats(); st.Open != 0 || st.Relaying != 0 {
			t.Errorf("after Close: %+v", st)
		}
	})
	r.addr = r.listen("door")
	return r
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// listen has the engine accept at one more address.
func (r *rig) listen(tag any) netip.AddrPort {
	r.t.Helper()
	l := listen(r.t)
	addr := addrPort(l.Addr())
	if err := r.engine.Listen(l, tag); err != nil {
		r.t.Fatal(err)
	}
	return addr
}

// dial opens a flow.
func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// accept takes a flow at the backend.
func (r *rig) accept() *net.TCPConn {
	r.t.Helper()
	_ = r.backend.SetDeadline(time.Now().Add(patience))
	c, err := r.backend.AcceptTCP()
	if err != nil {
		r.t.Fatalf("no flow came to the backend: %v", err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// pair opens a flow that relays, and shows that it does.
func (r *rig) pair() (client, server *net.TCPConn) {
	r.t.Helper()
	client = r.dial()
	say(r.t, client, "hello")
	server = r.accept()
	hear(r.t, server, "hello")
	say(r.t, server, "welcome")
	hear(r.t, client, "welcome")
	return client, server
}

// end waits for the End of the one flow there is, for one of these reasons.
func (r *rig) end(reasons ...string) End {
	r.t.Helper()
	select {
	case e := <-r.script.ends:
		if !slices.Contains(reasons, e.Reason) {
			r.t.Errorf("ended for the reason %q, want %q", e.Reason, reasons)
		}
		return e
	case <-time.After(patience):
		r.t.Fatalf("the flow has not ended; want %q", reasons)
		return End{}
	}
}

func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("say %q: %v", text, err)
	}
}

func hear(t testing.TB, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("heard %q, want %q: %v", got[:n], text, err)
	}
}

// hearEnd expects nothing more, and an orderly end.
func hearEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Errorf("heard %q, %v; want the end", rest, err)
	}
}

// hearReset expects a reset, whatever comes before.
func hearReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("saw %v, want a reset: an orderly end would pass a part off as the whole", err)
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !is(); <-tick.C {
		if time.Since(start) > patience {
			t.Fatalf("never: %s", what)
		}
	}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// noise is bytes that look random, the same for the same seed.
func noise(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func send(t testing.TB, c *net.TCPConn, seed byte, size int64) {
	if _, err := io.Copy(struct{ io.Writer }{c}, io.LimitReader(noise(seed), size)); err != nil {
		t.Errorf("send: %v", err)
	}
	_ = c.CloseWrite()
}

// receive reads to the end and compares with what send sends.
func receive(t testing.TB, c *net.TCPConn, seed byte, size int64) {
	got, want := sha256.New(), sha256.New()
	n, err := io.Copy(got, struct{ io.Reader }{c})
	_, _ = io.Copy(want, io.LimitReader(noise(seed), size))
	if err != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d bytes of %d came, or others than were sent: %v", n, size, err)
	}
}

// descriptors returns how many the process has open; 0 where that cannot be told.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
