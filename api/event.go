package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// EventObject names what an event is about.
type EventObject struct {
	Kind string `json:"kind" doc:"connection, cluster, claim, trusted-owner, …"`
	ID   string `json:"id" doc:"The object's key: its parts, what it belongs to first, joined by slashes"`
}

// FeedEvent is an event with what it is about and where that stands.
type FeedEvent struct {
	Event
	Object         EventObject `json:"object"`
	OrganisationID string      `json:"organisation_id,omitempty"`
	ProjectID      string      `json:"project_id,omitempty"`
	ClusterID      string      `json:"cluster_id,omitempty"`
}

// FeedPage is a part of the feed.
type FeedPage struct {
	Events     []FeedEvent `json:"events" doc:"In the order in which they were stored"`
	NextCursor string      `json:"next_cursor" doc:"Always given: send it as cursor for what comes after, also when nothing does yet"`
	More       bool        `json:"more" doc:"There is more already; the part may be shorter than its limit all the same"`
}

// FeedQuery asks for a part of the feed. The zero value is its oldest part that is kept.
type FeedQuery struct {
	Cursor    string    // NextCursor of an earlier answer, or the id of a streamed event
	Since     time.Time // without a cursor: begin with the first event of this time or later
	Limit     int       // 100 when 0; at most 500
	ProjectID string    // its own events and those of its clusters
	ClusterID string
	Type      string
}

func (q FeedQuery) values() url.Values {
	v := url.Values{}
	for name, s := range map[string]string{"cursor": q.Cursor, "project_id": q.ProjectID, "cluster_id": q.ClusterID, "type": q.Type} {
		if s != "" {
			v.Set(name, s)
		}
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Feed returns a part of the events of all objects that the caller may see. An *Error of status 410 says that some of what
// followed the cursor is not kept any more.
func (c *Client) Feed(ctx context.Context, q FeedQuery) (FeedPage, error) {
	var out FeedPage
	err := c.call(ctx, http.MethodGet, path("events"), q.values(), nil, &out)
	return out, err
}

// EventStream is an open stream of events. It is not safe for concurrent use, except for Close.
type EventStream struct {
	body   io.ReadCloser
	in     *bufio.Reader
	cursor string
}

// StreamEvents opens the stream of events: what follows the query's cursor, and then what happens. Limit does not count. The
// stream ends when ctx does, when the server shuts down, and when the caller may see something else than when it began; go
// on with another one from Cursor. The caller closes it. StreamEvents is never retried by the client.
func (c *Client) StreamEvents(ctx context.Context, q FeedQuery) (*EventStream, error) {
	u := path("events")
	u.RawQuery = q.values().Encode()
	resp, err := c.get(ctx, u, "text/event-stream")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return &EventStream{body: resp.Body, in: bufio.NewReaderSize(resp.Body, 16<<10), cursor: q.Cursor}, nil
}

// maxEventLine bounds a line of the stream, in bytes.
const maxEventLine = 1 << 20

// Next waits for the next event. It returns io.EOF when the server ended the stream.
func (s *EventStream) Next() (FeedEvent, error) {
	var data strings.Builder
	for {
		line, err := s.line()
		if err != nil {
			return FeedEvent{}, err
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && data.Len() > 0:
			var e FeedEvent
			if err := json.Unmarshal([]byte(data.String()), &e); err != nil {
				return FeedEvent{}, fmt.Errorf("an event that cannot be read: %w", err)
			}
			return e, nil
		case field == "id":
			s.cursor = value
		case field == "data":
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
			if data.Len() > maxEventLine {
				return FeedEvent{}, fmt.Errorf("an event of the stream is longer than %d bytes", maxEventLine)
			}
		}
	}
}

// line reads a line without its end.
func (s *EventStream) line() (string, error) {
	var line []byte
	for {
		part, err := s.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxEventLine:
			return "", fmt.Errorf("a line of the stream is longer than %d bytes", maxEventLine)
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return "", err // half a line is none: the stream goes on from the cursor before it
		default:
			return strings.TrimRight(string(line), "\r\n"), nil
		}
	}
}

// Cursor is where another stream goes on after the last event that Next returned.
func (s *EventStream) Cursor() string { return s.cursor }

// Close ends the stream. A Next that waits returns an error.
func (s *EventStream) Close() error { return s.body.Close() }
