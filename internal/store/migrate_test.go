package store_test

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// Every step of the schema is one of both engines.
func TestMigrationsAreTheSameSteps(t *testing.T) {
	steps := map[string][]string{}
	for _, engine := range []string{"sqlite", "postgres"} {
		files, err := os.ReadDir("migrations/" + engine)
		if err != nil || len(files) < 4 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for _, f := range files {
			steps[engine] = append(steps[engine], f.Name())
		}
	}
	if diff := cmp.Diff(steps["sqlite"], steps["postgres"]); diff != "" {
		t.Errorf("steps (-sqlite +postgres):\n%s", diff)
	}
}

// Processes that start together on a database that nobody has migrated yet do not get into each other's way.
func TestProcessesThatMigrateTogether(t *testing.T) {
	d := storetest.Empty(t)
	const processes = 3
	ids := make(chan string, processes)
	for range processes {
		go func() {
			st, err := d.TryOpen(t.Context(), store.Options{})
			if err != nil {
				t.Error(err)
				ids <- ""
				return
			}
			ids <- st.InstallationID()
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	first := <-ids
	for range processes - 1 {
		if id := <-ids; id != first || id == "" {
			t.Errorf("one database is the installation %q and %q", first, id)
		}
	}
}

// Lists that are ordered by a text are ordered by its bytes on every engine.
func TestOrderOfText(t *testing.T) { storetest.OnEach(t, testOrderOfText) }

func testOrderOfText(t *testing.T, d storetest.Database) {
	st := open(t, d)
	backends := []string{"B:1", "_:1", "a:1", "a:10", "a:2", "b:1"}
	write(t, st, func(tx *store.Tx) error {
		for _, b := range backends {
			if err := tx.PutBackendHealth("g", link.BackendHealth{ClusterID: "c", Backend: b, At: tx.Now()}); err != nil {
				return err
			}
		}
		return tx.PutGateway("g", make([]byte, 32))
	})
	read(t, st, func(tx *store.Tx) error {
		all, err := tx.BackendHealth("c", time.Time{})
		var got []string
		for _, h := range all {
			got = append(got, h.Backend)
		}
		if diff := cmp.Diff(backends, got); diff != "" {
			t.Errorf("order (-bytes +ours):\n%s", diff)
		}
		return err
	})
}
