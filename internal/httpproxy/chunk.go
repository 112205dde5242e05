package httpproxy

import (
	"bytes"
	"errors"
	"io"
)

// Bounds of a body in chunks: its lines and what lies behind it.
const (
	chunkLine    = 1 << 10
	chunkExtra   = 16 << 10 // bytes of extensions that a body may have beyond its chunks' number
	trailerBytes = 16 << 10
)

var (
	errChunk       = errors.New("malformed chunk")
	errChunkExcess = errors.New("more of a chunked body's bytes lie beside its chunks than in them")
)

// chunks reads a body in chunks (RFC 9112 section 7.1) from a reader, up to and with its trailers.
type chunks struct {
	in       *reader
	left     int64 // of the present chunk
	within   bool  // a chunk was begun whose end was not read
	excess   int64 // bytes beside chunks that the chunks' own have not paid for
	ended    bool
	trailers []field
	most     int // trailers
}

// Read implements io.Reader. It returns what one chunk has at once, and goes on to the next without waiting for it only
// when p has room and its line is there.
func (c *chunks) Read(p []byte) (int, error) {
	if c.ended {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.read(p)
	if c.left == 0 && c.within && err == nil && bytes.HasPrefix(c.in.unread(), []byte("\r\n")) {
		c.in.take(2) // so that nothing is left when nothing more has come
		c.within = false
	}
	return n, err
}

func (c *chunks) read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if c.left == 0 {
			if n > 0 && len(c.in.unread()) < chunkLine {
				break // the next line may have to be waited for
			}
			if err := c.next(); err != nil {
				return n, err
			}
		}
		one, err := c.in.Read(p[n:min(int64(len(p)), int64(n)+c.left)])
		n += one
		c.left -= int64(one)
		if err != nil {
			return n, unexpected(err)
		}
		if len(c.in.unread()) == 0 {
			break
		}
	}
	return n, nil
}

// next reads up to the beginning of the next chunk's bytes. Its error is io.EOF behind the trailers.
func (c *chunks) next() error {
	if c.within {
		end, err := c.in.line(2)
		if err != nil || len(end) > 0 {
			return errors.Join(errChunk, err)
		}
		c.within = false
	}
	line, err := c.in.line(chunkLine)
	if err != nil {
		return unexpected(err)
	}
	size, rest, ok := hex(line)
	if !ok || len(rest) > 0 && rest[0] != ';' && rest[0] != ' ' && rest[0] != '\t' {
		return errChunk
	}
	// Chunks of one byte with long extensions cost much and carry little.
	c.excess = max(0, c.excess+int64(len(rest))-size)
	if c.excess > chunkExtra {
		return errChunkExcess
	}
	if size > 0 {
		c.left, c.within = size, true
		return nil
	}
	total := 0
	for {
		line, err := c.in.line(trailerBytes)
		if err != nil {
			return unexpected(err)
		}
		if len(line) == 0 {
			c.ended = true
			return io.EOF
		}
		if total += len(line); total > trailerBytes {
			return errHeadTooLong
		}
		if c.trailers, err = cutFields(c.trailers, string(line)+"\r\n\r\n", c.most); err != nil {
			return err
		}
	}
}

// hex reads the number that a chunk's line begins with.
func hex(line []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(line); i++ {
		var d byte
		switch c := line[i]; {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return n, line[i:], i > 0
		}
		if i >= 15 {
			return 0, nil, false
		}
		n = n<<4 | int64(d)
	}
	return n, nil, i > 0
}

// unexpected makes of the end of the stream an error that is not the end of a body.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendChunkSize appends the line before a chunk of n bytes.
func appendChunkSize(b []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return append(b, '\r', '\n')
}
