//go:build linux

package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/postern/postern/internal/servertest"
)

// While PostgreSQL is away nobody who asks is told anything but to come back; what was acknowledged before, meanwhile and
// afterwards is there, no event is missing on a stream, and through the gateway flows pass all the time.
func TestDatabaseAwayUnderLoad(t *testing.T) {
	if _, err := os.Stat(servertest.PostgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	s := setting{
		Clients: 16, Organisations: 4, Rate: 2, For: 18 * time.Second, Postgres: true, Processes: 2, Outage: 5 * time.Second, Programs: t.TempDir(),
	}
	var args []string
	if raced {
		args = append(args, "-race")
	}
	if err := build(t.Context(), s.Programs, args...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := run(ctx, t.TempDir(), s)
	r.print(t.Output())
	if err == nil {
		err = r.err()
	}
	if err != nil {
		t.Error(err)
	}
	if r.compared == 0 || r.events == 0 {
		t.Errorf("%d things were read back and %d events followed: nothing was shown", r.compared, r.events)
	}
}
