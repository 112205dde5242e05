package httpapi

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
)

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// FeedQuery asks for a part of the feed, or for a stream of it.
type FeedQuery struct {
	Cursor      string    `query:"cursor" doc:"next_cursor of an earlier answer, or the id of a streamed event; absent for the oldest event that is kept"`
	Since       time.Time `query:"since" doc:"Without a cursor: begin with the first event of this time or later"`
	Limit       int       `query:"limit" minimum:"0" doc:"How many at most: 100 when 0, at most 500; not of a stream"`
	ProjectID   string    `query:"project_id" doc:"Its own events and those of its clusters alone"`
	ClusterID   string    `query:"cluster_id" doc:"Of this cluster alone"`
	Type        string    `query:"type" doc:"Of this type alone"`
	Accept      string    `header:"Accept" doc:"text/event-stream for a stream"`
	LastEventID string    `header:"Last-Event-ID" doc:"Where a stream goes on; counts more than cursor"`
}

func (q FeedQuery) query() (f control.FeedQuery, err error) {
	f = control.FeedQuery{Cursor: q.Cursor, Since: q.Since, Limit: q.Limit, Type: q.Type}
	if q.ProjectID != "" {
		if f.ProjectID, err = link.ParseID("project_id", q.ProjectID); err != nil {
			return f, err
		}
	}
	if q.ClusterID != "" {
		f.ClusterID, err = link.ParseID("cluster_id", q.ClusterID)
	}
	return f, err
}

func (s *server) events() {
	op := route{
		method: http.MethodGet, path: "/api/v1/events", id: "ListEvents", tag: "Events",
		summary: "List the events of everything that the caller may see, oldest first, or stream them",
	}.operation()
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A part of the feed; or, asked for by Accept, server-sent events without end, whose data are FeedEvents and whose ids are cursors",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.FeedPage](), true, "")},
			eventStream:        {Schema: &huma.Schema{Type: huma.TypeString, Description: "Server-sent events; a comment keeps the stream alive"}},
		},
	}}
	huma.Register(s.api, op, s.feedOrStream)
}

// feedOrStream answers with a part of the feed, or with a stream of it.
func (s *server) feedOrStream(ctx context.Context, in *FeedQuery) (*huma.StreamResponse, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	caller := callerOf(ctx)
	streams := acceptsStream(in.Accept)
	if streams && in.LastEventID != "" {
		q.Cursor = in.LastEventID
	}
	// Also the first of a stream: a cursor that is no good is answered as an error.
	first, err := s.plane.Feed(ctx, caller, q)
	if err != nil {
		return nil, err
	}
	if streams {
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			end, full := s.streams.open(caller)
			if full != nil {
				_, w := humago.Unwrap(hctx)
				full.write(w)
				return
			}
			defer end()
			s.streamEvents(ctx, hctx, caller, q, first)
		}}, nil
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		w.Header().Set("Content-Type", "application/json")
		page := api.FeedPage{Events: each(first.Events, wireFeedEvent), NextCursor: first.Next, More: first.More}
		_ = json.NewEncoder(w).Encode(page) // the peer is gone when this fails
	}}, nil
}

// acceptsStream reports whether an Accept header names server-sent events.
func acceptsStream(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		if typ, _, err := mime.ParseMediaType(part); err == nil && typ == eventStream {
			return true
		}
	}
	return false
}

func wireFeedEvent(e link.Event) api.FeedEvent {
	return api.FeedEvent{
		Event: wireEvent(e), Object: api.EventObject{Kind: e.Object.Kind, ID: e.Object.ID},
		OrganisationID: string(e.Place.OrganisationID), ProjectID: string(e.Place.ProjectID), ClusterID: string(e.Place.ClusterID),
	}
}
