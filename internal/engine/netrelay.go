package engine

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern/postern/internal/l4"
)

// netTally is what is known of a relayed flow while its bytes move, by its two directions and its watch.
type netTally struct {
	in, out atomic.Int64
	moved   atomic.Int64 // when bytes moved last
	half    atomic.Bool  // one side has ended
}

// relay passes bytes both ways until both sides have ended, and returns why it ended.
func (f *netFlow) relay() string {
	f.e.relaying.Add(1)
	defer f.e.relaying.Add(-1)
	t := &f.tally
	t.moved.Store(time.Now().UnixNano())
	client := &netSide{TCPConn: f.client, f: f, rest: f.up, took: &t.out, total: &f.e.out}
	server := &netSide{TCPConn: f.server, f: f, rest: f.down, took: &t.in, total: &f.e.in, first: f.sawFirstByte}
	relay := l4.NewRelay(client, server, 0)
	if !f.begin(func() { relay.Cut(f.wasCut) }) {
		relay.Cut(f.wasCut)
	}
	ended := make(chan struct{})
	f.e.running.Go(func() { f.watch(relay, ended, client, server) })
	reason := relay.Run()
	close(ended)
	return reason
}

// watch ends a relay on which nothing moves for too long.
func (f *netFlow) watch(relay *l4.Relay, ended <-chan struct{}, sides ...*netSide) {
	const never = time.Duration(1<<63 - 1)
	limits := [2]time.Duration{f.e.cfg.Idle, f.e.cfg.HalfClose}
	for i, l := range limits {
		if l <= 0 {
			limits[i] = never
		}
	}
	tick := time.NewTicker(max(min(limits[0], limits[1], time.Minute)/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		now := time.Now().UnixNano()
		limit, reason := limits[0], Idle
		if f.tally.half.Load() {
			limit, reason = limits[1], HalfClosed
		}
		over := time.Duration(now-f.tally.moved.Load()) >= limit
		for _, s := range sides {
			since := s.writing.Load()
			over = over || since != 0 && time.Duration(now-since) >= limits[0]
		}
		if over {
			relay.Cut(reason)
		}
	}
}

// netSide is one side of a relay. It hides what the connection could do to move bytes unseen.
type netSide struct {
	*net.TCPConn
	f       *netFlow
	rest    []byte         // what was read before
	took    *atomic.Int64  // bytes that this side took
	total   *atomic.Uint64 // the same for all flows
	first   func()         // called when bytes were read
	writing atomic.Int64   // since when a Write is under way; 0 while none is
}

func (s *netSide) Read(b []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	n, err := s.TCPConn.Read(b)
	if n > 0 && s.first != nil {
		s.first()
	}
	now := time.Now().UnixNano()
	if n > 0 || err == io.EOF { //nolint:errorlint // as io.Reader has it
		s.f.tally.moved.Store(now)
	}
	if err == io.EOF { //nolint:errorlint // as io.Reader has it
		s.f.tally.half.Store(true)
	}
	return n, err
}

func (s *netSide) Write(b []byte) (int, error) {
	for at := 0; at < len(b); {
		s.writing.Store(time.Now().UnixNano())
		n, err := s.TCPConn.Write(b[at:min(at+4<<10, len(b))])
		at += n
		s.took.Add(int64(n))
		s.total.Add(uint64(n))
		s.f.tally.moved.Store(time.Now().UnixNano())
		if err != nil {
			s.writing.Store(0)
			return at, err
		}
	}
	s.writing.Store(0)
	return len(b), nil
}

// ReadFrom and WriteTo are here to hide those of the connection.
func (s *netSide) ReadFrom(r io.Reader) (int64, error) { return io.Copy(onlyWriter{s}, r) }
func (s *netSide) WriteTo(w io.Writer) (int64, error)  { return io.Copy(w, onlyReader{s}) }

type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

var _ syscall.Conn = (*netSide)(nil) // by which the relay tells which side broke
