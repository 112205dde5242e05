package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	driver "modernc.org/sqlite"

	"github.com/postern/postern/internal/link"
)

// Backup is a copy of a database as it stood at one moment: a file that Restore takes. Read it, and Close it, which removes
// it from the disk.
type Backup struct {
	io.Reader
	Size   int64 // bytes
	SHA256 [sha256.Size]byte

	file *os.File
	end  func()
}

// Close removes the copy.
func (b *Backup) Close() error {
	err := errors.Join(b.file.Close(), os.Remove(b.file.Name()))
	b.end()
	return err
}

// errPgDump is what is said of a database that has better tools.
var errPgDump = &link.Error{
	Kind: link.Precondition, Reason: "NOT_EMBEDDED", Message: "the database is a PostgreSQL, of which Postern makes no backups",
	Hint: "use pg_dump, or your PostgreSQL's own backups",
}

var errBackupUnderWay = &link.Error{
	Kind: link.Conflict, Reason: "BACKUP_UNDER_WAY", Message: "another backup is being made", Hint: "wait until it is done: each takes as much of the disk as the database",
}

// backups is where an engine makes copies of itself, one at a time.
type backups struct {
	database string
	one      sync.Mutex
}

// backupFiles are the names of copies. What a killed process left of one is removed when the database is opened.
const backupFiles = "backup-*.tmp"

// Backup copies the database while everybody goes on to read and write, and checks the copy. The copy takes as much of the
// disk as the database, beside it, until it is closed; there is one at a time. The files beside the database, tokens and the
// audit log's key among them, are not in it. It holds secrets: of webhooks and of rewritten redirects, and
// hashes of passwords.
func (s *Store) Backup(ctx context.Context) (_ *Backup, err error) {
	e, ok := s.engine.(*sqlite)
	if !ok {
		return nil, errPgDump
	}
	if !e.backups.one.TryLock() {
		return nil, errBackupUnderWay
	}
	file, err := os.CreateTemp(filepath.Dir(e.backups.database), backupFiles) // for its owner alone
	if err != nil {
		e.backups.one.Unlock()
		return nil, fmt.Errorf("make a file for the backup: %w", err)
	}
	b := &Backup{Reader: file, file: file, end: e.backups.one.Unlock}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := copyDatabase(ctx, e.backups.database, file.Name()); err != nil {
		return nil, fmt.Errorf("copy the database: %w", err)
	}
	if _, err := checkCopy(ctx, file.Name()); err != nil {
		return nil, fmt.Errorf("the copy of the database is not sound: %w", err)
	}
	sum := sha256.New()
	if b.Size, err = io.Copy(sum, file); err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	sum.Sum(b.SHA256[:0])
	_, err = file.Seek(0, io.SeekStart)
	return b, err
}

// removeOld removes what a killed process left of its copies.
func (b *backups) removeOld() error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(b.database), backupFiles))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// copyDatabase copies a database that others may write to, as it stands when the copy begins.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	// A connection of its own: those of the pool answer requests, and cannot write, not even elsewhere.
	db, err := openPool(from, 1, url.Values{"_busy_timeout": {"5000"}, "_dqs": {"0"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `VACUUM INTO $1`, to)
	return err
}

// What may be wrong with a file that is to be restored.
var (
	errNoDatabase = &link.Error{
		Kind: link.Invalid, Reason: "NO_BACKUP", Message: "this is no backup of a control plane", Hint: `give a file that "postern backup" wrote`,
	}
	errTooNew = &link.Error{
		Kind: link.Precondition, Reason: "BACKUP_TOO_NEW", Message: "this backup was made by a newer version of Postern",
		Hint: "restore it with the version that made it, or a newer one",
	}
)

// notADatabase is what SQLite says of other files: SQLITE_NOTADB.
const notADatabase = 26

// checkCopy looks through a whole copy of a database and returns the version of its schema.
func checkCopy(ctx context.Context, path string) (version int64, err error) {
	db, err := openPool(path, 1, url.Values{"mode": {"ro"}, "_dqs": {"0"}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	damage := func(why string) error {
		return &link.Error{
			Kind: link.Invalid, Reason: "BACKUP_DAMAGED", Message: "the backup is damaged: " + why,
			Hint: "take another backup; compare the file's SHA-256 with the one that was told when it was made",
		}
	}
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil {
		if said, ok := errors.AsType[*driver.Error](err); ok && said.Code() == notADatabase {
			return 0, because(errNoDatabase, err)
		}
		return 0, because(damage("it cannot be read"), err)
	}
	if found != "ok" {
		return 0, damage(found)
	}
	err = db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version)
	if err != nil {
		return 0, because(errNoDatabase, err)
	}
	var table string
	err = db.QueryRowContext(ctx, `SELECT "table" FROM pragma_foreign_key_check LIMIT 1`).Scan(&table)
	if err == nil {
		return 0, damage("a row of " + table + " belongs to one that is not there")
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, because(damage("it cannot be read"), err)
	}
	return version, nil
}

// because adds a cause to what is told of it.
func because(e error, cause error) error {
	told, ok := errors.AsType[*link.Error](e)
	if !ok {
		return cause
	}
	out := *told
	out.Err = cause
	return &out
}
