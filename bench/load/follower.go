//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postern/postern/api"
)

// follower reads an organisation's stream of events as it comes.
type follower struct {
	api   *api.Client
	begin string // cursor before the first
	end   context.CancelFunc
	done  chan struct{}

	mu    sync.Mutex
	ids   []int64
	cause error // why it gave up
}

// follow begins to read, and goes on where it was whenever the stream ends.
func follow(ctx context.Context, c *api.Client, st *statistics) (*follower, error) {
	f := &follower{api: c, done: make(chan struct{})}
	for q := (api.FeedQuery{Limit: 500}); ; q.Cursor = f.begin {
		page, err := c.Feed(ctx, q)
		if err != nil {
			return nil, err
		}
		if f.begin = page.NextCursor; !page.More {
			break
		}
	}
	ctx, f.end = context.WithCancel(ctx)
	go func() {
		defer close(f.done)
		for cursor := f.begin; ctx.Err() == nil; {
			var err error
			if cursor, err = f.read(ctx, cursor, st); err != nil {
				f.mu.Lock()
				f.cause = err
				f.mu.Unlock()
				return
			}
		}
	}()
	return f, nil
}

// read reads one stream to its end and returns where another one goes on. That a stream ends is no error.
func (f *follower) read(ctx context.Context, cursor string, st *statistics) (string, error) {
	s, err := f.api.StreamEvents(ctx, api.FeedQuery{Cursor: cursor})
	switch {
	case ctx.Err() != nil:
		return cursor, nil
	case err != nil:
		if st.record("event stream opened", time.Now(), err) == failed {
			return cursor, fmt.Errorf("open a stream of events: %w", err)
		}
		pause(ctx, time.Second)
		return cursor, nil
	}
	defer func() { _ = s.Close() }() // it was only read from
	for {
		e, err := s.Next()
		if err != nil {
			return s.Cursor(), nil // streams end: with the database, with the process
		}
		f.mu.Lock()
		f.ids = append(f.ids, e.ID)
		f.mu.Unlock()
		st.record(seenOnStream, e.At, nil)
	}
}

// check ends the stream once it has brought what the feed has, and compares the two.
func (f *follower) check(ctx context.Context) error {
	defer f.end()
	var want []int64
	for q := (api.FeedQuery{Limit: 500, Cursor: f.begin}); ; {
		page, err := f.api.Feed(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			want = append(want, e.ID)
		}
		if q.Cursor = page.NextCursor; !page.More {
			break
		}
	}
	return until(ctx, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.cause != nil {
			return f.cause
		}
		if len(f.ids) < len(want) {
			return fmt.Errorf("%d of %d events have come on the stream", len(f.ids), len(want))
		}
		if !slices.Equal(f.ids[:len(want)], want) {
			return errors.New("the stream brought other events than the feed has, or in another order")
		}
		return nil
	})
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// seenOnStream names the time from an event's transaction to its arrival.
const seenOnStream = "event seen on a stream"
