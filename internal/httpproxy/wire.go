package httpproxy

import (
	"net"
	"sync"
	"time"
)

// wire is a flow's stream under its TLS. Corked it gathers what TLS writes record by record, so that several records
// leave in one call. TLS may also write when it reads, hence the lock. It bounds how long a client may take no byte.
type wire struct {
	net.Conn

	mu      sync.Mutex
	corked  bool
	waiting []byte        // what was gathered
	within  time.Duration // for a client that takes no byte; 0 before the handshake is over
	until   time.Time     // the write deadline that is set
}

// wireSize is how much is gathered at most: what bulkSize becomes in records of TLS.
const wireSize = bulkSize + 1<<10

var wireBuffers = sync.Pool{New: func() any { return new([wireSize]byte) }}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.corked {
		return w.write(p)
	}
	if w.waiting == nil {
		w.waiting = wireBuffers.Get().(*[wireSize]byte)[:0]
	}
	if len(w.waiting)+len(p) > cap(w.waiting) {
		if err := w.send(); err != nil {
			return 0, err
		}
		if len(p) > cap(w.waiting) {
			return w.write(p)
		}
	}
	w.waiting = append(w.waiting, p...)
	return len(p), nil
}

func (w *wire) send() error {
	if len(w.waiting) == 0 {
		return nil
	}
	_, err := w.write(w.waiting)
	w.waiting = w.waiting[:0]
	return err
}

// sendAll sends what waits and gives the buffer back.
func (w *wire) sendAll() error {
	err := w.send()
	if w.waiting != nil {
		wireBuffers.Put((*[wireSize]byte)(w.waiting[:wireSize]))
		w.waiting = nil
	}
	return err
}

func (w *wire) write(p []byte) (int, error) {
	if w.within > 0 {
		if until := time.Now().Add(w.within); moves(w.until, until, w.within) {
			w.until = until
			_ = w.Conn.SetWriteDeadline(until) // a connection that is closed fails when it is written to
		}
	}
	return w.Conn.Write(p)
}

// bound sets how long a client may take no byte from now on.
func (w *wire) bound(within time.Duration) {
	w.mu.Lock()
	w.within = within
	w.mu.Unlock()
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
	w.corked = false
	return w.sendAll()
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
