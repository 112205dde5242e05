//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// result is what a run came to.
type result struct {
	st       statistics
	took     time.Duration
	compared int      // things that were acknowledged
	wrong    []string // and are not as they were
	events   int      // that streams brought
	traffic  string
	admitted time.Duration // from the answer to a change of the rules to the first flow that passes by it
	usage    map[string]usage
	outage   bool
}

// run runs one setting in an empty folder.
func run(ctx context.Context, dir string, s setting) (r *result, err error) {
	r = &result{usage: map[string]usage{}, outage: s.Outage > 0}
	in, err := start(ctx, dir, s)
	if err != nil {
		return r, err
	}
	defer in.stop()
	tenants, err := in.settle(ctx, s)
	if err != nil {
		return r, fmt.Errorf("make the organisations: %w", err)
	}
	tr, err := startTraffic(ctx, in)
	if err != nil {
		return r, err
	}
	defer tr.stop()
	clients := in.clients(s, tenants, &r.st)
	following, endFollowing := context.WithCancel(ctx)
	defer endFollowing()
	followers := make([]*follower, 0, s.Clients/10+1)
	for _, c := range clients {
		if c.n%10 != 0 {
			continue
		}
		f, err := follow(following, c.api, &r.st)
		if err != nil {
			return r, err
		}
		followers = append(followers, f)
	}

	flowing, endFlows := context.WithCancel(ctx)
	defer endFlows()
	var flows, asking sync.WaitGroup
	flows.Go(func() { tr.run(flowing) })
	began := time.Now()
	for _, c := range clients {
		asking.Go(func() { c.run(ctx, began.Add(s.For), time.Duration(float64(time.Second)/s.Rate)) })
	}
	outageErr := in.interrupt(ctx, s)
	asking.Wait()
	r.took = time.Since(began)
	if err := errors.Join(outageErr, ctx.Err()); err != nil {
		return r, err
	}
	for _, p := range append(in.planes, in.gateway) {
		if r.usage[p.name], err = p.usage(); err != nil {
			return r, err
		}
	}

	if r.admitted, err = tr.admit(ctx); err != nil {
		return r, fmt.Errorf("the gateway does not learn of a change: %w", err)
	}
	endFlows()
	flows.Wait()
	if r.traffic, err = tr.result(); err != nil {
		return r, fmt.Errorf("through the gateway: %w", err)
	}
	books := make([]book, 0, len(clients))
	for _, c := range clients {
		books = append(books, c.book)
	}
	if r.compared, r.wrong, err = in.audit(ctx, tenants, books); err != nil {
		return r, fmt.Errorf("read everything back: %w", err)
	}
	for _, f := range followers {
		if err := f.check(ctx); err != nil {
			return r, err
		}
		f.end()
		<-f.done
		r.events += len(f.ids)
	}
	return r, nil
}

func (in *installation) clients(s setting, tenants []*tenant, st *statistics) []*client {
	out := make([]*client, s.Clients)
	for n := range out {
		t := tenants[n%len(tenants)]
		out[n] = &client{n: n, api: in.as(n, t.keys[n/len(tenants)]), of: t, st: st, book: book{}, ids: map[thing]string{}}
	}
	return out
}

// interrupt stops PostgreSQL at once, as by pg_ctl stop -m immediate, and starts it again.
func (in *installation) interrupt(ctx context.Context, s setting) error {
	if s.Outage == 0 {
		return nil
	}
	pause(ctx, s.For/3)
	in.postgres.Crash()
	pause(ctx, s.Outage)
	return in.postgres.Start()
}

// err says what should not have happened.
func (r *result) err() error {
	var errs []error
	for o, what := range map[outcome]string{failed: "failed", limited: "were put off for their rate", away: "found the database away"} {
		if n := r.st.total(o); n > 0 && (o != away || !r.outage) {
			errs = append(errs, fmt.Errorf("%d requests %s", n, what))
		}
	}
	if r.outage && r.st.total(away) == 0 {
		errs = append(errs, errors.New("nobody noticed that the database was away"))
	}
	if len(r.wrong) > 0 {
		errs = append(errs, fmt.Errorf("%d of %d things are not as they were acknowledged:\n%s", len(r.wrong), r.compared, strings.Join(r.wrong[:min(len(r.wrong), mostFailures)], "\n")))
	}
	return errors.Join(errs...)
}

func (r *result) print(out io.Writer) {
	r.st.print(out)
	if r.took > 0 {
		fmt.Fprintf(out, "%.0f requests a second over %.0f s\n", float64(r.st.total(done)-r.events)/r.took.Seconds(), r.took.Seconds())
	}
	for name, u := range r.usage {
		fmt.Fprintf(out, "%s: %.0f MiB resident, %.0f at most; %.1f s of processor time\n", name, float64(u.RSS)/(1<<20), float64(u.Peak)/(1<<20), u.CPU.Seconds())
	}
	fmt.Fprintf(out, "read back: %d things, %d not as acknowledged; streams: %d events, none missing or twice\n", r.compared, len(r.wrong), r.events)
	fmt.Fprintf(out, "through the gateway: %s; a later change in force after %.0f ms\n\n", r.traffic, r.admitted.Seconds()*1000)
}
