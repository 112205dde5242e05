package engine

import (
	"io"
	"net"
)

// prefixed is a stream of which some bytes were read already: they come first.
type prefixed struct {
	*net.TCPConn
	rest []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return p.TCPConn.Read(b)
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// WriteTo is here so that the one of TCPConn does not pass the first bytes by.
func (p *prefixed) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p.rest)
	p.rest = p.rest[n:]
	if err != nil {
		return int64(n), err
	}
	more, err := p.TCPConn.WriteTo(w)
	return int64(n) + more, err
}
