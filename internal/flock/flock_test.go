//go:build unix

package flock_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/postern/postern/internal/flock"
)

func TestOneAtATime(t *testing.T) {
	for what, path := range map[string]string{"a file": filepath.Join(t.TempDir(), "lock"), "a folder": t.TempDir()} {
		t.Run(what, func(t *testing.T) {
			first, second := open(t, path), open(t, path)
			if err := flock.Take(first); err != nil {
				t.Fatal(err)
			}
			if err := flock.Take(second); !errors.Is(err, flock.ErrHeld) {
				t.Errorf("a second one: %v, want %v", err, flock.ErrHeld)
			}
			if err := flock.Close(first); err != nil {
				t.Fatal(err)
			}
			if err := flock.Take(second); err != nil {
				t.Errorf("when the first has let go: %v", err)
			}
		})
	}
}

// A child shares the open files of the process that forked it, until it is a program of its own.
func TestAChildOnItsWayHoldsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f := open(t, path)
	if err := flock.Take(f); err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(child) })
	if err := flock.Close(f); err != nil {
		t.Fatal(err)
	}
	if err := flock.Take(open(t, path)); err != nil {
		t.Errorf("after the hold was given back: %v", err)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, syscall.EISDIR) {
		f, err = os.Open(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // it may be closed
	return f
}
