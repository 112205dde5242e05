package identity

import (
	"fmt"
	"testing"
	"time"
)

func TestDelaysDouble(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	th := NewAccountThrottle()
	for i := range 5 {
		if wait := th.Try("a", now); wait != 0 {
			t.Fatalf("free try %d waits %s", i+1, wait)
		}
	}
	for _, seconds := range []int{0, 1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want := time.Duration(seconds) * time.Second
		if want > 0 {
			if wait := th.Try("a", now); wait != want {
				t.Fatalf("a try at once waits %s, want %s", wait, want)
			}
			if wait := th.Try("a", now.Add(want-1)); wait != 1 {
				t.Fatalf("a try just before %s waits %s", want, wait)
			}
		}
		now = now.Add(want)
		if wait := th.Try("a", now); wait != 0 {
			t.Fatalf("a try after %s still waits %s", want, wait)
		}
	}
	if wait := th.Try("b", now); wait != 0 {
		t.Errorf("another key waits %s", wait)
	}
	if wait := th.Try("a", now.Add(-24*time.Hour)); wait != time.Minute {
		t.Errorf("with the clock set back by a day a try waits %s", wait)
	}
	th.Succeeded("a")
	if wait := th.Try("a", now); wait != 0 {
		t.Errorf("after a success a try waits %s", wait)
	}
}

func TestOldFailuresAreForgotten(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	th := NewAccountThrottle()
	for range 20 {
		now = now.Add(th.Try("a", now))
	}
	now = now.Add(forgetAfter + time.Second)
	for i := range 5 {
		if wait := th.Try("a", now); wait != 0 {
			t.Errorf("try %d, long after, waits %s", i+1, wait)
		}
	}
}

func TestThrottleIsBounded(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	th := NewSourceThrottle()
	th.most = 100
	for i := range 1000 {
		if wait := th.Try(fmt.Sprint(i), now); wait != 0 {
			t.Fatalf("the first try of a source waits %s", wait)
		}
		if len(th.tries) > th.most {
			t.Fatalf("%d keys are remembered", len(th.tries))
		}
	}
}

// Who signs in again and again takes nothing back but the own tries.
func TestTriesAreTakenBack(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	th := NewAccountThrottle()
	for range 1000 {
		if wait := th.Try("a", now); wait != 0 {
			t.Fatalf("a try after others that were taken back waits %s", wait)
		}
		th.Undo("a")
	}
	for range 5 {
		th.Try("a", now)
		th.Try("a", now)
		th.Undo("a")
	}
	if th.Try("a", now); th.Try("a", now) == 0 {
		t.Error("failures beside tries that were taken back cost nothing")
	}
	th.Undo("never tried")
}
