package httpproxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/postern/postern/internal/http2"
)

// serveTwo answers the requests of a flow that speaks HTTP/2 until it ends.
func (c *session) serveTwo() error {
	conn := http2.NewConn(&twoWire{c.tls, c.wire}, &c.s.twoConfig, &c.s.crew, c.answerTwo)
	c.two.Store(conn)
	var fault *http2.Error
	if err := conn.Serve(); errors.As(err, &fault) { // other errors are of streams that break, as they do
		c.s.record(&Record{Flow: c.flow, At: c.s.cfg.Now(), Protocol: "HTTP/2.0", Host: c.flow.Name, Code: "http2_error", Err: err})
	}
	c.linger()
	conn.Wait()
	return nil
}

// twoWire is TLS of which several records leave in one call.
type twoWire struct {
	*tls.Conn
	wire *wire
}

// Write implements http2.Wire.
func (w *twoWire) Write(p []byte) (int, error) {
	const record = 16 << 10
	if len(p) <= record {
		return w.Conn.Write(p)
	}
	w.wire.cork()
	n, err := w.Conn.Write(p)
	return n, errors.Join(err, w.wire.uncork())
}

// stream is the sink of an HTTP/2 request.
type stream struct {
	*http2.Stream
	x     exchange
	block []byte // of the answer's head, as it goes out
	left  int64  // bytes of the answer's body; negative when that is not known
}

var streams = sync.Pool{New: func() any { return new(stream) }}

// answerTwo answers one request.
func (c *session) answerTwo(of *http2.Stream) {
	if !c.begin() { // the flow was to end before it was known that it speaks HTTP/2
		of.Refuse()
		return
	}
	defer c.end()
	if c.last.Load() {
		c.two.Load().GoAway() // a flow that came when the server had been retired already
	}
	s := streams.Get().(*stream)
	s.Stream = of
	x := &s.x
	x.c, x.out = c, s
	if s.request() {
		x.run() // an answer that it does not end is torn by that
	}
	s.put()
}

func (s *stream) put() {
	s.Stream = nil
	s.x.c, s.x.body = nil, nil
	clear(s.x.req.fields)
	clear(s.x.resp.fields)
	streams.Put(s)
}

// request fills in the exchange's request. It reports false for one that was refused already.
func (s *stream) request() bool {
	x, h := &s.x, &s.Head
	q := &x.req
	*q = request{
		fields: q.fields[:0], drop: q.drop[:0], method: h.Method, target: h.Path, host: h.Authority, two: true, length: h.Length, trailers: true,
	}
	x.body = nil
	if q.length != 0 {
		x.body = s
		if q.length < 0 {
			q.length = chunkedLength
		}
	}
	if h.TooLarge {
		return x.malformed(errHeadTooLong)
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		k := kindOf(f.Name)
		switch k {
		case framing, connection, hop, upgrade, host, teaser, trailer:
			continue
		case expect:
			if !strings.EqualFold(f.Value, "100-continue") {
				return x.malformed(errExpect)
			}
			q.expect = q.length != 0
			continue
		}
		q.fields = append(q.fields, field{f.Name, f.Value, k})
	}
	if !isTarget(q.target) || q.target[0] != '/' && (q.target != "*" || q.method != http.MethodOptions) {
		return x.malformed(errTarget)
	}
	return true
}

// encode makes the block of an answer's head.
func (s *stream) encode(r *response) {
	b := http2.AppendStatus(s.block[:0], r.status)
	for i := range r.fields {
		b = http2.AppendField(b, r.fields[i].name, r.fields[i].value)
	}
	s.block = b
}

// inform implements sink.
func (s *stream) inform(r *response) error {
	s.encode(r)
	return s.Inform(s.block)
}

// begin implements sink. That the flow ends was told by GOAWAY.
func (s *stream) begin(r *response, _ bool) error {
	s.encode(r)
	if r.length >= 0 && (r.sized || !r.empty) && r.status != http.StatusNoContent {
		var digits [20]byte
		s.block = http2.AppendField(s.block, "content-length", string(strconv.AppendInt(digits[:0], r.length, 10)))
	}
	s.left = r.length
	s.Begin(s.block)
	return nil
}

// unit implements sink.
func (s *stream) unit() int { return s.Unit() }

// write implements sink.
func (s *stream) write(p []byte, more bool) error {
	last := false
	if s.left >= 0 {
		s.left -= int64(len(p))
		last = s.left == 0
	}
	return s.Write(p, last, more)
}

// flush implements sink.
func (s *stream) flush() error { return s.Flush() }

// finish implements sink.
func (s *stream) finish(trailers []field) error {
	b := s.block[len(s.block):] // the head may not have gone out yet
	for _, f := range trailers {
		b = http2.AppendField(b, f.name, f.value)
	}
	return s.End(b)
}

// change implements sink.
func (s *stream) change() (io.Reader, net.Conn, error) { return nil, nil, errors.ErrUnsupported }

// watch implements sink.
func (s *stream) watch(left func()) (stop func()) { return s.Watch(left) }

// trailers implements body.
func (s *stream) trailers() []field {
	var fields []field
	for _, f := range s.Trailers() {
		fields = append(fields, field{name: f.Name, value: f.Value})
	}
	return fields
}

// whole implements body.
func (s *stream) whole() bool { return s.Whole() }

// stop implements body.
func (s *stream) stop() { s.Halt() }

// twoConfig is what HTTP/2 connections are held to.
func (c *Config) twoConfig() http2.Config {
	return http2.Config{
		Streams: c.Limits.Streams, Header: c.Limits.Header, Fields: c.Limits.Fields, HeaderTimeout: c.Timeouts.Header,
		IdleTimeout: c.Timeouts.Idle, BodyTimeout: c.Timeouts.Body, SendTimeout: c.Timeouts.Send,
	}
}
