package reconcile

import (
	"context"
	"fmt"
	"sync"
)

// gather makes one call of what many ask for: while a call for a key is under way, all who come wait and are answered by
// the next one together. So a burst costs as many calls as the cloud has time for and not as many as there are looks.
type gather[Q, A any] struct {
	run   context.Context // of the calls: they are nobody's own, and outlive whoever asked first
	tasks *sync.WaitGroup // waits for them

	mu    sync.Mutex
	lines map[string]*line[Q, A]
}

// line is what waits for one key.
type line[Q, A any] struct {
	busy bool // a call is under way
	next *round[Q, A]
}

// round is what one call answers.
type round[Q, A any] struct {
	asked   []Q
	do      func(context.Context, []Q) []A
	answers []A
	err     error
	done    chan struct{}
}

func newGather[Q, A any](run context.Context, tasks *sync.WaitGroup) *gather[Q, A] {
	return &gather[Q, A]{run: run, tasks: tasks, lines: map[string]*line[Q, A]{}}
}

// ask has do answer q, together with what others ask for the same key. do is called after ask was, returns one answer per
// question in their order, and is the same for all who ask for a key.
func (g *gather[Q, A]) ask(ctx context.Context, key string, q Q, do func(context.Context, []Q) []A) (a A, err error) {
	g.mu.Lock()
	l := g.lines[key]
	if l == nil {
		l = &line[Q, A]{}
		g.lines[key] = l
	}
	r := l.next
	if r == nil {
		r = &round[Q, A]{do: do, done: make(chan struct{})}
		l.next = r
	}
	place := len(r.asked)
	r.asked = append(r.asked, q)
	if !l.busy {
		l.busy = true
		g.tasks.Go(func() { g.work(key, l) })
	}
	g.mu.Unlock()
	select {
	case <-ctx.Done():
		return a, ctx.Err()
	case <-r.done:
	}
	if r.err != nil {
		return a, r.err
	}
	return r.answers[place], nil
}

// work makes calls until nobody waits any more.
func (g *gather[Q, A]) work(key string, l *line[Q, A]) {
	for {
		g.mu.Lock()
		r := l.next
		l.next = nil
		if r == nil {
			l.busy = false
			delete(g.lines, key)
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.call(r)
	}
}

// call answers a round. A panic is an error to those who asked, as it would be in their own looks.
func (g *gather[Q, A]) call(r *round[Q, A]) {
	defer close(r.done)
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("panic: %v", p)
		}
	}()
	r.answers = r.do(g.run, r.asked)
	if len(r.answers) != len(r.asked) {
		r.err = fmt.Errorf("%d answers to %d questions", len(r.answers), len(r.asked))
	}
}
