//go:build linux

package main

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for many sockets on one thread. The load's two ends are event loops of their own, and not goroutines on
// package net, so that they cost the machine as little as can be beside what they measure.
type poller struct {
	fd     int
	events [512]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &poller{fd: fd}, nil
}

func (p *poller) add(fd int, events uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func (p *poller) change(fd int, events uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// wait returns what happened, nothing when the time ran out. A negative limit is none.
func (p *poller) wait(limit time.Duration) ([]unix.EpollEvent, error) {
	ms := -1
	if limit >= 0 {
		ms = int((limit + time.Millisecond - 1) / time.Millisecond)
	}
	for {
		n, err := unix.EpollWait(p.fd, p.events[:], ms)
		if err == nil {
			return p.events[:n], nil
		}
		if !errors.Is(err, unix.EINTR) { // the Go runtime signals threads now and then
			return nil, err
		}
	}
}

func (p *poller) close() { _ = unix.Close(p.fd) }

// clock is a timer that a poller waits for, and that is precise to the microsecond, which a poller's time limit is not.
type clock int

func newClock(p *poller) (clock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	return clock(fd), p.add(fd, unix.EPOLLIN)
}

// set makes the clock ring once after d.
func (c clock) set(d time.Duration) error {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	return unix.TimerfdSettime(int(c), 0, &at, nil)
}

// stop makes it ring no more.
func (c clock) stop() error { return unix.TimerfdSettime(int(c), 0, &unix.ItimerSpec{}, nil) }

func (c clock) close() { _ = unix.Close(int(c)) }

// listenSocket listens on a free port of a loopback address.
func listenSocket() (fd int, at netip.AddrPort, err error) {
	if fd, err = streamSocket(); err != nil {
		return 0, at, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 4096)
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, at, err
	}
	in4 := name.(*unix.SockaddrInet4)
	return fd, netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)), nil
}

func streamSocket() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// connectSocket begins to connect from the address from, whose port the kernel chooses. On loopback the connection is
// mostly there when it returns.
func connectSocket(from [4]byte, to netip.AddrPort) (int, error) {
	fd, err := streamSocket()
	if err != nil {
		return 0, err
	}
	// Without the option the port would be taken for all destinations, and there are not enough of them.
	err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// again reports whether a call on a socket has to wait.
func again(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// discard takes up to n bytes that have arrived, without copying them anywhere (tcp(7), MSG_TRUNC).
func discard(fd int, room []byte) (int, error) {
	n, _, err := unix.Recvfrom(fd, room, unix.MSG_TRUNC)
	return n, err
}
