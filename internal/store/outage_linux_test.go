package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/servertest"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// server returns a PostgreSQL server that the test may do to what it likes.
func server(t *testing.T) *servertest.SharedPostgres {
	t.Helper()
	if _, err := os.Stat(servertest.PostgresPrograms + "postgres"); err != nil {
		t.Skip("needs postgres (Debian package postgresql-15)")
	}
	p, err := servertest.SharePostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// writer writes one project after the other until it is stopped, and keeps book of what it was told.
type writer struct {
	stored  atomic.Int64 // acknowledged
	refused atomic.Int64
	names   []string // acknowledged; valid after stop
	stop    func()
}

func newWriter(t *testing.T, st *store.Store) *writer {
	t.Helper()
	w := &writer{}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			name := fmt.Sprint("project ", n)
			err := st.Write(ctx, func(tx *store.Tx) error {
				_, _, err := tx.AddProject("", name)
				return errors.Join(err, tx.RulesChanged(store.RulesOfCluster, "c"))
			})
			switch {
			case err == nil:
				w.names = append(w.names, name)
				w.stored.Add(1)
			case ctx.Err() != nil:
			case errors.Is(err, store.ErrUnavailable) && link.KindOf(err) == link.Unavailable:
				w.refused.Add(1)
			default:
				t.Errorf("write while the server is away: %v", err)
			}
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(w.stop)
	return w
}

// grows waits until a count is beyond what it is now.
func grows(t *testing.T, n *atomic.Int64, what string) {
	t.Helper()
	await(t, what, func(before int64) func() bool { return func() bool { return n.Load() > before } }(n.Load()))
}

// await waits, with the patience that a server's recovery needs.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// The server crashes and comes back: whoever asks meanwhile is told so, nothing that was acknowledged is lost, and
// everything goes on by itself.
func TestDatabaseThatCrashesAndComesBack(t *testing.T) {
	srv := server(t)
	d := storetest.On(t, srv.URL("postgres"))
	st := open(t, d)
	other := open(t, d)
	store.HearOnlyForTest(other)
	looks := make(chan string, 100)
	work(t, st, store.WorkOptions{Handlers: map[string]store.Handler{
		"thing": func(_ context.Context, w store.Work) store.Outcome { looks <- w.ID; return store.Outcome{} },
	}})
	w := newWriter(t, st)
	grows(t, &w.stored, "a write that is acknowledged")

	srv.Crash()
	grows(t, &w.refused, "a write that is refused")
	await(t, "Ready to say that it is not", func() bool { return errors.Is(st.Ready(t.Context()), store.ErrUnavailable) })
	if err := st.Read(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read while the server is away: %v", err)
	}

	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	grows(t, &w.stored, "a write after the server came back")
	await(t, "Ready to say that it is", func() bool { return st.Ready(t.Context()) == nil })
	w.stop()
	read(t, st, func(tx *store.Tx) error {
		ps, _, err := tx.Projects(link.Reach{All: true}, store.Cut{Limit: len(w.names) + 1000})
		there := map[string]bool{}
		for _, p := range ps {
			there[p.Name] = true
		}
		for _, name := range w.names {
			if !there[name] {
				t.Errorf("%s was acknowledged and is lost", name)
			}
		}
		return err
	})
	due(t, st, "afterwards")
	await(t, "the look at what became due afterwards", func() bool { return len(looks) > 0 })
	last := version(t, st)
	changed(t, st, "d")
	if got, err := other.WaitRules(t.Context(), last.Revision); err != nil || got != last.Revision+1 {
		t.Errorf("news after the server came back: %d, %v; want %d", got, err, last.Revision+1)
	}
}

// The server hangs, which nothing but a deadline shows: Ready tells it, and afterwards everything goes on.
func TestDatabaseThatHangs(t *testing.T) {
	srv := server(t)
	st := open(t, storetest.On(t, srv.URL("postgres")))
	w := newWriter(t, st)
	grows(t, &w.stored, "a write that is acknowledged")
	if err := srv.Freeze(); err != nil {
		t.Fatal(err)
	}
	await(t, "Ready to say that it is not", func() bool { return st.Ready(t.Context()) != nil })
	if err := srv.Thaw(); err != nil {
		t.Fatal(err)
	}
	grows(t, &w.stored, "a write after the server went on")
	await(t, "Ready to say that it is", func() bool { return st.Ready(t.Context()) == nil })
}

// What is said of a database that cannot be opened does not hold the secret that opens it.
func TestURLOfADatabaseStaysSecret(t *testing.T) {
	for _, url := range []string{
		"postgres://u:hunter2@127.0.0.1:1/none", "postgres://u:hunter2@127.0.0.1:port/none", "postgres://u:hunter2@[::1/none", "host=127.0.0.1 port=1 password=hunter2 x",
		"hunter2",
	} {
		st, err := store.OpenPostgres(t.Context(), url, store.Options{})
		if err == nil {
			t.Fatal(errors.Join(errors.New("opened"), st.Close()))
		}
		if text := err.Error(); strings.Contains(text, "hunter2") {
			t.Errorf("%s: the error tells the password: %s", url, text)
		}
	}
}
