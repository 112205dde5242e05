package http2

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// Head is a request's head, whose form was found good (RFC 9113 section 8.3), or one that is too large.
type Head struct {
	Method    string
	Scheme    string // http or https; empty of CONNECT
	Authority string // of :authority or, without one, of Host
	Path      string // with its query; empty of CONNECT

	// Fields are the others but Host and Content-Length, as they came, with cookies in one (section 8.2.3). They name no connection's own.
	Fields []Field
	Length int64 // of the body: bytes, 0 when there is none, -1 when it is not known beforehand

	// TooLarge says that the head is larger than was offered: the request cannot be answered but with a refusal.
	TooLarge bool
}

// head is a header block while it is read, and the table of names and values that goes from one to the next.
type head struct {
	c       *Conn
	decoder *hpack.Decoder

	open   bool // the block has not come to its end
	stream uint32
	end    bool // the stream ends with it
	use    use
	fault  *streamError // what is wrong though the block's own form may be good

	raw     int // bytes of the block
	size    int // of names and values
	count   int
	large   bool
	wrong   string // what its form violates; empty for nothing
	regular bool   // a field that is no pseudo-header field was there
	pseudo  [4]string
	has     [4]bool
	host    string
	hasHost bool
	length  int64 // -1: not given
	crumbs  []string
	fields  []Field
}

// use is what becomes of a header block.
type use uint8

const (
	forRequest use = iota
	forTrailers
	forNothing // it is read for the table's sake
)

// Pseudo-header fields of requests (RFC 9113 section 8.3.1).
const (
	method = iota
	scheme
	authority
	path
)

func (h *head) init(c *Conn) {
	h.c = c
	h.decoder = hpack.NewDecoder(defaultTable, h.field)
	// A value that is too long is refused with its whole request while it is not much too long.
	h.decoder.SetMaxStringLength(2 * c.cfg.Header)
}

// begin makes h ready for a block.
func (h *head) begin(f frameHead, u use, fault *streamError) {
	clear(h.fields)
	clear(h.crumbs)
	*h = head{
		c: h.c, decoder: h.decoder, fields: h.fields[:0], crumbs: h.crumbs[:0],
		open: true, stream: f.stream, end: f.flags&flagEndStream != 0, use: u, fault: fault, length: -1,
	}
	h.decoder.SetEmitEnabled(u != forNothing)
}

// part takes the next part of the block.
func (h *head) part(p []byte, last bool) error {
	if h.raw += len(p); h.raw > 2*h.c.cfg.Header {
		return &Error{EnhanceYourCalm, "a header block far larger than was offered"}
	}
	if _, err := h.decoder.Write(p); errors.Is(err, hpack.ErrStringLength) {
		return &Error{EnhanceYourCalm, "a field far larger than was offered"}
	} else if err != nil {
		return &Error{CompressionError, "a malformed header block"}
	}
	if !last {
		return nil
	}
	h.open = false
	if h.decoder.Close() != nil {
		return &Error{CompressionError, "a header block that breaks off"}
	}
	return nil
}

// field takes one field of the block.
func (h *head) field(f hpack.HeaderField) {
	h.count++
	if h.size += len(f.Name) + len(f.Value) + 32; h.size > h.c.cfg.Header || h.count > h.c.cfg.Fields {
		h.large = true
		h.decoder.SetEmitEnabled(false)
		return
	}
	if h.wrong != "" {
		return
	}
	switch {
	case f.Name == "" || !httpguts.ValidHeaderFieldValue(f.Value):
		h.wrong = "a malformed field"
	case f.Name[0] == ':':
		h.special(f)
	default:
		h.regular = true
		h.ordinary(f)
	}
}

// special takes a pseudo-header field.
func (h *head) special(f hpack.HeaderField) {
	at := -1
	switch f.Name {
	case ":method":
		at = method
	case ":scheme":
		at = scheme
	case ":authority":
		at = authority
	case ":path":
		at = path
	}
	switch {
	case at < 0 || h.use == forTrailers:
		h.wrong = "an unknown pseudo-header field"
	case h.regular:
		h.wrong = "a pseudo-header field behind others"
	case h.has[at]:
		h.wrong = "a pseudo-header field twice"
	default:
		h.has[at], h.pseudo[at] = true, f.Value
	}
}

// ordinary takes any other field.
func (h *head) ordinary(f hpack.HeaderField) {
	f.Value = strings.Trim(f.Value, " \t")
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.wrong = "a field of a connection" // RFC 9113 section 8.2.2
		return
	case "te":
		if !strings.EqualFold(f.Value, "trailers") {
			h.wrong = "TE other than trailers"
			return
		}
	case "host":
		if h.hasHost && h.host != f.Value {
			h.wrong = "two hosts"
		}
		h.host, h.hasHost = f.Value, true
		return
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || h.length >= 0 && h.length != int64(n) {
			h.wrong = "a malformed Content-Length"
			return
		}
		h.length = int64(n)
		return
	case "cookie":
		h.crumbs = append(h.crumbs, f.Value)
		if len(h.crumbs) > 1 {
			return
		}
	default:
		if !isName(f.Name) {
			h.wrong = "a malformed field name"
			return
		}
	}
	h.fields = append(h.fields, Field{f.Name, f.Value})
}

// request is what the block says, when it has come to its end. The text says what is wrong with it.
func (h *head) request() (r Head, wrong string) {
	r = Head{
		Method: h.pseudo[method], Scheme: h.pseudo[scheme], Authority: h.pseudo[authority], Path: h.pseudo[path], TooLarge: h.large,
	}
	if h.large {
		return r, ""
	}
	if h.wrong != "" {
		return r, h.wrong
	}
	switch {
	case !httpguts.ValidHeaderFieldName(r.Method):
		return r, "no method"
	case h.pseudo[method] == "CONNECT":
		if h.has[scheme] || h.has[path] || r.Authority == "" {
			return r, "a malformed CONNECT"
		}
	case r.Scheme != "https" && r.Scheme != "http":
		return r, "no scheme that is known"
	case r.Path == "":
		return r, "no path"
	}
	switch {
	case !h.has[authority]:
		r.Authority = h.host
	case h.hasHost && !strings.EqualFold(h.host, r.Authority):
		return r, "a Host other than :authority"
	}
	switch {
	case h.end && h.length > 0:
		return r, "a body that does not come"
	case h.end:
	default:
		r.Length = h.length
	}
	if len(h.crumbs) > 1 {
		for i := range h.fields {
			if h.fields[i].Name == "cookie" {
				h.fields[i].Value = strings.Join(h.crumbs, "; ")
			}
		}
	}
	r.Fields = append(make([]Field, 0, len(h.fields)), h.fields...)
	return r, ""
}

// isName reports whether a field's name is a token without capitals (RFC 9113 section 8.2.1).
func isName(s string) bool {
	return httpguts.ValidHeaderFieldName(s) && !strings.ContainsFunc(s, func(c rune) bool { return c >= 'A' && c <= 'Z' })
}
