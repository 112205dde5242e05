package engine

import (
	"context"
	"sync/atomic"
	"time"
)

// census counts the flows that are open, up to a bound, and tells when none is left.
type census struct {
	open  atomic.Int64
	most  int64
	empty chan struct{} // holds a value when a waiter should look again
}

func (c *census) init(most int) {
	c.most, c.empty = int64(most), make(chan struct{}, 1)
}

// enter counts a flow, or reports false when there are as many as there may be.
func (c *census) enter() bool {
	if c.open.Add(1) > c.most {
		c.leave()
		return false
	}
	return true
}

func (c *census) full() bool { return c.open.Load() >= c.most }

func (c *census) leave() {
	if c.open.Add(-1) == 0 {
		c.tell()
	}
}

func (c *census) tell() {
	select {
	case c.empty <- struct{}{}:
	default:
	}
}

// wait returns when no flow is left, or with ctx's error.
func (c *census) wait(ctx context.Context) error {
	for c.open.Load() > 0 {
		select {
		case <-c.empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.tell() // there may be another one who waits
	return nil
}

// acceptPause is how long an engine that cannot accept waits before it tries again, unless one of its flows ends before.
const acceptPause = 100 * time.Millisecond

// drain is the Drain of every engine.
func drain(ctx context.Context, e Engine, c *census, reason string) error {
	e.StopAccepting()
	err := c.wait(ctx)
	if err != nil {
		e.Each(func(*Flow) (string, bool) { return reason, true })
		_ = c.wait(context.Background())
	}
	return err
}
