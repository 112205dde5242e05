package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
)

// Restored is what a backup held.
type Restored struct {
	InstallationID string
	AsOf           time.Time // of the newest event; zero when there is none
}

// Restore puts a backup in the place of the database in a directory, which no process may have open and which, unless force
// is set, may hold none. The file is read twice: it is checked before anything is touched, and what was there stays until
// the restored database is whole and of this version's schema.
//
// What was said since the backup cannot be known. So sessions are over, cursors of the feed of events are good no more, and
// the audit log has an entry that says what happened to it. Gateways notice by the tags of the rules.
func Restore(ctx context.Context, file, dir string, force bool, o Options) (out Restored, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return out, fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	target := filepath.Join(dir, databaseFile)
	switch _, err := os.Stat(target); {
	case err == nil && !force:
		return out, &link.Error{
			Kind: link.Precondition, Reason: "DATABASE_THERE", Message: "there is a database in " + dir + " already",
			Hint: "give an empty directory, or --force to lose what this one holds",
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return out, fmt.Errorf("look for a database: %w", err)
	}
	within, err := os.MkdirTemp(dir, "restore-*")
	if err != nil {
		return out, fmt.Errorf("make a directory for the restored database: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(within)) }()
	if out, err = restoreInto(ctx, file, within, o); err != nil {
		return out, err
	}
	// The journal of the old database would be taken for the new one's.
	for _, name := range []string{target + "-wal", target + "-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, fmt.Errorf("remove the old database's journal: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(within, databaseFile), target); err != nil {
		return out, fmt.Errorf("put the database in its place: %w", err)
	}
	return out, syncDir(dir)
}

// restoreInto makes a database of a backup in an empty directory.
func restoreInto(ctx context.Context, file, dir string, o Options) (out Restored, err error) {
	path := filepath.Join(dir, databaseFile)
	if err := copyFile(file, path); err != nil {
		return out, err
	}
	version, err := checkCopy(ctx, path)
	if err != nil {
		return out, err
	}
	newest, err := newestSchema()
	if err != nil {
		return out, err
	}
	if version > newest {
		return out, errTooNew
	}
	st, err := Open(ctx, dir, o)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, st.Close()) }() // which leaves one file
	out.InstallationID = st.InstallationID()
	return out, st.Write(ctx, func(tx *Tx) error {
		if err := tx.row(`SELECT coalesce(max(at), 0) FROM events`).Scan(at(&out.AsOf)); err != nil {
			return err
		}
		for _, text := range []string{
			`DELETE FROM sessions`, `DELETE FROM sign_in_codes`, `DELETE FROM password_resets`,
			`DELETE FROM meta WHERE name = '` + sealKeyName + `'`,
		} {
			if _, err := tx.exec(text); err != nil {
				return err
			}
		}
		return tx.AddAudit(audit.Entry{
			Actor: audit.Actor{Name: "postern"}, Action: link.ObjectDatabase + ".restore", Object: link.ObjectRef{Kind: link.ObjectDatabase},
			Decision: audit.Done, Why: "the database was restored from a backup: what was done since the entry before is lost",
		})
	})
}

// copyFile copies a file for its owner alone, down to the disk.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return because(&link.Error{Kind: link.Invalid, Reason: "NO_BACKUP", Message: "the backup cannot be read", Hint: "give a file that you may read"}, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy the backup: %w", err)
	}
	return nil
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
