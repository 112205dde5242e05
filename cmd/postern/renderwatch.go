package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/webserver"
)

// watchLine is one line of what "postern render --watch" did.
type watchLine struct {
	At      time.Time              `json:"at"`
	What    string                 `json:"what"` // installed, refused, unreachable, well
	Path    string                 `json:"path"`
	Message string                 `json:"message"`
	Notes   []api.ReverseProxyNote `json:"notes,omitempty"`
}

// watcher keeps a file as the settings say.
type watcher struct {
	a    *app
	req  renderRequest
	load settingsSource

	said    string        // the last trouble that was told, empty when all is well
	refused string        // the text that could not be installed last
	pause   time.Duration // until that one is tried again
	again   time.Time
}

// slowestRetry is how long at most a text that the server refused waits before it is tried again.
const slowestRetry = 5 * time.Minute

// watchSettings installs what the settings say, now and whenever they change, until ctx ends. Nothing but that ends it.
func (a *app) watchSettings(ctx context.Context, req renderRequest, load settingsSource) error {
	w := &watcher{a: a, req: req, load: load}
	changed := make(chan struct{}, 1)
	listens := make(chan struct{})
	go func() {
		defer close(listens)
		w.listen(ctx, changed)
	}()
	defer func() { <-listens }()
	tick := time.NewTicker(req.interval)
	defer tick.Stop()
	for {
		if err := w.look(ctx); err != nil {
			return unlessAsked(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// listen says that something may have changed: at every event of the cluster, and when the stream of them begins, for
// what came before it.
func (w *watcher) listen(ctx context.Context, changed chan<- struct{}) {
	if w.load.events == nil {
		return
	}
	for {
		if s, err := w.load.events(ctx); err == nil {
			for err == nil {
				select {
				case changed <- struct{}{}:
				default: // it is said already
				}
				_, err = s.Next()
			}
			_ = s.Close()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(w.req.interval, 5*time.Second)):
		}
	}
}

// look brings the file up to date. Its error is that of telling.
func (w *watcher) look(ctx context.Context) error {
	settings, err := w.load.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // somebody asked to stop
		}
		what := "refused"
		if unreachable(err) {
			what = "unreachable"
		}
		return w.trouble(what, fmt.Sprintf("%v; the file stays as it is", err))
	}
	r, err := w.req.make(ctx, settings)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // somebody asked to stop
		}
		return w.trouble("refused", fmt.Sprintf("%v; the file stays as it is", err))
	}
	if r.Text == w.refused && time.Now().Before(w.again) {
		return nil
	}
	if c := r.Check; c != nil && c.Outcome != webserver.Accepted {
		message := "not checked: " + c.Why
		if c.Outcome == webserver.Refused {
			message = fmt.Sprintf("%s %s refuses the text: %v", r.aim.Server, c.Version, c.Messages)
		}
		return w.trouble("refused", message+"; the file stays as it is")
	}
	// What was begun is brought to its end, which its commands' time bounds, also when somebody asks to stop meanwhile.
	done, err := w.req.put(context.WithoutCancel(ctx), r)
	if err != nil {
		if r.Text != w.refused {
			w.refused, w.pause = r.Text, 0
		}
		w.pause = min(max(2*w.pause, w.req.interval), slowestRetry)
		w.again = time.Now().Add(w.pause)
		message := err.Error()
		if e, ok := errors.AsType[*link.Error](err); ok && e.Hint != "" {
			message += "; " + e.Hint
		}
		return w.trouble("refused", message)
	}
	w.refused = ""
	switch {
	case done.Changed || done.Reloaded:
		w.said = ""
		return w.tell(watchLine{What: "installed", Message: done.String(), Notes: r.Notes})
	case w.said != "":
		w.said = ""
		return w.tell(watchLine{What: "well", Message: "all is well again; " + done.String()})
	}
	return nil
}

// unreachable reports whether an error is that of an outage: no answer, or one that says to try again.
func unreachable(err error) bool {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Status == http.StatusTooManyRequests || e.Status >= 500
	}
	_, ours := errors.AsType[*link.Error](err)
	return !ours
}

// trouble tells what keeps the file from being up to date, once.
func (w *watcher) trouble(what, message string) error {
	message = strings.Join(strings.FieldsFunc(message, func(r rune) bool { return r == '\n' }), "; ") // one line each
	if w.said == message {
		return nil
	}
	w.said = message
	return w.tell(watchLine{What: what, Message: message})
}

func (w *watcher) tell(l watchLine) error {
	l.At, l.Path = time.Now().UTC(), w.req.install
	if w.a.json() {
		return json.NewEncoder(w.a.out).Encode(l)
	}
	_, err := fmt.Fprintf(w.a.out, "%s  %s  %s\n", l.At.Format(time.DateTime), l.What, l.Message)
	return err
}
