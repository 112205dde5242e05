package fabric

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postern/postern/internal/flock"
)

// stateVersion is the layout of State that this code reads and writes.
const stateVersion = 1

// disk keeps the state of a fabric in one file. The zero disk keeps nothing.
type disk struct {
	path string
	lock *os.File
}

// openDisk takes the directory for this process alone, for as long as the disk is open.
func openDisk(dir string) (*disk, error) {
	if dir == "" {
		return &disk{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "fabric.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock.Take(lock); err != nil {
		_ = lock.Close()
		if errors.Is(err, flock.ErrHeld) {
			return nil, fmt.Errorf("fabric: %s is in use by another process: stop that one, or give another directory", dir)
		}
		return nil, fmt.Errorf("fabric: lock %s: %w", dir, err)
	}
	return &disk{path: filepath.Join(dir, "fabric.json"), lock: lock}, nil
}

// load returns the stored state; nil when none has been stored yet. A file that is not a state is an error and stays
// as it is, since it may be all that is left of someone's work.
func (d *disk) load() ([]byte, error) {
	if d.path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, damaged(d.path, err)
	}
	if head.Version != stateVersion {
		return nil, fmt.Errorf("fabric: %s has layout %d and this program knows layout %d; it was left untouched", d.path, head.Version, stateVersion)
	}
	return raw, nil
}

func damaged(path string, err error) error {
	return fmt.Errorf("fabric: %s is damaged (%w); restore it from a copy, or move it away to start empty", path, err)
}

// store replaces the file: when it returns, the new state survives a crash, and at no time is there a half-written one.
func (d *disk) store(raw []byte) error {
	if d.path == "" {
		return nil
	}
	temporary := d.path + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, d.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// close gives the directory back.
func (d *disk) close() error {
	if d.lock == nil {
		return nil
	}
	return flock.Close(d.lock)
}
