package httpproxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/postern/postern/internal/link"
)

// relay sends the answer whose head was read to the client.
func (x *exchange) relay() *failure {
	r := &x.resp
	x.view.node = x.up.to
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
	} else if left != 0 {
		if err := x.out.flush(); err != nil {
			return x.abandon(err)
		}
	}
	if left == 0 {
		return x.finish(nil)
	}
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	unit := x.out.unit()
	for {
		p := buffer[:unit]
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
	if len(u.in.unread()) == 0 {
		if err := x.out.flush(); err != nil {
			return x.abandon(err)
		}
	}
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	unit := x.out.unit()
	for {
		if len(u.in.unread()) == 0 {
			u.expect(time.Now(), x.c.s.cfg.Timeouts.Upstream)
		}
		n, err := from.Read(buffer[:unit])
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
		u.kept.put(u, time.Now())
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
