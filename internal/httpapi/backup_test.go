package httpapi_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// A backup comes over the API as it was made, to operators alone, and holds what there was.
func TestBackup(t *testing.T) {
	w := newWorldOn(t, storetest.Database{Dir: t.TempDir()})
	b := must(w.client.Backup(within(t)))(t)
	file := filepath.Join(t.TempDir(), "kept.db")
	text := must(io.ReadAll(b))(t)
	if err := b.Close(); err != nil || int64(len(text)) != b.Size {
		t.Fatalf("%d bytes of %d, %v", len(text), b.Size, err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	restored, err := store.Restore(t.Context(), file, t.TempDir(), false, store.Options{})
	if err != nil || restored.InstallationID != w.store.InstallationID() || restored.AsOf.IsZero() {
		t.Errorf("restored %+v, %v", restored, err)
	}
	if _, err := w.gateway.Backup(within(t)); err == nil {
		t.Error("a gateway was given a backup")
	}
	log := must(w.client.Audit(within(t), api.AuditQuery{}, api.Page{Limit: 1, Descending: true}))(t)
	if e := log.Entries[0]; e.Action != "database.backup" && e.Action != "database.read" {
		t.Errorf("the last entry of the log is %+v", e)
	}
}
