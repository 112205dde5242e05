package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postern/postern/internal/flock"
)

// dirLock is the exclusive hold on a data directory. The kernel lets go of it when the process ends, however it ends.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the data directory's lock: %w", err)
	}
	err = flock.Take(f)
	if errors.Is(err, flock.ErrHeld) {
		_ = f.Close()
		return nil, fmt.Errorf("the data directory %s is in use by another process: stop that one, or give another directory", dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &dirLock{f}, nil
}

func (l *dirLock) release() error { return flock.Close(l.f) }
