package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
)

// feedCommand shows the feed: what happened to everything that the caller may see.
func (a *app) feedCommand() *cobra.Command {
	var (
		follow  bool
		cluster string
		since   time.Duration
		typ     string
	)
	cmd := a.verb("event", "What happened, when, and who did it", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		q := api.FeedQuery{Type: typ}
		if cluster != "" {
			cl, err := a.pickCluster(ctx, c, cluster)
			if err != nil {
				return err
			}
			q.ClusterID = cl.ID
		}
		switch {
		case since < 0:
			return usagef("give how long ago, for example 1h", "--since cannot be %v", since)
		case since > 0:
			q.Since = time.Now().Add(-since)
		}
		if follow {
			return a.followEvents(ctx, c, q)
		}
		all := api.FeedPage{Events: []api.FeedEvent{}}
		for q.Limit = 500; ; {
			page, err := c.Feed(ctx, q)
			if err != nil {
				return err
			}
			all.Events, all.NextCursor = append(all.Events, page.Events...), page.NextCursor
			if q.Cursor = page.NextCursor; !page.More {
				break
			}
		}
		return a.show(all, &table{head: []string{"AT", "OBJECT", "WHAT", "STATE", "WHY", "WHO", "MESSAGE"}, none: "no events"}, func(t *table) {
			for _, e := range all.Events {
				t.add(e.At.Format(time.DateTime), e.Object.Kind+" "+e.Object.ID, e.Type, e.State, e.Reason, e.Actor, saying(e.Event))
			}
		})
	})
	cmd.Aliases = []string{"events"}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "show what happens as it happens, until interrupted")
	f.StringVarP(&cluster, "cluster", "c", "", "of one cluster, by id or name (default everything)")
	f.DurationVar(&since, "since", 0, "begin so long ago, for example 1h (default the oldest event that is kept)")
	f.StringVar(&typ, "type", "", "of one type, for example STATE_CHANGED")
	return cmd
}

// followPause is how long followEvents waits before it opens a stream anew.
const followPause = time.Second

// followEvents prints events as they happen: a line each, or with --output json a document per line. A stream that breaks is
// gone on with.
func (a *app) followEvents(ctx context.Context, c *api.Client, q api.FeedQuery) error {
	for {
		s, err := c.StreamEvents(ctx, q)
		if err != nil {
			return unlessAsked(ctx, err)
		}
		err = a.printEvents(s)
		q.Cursor = s.Cursor()
		_ = s.Close()
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return unlessAsked(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

// unlessAsked is err, unless it only says that somebody asked to stop.
func unlessAsked(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// printEvents prints a stream until it ends.
func (a *app) printEvents(s *api.EventStream) error {
	for {
		e, err := s.Next()
		if err != nil {
			return err
		}
		if a.json() {
			err = json.NewEncoder(a.out).Encode(e)
		} else {
			_, err = fmt.Fprintf(a.out, "%s  %s  %s %s  %s\n", e.At.Format(time.DateTime), e.Type, e.Object.Kind, e.Object.ID, e.Message)
			if err == nil && e.NextStep != "" {
				_, err = fmt.Fprintf(a.out, "  next step: %s\n", e.NextStep)
			}
		}
		if err != nil {
			return err
		}
	}
}
