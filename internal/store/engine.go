package store

import (
	"context"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/postern/postern/internal/link"
)

// engine is what differs between the databases. The statements do not: both take the same text.
type engine interface {
	// begin starts a transaction: one that writes, or one that sees one state of the database and can change nothing.
	begin(ctx context.Context, writes bool) (session, error)
	// again tells whether an error is of a transaction that lost against another one, and that may win when it is run
	// once more.
	again(err error) bool
	// shared tells whether other processes may have the database open.
	shared() bool
	// workers returns a client of the job queue that works.
	workers(c *river.Config) (jobClient, error)
	// jobTime is a time as the job queue's own columns hold it.
	jobTime(t time.Time) any
	// close ends everything that opening the engine began.
	close() error
}

// asked is a statement of several that go to the engine together.
type asked struct {
	text string
	args []any
	take func(Row) error // gets each row; nil for a statement that gives none
}

// takeAll reads a result to its end.
func (a asked) takeAll(rows Rows) error {
	defer func() { _ = rows.Close() }() // what matters is told by Err
	for rows.Next() {
		if err := a.take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// session is one transaction of an engine. Errors that say that the database cannot be reached are ErrUnavailable.
type session interface {
	Q
	commit(ctx context.Context) error
	rollback()
	// insertJob returns the live job of an object, made now unless there is one; known tells which.
	insertJob(ctx context.Context, of lookArgs) (id int64, known bool, err error)
	// retryJob has a job that waits go now, and leaves one that runs or is no more.
	retryJob(ctx context.Context, id int64) error
	// lock waits until no other transaction holds the lock of that key, and holds it until this one ends.
	lock(ctx context.Context, key string) error
	// inOrder waits until no other transaction writes what is ordered, and runs statements, all of them in one go to the
	// server and back. What is written from then on is committed in the order in which it was written.
	inOrder(ctx context.Context, all []asked) error
	// ring tells the other processes on this database what is newest, with the commit; none where there are no others.
	ring(n newest) []asked
}

// LockOwner is Lock for everything that belongs to what the object belongs to: the objects of one cluster, whatever their
// kind; or the objects of a kind that belong to nobody.
func (tx *Tx) LockOwner(of link.ObjectRef) error {
	owner, _, _ := strings.Cut(of.ID, "/")
	if owner == "" {
		return tx.Lock("kind", of.Kind)
	}
	return tx.Lock("owner", owner)
}

// Lock makes this transaction and every other that takes the same lock come one after the other, until it ends. A
// transaction that reads, decides and writes takes it before it reads, where no unique constraint and no version would
// tell it that another one came between. It costs nothing on SQLite, where writers come one after the other anyway.
func (tx *Tx) Lock(kind, id string) error { return tx.s.lock(tx.ctx, kind+"/"+id) }
