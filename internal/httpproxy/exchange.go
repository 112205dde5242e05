package httpproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
)

// sink is the client's side of one request.
type sink interface {
	// inform sends an interim answer (1xx).
	inform(r *response) error
	// begin sends the head of the answer, whose body has r.length bytes; last says that no request follows.
	begin(r *response, last bool) error
	// write sends a part of the body. With more there, it may wait for the next part.
	write(p []byte, more bool) error
	// finish ends the answer. Without it, or with an error, the client sees that the answer is not whole.
	finish(trailers []field) error
	// change hands the stream over behind an answer of 101: what the client sends, and its connection.
	change() (io.Reader, net.Conn, error)
	// watch calls left when the client goes away, until stop is called.
	watch(left func()) (stop func())
}

// body is a request's body that is not there yet.
type body interface {
	io.Reader
	trailers() []field
	whole() bool // it was read to its end
	stop()       // makes a Read that waits return, and every other
}

// Bounds of what is held of one request.
const (
	smallBody = 16 << 10        // a body up to this is read before the request goes out
	patience  = 2 * time.Second // after which it is looked whether the client still waits
	interims  = 16              // interim answers to one request
)

// exchange is one request and its answer.
type exchange struct {
	c    *session
	req  request
	body body // nil: there is none, or it is in small
	out  sink

	site     *Site
	way      route
	decision clientcert.Decision
	view     view
	resp     response
	head     []byte // the request as it goes out, with a small body behind it
	rec      Record
	begun    time.Time

	verified string // the certificate as the application is told it; empty when none stands

	up     *upstream
	node   Node
	in     atomic.Int64 // of the body
	left   atomic.Bool  // the client went away
	sent   chan error   // of the body; nil when nobody sends it
	began  bool         // the client got the head of an answer
	broken bool         // the client's connection cannot go on
	torn   bool         // the client has to see that its answer is not whole
}

// run answers the request. It reports whether another may follow on the same connection.
func (x *exchange) run() bool {
	x.begun = time.Now()
	c := x.c
	x.rec = Record{Flow: c.flow, At: c.s.cfg.Now(), Method: x.req.method, Host: x.req.host, Protocol: "HTTP/1.1"}
	if x.req.two {
		x.rec.Protocol = "HTTP/2.0"
	}
	x.rec.Path, _, _ = strings.Cut(x.req.target, "?")
	x.began, x.broken, x.torn, x.sent, x.up, x.node = false, false, false, nil, nil, nil
	x.site, x.way, x.decision, x.verified = nil, route{}, clientcert.Decision{}, ""
	x.left.Store(false)
	if f := x.proxy(); f != nil {
		x.rec.Code, x.rec.Err = f.code, f.err
		if x.began || f.code == gone.code {
			x.broken, x.torn = true, true
		} else {
			x.answer(f)
		}
	}
	x.settle()
	x.rec.Took = time.Since(x.begun)
	c.s.record(&x.rec)
	return !x.broken
}

// proxy answers the request as the site says; what it returns was not answered yet, unless the answer had begun.
func (x *exchange) proxy() *failure {
	c, r := x.c, &x.req
	host, port := cutPort(strings.ToLower(r.host))
	host = strings.TrimSuffix(host, ".")
	if port != "" {
		if n, ok := parseLength(port); !ok || n >= 1<<16 {
			return badRequest.because(errHost)
		}
	}
	x.site = c.flow.Site(host)
	if x.site == nil {
		return misdirected
	}
	x.rec.ClusterID = x.site.cluster
	repository, ok := x.site.find(c.flow.Listener, host)
	if !ok {
		return misdirected
	}
	if r.method == http.MethodConnect || r.method == http.MethodTrace {
		return badMethod
	}
	if repository == "" && x.site.docker == link.DockerPort {
		repository = x.site.ports[c.flow.Port]
	}
	if f := x.decide(); f != nil {
		path, _, _ := strings.Cut(r.target, "?")
		x.way.docker = x.site.docker != link.DockerNone && isDocker(path)
		return f
	}
	var f *failure
	if x.way, f = x.site.route(r.target, repository); f != nil {
		return f
	}
	x.view = view{site: x.site, way: &x.way, listener: c.flow.Listener, scheme: "https", host: r.host}
	if x.way.ticket != "" {
		x.rec.Path = ticketPath
		return x.redeem(x.way.ticket)
	}
	if err := x.prepare(); err != nil {
		return err
	}
	if err := x.ask(); err != nil {
		return err
	}
	return x.relay()
}

// decide asks the table whether the client's certificate lets the request pass.
func (x *exchange) decide() *failure {
	c, trust := x.c, x.site.trust
	if trust.Mode() == link.CertificatesOff {
		x.decision = clientcert.Decision{Outcome: clientcert.ByCredentials}
		return nil
	}
	now := c.s.cfg.Now()
	st := c.stands(trust, now)
	answer := clientcert.Unknown
	if q := st.verified.Question; q != nil && c.s.cfg.Revocation != nil {
		answer = c.s.cfg.Revocation.Await(c.ctx, *q)
	}
	var credentials, keys []string
	if c.leaf != nil {
		for i := range x.req.fields {
			switch f := &x.req.fields[i]; f.kind {
			case authorization:
				credentials = append(credentials, f.value)
			case apiKey:
				keys = append(keys, f.value)
			}
		}
	}
	facts := trust.Facts(st.verified, now, answer, clientcert.ReadCredentials(credentials, keys))
	x.decision = clientcert.Decide(facts)
	x.rec.User, x.rec.Note = x.decision.User, x.decision.Reason
	if x.decision.Outcome == clientcert.Refuse {
		return &failure{
			status: x.decision.Status, code: x.decision.Code, message: "the client certificate does not allow this request",
			close: true, err: errors.New(x.decision.Reason + ": " + st.verified.Detail),
		}
	}
	if facts.Certificate == clientcert.Trusted && facts.Revocation == clientcert.Good {
		x.verified = st.encoded
	}
	return nil
}

// prepare writes the request as it goes out, with its body behind it when that is small.
func (x *exchange) prepare() *failure {
	r := &x.req
	o := onward{
		target: x.way.target, host: r.host, forwarded: x.c.forwarded, user: x.decision.User, cert: x.verified, site: x.site,
	}
	if x.site.override {
		o.base = x.view.scheme + "://" + r.host
	}
	if protocol := r.upgrade; protocol != "" && (len(protocol) >= 2 && strings.EqualFold(protocol[:2], "h2") || hasToken(protocol, "HTTP/2.0")) {
		r.upgrade = "" // what the node would answer then is not what is read here
	}
	x.head = o.appendTo(x.head[:0], r)
	if x.body == nil || r.length < 0 || r.length > smallBody || r.expect {
		return nil
	}
	begin := len(x.head)
	x.head = append(x.head, make([]byte, r.length)...)
	n, err := io.ReadFull(x.body, x.head[begin:])
	x.rec.In = int64(n)
	if err != nil {
		return x.clientFault(err)
	}
	x.body = nil
	return nil
}

// clientFault is what becomes of a request whose body does not come.
func (x *exchange) clientFault(err error) *failure {
	switch {
	case isTimeout(err):
		return tooSlow.because(err)
	case errors.Is(err, errChunk), errors.Is(err, errChunkExcess), errors.Is(err, errBareLF), errors.Is(err, errHeadTooLong),
		errors.Is(err, errField), errors.Is(err, errFields):
		return badRequest.because(err)
	}
	return gone.because(err)
}

// ask sends the request to a node and reads the head of its answer. A request that can be sent twice is, when a
// connection that was used before turns out to be closed; another node is tried when one cannot be reached.
func (x *exchange) ask() *failure {
	var failed Node
	fresh := false // no connection that was used before
	for tries := 0; ; tries++ {
		err := x.connect(failed, fresh)
		if err != nil {
			failed = x.node
			x.release(false, true)
			if failed == nil || tries > 0 || !errors.Is(err, errDial) {
				return x.upstreamFault(err)
			}
			continue
		}
		silent, err := x.exchangeHeads()
		if err == nil {
			return nil
		}
		again := x.up.reused && silent && x.body == nil && tries == 0 && !isTimeout(err) && !x.left.Load()
		if sent := x.stopBody(); sent != nil && !errors.Is(sent, errNodeGone) {
			x.release(!silent, false)
			return x.clientFault(sent)
		}
		if x.left.Load() {
			x.release(!silent, false)
			return gone.because(err)
		}
		x.release(!silent, !again)
		if !again {
			return x.upstreamFault(err)
		}
		fresh = true
	}
}

var (
	errDial     = errors.New("cannot reach the node")
	errNodeGone = errors.New("the node takes no more")
	errInterims = errors.New("too many interim answers")
	errSwitch   = errors.New("a change of protocols that nobody asked for")
)

// connect finds a node and a connection to it.
func (x *exchange) connect(failed Node, fresh bool) error {
	c := x.c
	node, err := c.s.cfg.Pick(c.ctx, Destination{Flow: c.flow, Site: x.site, Direct: x.way.direct, Failed: failed})
	if err != nil {
		x.node = nil
		return err
	}
	x.node = node
	key := node.Key()
	x.rec.Node = key
	kept := &c.s.idle
	if key == "" {
		kept = &c.own
	}
	if !fresh {
		for u := kept.get(key); u != nil; u = kept.get(key) {
			if x.body != nil || !isIdempotent(x.req.method) {
				if !alive(u.conn) {
					u.close()
					continue
				}
			}
			u.in.from = u.conn
			x.up = u
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.s.cfg.Timeouts.Dial)
	defer cancel()
	conn, err := node.Dial(ctx)
	if err != nil {
		return errors.Join(errDial, err)
	}
	x.up = &upstream{conn: conn, key: key}
	x.up.in.from = conn
	return nil
}

// isIdempotent reports whether a request may be sent twice (RFC 9110 section 9.2.2).
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// exchangeHeads sends the request and reads the final head of the answer. Silent says that the node sent nothing.
func (x *exchange) exchangeHeads() (silent bool, err error) {
	u, now := x.up, time.Now()
	_ = u.conn.SetWriteDeadline(now.Add(x.c.s.cfg.Timeouts.Send))
	if _, err := u.conn.Write(x.head); err != nil {
		return true, err
	}
	if x.body != nil {
		x.sent = make(chan error, 1)
		go x.send(x.sent, x.body, u)
	}
	for range interims {
		head, err := x.awaitHead(now)
		if err != nil {
			return !x.began && len(u.in.unread()) == 0 && head == nil, err
		}
		if err := parseResponse(&x.resp, string(head), x.c.s.cfg.Limits.Fields); err != nil {
			return false, err
		}
		switch s := x.resp.status; {
		case s == http.StatusSwitchingProtocols:
			if x.req.upgrade == "" || x.resp.upgrade == "" {
				return false, errSwitch
			}
			return false, nil
		case s >= 200:
			return false, nil
		case s == http.StatusContinue && !x.req.expect, x.req.old:
			continue
		}
		x.view.node = strings.ToLower(u.key)
		x.view.turnFields(&x.resp)
		if err := x.out.inform(&x.resp); err != nil {
			x.left.Store(true)
			return false, err
		}
	}
	return false, errInterims
}

// awaitHead reads a head of the node's. When it does not come soon it is looked whether the client still waits.
func (x *exchange) awaitHead(now time.Time) ([]byte, error) {
	u, most := x.up, x.c.s.cfg.Limits.Header
	if x.sent != nil {
		u.expect(now, x.c.s.cfg.Timeouts.Upstream)
		return u.in.head(most)
	}
	first := min(patience, x.c.s.cfg.Timeouts.Upstream)
	u.until = now.Add(first)
	_ = u.conn.SetReadDeadline(u.until)
	head, err := u.in.head(most)
	if err == nil || !isTimeout(err) || x.c.s.cfg.Timeouts.Upstream <= patience {
		return head, err
	}
	u.until = now.Add(x.c.s.cfg.Timeouts.Upstream)
	_ = u.conn.SetReadDeadline(u.until)
	stop := x.out.watch(func() {
		x.left.Store(true)
		u.conn.Close()
	})
	defer stop()
	return u.in.head(most)
}

// upstreamFault is what the client is told when the node does not answer.
func (x *exchange) upstreamFault(err error) *failure {
	switch {
	case x.c.ctx.Err() != nil:
		return gone.because(err)
	case errors.Is(err, ErrNoNode), errors.Is(err, errDial):
		return noNode.because(err)
	case isTimeout(err):
		return slowNode.because(err)
	}
	return brokenNode.because(err)
}

// release gives the node and its connection back, the latter closed.
func (x *exchange) release(answered, broken bool) {
	if x.up != nil {
		x.up.close()
		x.up = nil
	}
	if x.node != nil {
		x.node.Ended(answered, broken)
		x.node = nil
	}
}

// send sends the body on, as it comes, and says how that ended.
func (x *exchange) send(done chan<- error, from body, to *upstream) {
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	const before, behind = 8, 2 // room for the line before a chunk and the end behind it
	chunked := x.req.length == chunkedLength
	end := len(buffer)
	if chunked {
		end -= behind
	}
	for {
		n, err := from.Read(buffer[before:end])
		if n > 0 {
			x.in.Add(int64(n))
			out := buffer[before : before+n]
			if chunked {
				var line [before + 2]byte
				size := appendChunkSize(line[:0], n)
				begin := before - len(size)
				copy(buffer[begin:], size)
				copy(buffer[before+n:], "\r\n")
				out = buffer[begin : before+n+behind]
			}
			_ = to.conn.SetWriteDeadline(time.Now().Add(x.c.s.cfg.Timeouts.Upstream))
			if _, err := to.conn.Write(out); err != nil {
				done <- errNodeGone
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF) && (chunked || x.in.Load() == x.req.length):
			if chunked {
				last := append(buffer[:0], "0\r\n"...)
				for _, f := range passableTrailers(from.trailers(), x.site.spelling) {
					last = appendField(last, f.name, f.value)
				}
				if _, err := to.conn.Write(append(last, "\r\n"...)); err != nil {
					done <- errNodeGone
					return
				}
			}
			done <- nil
			return
		case err != nil:
			// The node sees a body that is not whole, and the goroutine that waits for its answer an error.
			to.conn.Close()
			done <- unexpected(err)
			return
		}
	}
}

// stopBody ends the sending of the body and returns how it went: nil when it was sent, or when there was none.
func (x *exchange) stopBody() error {
	if x.sent == nil {
		return nil
	}
	select {
	case err := <-x.sent:
		x.sent = nil
		return err
	default:
	}
	if x.body.whole() {
		// What is left of it is on its way to a node that has answered already.
		_ = x.up.conn.SetWriteDeadline(time.Now().Add(patience))
		err := <-x.sent
		x.sent = nil
		return err
	}
	x.body.stop()
	x.up.conn.Close()
	<-x.sent
	x.sent = nil
	x.broken = true
	return errNodeGone
}

// relay sends the answer whose head was read to the client.
func (x *exchange) relay() *failure {
	r := &x.resp
	x.view.node = strings.ToLower(x.up.key)
	where := x.view.turnFields(r)
	if where == outside && isRedirect(r.status) && x.site.redirects != link.RedirectPass {
		return x.leave()
	}
	return x.relayTurned()
}

// relayTurned sends the answer whose head is the client's already.
func (x *exchange) relayTurned() *failure {
	r := &x.resp
	if r.status == http.StatusSwitchingProtocols {
		return x.change()
	}
	none := bodiless(x.req.method, r.status)
	last := x.mustEnd()
	r.empty = none
	x.rec.Status = r.status
	x.began = true
	if err := x.out.begin(r, last); err != nil {
		return x.abandon(err)
	}
	x.broken = last
	if none {
		return x.finish(nil)
	}
	switch r.length {
	case chunkedLength:
		return x.relayChunks()
	case endlessLength:
		r.close = true
		return x.relayBytes(-1)
	}
	return x.relayBytes(r.length)
}

// mustEnd reports whether the client's connection ends with this answer: it asked for it, it has not sent the whole body,
// or the flow is to end.
func (x *exchange) mustEnd() bool {
	return x.req.close || x.c.last.Load() || x.body != nil && !x.body.whole()
}

// relayBytes sends n bytes of the node's, all to the end when n is negative.
func (x *exchange) relayBytes(n int64) *failure {
	u, left := x.up, n
	if have := u.in.unread(); len(have) > 0 {
		if n >= 0 && int64(len(have)) > left {
			have = have[:left]
		}
		if err := x.out.write(have, int64(len(have)) == left); err != nil {
			return x.abandon(err)
		}
		u.in.take(len(have))
		left -= int64(len(have))
		x.rec.Out += int64(len(have))
	}
	if left == 0 {
		return x.finish(nil)
	}
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	for {
		p := buffer[:]
		if n >= 0 && int64(len(p)) > left {
			p = p[:left]
		}
		u.expect(time.Now(), x.c.s.cfg.Timeouts.Upstream)
		got, err := u.conn.Read(p)
		if got > 0 {
			left -= int64(got)
			x.rec.Out += int64(got)
			if err := x.out.write(p[:got], left == 0); err != nil {
				return x.abandon(err)
			}
		}
		switch {
		case left == 0:
			return x.finish(nil)
		case n < 0 && errors.Is(err, io.EOF):
			return x.finish(nil)
		case err != nil:
			return x.breakOff(unexpected(err))
		}
	}
}

// relayChunks sends a body that comes in chunks.
func (x *exchange) relayChunks() *failure {
	u := x.up
	from := chunks{in: &u.in, most: x.c.s.cfg.Limits.Fields}
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	for {
		if len(u.in.unread()) == 0 {
			u.expect(time.Now(), x.c.s.cfg.Timeouts.Upstream)
		}
		n, err := from.Read(buffer[:])
		if n > 0 {
			x.rec.Out += int64(n)
			if err := x.out.write(buffer[:n], len(u.in.unread()) > 0); err != nil {
				return x.abandon(err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return x.finish(passableTrailers(from.trailers, x.site.spelling))
		case err != nil:
			return x.breakOff(err)
		}
	}
}

// finish ends an answer that is whole, and keeps the node's connection if it can be used again.
func (x *exchange) finish(trailers []field) *failure {
	if err := x.out.finish(trailers); err != nil {
		return x.abandon(err)
	}
	unsent := x.stopBody() != nil
	if x.up == nil {
		return nil
	}
	u := x.up
	if !unsent && !x.resp.close && len(u.in.unread()) == 0 {
		x.up = nil
		kept := &x.c.s.idle
		if u.key == "" {
			kept = &x.c.own
		}
		kept.put(u, time.Now())
	}
	x.release(true, false)
	return nil
}

// abandon gives up an answer that the client does not take.
func (x *exchange) abandon(err error) *failure {
	_ = x.stopBody() // nobody waits for it
	x.release(true, false)
	return gone.because(err)
}

// breakOff gives up an answer that the node does not end.
func (x *exchange) breakOff(err error) *failure {
	_ = x.stopBody() // the answer is lost already
	x.release(true, true)
	if isTimeout(err) {
		return slowNode.because(err)
	}
	return brokenNode.because(err)
}

// answer sends an answer of the gateway's own.
func (x *exchange) answer(f *failure) {
	x.req.close = x.req.close || f.close
	text := f.body(x.way.docker)
	x.resp = response{
		status: f.status, fields: append(f.fields(x.way.docker), strictTransport), length: int64(len(text)), sized: true,
		empty: x.req.method == http.MethodHead,
	}
	last := x.mustEnd()
	x.began, x.rec.Status = true, f.status
	err := x.out.begin(&x.resp, last)
	if err == nil && !x.resp.empty {
		err = x.out.write(text, true)
	}
	if err == nil {
		err = x.out.finish(nil)
	}
	x.broken = x.broken || last || err != nil
}

// settle gives back what is still held.
func (x *exchange) settle() {
	if x.up != nil || x.node != nil {
		_ = x.stopBody() // the failure was told already
		x.release(x.began, false)
	}
	x.rec.In += x.in.Swap(0)
}
