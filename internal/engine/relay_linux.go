package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// turnBytes is how many bytes one direction of a flow may move before others have their turn.
	turnBytes = 512 << 10

	// lingerTime is how long a client that still sends, to a backend that is gone, has for taking what is on its way to
	// it: closing a socket with unread bytes makes the kernel send a reset, which takes those back.
	lingerTime = 5 * time.Second

	// keepAliveAfter is when a flow's backend gets TCP keep-alive, so that one that vanished is noticed though nobody
	// sends. Short flows are spared the system calls.
	keepAliveAfter = 10 * time.Second
)

// startRelay begins to pass bytes both ways.
func (l *loop) startRelay(s *stream) {
	s.phase, s.moved = relaying, l.now
	l.tally.relaying++
	look := keepAliveAfter
	if idle := l.e.cfg.Idle; idle > 0 {
		look = min(look, idle)
	}
	l.wheel.set(s, l.now+int64(look))
}

// relay moves what can be moved.
func (l *loop) relay(s *stream) {
	more := l.move(s, &s.up, &s.client, &s.server)
	if s.phase != relaying {
		return
	}
	if l.move(s, &s.down, &s.server, &s.client) {
		more = true
	}
	if s.phase == relaying && more {
		l.requeue(s)
	}
}

// move passes on what from has and to takes. It reports that there is more to do than one turn allows.
func (l *loop) move(s *stream, d *direction, from, to *socket) (more bool) {
	if d.ended {
		if back := s.other(d); from.failed && !back.ended {
			l.destinationGone(s, back, from) // it had ended its half in order, and has broken since
		}
		return false
	}
	if from.failed && d.blocked != 0 && from == &s.client {
		// The client is gone, and what it sent last cannot be passed on: the backend is to know now.
		l.sourceGone(s, d, from)
		return false
	}
	for moved := 0; ; {
		if d.held != nil && !l.flush(s, d, to) {
			return false
		}
		if d.pipe != nil && !l.flushPipe(s, d, to) {
			return false
		}
		switch {
		case d.ended || s.phase != relaying:
			return false
		case d.eof:
			l.finish(s, d, to)
			return false
		case !from.readable:
			l.unpipe(d)
			return false
		case moved >= turnBytes:
			return true
		}
		n, ok := l.takeIn(s, d, from)
		if !ok {
			return false
		}
		moved += n
	}
}

// takeIn reads from the source into a pipe or the shared buffer. It reports false when the stream has ended.
func (l *loop) takeIn(s *stream, d *direction, from *socket) (n int, ok bool) {
	var errno unix.Errno
	if l.bulky(d) {
		n, errno = spliceFD(from.fd, d.pipe.in, pipeSize)
		d.pipe.held += n
	} else {
		b := l.lend(d)
		n, errno = recvFD(from.fd, b.mem)
		b.end = n
		if n < len(b.mem) && !from.ending {
			from.readable = false // all that was there was read: epoll(7)
		} else if n > 0 && n < len(b.mem) && from.ended && !from.failed {
			d.eof = true // and the end came before it: to read it on its own would tell nothing new
		}
		if n == 0 {
			l.drop(d)
		}
	}
	switch {
	case errno == unix.EAGAIN:
		from.readable = false
	case errno == unix.EINVAL && d.pipe != nil: // cannot be spliced
		l.unpipe(d)
		d.average = neverBulky
	case errno != 0:
		l.sourceGone(s, d, from)
		return 0, false
	case n == 0:
		d.eof = true
	default:
		s.moved = l.now
		d.learn(n)
		if from == &s.server {
			s.sawFirstByte(l.now)
		}
	}
	return n, true
}

// flush passes on what d holds. It reports false when the destination takes no more now.
func (l *loop) flush(s *stream, d *direction, to *socket) bool {
	if !to.writable {
		return l.block(s, d, to)
	}
	want := d.held.len()
	n, errno := sendFD(to.fd, d.held.bytes())
	if errno != 0 && errno != unix.EAGAIN {
		l.destinationGone(s, d, to)
		return true
	}
	if n > 0 {
		l.passed(s, d, n)
		s.moved, d.blocked = l.now, 0
	}
	if n < want {
		to.writable = false
		return l.block(s, d, to)
	}
	return true
}

// block notes that the destination takes no more, and has the loop told when it does.
func (l *loop) block(s *stream, d *direction, to *socket) bool {
	if d.blocked == 0 {
		d.blocked = l.now
	}
	if to.polled && !to.watched {
		side := int32(0)
		if to == &s.server {
			side = 1
		}
		l.watch(s, to, side)
	}
	return false
}

// finish passes on that the source has ended its half. When both have, the flow ends.
func (l *loop) finish(s *stream, d *direction, to *socket) {
	l.unpipe(d)
	d.ended = true
	if d == &s.up {
		s.note(ClientClosed)
	} else {
		s.note(ServerClosed)
	}
	if s.up.ended && s.down.ended {
		l.complete(s)
		return
	}
	shutdownFD(to.fd)
	l.halfOver(s)
}

// halfOver has the other half end in time when nothing comes from it.
func (l *loop) halfOver(s *stream) {
	s.moved = l.now
	if limit := l.e.cfg.HalfClose; limit > 0 {
		l.wheel.set(s, l.now+int64(limit))
	}
}

func (s *stream) other(d *direction) *direction {
	if d == &s.up {
		return &s.down
	}
	return &s.up
}

func (s *stream) note(reason string) {
	if s.reason == "" {
		s.reason = reason
	}
}

// sourceGone ends the flow since a side broke. A peer that got a part must not take it for the whole, so a backend sees
// a reset. A client does not: what the backend had sent is left to arrive, and a reset would take it back.
func (l *loop) sourceGone(s *stream, d *direction, from *socket) {
	from.gone = true
	if from == &s.client {
		s.note(ClientReset)
		l.end(s, s.reason, resetBoth)
		return
	}
	s.note(ServerReset)
	d.ended = true
	l.complete(s)
}

// destinationGone ends a direction that nobody takes anything from any more. What that side sent before may still be on
// its way to the source: the other direction brings it home and ends then.
func (l *loop) destinationGone(s *stream, d *direction, to *socket) {
	to.gone = true
	l.drop(d)
	l.unpipe(d)
	d.ended = true
	if to == &s.client {
		s.note(ClientReset)
	} else {
		s.note(ServerReset)
	}
	if s.other(d).ended {
		l.complete(s)
		return
	}
	l.halfOver(s)
	to.readable, to.ending = true, true
	l.requeue(s)
}

// complete ends a flow of which everything was passed on that could be.
func (l *loop) complete(s *stream) {
	if s.up.eof || s.client.gone {
		l.end(s, s.reason, inOrder)
		return
	}
	l.unpipe(&s.up)
	l.drop(&s.up)
	s.up.ended = true
	s.server.hangUp(false)
	shutdownFD(s.client.fd)
	s.phase = lingering
	l.wheel.set(s, l.now+int64(lingerTime))
	l.requeue(s)
}

// linger drops what the client sends until it ends.
func (l *loop) linger(s *stream) {
	for moved := 0; s.client.readable; {
		if moved >= turnBytes {
			l.requeue(s)
			return
		}
		if l.lent != nil {
			l.keep()
		}
		n, errno := recvFD(s.client.fd, l.bufs.shared.mem)
		switch {
		case errno == unix.EAGAIN:
			s.client.readable = false
		case errno != 0 || n == 0:
			l.end(s, s.reason, inOrder)
			return
		}
		moved += n
	}
}

// patience is called when a relayed flow may have been quiet for too long. It ends it, or sets the next time to look.
func (l *loop) patience(s *stream) {
	if !s.keptAlive {
		s.keptAlive = true
		setKeepAlive(s.server.fd)
	}
	limit, reason := l.e.cfg.Idle, Idle
	if s.up.ended || s.down.ended {
		if l.e.cfg.HalfClose > 0 {
			limit = l.e.cfg.HalfClose
		}
		reason = HalfClosed
	}
	if limit <= 0 {
		return
	}
	due := s.moved + int64(limit)
	for _, d := range []*direction{&s.up, &s.down} {
		if d.blocked != 0 && l.e.cfg.Idle > 0 {
			due = min(due, d.blocked+int64(l.e.cfg.Idle))
		}
	}
	if due <= l.now {
		l.end(s, reason, resetBoth)
		return
	}
	l.wheel.set(s, due)
}
