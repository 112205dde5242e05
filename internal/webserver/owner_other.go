//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package webserver

import (
	"io/fs"
	"os"
)

// trustedOwner reports whether a file is this user's or root's. Where files have no such owner, they are trusted.
func trustedOwner(fs.FileInfo) bool { return true }

// own does nothing: the folder decides whose its files are.
func own(*os.File, fs.FileInfo) error { return nil }

// lock does nothing: one installation at a time is up to the caller.
func lock(*os.File) error { return nil }

// unlock closes a folder.
func unlock(dir *os.File) error { return dir.Close() }

// syncFolder does nothing: a folder is not synchronised on its own.
func syncFolder(*os.File) error { return nil }
