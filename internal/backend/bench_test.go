package backend

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/postern/postern/internal/link"
)

func literals(n int) []link.Backend {
	out := make([]link.Backend, n)
	for i := range out {
		out[i] = link.Backend{Address: fmt.Sprintf("10.0.%d.%d:443", i/250, i%250+1)}
	}
	return out
}

func TestPickAllocatesNothing(t *testing.T) {
	p := NewPool(Config{})
	defer p.Close()
	target := Target{ClusterID: "a", Port: 443, Backends: literals(10)}
	flow := func() {
		b, _, err := p.Pick(target, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Connected()
		b.Ended(true, false)
	}
	flow()
	if n := testing.AllocsPerRun(100, flow); n >= 1 { // a backend's first news is not the flow's
		t.Errorf("%v allocations per flow", n)
	}
}

// BenchmarkPick is all that a flow asks of the pool: Pick, Connected and Ended.
func BenchmarkPick(b *testing.B) {
	for _, size := range []struct{ clusters, backends int }{{1, 1}, {1, 2}, {1, 10}, {100_000, 2}} {
		b.Run(fmt.Sprintf("%d of %d", size.clusters, size.backends), func(b *testing.B) {
			p := NewPool(Config{})
			defer p.Close()
			targets := make([]Target, size.clusters)
			for i := range targets {
				targets[i] = Target{ClusterID: link.NewID(), Port: 443, Backends: literals(size.backends)}
				var last *Backend // each backend's first news is not what is measured
				for range min(2, size.backends) {
					back, _, err := p.Pick(targets[i], last)
					if err != nil {
						b.Fatal(err)
					}
					back.Connected()
					back.Ended(true, false)
					last = back
				}
			}
			for p.news.waiting() > 0 {
				runtime.Gosched()
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				back, _, err := p.Pick(targets[i], nil)
				if err != nil {
					b.Fatal(err)
				}
				back.Connected()
				back.Ended(true, false)
				if i += 7919; i >= len(targets) {
					i %= len(targets)
				}
			}
		})
	}
}

func (a *agenda) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.entries)
}
