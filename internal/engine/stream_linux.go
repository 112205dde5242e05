package engine

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// phase is what a stream is doing.
type phase uint8

const (
	vacant     phase = iota // no stream
	choosing                // a Handler's call is under way
	reading                 // until as many bytes of the client's are there as are needed
	connecting              // to the backend
	awaiting                // until as many bytes of the backend's are there as are needed
	pausing                 // until the time limit
	relaying
	lingering // the backend is gone; what the client sends is dropped, so that it gets what is on its way to it
	detached  // a goroutine has the client's stream
)

// stream is a Flow and what its loop knows of it.
type stream struct {
	Flow
	index      int32 // in loop.streams
	generation int32 // which of the streams that had this index; an event for another one is stale

	phase          phase
	eager          bool // what the client sent goes out with the preface
	requeued       bool // it is in loop.again
	keptAlive      bool // the backend's connection has keep-alive
	client, server socket
	up, down       direction // from the client, to the client
	timer          timer

	need    int    // reading and awaiting: how many bytes
	preface []byte // connecting
	reason  string // relaying: what happened first
	moved   int64  // when bytes moved last

	dialed, connect, firstByte int64  // when the last Dial was, or when it succeeded; how long it took; how long until the first byte
	taken                      *taken // detached
}

// taken is what a loop knows of a stream that a goroutine has.
type taken struct {
	stream net.Conn
	done   chan struct{} // closed to end it; nil once it is
}

// socket is one side of a stream. Its flags are hints: the next system call may prove them wrong.
type socket struct {
	fd       int
	polled   bool // it is in epoll
	watched  bool // also for becoming writable
	readable bool // bytes or the end may be there
	writable bool
	ending   bool // its end, or an error, may lie behind the bytes
	ended    bool // the peer has ended its half: what is unread is all there will be
	failed   bool // the kernel reported an error
	gone     bool // it broke: a system call said so
}

// direction is one half of a relay.
type direction struct {
	held    *buffer // what was read and not passed on; nil when there is nothing
	pipe    *pipe   // while it splices
	moved   int64   // bytes passed on
	blocked int64   // since when the destination takes no more; 0 while it does
	average int32   // of bytes that came at a time, lately
	eof     bool    // the source has ended its half, in order
	ended   bool    // nothing will be passed on any more
}

// admit makes a stream of a socket that was just accepted.
func (l *loop) admit(fd int, peer netip.AddrPort, d *door) {
	s := l.take()
	s.peer, s.tag, s.loop = peer, d.tag, l.number
	s.client = socket{fd: fd, readable: true, writable: true}
	l.tally.accepted++
	s.phase = choosing
	l.act(s, nil, l.handler.Accepted(&s.Flow))
	l.attend(s)
}

// streamsAtOnce is how many streams are allocated together.
const streamsAtOnce = 64

// take returns a free stream.
func (l *loop) take() *stream {
	if len(l.vacant) == 0 {
		block := make([]stream, streamsAtOnce)
		for i := range block {
			s := &block[len(block)-1-i]
			s.index = int32(len(l.streams) + len(block) - 1 - i)
			s.client.fd, s.server.fd, s.timer.slot = -1, -1, unqueued
			l.vacant = append(l.vacant, s)
		}
		for i := range block {
			l.streams = append(l.streams, &block[i])
		}
	}
	s := l.vacant[len(l.vacant)-1]
	l.vacant = l.vacant[:len(l.vacant)-1]
	l.flows.Add(1)
	return s
}

// vacate frees a stream of which nothing is left.
func (l *loop) vacate(s *stream) {
	l.wheel.remove(s)
	*s = stream{
		index: s.index, generation: s.generation + 1, requeued: s.requeued,
		client: socket{fd: -1}, server: socket{fd: -1}, timer: timer{slot: unqueued},
	}
	l.vacant = append(l.vacant, s)
	l.flows.Add(-1)
	l.e.left()
	l.resume()
}

// proceed does what the stream's phase is about, as far as it goes now.
func (l *loop) proceed(s *stream) {
	for {
		switch s.phase {
		case reading:
			if !l.fill(s, &s.client, &s.up) {
				return
			}
			s.phase = choosing
			l.act(s, &s.up, l.handler.Received(&s.Flow, s.up.bytes(), s.up.eof))
		case connecting:
			if s.client.failed { // nobody is there to connect for
				l.end(s, ClientReset, resetBoth)
				return
			}
			if !s.server.writable || !l.greet(s) {
				return
			}
		case awaiting:
			if s.client.failed {
				l.end(s, ClientReset, resetBoth)
				return
			}
			if !l.fill(s, &s.server, &s.down) {
				return
			}
			s.phase = choosing
			l.act(s, &s.down, l.handler.Answered(&s.Flow, s.down.bytes(), s.down.eof))
		case pausing:
			if s.client.failed {
				l.end(s, ClientReset, resetBoth)
			}
			return
		case relaying:
			l.relay(s)
			return
		case lingering:
			l.linger(s)
			return
		default:
			return
		}
	}
}

func (d *direction) bytes() []byte {
	if d.held == nil {
		return nil
	}
	return d.held.bytes()
}

// fill reads into what d holds until as much is there as the Handler needs, or the source has ended. It reports false
// when that has not come yet, and when the stream has ended.
func (l *loop) fill(s *stream, from *socket, d *direction) bool {
	for len(d.bytes()) < s.need && !d.eof {
		if !from.readable {
			return false
		}
		b := d.held
		if b == nil {
			b = l.lend(d)
		} else if room := max(s.need, b.len()+1); room > len(b.mem) {
			b = l.bufs.get(room)
			b.end = copy(b.mem, d.held.bytes())
			l.drop(d)
			d.held = b
		} else if b.end == len(b.mem) {
			b.end = copy(b.mem, b.bytes())
			b.start = 0
		}
		space := b.mem[b.end:]
		n, errno := recvFD(from.fd, space)
		b.end += n
		switch {
		case errno == unix.EAGAIN:
			from.readable = false
		case errno != 0 && from == &s.client:
			l.end(s, ClientReset, resetBoth)
			return false
		case errno != 0 || n == 0:
			d.eof = true
		case n < len(space) && !from.ending:
			from.readable = false // all that was there was read: epoll(7)
		}
		if n > 0 && from == &s.server {
			s.sawFirstByte(l.now)
		}
		if b.len() == 0 {
			l.drop(d)
		}
	}
	return true
}

func (s *stream) sawFirstByte(now int64) {
	if s.firstByte == 0 {
		s.firstByte = max(now-s.dialed, 1)
	}
}

// act does what the Handler wants. d holds the bytes that its call got, nil when it got none.
func (l *loop) act(s *stream, d *direction, a Action) {
	if d != nil && a.Discard > 0 && d.held != nil {
		d.held.start += min(a.Discard, d.held.len())
		if d.held.len() == 0 {
			l.drop(d)
		}
	}
	connected := s.server.fd >= 0
	switch {
	case a.Do == Close:
		how := inOrder
		if a.Reset {
			how = resetBoth
		}
		l.end(s, a.Reason, how)
	case a.Do == Read && !connected:
		if len(a.Reply) > 0 {
			if n, _ := sendFD(s.client.fd, a.Reply); n < len(a.Reply) {
				l.end(s, ClientReset, resetBoth)
				return
			}
		}
		if s.up.eof {
			l.end(s, ClientClosed, inOrder)
			return
		}
		s.phase, s.need = reading, max(a.Need, len(s.up.bytes())+1)
		l.within(s, a.Within)
	case a.Do == Dial && (!connected || !s.eager):
		l.dial(s, a)
	case a.Do == Await && connected && !s.eager:
		if s.down.eof {
			l.end(s, ServerClosed, inOrder)
			return
		}
		s.phase, s.need = awaiting, max(a.Need, len(s.down.bytes())+1)
		l.within(s, a.Within)
	case a.Do == Wait && (!connected || !s.eager):
		s.phase = pausing
		l.within(s, a.Within)
	case a.Do == Relay && connected:
		l.startRelay(s)
	case a.Do == Detach && !connected:
		l.detach(s, a.Take)
	default:
		l.e.trouble(troubleHandler, fmt.Errorf("the handler answered with verb %d, which is not possible then", a.Do))
		l.end(s, WasCut, resetBoth)
	}
}

// within sets the time limit; 0 leaves it as it is.
func (l *loop) within(s *stream, limit time.Duration) {
	if limit > 0 {
		l.wheel.set(s, l.now+int64(limit))
	}
}

// dial begins to connect. When it cannot even begin, the Handler's next choice is taken.
func (l *loop) dial(s *stream, a Action) {
	l.hangUp(s)
	s.eager, s.preface, s.dialed = a.Eager, a.Preface, l.e.clock()
	s.connect, s.firstByte = 0, 0
	s.timer.deadline = 0
	l.within(s, a.Within)
	s.phase = connecting
	family, size := toSockaddr(&l.addr, a.To)
	fd, errno := socketFD(family)
	if errno == 0 {
		s.server = socket{fd: fd}
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		errno = connectFD(fd, &l.addr, size)
	}
	if errno == 0 || errno == unix.EINPROGRESS {
		s.server.writable = true // on a short way it is connected by now: greet tries
		return
	}
	l.dialFailed(s, errno)
}

// greet writes what the backend is to get first, which also tells whether it is connected. It reports false when the
// connection is still being made.
func (l *loop) greet(s *stream) bool {
	var first []byte
	if s.eager {
		first = s.up.bytes()
	}
	n, errno := sendBothFD(s.server.fd, &l.msg, s.preface, first)
	if errno == unix.EAGAIN {
		s.server.writable = false
		return false
	}
	if errno == 0 && n < len(s.preface) {
		errno = unix.ENOBUFS
	}
	if errno != 0 {
		l.dialFailed(s, errno)
		return true
	}
	now := l.e.clock()
	s.connect, s.dialed = max(now-s.dialed, 1), now
	if n -= len(s.preface); n > 0 {
		l.passed(s, &s.up, n)
	}
	s.preface, s.timer.deadline, s.phase = nil, 0, choosing
	l.act(s, nil, l.handler.Connected(&s.Flow, nil))
	return true
}

// passed counts n bytes that d's destination has taken from what d holds.
func (l *loop) passed(s *stream, d *direction, n int) {
	d.held.start += n
	if d.held.len() == 0 {
		l.drop(d)
	}
	l.count(s, d, n)
}

func (l *loop) count(s *stream, d *direction, n int) {
	d.moved += int64(n)
	if d == &s.up {
		l.tally.in += uint64(n)
	} else {
		l.tally.out += uint64(n)
	}
}

// dialFailed asks the Handler where else to go. The stream's phase is what it chose.
func (l *loop) dialFailed(s *stream, errno unix.Errno) {
	var err error = errno
	if out(errno) || errno == unix.EADDRNOTAVAIL || errno == unix.EAGAIN {
		err = fmt.Errorf("%w: %w", ErrLocal, errno)
		l.e.trouble(troubleDial, err)
	}
	l.giveUp(s, err)
}

func (l *loop) giveUp(s *stream, err error) {
	l.hangUp(s)
	s.preface, s.timer.deadline, s.phase = nil, 0, choosing
	l.act(s, nil, l.handler.Connected(&s.Flow, err))
}

// hangUp gives up the backend that the stream has.
func (l *loop) hangUp(s *stream) {
	if s.server.fd < 0 {
		return
	}
	resetFD(s.server.fd)
	s.server = socket{fd: -1}
	s.connect, s.firstByte = 0, 0
	l.drop(&s.down)
	s.down = direction{}
}

// expired is called when a stream's time limit has passed.
func (l *loop) expired(s *stream) {
	s.timer.deadline = 0
	switch s.phase {
	case reading, awaiting, pausing:
		s.phase = choosing
		l.act(s, &s.up, l.handler.TimedOut(&s.Flow, s.up.bytes()))
	case connecting:
		l.giveUp(s, os.ErrDeadlineExceeded)
	case relaying:
		l.patience(s)
	case lingering:
		l.end(s, s.reason, inOrder)
	default:
		return
	}
	l.attend(s)
}

// fate is how the peers see a flow's end.
type fate uint8

const (
	inOrder   fate = iota // the end of the stream
	resetBoth             // a reset: what they got is not the whole
)

// end ends a stream.
func (l *loop) end(s *stream, reason string, how fate) {
	if s.phase == relaying || s.phase == lingering {
		l.tally.relaying--
	}
	l.unpipe(&s.up)
	l.unpipe(&s.down)
	l.drop(&s.up)
	l.drop(&s.down)
	l.handler.Ended(&s.Flow, End{
		Reason: reason, In: s.up.moved, Out: s.down.moved,
		Connect: time.Duration(s.connect), FirstByte: time.Duration(s.firstByte),
	})
	s.server.hangUp(how == resetBoth || s.client.gone)
	s.client.hangUp(how == resetBoth)
	l.vacate(s)
}

func (s *socket) hangUp(reset bool) {
	switch {
	case s.fd < 0:
	case reset:
		resetFD(s.fd)
	default:
		closeFD(s.fd)
	}
	s.fd = -1
}

// cut ends a stream from outside.
func (l *loop) cut(s *stream, reason string) {
	if reason == "" {
		reason = WasCut
	}
	if s.phase != detached {
		l.end(s, reason, resetBoth)
	} else if s.taken.done != nil {
		if c, ok := s.taken.stream.(interface{ SetLinger(sec int) error }); ok {
			_ = c.SetLinger(0) // once the taker closes it, the peer sees a reset
		}
		close(s.taken.done)
		s.taken.done = nil
	}
}

// detach hands the client's stream to a goroutine.
func (l *loop) detach(s *stream, take func(net.Conn, <-chan struct{})) {
	fd := s.client.fd
	if s.client.polled {
		// Its description lives on in the copy that package net makes, and epoll would keep it.
		epollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, 0, 0, 0)
	}
	file := os.NewFile(uintptr(fd), "flow")
	s.client.fd = -1
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		l.e.trouble(troubleDetach, err)
		l.end(s, WasCut, resetBoth)
		return
	}
	if rest := s.up.bytes(); len(rest) > 0 {
		conn = &prefixed{TCPConn: conn.(*net.TCPConn), rest: append([]byte(nil), rest...)}
	}
	l.drop(&s.up)
	done := make(chan struct{})
	s.phase, s.taken = detached, &taken{conn, done}
	s.timer.deadline = 0
	l.handler.Ended(&s.Flow, End{Reason: Detached})
	l.e.takers.Go(func() {
		take(conn, done)
		_ = conn.Close()
		l.post(func(l *loop) { l.vacate(s) })
	})
}
