package store

import (
	"context"
	"sync"
	"time"
)

// newest is the newest of what is ordered. A zero field says nothing.
type newest struct {
	rules int64 // revision of the rules
	event int64 // seq of the last event
}

// bell knows the newest of a sequence and wakes those who wait for more. The zero value knows nothing.
type bell struct {
	mu     sync.Mutex
	newest int64
	rung   chan struct{} // closed when there is a newer one; nil until somebody waits
}

// listen returns the newest that is known, and what is closed when there is a newer one.
func (b *bell) listen() (newest int64, rung <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.newest, b.rung
}

// ring wakes everybody who waits, when n is newer than what is known.
func (b *bell) ring(n int64) {
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

// bellPoll is how often a waiter asks the database itself, should what another process rang have been lost.
const bellPoll = 5 * time.Second

// WaitRules returns once there is a revision of the rules beyond after, and which it is. It is an error only that ctx
// ended or that the database cannot be read.
func (s *Store) WaitRules(ctx context.Context, after int64) (revision int64, err error) {
	return s.wait(ctx, &s.rules, after)
}

// WaitEvents returns once there is an event of a later seq than after, and the last one's. It is an error only that ctx
// ended or that the database cannot be read.
func (s *Store) WaitEvents(ctx context.Context, after int64) (seq int64, err error) {
	return s.wait(ctx, &s.events, after)
}

func (s *Store) wait(ctx context.Context, b *bell, after int64) (int64, error) {
	poll := time.NewTicker(s.bellPoll)
	defer poll.Stop()
	for {
		n, rung := b.listen()
		if n > after {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-rung:
		case <-poll.C:
			if err := s.lookForNews(ctx); err != nil {
				return 0, err
			}
		}
	}
}

// tell wakes everybody in this process who waits for what is newer than known.
func (s *Store) tell(n newest) {
	s.rules.ring(n.rules)
	s.events.ring(n.event)
}

// lookForNews reads from the database what is newest.
func (s *Store) lookForNews(ctx context.Context) error {
	var n newest
	err := s.Read(ctx, func(tx *Tx) (err error) {
		n, err = tx.newest()
		return err
	})
	if err == nil {
		s.tell(n)
	}
	return err
}

func (tx *Tx) newest() (n newest, err error) {
	if n.rules, err = tx.RulesRevision(); err != nil {
		return n, err
	}
	err = tx.row(`SELECT coalesce(max(seq), 0) FROM events`).Scan(&n.event)
	return n, err
}
