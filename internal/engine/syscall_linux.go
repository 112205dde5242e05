package engine

import (
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the event loops. None of those called raw can block: the descriptors are non-blocking. So they need
// not tell the Go scheduler, which would cost each about as much again as the call. Errors are bare numbers; 0 is none.

func acceptFD(listener int, from *unix.RawSockaddrAny) (fd int, errno unix.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(from)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(r), errno
}

func socketFD(family int) (fd int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int(r), errno
}

func connectFD(fd int, to *unix.RawSockaddrAny, size uint32) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(to)), uintptr(size))
	return errno
}

// recvFD returns 0 bytes and no error at the end of the stream. p is not empty.
func recvFD(fd int, p []byte) (n int, errno unix.Errno) {
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), 0, 0, 0)
		if errno == 0 {
			return int(r), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func sendFD(fd int, p []byte) (n int, errno unix.Errno) {
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(r), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// message is what sendBothFD needs to send from two places; a value of the loop's, so that none is made per call.
type message struct {
	header unix.Msghdr
	parts  [2]unix.Iovec
}

func sendBothFD(fd int, m *message, a, b []byte) (n int, errno unix.Errno) {
	if len(a) == 0 {
		return sendFD(fd, b)
	}
	if len(b) == 0 {
		return sendFD(fd, a)
	}
	m.parts[0].Base, m.parts[1].Base = &a[0], &b[0]
	m.parts[0].SetLen(len(a))
	m.parts[1].SetLen(len(b))
	m.header.Iov = &m.parts[0]
	m.header.SetIovlen(len(m.parts))
	for {
		r, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_NOSIGNAL)
		if errno == unix.EINTR {
			continue
		}
		m.parts = [2]unix.Iovec{}
		if errno != 0 {
			return 0, errno
		}
		return int(r), 0
	}
}

func spliceFD(from, to, most int) (n int, errno unix.Errno) {
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most),
			unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if errno == 0 {
			return int(r), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func shutdownFD(fd int) {
	// That the peer is gone is for the other direction to find out.
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

func closeFD(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// resetFD closes a socket in such a way that its peer sees a reset.
func resetFD(fd int) {
	linger := unix.Linger{Onoff: 1}
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	closeFD(fd)
}

// setOption sets a socket option that the engine can do without.
func setOption(fd, level, option int, value int32) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
}

func epollCtl(epoll, op, fd int, events uint32, index, generation int32) unix.Errno {
	ev := unix.EpollEvent{Events: events, Fd: index, Pad: generation}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return errno
}

// epollHold waits without telling the Go scheduler: see loop.wait. An interrupted wait has no events.
func epollHold(epoll int, events []unix.EpollEvent, milliseconds int) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(len(events)), uintptr(milliseconds), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// wakeFD adds one to an eventfd.
func wakeFD(fd int) {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// fromSockaddr reads an address as the kernel writes it, IPv4 as IPv4. Another family gives the zero value.
func fromSockaddr(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), swapPort(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		addr := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(strconv.FormatUint(uint64(in.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, swapPort(in.Port))
	}
	return netip.AddrPort{}
}

// toSockaddr writes an address as the kernel reads it.
func toSockaddr(sa *unix.RawSockaddrAny, to netip.AddrPort) (family int, size uint32) {
	if addr := to.Addr().Unmap(); addr.Is4() {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swapPort(to.Port()), Addr: addr.As4()}
		return unix.AF_INET, unix.SizeofSockaddrInet4
	}
	in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
	*in = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swapPort(to.Port()), Addr: to.Addr().As16(), Scope_id: zoneIndex(to.Addr().Zone())}
	return unix.AF_INET6, unix.SizeofSockaddrInet6
}

// zoneIndex returns the number of an IPv6 zone, which is a number or the name of an interface; 0 when there is none.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// swapPort turns a port from the network's byte order into the machine's, or back.
func swapPort(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}
