package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// two is the HTTP/2 of all flows: package http's, which is given the flows whose clients chose it.
type two struct {
	s     *Server
	http  *http.Server
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	group sync.WaitGroup
}

func newTwo(s *Server) *two {
	t := &two{s: s, conns: make(chan net.Conn), done: make(chan struct{})}
	var protocols http.Protocols
	protocols.SetHTTP1(true) // package http starts HTTP/2 from it
	protocols.SetHTTP2(true)
	t.http = &http.Server{
		Handler: t, MaxHeaderBytes: s.cfg.Limits.Header, ReadHeaderTimeout: s.cfg.Timeouts.Header, IdleTimeout: s.cfg.Timeouts.Idle,
		ErrorLog: log.New(io.Discard, "", 0), Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          s.cfg.Limits.Streams,
			MaxReceiveBufferPerConnection: 4 << 20, MaxReceiveBufferPerStream: 1 << 20,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				if w, ok := t.NetConn().(*wire); ok {
					return context.WithValue(ctx, sessionKey{}, w.session)
				}
			}
			return ctx
		},
	}
	t.group.Go(func() { _ = t.http.Serve((*twoListener)(t)) }) // always ErrServerClosed
	return t
}

// sessionKey is the context key of a request's *session.
type sessionKey struct{}

// serve answers the requests of a flow until it ends.
func (t *two) serve(c *session) error {
	select {
	case t.conns <- c.tls:
		<-c.wire.closed
	case <-t.done:
	}
	return nil
}

// drain tells the clients of all flows that no request may follow, and waits until those under way have ended or ctx is done.
func (t *two) drain(ctx context.Context) { _ = t.http.Shutdown(ctx) } // what is left is cut by whoever ended ctx

func (t *two) close() {
	_ = t.http.Close()
	t.group.Wait()
}

// twoListener hands flows to package http.
type twoListener two

func (l *twoListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *twoListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *twoListener) Addr() net.Addr { return &net.TCPAddr{} }

// joined is the length of answers that package http keeps until their handler has returned (its buffer has 4 KiB).
const joined = 4 << 10

// stream is the sink of an HTTP/2 request.
type stream struct {
	w      http.ResponseWriter
	r      *http.Request
	x      exchange
	body   twoBody
	values []string // of the answer's fields
}

var streams = sync.Pool{New: func() any { return new(stream) }}

// ServeHTTP implements http.Handler.
func (t *two) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(sessionKey{}).(*session)
	if !ok || r.ProtoMajor != 2 {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	if !c.begin() {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.end()
	s := streams.Get().(*stream)
	s.w, s.r = w, r
	x := &s.x
	x.c, x.out = c, s
	if s.request() {
		x.run()
	}
	torn := x.torn
	s.put()
	if torn {
		panic(http.ErrAbortHandler) // which package http makes a reset of the stream of
	}
}

func (s *stream) put() {
	s.w, s.r, s.body.from = nil, nil, nil
	s.x.c, s.x.body = nil, nil
	clear(s.x.req.fields)
	clear(s.x.resp.fields)
	clear(s.values)
	streams.Put(s)
}

// request fills in the exchange's request. It reports false for one that was refused already.
func (s *stream) request() bool {
	x, r := &s.x, s.r
	q := &x.req
	*q = request{
		fields: q.fields[:0], drop: q.drop[:0], method: r.Method, target: r.RequestURI, host: r.Host, two: true, length: r.ContentLength, trailers: true,
	}
	x.body = nil
	if q.length != 0 {
		s.body.reset(r, s.w)
		x.body = &s.body
		if q.length < 0 {
			q.length = chunkedLength
		}
	}
	for name, values := range r.Header {
		k := kindOf(name)
		switch k {
		case framing, connection, hop, upgrade, host, expect, teaser, trailer:
			continue
		}
		for _, v := range values {
			q.fields = append(q.fields, field{name, v, k})
		}
	}
	if !isTarget(q.target) || q.target[0] != '/' && q.target != "*" {
		return x.malformed(errTarget)
	}
	if len(q.fields) > x.c.s.cfg.Limits.Fields {
		return x.malformed(errFields)
	}
	return true
}

// inform implements sink.
func (s *stream) inform(r *response) error {
	s.set(r)
	s.w.WriteHeader(r.status)
	clear(s.w.Header())
	return nil
}

// set sets the fields of the answer.
func (s *stream) set(r *response) {
	h := s.w.Header()
	if cap(s.values) < len(r.fields) {
		s.values = make([]string, 0, 2*len(r.fields))
	}
	s.values = s.values[:0]
	for i := range r.fields {
		f := &r.fields[i]
		name := http.CanonicalHeaderKey(f.name)
		if before := h[name]; before != nil {
			h[name] = append(before[:len(before):len(before)], f.value)
			continue
		}
		s.values = append(s.values, f.value)
		h[name] = s.values[len(s.values)-1 : len(s.values) : len(s.values)]
	}
}

// begin implements sink.
func (s *stream) begin(r *response, last bool) error {
	s.set(r)
	h := s.w.Header()
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // what the application does not say is not guessed
	}
	if _, ok := h["Date"]; !ok {
		h["Date"] = nil
	}
	if r.length >= 0 && (r.sized || !r.empty) && r.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.FormatInt(r.length, 10))
	}
	if s.x.c.last.Load() {
		h.Set("Connection", "close")
	}
	s.w.WriteHeader(r.status)
	return nil
}

// write implements sink.
func (s *stream) write(p []byte, more bool) error {
	_, err := s.w.Write(p)
	if err == nil && !more {
		err = s.flush()
	}
	return err
}

// flush implements sink.
func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }

// finish implements sink.
func (s *stream) finish(trailers []field) error {
	if s.x.resp.length > 0 && s.x.resp.length < joined && !s.x.resp.empty {
		s.x.c.wire.join() // package http writes head and body of a short answer one behind the other, when the handler has returned
	}
	h := s.w.Header()
	for _, f := range trailers {
		h.Add(http.TrailerPrefix+f.name, f.value)
	}
	return nil
}

// change implements sink.
func (s *stream) change() (io.Reader, net.Conn, error) { return nil, nil, errors.ErrUnsupported }

// watch implements sink.
func (s *stream) watch(left func()) (stop func()) {
	off := context.AfterFunc(s.r.Context(), left)
	return func() { off() }
}

// twoBody is the body of an HTTP/2 request.
type twoBody struct {
	from    *http.Request
	control *http.ResponseController
	limit   time.Duration
	until   time.Time
	ended   atomic.Bool
	halted  atomic.Bool
}

func (b *twoBody) reset(r *http.Request, w http.ResponseWriter) {
	b.from, b.control, b.until = r, http.NewResponseController(w), time.Time{}
	if c, ok := r.Context().Value(sessionKey{}).(*session); ok {
		b.limit = c.s.cfg.Timeouts.Body
	}
	b.ended.Store(false)
	b.halted.Store(false)
}

// Read implements io.Reader.
func (b *twoBody) Read(p []byte) (int, error) {
	if b.halted.Load() {
		return 0, net.ErrClosed
	}
	if until := time.Now().Add(b.limit); moves(b.until, until, b.limit) {
		b.until = until
		_ = b.control.SetReadDeadline(until) // a stream that has ended fails when it is read
	}
	n, err := b.from.Body.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

func (b *twoBody) trailers() []field {
	var fields []field
	for name, values := range b.from.Trailer {
		for _, v := range values {
			fields = append(fields, field{name: strings.ToLower(name), value: v})
		}
	}
	return fields
}

func (b *twoBody) whole() bool { return b.ended.Load() }

func (b *twoBody) stop() {
	b.halted.Store(true)
	_ = b.from.Body.Close() // a Read that waits returns
}
