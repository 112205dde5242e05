//go:build unix

// Package flock holds files and folders for one process at a time, by flock(2): the kernel lets go when the process ends, however
// it ends.
package flock

import (
	"errors"
	"os"
	"syscall"
)

// ErrHeld says that another open file has the hold, of another process or of this one.
var ErrHeld = errors.New("it is held by another")

// Take holds an open file or folder without waiting. It fails with [ErrHeld], or with the kernel's error where the file
// system has no locks. Give it back with Close.
func Take(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrHeld
	}
	return os.NewSyscallError("flock", err)
}

// Close lets go of a file and closes it. To close it alone would not do: a child that is just being forked shares the open file, and
// with it the hold, until it becomes the program that it is for.
func Close(f *os.File) error {
	return errors.Join(os.NewSyscallError("flock", syscall.Flock(int(f.Fd()), syscall.LOCK_UN)), f.Close())
}
