package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/internal/link"
)

// socketName says what a listening socket is for and, as the command line says it, where it listens. A socket that
// systemd opened has no address on the command line: it is numbered.
type socketName struct {
	role string // one of roles
	addr string
}

// frontRole is that of a socket before which a reverse proxy stands that ended TLS.
const frontRole = "front"

// listenerRoles are what a socket of the gateway's may be for, and roles what any may be for.
var (
	listenerRoles = []string{string(link.PrivateListener), string(link.PublicListener), frontRole}
	roles         = append([]string{metricsRole}, listenerRoles...)
)

// sockets are the process's listening sockets, by name. The descriptors are the process's own: what the gateway listens
// on are duplicates, so that a socket can be handed to a successor whatever the gateway has done with its own.
type sockets map[socketName]int

// open opens the sockets that are not there yet, all or none.
func (s sockets) open(ctx context.Context, names []socketName) (err error) {
	opened := sockets{}
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	for _, name := range names {
		if _, there := s[name]; there {
			continue
		}
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // no balancer speaks it, and it makes every flow dearer
		l, err := lc.Listen(ctx, "tcp", name.addr)
		if err != nil {
			return fmt.Errorf("%s listener: %w", name.role, err)
		}
		fd, err := duplicate(l.(*net.TCPListener))
		_ = l.Close()
		if err != nil {
			return fmt.Errorf("%s listener %s: %w", name.role, name.addr, err)
		}
		opened[name] = fd
	}
	for name, fd := range opened {
		s[name] = fd
	}
	return nil
}

// duplicate returns a descriptor of a listener's socket that is the caller's. (*net.TCPListener).File would do, were it
// not that its descriptor turns to blocking mode for all that have the socket.
func duplicate(l *net.TCPListener) (fd int, err error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return -1, err
	}
	ctlErr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(ctlErr, err)
}

// listener returns a listener on a socket. Closing it leaves the socket open.
func (s sockets) listener(name socketName) (*net.TCPListener, error) {
	own, there := s[name]
	if !there {
		return nil, fmt.Errorf("%s does not name it", socketsVariable)
	}
	fd, err := unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name.addr)
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, errors.New("not a TCP socket")
	}
	return tcp, nil
}

func (s sockets) close() {
	for name, fd := range s {
		_ = unix.Close(fd)
		delete(s, name)
	}
}

// What a process tells the program that it starts in its place. The first names the sockets and their descriptors; that
// it is there at all says that they were opened and privileges dropped. The second is the descriptor of a pipe, to which
// a successor writes once it serves.
const (
	socketsVariable = "POSTERN_GATEWAY_SOCKETS"
	readyVariable   = "POSTERN_GATEWAY_READY"
)

// environment returns the process's environment for the program that takes its place, without what was said to it
// itself. at gives the descriptor that the program finds a socket at.
func (s sockets) environment(at func(socketName) int, more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case socketsVariable, readyVariable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
		default:
			env = append(env, v)
		}
	}
	entries := make([]string, 0, len(s))
	for name := range s {
		entries = append(entries, fmt.Sprintf("%d/%s/%s", at(name), name.role, name.addr))
	}
	return append(append(env, more...), socketsVariable+"="+strings.Join(entries, " "))
}

// inherited returns the sockets that a predecessor left, and the descriptor to say to that this process is ready, -1 for
// none.
func inherited(getenv func(string) string) (s sockets, ready int, err error) {
	s, ready = sockets{}, -1
	for entry := range strings.FieldsSeq(getenv(socketsVariable)) {
		number, name, _ := strings.Cut(entry, "/")
		role, addr, ok := strings.Cut(name, "/")
		fd, err := strconv.Atoi(number)
		if err != nil || !ok || fd < 3 {
			return nil, -1, fmt.Errorf("%s is set, but not by a gateway: %q", socketsVariable, entry)
		}
		unix.CloseOnExec(fd)
		s[socketName{role, addr}] = fd
	}
	if v := getenv(readyVariable); v != "" {
		if ready, err = strconv.Atoi(v); err != nil || ready < 3 {
			return nil, -1, fmt.Errorf("%s is set, but not by a gateway: %q", readyVariable, v)
		}
		unix.CloseOnExec(ready)
	}
	return s, ready, nil
}

// activated returns the sockets that systemd opened (sd_listen_fds(3)). Each has to be named for its role.
func activated(getenv func(string) string) (sockets, error) {
	s := sockets{}
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return s, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS is %q", getenv("LISTEN_FDS"))
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		if !slices.Contains(roles, name) {
			return nil, fmt.Errorf("systemd passed a socket named %q: give FileDescriptorName=private, public or metrics", name)
		}
		unix.CloseOnExec(3 + i)
		s[socketName{name, "systemd:" + strconv.Itoa(i)}] = 3 + i
	}
	return s, nil
}
