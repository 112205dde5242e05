package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// one is a flow that speaks HTTP/1 (RFC 9112): the sink of its requests, which come one after the other.
type one struct {
	c    *session
	conn net.Conn // with TLS where there is any
	in   reader
	x    exchange
	body oneBody

	out       []byte // what is not sent yet
	chunked   bool   // the answer's body goes out in chunks
	readUntil time.Time
}

var outBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// serveOne answers the requests of a flow until it ends. The error is for the operator; the end of a flow between two
// requests is none.
func (c *session) serveOne(conn net.Conn) error {
	o := &one{c: c, conn: conn}
	o.in.from = o.conn
	o.x.c, o.x.out = c, o
	defer o.in.release()
	for {
		err := o.await()
		if err != nil {
			return nil // nobody is kept waiting for an answer
		}
		if !c.begin() {
			return nil
		}
		again := o.answer()
		c.end()
		switch {
		case o.x.torn:
			return nil
		case !again || c.leaving.Load():
			c.linger()
			return nil
		}
	}
}

// await waits for the first byte of a request.
func (o *one) await() error {
	if len(o.in.unread()) > 0 {
		return nil
	}
	o.deadline(o.c.s.cfg.Timeouts.Idle)
	return o.in.fill(readerSize)
}

// deadline sets how long the client may be silent.
func (o *one) deadline(within time.Duration) {
	if until := time.Now().Add(within); moves(o.readUntil, until, within) {
		o.readUntil = until
		_ = o.conn.SetReadDeadline(until) // a connection that is closed fails when it is read
	}
}

// answer reads one request and answers it. It reports whether another may follow.
func (o *one) answer() bool {
	limits := &o.c.s.cfg.Limits
	if !bytes.Contains(o.in.unread(), []byte("\r\n\r\n")) {
		o.readUntil = time.Now().Add(o.c.s.cfg.Timeouts.Header)
		_ = o.conn.SetReadDeadline(o.readUntil)
	}
	buffer := outBuffers.Get().(*[16 << 10]byte)
	o.out = buffer[:0]
	defer func() {
		outBuffers.Put(buffer)
		o.out = nil
	}()
	o.chunked = false
	x := &o.x
	head, err := o.in.head(limits.Header)
	if err == nil {
		err = parseRequest(&x.req, string(head), limits.Fields)
	} else {
		x.req = request{fields: x.req.fields[:0], close: true, method: "-"}
	}
	if err != nil {
		return x.malformed(err)
	}
	x.body = nil
	if x.req.length != 0 {
		o.body = oneBody{o: o, left: x.req.length}
		o.body.chunks = chunks{in: &o.in, most: limits.Fields}
		x.body = &o.body
	}
	return x.run()
}

// malformed answers what is no request.
func (x *exchange) malformed(err error) bool {
	var f *failure
	switch {
	case isTimeout(err):
		f = tooSlow.because(err)
	case errors.Is(err, errHeadTooLong), errors.Is(err, errFields):
		f = tooLong.because(err)
	case errors.Is(err, errStartLine), errors.Is(err, errVersion), errors.Is(err, errTarget), errors.Is(err, errHost), errors.Is(err, errField),
		errors.Is(err, errLength), errors.Is(err, errEncoding), errors.Is(err, errBoth), errors.Is(err, errExpect), errors.Is(err, errBareLF):
		f = badRequest.because(err)
	default:
		return false // the client has left
	}
	x.begun, x.body, x.way, x.broken, x.torn, x.site, x.client = time.Now(), nil, route{}, false, false, nil, &x.c.client
	x.rec = Record{Flow: x.c.flow, At: x.c.s.cfg.Now(), Protocol: x.req.protocol(), Code: f.code, Err: f.err}
	x.req.close = true
	x.answer(f)
	x.c.s.record(&x.rec)
	return false
}

// flush implements sink.
func (o *one) flush() error {
	if len(o.out) == 0 {
		return nil
	}
	err := o.send(o.out)
	o.out = o.out[:0]
	return err
}

func (o *one) send(p []byte) error {
	_, err := o.conn.Write(p)
	return err
}

// appendHead appends the head of an answer, framing and all.
func (o *one) appendHead(r *response, last bool) {
	b := o.out
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	if r.reason == "" {
		r.reason = http.StatusText(r.status)
	}
	b = append(b, r.reason...)
	b = append(b, "\r\n"...)
	for i := range r.fields {
		b = appendField(b, r.fields[i].name, r.fields[i].value)
	}
	switch {
	case r.status == http.StatusSwitchingProtocols:
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, r.upgrade...)
		b = append(b, "\r\n"...)
	case r.status < 200:
	default:
		switch {
		case r.empty && !r.sized || r.status == http.StatusNoContent:
		case r.length >= 0:
			b = append(b, "Content-Length: "...)
			b = strconv.AppendInt(b, r.length, 10)
			b = append(b, "\r\n"...)
		case o.chunked:
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
		if last {
			b = append(b, "Connection: close\r\n"...)
		}
	}
	b = append(b, "\r\n"...)
	o.out = b
}

// inform implements sink.
func (o *one) inform(r *response) error {
	o.appendHead(r, false)
	return o.flush()
}

// begin implements sink.
func (o *one) begin(r *response, last bool) error {
	o.chunked = !r.empty && r.length < 0 && !o.x.req.old
	o.appendHead(r, last)
	return nil
}

// unit implements sink.
func (o *one) unit() int { return bulkSize }

// write implements sink.
func (o *one) write(p []byte, more bool) error {
	if o.chunked {
		o.out = appendChunkSize(o.out, len(p))
	}
	if len(o.out)+len(p) <= 16<<10 {
		o.out = append(o.out, p...)
	} else {
		// Head and body, or several records, leave in one call.
		o.c.wire.cork()
		err := o.flush()
		if err == nil {
			err = o.send(p)
		}
		if err := errors.Join(err, o.c.wire.uncork()); err != nil {
			return err
		}
	}
	if o.chunked {
		o.out = append(o.out, "\r\n"...)
	}
	if more {
		return nil
	}
	return o.flush()
}

// finish implements sink.
func (o *one) finish(trailers []field) error {
	if o.chunked {
		o.out = append(o.out, "0\r\n"...)
		for _, f := range trailers {
			o.out = appendField(o.out, f.name, f.value)
		}
		o.out = append(o.out, "\r\n"...)
	}
	return o.flush()
}

// change implements sink.
func (o *one) change() (io.Reader, net.Conn, error) {
	o.readUntil = time.Time{}
	_ = o.conn.SetDeadline(time.Time{}) // a connection that is closed fails when it is used
	return &o.in, o.conn, nil
}

// watch implements sink: it reads ahead, which nobody else does between a request's body and its answer.
func (o *one) watch(left func()) (stop func()) {
	_ = o.conn.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for len(o.in.unread()) < readerSize {
			err := o.in.fill(readerSize)
			if err != nil {
				if !isTimeout(err) {
					left()
				}
				return
			}
		}
	}()
	return func() {
		o.readUntil = time.Time{}
		_ = o.conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = o.conn.SetReadDeadline(time.Time{})
	}
}

// oneBody is the body of an HTTP/1 request.
type oneBody struct {
	o      *one
	left   int64 // bytes, or chunkedLength
	chunks chunks
	mu     sync.Mutex // guards what follows
	ended  bool
	halted bool
}

// Read implements io.Reader.
func (b *oneBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.halted {
		b.mu.Unlock()
		return 0, net.ErrClosed
	}
	if b.left == 0 || b.ended {
		b.mu.Unlock()
		return 0, io.EOF
	}
	if len(b.o.in.unread()) == 0 {
		b.o.deadline(b.o.c.s.cfg.Timeouts.Body)
	}
	b.mu.Unlock()
	var n int
	var err error
	if b.left == chunkedLength {
		n, err = b.chunks.Read(p)
	} else {
		n, err = b.o.in.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		err = unexpected(err)
	}
	if b.left == 0 || b.left == chunkedLength && errors.Is(err, io.EOF) {
		b.mu.Lock()
		b.ended = true
		b.mu.Unlock()
		if err == nil && b.left == 0 {
			err = io.EOF
		}
	}
	return n, err
}

func (b *oneBody) trailers() []field { return b.chunks.trailers }

func (b *oneBody) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

func (b *oneBody) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.halted = true
	b.o.readUntil = time.Unix(1, 0)
	_ = b.o.conn.SetReadDeadline(b.o.readUntil)
}
