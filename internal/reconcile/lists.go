package reconcile

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// lists shares one list of a service's endpoints among all who want it at about the same time, so that what we ask of
// the cloud grows with the services and not with the connections.
type lists struct {
	fresh time.Duration // how old a list may be
	now   func() time.Time

	mu    sync.Mutex
	calls map[string]*listCall // by driver region, service and what is asked for
}

type listCall struct {
	began     time.Time
	done      chan struct{}
	endpoints []link.Endpoint
	err       error
}

// over tells whether the list has ended.
func (c *listCall) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// get returns what a query finds of a service's endpoints by a list that began no earlier than fresh ago and, when after is not zero, not
// before after, and when that list began.
func (l *lists) get(ctx context.Context, d cloud.Driver, key, serviceID string, q cloud.Query, after time.Time) ([]link.Endpoint, time.Time, error) {
	if q.Arriving {
		key += "/arriving"
	}
	for {
		l.mu.Lock()
		now := l.now()
		c := l.calls[key]
		old := c == nil || now.Sub(c.began) > l.fresh || c.began.Before(after)
		// One list at a time: whoever needs a later one waits for the end of this, and takes the next together with all
		// others that do.
		mine := old && (c == nil || c.over())
		if mine {
			c = &listCall{began: now, done: make(chan struct{})}
			l.calls[key] = c
		}
		l.mu.Unlock()
		if mine {
			return l.ask(ctx, d, key, serviceID, q, c)
		}
		select {
		case <-ctx.Done():
			return nil, time.Time{}, ctx.Err()
		case <-c.done:
		}
		if old {
			continue
		}
		if c.err == nil || !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, context.DeadlineExceeded) {
			return c.endpoints, c.began, c.err
		}
		// Whoever began it was cut off; that says nothing about the cloud.
	}
}

// ask asks the cloud on behalf of everybody who waits for c. They are let go also when the driver panics.
func (l *lists) ask(ctx context.Context, d cloud.Driver, key, serviceID string, q cloud.Query, c *listCall) ([]link.Endpoint, time.Time, error) {
	c.err = context.Canceled // until the driver came back
	defer func() {
		if c.err != nil {
			l.forget(key, c)
		}
		close(c.done)
	}()
	c.endpoints, c.err = d.Endpoints(ctx, serviceID, q)
	return c.endpoints, c.began, c.err
}

// forget drops a list that failed: whoever asks next asks the cloud.
func (l *lists) forget(key string, c *listCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls[key] == c {
		delete(l.calls, key)
	}
}
