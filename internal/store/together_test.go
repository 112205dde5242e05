package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

var someObject = link.ObjectRef{Kind: link.ObjectCluster, ID: "c"}

// processes opens a database as often as processes may share it: PostgreSQL twice.
func processes(t *testing.T, d storetest.Database) []*store.Store {
	t.Helper()
	out := []*store.Store{open(t, d)}
	if d.URL != "" {
		out = append(out, open(t, d))
	}
	return out
}

// Whoever follows the events by their seq gets every one, however many write at once: a seq that is read is never followed
// by a lower one that is committed later.
func TestEventsAreInTheOrderOfTheCommits(t *testing.T) {
	storetest.OnEach(t, testEventsAreInTheOrderOfTheCommits)
}

func testEventsAreInTheOrderOfTheCommits(t *testing.T, d storetest.Database) {
	const writers, each = 8, 20
	all := processes(t, d)
	var wrote sync.WaitGroup
	for w := range writers {
		st := all[w%len(all)]
		wrote.Go(func() {
			for n := range each {
				err := st.Write(t.Context(), func(tx *store.Tx) error {
					// Work before the last moment, so that transactions overlap.
					_, _, err := tx.AddProject("", fmt.Sprint(w, " ", n))
					return errors.Join(err, tx.AddEvent(link.Event{Object: someObject, Message: fmt.Sprint(w, " ", n)}), tx.RulesChanged(store.RulesOfCluster, "c"))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]bool{}
	st := all[len(all)-1]
	for after := int64(0); len(seen) < writers*each && !t.Failed(); {
		newest, err := st.WaitEvents(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		read(t, st, func(tx *store.Tx) error {
			es, _, err := tx.Events(someObject, store.Cut{After: after, Limit: writers * each})
			if len(es) == 0 || es[len(es)-1].ID < newest {
				t.Errorf("%d events after %d, though %d was told", len(es), after, newest)
			}
			for _, e := range es {
				if e.ID <= after || seen[e.Message] {
					t.Errorf("event %d %q after %d", e.ID, e.Message, after)
				}
				after, seen[e.Message] = e.ID, true
			}
			return err
		})
	}
	wrote.Wait()
	if v := version(t, st); v.Revision != 1+writers*each {
		t.Errorf("revision %d after %d changes, want one for each", v.Revision, writers*each)
	}
}

// What is read under a lock stays so until it is written.
func TestLockedReadsAndWritesLoseNothing(t *testing.T) {
	storetest.OnEach(t, testLockedReadsAndWritesLoseNothing)
}

func testLockedReadsAndWritesLoseNothing(t *testing.T, d storetest.Database) {
	const writers, each = 6, 10
	all := processes(t, d)
	var wrote sync.WaitGroup
	for w := range writers {
		st := all[w%len(all)]
		wrote.Go(func() {
			for range each {
				err := st.Write(t.Context(), func(tx *store.Tx) error {
					if err := tx.Lock("ports", ""); err != nil {
						return err
					}
					rules, err := tx.PortRules()
					if err != nil {
						return err
					}
					return tx.PutPortRules(append(rules, link.PortRule{Port: uint16(len(rules) + 1)}))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wrote.Wait()
	read(t, all[0], func(tx *store.Tx) error {
		rules, err := tx.PortRules()
		if len(rules) != writers*each {
			t.Errorf("%d rules, want %d", len(rules), writers*each)
		}
		return err
	})
}

// A row that another made after this transaction looked for it: it looks again.
func TestAWriteThatLostIsRunAgain(t *testing.T) {
	all := processes(t, storetest.Postgres(t))
	add := func(tx *store.Tx, id link.ID, project link.ID) error {
		_, err := tx.AddCluster(link.Cluster{ID: id, ProjectID: project, Name: "prod", Provider: link.AWS})
		return err
	}
	var project link.Project
	write(t, all[0], func(tx *store.Tx) (err error) {
		project, _, err = tx.AddProject("", "p")
		return err
	})
	var found []bool
	write(t, all[0], func(tx *store.Tx) error {
		_, err := tx.ClusterNamed("prod")
		found = append(found, err == nil)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		write(t, all[1], func(other *store.Tx) error { return add(other, "first", project.ID) })
		return add(tx, "second", project.ID)
	})
	if !slices.Equal(found, []bool{false, true}) {
		t.Errorf("found by each run: %v, want that a second one found it", found)
	}
}

// Two that wait for each other both get done.
func TestDeadlockIsResolved(t *testing.T) {
	all := processes(t, storetest.Postgres(t))
	var holding, wrote sync.WaitGroup
	holding.Add(2)
	for i, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		wrote.Go(func() {
			met := false
			err := all[i].Write(t.Context(), func(tx *store.Tx) error {
				if err := tx.Lock("thing", order[0]); err != nil {
					return err
				}
				if !met {
					met = true
					holding.Done()
					holding.Wait()
				}
				return tx.Lock("thing", order[1])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wrote.Wait()
}

// A change that one process commits is known to the others by itself, also after the connection broke that tells them.
func TestNewsReachOtherProcesses(t *testing.T) {
	all := processes(t, storetest.Postgres(t))
	here, there := all[0], all[1]
	store.HearOnlyForTest(there)
	change := func() {
		t.Helper()
		write(t, here, func(tx *store.Tx) error {
			return errors.Join(tx.RulesChanged(store.RulesOfCluster, "c"), tx.AddEvent(link.Event{Object: someObject}))
		})
	}
	for n := int64(1); n <= 4; n++ {
		if n%2 == 0 {
			for deadline := time.Now().Add(soon); ; {
				dropped, err := store.DropListenerForTest(t.Context(), here)
				if err != nil {
					t.Fatal(err)
				}
				if dropped > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("nobody listens")
				}
			}
		}
		change()
		if got, err := there.WaitRules(t.Context(), n); err != nil || got != n+1 {
			t.Fatalf("the rules after %d: %d, %v", n, got, err)
		}
		if got, err := there.WaitEvents(t.Context(), n-1); err != nil || got != n {
			t.Fatalf("the events after %d: %d, %v", n-1, got, err)
		}
	}
}

// Names that clients make up may hold what PostgreSQL does not take as text.
func TestTextThatIsNone(t *testing.T) { storetest.OnEach(t, testTextThatIsNone) }

func testTextThatIsNone(t *testing.T, d storetest.Database) {
	st := open(t, d)
	write(t, st, func(tx *store.Tx) error {
		return tx.PutFlow(link.Flow{ID: "f", GatewayID: "g", ClusterID: "c", Name: "a\x00b\xffc"})
	})
	read(t, st, func(tx *store.Tx) error {
		if _, err := tx.Cluster("no\x00such"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a cluster of an id that is no text: %v", err)
		}
		fs, _, err := tx.Flows("c", store.Cut{Limit: 1})
		if len(fs) != 1 || fs[0].Name != "a\uFFFDb\uFFFDc" {
			t.Errorf("flows %+v, want what is no text replaced", fs)
		}
		return err
	})
}
