package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// jobs is the job queue of an engine, whose transactions are of type T.
type jobs[T any] struct {
	driver riverdriver.Driver[T]
	client *river.Client[T] // enqueues only
}

// jobClient is a client of the job queue that works.
type jobClient interface {
	Start(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
}

func newJobs[T any](driver riverdriver.Driver[T], log *slog.Logger) (*jobs[T], error) {
	c, err := river.NewClient(driver, &river.Config{Logger: quiet(log)})
	if err != nil {
		return nil, fmt.Errorf("open the job queue: %w", err)
	}
	return &jobs[T]{driver: driver, client: c}, nil
}

func (j *jobs[T]) insert(ctx context.Context, tx T, of lookArgs) (id int64, known bool, err error) {
	res, err := j.client.InsertTx(ctx, tx, of, nil)
	if err != nil {
		return 0, false, err
	}
	return res.Job.ID, res.UniqueSkippedAsDuplicate, nil
}

func (j *jobs[T]) retry(ctx context.Context, tx T, id int64) error {
	_, err := j.client.JobRetryTx(ctx, tx, id)
	if errors.Is(err, rivertype.ErrNotFound) {
		return nil
	}
	return err
}

func (j *jobs[T]) workers(c *river.Config) (jobClient, error) { return river.NewClient(j.driver, c) }

// quiet keeps the job engine's own chatter out of our log: it may only warn, and of one thing once in a while. It asks the
// database many times a second, and says so each time while there is none.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(warnings{log.Handler(), &warned{last: map[string]time.Time{}}})
}

// warnedFor is how long the same is not said again.
const warnedFor = 10 * time.Second

type warnings struct {
	slog.Handler
	warned *warned
}

// warned is what was said, by its message, and when: the messages are the engine's constants, and so not many.
type warned struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (w *warned) lately(message string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.last[message]) < warnedFor {
		return true
	}
	w.last[message] = now
	return false
}

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}

func (w warnings) Handle(ctx context.Context, r slog.Record) error {
	if w.warned.lately(r.Message, time.Now()) {
		return nil
	}
	return w.Handler.Handle(ctx, r)
}

func (w warnings) WithAttrs(a []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(a), w.warned}
}

func (w warnings) WithGroup(g string) slog.Handler { return warnings{w.Handler.WithGroup(g), w.warned} }
