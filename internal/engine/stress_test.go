//go:build unix

package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func contextThatEnds(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// TestChurn has many flows of all sizes come and go while others are cut: those that are not get every byte, both ways.
func TestChurn(t *testing.T) {
	const clients, flowsEach = 8, 16
	both(t, func(t *testing.T, start starter) {
		before := descriptors()
		var cuts atomic.Int64
		h := &script{}
		h.accepted = func(*Flow) Action { return Action{Do: Read, Need: 16, Within: patience} }
		h.received = func(f *Flow, read []byte, _ bool) Action {
			f.State = binary.BigEndian.Uint64(read)&1 == 1 // whether it is to be cut
			return Action{Do: Dial, To: h.to, Eager: read[15]&1 == 1, Preface: []byte("!!")[:read[15]&2]}
		}
		r := newRig(t, start, Config{Idle: time.Minute}, h)
		var backends sync.WaitGroup
		backends.Go(func() {
			for {
				c, err := r.backend.AcceptTCP()
				if err != nil {
					return
				}
				backends.Go(func() { mirror(c) })
			}
		})
		quit := make(chan struct{})
		var cutting sync.WaitGroup
		cutting.Go(func() {
			for {
				select {
				case <-quit:
					return
				case <-time.After(5 * time.Millisecond):
				}
				r.engine.Each(func(f *Flow) (string, bool) {
					doomed, _ := f.State.(bool)
					if doomed = doomed && rand.IntN(4) == 0; doomed {
						cuts.Add(1)
					}
					return "CUT", doomed
				})
			}
		})
		var wg sync.WaitGroup
		for i := range clients {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			wg.Go(func() {
				for range flowsEach {
					visit(t, r, rng)
				}
			})
		}
		wg.Wait()
		close(quit)
		cutting.Wait()
		if err := r.engine.Close(); err != nil {
			t.Error(err)
		}
		_ = r.backend.Close()
		backends.Wait()
		if n := len(r.script.ends); n != clients*flowsEach {
			t.Errorf("%d flows have ended, want %d", n, clients*flowsEach)
		}
		if before > 0 {
			eventually(t, "as many descriptors as before", func() bool { return descriptors() <= before })
		}
		reasons := map[string]int{}
		for range len(r.script.ends) {
			reasons[(<-r.script.ends).Reason]++
		}
		t.Logf("%v, %d cuts, %+v", reasons, cuts.Load(), r.engine.Stats())
	})
}

// visit opens a flow: a head that says whether it may be cut, how much the backend is to send, and with what; then as
// much the other way.
func visit(t *testing.T, r *rig, rng *rand.Rand) {
	sizes := []int{0, 1, 100, 4 << 10, 64 << 10, 300 << 10, 1 << 20}
	doomed := rng.IntN(4) == 0
	down, up := sizes[rng.IntN(len(sizes))], sizes[rng.IntN(len(sizes))]
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.addr))
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	head := make([]byte, 16)
	binary.BigEndian.PutUint64(head, uint64(down)<<1)
	if doomed {
		head[7] |= 1
	}
	seed := byte(rng.IntN(250))
	head[8], head[15] = seed, byte(rng.IntN(4))
	var wg sync.WaitGroup
	broke := false
	wg.Go(func() {
		_, err := c.Write(head)
		if err == nil {
			_, err = io.Copy(struct{ io.Writer }{c}, io.LimitReader(noise(seed+1), int64(up)))
		}
		if err == nil {
			err = c.CloseWrite()
		}
		if err != nil && !doomed {
			t.Errorf("send: %v", err)
		}
		broke = err != nil
	})
	want := make([]byte, down, down+8)
	_, _ = io.ReadFull(noise(seed), want)
	want = binary.BigEndian.AppendUint64(want, uint64(up))
	got, err := io.ReadAll(c)
	wg.Wait()
	if doomed && (errors.Is(err, syscall.ECONNRESET) || broke) { // the kernel tells of a reset once
		got = got[:min(len(got), len(want))]
		want = want[:len(got)]
		err = nil
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d, or others (%d sent, may be cut: %v): %v", len(got), len(want), up, doomed, err)
	}
}

// mirror is the backend of visit: it sends what was asked for while it receives, then how much it received unchanged.
func mirror(c *net.TCPConn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	head := make([]byte, 16)
	if _, err := io.ReadFull(c, head[:2]); err != nil {
		return
	}
	if string(head[:2]) == "!!" { // the preface
		_, _ = io.ReadFull(c, head[:2])
	}
	if _, err := io.ReadFull(c, head[2:]); err != nil {
		return
	}
	down, seed := int64(binary.BigEndian.Uint64(head)>>1), head[8]
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(struct{ io.Writer }{c}, io.LimitReader(noise(seed), down)) })
	got, _ := io.ReadAll(c)
	want := make([]byte, len(got))
	_, _ = io.ReadFull(noise(seed+1), want)
	wg.Wait()
	if !bytes.Equal(got, want) {
		return
	}
	_, _ = c.Write(binary.BigEndian.AppendUint64(nil, uint64(len(got))))
}

func TestLoopsShareTheFlows(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("event loops are of Linux alone")
	}
	const flows, loops = 60, 3
	var perLoop [loops]atomic.Int64
	r := newRig(t, Start, Config{Loops: loops}, &script{accepted: func(f *Flow) Action {
		perLoop[f.Loop()].Add(1)
		return Action{Do: Read, Need: 1}
	}})
	for range flows {
		r.dial()
	}
	eventually(t, "all are accepted", func() bool {
		return perLoop[0].Load()+perLoop[1].Load()+perLoop[2].Load() == flows
	})
	for i := range perLoop {
		if n := perLoop[i].Load(); n < flows/loops/3 {
			t.Errorf("loop %d has %d flows of %d", i, n, flows)
		}
	}
}
