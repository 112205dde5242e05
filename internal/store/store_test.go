package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.Main{M: m}) }

// open opens a store on a database and closes it at the end of the test.
func open(t *testing.T, d storetest.Database) *store.Store {
	t.Helper()
	return d.Open(t, store.Options{})
}

func write(t *testing.T, st *store.Store, f func(*store.Tx) error) {
	t.Helper()
	if err := st.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, st *store.Store, f func(*store.Tx) error) {
	t.Helper()
	if err := st.Read(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func TestSecondOpenOfADirectoryFailsAtOnce(t *testing.T) {
	dir := t.TempDir()
	open(t, storetest.Database{Dir: dir})
	_, err := store.Open(t.Context(), dir, store.Options{})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("second Open = %v, want an error that says who holds the directory", err)
	}
}

func TestReopenKeepsEverythingAndItsName(t *testing.T) {
	storetest.OnEach(t, testReopenKeepsEverythingAndItsName)
}

func testReopenKeepsEverythingAndItsName(t *testing.T, d storetest.Database) {
	st, err := d.TryOpen(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id := st.InstallationID()
	write(t, st, func(tx *store.Tx) error { _, _, err := tx.AddProject("", "one"); return err })
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, d)
	if len(id) != 8 || again.InstallationID() != id {
		t.Errorf("installation id %q, after reopening %q: want the same eight digits", id, again.InstallationID())
	}
	read(t, again, func(tx *store.Tx) error {
		ps, _, err := tx.Projects(link.Reach{All: true}, store.Cut{Limit: 10})
		if err == nil && (len(ps) != 1 || ps[0].Name != "one") {
			t.Errorf("projects after reopening: %+v", ps)
		}
		return err
	})
}

func TestReadersCannotWrite(t *testing.T) { storetest.OnEach(t, testReadersCannotWrite) }

func testReadersCannotWrite(t *testing.T, d storetest.Database) {
	st := open(t, d)
	if err := st.Read(t.Context(), func(tx *store.Tx) error { _, _, err := tx.AddProject("", "x"); return err }); err == nil {
		t.Error("a read transaction wrote")
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) { storetest.OnEach(t, testFailedWriteLeavesNothing) }

func testFailedWriteLeavesNothing(t *testing.T, d storetest.Database) {
	st := open(t, d)
	boom := errors.New("boom")
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		if _, _, err := tx.AddProject("", "x"); err != nil {
			return err
		}
		if err := tx.RulesChanged(store.RulesOfCluster, "c"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("Write = %v, want the function's own error", err)
	}
	read(t, st, func(tx *store.Tx) error {
		ps, _, err := tx.Projects(link.Reach{All: true}, store.Cut{Limit: 10})
		rev, err2 := tx.RulesRevision()
		if len(ps) != 0 || rev != 1 {
			t.Errorf("after a failed write: %d projects, revision %d", len(ps), rev)
		}
		return errors.Join(err, err2)
	})
}

func TestCutsListEverythingOnce(t *testing.T) { storetest.OnEach(t, testCutsListEverythingOnce) }

func testCutsListEverythingOnce(t *testing.T, d storetest.Database) {
	st := open(t, d)
	ref := link.ObjectRef{Kind: link.ObjectCluster, ID: "c"}
	write(t, st, func(tx *store.Tx) error {
		for _, typ := range []string{"A", "B", "C", "D", "E"} {
			if err := tx.AddEvent(link.Event{Object: ref, Type: typ}); err != nil {
				return err
			}
		}
		return tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectCluster, ID: "other"}, Type: "X"})
	})
	for _, c := range []struct {
		descending bool
		want       string
	}{{false, "AB CD E"}, {true, "ED CB A"}} {
		var parts []string
		cut := store.Cut{Limit: 2, Descending: c.descending}
		read(t, st, func(tx *store.Tx) error {
			for {
				es, next, err := tx.Events(ref, cut)
				if err != nil {
					return err
				}
				part := ""
				for _, e := range es {
					part += e.Type
				}
				parts = append(parts, part)
				if next == 0 {
					return nil
				}
				cut.After = next
			}
		})
		if got := strings.Join(parts, " "); got != c.want {
			t.Errorf("descending %t: parts %q, want %q", c.descending, got, c.want)
		}
	}
}

func TestSwapLosesAgainstAnEarlierSwap(t *testing.T) {
	storetest.OnEach(t, testSwapLosesAgainstAnEarlierSwap)
}

func testSwapLosesAgainstAnEarlierSwap(t *testing.T, d storetest.Database) {
	st := open(t, d)
	write(t, st, func(tx *store.Tx) error {
		s, made, err := tx.AddService(link.AWS, "us-east-1")
		if err != nil || !made || s.State != link.ServiceCreating {
			t.Fatalf("AddService = %+v, %t, %v", s, made, err)
		}
		if _, made, err = tx.AddService(link.AWS, "us-east-1"); made {
			t.Error("a second service of one region was made")
		}
		if err != nil {
			return err
		}
		if err := tx.SwapService(s); err != nil {
			return err
		}
		if err := tx.SwapService(s); !errors.Is(err, store.ErrChanged) {
			t.Errorf("second swap of one version = %v, want ErrChanged", err)
		}
		return nil
	})
}

func TestReportsAreStoredOnce(t *testing.T) { storetest.OnEach(t, testReportsAreStoredOnce) }

func testReportsAreStoredOnce(t *testing.T, d storetest.Database) {
	st := open(t, d)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	flow := link.Flow{ID: "f1", GatewayID: "g", ClusterID: "c", Listener: link.PrivateListener, Port: 443, StartedAt: at}
	ended := flow
	ended.EndedAt, ended.BytesIn, ended.Backend = at.Add(time.Second), 7, "10.0.0.1:443"
	refused := link.RefusedAttempt{ClusterID: "c", Listener: link.PrivateListener, Reason: "R", Count: 2, FirstAt: at, LastAt: at}
	write(t, st, func(tx *store.Tx) error {
		for _, batch := range []string{"b1", "b2", "b1"} {
			fresh, err := tx.AddBatch("g", batch)
			if err != nil || !fresh {
				if batch != "b1" {
					t.Errorf("batch %s: fresh %t, %v", batch, fresh, err)
				}
				continue
			}
			if err := tx.CountRefused(refused); err != nil {
				return err
			}
		}
		// The record of the end overtakes the record of the start.
		return errors.Join(tx.PutFlow(ended), tx.PutFlow(flow))
	})
	read(t, st, func(tx *store.Tx) error {
		rs, _, err := tx.RefusedAttempts("c", store.Cut{Limit: 10})
		if err != nil || len(rs) != 1 || rs[0].Count != 4 || !rs[0].FirstAt.Equal(at) {
			t.Errorf("refused attempts: %+v, %v; want one of count 4", rs, err)
		}
		fs, _, err := tx.Flows("c", store.Cut{Limit: 10})
		if err != nil || len(fs) != 1 || fs[0] != ended {
			t.Errorf("flows: %+v, %v; want the ended one", fs, err)
		}
		return nil
	})
}

// Names that lead nowhere are free for anybody to make up: a flood of them must not wash away what clusters have to see.
func TestAFloodOfUnknownNamesKeepsTheClustersAttempts(t *testing.T) {
	storetest.OnEach(t, testAFloodOfUnknownNamesKeepsTheClustersAttempts)
}

func testAFloodOfUnknownNamesKeepsTheClustersAttempts(t *testing.T, d storetest.Database) {
	st := open(t, d)
	write(t, st, func(tx *store.Tx) error {
		for i := range 3 {
			if err := tx.CountRefused(link.RefusedAttempt{ClusterID: "c", Name: fmt.Sprint(i), Reason: "R", Count: 1}); err != nil {
				return err
			}
		}
		for i := range 100 {
			if err := tx.CountRefused(link.RefusedAttempt{Name: fmt.Sprint(i), Reason: "UNKNOWN_NAME", Count: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	if err := store.TrimForTest(t.Context(), st, 2); err != nil {
		t.Fatal(err)
	}
	for cluster, want := range map[link.ID]string{"c": "1 2", "": "98 99"} {
		read(t, st, func(tx *store.Tx) error {
			rs, _, err := tx.RefusedAttempts(cluster, store.Cut{Limit: 200})
			var names []string
			for _, r := range rs {
				names = append(names, r.Name)
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("of cluster %q there is left %q, want the newest two, %q", cluster, got, want)
			}
			return err
		})
	}
}

func TestReady(t *testing.T) { storetest.OnEach(t, testReady) }

func testReady(t *testing.T, d storetest.Database) {
	st := open(t, d)
	if err := st.Ready(t.Context()); err != nil {
		t.Errorf("an open store: %v", err)
	}
	left, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.Ready(left); err != nil {
		t.Errorf("to a caller who has left, which says nothing of the store: %v", err)
	}
	full := open(t, d.Another(t))
	if err := store.ForbidWritesForTest(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if err := full.Ready(t.Context()); err == nil {
		t.Error("a store that cannot write is ready")
	}
	closed, err := d.Another(t).TryOpen(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := closed.Ready(t.Context()); err == nil {
		t.Error("a closed store is ready")
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, storetest.Database{Dir: dir})
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}
