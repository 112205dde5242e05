package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// "up" in a fresh folder on a database that is another installation's says so, and leaves that installation as it is: its
// gateways go on with their token, and nobody else signs its audit log.
func TestUpLeavesAnothersDatabaseAlone(t *testing.T) {
	database := storetest.Postgres(t)
	st := database.Open(t, store.Options{})
	plane := control.New(st, control.Options{Domain: embeddedDomain})
	tokens := map[string]string{}
	for _, kind := range []installationToken{operatorToken, gatewayToken} {
		tokens[kind.name] = "pst_" + randomText(32)
		if err := plane.PutToken(t.Context(), kind.name, kind.role, tokens[kind.name]); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := openDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := startStack(t.Context(), stackConfig{
		Dir: dir, Database: databaseFlags{offered: true, url: database.URL}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err == nil {
		t.Error("it starts", s.Close(t.Context()))
	} else if link.KindOf(err) != link.Invalid || !strings.Contains(err.Error(), "another installation's") {
		t.Errorf("it says %v", err)
	}
	for name, token := range tokens {
		if _, err := plane.Authenticate(t.Context(), control.Visitor{}, token); err != nil {
			t.Errorf("the token of %s: %v", name, err)
		}
	}
	err = st.Read(t.Context(), func(tx *store.Tx) error {
		keys, err := tx.AuditKeys()
		if len(keys) > 0 {
			t.Errorf("the audit log has %d keys of somebody else", len(keys))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
