package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// migrations has a folder per engine, with the same steps: a file of the same number and name in each.
//
//go:embed migrations
var migrations embed.FS

func migrateSQLite(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	if err := migrateOurs(ctx, goose.DialectSQLite3, "migrations/sqlite", db); err != nil {
		return err
	}
	return migrateJobs(ctx, riversqlite.New(db), log)
}

// migratePostgres has processes that start together migrate one after the other: the second finds nothing left to do.
func migratePostgres(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) (err error) {
	alone, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig) // with it ends the turn
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { err = errors.Join(err, alone.Close(context.WithoutCancel(ctx))) }()
	if _, err := alone.Exec(ctx, `SELECT pg_advisory_lock(2, 1)`); err != nil {
		return fmt.Errorf("wait for the turn to migrate: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := migrateOurs(ctx, goose.DialectPostgres, "migrations/postgres", db); err != nil {
		return err
	}
	return migrateJobs(ctx, riverpgxv5.New(pool), log)
}

// migrateOurs brings our own schema up to date.
func migrateOurs(ctx context.Context, dialect goose.Dialect, folder string, db *sql.DB) error {
	dir, err := fs.Sub(migrations, folder)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// newestSchema is the version of our own schema that this program brings databases to.
func newestSchema() (int64, error) {
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	if err != nil || len(files) == 0 {
		return 0, errors.Join(errors.New("there are no migrations"), err)
	}
	return goose.NumericComponent(files[len(files)-1]) // they are sorted
}

// migrateJobs brings the job queue's schema up to date.
func migrateJobs[T any](ctx context.Context, driver riverdriver.Driver[T], log *slog.Logger) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet(log)})
	if err != nil {
		return fmt.Errorf("read the job queue's migrations: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the job queue: %w", err)
	}
	return nil
}
