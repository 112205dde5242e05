package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/l4"
)

// What the soak's clients and backends say to each other, behind the canned ClientHello with which a flow begins where
// the port carries TLS, and which the gateway passes on like anything else:
//
//	client:  up, down, upAt, downAt (uint32 each)   then up bytes of the block from upAt on
//	backend: its number (a byte)                    then down bytes of the block from downAt on, then '='
//
// again and again; '=' says that the bytes are those that the client was to send. When the client ends its half, the backend
// says "bye" and ends its own. Both look at every byte, so that nothing can be lost, doubled or mixed up unseen.
const (
	requestSize = 16
	blockSize   = 8 << 20
	farewell    = "bye"
)

// block is what is sent: whoever knows a place and a size knows the bytes.
var block = sync.OnceValue(func() []byte {
	b := make([]byte, blockSize)
	_, _ = rand.NewChaCha8([32]byte{42}).Read(b)
	return b
})

// soakBackend is a backend that can die, with all its flows, and come back at the same address.
type soakBackend struct {
	t      *testing.T
	number byte
	addr   string
	hello  bool // flows begin with a ClientHello, after an SSLRequest if they like

	served sync.WaitGroup
	mu     sync.Mutex
	ln     net.Listener
	open   map[net.Conn]struct{}
	bad    atomic.Int64 // flows that brought other bytes than they should
}

func newSoakBackend(t *testing.T, number byte, addr string, hello bool) *soakBackend {
	b := &soakBackend{t: t, number: number, addr: addr, hello: hello, open: map[net.Conn]struct{}{}}
	b.rise()
	t.Cleanup(func() {
		b.die()
		b.served.Wait()
	})
	return b
}

func (b *soakBackend) rise() {
	b.t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(b.t.Context(), "tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ln, b.addr = ln, ln.Addr().String()
	b.served.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.open[c] = struct{}{}
			b.mu.Unlock()
			b.served.Go(func() {
				b.serve(c)
				b.mu.Lock()
				delete(b.open, c)
				b.mu.Unlock()
				_ = c.Close()
			})
		}
	})
}

// die ends the backend as a crash does: nobody listens, and what was open breaks.
func (b *soakBackend) die() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.ln.Close()
	for c := range b.open {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func (b *soakBackend) serve(c net.Conn) {
	if b.hello {
		head := make([]byte, len(l4.PostgresSSLRequest)) // or as much of the hello
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		if string(head) == l4.PostgresSSLRequest {
			if _, err := c.Write([]byte{l4.PostgresYes}); err != nil {
				return
			}
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
		}
		if head[0] != 22 {
			b.bad.Add(1)
			b.t.Errorf("a flow that should begin with a ClientHello begins with %x", head)
			return
		}
		rest := int64(binary.BigEndian.Uint16(head[3:5])) - int64(len(head)-5)
		if _, err := io.CopyN(io.Discard, c, rest); err != nil {
			return
		}
	}
	for {
		var req [requestSize]byte
		switch _, err := io.ReadFull(c, req[:]); {
		case errors.Is(err, io.EOF):
			_, _ = io.WriteString(c, farewell)
			return
		case err != nil:
			return
		}
		up, down := binary.BigEndian.Uint32(req[0:]), binary.BigEndian.Uint32(req[4:])
		upAt, downAt := binary.BigEndian.Uint32(req[8:]), binary.BigEndian.Uint32(req[12:])
		if up > blockSize || down > blockSize || upAt > blockSize-up || downAt > blockSize-down {
			b.bad.Add(1)
			b.t.Errorf("a request that no client makes: %x", req)
			return
		}
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte{b.number})
			if err == nil {
				_, err = c.Write(block()[downAt : downAt+down])
			}
			sent <- err
		}()
		err := expect(c, block()[upAt:upAt+up])
		if errors.Is(err, errOtherBytes) {
			b.bad.Add(1)
			b.t.Errorf("on the way to the backend: %v", err)
			_ = c.Close()
		}
		if serr := <-sent; serr != nil || err != nil {
			return
		}
		if _, err := c.Write([]byte{'='}); err != nil {
			return
		}
	}
}

var (
	errOtherBytes = errors.New("other bytes arrived than were sent")
	errNotCut     = errors.New("a flow that the rules do not allow any more was not cut")
)

// expect reads exactly want.
func expect(c io.Reader, want []byte) error {
	buf := make([]byte, min(len(want), 64<<10))
	for at := 0; at < len(want); {
		n, err := c.Read(buf[:min(len(buf), len(want)-at)])
		if !bytes.Equal(buf[:n], want[at:at+n]) {
			return fmt.Errorf("%w: within %d to %d of %d", errOtherBytes, at, at+n, len(want))
		}
		if at += n; err != nil && at < len(want) {
			return fmt.Errorf("after %d of %d bytes: %w", at, len(want), err)
		}
	}
	return nil
}

// soakFlow is one flow of a soak's client.
type soakFlow struct {
	net.Conn
	rnd     *rand.Rand
	party   *soakParty
	backend byte  // that answered; 0 before
	checked int64 // bytes of whole exchanges, both ways
}

// exchange sends a request and reads its answer. Where the flow's party was not allowed from before to after, it should
// not have been possible.
func (f *soakFlow) exchange(up, down int) error {
	state := f.party.state.Load()
	err := f.tryExchange(up, down)
	if err == nil && f.party.settled(state) && !f.party.allowed(state) && f.party.state.Load() == state {
		return errNotCut
	}
	return err
}

// tryExchange sends a request and reads its answer, both at the same time.
func (f *soakFlow) tryExchange(up, down int) error {
	upAt, downAt := f.rnd.IntN(blockSize-up+1), f.rnd.IntN(blockSize-down+1)
	req := make([]byte, requestSize, requestSize+min(up, 8<<10))
	for i, v := range []int{up, down, upAt, downAt} {
		binary.BigEndian.PutUint32(req[4*i:], uint32(v))
	}
	body := block()[upAt : upAt+up]
	if up <= 8<<10 {
		if _, err := f.Write(append(req, body...)); err != nil {
			return err
		}
		return f.answer(up, downAt, down)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := f.Write(req)
		if err == nil {
			_, err = f.Write(body)
		}
		sent <- err
	}()
	err := f.answer(up, downAt, down)
	if err != nil {
		_ = f.Close() // or the writer would wait for ever
	}
	return errors.Join(err, <-sent)
}

func (f *soakFlow) answer(up, downAt, down int) error {
	var one [1]byte
	if _, err := io.ReadFull(f, one[:]); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	f.backend = one[0]
	if err := expect(f, block()[downAt:downAt+down]); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, one[:]); err != nil {
		return fmt.Errorf("no verdict: %w", err)
	}
	if one[0] != '=' {
		return fmt.Errorf("%w: the verdict is %q", errOtherBytes, one)
	}
	f.checked += int64(up + down)
	return nil
}

// end ends the client's half and hears the farewell.
func (f *soakFlow) end() error {
	if err := f.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return f.farewell()
}

// farewell wants to hear the backend's last word and nothing after it. That it does not come at all is what the client of
// a backend that broke off sees: what that had sent before is left to arrive, so that there is no reset.
func (f *soakFlow) farewell() error {
	got, err := io.ReadAll(f)
	switch {
	case err != nil:
		return err
	case len(got) < len(farewell) && strings.HasPrefix(farewell, string(got)):
		return fmt.Errorf("after %d bytes of the farewell: %w", len(got), io.ErrUnexpectedEOF)
	case string(got) != farewell:
		return fmt.Errorf("%w: the farewell is %q", errOtherBytes, got)
	}
	return nil
}

// linger is a peer's own pause, of less than so many milliseconds. Nothing is waited for.
func linger(rnd *rand.Rand, most int) {
	<-time.After(time.Duration(rnd.IntN(most)) * time.Millisecond)
}

// shake sends the bytes in a few pieces, some time apart.
func (f *soakFlow) shake(b []byte) error {
	for len(b) > 0 {
		n := 1 + f.rnd.IntN(len(b))
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
		if b = b[n:]; len(b) > 0 {
			linger(f.rnd, 10)
		}
	}
	return nil
}
