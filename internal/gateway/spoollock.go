package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/flock"
)

// spoolLock is the hold on the segments of one owner, which is a process. The kernel lets go of it when the process
// ends, however it ends.
type spoolLock struct {
	f        *os.File
	owner    string // sorts by when the process began to spool
	segments int    // files of the owner that are there still
}

const lockSuffix = ".lock"

// newSpoolLock makes an owner that nobody else is.
func newSpoolLock(dir string) (*spoolLock, error) {
	for range 10 {
		owner := fmt.Sprintf("%016x-%08x", time.Now().UnixNano(), rand.Uint32())
		lock, err := lockSpool(dir, owner)
		if err != nil || lock != nil {
			return lock, err
		}
	}
	return nil, fmt.Errorf("%s: no owner could be made", dir)
}

// lockSpool takes the hold on an owner; nil when a process has it.
func lockSpool(dir, owner string) (*spoolLock, error) {
	path := filepath.Join(dir, owner+lockSuffix)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock.Take(f); err != nil {
		_ = f.Close()
		if errors.Is(err, flock.ErrHeld) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// Who held it before may have removed the file in between: then this is the lock of nothing.
	ours, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	named, err := os.Stat(path)
	if err != nil || !os.SameFile(ours, named) {
		_ = f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, nil
	}
	return &spoolLock{f: f, owner: owner}, nil
}

// release lets go of the segments, which others may take over.
func (l *spoolLock) release() { _ = flock.Close(l.f) }

// remove lets go of an owner that has no segment any more.
func (l *spoolLock) remove() {
	_ = os.Remove(l.f.Name())
	_ = flock.Close(l.f)
}

// spoolOwners returns whose segments and locks are in a directory, oldest owner first. A directory that does not exist
// has none.
func spoolOwners(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var owners []string
	for _, e := range entries {
		owner, isLock := strings.CutSuffix(e.Name(), lockSuffix)
		if !isLock {
			var ok bool
			if owner, _, ok = segmentName(e.Name()); !ok {
				continue
			}
		}
		if !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	slices.Sort(owners)
	return owners, nil
}
