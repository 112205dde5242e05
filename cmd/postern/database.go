package main

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/postern/postern/internal/store"
)

// databaseFlags say where the control plane's database is. The zero value is the embedded one in the data directory.
type databaseFlags struct {
	offered   bool // the command has these flags, and with them the variable of the environment
	url, file string
}

// databaseDir is the folder of the embedded database in a data directory.
const databaseDir = "control"

const databaseVariable = "POSTERN_DATABASE_URL"

// What the flags are for, wherever they stand.
const (
	databaseUsage     = "PostgreSQL database, postgres://USER@HOST:PORT/NAME (default $" + databaseVariable + ", else SQLite in --data)"
	databaseFileUsage = "file with the URL of --database-url, which a command line would show to everybody"
)

func (d *databaseFlags) add(f *pflag.FlagSet) {
	d.offered = true
	f.StringVar(&d.url, "database-url", "", databaseUsage)
	f.StringVar(&d.file, "database-url-file", "", databaseFileUsage)
}

// find returns the URL of the database, empty for the embedded one. No error of it tells the URL, which may hold a password.
func (d *databaseFlags) find() (string, error) {
	switch {
	case !d.offered:
		return "", nil
	case d.url != "" && d.file != "":
		return "", usagef("give one of them", "--database-url and --database-url-file are both given")
	case d.url != "":
		return d.url, nil
	case d.file == "":
		return os.Getenv(databaseVariable), nil
	}
	text, err := os.ReadFile(d.file)
	if err != nil {
		return "", usagef("give a readable file to --database-url-file", "the database's URL cannot be read: %v", err)
	}
	url := strings.TrimSpace(string(text))
	if url == "" {
		return "", usagef("write postgres://USER:PASSWORD@HOST:PORT/NAME into it", "%s is empty", d.file)
	}
	return url, nil
}

// openStore opens the database of a URL, or the one in dir when it is empty.
func openStore(ctx context.Context, url, dir string, log *slog.Logger) (*store.Store, error) {
	o := store.Options{Log: log}
	if url != "" {
		return store.OpenPostgres(ctx, url, o)
	}
	return store.Open(ctx, dir, o)
}
