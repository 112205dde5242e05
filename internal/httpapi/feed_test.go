package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// happen writes events of a cluster.
func (w *world) happen(t *testing.T, types ...string) {
	t.Helper()
	err := w.store.Write(t.Context(), func(tx *store.Tx) error {
		for _, typ := range types {
			err := tx.AddEvent(link.Event{
				Object: link.ObjectRef{Kind: link.ObjectConnection, ID: w.cluster.ID + "/" + endpointA}, Type: typ, State: "S", Message: "m", NextStep: "n", Actor: "test",
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func typesOf(events []api.FeedEvent) (out []string) {
	for _, e := range events {
		out = append(out, e.Type)
	}
	return out
}

func TestFeedPages(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	start, err := w.client.Feed(ctx, api.FeedQuery{})
	if err != nil || start.More || start.NextCursor == "" || len(start.Events) < 3 || start.Events[0].ID != 1 {
		t.Fatalf("the whole feed: %+v, %v", start, err)
	}
	w.happen(t, "A", "B", "C", "D", "E")
	var got []string
	for q := (api.FeedQuery{Cursor: start.NextCursor, Limit: 2}); ; {
		page, err := w.client.Feed(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if e.ClusterID != w.cluster.ID || e.ProjectID != w.cluster.ProjectID || e.Object.Kind != "connection" || e.NextStep != "n" || e.State != "S" {
				t.Errorf("an event: %+v", e)
			}
		}
		got = append(got, typesOf(page.Events)...)
		q.Cursor = page.NextCursor
		if !page.More {
			if len(page.Events) != 1 {
				t.Errorf("the last part: %+v", page)
			}
			again, err := w.client.Feed(ctx, q)
			if err != nil || len(again.Events) != 0 || again.More || again.NextCursor == "" {
				t.Errorf("after the end: %+v, %v", again, err)
			}
			break
		}
	}
	if !slices.Equal(got, []string{"A", "B", "C", "D", "E"}) {
		t.Errorf("in parts: %v", got)
	}
	for name, tt := range map[string]struct {
		q    api.FeedQuery
		want []string
	}{
		"of a type":            {api.FeedQuery{Type: "C"}, []string{"C"}},
		"of a cluster":         {api.FeedQuery{ClusterID: w.cluster.ID, Cursor: start.NextCursor}, []string{"A", "B", "C", "D", "E"}},
		"of no cluster":        {api.FeedQuery{ClusterID: nobody}, nil},
		"of a project":         {api.FeedQuery{ProjectID: w.cluster.ProjectID, Type: "E"}, []string{"E"}},
		"since the future":     {api.FeedQuery{Since: time.Now().Add(time.Hour)}, nil},
		"since the past":       {api.FeedQuery{Since: time.Now().Add(-time.Hour), Type: "A"}, []string{"A"}},
		"a limit beyond bound": {api.FeedQuery{Limit: 1 << 30, Type: "B"}, []string{"B"}},
	} {
		page, err := w.client.Feed(ctx, tt.q)
		if err != nil || !slices.Equal(typesOf(page.Events), tt.want) {
			t.Errorf("%s: %v, %v; want %v", name, typesOf(page.Events), err, tt.want)
		}
	}
	_, err = w.gateway.Feed(ctx, api.FeedQuery{})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != http.StatusForbidden {
		t.Errorf("a gateway reads the feed: %v", err)
	}
}

func TestFeedCursorsAreSealed(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	page, err := w.client.Feed(ctx, api.FeedQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	good := page.NextCursor
	other := newWorld(t)
	foreign, err := other.client.Feed(ctx, api.FeedQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"1", "nonsense!", good[1:], good + "A", "B" + good[1:], strings.ToUpper(good), foreign.NextCursor}
	for i := range good {
		c := byte('A')
		if good[i] == c {
			c = 'B'
		}
		bad = append(bad, good[:i]+string(c)+good[i+1:])
	}
	for _, c := range bad {
		_, err := w.client.Feed(ctx, api.FeedQuery{Cursor: c})
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != http.StatusBadRequest || e.Details[0].Reason != "MALFORMED_CURSOR" || e.Details[0].Field != "cursor" {
			t.Errorf("cursor %q: %v", c, err)
		}
	}
}

func openStream(ctx context.Context, t *testing.T, c *api.Client, q api.FeedQuery) *api.EventStream {
	t.Helper()
	s, err := c.StreamEvents(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A reader that comes again and again with what it had last sees every event once and in order, whatever is written
// meanwhile and wherever the streams broke.
func TestEventStreamResumes(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	const writers, each = 4, 25
	done := make(chan error, writers)
	for range writers {
		go func() {
			for range each {
				err := w.store.Write(ctx, func(tx *store.Tx) error {
					return tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectConnection, ID: w.cluster.ID + "/" + endpointA}, Type: "TICK"})
				})
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	var ids []int64
	q := api.FeedQuery{Type: "TICK"}
	for round := 1; len(ids) < writers*each; round++ {
		s := openStream(ctx, t, w.client, q)
		for range round {
			if len(ids) == writers*each {
				break
			}
			e, err := s.Next()
			if err != nil {
				t.Fatalf("after %d events: %v", len(ids), err)
			}
			ids = append(ids, e.ID)
		}
		q.Cursor = s.Cursor()
		_ = s.Close()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.client.Feed(ctx, api.FeedQuery{Type: "TICK", Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	var want []int64
	for _, e := range all.Events {
		want = append(want, e.ID)
	}
	if !slices.Equal(ids, want) || !slices.IsSorted(ids) {
		t.Errorf("streamed %v\nstored  %v", ids, want)
	}
}

func TestEventStreamEnds(t *testing.T) {
	ends := func(t *testing.T, s *api.EventStream) {
		t.Helper()
		for {
			if _, err := s.Next(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatalf("the stream ended with %v", err)
			}
		}
	}
	t.Run("with the server", func(t *testing.T) {
		w := newWorld(t)
		s := openStream(within(t), t, w.client, api.FeedQuery{})
		w.stop()
		ends(t, s)
	})
	t.Run("with its caller's token", func(t *testing.T) {
		w := newWorld(t)
		s := openStream(within(t), t, w.client, api.FeedQuery{})
		err := w.store.Write(t.Context(), func(tx *store.Tx) error {
			return tx.PutToken("alice", string(policy.Operator), "another-token-of-the-test")
		})
		if err != nil {
			t.Fatal(err)
		}
		ends(t, s)
		_, err = w.client.StreamEvents(within(t), api.FeedQuery{Cursor: s.Cursor()})
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != http.StatusUnauthorized {
			t.Errorf("the old token opens a stream: %v", err)
		}
	})
}

// What travels is what browsers read: retry, id, event, data, comments.
func TestEventStreamTravelsAsServerSentEvents(t *testing.T) {
	w := newWorld(t)
	w.happen(t, "FIRST")
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, w.url+"/api/v1/events?type=FIRST", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+operatorToken)
	req.Header.Set("Accept", "text/event-stream;q=1, application/json;q=0.5")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if typ := resp.Header.Get("Content-Type"); typ != "text/event-stream" {
		t.Errorf("content type %q", typ)
	}
	want := []string{"retry: 1000", "", "id: ", "event: FIRST", `data: {"id":`, "", "id: ", "", ": alive", "", ": alive"}
	in := bufio.NewScanner(resp.Body)
	last := ""
	for _, prefix := range want {
		if !in.Scan() {
			t.Fatalf("the stream ended: %v", in.Err())
		}
		line := in.Text()
		if !strings.HasPrefix(line, prefix) || prefix == "" && line != "" {
			t.Errorf("line %q, want %q", line, prefix)
		}
		if strings.HasPrefix(line, "id: ") {
			last = line[4:]
		}
	}
	// As a browser comes again: the header counts, the query is the old one.
	req.Header.Set("Last-Event-ID", last)
	w.happen(t, "FIRST")
	again, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Body.Close()
	events := 0
	for in := bufio.NewScanner(again.Body); in.Scan() && in.Text() != ": alive"; {
		if strings.HasPrefix(in.Text(), "data: ") {
			events++
		}
	}
	if events != 1 {
		t.Errorf("%d events after the last id, want 1", events)
	}
}
