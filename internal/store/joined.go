package store

import (
	"context"
	"errors"
	"slices"
)

type togetherKey struct{ s *Store }

// Together makes everything that f reads and writes of this store with the context that it gets one transaction, which is
// committed when f returns nil. A Write in it that fails is undone by itself, and what f does about that is f's business.
// f is run again as Write's is, so it must hand on an error that is not its own: the store knows which of them pass. It
// calls from one goroutine at a time.
func (s *Store) Together(ctx context.Context, f func(ctx context.Context) error) error {
	return s.Write(ctx, func(tx *Tx) error { return f(context.WithValue(ctx, togetherKey{s}, tx)) })
}

// joined is the transaction that ctx belongs to; nil outside of Together.
func (s *Store) joined(ctx context.Context) *Tx {
	tx, _ := ctx.Value(togetherKey{s}).(*Tx)
	return tx
}

// Joined tells whether what is read with ctx is read in a transaction that may go on to write.
func (s *Store) Joined(ctx context.Context) bool { return s.joined(ctx) != nil }

// nested runs f as a part of the transaction that can fail alone.
func (tx *Tx) nested(f func(*Tx) error) error {
	if _, err := tx.exec(`SAVEPOINT nested`); err != nil {
		return err
	}
	made, before := tx.made, last{rules: slices.Clone(tx.last.rules), events: slices.Clone(tx.last.events), audit: slices.Clone(tx.last.audit)}
	if err := f(tx); err != nil {
		tx.last, tx.made = before, made
		_, undo := tx.exec(`ROLLBACK TO SAVEPOINT nested`)
		return errors.Join(err, undo)
	}
	_, err := tx.exec(`RELEASE SAVEPOINT nested`)
	return err
}
