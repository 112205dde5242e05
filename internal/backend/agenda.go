package backend

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// job is something to be done at a time, and perhaps again. run returns in how long it is to run again; a negative time
// means never. It returns soon after ctx is done.
type job interface {
	run(ctx context.Context) (again time.Duration)
}

// never ends a job.
const never time.Duration = -1

// agenda runs jobs when they are due, never more than a fixed number at once: what is due beyond that waits its turn.
type agenda struct {
	slots chan struct{}
	wake  chan struct{} // holds one token when the first entry changed

	mu      sync.Mutex
	entries entries
}

type entry struct {
	due time.Time
	job job
}

func newAgenda(atOnce int) *agenda {
	return &agenda{slots: make(chan struct{}, atOnce), wake: make(chan struct{}, 1)}
}

// add has j run once, in the given time, and then as often as it says.
func (a *agenda) add(in time.Duration, j job) {
	a.mu.Lock()
	e := entry{time.Now().Add(in), j}
	heap.Push(&a.entries, e)
	first := a.entries[0] == e
	a.mu.Unlock()
	if first {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// keep runs what is due until ctx is done, and returns when the last job has.
func (a *agenda) keep(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-a.wake:
		}
		for {
			j, in, ok := a.next()
			if !ok {
				if in >= 0 {
					timer.Reset(in)
				}
				break
			}
			select {
			case <-ctx.Done():
				return
			case a.slots <- struct{}{}:
			}
			running.Go(func() {
				defer func() { <-a.slots }()
				if again := j.run(ctx); again >= 0 {
					a.add(again, j)
				}
			})
		}
	}
}

// next takes out the first entry when it is due; else it returns in how long it will be, never when there is none.
func (a *agenda) next() (j job, in time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) == 0 {
		return nil, never, false
	}
	if in = time.Until(a.entries[0].due); in > 0 {
		return nil, in, false
	}
	return heap.Pop(&a.entries).(entry).job, 0, true
}

// entries is a heap by due time.
type entries []entry

func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].due.Before(e[j].due) }
func (e entries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)        { *e = append(*e, x.(entry)) }
func (e *entries) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = entry{}
	*e = (*e)[:len(*e)-1]
	return last
}
