//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package webserver

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/postern/postern/internal/flock"
	"github.com/postern/postern/internal/link"
)

// trustedOwner reports whether a file is this user's or root's.
func trustedOwner(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && (s.Uid == 0 || int(s.Uid) == os.Geteuid())
}

// own gives a file the owner and the group of another one.
func own(f *os.File, like fs.FileInfo) error {
	want, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if has, ok := info.Sys().(*syscall.Stat_t); ok && has.Uid == want.Uid && has.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// lock holds a folder until unlock. Another process that holds it is an error.
func lock(dir *os.File) error {
	err := flock.Take(dir)
	if errors.Is(err, flock.ErrHeld) {
		return &link.Error{
			Kind: link.Unavailable, Reason: "INSTALLATION_UNDER_WAY", Message: "another installation into this folder is under way",
			Hint: "try again when it has ended",
		}
	}
	return err
}

// unlock gives a folder back, and closes it.
func unlock(dir *os.File) error { return flock.Close(dir) }

// syncFolder has a folder's names survive a loss of power.
func syncFolder(dir *os.File) error { return dir.Sync() }
