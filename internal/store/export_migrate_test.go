package store

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"

	"github.com/pressly/goose/v3"
)

// AsOfMigrationForTest makes a database in dir with the schema as of a migration, and fills it.
func AsOfMigrationForTest(ctx context.Context, dir string, version int64, fill ...string) (err error) {
	path := filepath.Join(dir, databaseFile)
	if err := makePrivate(path); err != nil {
		return err
	}
	db, err := openPool(path, 1, url.Values{"_foreign_keys": {"1"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	sources, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sources, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return err
	}
	for _, text := range fill {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}
