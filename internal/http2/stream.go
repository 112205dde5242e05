package http2

import (
	"io"
	"sync"
	"time"
)

// Stream is a request and its answer. One goroutine answers, and another one may read the body meanwhile.
type Stream struct {
	Head Head

	c       *Conn
	id      uint32
	pending []byte // the block of the answer's head, which goes out with what follows
	present *chunk // of the body: what Read has taken and not given yet

	// Conn's lock guards what follows.
	lost     error  // why nothing can be sent or read any more
	left     func() // is called when that happens
	refused  Code   // by which the stream is reset when the handler has not ended the answer
	ended    bool   // the answer was sent to its end
	received bool   // the client has sent everything

	send    int       // bytes that the client takes
	window  sync.Cond // send has grown, or lost is set
	waits   time.Time // since when a closed window is waited for; zero: it is not
	receive int       // bytes that the client may send
	owed    int       // bytes that were read and that it was not told of

	first, final *chunk // of the body that is there
	got          int64  // bytes of the body that have come
	trailers     []Field
	readable     sync.Cond
	reads        time.Time // since when a Read waits; zero: none does
	late         bool      // the body did not come in time
	halted       bool      // nobody reads the body any more
	whole        bool      // it was read to its end
}

// chunk is a part of a body.
type chunk struct {
	next *chunk
	r, w int
	b    [16 << 10]byte
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func newStream(c *Conn, id uint32, h Head, received bool) *Stream {
	s := &Stream{Head: h, c: c, id: id, received: received, refused: InternalError, send: c.sendFirst, receive: StreamWindow}
	s.window.L, s.readable.L = &c.mu, &c.mu
	return s
}

// Unit is how many bytes are best written at once: what fills several frames and records of TLS.
func (s *Stream) Unit() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	n := framePayload(s.c.maxFrame)
	return max(1, defaultFrame*4/(n+headSize)) * n
}

// framePayload is how much of a body goes into one frame: with the frame's head it fills records of TLS.
func framePayload(most int) int {
	const record = 16 << 10
	return min(most+headSize, 4*record)/record*record - headSize
}

// Read implements io.Reader for the request's body. Its error is io.EOF behind the last byte, a timeout when the client sends
// nothing for too long, and a net.ErrClosed when it has gone or Halt was called.
func (s *Stream) Read(p []byte) (int, error) {
	n := 0
	for {
		if from := s.present; from != nil {
			got := copy(p[n:], from.b[from.r:from.w])
			from.r += got
			n += got
			if from.r < from.w {
				return n, nil
			}
			s.present = nil
			chunks.Put(from)
		}
		more, err := s.next(n == 0)
		if !more {
			return n, err
		}
	}
}

// next takes the body's next chunk, for which it may wait.
func (s *Stream) next(wait bool) (more bool, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case s.halted:
			return false, errHalted
		case s.lost != nil:
			return false, s.lost
		case s.first != nil:
			s.present, s.first = s.first, s.first.next
			if s.first == nil {
				s.final = nil
			}
			s.present.next = nil
			s.consumed(s.present.w - s.present.r)
			c.flush(1)
			return true, nil
		case s.received:
			s.whole = true
			return false, io.EOF
		case s.late:
			return false, errNoBody
		case !wait:
			return false, nil
		}
		s.reads = time.Now()
		c.clock.arm(s.reads.Add(c.cfg.BodyTimeout))
		s.readable.Wait()
		s.reads = time.Time{}
	}
}

// consumed takes note that n bytes of the body are not held any more, and tells the client when it is worth it.
func (s *Stream) consumed(n int) {
	c := s.c
	c.credit(n)
	if s.owed += n; s.owed >= StreamWindow/4 && !s.received {
		c.out.add(appendWord(c.out.buffer(), windowUpdate, s.id, uint32(s.owed)))
		s.receive += s.owed
		s.owed = 0
	}
}

// put adds to the body.
func (s *Stream) put(p []byte) {
	for len(p) > 0 {
		if s.final == nil || s.final.w == len(s.final.b) {
			fresh := chunks.Get().(*chunk)
			fresh.r, fresh.w = 0, 0
			if s.final == nil {
				s.first = fresh
			} else {
				s.final.next = fresh
			}
			s.final = fresh
		}
		n := copy(s.final.b[s.final.w:], p)
		s.final.w += n
		p = p[n:]
	}
	s.readable.Signal()
}

// discard drops what of the body nobody has read, and returns how much that was.
func (s *Stream) discard() (n int) {
	for s.first != nil {
		one := s.first
		s.first = one.next
		n += one.w - one.r
		one.next = nil
		chunks.Put(one)
	}
	s.final = nil
	return n
}

// Trailers are those of the request, once Read has returned io.EOF.
func (s *Stream) Trailers() []Field {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.trailers
}

// Whole reports whether the body was read to its end, or there was none.
func (s *Stream) Whole() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.whole
}

// Halt has a Read that waits return, and every later one.
func (s *Stream) Halt() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.halted = true
	s.readable.Broadcast()
}

// lose ends the stream's use: its client or its connection has gone.
func (s *Stream) lose(err error) {
	if s.lost != nil {
		return
	}
	s.lost = err
	s.window.Broadcast()
	s.readable.Broadcast()
	s.c.sendable.Broadcast()
	s.c.out.room.Broadcast()
	if s.left != nil {
		s.left()
		s.left = nil
	}
}

// Watch calls left, which must not wait, when the client goes away before stop is called.
func (s *Stream) Watch(left func()) (stop func()) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.lost != nil {
		left()
		return func() {}
	}
	s.left = left
	return func() {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		s.left = nil
	}
}

// Refuse has the stream reset when the handler returns, with a code that tells the client that nothing was done for it.
func (s *Stream) Refuse() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.refused = RefusedStream
}

// Inform sends the block of an interim answer's head.
func (s *Stream) Inform(block []byte) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.makeRoom(s, len(block)); err != nil {
		return err
	}
	s.appendBlock(block, false)
	c.flush(turns)
	return nil
}

// Begin gives the block of the answer's head, which is sent with what follows and must not change before.
func (s *Stream) Begin(block []byte) { s.pending = block }

// Flush sends what waits.
func (s *Stream) Flush() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.makeRoom(s, len(s.pending)); err != nil {
		return err
	}
	s.begin(false)
	c.flush(turns)
	return nil
}

// Write sends a part of the answer's body as the client's windows allow. With end it is the last part, and with more it may
// wait for the next one. When Write returns p is not used any more.
func (s *Stream) Write(p []byte, end, more bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if err := c.makeRoom(s, len(p)); err != nil {
			return err
		}
		s.begin(false)
		n := min(len(p), s.send, c.send, roomy)
		if n <= 0 {
			if err := s.await(); err != nil {
				return err
			}
			continue
		}
		last := end && n == len(p)
		s.appendData(p[:n], last)
		c.guard.grant(n, n < len(p))
		p = p[n:]
		if last {
			s.finish()
		}
		if c.out.queue > 0 && len(c.out.waiting) < roomy {
			c.out.room.Signal()
		}
	}
	if end || !more || len(c.out.waiting) > little {
		c.flush(turns)
	}
	return nil
}

// appendData appends DATA.
func (s *Stream) appendData(p []byte, end bool) {
	c := s.c
	s.send -= len(p)
	c.send -= len(p)
	b, most := c.out.buffer(), framePayload(c.maxFrame)
	for len(p) > 0 {
		n := min(len(p), most)
		flags := uint8(0)
		if end && n == len(p) {
			flags = flagEndStream
		}
		b = appendHead(b, n, data, flags, s.id)
		b = append(b, p[:n]...)
		p = p[n:]
	}
	c.out.add(b)
}

// await waits until the client's windows are open.
func (s *Stream) await() error {
	c := s.c
	c.flush(turns)
	for s.lost == nil && (s.send <= 0 || c.send <= 0) {
		if s.waits.IsZero() {
			s.waits = time.Now()
			c.clock.arm(s.waits.Add(c.cfg.SendTimeout))
		}
		if s.send <= 0 {
			s.window.Wait()
		} else {
			c.sendable.Wait()
		}
	}
	s.waits = time.Time{}
	return s.lost
}

// begin appends the answer's head if it was not yet.
func (s *Stream) begin(end bool) {
	if s.pending != nil {
		s.appendBlock(s.pending, end)
		s.pending = nil
	}
}

func (s *Stream) appendBlock(block []byte, end bool) {
	c := s.c
	if c.resetTable {
		c.resetTable = false
		block = append([]byte{0x20}, block...) // the table has no room from now on (RFC 7541 section 6.3)
	}
	c.out.add(appendBlock(c.out.buffer(), block, s.id, end, c.maxFrame))
}

// End ends the answer, with trailers where their block is not empty.
func (s *Stream) End(trailers []byte) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended {
		return nil
	}
	if err := c.makeRoom(s, len(trailers)); err != nil {
		return err
	}
	switch {
	case len(trailers) > 0:
		s.begin(false)
		s.appendBlock(trailers, true)
	case s.pending != nil:
		s.begin(true)
	default:
		c.out.add(appendHead(c.out.buffer(), 0, data, flagEndStream, s.id))
	}
	s.finish()
	c.flush(turns)
	return nil
}

// finish takes note that the answer ends. When the request has ended too the stream is closed, and the client may begin another.
func (s *Stream) finish() {
	s.ended = true
	if s.received && s.c.streams[s.id] == s {
		s.c.forget(s)
		s.c.past.add(s.id, false)
	}
}

// end ends the stream when its handler has returned.
func (s *Stream) end() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.present != nil {
		chunks.Put(s.present)
		s.present = nil
	}
	s.left = nil
	if c.streams[s.id] == s && c.err == nil {
		code := s.refused
		if s.ended {
			code = NoError // the rest of the request is not wanted (RFC 9113 section 8.1)
		}
		c.reset(s.id, code, errDone)
		c.flush(turns)
	}
	if c.running--; c.running > 0 {
		return
	}
	now := time.Now()
	c.clock.idle = now
	switch {
	case c.err != nil:
	case c.leaving:
		c.interrupt()
	default:
		c.clock.arm(now.Add(c.cfg.IdleTimeout))
	}
	c.done.Broadcast()
}
