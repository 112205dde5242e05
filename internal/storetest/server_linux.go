package storetest

import (
	"os"
	"sync"
	"testing"

	"github.com/postern/postern/internal/servertest"
)

// own is the server of the package's tests, started by the first that asks.
var own struct {
	once   sync.Once
	server *servertest.SharedPostgres
	err    error
}

// ownServer is the URL of the package's own server.
func ownServer(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat(servertest.PostgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	own.once.Do(func() { own.server, own.err = servertest.SharePostgres() })
	if own.err != nil {
		t.Fatal(own.err)
	}
	return own.server.URL("postgres")
}

func stopOwnServer() {
	if own.server != nil {
		own.server.Stop()
	}
}
