package httpproxy

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// change hands the client's stream and the node's to each other, behind an answer of 101 (RFC 9110 section 7.8), until
// either ends.
func (x *exchange) change() *failure {
	u := x.up
	x.rec.Status = http.StatusSwitchingProtocols
	x.began, x.broken = true, true
	if err := x.out.inform(&x.resp); err != nil {
		return x.abandon(err)
	}
	from, conn, err := x.out.change()
	if err != nil {
		return x.abandon(err)
	}
	t := &tunnel{quiet: x.c.s.cfg.Timeouts.Upstream, send: x.c.s.cfg.Timeouts.Send}
	t.moved.Store(time.Now().UnixNano())
	var up sync.WaitGroup
	up.Go(func() {
		x.in.Add(t.pour(u.conn, from, conn))
		// Who has nothing more to say may still listen.
		if c, ok := u.conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
			u.conn.Close()
		}
	})
	x.rec.Out = t.pour(conn, &u.in, u.conn)
	t.over.Store(true)
	_ = conn.SetReadDeadline(time.Unix(1, 0)) // who waits for the client returns
	up.Wait()
	x.release(true, false)
	return nil
}

// tunnel is what the directions of an upgraded flow share.
type tunnel struct {
	quiet, send time.Duration
	moved       atomic.Int64 // when a byte last moved in either direction, in Unix nanoseconds
	over        atomic.Bool
}

// pour moves bytes as they come, until one side ends or no byte has moved in either direction for too long. conn is what
// from reads of.
func (t *tunnel) pour(to net.Conn, from io.Reader, conn net.Conn) (n int64) {
	buffer := bulkBuffers.Get().(*[bulkSize]byte)
	defer bulkBuffers.Put(buffer)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(t.quiet)) // a connection that is closed fails when it is read
		if t.over.Load() {
			return n
		}
		got, err := from.Read(buffer[:])
		if got > 0 {
			now := time.Now()
			t.moved.Store(now.UnixNano())
			_ = to.SetWriteDeadline(now.Add(t.send))
			if _, err := to.Write(buffer[:got]); err != nil {
				return n
			}
			n += int64(got)
		}
		if err != nil && (!isTimeout(err) || time.Since(time.Unix(0, t.moved.Load())) >= t.quiet) {
			return n
		}
	}
}
