package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a successor may take to serve, which includes reading a million endpoints' rules, and how long one that did
// not make it may take to end.
const (
	successorPatience = time.Minute
	successorGrace    = 10 * time.Second
)

// readyWord is what a successor writes when it serves.
const readyWord = "ready\n"

// executable returns the file that this process was started from, found as a shell finds it: after an upgrade the new
// version, also where its name is a link.
func executable() (string, error) {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		return filepath.Abs(path)
	}
	return os.Executable()
}

// replace puts the program in this process's place with the sockets open, and returns only when it cannot.
func (s sockets) replace() error {
	path, err := executable()
	if err != nil {
		return err
	}
	for _, fd := range s {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil { // without FD_CLOEXEC
			return err
		}
	}
	env := s.environment(func(name socketName) int { return s[name] })
	return fmt.Errorf("start %s as user %d: %w", path, os.Getuid(), syscall.Exec(path, os.Args, env))
}

// handOver starts the program at path with the sockets, and returns its process id once it serves. From then on both
// take flows, until the caller stops. When it does not serve in time, or ctx ends before, it is told to end, and the
// error says why.
func (s sockets) handOver(ctx context.Context, path string, args []string) (pid int, err error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = reader.Close() }()
	// Descriptors 0 to 2 stay what they are, 3 is the pipe, the sockets follow.
	files := []uintptr{0, 1, 2, writer.Fd()}
	at := map[socketName]int{}
	for name, fd := range s {
		at[name] = len(files)
		files = append(files, uintptr(fd))
	}
	env := s.environment(func(name socketName) int { return at[name] }, readyVariable+"=3")
	pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{Env: env, Files: files})
	_ = writer.Close()
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { // until the successor has ended, or this process
		state, err := process.Wait()
		if err == nil {
			err = errors.New(state.String())
		}
		ended <- err
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, successorPatience, fmt.Errorf("it did not serve within %v", successorPatience))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = reader.SetReadDeadline(time.Now()) })()
	word := make([]byte, len(readyWord))
	n, readErr := reader.Read(word)
	if string(word[:n]) == readyWord {
		return pid, nil
	}
	if readErr != nil && ctx.Err() != nil {
		_ = process.Signal(syscall.SIGTERM)
	}
	select {
	case err := <-ended: // the pipe ends with its process
		if ctx.Err() == nil {
			return 0, fmt.Errorf("%s ended: %w", path, err)
		}
	case <-time.After(successorGrace):
		_ = process.Kill()
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return 0, fmt.Errorf("%s closed the pipe on which it was to say that it serves", path)
}

// sayReady tells the predecessor that this process serves.
func sayReady(fd int) error {
	f := os.NewFile(uintptr(fd), "handover")
	_, err := f.WriteString(readyWord)
	return errors.Join(err, f.Close())
}
