package main

import "testing"

func TestGarbageFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 3200, 1 << 20: 3200, 32 << 20: 100, 64 << 20: 50, 1 << 40: 50} {
		if got := garbageFor(live); got != want {
			t.Errorf("%d bytes live: %d %%, want %d %%", live, got, want)
		}
	}
}
