package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// ackWithin bounds how long acknowledgements may take to be stored together.
const ackWithin = 30 * time.Second

// acknowledgements are stored together when they come together: a change of the rules makes every gateway acknowledge at
// once, and a transaction for each would keep people's changes waiting for a hundred syncs of the disk.
type acknowledgements struct {
	mu   sync.Mutex
	next *ackBatch // what still takes more; nil when there is none
}

type ackBatch struct {
	revisions map[string]int64 // by gateway; none is added once the batch is no longer the next
	done      chan struct{}

	unknown map[string]bool // valid when done is closed, as err is
	err     error
}

// Acknowledge notes the revision of the rules that a gateway applies, or returns ErrNotFound for one that never said
// hello. An older revision than is known changes nothing: it was on its way for longer, through another process perhaps.
func (s *Store) Acknowledge(ctx context.Context, gatewayID string, revision int64) error {
	a := &s.acks
	a.mu.Lock()
	b := a.next
	first := b == nil
	if first {
		b = &ackBatch{revisions: make(map[string]int64), done: make(chan struct{}), unknown: make(map[string]bool)}
		a.next = b
	}
	b.revisions[gatewayID] = max(b.revisions[gatewayID], revision)
	a.mu.Unlock()
	if first { // the others wait for us, and not for our caller's patience
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackWithin)
		b.err = s.Write(ctx, func(tx *Tx) error {
			a.close(b)
			return b.store(tx)
		})
		cancel()
		a.close(b)
		close(b.done)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.done:
	}
	if b.err == nil && b.unknown[gatewayID] {
		return ErrNotFound
	}
	return b.err
}

// close has what comes from now on wait for the next batch.
func (a *acknowledgements) close(b *ackBatch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == b {
		a.next = nil
	}
}

func (b *ackBatch) store(tx *Tx) error {
	clear(b.unknown)
	// In one order, or two processes could wait for each other.
	for _, id := range slices.Sorted(maps.Keys(b.revisions)) {
		// What is newer than the rules is of a time before a backup was restored, and counts for nothing.
		err := tx.change(ErrNotFound, `UPDATE gateways SET last_seen_at = $3, applied_revision =
			CASE WHEN applied_revision > $2 AND applied_revision <= (SELECT revision FROM rules_revision WHERE id = 1) THEN applied_revision ELSE $2 END
			WHERE id = $1`,
			id, b.revisions[id], stamp(tx.now))
		if errors.Is(err, ErrNotFound) {
			b.unknown[id], err = true, nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
