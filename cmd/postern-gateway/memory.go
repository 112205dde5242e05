package main

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may gather before it is collected: half of what lives, as with a million idle flows, and in a small
// process, where collecting costs more than memory, this much. What lives is looked at as often as memory is given back.
const (
	garbageLeast   = 32 << 20 // bytes
	garbagePercent = 50
)

// After so long memory is given back that is not needed any more, when it is more than a quarter of what lives and of this
// size: Go itself collects an idle process every two minutes, and is in no hurry to return what a burst of flows needed.
const (
	giveBackEvery = 10 * time.Second
	giveBackLeast = 1 << 20
)

// keepMemory keeps what the process holds near to what its flows need, until done is closed.
func keepMemory(done <-chan struct{}) {
	tick := time.NewTicker(giveBackEvery)
	defer tick.Stop()
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	for {
		metrics.Read(samples)
		live, held := samples[0].Value.Uint64(), uint64(0)
		for _, s := range samples[1:] {
			held += s.Value.Uint64()
		}
		debug.SetGCPercent(garbageFor(live))
		if held > live+live/4+giveBackLeast {
			debug.FreeOSMemory()
		}
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// garbageFor is the garbage that may gather, in percent of the bytes that live.
func garbageFor(live uint64) int {
	return max(garbagePercent, int(100*garbageLeast/max(live, 1<<20)))
}
