package engine

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// door is a listener. All loops wait at it; the kernel wakes one of those that sleep (EPOLLEXCLUSIVE).
type door struct {
	fd  int
	tag any
}

// doorway is a door as one loop sees it.
type doorway struct {
	*door
	atOnce int   // how many flows to accept at the next event
	turn   int64 // the loop's time at the last event
}

// How many flows are accepted at one event. It grows while events follow each other without a pause: to accept until
// there is no more costs a system call that says so.
const mostAtOnce = 64

// shareSlack is by how many flows, and by what part, a loop may have more than another one before it gives it new ones.
const (
	shareSlack = 8
	sharePart  = 8
)

// newDoor takes over a listener. The descriptor is a copy, out of reach of the runtime's poller, which would be woken for
// every flow. What is set on a listener holds for the sockets that are accepted from it.
func newDoor(ln *net.TCPListener, tag any) (*door, error) {
	defer func() { _ = ln.Close() }() // the copy is what is used
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("engine: take over the listener: %w", err)
	}
	d := &door{fd: -1, tag: tag}
	var copyErr error
	if err := raw.Control(func(fd uintptr) {
		d.fd, copyErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, fmt.Errorf("engine: take over the listener: %w", err)
	}
	if copyErr != nil {
		return nil, fmt.Errorf("engine: take over the listener: %w", copyErr)
	}
	if err := unix.SetsockoptInt(d.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		closeFD(d.fd)
		return nil, fmt.Errorf("engine: prepare the listener: %w", err)
	}
	setKeepAlive(d.fd)
	return d, nil
}

// Keep-alive: more often than the shortest time after which a cloud's balancer forgets a silent flow (Azure's, 4 minutes).
const (
	keepAliveIdle     = 200 * time.Second
	keepAliveInterval = 30 * time.Second
	keepAliveCount    = 4
)

func setKeepAlive(fd int) {
	// A kernel that cannot do it leaves us with the idle time.
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int32(keepAliveIdle/time.Second))
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int32(keepAliveInterval/time.Second))
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount)
	setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

// open begins to accept at a door.
func (l *loop) open(d *door) {
	l.doors = append(l.doors, &doorway{door: d})
	if !l.paused {
		l.attach(len(l.doors) - 1)
	}
}

func (l *loop) attach(place int) {
	errno := epollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.doors[place].fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, firstDoorway-int32(place), 0)
	if errno != 0 {
		l.e.trouble(troubleAccept, errno)
	}
}

// shut ends to accept, for good. The doors' descriptors are the engine's to close.
func (l *loop) shut() {
	if !l.paused {
		l.leaveDoors()
	}
	l.doors, l.paused = nil, false
}

func (l *loop) leaveDoors() {
	for _, w := range l.doors {
		epollCtl(l.epoll, unix.EPOLL_CTL_DEL, w.fd, 0, 0, 0)
	}
}

// pause stops to accept until a flow ends or some time has passed. What comes meanwhile waits in the listeners' queues,
// or goes to other loops.
func (l *loop) pause() {
	if l.paused {
		return
	}
	l.leaveDoors()
	l.paused, l.resumeAt = true, l.now+int64(acceptPause)
	l.tally.paused++
}

// resume accepts again after a pause, when there is room.
func (l *loop) resume() {
	if !l.paused {
		return
	}
	if l.e.census.full() {
		l.resumeAt = l.now + int64(acceptPause)
		return
	}
	l.paused = false
	for i := range l.doors {
		l.attach(i)
	}
}

// accept takes flows in from a doorway.
func (l *loop) accept(place int) {
	if l.paused || place >= len(l.doors) {
		return // an event from before
	}
	w := l.doors[place]
	if w.turn == l.turn-1 {
		w.atOnce = min(2*w.atOnce, mostAtOnce)
	} else {
		w.atOnce = 1
	}
	w.turn = l.turn
	for range w.atOnce {
		if !l.e.census.enter() {
			l.pause()
			return
		}
		fd, errno := acceptFD(w.fd, &l.addr)
		if errno == 0 {
			l.share(fd, fromSockaddr(&l.addr), w.door)
			continue
		}
		l.e.census.leave()
		switch {
		case errno == unix.EAGAIN:
			w.turn = 0
			return
		case out(errno) || errno == unix.EBADF || errno == unix.EINVAL || errno == unix.ENOTSOCK:
			l.tally.acceptErrors++
			l.e.trouble(troubleAccept, errno)
			l.pause()
			return
		default: // a flow that was over before it was accepted: accept(2), "Error handling"
			l.tally.acceptErrors++
		}
	}
}

// share gives a new flow to a loop that has clearly less to do, or else keeps it: the kernel likes to wake always the same
// one. It looks at one other loop at a time.
func (l *loop) share(fd int, peer netip.AddrPort, d *door) {
	if n := len(l.e.loops); n > 1 {
		l.rotor = (l.rotor + 1) % n
		other := l.e.loops[l.rotor]
		if has := other.flows.Load(); other != l && l.flows.Load() > has+has/sharePart+shareSlack {
			if other.post(func(l *loop) { l.admit(fd, peer, d) }) {
				return
			}
		}
	}
	l.admit(fd, peer, d)
}
