// Package storetest gives tests a database of their own to open a store on: SQLite in a folder of the test, or PostgreSQL.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/internal/store"
)

// Variable names the URL of a PostgreSQL server, as whose superuser databases are made and dropped: where it is set, New
// and Open take PostgreSQL.
const Variable = "POSTERN_TEST_POSTGRES"

// Database is an empty database, which ends with its test.
type Database struct {
	Dir string // of SQLite; empty for PostgreSQL
	URL string // of PostgreSQL; empty for SQLite
}

// New returns a database of the engine that this run of the tests is about: SQLite, or PostgreSQL where Variable is set.
func New(t testing.TB) Database {
	t.Helper()
	if server := os.Getenv(Variable); server != "" {
		return postgres(t, server)
	}
	return sqlite(t)
}

// Open returns a store on a new database, closed at the end of the test.
func Open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	return New(t).Open(t, o)
}

// OnEach runs a test on every engine, whatever Variable says. PostgreSQL has to be installed, and the package's TestMain
// has to run its tests by Main.
func OnEach(t *testing.T, test func(*testing.T, Database)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Postgres returns a database on PostgreSQL: on the server of Variable, or else on the package's own, which Main stops.
func Postgres(t testing.TB) Database {
	t.Helper()
	if server := os.Getenv(Variable); server != "" {
		return postgres(t, server)
	}
	return postgres(t, ownServer(t))
}

// On returns a database on a server of the test's own, of which it has the URL.
func On(t testing.TB, server string) Database {
	t.Helper()
	return postgres(t, server)
}

// Main is a testing.M, and whatever else runs tests, that stops the package's server after them.
type Main struct{ M interface{ Run() int } }

// Run runs the tests.
func (m Main) Run() int {
	code := m.M.Run()
	stopOwnServer()
	return code
}

// Open returns a store on the database, closed at the end of the test. The options' zero fields are those for a test.
func (d Database) Open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	st, err := d.TryOpen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return st
}

// TryOpen opens a store on the database, which is the caller's to close.
func (d Database) TryOpen(ctx context.Context, o store.Options) (*store.Store, error) {
	if d.URL != "" {
		return store.OpenPostgres(ctx, d.URL, o)
	}
	return store.Open(ctx, d.Dir, o)
}

// Another returns an empty database of the same engine.
func (d Database) Another(t testing.TB) Database {
	t.Helper()
	if d.URL != "" {
		return Postgres(t)
	}
	return sqlite(t)
}

// sqliteTemplate is a file of a migrated database: migrations cost each test more than all else that it asks of one.
var sqliteTemplate = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "postern-template-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "postern.db")
	db, err := sql.Open("sqlite", path) // package store brings the driver
	if err != nil {
		return nil, err
	}
	// What is drawn at random when a database is first opened is each one's own.
	_, err = db.ExecContext(context.Background(), `DELETE FROM meta; DELETE FROM audit_entries; PRAGMA wal_checkpoint(TRUNCATE)`)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// sqlite makes a migrated database in a folder of the test.
func sqlite(t testing.TB) Database {
	t.Helper()
	file, err := sqliteTemplate()
	if err != nil {
		t.Fatalf("prepare a database: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "postern.db"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return Database{Dir: dir}
}

// template is the database of each server that new ones are copied from: migrated once, it saves each test a second.
var template struct {
	mu    sync.Mutex
	named map[string]string // by the server's URL
}

// Empty returns a database on PostgreSQL that nobody has migrated.
func Empty(t testing.TB) Database {
	t.Helper()
	server := os.Getenv(Variable)
	if server == "" {
		server = ownServer(t)
	}
	return made(t, server, "template0")
}

// postgres makes a migrated database on a server.
func postgres(t testing.TB, server string) Database {
	t.Helper()
	from, err := migrated(t.Context(), server)
	if err != nil {
		t.Fatalf("prepare a database at %s: %v", Variable, err)
	}
	return made(t, server, from)
}

// made makes a database as a copy of another one.
func made(t testing.TB, server, from string) Database {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	if err := admin(t.Context(), server, `CREATE DATABASE `+name+` TEMPLATE `+from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin(context.Background(), server, `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return Database{URL: at(server, name)}
}

func migrated(ctx context.Context, server string) (name string, err error) {
	template.mu.Lock()
	defer template.mu.Unlock()
	if name, ok := template.named[server]; ok {
		return name, nil
	}
	name = "template_" + strings.ToLower(rand.Text())
	// Ordered as people order words: a statement that relies on the order of bytes, as on SQLite, is found out.
	err = admin(ctx, server, `CREATE DATABASE `+name+` TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`)
	if err != nil {
		return "", err
	}
	st, err := store.OpenPostgres(ctx, at(server, name), store.Options{})
	if err != nil {
		return "", err
	}
	// What is drawn at random when a database is first opened is each one's own.
	if err := errors.Join(st.Close(), admin(ctx, at(server, name), `DELETE FROM meta`)); err != nil {
		return "", err
	}
	if template.named == nil {
		template.named = map[string]string{}
	}
	template.named[server] = name
	return name, nil
}

// at is the URL of another database of the same server.
func at(server, database string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server // opening it says what is wrong
	}
	u.Path = "/" + database
	return u.String()
}

func admin(ctx context.Context, server, statement string) (err error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
