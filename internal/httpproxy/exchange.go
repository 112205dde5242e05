package httpproxy

import (
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
	// unit is how much of a long body is best written at once, at most bulkSize.
	unit() int
	// write sends a part of the body. With more there, it may wait for the next part.
	write(p []byte, more bool) error
	// flush sends what waits, for there is nothing to follow yet.
	flush() error
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

	client   *client // whose it is: the session's, or own
	own      client
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
	x.rec = Record{Flow: c.flow, At: c.s.cfg.Now(), Method: x.req.method, Host: x.req.host, Protocol: x.req.protocol()}
	x.rec.Path, _, _ = strings.Cut(x.req.target, "?")
	x.began, x.broken, x.torn, x.sent, x.up, x.node = false, false, false, nil, nil, nil
	x.client, x.own = &c.client, client{}
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
	if front := c.flow.Front; front != nil {
		if f := x.fronted(front); f != nil {
			return f
		}
		x.site = front.Site(host, x.client.source)
	} else {
		x.site = c.flow.Site(host)
	}
	x.rec.Source = x.client.source
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
		repository = x.site.ports[x.client.port]
	}
	f := x.enter()
	if f == nil {
		f = x.decide()
	}
	if f != nil {
		path, _, _ := strings.Cut(r.target, "?")
		x.way.docker = x.site.docker != link.DockerNone && isDocker(path)
		return f
	}
	if x.way, f = x.site.route(r.target, repository); f != nil {
		return f
	}
	x.view = view{site: x.site, way: &x.way, listener: c.flow.Listener, scheme: x.client.scheme, host: r.host}
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

// enter asks whether there is room for the request.
func (x *exchange) enter() *failure {
	if front := x.c.flow.Front; front != nil && front.Enter != nil && !front.Enter() {
		return tooMany
	}
	return nil
}

// certificateMessages are what a client is told besides the code.
var certificateMessages = map[string]string{
	clientcert.CodeRequired:         "a client certificate is required",
	clientcert.CodeMalformed:        "one client certificate, well formed, is required",
	clientcert.CodeRefused:          "the client certificate is not accepted",
	clientcert.CodeUnauthenticated:  "the client certificate names nobody who may come in",
	clientcert.CodeIdentityConflict: "the client certificate and the other credentials name different users",
}

// decide asks the table whether the client's certificate lets the request pass.
func (x *exchange) decide() *failure {
	c, trust := x.c, x.site.trust
	if trust.Mode() == link.CertificatesOff {
		x.decision = clientcert.Decision{Outcome: clientcert.ByCredentials}
		return nil
	}
	now := c.s.cfg.Now()
	st := c.stands(trust, x.client, now)
	answer := clientcert.Unknown
	if q := st.verified.Question; q != nil && c.s.cfg.Revocation != nil {
		answer = c.s.cfg.Revocation.Await(c.ctx, *q)
	}
	var credentials, keys []string
	if x.client.leaf != nil {
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
			status: x.decision.Status, code: x.decision.Code, message: certificateMessages[x.decision.Code],
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
		target: x.way.target, host: r.host, forwarded: x.client.forwarded, user: x.decision.User, cert: x.verified, site: x.site,
	}
	if x.site.override {
		o.base = x.view.scheme + "://" + r.host
	}
	if r.length != 0 {
		r.upgrade = "" // the stream is still the body's
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

// answer sends an answer of the gateway's own.
func (x *exchange) answer(f *failure) {
	x.req.close = x.req.close || f.close
	text := f.body(x.way.docker)
	fields := f.fields(x.way.docker)
	if x.client.scheme == "https" {
		fields = append(fields, strictTransport)
	}
	x.resp = response{status: f.status, fields: fields, length: int64(len(text)), sized: true, empty: x.req.method == http.MethodHead}
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
