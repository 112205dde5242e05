package http2

import (
	"errors"
	"io"
	"sync"
	"time"
)

// Conn is the server's half of one connection. Make one with NewConn, and call Serve and then Wait.
type Conn struct {
	cfg    *Config
	crew   *Crew
	wire   Wire
	handle func(*Stream)

	in   input
	head head // that is being read

	mu      sync.Mutex
	streams map[uint32]*Stream // that are neither closed nor unknown
	last    uint32             // the highest stream that a request came on
	past    past               // streams that were closed last
	running int                // requests whose goroutine has not ended
	err     error              // why the connection takes nothing more; nil while it does
	parting bool               // the client was told to send no further request
	leaving bool               // none is taken that comes
	done    sync.Cond          // running is 0, or nobody is writing

	out output

	// Flow control (RFC 9113 section 5.2).
	send       int       // bytes that the client takes on all streams together
	sendFirst  int       // that it takes on a new stream
	sendable   sync.Cond // send has grown
	maxFrame   int       // that it takes
	receive    int       // bytes that it may send on all streams together
	owed       int       // bytes that were consumed and that it was not told of
	resetTable bool      // the next block of fields has to say that no table is used

	guard guard
	clock clock
}

// Wire is what a connection is spoken over. Write is called by one goroutine at a time, SetReadDeadline also while one reads.
type Wire interface {
	io.ReadWriter
	SetReadDeadline(t time.Time) error
}

// NewConn makes a connection's server half; handle answers each request, in a goroutine of the crew's. What is written to
// wire in one call is as many frames as there are.
func NewConn(wire Wire, cfg *Config, crew *Crew, handle func(*Stream)) *Conn {
	c := &Conn{
		cfg: cfg, crew: crew, wire: wire, handle: handle, streams: map[uint32]*Stream{},
		send: defaultWindow, sendFirst: defaultWindow, maxFrame: defaultFrame, receive: Window,
	}
	c.in.from = wire
	c.head.init(c)
	c.done.L, c.sendable.L, c.out.room.L, c.out.drained.L = &c.mu, &c.mu, &c.mu, &c.mu
	c.guard.init(time.Now())
	c.out.add(appendSettings(c.out.buffer(),
		setting{settingStreams, uint32(c.cfg.Streams)}, setting{settingInitialWindow, StreamWindow},
		setting{settingMaxHeaderList, uint32(c.cfg.Header)},
	))
	c.out.add(appendWord(c.out.buffer(), windowUpdate, 0, Window-defaultWindow))
	return c
}

// Serve speaks with the client until no request can come any more: it or the client has ended the connection, or GoAway was
// called and the requests under way have ended. It does not close the connection. The error is nil when nothing was wrong, an
// *Error when the client was told what was, and else what reading ended with. Requests may still run: see Wait.
func (c *Conn) Serve() error {
	c.mu.Lock()
	c.clock.begin(c, time.Now())
	c.flush(turns)
	c.mu.Unlock()
	err := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil { // why reading ended
		err = c.err
	}
	c.fail(err)
	var fault *Error
	switch {
	case errors.As(err, &fault):
		c.out.add(appendGoAway(c.out.buffer(), c.last, fault.Code))
	case errors.Is(err, errLeft), errors.Is(err, io.EOF):
		err = nil
	}
	for c.out.dead == nil && (c.out.writing || len(c.out.waiting) > 0) {
		if !c.out.writing {
			c.flush(turns)
			continue
		}
		c.done.Wait()
	}
	return err
}

// Wait returns when no request runs any more. Call it when Serve has returned.
func (c *Conn) Wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.running > 0 {
		c.done.Wait()
	}
	c.clock.end()
	c.out.release()
	c.in.release()
}

// errLeft ends the reading of a connection that was to end, and has no request any more.
var errLeft = errors.New("http2: no request follows")

// GoAway tells the client to send no further request. What it sends before it knows is answered; when it does know, and the last
// request has ended, Serve returns (RFC 9113 section 6.8). It does not wait for the client.
func (c *Conn) GoAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part()
	c.clock.arm(time.Now()) // which sends it
}

// partingTime is how long a client has to acknowledge that it knows.
const partingTime = time.Second

// farewell is a PING whose acknowledgement says that the client has read what was sent before.
const farewell = "farewell"

// part is GoAway, with the lock held and nothing sent yet.
func (c *Conn) part() {
	if c.parting || c.err != nil {
		return
	}
	c.parting = true
	c.out.add(appendGoAway(c.out.buffer(), largestWindow, NoError)) // the highest number that a stream can have
	c.out.add(append(appendHead(c.out.buffer(), len(farewell), ping, 0, 0), farewell...))
	c.clock.parting = time.Now()
	c.clock.arm(c.clock.parting.Add(partingTime))
}

// leave takes no request any more: the client knows, or has had time to.
func (c *Conn) leave() {
	if c.leaving || c.err != nil {
		return
	}
	c.leaving = true
	c.out.add(appendGoAway(c.out.buffer(), c.last, NoError))
	if c.running == 0 {
		c.interrupt()
	}
}

// interrupt has a read that waits return.
func (c *Conn) interrupt() {
	_ = c.wire.SetReadDeadline(time.Unix(1, 0)) // a connection that is closed fails when it is read
}

// fail ends all streams: nothing can come any more, or nothing can be sent. Serve returns soon.
func (c *Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	for _, s := range c.streams {
		s.lose(errEnded)
	}
	c.sendable.Broadcast()
	c.out.room.Broadcast()
	c.interrupt()
}

// read reads frames until the connection ends.
func (c *Conn) read() error {
	if err := c.await(len(preface), forHead); err != nil {
		return err
	}
	if string(c.in.unread()[:len(preface)]) != preface {
		return &Error{ProtocolError, "the client does not speak HTTP/2"}
	}
	c.in.take(len(preface))
	for first := true; ; first = false {
		c.in.fresh = c.in.fresh || !c.head.open && !first
		what := forNext
		if first || c.head.open {
			what = forHead
		}
		if err := c.await(headSize, what); err != nil {
			return err
		}
		f := parseHead(c.in.unread())
		switch {
		case f.length > defaultFrame:
			return &Error{FrameSizeError, "a frame is longer than was offered"}
		case first && (f.kind != settings || f.flags&flagAck != 0):
			return &Error{ProtocolError, "the first frame is not SETTINGS"}
		case c.head.open && (f.kind != continuation || f.stream != c.head.stream):
			return &Error{ProtocolError, "a frame within a header block"}
		}
		c.in.take(headSize)
		if err := c.frame(f); err != nil {
			return err
		}
	}
}

// frame reads a frame's payload and does what it says.
func (c *Conn) frame(f frameHead) error {
	if f.kind == data {
		return c.data(f)
	}
	if err := c.await(f.length, forHead); err != nil {
		return err
	}
	p := c.in.unread()[:f.length]
	c.in.take(f.length)
	switch f.kind {
	case headers:
		return c.headers(f, p)
	case continuation:
		return c.continuation(f, p)
	case priority:
		return c.priority(f, p)
	case rstStream:
		return c.rstStream(f, p)
	case settings:
		return c.settings(f, p)
	case pushPromise:
		return &Error{ProtocolError, "a client's PUSH_PROMISE"}
	case ping:
		return c.ping(f, p)
	case goAway:
		if f.stream != 0 {
			return &Error{ProtocolError, "GOAWAY on a stream"}
		}
		if len(p) < 8 {
			return &Error{FrameSizeError, "the length of GOAWAY"}
		}
		return c.guard.spend() // what is under way goes on
	case windowUpdate:
		return c.windowUpdate(f, p)
	}
	return c.guard.spend() // what is unknown means nothing (RFC 9113 section 4.1)
}

// awaited is what the client is waited for.
type awaited uint8

const (
	forNext awaited = iota // the next request
	forHead                // the rest of a head, or of any frame but DATA
	forBody                // the rest of DATA
)

// await has at least n bytes unread. Before it waits for them it sends what has to be sent.
func (c *Conn) await(n int, what awaited) error {
	for len(c.in.unread()) < n {
		if what == forNext && len(c.in.unread()) > 0 {
			what = forHead
		}
		if err := c.pause(what); err != nil {
			return err
		}
		if err := c.in.fill(n); err != nil {
			return c.unread(err)
		}
	}
	return nil
}

// unread is why nothing could be read.
func (c *Conn) unread(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving && c.running == 0 {
		return errLeft
	}
	return err
}

// pause is what has to be done before reading may wait. It does not let a client ask for more than it reads the answers to.
func (c *Conn) pause(what awaited) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := &c.out; len(o.waiting) > little && o.queue > 0 {
		o.room.Signal() // a stream that waits sends it, so that this goroutine goes on reading
	} else {
		c.flush(1)
	}
	for len(c.out.waiting) > mostWaiting && c.out.dead == nil {
		if !c.out.writing {
			c.flush(1)
			continue
		}
		c.out.drained.Wait()
	}
	if c.err != nil {
		return c.err
	}
	if c.leaving && c.running == 0 {
		return errLeft
	}
	c.clock.reading(c, what)
	return nil
}

// reset sends RST_STREAM and forgets the stream. Who uses it gets the error.
func (c *Conn) reset(id uint32, code Code, err error) {
	c.out.add(appendWord(c.out.buffer(), rstStream, id, uint32(code)))
	if s := c.streams[id]; s != nil {
		s.lose(err)
		c.forget(s)
	}
	c.past.add(id, true)
}

// forget takes a stream out of those that frames may come for.
func (c *Conn) forget(s *Stream) {
	delete(c.streams, s.id)
	if n := s.discard(); n > 0 {
		s.halted = true // or who reads the body would take what was before for the whole
		c.credit(n)
	}
}

// credit takes note that the client may send n bytes more on all streams together.
func (c *Conn) credit(n int) {
	c.owed += n
	if c.owed >= Window/4 {
		c.out.add(appendWord(c.out.buffer(), windowUpdate, 0, uint32(c.owed)))
		c.receive += c.owed
		c.owed = 0
	}
}

// input reads through a buffer that grows to a long frame's size.
type input struct {
	from io.Reader
	buf  []byte
	r, w int

	fresh bool   // a frame was begun since reading last waited
	body  uint32 // the stream whose DATA was begun last
}

// Sizes of an input's buffer.
const (
	smallInput = 4 << 10
	largeInput = 32 << 10 // a frame and a record of TLS
)

var largeInputs = sync.Pool{New: func() any { return new([largeInput]byte) }}

func (in *input) unread() []byte { return in.buf[in.r:in.w] }

func (in *input) take(n int) { in.r += n }

// fill reads once, into a buffer that has room for n bytes unread.
func (in *input) fill(n int) error {
	switch {
	case in.buf == nil && n <= smallInput:
		in.buf = make([]byte, smallInput)
	case len(in.buf) < largeInput && (n > len(in.buf) || in.r == 0 && in.w == len(in.buf)):
		grown := largeInputs.Get().(*[largeInput]byte)[:]
		in.w = copy(grown, in.unread())
		in.r, in.buf = 0, grown
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.r > 0 && (in.r+n > len(in.buf) || in.w == len(in.buf)) {
		in.w = copy(in.buf, in.unread())
		in.r = 0
	}
	for range 100 {
		got, err := in.from.Read(in.buf[in.w:])
		in.w += got
		if got > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// release gives a large buffer back.
func (in *input) release() {
	if len(in.buf) == largeInput {
		largeInputs.Put((*[largeInput]byte)(in.buf))
	}
	in.buf, in.r, in.w = nil, 0, 0
}

// past are the streams that were closed last: what comes on them may have been under way.
type past struct {
	ids  [128]uint32
	ours [128]bool // it was us who reset it
	next int
}

func (p *past) add(id uint32, ours bool) {
	p.ids[p.next], p.ours[p.next] = id, ours
	p.next = (p.next + 1) % len(p.ids)
}

// find looks a stream up.
func (p *past) find(id uint32) (ours, known bool) {
	for i := range p.ids {
		if p.ids[i] == id {
			known = true
			ours = ours || p.ours[i]
		}
	}
	return ours, known
}
