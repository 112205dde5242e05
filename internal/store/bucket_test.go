package store

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var begin = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func TestBucket(t *testing.T) {
	b := Bucket{Name: "b", Burst: 10, PerSecond: 2}
	type step struct {
		at   time.Duration
		take int // 0: the cloud said that it was asked too often
		got  int
		wait time.Duration
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a new one is full, and comes back at its rate", []step{
			{0, 4, 4, 0},
			{0, 10, 6, 0},
			{0, 1, 0, 500 * time.Millisecond},
			{250 * time.Millisecond, 1, 0, 250 * time.Millisecond},
			{500 * time.Millisecond, 5, 1, 0},
			{3 * time.Second, 10, 5, 0},
		}},
		{"it holds no more than its burst", []step{{0, 10, 10, 0}, {time.Hour, 100, 10, 0}}},
		{"throttled, it is empty and comes back at half the rate, a little faster every second", []step{
			{0, 0, 0, 0}, {0, 1, 0, time.Second}, {time.Second, 5, 1, 0}, {31 * time.Second, 50, 10, 0},
		}},
		{"many answers of one burst count once", []step{
			{0, 0, 0, 0}, {100 * time.Millisecond, 0, 0, 0}, {200 * time.Millisecond, 0, 0, 0}, {1100 * time.Millisecond, 5, 1, 0},
		}},
		{"a clock that is a little behind gets no token twice, and one that is right loses none", []step{
			{0, 10, 10, 0}, {2 * time.Second, 10, 4, 0}, {time.Second, 1, 0, 1500 * time.Millisecond}, {3 * time.Second, 10, 2, 0},
		}},
		{"a clock that was hours ahead does not stop the others", []step{
			{6 * time.Hour, 10, 10, 0}, {0, 1, 0, 500 * time.Millisecond}, {time.Second, 10, 2, 0},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l level
			for i, s := range c.steps {
				now := begin.Add(s.at)
				if s.take == 0 {
					l = l.slow(b, now)
					continue
				}
				var got int
				var wait time.Duration
				l, got, wait = l.take(b, now, s.take)
				if got != s.got || wait != s.wait {
					t.Errorf("step %d: %d tokens, wait %v; want %d, %v", i, got, wait, s.got, s.wait)
				}
			}
		})
	}
}

// Whoever takes what and whenever: over any stretch of time no more tokens are given than the bucket's burst and what came
// back, however far the takers' clocks are apart within what is tolerated; and a token comes in the end.
func TestBucketNeverGivesTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bucket{
			Name: "b", Burst: float64(rapid.IntRange(1, 100).Draw(t, "burst")), PerSecond: rapid.Float64Range(0.1, 50).Draw(t, "rate"),
		}
		skews := rapid.SliceOfN(rapid.Int64Range(0, int64(longestSkew)), 1, 4).Draw(t, "skews")
		var l level
		var past, given float64
		now := begin
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d := time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "pause"))
			now, past = now.Add(d), past+d.Seconds()
			seen := now.Add(time.Duration(rapid.SampledFrom(skews).Draw(t, "skew")))
			if rapid.IntRange(0, 9).Draw(t, "throttled") == 0 {
				l = l.slow(b, seen)
				continue
			}
			var got int
			var wait time.Duration
			l, got, wait = l.take(b, seen, rapid.IntRange(1, 20).Draw(t, "n"))
			given += float64(got)
			if most := b.Burst + b.PerSecond*(past+longestSkew.Seconds()) + 0.01; given > most {
				t.Fatalf("%v tokens in %v s, at most %v may be", given, past, most)
			}
			if got == 0 && (wait <= 0 || wait > time.Duration(leastShare/b.PerSecond*float64(time.Second))+2*longestSkew) {
				t.Fatalf("no token, and wait %v", wait)
			}
		}
	})
}
