package store_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func dump(t *testing.T, st *store.Store) map[string][]string {
	t.Helper()
	d, err := store.DumpForTest(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	if e, ok := errors.AsType[*link.Error](err); !ok || e.Reason != reason {
		t.Errorf("error %v, want one of reason %s", err, reason)
	}
}

// closed opens a store, has f use it, and closes it.
func closed(t *testing.T, dir string, f func(*store.Store)) {
	t.Helper()
	st, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f(st)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// Every row of every table gets there, whatever tables there are, and no number is given to a second row.
func TestMoveTakesEveryTable(t *testing.T) {
	dir, to := t.TempDir(), storetest.Empty(t)
	var before map[string][]string
	var id string
	closed(t, dir, func(st *store.Store) {
		if err := store.FillForTest(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		before, id = dump(t, st), st.InstallationID()
	})
	for table, rows := range before {
		if len(rows) == 0 {
			t.Errorf("the test put nothing into %s", table)
		}
	}
	rehearsed, err := store.Move(t.Context(), dir, to.URL, true, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := store.Move(t.Context(), dir, to.URL, false, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rehearsed, moved); diff != "" {
		t.Errorf("what was moved is not what was rehearsed (-rehearsed +moved):\n%s", diff)
	}
	for _, m := range moved {
		if int(m.Rows) != len(before[m.Name]) {
			t.Errorf("%d rows of %s were moved, of %d", m.Rows, m.Name, len(before[m.Name]))
		}
	}
	st := open(t, to)
	if diff := cmp.Diff(before, dump(t, st)); diff != "" {
		t.Errorf("tables (-before +after):\n%s", diff)
	}
	if st.InstallationID() != id {
		t.Errorf("the installation is %s, and was %s", st.InstallationID(), id)
	}
	if err := store.ExecForTest(t.Context(), st, `INSERT INTO projects (id, organisation_id, name, created_at, updated_at, version) VALUES ('next', '', 'next', 1, 1, 1)`); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(dump(t, st)["projects"], "\n"), "seq=2001|") {
		t.Errorf("the next project is none of number 2001: %q", dump(t, st)["projects"])
	}

	_, err = store.Move(t.Context(), dir, to.URL, true, store.Options{})
	wantReason(t, err, "DATABASE_NOT_EMPTY")
	_, err = store.Move(t.Context(), dir, to.URL, false, store.Options{})
	wantReason(t, err, "DATABASE_NOT_EMPTY")
	_, err = store.Open(t.Context(), dir, store.Options{})
	wantReason(t, err, "DATABASE_MOVED")
	_, err = store.Move(t.Context(), t.TempDir(), to.URL, false, store.Options{})
	wantReason(t, err, "NO_DATABASE")
}

// A move that fails in the middle leaves nothing behind, and the original as it was.
func TestMoveIsWholeOrNotAtAll(t *testing.T) {
	dir, to := t.TempDir(), storetest.Empty(t)
	closed(t, dir, func(st *store.Store) {
		if err := store.FillForTest(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		// What no column of PostgreSQL takes, in one of the last tables.
		if err := store.ExecForTest(t.Context(), st, `UPDATE webhooks SET version = 'x' WHERE id = (SELECT max(id) FROM webhooks)`); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := store.Move(t.Context(), dir, to.URL, false, store.Options{}); err == nil || !strings.Contains(err.Error(), "webhooks") {
		t.Fatalf("a move of what cannot be moved: %v", err)
	}
	closed(t, dir, func(st *store.Store) {
		if err := store.ExecForTest(t.Context(), st, `UPDATE webhooks SET version = 1`); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := store.Move(t.Context(), dir, to.URL, false, store.Options{}); err != nil {
		t.Fatalf("once more, when the cause is gone: %v", err)
	}
}

// What an installation of the past left is there after the way to now and to PostgreSQL, and so is its evidence: gateways go
// on by the same version of the rules, work goes on, and the audit log is proven by the key of before.
func TestMoveOfAnInstallation(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	dir, to := released(t), storetest.Empty(t)
	var rules link.RulesVersion
	rulesOf := func(st *store.Store) (v link.RulesVersion) {
		read(t, st, func(tx *store.Tx) (err error) {
			v, err = tx.RulesVersion()
			return err
		})
		return v
	}
	var kept []byte
	closed(t, dir, func(st *store.Store) {
		exported(t, st, key)
		read(t, st, func(tx *store.Tx) (err error) {
			_, kept, err = tx.LastCheckpoint()
			return err
		})
		rules = rulesOf(st)
	})
	if _, err := store.Move(t.Context(), dir, to.URL, false, store.Options{}); err != nil {
		t.Fatal(err)
	}
	st := open(t, to)
	if got := rulesOf(st); got != rules {
		t.Errorf("the rules are of version %+v, and were of %+v", got, rules)
	}
	r := checkExport(t, exported(t, st, key), audit.Options{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}, Checkpoints: [][]byte{kept}})
	if len(r.Faults) > 0 || r.Kept != 1 {
		t.Errorf("the audit log: %+v", r)
	}
	looked := make(chan string, 100)
	look := func(_ context.Context, w store.Work) store.Outcome {
		looked <- w.Kind
		return store.Outcome{}
	}
	due := workOnAll(t, st, look)
	if len(due) == 0 {
		t.Fatal("the installation has no work")
	}
	if err := store.ExecForTest(t.Context(), st, `UPDATE work SET next_look_at = 1 WHERE next_look_at > 0`); err != nil {
		t.Fatal(err)
	}
	<-looked
}

// workOnAll starts workers that do what kinds of work there are.
func workOnAll(t *testing.T, st *store.Store, look store.Handler) map[string]store.Handler {
	t.Helper()
	handlers := map[string]store.Handler{}
	for _, row := range dump(t, st)["work"] {
		_, rest, _ := strings.Cut(row, "|kind=")
		kind, _, _ := strings.Cut(rest, "|")
		handlers[kind] = look
	}
	w, err := st.Work(t.Context(), store.WorkOptions{Handlers: handlers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return handlers
}

// released is a directory with the database of an installation of before.
func released(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/released/00004.sql")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := store.ReleasedForTest(t.Context(), dir, string(text)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An installation of before comes to the schema of now with everything that it had, and to the same on each engine.
func TestSchemasThatWereReleased(t *testing.T) {
	dir, to := released(t), storetest.Empty(t)
	if err := store.ReleasedOnPostgresForTest(t.Context(), to.URL, dir, 4); err != nil {
		t.Fatal(err)
	}
	lite, pg := open(t, storetest.Database{Dir: dir}), open(t, to)
	for _, st := range []*store.Store{lite, pg} {
		read(t, st, func(tx *store.Tx) error {
			clusters, _, err := tx.Clusters(store.Cut{Limit: 10})
			if err != nil || len(clusters) != 1 || clusters[0].Name != "acme" || clusters[0].PublicAccess != link.PublicDisabled || len(clusters[0].Backends) == 0 {
				t.Fatalf("clusters %+v, %v", clusters, err)
			}
			id := clusters[0].ID
			owners, err := tx.TrustedOwners(id)
			if err != nil || len(owners) == 0 || owners[0].ExternalOwnerID != "222222222222" {
				t.Errorf("trusted owners %+v, %v", owners, err)
			}
			allowed, _, err := tx.AllowList(id, store.Cut{Limit: 10})
			if err != nil || !strings.Contains(allowed[len(allowed)-1].Prefix.String(), "203.0.113.0/24") {
				t.Errorf("allow list %+v, %v", allowed, err)
			}
			conns, err := tx.Connections(id)
			if err != nil || len(conns) != 1 || conns[0].State != link.Available {
				t.Errorf("connections %+v, %v", conns, err)
			}
			project, err := tx.Project(clusters[0].ProjectID)
			if err != nil || project.Name != "Acme" || project.OrganisationID != "" {
				t.Errorf("project %+v, %v", project, err)
			}
			return nil
		})
	}
	one, other := dump(t, lite), dump(t, pg)
	// Each begins an audit log of its own, with the same number of entries.
	if a, b := len(one["audit_entries"]), len(other["audit_entries"]); a != b || a < 4 {
		t.Errorf("the audit logs begin with %d and %d entries", a, b)
	}
	delete(one, "audit_entries")
	delete(other, "audit_entries")
	if diff := cmp.Diff(one, other); diff != "" {
		t.Errorf("the engines came to different ends (-sqlite +postgres):\n%s", diff)
	}
}
