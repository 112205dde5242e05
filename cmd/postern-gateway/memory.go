package main

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapSlack is the garbage that may gather before it is collected, in percent of what lives. Flows make little of it,
	// so that collecting twice as often costs next to nothing.
	heapSlack = 50
	// After so long memory is given back that is not needed any more, when it is more than a quarter of what lives and of this size:
	// Go itself collects an idle process every two minutes, and is in no hurry to return what a burst of flows needed.
	giveBackEvery = 10 * time.Second
	giveBackLeast = 1 << 20
)

// giveBackMemory keeps what the process holds near to what its flows need, until done is closed.
func giveBackMemory(done <-chan struct{}) {
	tick := time.NewTicker(giveBackEvery)
	defer tick.Stop()
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		live, held := samples[0].Value.Uint64(), uint64(0)
		for _, s := range samples[1:] {
			held += s.Value.Uint64()
		}
		if held > live+live/4+giveBackLeast {
			debug.FreeOSMemory()
		}
	}
}
