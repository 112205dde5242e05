package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// person makes somebody to sign in as.
func person(t *testing.T, st *store.Store, email string) (p link.Principal) {
	t.Helper()
	write(t, st, func(tx *store.Tx) (err error) {
		p, _, err = tx.AddPrincipal(link.Principal{Kind: link.Person, Name: email, Email: email})
		return err
	})
	return p
}

func TestSessionsEnd(t *testing.T) { storetest.OnEach(t, testSessionsEnd) }

func testSessionsEnd(t *testing.T, d storetest.Database) {
	const idle, life = 12 * time.Hour, 7 * 24 * time.Hour
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	var clock atomic.Pointer[time.Time]
	clock.Store(&now)
	st := openAt(t, d, &clock)
	p := person(t, st, "jane@example.com")
	begin := now
	for _, hash := range []string{"used", "idle"} {
		write(t, st, func(tx *store.Tx) error {
			s, err := tx.AddSession(link.Session{ID: link.NewID(), PrincipalID: p.ID, Method: link.ByPassword, ExpiresAt: begin.Add(life)}, hash, idle)
			if err == nil && (!s.CreatedAt.Equal(now) || !s.LastUsedAt.Equal(now)) {
				t.Errorf("a session that begins now: %+v", s)
			}
			return err
		})
	}
	lasts := func(hash string) (s link.Session, ok bool) {
		t.Helper()
		read(t, st, func(tx *store.Tx) (err error) {
			s, err = tx.SessionOf(hash, idle)
			if ok = err == nil; errors.Is(err, store.ErrNotFound) {
				err = nil
			}
			return err
		})
		return s, ok
	}
	// One is used every eleven hours, the other never.
	for step := time.Duration(0); step < life; step += 11 * time.Hour {
		at := begin.Add(step)
		clock.Store(&at)
		s, ok := lasts("used")
		if !ok {
			t.Fatalf("after %s a session in use is over", step)
		}
		write(t, st, func(tx *store.Tx) error { return tx.UsedSession(s.ID, time.Minute) })
		if _, ok := lasts("idle"); ok != (step < idle) {
			t.Fatalf("after %s without use a session lasts: %t", step, ok)
		}
	}
	end := begin.Add(life)
	clock.Store(&end)
	if _, ok := lasts("used"); ok {
		t.Error("a session outlives its life")
	}
	// What is over goes when another begins.
	write(t, st, func(tx *store.Tx) error {
		_, err := tx.AddSession(link.Session{ID: link.NewID(), PrincipalID: p.ID, ExpiresAt: end.Add(life)}, "new", idle)
		if err != nil {
			return err
		}
		if n, err := tx.EndSessions(p.ID); err != nil || n != 1 {
			t.Errorf("%d sessions were kept, %v", n, err)
		}
		return nil
	})
}

func TestSessionsAreFew(t *testing.T) { storetest.OnEach(t, testSessionsAreFew) }

func testSessionsAreFew(t *testing.T, d storetest.Database) {
	st := open(t, d)
	p, other := person(t, st, "jane@example.com"), person(t, st, "john@example.com")
	write(t, st, func(tx *store.Tx) error {
		for i := range 5 {
			for _, of := range []link.Principal{p, other} {
				_, err := tx.AddSession(link.Session{ID: link.NewID(), PrincipalID: of.ID, ExpiresAt: tx.Now().Add(time.Hour)}, of.Email+string(rune('a'+i)), time.Hour)
				if err != nil {
					return err
				}
			}
		}
		return tx.TrimSessions(p.ID, 2)
	})
	read(t, st, func(tx *store.Tx) error {
		for of, want := range map[link.ID]int{p.ID: 2, other.ID: 5} {
			l, err := tx.Sessions(of, time.Hour)
			if err != nil || len(l) != want {
				t.Errorf("%d sessions are left of %d, %v", len(l), want, err)
			}
		}
		_, err := tx.SessionOf("jane@example.come", time.Hour)
		return err // the newest stays
	})
}

func TestAPIKeysInForce(t *testing.T) { storetest.OnEach(t, testAPIKeysInForce) }

func testAPIKeysInForce(t *testing.T, d storetest.Database) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	var clock atomic.Pointer[time.Time]
	clock.Store(&now)
	st := openAt(t, d, &clock)
	p := person(t, st, "jane@example.com")
	keys := map[string]link.APIKey{
		"short":  {Name: "short", Ceiling: link.RoleViewer, Scope: link.Scope{Kind: link.ScopeCluster, ID: "c"}, CreatedBy: "jane", ExpiresAt: now.Add(time.Hour)},
		"long":   {Name: "long", ExpiresAt: now.Add(24 * time.Hour)},
		"always": {Name: "always"},
	}
	write(t, st, func(tx *store.Tx) error {
		for hash, k := range keys {
			k.ID, k.PrincipalID, k.CreatedAt = link.NewID(), p.ID, now
			got, err := tx.AddAPIKey(k, hash)
			if err != nil || got != k {
				t.Errorf("stored %+v for %+v, %v", got, k, err)
			}
			keys[hash] = k
		}
		return nil
	})
	inForce := func(at time.Time, want int) {
		t.Helper()
		clock.Store(&at)
		read(t, st, func(tx *store.Tx) error {
			n, err := tx.APIKeysInForce(p.ID)
			all, _, lerr := tx.APIKeys(p.ID, store.Cut{Limit: 10})
			good := 0
			for _, k := range all {
				if k.InForce(at) {
					good++
				}
			}
			if n != want || good != want {
				t.Errorf("at %s %d keys are in force, by the list %d; want %d", at, n, good, want)
			}
			return errors.Join(err, lerr)
		})
	}
	inForce(now, 3)
	inForce(now.Add(time.Hour), 2)
	inForce(now.Add(48*time.Hour), 1)
	write(t, st, func(tx *store.Tx) error {
		k := keys["always"]
		if _, err := tx.APIKeyOf(k.ID, "long"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a key by another's secret: %v", err)
		}
		got, err := tx.RevokeAPIKey(k.ID)
		if err != nil || got.RevokedAt.IsZero() {
			t.Errorf("revoked: %+v, %v", got, err)
		}
		if _, err := tx.RevokeAPIKey(k.ID); !errors.Is(err, store.ErrChanged) {
			t.Errorf("revoked again: %v", err)
		}
		return nil
	})
	inForce(now, 2)
	later := now.Add(48 * time.Hour)
	clock.Store(&later)
	write(t, st, func(tx *store.Tx) error { return tx.TrimAPIKeys(p.ID, 1) })
	read(t, st, func(tx *store.Tx) error {
		all, _, err := tx.APIKeys(p.ID, store.Cut{Limit: 10})
		if len(all) != 1 {
			t.Errorf("%d keys that are over are kept", len(all))
		}
		return err
	})
}

// The use of a key is written down, and for a minute not again.
func TestUseOfAKey(t *testing.T) { storetest.OnEach(t, testUseOfAKey) }

func testUseOfAKey(t *testing.T, d storetest.Database) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	var clock atomic.Pointer[time.Time]
	clock.Store(&now)
	st := openAt(t, d, &clock)
	p := person(t, st, "jane@example.com")
	k := link.APIKey{ID: link.NewID(), PrincipalID: p.ID, Name: "k"}
	write(t, st, func(tx *store.Tx) error {
		_, err := tx.AddAPIKey(k, "hash")
		return err
	})
	for _, c := range []struct{ at, want time.Duration }{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}, {90 * time.Second, time.Minute}} {
		at := now.Add(c.at)
		clock.Store(&at)
		write(t, st, func(tx *store.Tx) error { return tx.UsedAPIKey(k.ID, time.Minute) })
		read(t, st, func(tx *store.Tx) error {
			got, err := tx.APIKey(k.ID)
			if !got.LastUsedAt.Equal(now.Add(c.want)) {
				t.Errorf("used after %s: last used at %s", c.at, got.LastUsedAt)
			}
			return err
		})
	}
}

// What is good once is taken once, by however many at the same time.
func TestTakenOnce(t *testing.T) { storetest.OnEach(t, testTakenOnce) }

func testTakenOnce(t *testing.T, d storetest.Database) {
	st := open(t, d)
	p := person(t, st, "jane@example.com")
	write(t, st, func(tx *store.Tx) error {
		soon := tx.Now().Add(time.Hour)
		return errors.Join(
			tx.PutPasswordReset(p.ID, "first", soon), tx.PutPasswordReset(p.ID, "reset", soon),
			tx.AddSignInCode("code", p.ID, "challenge", soon), tx.AddSignInCode("late", p.ID, "challenge", tx.Now()),
		)
	})
	for what, take := range map[string]func(*store.Tx) error{
		"reset": func(tx *store.Tx) error { _, err := tx.TakePasswordReset("reset"); return err },
		"code":  func(tx *store.Tx) error { _, _, err := tx.TakeSignInCode("code"); return err },
		"state": func(tx *store.Tx) error { return tx.UseState("state", tx.Now().Add(time.Hour)) },
		"bind":  func(tx *store.Tx) error { return tx.BindSubject("issuer", "subject", p.ID) },
	} {
		var taken atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				switch err := st.Write(t.Context(), take); {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrChanged):
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 {
			t.Errorf("%s was taken %d times", what, taken.Load())
		}
	}
	for what, take := range map[string]func(*store.Tx) error{
		"a reset that was replaced": func(tx *store.Tx) error { _, err := tx.TakePasswordReset("first"); return err },
		"a code that has expired":   func(tx *store.Tx) error { _, _, err := tx.TakeSignInCode("late"); return err },
	} {
		if err := st.Write(t.Context(), take); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// All processes seal with one key; who signs in is forgotten as a whole.
func TestSealKeyAndForgetting(t *testing.T) { storetest.OnEach(t, testSealKeyAndForgetting) }

func testSealKeyAndForgetting(t *testing.T, d storetest.Database) {
	st := open(t, d)
	write(t, st, func(tx *store.Tx) error {
		first, err := tx.SealKey([]byte("one"))
		second, err2 := tx.SealKey([]byte("two"))
		if string(first) != "one" || string(second) != "one" {
			t.Errorf("seal keys %q and %q", first, second)
		}
		return errors.Join(err, err2)
	})
	p := person(t, st, "jane@example.com")
	write(t, st, func(tx *store.Tx) error {
		return errors.Join(tx.PutPassword(p.ID, "a"), tx.BindSubject("i", "s", p.ID), tx.RehashPassword(p.ID, "other", "b"))
	})
	write(t, st, func(tx *store.Tx) error {
		kept, err := tx.PasswordOf(p.ID)
		n, err2 := tx.Subjects(p.ID)
		if kept != "a" || n != 1 {
			t.Errorf("password %q, %d subjects", kept, n)
		}
		return errors.Join(err, err2, tx.RehashPassword(p.ID, "a", "c"))
	})
	write(t, st, func(tx *store.Tx) error {
		if kept, err := tx.PasswordOf(p.ID); kept != "c" {
			t.Errorf("rehashed to %q, %v", kept, err)
		}
		return tx.ForgetSignIn(p.ID)
	})
	write(t, st, func(tx *store.Tx) error {
		kept, err := tx.PasswordOf(p.ID)
		_, err2 := tx.PrincipalOf("i", "s")
		if kept != "" || !errors.Is(err2, store.ErrNotFound) {
			t.Errorf("forgotten, and yet password %q, subject %v", kept, err2)
		}
		return errors.Join(err, tx.RemovePrincipal(p.ID)) // with all its keys and sessions
	})
}
