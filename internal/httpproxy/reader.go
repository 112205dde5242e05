package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Errors of reading a head.
var (
	errHeadTooLong = errors.New("the head is too long")
	errBareLF      = errors.New("a line of the head does not end in CR LF")
)

// readerSize is what a reader's buffer begins with: enough for nearly every head, and for a small answer as a whole.
const readerSize = 8 << 10

// bulkSize is how much of a long body is moved at once: four records of TLS.
const bulkSize = 64 << 10

var (
	readerBuffers = sync.Pool{New: func() any { return new([readerSize]byte) }}
	bulkBuffers   = sync.Pool{New: func() any { return new([bulkSize]byte) }}
)

// reader reads from a peer through a buffer that grows as far as a head may. What was returned of the buffer is valid
// until the next call. Release gives the buffer back.
type reader struct {
	from io.Reader
	buf  []byte
	r, w int
	base *[readerSize]byte // what buf began as
}

// release gives the buffer back; the reader can go on reading, with what was unread lost.
func (r *reader) release() {
	if r.base != nil {
		readerBuffers.Put(r.base)
	}
	r.base, r.buf = nil, nil
	r.r, r.w = 0, 0
}

// unread is what was read and not taken.
func (r *reader) unread() []byte { return r.buf[r.r:r.w] }

func (r *reader) take(n int) { r.r += n }

// fill reads at least one byte more, into a buffer of at most the given size.
func (r *reader) fill(most int) error {
	if r.buf == nil {
		r.base = readerBuffers.Get().(*[readerSize]byte)
		r.buf = r.base[:]
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if r.w == len(r.buf) {
		switch {
		case r.r > 0:
			r.w = copy(r.buf, r.buf[r.r:r.w])
			r.r = 0
		case len(r.buf) >= most:
			return errHeadTooLong
		default:
			grown := make([]byte, min(2*len(r.buf), most))
			copy(grown, r.buf)
			if r.base != nil {
				readerBuffers.Put(r.base)
			}
			r.base, r.buf = nil, grown
		}
	}
	for range 100 {
		n, err := r.from.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// head reads to the end of a head and takes it: its lines with the empty one at the end. A head longer than most bytes is
// an error, as is a line that does not end in CR LF: what one parser takes for a line's end, every one has to.
func (r *reader) head(most int) ([]byte, error) {
	line, at := 0, 0 // where the present line begins, and from where it was not searched yet
	for {
		rest := r.unread()
		for {
			i := bytes.IndexByte(rest[at:], '\n')
			if i < 0 {
				at = len(rest)
				break
			}
			end := at + i
			if end == 0 || rest[end-1] != '\r' {
				return nil, errBareLF
			}
			at = end + 1
			if end-1 == line {
				if line == 0 { // an empty line before the first is skipped, as RFC 9112 section 2.2 asks for
					r.take(at)
					rest, at = r.unread(), 0
					continue
				}
				if at > most {
					return nil, errHeadTooLong
				}
				r.take(at)
				return rest[:at], nil
			}
			line = at
		}
		if len(rest) >= most {
			return nil, errHeadTooLong
		}
		if err := r.fill(most); err != nil {
			return nil, err
		}
	}
}

// Read implements io.Reader: what is unread first.
func (r *reader) Read(p []byte) (int, error) {
	if r.r < r.w {
		n := copy(p, r.unread())
		r.take(n)
		return n, nil
	}
	if len(p) >= readerSize {
		return r.from.Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(readerSize); err != nil {
		return 0, err
	}
	n := copy(p, r.unread())
	r.take(n)
	return n, nil
}

// line reads a line of at most most bytes that ends in CR LF, and takes it without its end.
func (r *reader) line(most int) ([]byte, error) {
	at := 0
	for {
		rest := r.unread()
		if i := bytes.IndexByte(rest[at:], '\n'); i >= 0 {
			end := at + i
			if end == 0 || rest[end-1] != '\r' {
				return nil, errBareLF
			}
			if end >= most {
				return nil, errHeadTooLong
			}
			r.take(end + 1)
			return rest[:end-1], nil
		}
		if at = len(rest); at >= most {
			return nil, errHeadTooLong
		}
		if err := r.fill(max(readerSize, most)); err != nil {
			return nil, err
		}
	}
}
