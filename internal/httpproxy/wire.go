package httpproxy

import (
	"net"
	"sync"
)

// wire is a flow's stream under its TLS. Corked it gathers what TLS writes record by record, so that several records
// leave in one call. TLS may also write when it reads, hence the lock.
type wire struct {
	net.Conn
	session *session
	closing sync.Once
	closed  chan struct{}

	mu      sync.Mutex
	corked  bool
	waiting []byte // what was gathered
}

func newWire(conn net.Conn, c *session) *wire {
	return &wire{Conn: conn, session: c, closed: make(chan struct{})}
}

// wireSize is how much is gathered at most: what bulkSize becomes in records of TLS.
const wireSize = bulkSize + 1<<10

var wireBuffers = sync.Pool{New: func() any { return new([wireSize]byte) }}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.corked {
		return w.Conn.Write(p)
	}
	if w.waiting == nil {
		w.waiting = wireBuffers.Get().(*[wireSize]byte)[:0]
	}
	if len(w.waiting)+len(p) > cap(w.waiting) {
		if err := w.send(); err != nil {
			return 0, err
		}
		if len(p) > cap(w.waiting) {
			return w.Conn.Write(p)
		}
	}
	w.waiting = append(w.waiting, p...)
	return len(p), nil
}

func (w *wire) send() error {
	if len(w.waiting) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.waiting)
	w.waiting = w.waiting[:0]
	return err
}

// cork has what is written from now on gathered.
func (w *wire) cork() {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
}

// uncork sends what was gathered.
func (w *wire) uncork() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.send()
	w.corked = false
	if w.waiting != nil {
		wireBuffers.Put((*[wireSize]byte)(w.waiting[:wireSize]))
		w.waiting = nil
	}
	return err
}

// CloseWrite ends the sending half, where the stream can.
func (w *wire) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// cut ends the stream, in whatever state it is.
func (w *wire) cut() { _ = w.Close() }

// Close implements net.Conn.
func (w *wire) Close() error {
	err := w.Conn.Close()
	w.closing.Do(func() { close(w.closed) })
	return err
}
