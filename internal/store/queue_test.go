package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const soon = 60 * time.Second // far longer than anything here takes on a busy machine

func due(t *testing.T, st *store.Store, id string) {
	t.Helper()
	write(t, st, func(tx *store.Tx) error { return tx.MarkDue("thing", id) })
}

func work(t *testing.T, st *store.Store, o store.WorkOptions) *store.Workers {
	t.Helper()
	if o.Poll == 0 {
		o.Poll, o.Sweep = 10*time.Millisecond, 20*time.Millisecond
	}
	w, err := st.Work(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			if err := w.Close(); err != nil {
				t.Errorf("close workers: %v", err)
			}
		})
	})
	return w
}

func receive[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(soon):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

func TestWorkMarkedBeforeTheStartIsDone(t *testing.T) {
	storetest.OnEach(t, testWorkMarkedBeforeTheStartIsDone)
}

func testWorkMarkedBeforeTheStartIsDone(t *testing.T, d storetest.Database) {
	st := open(t, d)
	due(t, st, "a")
	due(t, st, "a") // one object, one job
	looks := make(chan store.Work, 10)
	w := work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(_ context.Context, w store.Work) store.Outcome { looks <- w; return store.Outcome{} },
	}})
	if got := receive(t, looks, "the look"); got != (store.Work{Kind: "thing", ID: "a"}) {
		t.Errorf("looked at %+v", got)
	}
	due(t, st, "b")
	if got := receive(t, looks, "the second look"); got.ID != "b" {
		t.Errorf("looked at %+v, want b alone: a was marked twice but is one object", got)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestMarkWhileWaitingMakesDueAtOnce(t *testing.T) {
	storetest.OnEach(t, testMarkWhileWaitingMakesDueAtOnce)
}

func testMarkWhileWaitingMakesDueAtOnce(t *testing.T, d storetest.Database) {
	st := open(t, d)
	looks := make(chan struct{}, 10)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(context.Context, store.Work) store.Outcome {
			looks <- struct{}{}
			return store.Outcome{Look: time.Hour}
		},
	}})
	due(t, st, "a")
	receive(t, looks, "the first look")
	due(t, st, "a")
	receive(t, looks, "the look that was an hour away")
}

// However many are marked together, each is looked at, though only the first have their jobs from whoever marks them.
func TestAllThatAreMarkedTogetherAreLookedAt(t *testing.T) {
	storetest.OnEach(t, testAllThatAreMarkedTogetherAreLookedAt)
}

func testAllThatAreMarkedTogetherAreLookedAt(t *testing.T, d storetest.Database) {
	st := open(t, d)
	looks := make(chan string, 1000)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		store.WorkEndpoint: func(_ context.Context, w store.Work) store.Outcome {
			looks <- w.ID
			return store.Outcome{Look: time.Hour}
		},
	}})
	var conns []link.Connection
	for i := range 40 {
		conns = append(conns, link.Connection{Provider: link.AWS, EndpointID: link.EndpointID(fmt.Sprintf("vpce-%d", i%30))}) // some twice
	}
	for round := range 2 { // of objects that nobody knew, and of those whose next look is an hour away
		write(t, st, func(tx *store.Tx) error { return tx.MarkEndpointsDue(conns) })
		seen := map[string]bool{}
		for len(seen) < 30 {
			seen[receive(t, looks, fmt.Sprintf("look %d of round %d", len(seen)+1, round+1))] = true
		}
	}
}

func TestMarkWhileRunningLooksAgain(t *testing.T) {
	storetest.OnEach(t, testMarkWhileRunningLooksAgain)
}

func testMarkWhileRunningLooksAgain(t *testing.T, d storetest.Database) {
	st := open(t, d)
	running, release := make(chan struct{}), make(chan struct{})
	var at, most atomic.Int32
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(_ context.Context, _ store.Work) store.Outcome {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			running <- struct{}{}
			<-release
			return store.Outcome{}
		},
	}})
	due(t, st, "a")
	receive(t, running, "the first look")
	due(t, st, "a")
	release <- struct{}{}
	receive(t, running, "the second look")
	release <- struct{}{}
	if most.Load() != 1 {
		t.Errorf("%d looks at one object at once", most.Load())
	}
}

func TestLooksComeBackAndCountFailures(t *testing.T) {
	storetest.OnEach(t, testLooksComeBackAndCountFailures)
}

func testLooksComeBackAndCountFailures(t *testing.T, d storetest.Database) {
	st := open(t, d)
	looks := make(chan int, 10)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(_ context.Context, w store.Work) store.Outcome {
			looks <- w.Failures
			if w.Failures == 2 {
				return store.Outcome{Look: time.Millisecond}
			}
			return store.Outcome{Look: time.Millisecond, Failed: true}
		},
	}})
	due(t, st, "a")
	for i, want := range []int{0, 1, 2, 0} {
		if got := receive(t, looks, "a look"); got != want {
			t.Errorf("look %d: %d failures before it, want %d", i, got, want)
		}
	}
}

func TestForgottenUnlessMarkedMeanwhile(t *testing.T) {
	storetest.OnEach(t, testForgottenUnlessMarkedMeanwhile)
}

func testForgottenUnlessMarkedMeanwhile(t *testing.T, d storetest.Database) {
	st := open(t, d)
	looks := make(chan struct{}, 10)
	var count atomic.Int32
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(context.Context, store.Work) store.Outcome {
			looks <- struct{}{}
			if count.Add(1) == 1 {
				due(t, st, "a")
			}
			return store.Outcome{Forget: true}
		},
	}})
	due(t, st, "a")
	receive(t, looks, "the first look")
	receive(t, looks, "the look that was asked for during the first")
}

func TestPanicInOneLookHarmsNoOther(t *testing.T) {
	storetest.OnEach(t, testPanicInOneLookHarmsNoOther)
}

func testPanicInOneLookHarmsNoOther(t *testing.T, d storetest.Database) {
	st := open(t, d)
	looks := make(chan string, 100)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(_ context.Context, w store.Work) store.Outcome {
			if w.ID == "bad" {
				panic("bad thing")
			}
			looks <- w.ID
			return store.Outcome{}
		},
	}})
	due(t, st, "bad")
	due(t, st, "good")
	if got := receive(t, looks, "the good look"); got != "good" {
		t.Errorf("looked at %s", got)
	}
}

// A process that was killed leaves its job in state running. The next one must take it up at once.
func TestWorkOfAKilledProcessGoesOn(t *testing.T) {
	d := storetest.Database{Dir: t.TempDir()}
	st, err := d.TryOpen(t.Context(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	due(t, st, "a")
	if err := store.SetJobsRunningForTest(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	again := open(t, d)
	looks := make(chan struct{}, 10)
	start := time.Now()
	work(t, again, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(context.Context, store.Work) store.Outcome { looks <- struct{}{}; return store.Outcome{} },
	}})
	receive(t, looks, "the look after the restart")
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("taken up after %v, want at once", d)
	}
}
