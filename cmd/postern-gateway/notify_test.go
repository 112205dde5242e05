package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The service manager hears of the start, of the handover with the new main process, and of the end.
func TestTheServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = manager.Close() })
	_ = manager.SetReadDeadline(time.Now().Add(patience))
	t.Setenv("NOTIFY_SOCKET", path)
	hears := func(expression string) []string {
		t.Helper()
		buf := make([]byte, 4096)
		n, err := manager.Read(buf)
		m := regexp.MustCompile("^" + expression + "$").FindStringSubmatch(string(buf[:n]))
		if err != nil || m == nil {
			t.Fatalf("the service manager hears %q, %v, want %s", buf[:n], err, expression)
		}
		return m
	}
	i := install(t)
	p := startProgram(t, i)
	hears("READY=1")
	p.signal(t, syscall.SIGHUP)
	hears(`RELOADING=1\nMONOTONIC_USEC=\d+`)
	main, err := strconv.Atoi(hears(`READY=1\nMAINPID=(\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	p.await(t, `msg="gateway ended" pid=`+strconv.Itoa(p.Process.Pid))
	i.put(t, []byte("#!/bin/sh\nexit 1\n"))
	_ = syscall.Kill(main, syscall.SIGHUP)
	hears(`RELOADING=1\nMONOTONIC_USEC=\d+`)
	hears("READY=1")
	_ = syscall.Kill(main, syscall.SIGTERM)
	hears("STOPPING=1")
	for range p.lines {
	}
}

// systemd opens the sockets of a socket unit, passes them from descriptor 3 on, and names the process that they are for.
func TestSocketsFromSystemd(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	i := install(t)
	activate := func(name string, args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", i.program, "--data", i.data}, args...)...)
		cmd.Env = []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=" + name}
		cmd.ExtraFiles = []*os.File{file}
		return cmd
	}
	p := start(t, activate("public"))
	if p.public != l.Addr().String() || p.private != "<nil>" {
		t.Fatalf("it listens on %s and %s, not on %s", p.public, p.private, l.Addr())
	}
	p.signal(t, syscall.SIGHUP)
	successor, err := strconv.Atoi(p.await(t, `msg="a successor serves: gateway drains" successor=(\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(successor, syscall.SIGTERM)
	for range p.lines {
	}

	for name, want := range map[string]string{
		"http":    `systemd passed a socket named "http"`,
		"private": "--trusted-peer",
	} {
		cmd := activate(name)
		cmd.Env = append(cmd.Env, asProgram+"=1")
		if out, err := cmd.CombinedOutput(); err == nil || !regexp.MustCompile(regexp.QuoteMeta(want)).Match(out) {
			t.Errorf("a socket named %s: %v\n%s", name, err, out)
		}
	}
}
