// Package http2 is the server's half of HTTP/2 (RFC 9113) over a connection whose TLS has been made already: frames, header
// compression (RFC 7541), flow control and the rules of messages. It knows requests as lists of fields and bodies as bytes;
// what they mean is the caller's.
//
// One goroutine reads a connection's frames. Every request runs on a goroutine of a Crew, which keeps them for the next ones.
// Whoever has something to send appends it to the connection's buffer, and sends the buffer unless somebody does already; what
// is appended meanwhile goes along.
//
// What a connection can hold: 256 KiB and one head that wait to be sent, the bodies that Window allows, 4 KiB for header
// compression, a buffer of 32 KiB for reading, and for each of Streams requests a head of at most Header bytes.
package http2

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Config is what connections are held to. Every field has to be given.
type Config struct {
	Streams int // requests of a connection at once
	Header  int // bytes of a request's head: its names and values, and 32 for each field, as RFC 9113 section 6.5.2 counts
	Fields  int // lines in it

	HeaderTimeout time.Duration // from the first byte of a head, or of any frame but DATA, to its end
	IdleTimeout   time.Duration // of a connection without requests
	BodyTimeout   time.Duration // between two parts of a request's body that is waited for
	SendTimeout   time.Duration // for a client whose windows stay closed
}

// Windows for what clients send (RFC 9113 section 5.2): of a connection, and of each stream. They bound the bodies that are
// held; the peer is told that it may go on when a quarter was consumed.
const (
	Window       = 4 << 20
	StreamWindow = 1 << 20
)

// Code says why a stream or a connection was ended (RFC 9113 section 7).
type Code uint32

// The codes.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

// Error is why a connection had to be ended, as its client was told by GOAWAY.
type Error struct {
	Code   Code
	Reason string // for the operator
}

func (e *Error) Error() string { return fmt.Sprintf("http2: %s (error code %d)", e.Reason, e.Code) }

// streamError is why one stream has to be ended; the connection goes on.
type streamError struct {
	id     uint32
	code   Code
	reason string
}

// gone is the error of a stream that the client has reset, or whose connection has ended. It is a net.ErrClosed.
type gone struct{ reason string }

func (e *gone) Error() string   { return "http2: " + e.reason }
func (e *gone) Unwrap() error   { return net.ErrClosed }
func (e *gone) Timeout() bool   { return false }
func (e *gone) Temporary() bool { return false }

// slow is the error of a client that is waited for no longer. It is a timeout as a net.Error.
type slow struct{ reason string }

func (e *slow) Error() string   { return "http2: " + e.reason }
func (e *slow) Timeout() bool   { return true }
func (e *slow) Temporary() bool { return false }

var (
	errReset    = &gone{"the client has reset the stream"}
	errEnded    = &gone{"the connection has ended"}
	errDone     = &gone{"the answer has ended"}
	errHalted   = &gone{"the body is not read any more"}
	errNoBody   = &slow{"the body does not come"}
	errNoWindow = &slow{"the client takes no bytes"}
)

// Crew runs requests, of many connections, on goroutines that are kept when a request has ended: their stacks have the size
// that requests need. The zero Crew is ready. Close it when its connections have ended.
type Crew struct {
	mu     sync.Mutex
	idle   []*worker // the one that ran last on top
	closed bool
	group  sync.WaitGroup
}

// worker is a goroutine that waits for a request.
type worker struct{ next chan *Stream }

// mostIdle is how many goroutines wait for requests at most.
const mostIdle = 128

// run answers a request in another goroutine.
func (p *Crew) run(s *Stream) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		w.next <- s
		return
	}
	p.mu.Unlock()
	p.group.Go(func() {
		w := &worker{make(chan *Stream, 1)}
		for s := s; s != nil; s = <-w.next {
			s.c.handle(s)
			s.end()
			if !p.keep(w) {
				return
			}
		}
	})
}

// keep has a goroutine wait for its next request; false says that it has to end.
func (p *Crew) keep(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= mostIdle {
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

// Close ends the goroutines that wait for requests, and returns when all have ended, also those that ran one.
func (p *Crew) Close() {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.idle {
		close(w.next)
	}
	p.idle = nil
	p.mu.Unlock()
	p.group.Wait()
}
