package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// openAt opens a store by a clock that the test sets.
func openAt(t *testing.T, d storetest.Database, clock *atomic.Pointer[time.Time]) *store.Store {
	t.Helper()
	return d.Open(t, store.Options{Now: func() time.Time { return *clock.Load() }})
}

// A clock that was wrong by hours and is put right must not make what is observed from then on look older than what was
// observed before.
func TestClockSetBackHidesNothing(t *testing.T) { storetest.OnEach(t, testClockSetBackHidesNothing) }

func testClockSetBackHidesNothing(t *testing.T, d storetest.Database) {
	wrong := time.Now().Add(6 * time.Hour)
	right := wrong.Add(-6 * time.Hour)
	var clock atomic.Pointer[time.Time]
	clock.Store(&wrong)
	st := openAt(t, d, &clock)
	e := link.Endpoint{Provider: link.AWS, ID: "vpce-0a1b2c3d", OwnerID: "1", State: link.PendingAcceptance, SeenAt: wrong}
	health := link.BackendHealth{ClusterID: link.NewID(), Backend: "b:1", Healthy: true, At: wrong}
	write(t, st, func(tx *store.Tx) error {
		if _, err := tx.PutEndpoint(e); err != nil {
			return err
		}
		return tx.PutBackendHealth("g", health)
	})

	clock.Store(&right)
	e.State, e.SeenAt = link.Available, right
	health.Healthy, health.At = false, right
	write(t, st, func(tx *store.Tx) error {
		news, err := tx.PutEndpoint(e)
		if err != nil {
			return err
		}
		if !news {
			t.Error("what the cloud shows now was taken for older than what it showed before")
		}
		if err := tx.PutGateway("g", make([]byte, 32)); err != nil {
			return err
		}
		return tx.PutBackendHealth("g", health)
	})
	read(t, st, func(tx *store.Tx) error {
		all, err := tx.BackendHealth(health.ClusterID, time.Time{})
		if err == nil && (len(all) != 1 || all[0].Healthy) {
			t.Errorf("health of the backend: %+v, want the newest report, which is of a sick one", all)
		}
		return err
	})

	e.State, e.SeenAt = link.PendingAcceptance, right.Add(-time.Second)
	write(t, st, func(tx *store.Tx) error {
		news, err := tx.PutEndpoint(e)
		if news {
			t.Error("an older observation took the place of a newer one")
		}
		return err
	})
}

func TestClockSetBackPutsNoLookOff(t *testing.T) { storetest.OnEach(t, testClockSetBackPutsNoLookOff) }

func testClockSetBackPutsNoLookOff(t *testing.T, d storetest.Database) {
	wrong := time.Now()
	right := wrong.Add(-6 * time.Hour)
	var clock atomic.Pointer[time.Time]
	clock.Store(&wrong)
	st := openAt(t, d, &clock)
	looks := make(chan struct{}, 10)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(context.Context, store.Work) store.Outcome {
			looks <- struct{}{}
			return store.Outcome{Look: 30 * time.Second}
		},
	}})
	due(t, st, "a")
	receive(t, looks, "the first look")
	for deadline := time.After(soon); ; {
		if n, err := store.LooksAheadForTest(t.Context(), st); err != nil {
			t.Fatal(err)
		} else if n == 1 {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the second look is not written down")
		case <-time.After(5 * time.Millisecond):
		}
	}
	clock.Store(&right)
	receive(t, looks, "the look that by the clock is six hours away")
}
