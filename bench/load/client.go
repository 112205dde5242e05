//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/postern/postern/api"
)

// client is one of those that ask: a program with an API key, which works on the clusters of its organisation. What it
// makes has names of its own, so that it knows what has to be there.
type client struct {
	n     int
	api   *api.Client
	of    *tenant
	st    *statistics
	book  book
	ids   map[thing]string // of trusted owners, as the API calls them
	made  int              // names used so far
	event string           // cursor of the events
}

// thing is what a client makes and ends.
type thing struct{ kind, cluster, key string }

// The kinds of things.
const (
	connection = "connection"
	owner      = "trusted owner"
	entry      = "allow list entry"
)

// book is what a client was told: whether a thing is there.
type book map[thing]bool

// action is something that a client does, as often as its weight says.
type action struct {
	name   string
	weight int
	do     func(context.Context, *client) error
}

// actions are seven reads to three writes.
var actions = []action{
	{"connection list", 18, func(ctx context.Context, c *client) error {
		_, err := c.api.Connections(ctx, c.cluster())
		return err
	}},
	{"connection get", 20, func(ctx context.Context, c *client) error {
		t, ok := c.one(connection)
		if !ok {
			return errNothing
		}
		_, err := c.api.Connection(ctx, t.cluster, t.key)
		return err
	}},
	{"cluster get", 6, func(ctx context.Context, c *client) error {
		_, err := c.api.Cluster(ctx, c.cluster())
		return err
	}},
	{"trusted owner list", 6, func(ctx context.Context, c *client) error {
		_, err := c.api.TrustedOwners(ctx, c.cluster())
		return err
	}},
	{"allow list", 8, func(ctx context.Context, c *client) error {
		_, err := c.api.AllowList(ctx, c.cluster(), api.Page{Limit: 50})
		return err
	}},
	{"events page", 10, func(ctx context.Context, c *client) error {
		page, err := c.api.Feed(ctx, api.FeedQuery{Cursor: c.event, Limit: 100})
		if err == nil {
			c.event = page.NextCursor
		}
		return err
	}},
	{"me", 2, func(ctx context.Context, c *client) error {
		_, err := c.api.Me(ctx)
		return err
	}},
	{"connection create", 10, func(ctx context.Context, c *client) error {
		return c.make(ctx, thing{connection, c.cluster(), fmt.Sprintf("vpce-%05x%012x", c.n, c.name())})
	}},
	{"connection delete", 6, func(ctx context.Context, c *client) error { return c.drop(ctx, connection) }},
	{"trusted owner add", 4, func(ctx context.Context, c *client) error {
		return c.make(ctx, thing{owner, c.cluster(), fmt.Sprintf("%05d%07d", c.n+1, c.name())})
	}},
	{"trusted owner remove", 3, func(ctx context.Context, c *client) error { return c.drop(ctx, owner) }},
	{"allow list put", 4, func(ctx context.Context, c *client) error {
		n := c.name()
		return c.make(ctx, thing{entry, c.cluster(), fmt.Sprintf("10.%d.%d.%d", c.n%256, n/256%256, n%256)})
	}},
	{"allow list remove", 3, func(ctx context.Context, c *client) error { return c.drop(ctx, entry) }},
}

// errNothing is that there is nothing to do it with.
var errNothing = errors.New("nothing is there")

func (c *client) cluster() string { return c.of.clusters[rand.IntN(len(c.of.clusters))] }

func (c *client) name() int {
	c.made++
	return c.made
}

// one returns a thing of a kind that is there.
func (c *client) one(kind string) (thing, bool) {
	for t, there := range c.book {
		if there && t.kind == kind {
			return t, true
		}
	}
	return thing{}, false
}

// make makes a thing. What became of one whose making failed nobody knows; the caller tries again.
func (c *client) make(ctx context.Context, t thing) error {
	err := c.put(ctx, t)
	for outcomeOf(err) == away {
		err = c.again(ctx, err, func() error { return c.put(ctx, t) })
	}
	if err == nil {
		c.book[t] = true
	}
	return err
}

func (c *client) put(ctx context.Context, t thing) (err error) {
	switch t.kind {
	case connection:
		_, err = c.api.AddConnection(ctx, t.cluster, t.key)
	case owner:
		var o api.TrustedOwner
		o, err = c.api.AddTrustedOwner(ctx, t.cluster, api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: t.key})
		c.ids[t] = o.ID
	case entry:
		yes := true
		_, err = c.api.PutAllowEntry(ctx, t.cluster, t.key, 32, api.AllowEntryUpdate{UI: &yes, SQL: &yes, Name: &t.key})
	}
	return err
}

// drop ends a thing of a kind that is there.
func (c *client) drop(ctx context.Context, kind string) error {
	t, ok := c.one(kind)
	if !ok {
		return errNothing
	}
	err := c.remove(ctx, t)
	for outcomeOf(err) == away {
		err = c.again(ctx, err, func() error {
			err := c.remove(ctx, t)
			if api.IsNotFound(err) {
				return nil // it was done, and the answer was that nobody knows
			}
			return err
		})
	}
	if err == nil {
		c.book[t] = false
	}
	return err
}

func (c *client) remove(ctx context.Context, t thing) (err error) {
	switch t.kind {
	case connection:
		err = c.api.DeleteConnection(ctx, t.cluster, t.key)
	case owner:
		_, err = c.api.RemoveTrustedOwner(ctx, t.cluster, c.ids[t])
	case entry:
		_, err = c.api.RemoveAllowEntry(ctx, t.cluster, t.key, 32)
	}
	return err
}

// again does something once more, as soon as the answer before said.
func (c *client) again(ctx context.Context, before error, do func() error) error {
	c.st.record("write put off", time.Now(), before)
	if e, ok := errors.AsType[*api.Error](before); ok {
		pause(ctx, e.RetryAfter)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return do()
}

// run does one thing after the other until a moment, at random intervals of a mean. The time of each counts from when it was
// due, so that who is kept waiting by one operation shows it for the next ones too. ctx is for what is under way then.
func (c *client) run(ctx context.Context, end time.Time, every time.Duration) {
	weights := 0
	for _, a := range actions {
		weights += a.weight
	}
	for due := time.Now(); ; {
		due = due.Add(time.Duration(rand.ExpFloat64() * float64(every)))
		if due.After(end) || ctx.Err() != nil {
			return
		}
		pause(ctx, time.Until(due))
		a, at := actions[0], rand.IntN(weights)
		for _, a = range actions {
			if at -= a.weight; at < 0 {
				break
			}
		}
		refused := c.st.total(away)
		err := a.do(ctx, c)
		if err == errNothing { //nolint:errorlint // it is nobody else's
			continue
		}
		c.st.record(a.name, due, err)
		if err != nil || c.st.total(away) != refused {
			due = time.Now() // nobody was kept waiting: it was told to come back
		}
	}
}
