package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// Of two processes one looks at an object; the other gets it when the first one's lease is over. What the first one then
// writes for its look is refused, whatever it is, and it is told before it acts elsewhere. Were the write not fenced by its
// look, what the two do would be done twice.
func TestLookOfAProcessThatStoodStillIsTakenOver(t *testing.T) {
	t.Run("fenced", func(t *testing.T) { testLookIsTakenOver(t, true) })
	t.Run("not fenced", func(t *testing.T) { testLookIsTakenOver(t, false) })
}

func testLookIsTakenOver(t *testing.T, fenced bool) {
	d := storetest.Postgres(t)
	first, second := open(t, d), open(t, d)
	began, resume, ended := make(chan string, 10), make(chan struct{}), make(chan struct{})
	var lost atomic.Int32
	frozen := work(t, first, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(ctx context.Context, _ store.Work) store.Outcome {
			began <- "first"
			<-resume
			// A write is refused by the database, whatever this process believes; with a context that goes on, too.
			by := context.WithoutCancel(t.Context())
			if fenced {
				by = store.OnBehalf(by, ctx)
			}
			err := first.Write(by, func(tx *store.Tx) error {
				_, _, err := tx.AddProject("", "by the first")
				return err
			})
			if errors.Is(err, store.ErrChanged) != fenced {
				t.Errorf("a write of a look that was taken over: %v", err)
			}
			<-ctx.Done() // by its own clock its lease ends a little later
			if err := store.Held(ctx); errors.Is(err, store.ErrChanged) {
				lost.Add(1)
			} else {
				t.Errorf("a look that was taken over is held: %v", err)
			}
			close(ended)
			return store.Outcome{}
		},
	}})
	due(t, first, "a")
	if got := receive(t, began, "the first look"); got != "first" {
		t.Fatal(got)
	}
	work(t, second, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(ctx context.Context, _ store.Work) store.Outcome {
			if err := store.Held(ctx); err != nil {
				t.Errorf("a look of a process alive: %v", err)
			}
			err := second.Write(ctx, func(tx *store.Tx) error {
				_, _, err := tx.AddProject("", "by the second")
				return err
			})
			if err != nil {
				t.Errorf("a write of a look of a process alive: %v", err)
			}
			began <- "second"
			return store.Outcome{}
		},
	}})
	if err := store.FreezeForTest(t.Context(), frozen); err != nil {
		t.Fatal(err)
	}
	await(t, "the second process to take over", func() bool { return len(began) > 0 })
	close(resume)
	receive(t, ended, "the end of the first look")
	if lost.Load() != 1 {
		t.Errorf("%d looks lost", lost.Load())
	}
	read(t, second, func(tx *store.Tx) error {
		n, err := store.ProjectsForTest(tx)
		want := 1 // the second's
		if !fenced {
			want = 2
		}
		if n != want {
			t.Errorf("%d projects, want %d", n, want)
		}
		return err
	})
}

// While a process is alive nobody takes over what it looks at, however long that lasts.
func TestLongLookIsNotTakenOver(t *testing.T) {
	d := storetest.Postgres(t)
	first, second := open(t, d), open(t, d)
	var at, most atomic.Int32
	began, release := make(chan struct{}, 100), make(chan struct{})
	handler := map[string]store.Handler{"thing": func(context.Context, store.Work) store.Outcome {
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		began <- struct{}{}
		<-release
		return store.Outcome{}
	}}
	work(t, first, store.WorkOptions{Handlers: handler})
	work(t, second, store.WorkOptions{Handlers: handler})
	due(t, first, "a")
	receive(t, began, "the look")
	for range 5 {
		due(t, second, "a") // somebody wants it again, and its job is loosened as an outage may do
		if err := store.LoosenJobsForTest(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		await(t, "the job to be fetched and put off", func() bool {
			put, err := store.PutOffForTest(t.Context(), second)
			return err == nil && put
		})
	}
	close(release)
	receive(t, began, "the look that was asked for meanwhile")
	if most.Load() != 1 {
		t.Errorf("%d looks at one object at once", most.Load())
	}
}

// A job that an outage left under way, at a process that goes on, is free again without River's rescue.
func TestJobThatWasNotEndedIsFreed(t *testing.T) {
	st := open(t, storetest.Postgres(t))
	looks := make(chan struct{}, 10)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(context.Context, store.Work) store.Outcome { looks <- struct{}{}; return store.Outcome{} },
	}})
	due(t, st, "a")
	receive(t, looks, "the look")
	await(t, "the end of the job", func() bool {
		ended, err := store.LoseEndForTest(t.Context(), st)
		return err == nil && ended
	})
	await(t, "the look that was due", func() bool { return len(looks) > 0 })
}
