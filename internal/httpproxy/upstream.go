package httpproxy

import (
	"context"
	"net"
	"sync"
	"time"
)

// upstream is a connection to a node, used by one request at a time.
type upstream struct {
	conn   net.Conn
	key    string
	to     string // the node's address, as it may stand in what it answers
	kept   *idle  // where it is put when it is not used
	in     reader
	reused bool // it has carried a request before
	since  time.Time
	until  time.Time // the read deadline that is set
	send   time.Time // the write deadline that is set
}

func (u *upstream) close() {
	u.conn.Close()
	u.in.release()
}

// moves reports whether a deadline has to be set anew: one that would only be a little later stays, since to set it costs
// about as much as to read a head.
func moves(set, until time.Time, within time.Duration) bool {
	d := until.Sub(set)
	return d < 0 || d > min(time.Second, within/8)
}

// expect sets how long the node may be silent from now on.
func (u *upstream) expect(now time.Time, within time.Duration) {
	if until := now.Add(within); moves(u.until, until, within) {
		u.until = until
		_ = u.conn.SetReadDeadline(until) // a connection that is closed fails when it is read
	}
}

// sending bounds how long the node may take no byte from now on, as expect does.
func (u *upstream) sending(now time.Time, within time.Duration) {
	if until := now.Add(within); moves(u.send, until, within) {
		u.send = until
		_ = u.conn.SetWriteDeadline(until)
	}
}

// idle keeps the connections that wait for a request, by the key of their node, the one used last on top.
type idle struct {
	perKey, most int
	age          time.Duration

	mu     sync.Mutex
	byKey  map[string][]*upstream
	count  int
	closed bool
}

func (p *idle) get(key string) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.byKey[key]
	if len(list) == 0 {
		return nil
	}
	u := list[len(list)-1]
	list[len(list)-1] = nil
	p.byKey[key] = list[:len(list)-1]
	p.count--
	return u
}

// put keeps a connection, or closes it when there are enough.
func (p *idle) put(u *upstream, now time.Time) {
	u.in.release()
	u.reused, u.since = true, now
	p.mu.Lock()
	if list := p.byKey[u.key]; !p.closed && len(list) < p.perKey && p.count < p.most {
		p.byKey[u.key] = append(list, u)
		p.count++
		u = nil
	}
	p.mu.Unlock()
	if u != nil {
		u.close()
	}
}

// sweep closes what nobody used for as long as is kept.
func (p *idle) sweep(now time.Time) {
	var old []*upstream
	p.mu.Lock()
	for key, list := range p.byKey {
		n := 0
		for n < len(list) && now.Sub(list[n].since) >= p.age { // the oldest are at the bottom
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(p.byKey, key)
		} else if n > 0 {
			kept := copy(list, list[n:])
			clear(list[kept:])
			p.byKey[key] = list[:kept]
		}
	}
	p.count -= len(old)
	p.mu.Unlock()
	for _, u := range old {
		u.close()
	}
}

func (p *idle) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.sweep(time.Now().Add(p.age + time.Hour))
}

// run sweeps until ctx is done.
func (p *idle) run(ctx context.Context) {
	tick := time.NewTicker(max(p.age/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.sweep(now)
		}
	}
}
