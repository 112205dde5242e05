package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// simulate does all of it and measures. What it does is told to progress.
func simulate(ctx context.Context, s setting, progress io.Writer) (r result, err error) {
	r.Setting = s
	if s.Gateways < 2 || s.Clusters < 1 || s.Changes < 1 || s.Every <= 0 {
		return r, errors.New("there have to be two gateways or more, clusters and changes")
	}
	dir, err := os.MkdirTemp("", "postern-bench-rules-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := newPlane(ctx, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	fmt.Fprintf(progress, "storing %d clusters and %d endpoints\n", s.Clusters, s.Endpoints)
	ids, err := p.fill(ctx, s.Clusters, s.Endpoints)
	if err != nil {
		return r, err
	}

	fmt.Fprintln(progress, "the first gateway loads everything")
	ctx, end := context.WithCancelCause(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer end(nil)
	fleet := make([]*gateway, s.Gateways)
	for i := range fleet {
		fleet[i] = newGateway(fmt.Sprintf("gw-%03d", i), p.url)
	}
	first := fleet[0]
	stream, part, err := first.load(ctx, s, &r)
	if err != nil {
		return r, err
	}
	r.DecideNs = decide(first.rules, s)
	run := func(g *gateway, stream *api.RuleStream) {
		following.Go(func() {
			if err := g.follow(ctx, stream); err != nil {
				end(err)
			}
		})
		following.Go(func() { g.acknowledge(ctx) })
	}
	run(first, stream)
	for _, g := range fleet[1:] {
		g.rules, g.at = policy.Compile(part), first.at
		stream, err := g.open(ctx)
		if err != nil {
			return r, err
		}
		run(g, stream)
	}
	if err := everywhere(ctx, fleet, first.revision()); err != nil {
		return r, err
	}

	fmt.Fprintf(progress, "%d changes, with %d gateways following\n", s.Changes, s.Gateways)
	calls, err := change(ctx, p, ids, s, fleet)
	if err != nil {
		return r, err
	}
	end(nil)
	following.Wait()
	r.measure(p, fleet, calls)
	r.ControlMemory = heap() - r.FullMemory
	runtime.KeepAlive(fleet)
	return r, nil
}

// load has a gateway without rules get all of them. part is what the other gateways begin with.
func (g *gateway) load(ctx context.Context, s setting, r *result) (stream *api.RuleStream, part link.RuleSet, err error) {
	before := heap()
	start := time.Now()
	if stream, err = g.open(ctx); err != nil {
		return nil, part, err
	}
	d, to, size, err := next(stream)
	if err != nil {
		return nil, part, err
	}
	if len(d.Clusters) != s.Clusters {
		return nil, part, fmt.Errorf("%d clusters came, of %d", len(d.Clusters), s.Clusters)
	}
	read := time.Now()
	g.rules, g.at = policy.Compile(link.RuleSet{Revision: d.Revision, Clusters: d.Clusters}), to
	r.FullLoad, r.FullCompile, r.FullBytes = ms(time.Since(start)), ms(time.Since(read)), size
	part = link.RuleSet{Revision: d.Revision, Clusters: slices.Clone(d.Clusters[:min(s.Part, len(d.Clusters))])} // not all of them in memory for it
	r.FullMemory = heap() - before
	g.due <- struct{}{}
	return stream, part, nil
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// decide is the time of one decision on a flow that is allowed, in nanoseconds: a cluster at random, one of its endpoints.
func decide(rules *policy.Rules, s setting) float64 {
	dice := rand.New(rand.NewPCG(1, 2))
	facts := make([]policy.FlowFacts, 10_000)
	for i := range facts {
		e := dice.IntN(max(s.Endpoints, 1))
		facts[i] = policy.FlowFacts{
			Listener: link.PrivateListener, Source: netip.MustParseAddr("10.0.0.1"), Port: 443, At: time.Now(), EndpointID: endpointName(e),
			Name: link.PrivateName(clusterName(e%s.Clusters), regionName, "postern.example"),
		}
	}
	const rounds = 20
	allowed := 0
	start := time.Now()
	for range rounds {
		for i := range facts {
			if rules.Decide(facts[i]).Allow {
				allowed++
			}
		}
	}
	took := time.Since(start)
	if s.Endpoints > 0 && allowed != rounds*len(facts) {
		panic(fmt.Sprintf("%d of %d flows were allowed: the rules are not those that were stored", allowed, rounds*len(facts)))
	}
	return float64(took.Nanoseconds()) / float64(rounds*len(facts))
}

// everywhere waits until every gateway has acknowledged a revision.
func everywhere(ctx context.Context, fleet []*gateway, revision int64) error {
	late := time.After(time.Minute)
	for _, g := range fleet {
		for !g.ackedUpTo(revision) {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-late:
				return fmt.Errorf("gateway %s has not acknowledged revision %d after a minute", g.id, revision)
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return nil
}

// call is an operator's change.
type call struct{ began, ended time.Time }

// change makes the changes at their pace, and waits until all are acknowledged. The result is by revision.
func change(ctx context.Context, p *plane, ids []link.ID, s setting, fleet []*gateway) (map[int64]call, error) {
	operator := api.New(p.url, operatorToken)
	dice := rand.New(rand.NewPCG(3, 4))
	calls := make(map[int64]call, s.Changes)
	revision := fleet[0].revision()
	pace := time.NewTicker(s.Every)
	defer pace.Stop()
	for i := range s.Changes {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-pace.C:
		}
		id := string(ids[dice.IntN(len(ids))])
		c := call{began: time.Now()}
		var err error
		if i%2 == 0 {
			_, err = operator.AddAllowEntry(ctx, id, api.AllowEntry{CIDRIP: fmt.Sprintf("198.51.%d.%d", i>>8, i&255), CIDRMask: 32, SQL: true})
		} else {
			backends := []string{fmt.Sprintf("10.250.%d.%d:26257", i>>8, i&255)}
			_, err = operator.UpdateCluster(ctx, id, api.UpdateClusterRequest{Backends: &backends})
		}
		if err != nil {
			return nil, err
		}
		c.ended = time.Now()
		revision++
		calls[revision] = c
	}
	return calls, everywhere(ctx, fleet, revision)
}

// measure puts together what the gateways and the control plane noted.
func (r *result) measure(p *plane, fleet []*gateway, calls map[int64]call) {
	var commit, last, request, acked, made []time.Duration
	for revision, c := range calls {
		made = append(made, c.ended.Sub(c.began))
		at, seen := p.committed(revision)
		var latest time.Duration
		for _, g := range fleet {
			applied := g.applied[revision]
			request = append(request, applied.Sub(c.began))
			if seen {
				commit = append(commit, applied.Sub(at))
				acked = append(acked, g.acked[revision].Sub(at))
				latest = max(latest, applied.Sub(at))
			}
		}
		if seen {
			last = append(last, latest)
		}
	}
	r.Commit, r.Last, r.Request = quantilesOf(commit), quantilesOf(last), quantilesOf(request)
	r.Acked, r.Call, r.Apply = quantilesOf(acked), quantilesOf(made), quantilesOf(fleet[0].applies)
}
