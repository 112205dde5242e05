package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
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

	said trouble // the last that was told, zero when all is well
	away backoff // of a control plane

	settings api.ReverseProxySettings // of which done was made
	done     *rendering               // that is in place; nil while none is

	refused string        // the text that could not be installed last
	pause   time.Duration // until that one is tried again
	again   time.Time
}

// trouble is what keeps a file from being up to date.
type trouble struct{ what, message string }

// slowestRetry is how long at most a text that the server refused waits before it is tried again, and so does a control plane
// that is away before it is asked again, unless the interval is longer.
const slowestRetry = 5 * time.Minute

// backoff is pauses that grow, each twice as long as the one before until they are as long as most. Half of each is random:
// machines that lost a control plane together do not all come back to it at once.
type backoff struct{ first, most, next time.Duration }

func (b *backoff) pause() time.Duration {
	d := min(max(b.next, b.first), b.most)
	b.next = 2 * d
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.next = 0 }

// watchSettings installs what the settings say, now and whenever they change, until ctx ends. Nothing but that ends it.
func (a *app) watchSettings(ctx context.Context, req renderRequest, load settingsSource) error {
	w := &watcher{a: a, req: req, load: load, away: backoff{first: req.interval, most: max(req.interval, slowestRetry)}}
	changed := make(chan struct{}, 1)
	listens := make(chan struct{})
	go func() {
		defer close(listens)
		w.listen(ctx, changed)
	}()
	defer func() { <-listens }()
	for {
		if err := w.look(ctx); err != nil {
			return unlessAsked(ctx, err)
		}
		next := time.NewTimer(w.untilNext())
		select {
		case <-ctx.Done():
		case <-changed:
		case <-next.C:
		}
		next.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// untilNext is how long to wait after a look: about the interval, and longer and longer while the control plane is away. Of a
// control plane that is back the events tell sooner.
func (w *watcher) untilNext() time.Duration {
	if w.said.what == unreachableNow {
		return w.away.pause()
	}
	w.away.reset()
	return w.req.interval - rand.N(w.req.interval/10+1)
}

// listen says that something may have changed: at every event of the cluster, and when the stream of them begins, for
// what came before it.
func (w *watcher) listen(ctx context.Context, changed chan<- struct{}) {
	if w.load.events == nil {
		return
	}
	again := backoff{first: min(w.req.interval, time.Second), most: w.req.interval}
	for {
		if s, err := w.load.events(ctx); err == nil {
			again.reset()
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
		case <-time.After(again.pause()):
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
			what = unreachableNow
		}
		return w.trouble(what, fmt.Sprintf("%v; the file stays as it is", err))
	}
	r, err := w.render(ctx, settings)
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
	w.refused, w.settings, w.done = "", settings, &r
	well := w.said == trouble{}
	w.said = trouble{}
	switch {
	case done.Changed || done.Reloaded:
		return w.tell(watchLine{What: "installed", Message: done.String(), Notes: r.Notes})
	case !well:
		return w.tell(watchLine{What: "well", Message: "all is well again; " + done.String()})
	}
	return nil
}

// render renders settings, and has the text checked where that was asked for, unless it is in place already. What is installed
// here may become another version.
func (w *watcher) render(ctx context.Context, settings api.ReverseProxySettings) (rendering, error) {
	if w.done != nil && w.req.target != "installed" && reflect.DeepEqual(settings, w.settings) {
		return *w.done, nil
	}
	return w.req.make(ctx, settings)
}

// unreachableNow is what is told of a control plane that is away.
const unreachableNow = "unreachable"

// unreachable reports whether an error is that of an outage: no answer, or one that says to try again.
func unreachable(err error) bool {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Status == http.StatusTooManyRequests || e.Status >= 500
	}
	_, ours := errors.AsType[*link.Error](err)
	return !ours
}

// trouble tells what keeps the file from being up to date, once: of an outage also when its errors are not all the same.
func (w *watcher) trouble(what, message string) error {
	message = strings.Join(strings.FieldsFunc(message, func(r rune) bool { return r == '\n' }), "; ") // one line each
	now := trouble{what, message}
	if w.said == now || what == unreachableNow && w.said.what == what {
		return nil
	}
	w.said = now
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
