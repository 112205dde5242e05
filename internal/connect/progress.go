package connect

import (
	"context"
	"errors"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (r *run) start(step StepID, message string) {
	r.step, r.began, r.waiting = step, time.Now(), ""
	if message != "" {
		r.send(Started, message)
	}
}

func (r *run) finish(status Status, message string) {
	r.result.Steps = append(r.result.Steps, r.send(status, message))
	r.step = ""
}

// fail ends the step that is under way.
func (r *run) fail(err error) {
	if r.step != "" {
		r.finish(Failed, err.Error())
	}
}

func (r *run) send(status Status, message string) StepEvent {
	e := StepEvent{Step: r.step, Status: status, Message: message, Elapsed: time.Since(r.began)}
	if r.cfg.Log != nil {
		r.cfg.Log.Debug("connect", "step", e.Step, "status", e.Status, "message", e.Message)
	}
	r.progress(e)
	return e
}

// poll calls look until it is done, fails, or ctx ends. What look says it waits for becomes progress, and is in the
// error when ctx ends.
func (r *run) poll(ctx context.Context, look func(context.Context) (done bool, waitingFor string, err error)) error {
	for {
		done, waitingFor, err := look(ctx)
		if err != nil && ctx.Err() == nil || done {
			return err
		}
		if err == nil && waitingFor != r.waiting {
			r.waiting = waitingFor
			r.send(Waiting, waitingFor)
		}
		if err := pause(ctx, r.cfg.Poll); err != nil {
			message := "stopped before it was done"
			if errors.Is(err, context.DeadlineExceeded) {
				message = "gave up waiting"
			}
			if r.waiting != "" {
				message += ": " + r.waiting
			}
			return &link.Error{
				Kind: link.Unavailable, Reason: "STILL_WAITING", Message: message,
				Hint: "run the same command again: it goes on where it stopped", Err: err,
			}
		}
	}
}

func condition(conds []api.Condition, typ string) *api.Condition {
	for i := range conds {
		if conds[i].Type == typ {
			return &conds[i]
		}
	}
	return nil
}

// why returns what the first condition that does not hold says, for the end of a sentence.
func why(conds []api.Condition) string {
	for _, c := range conds {
		if c.Status == string(link.False) && c.Message != "" {
			return " (" + c.Message + ")"
		}
	}
	return ""
}
