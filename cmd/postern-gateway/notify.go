package main

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// notify tells the service manager about this process, when it wants to hear of it (sd_notify(3)). socket is what it
// gave in NOTIFY_SOCKET.
func notify(socket string, states ...string) error {
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(strings.Join(states, "\n")))
	return err
}

// reloading is what the service manager is told when a handover begins; it wants the time of its own clock too.
func reloading() []string {
	states := []string{"RELOADING=1"}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		states = append(states, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	}
	return states
}
