package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/policy"
)

// How often a stream's caller is looked at anew: for so long goes on what was taken away.
const recheckEvery = 2 * time.Second

// retryIn is how long a browser waits before it opens a stream anew.
const retryIn = time.Second

// streamEvents answers with server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): the first
// part of the feed and what follows it, each event with the cursor after it as its id. One that goes on from the last id has
// missed nothing and sees nothing twice. A reader that is slow holds up itself alone: no more is read for it than it takes.
// The stream ends with the server, with its reader, and as soon as its caller may see something else than when it began:
// then the reader comes again and is answered by what holds now.
func (s *server) streamEvents(ctx context.Context, hctx huma.Context, caller policy.Caller, q control.FeedQuery, part control.FeedPage) {
	_, w := humago.Unwrap(hctx)
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy in front must not wait for more
	w.WriteHeader(http.StatusOK)
	out := &lines{w: w, rc: http.NewResponseController(w), patience: streamPatience}
	if out.write(fmt.Appendf(nil, "retry: %d\n\n", retryIn.Milliseconds())) != nil {
		return
	}
	checked := time.Now()
	q.Limit, q.Since = 0, time.Time{}
	for {
		if out.write(writeEvents(part)) != nil {
			return
		}
		if !part.More && !s.awaitEvents(ctx, hctx, out, caller, part, &checked) {
			return
		}
		if time.Since(checked) > recheckEvery {
			if !s.sameCaller(hctx, caller) {
				return
			}
			checked = time.Now()
		}
		q.Cursor = part.Next
		var err error
		if part, err = s.plane.Feed(ctx, caller, q); err != nil {
			if ctx.Err() == nil {
				requestOf(ctx).fail(ctx, err)
			}
			return // the reader comes again, and is told why
		}
	}
}

// awaitEvents waits until there is an event after a part of the feed, and keeps the stream alive and its caller checked
// meanwhile. It is false when the stream is over.
func (s *server) awaitEvents(ctx context.Context, hctx huma.Context, out *lines, caller policy.Caller, part control.FeedPage, checked *time.Time) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := make(chan error, 1)
	var waiting sync.WaitGroup
	waiting.Go(func() { news <- s.plane.WaitFeed(ctx, part) })
	defer func() {
		cancel()
		waiting.Wait()
	}()
	alive := time.NewTicker(s.o.KeepAlive)
	defer alive.Stop()
	check := time.NewTicker(recheckEvery)
	defer check.Stop()
	for {
		select {
		case err := <-news:
			return err == nil
		case <-alive.C:
			if out.write([]byte(": alive\n\n")) != nil {
				return false
			}
		case <-check.C:
			if !s.sameCaller(hctx, caller) {
				return false
			}
			*checked = time.Now()
		case <-ctx.Done():
			return false
		case <-s.o.Done:
			return false
		}
	}
}

// sameCaller reports whether the request's token still stands for the same caller, with the same grants.
func (s *server) sameCaller(hctx huma.Context, was policy.Caller) bool {
	now, err := s.caller(hctx)
	return err == nil && now.ID == was.ID && now.Role == was.Role && reflect.DeepEqual(now.Grants, was.Grants)
}

// writeEvents writes a part of the feed.
func writeEvents(part control.FeedPage) []byte {
	var b bytes.Buffer
	for i, e := range part.Events {
		data, err := json.Marshal(wireFeedEvent(e))
		if err != nil {
			continue // it holds nothing that does not marshal
		}
		fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", part.Cursors[i], e.Type, data)
	}
	// What was looked at and is not for this reader moves it on too: an id without data is no event, and counts.
	fmt.Fprintf(&b, "id: %s\n\n", part.Next)
	return b.Bytes()
}
