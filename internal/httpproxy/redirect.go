package httpproxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// leave does what the site says of an answer that leads out of the private path.
func (x *exchange) leave() *failure {
	target := ""
	for i := range x.resp.fields {
		if f := &x.resp.fields[i]; f.kind == location {
			target = f.value
		}
	}
	if x.req.method != http.MethodGet && x.req.method != http.MethodHead || x.site.redirects == link.RedirectRefuse {
		x.putAside()
		return leaves
	}
	to, err := x.site.mayFollow(target)
	if err != nil {
		x.putAside()
		return leaves.because(err)
	}
	if x.site.redirects == link.RedirectRewrite {
		ticket, err := x.seal().make(x.site.cluster, target, x.c.s.cfg.Now().Add(x.c.s.cfg.Follow.Expiry))
		if err != nil {
			x.putAside()
			return notFollowed.because(err)
		}
		for i := range x.resp.fields {
			if f := &x.resp.fields[i]; f.kind == location {
				f.value = ticketPath + ticket
			}
		}
		return x.relayTurned()
	}
	x.putAside()
	return x.fetch(to)
}

// seal is what makes and opens the tickets of the site.
func (x *exchange) seal() *sealer {
	if x.site.seal != nil {
		return x.site.seal
	}
	return &x.c.s.seal
}

// putAside gives up the node's answer, which nobody gets.
func (x *exchange) putAside() {
	_ = x.stopBody() // nobody waits for it
	x.release(true, false)
}

// redeem answers a request for the address of a ticket.
func (x *exchange) redeem(ticket string) *failure {
	if x.req.method != http.MethodGet && x.req.method != http.MethodHead {
		return badMethod
	}
	if x.site.redirects != link.RedirectRewrite {
		return badTicket
	}
	target, err := x.seal().open(x.site.cluster, ticket, x.c.s.cfg.Now())
	if err != nil {
		return badTicket.because(err)
	}
	to, err := x.site.mayFollow(target)
	if err != nil {
		return leaves.because(err)
	}
	return x.fetch(to)
}

// conditions are the fields of a request that go along to a foreign host.
var conditions = []string{"range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "accept", "accept-encoding"}

// fetch answers with what a foreign host has.
func (x *exchange) fetch(to *http.Request) *failure {
	to.Method = x.req.method
	for i := range x.req.fields {
		if f := &x.req.fields[i]; slices.Contains(conditions, strings.ToLower(f.name)) && !x.req.dropped(f.name) {
			to.Header.Add(f.name, f.value)
		}
	}
	resp, done, err := x.c.s.follow.get(x.c.ctx, x.site, to) //nolint:bodyclose // done does
	if err != nil {
		if errors.Is(err, errNotAllowed) {
			return leaves.because(err)
		}
		return notFollowed.because(err)
	}
	defer done()
	x.rec.Node = to.URL.Host
	r := &x.resp
	*r = response{status: resp.StatusCode, fields: r.fields[:0], length: endlessLength}
	if resp.ContentLength >= 0 {
		r.length, r.sized = resp.ContentLength, true
	}
	for name, values := range resp.Header {
		if !brings(name) {
			continue
		}
		for _, v := range values {
			r.fields = append(r.fields, field{name: name, value: v})
		}
	}
	if x.client.scheme == "https" {
		r.fields = append(r.fields, strictTransport)
	}
	r.empty = bodiless(x.req.method, r.status)
	last := x.mustEnd()
	x.began, x.rec.Status = true, r.status
	if err := x.out.begin(r, last); err != nil {
		return gone.because(err)
	}
	x.broken = last
	if r.empty {
		return x.finish(nil)
	}
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	for {
		n, err := resp.Body.Read(buffer[:])
		if n > 0 {
			x.rec.Out += int64(n)
			if err := x.out.write(buffer[:n], false); err != nil {
				return gone.because(err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return x.finish(nil)
		case err != nil:
			return notFollowed.because(err)
		}
	}
}

// brings reports whether a field of a foreign host's answer reaches the client.
func brings(name string) bool {
	switch kindOf(name) {
	case plain, accept:
	default:
		return false
	}
	lower := strings.ToLower(name)
	return !strings.HasPrefix(lower, "x-amz-") && !strings.HasPrefix(lower, "x-goog-") && !strings.HasPrefix(lower, "x-ms-") &&
		lower != "alt-svc" && lower != "content-length" && lower != "server" && !strings.HasPrefix(lower, "access-control-")
}
