package engine

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWheelAgainstAList sets, moves, drops and waits at random: the wheel fires what a plain list of deadlines would, no
// earlier, at most a tick and a wait later, and asks to be advanced in time.
func TestWheelAgainstAList(t *testing.T) {
	const tick = int64(1) << tickShift
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start")
		w := &wheel{tick: now >> tickShift}
		streams := make([]stream, 6)
		for i := range streams {
			streams[i].timer.slot = unqueued
		}
		want := map[*stream]int64{}
		limit := rapid.OneOf(rapid.Int64Range(0, int64(time.Second)), rapid.Int64Range(0, int64(10*time.Minute)),
			rapid.Int64Range(0, int64(48*time.Hour)))
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				s := &streams[rapid.IntRange(0, len(streams)-1).Draw(t, "stream")]
				want[s] = now + 1 + limit.Draw(t, "limit")
				w.set(s, want[s])
			},
			"drop": func(t *rapid.T) {
				s := &streams[rapid.IntRange(0, len(streams)-1).Draw(t, "stream")]
				delete(want, s)
				w.set(s, 0)
			},
			"remove": func(t *rapid.T) {
				s := &streams[rapid.IntRange(0, len(streams)-1).Draw(t, "stream")]
				delete(want, s)
				w.remove(s)
			},
			"advance": func(t *rapid.T) {
				earliest := int64(-1)
				for _, d := range want {
					if earliest < 0 || d < earliest {
						earliest = d
					}
				}
				wait := w.wait(now)
				if earliest >= 0 && (wait < 0 || now+int64(wait) > earliest+tick) {
					t.Fatalf("wants to be advanced in %v, a limit is in %v", wait, time.Duration(earliest-now))
				}
				if wait < 0 || rapid.Bool().Draw(t, "early") {
					wait = time.Duration(limit.Draw(t, "wait"))
				}
				now += int64(wait)
				w.advance(now, func(s *stream) {
					if d, is := want[s]; !is || d > now {
						t.Fatalf("fired at %v, the limit is %v, %v", now, d, is)
					}
					delete(want, s)
				})
				for s, d := range want {
					if d+tick <= now {
						t.Fatalf("not fired at %v, the limit is %v, queued at %v", now, d, s.timer.queued<<tickShift)
					}
				}
			},
		})
	})
}
