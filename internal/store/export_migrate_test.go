package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
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

// ReleasedForTest makes a database in dir of a dump, and leaves its schema as it is.
func ReleasedForTest(ctx context.Context, dir, dump string) (err error) {
	path := filepath.Join(dir, databaseFile)
	if err := makePrivate(path); err != nil {
		return err
	}
	db, err := openPool(path, 1, url.Values{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, dump)
	return err
}

// ReleasedOnPostgresForTest fills an empty PostgreSQL database with the schema as of a migration from the database in dir,
// which has that schema too.
func ReleasedOnPostgresForTest(ctx context.Context, database, dir string, version int64) (err error) {
	from, err := openPool(filepath.Join(dir, databaseFile), 1, url.Values{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer func() { err = errors.Join(err, db.Close()) }()
	sources, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, sources, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return err
	}
	tables, err := tablesOf(ctx, from)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		types, err := columnTypes(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if _, err := tx.Exec(ctx, `DELETE FROM `+quoted(t.name)); err != nil {
				return err
			}
			if err := t.move(ctx, from, tx, types[t.name]); err != nil {
				return err
			}
		}
		return nil
	})
}

// DumpForTest is everything in all tables but those of the job queue and of what migrates, by table, in an order of its own.
// Which job does a piece of work is left out.
func DumpForTest(ctx context.Context, s *Store) (map[string][]string, error) {
	_, embedded := s.engine.(*sqlite)
	columns := `SELECT m.name, p.name, lower(p.type) FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY 1, 2`
	if !embedded {
		columns = `SELECT table_name::text COLLATE "C", column_name::text COLLATE "C", data_type::text FROM information_schema.columns
			WHERE table_schema = 'public' ORDER BY 1, 2`
	}
	out := map[string][]string{}
	err := s.Read(ctx, func(tx *Tx) error {
		all, err := list(tx, func(r Row) (c [3]string, err error) {
			err = r.Scan(&c[0], &c[1], &c[2])
			return c, err
		}, columns)
		if err != nil {
			return err
		}
		lines := map[string]string{}
		for _, c := range all {
			if strings.HasPrefix(c[0], "river_") || strings.HasPrefix(c[0], "sqlite_") || c[0] == "goose_db_version" || c[1] == "job_id" {
				continue
			}
			value := `CAST("` + c[1] + `" AS TEXT)`
			if c[2] == "boolean" && !embedded {
				value = `CAST(CAST("` + c[1] + `" AS INTEGER) AS TEXT)`
			}
			if lines[c[0]] != "" {
				lines[c[0]] += ` || '|' || `
			}
			lines[c[0]] += `'` + c[1] + `=' || ` + value
		}
		for table, line := range lines {
			rows, err := list(tx, func(r Row) (s string, err error) {
				err = r.Scan(&s)
				return s, err
			}, `SELECT `+line+` FROM "`+table+`"`)
			if err != nil {
				return err
			}
			slices.Sort(rows)
			out[table] = rows
		}
		return nil
	})
	return out, err
}

// FillForTest puts rows into every table of ours on SQLite, so that all that refer to others refer to one.
func FillForTest(ctx context.Context, s *Store) error {
	db := s.engine.(*sqlite).write
	tables, err := tablesOf(ctx, db)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for n := 1001; n <= 1003; n++ {
			if t.name == "rules_revision" {
				continue // has one row
			}
			var values []string
			for _, c := range t.columns {
				var kind string
				if err := db.QueryRowContext(ctx, `SELECT upper(type) FROM pragma_table_info($1) WHERE name = $2`, t.name, c).Scan(&kind); err != nil {
					return err
				}
				switch kind {
				case "TEXT":
					values = append(values, fmt.Sprintf(`'é"\''%d'`, n))
				case "BOOLEAN":
					values = append(values, []string{"FALSE", "TRUE"}[n%2])
				default:
					values = append(values, fmt.Sprint(n))
				}
			}
			text := `INSERT INTO ` + quoted(t.name) + ` VALUES (` + strings.Join(values, ", ") + `)`
			if _, err := db.ExecContext(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
		if t.seq > 0 || slices.Contains(t.columns, "seq") {
			// A row that is gone: its number is not to be given again.
			if _, err := db.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = 2000 WHERE name = $1`, t.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// NewerSchemaForTest makes a database one of a program that is newer than this one.
func NewerSchemaForTest(ctx context.Context, s *Store) error {
	_, err := s.engine.(*sqlite).write.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, TRUE)`)
	return err
}
