package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func changed(t *testing.T, st *store.Store, ids ...link.ID) {
	t.Helper()
	write(t, st, func(tx *store.Tx) error {
		for _, id := range ids {
			if err := tx.RulesChanged(store.RulesOfCluster, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func version(t *testing.T, st *store.Store) (v link.RulesVersion) {
	t.Helper()
	read(t, st, func(tx *store.Tx) (err error) {
		v, err = tx.RulesVersion()
		return err
	})
	return v
}

// since is what leads from a version to the current one: the clusters that are named, all of which are gone here.
func since(t *testing.T, st *store.Store, from link.RulesVersion) (named []link.ID, known bool) {
	t.Helper()
	read(t, st, func(tx *store.Tx) error {
		delta, to, ok, err := tx.RulesSince(from)
		if ok && (delta.From != from.Revision || delta.Revision != to.Revision) {
			t.Errorf("from %d to %d the delta says %d to %d", from.Revision, to.Revision, delta.From, delta.Revision)
		}
		known = ok
		named = slices.Sorted(slices.Values(delta.RemovedClusters))
		return err
	})
	return named, known
}

func TestWaitRulesWakesOnCommit(t *testing.T) { storetest.OnEach(t, testWaitRulesWakesOnCommit) }

func testWaitRulesWakesOnCommit(t *testing.T, d storetest.Database) {
	st := open(t, d)
	first, err := st.WaitRules(t.Context(), 0)
	if err != nil || first != 1 {
		t.Fatalf("first revision: %d, %v", first, err)
	}
	got := make(chan int64, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		r, err := st.WaitRules(t.Context(), first)
		if err != nil {
			t.Error(err)
		}
		got <- r
	})
	changed(t, st, "a", "b", "a")
	start := time.Now()
	r := <-got
	wg.Wait()
	if r != 2 {
		t.Errorf("revision %d, want 2: all changes of a transaction make one revision", r)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("woke after %v: by the poll, not by the commit", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.WaitRules(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitRules under a cancelled context = %v", err)
	}
}

func TestRulesSinceNamesWhatChanged(t *testing.T) {
	storetest.OnEach(t, testRulesSinceNamesWhatChanged)
}

func testRulesSinceNamesWhatChanged(t *testing.T, d storetest.Database) {
	st := open(t, d)
	v1 := version(t, st)
	changed(t, st, "a")
	v2 := version(t, st)
	changed(t, st, "b")
	changed(t, st, "a", "c")
	v4 := version(t, st)
	for _, tt := range []struct {
		name  string
		from  link.RulesVersion
		known bool
		want  []link.ID
	}{
		{"from the beginning", v1, true, []link.ID{"a", "b", "c"}},
		{"from between", v2, true, []link.ID{"a", "b", "c"}},
		{"from the newest", v4, true, nil},
		{"from nothing", link.RulesVersion{}, false, nil},
		{"from a revision of another history", link.RulesVersion{Revision: v2.Revision, Tag: v4.Tag}, false, nil},
		{"from a revision that is not there yet", link.RulesVersion{Revision: v4.Revision + 1, Tag: v4.Tag}, false, nil},
		{"from a gateway that knows no tags", link.RulesVersion{Revision: v2.Revision}, false, nil},
	} {
		if named, known := since(t, st, tt.from); known != tt.known || !slices.Equal(named, tt.want) {
			t.Errorf("%s: %v, known %t; want %v, %t", tt.name, named, known, tt.want, tt.known)
		}
	}
}

// A database that was restored from a backup goes through the same numbers again, with other rules.
func TestARestoredDatabaseHasAnotherHistory(t *testing.T) {
	storetest.OnEach(t, testARestoredDatabaseHasAnotherHistory)
}

func testARestoredDatabaseHasAnotherHistory(t *testing.T, d storetest.Database) {
	left, right := open(t, d), open(t, d.Another(t))
	changed(t, left, "a")
	changed(t, right, "b")
	l, r := version(t, left), version(t, right)
	if l.Revision != r.Revision || l.Tag == r.Tag || l.Tag == "" {
		t.Fatalf("two databases: %+v and %+v", l, r)
	}
	changed(t, right, "b")
	if named, known := since(t, right, l); known {
		t.Errorf("a gateway of the one is told by the other that %v changed", named)
	}
}

func TestOldChangesAreForgotten(t *testing.T) { storetest.OnEach(t, testOldChangesAreForgotten) }

func testOldChangesAreForgotten(t *testing.T, d storetest.Database) {
	st := open(t, d)
	first := version(t, st)
	changed(t, st, "old")
	second := version(t, st)
	store.KeepRevisionsForTest(st, 3)
	for range 3 {
		changed(t, st, "new")
	}
	if named, known := since(t, st, first); known {
		t.Errorf("from the first: %v", named)
	}
	if named, known := since(t, st, second); !known || !slices.Equal(named, []link.ID{"new"}) {
		t.Errorf("from the oldest that is kept: %v, known %t", named, known)
	}
	read(t, st, func(tx *store.Tx) error {
		n, err := store.RulesChangesForTest(tx)
		if n != 1 {
			t.Errorf("%d changes are kept, want that of new alone", n)
		}
		return err
	})
}
