package httpproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// ask sends the request to a node and reads the head of its answer. A request that can be sent twice is, when a
// connection that was used before turns out to be closed; another node is tried when one cannot be reached.
func (x *exchange) ask() *failure {
	var failed Node
	var cause error // of failed
	fresh := false  // no connection that was used before
	for tries := 0; ; tries++ {
		err := x.connect(failed, fresh)
		if err != nil {
			if cause != nil {
				err = errors.Join(cause, err)
			}
			failed, cause = x.node, err
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
		again := x.up.reused && silent && x.body == nil && isIdempotent(x.req.method) && tries == 0 && !isTimeout(err) && !x.left.Load()
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
	if node.Own() {
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
	x.up = &upstream{conn: conn, key: key, to: strings.ToLower(conn.RemoteAddr().String()), kept: kept}
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
	u.sending(now, x.c.s.cfg.Timeouts.Send)
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
		x.view.node = u.to
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
		return x.awaitHeadSending()
	}
	first := min(patience, x.c.s.cfg.Timeouts.Upstream)
	if d := u.until.Sub(now); d < first/2 || d > first {
		u.until = now.Add(first)
		_ = u.conn.SetReadDeadline(u.until)
	}
	head, err := u.in.head(most)
	if err == nil || !isTimeout(err) || x.c.s.cfg.Timeouts.Upstream <= patience {
		return head, err
	}
	return x.awaitHeadWatching(x.c.s.cfg.Timeouts.Upstream - patience)
}

// awaitHeadSending reads a head of the node's while the body is under way to it: as long as that moves nobody is silent. When
// the body has come it is looked whether the client still waits.
func (x *exchange) awaitHeadSending() ([]byte, error) {
	u, limits := x.up, &x.c.s.cfg
	for quiet := time.Duration(0); ; {
		step, moved := min(patience, limits.Timeouts.Upstream-quiet), x.in.Load()
		u.until = time.Now().Add(step)
		_ = u.conn.SetReadDeadline(u.until)
		head, err := u.in.head(limits.Limits.Header)
		if err == nil || !isTimeout(err) {
			return head, err
		}
		if quiet += step; x.in.Load() != moved {
			quiet = 0
		} else if quiet >= limits.Timeouts.Upstream {
			return head, err
		}
		if x.body.whole() {
			return x.awaitHeadWatching(limits.Timeouts.Upstream - quiet)
		}
	}
}

// awaitHeadWatching reads a head of the node's, and gives up when the client goes away.
func (x *exchange) awaitHeadWatching(within time.Duration) ([]byte, error) {
	u := x.up
	u.until = time.Now().Add(within)
	_ = u.conn.SetReadDeadline(u.until)
	stop := x.out.watch(func() {
		x.left.Store(true)
		u.conn.Close()
	})
	defer stop()
	return u.in.head(x.c.s.cfg.Limits.Header)
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
			to.sending(time.Now(), x.c.s.cfg.Timeouts.Upstream)
			if _, err := to.conn.Write(out); err != nil {
				done <- errNodeGone
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF) && (chunked || x.in.Load() == x.req.length):
			if chunked {
				last := buffer[:0]
				last = append(last, "0\r\n"...)
				for _, f := range passableTrailers(from.trailers(), x.site.spelling) {
					last = appendField(last, f.name, f.value)
				}
				last = append(last, "\r\n"...)
				if _, err := to.conn.Write(last); err != nil {
					done <- errNodeGone
					return
				}
			}
			done <- nil
			return
		case err != nil:
			// The node sees a body that is not whole, and the goroutine that waits for its answer an error.
			done <- unexpected(err)
			to.conn.Close()
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
		x.up.send = time.Time{}
		err := <-x.sent
		x.sent = nil
		return err
	}
	x.body.stop()
	x.up.conn.Close()
	err := errors.Join(errNodeGone, <-x.sent)
	x.sent, x.broken = nil, true
	return err
}
