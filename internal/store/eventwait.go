package store

import (
	"context"
	"sync"
	"time"
)

// eventNews is replaced by the bell.
type eventNews struct {
	mu     sync.Mutex
	newest int64
	rung   chan struct{}
}

func (s *Store) tellEvent(n int64) {
	b := &s.eventNews
	b.mu.Lock()
	defer b.mu.Unlock()
	if n <= b.newest {
		return
	}
	b.newest = n
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// WaitEvents returns once there is an event of a later seq than after, and the last one's. It is an error only that ctx
// ended or that the database cannot be read.
func (s *Store) WaitEvents(ctx context.Context, after int64) (seq int64, err error) {
	b := &s.eventNews
	for {
		b.mu.Lock()
		if b.rung == nil {
			b.rung = make(chan struct{})
		}
		n, rung := b.newest, b.rung
		b.mu.Unlock()
		if n > after {
			return n, nil
		}
		if err := s.Read(ctx, func(tx *Tx) (err error) { n, err = tx.newestEvent(); return err }); err != nil {
			return 0, err
		}
		s.tellEvent(n)
		if n > after {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-rung:
		case <-time.After(5 * time.Second):
		}
	}
}
