package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// gateway follows the rules as the real one does.
type gateway struct {
	id     string
	client *api.Client
	rules  *policy.Rules
	at     link.RulesVersion

	mu      sync.Mutex
	applied map[int64]time.Time // revision → when it was in force
	acked   map[int64]time.Time
	applies []time.Duration
	due     chan struct{} // holds a token when there is something to acknowledge
}

func newGateway(id, url string) *gateway {
	return &gateway{
		id: id, client: api.New(url, gatewayToken), due: make(chan struct{}, 1),
		applied: make(map[int64]time.Time), acked: make(map[int64]time.Time),
	}
}

func (g *gateway) open(ctx context.Context) (*api.RuleStream, error) {
	return g.client.Rules(ctx, api.GatewayHello{
		GatewayID: g.id, ProofKey: make([]byte, ed25519.PublicKeySize), Revision: g.at.Revision, Tag: g.at.Tag,
	})
}

// next reads to the end of a set or a change.
func next(s *api.RuleStream) (d link.RuleDelta, to link.RulesVersion, size int64, err error) {
	for {
		doc, err := s.NextDocument(nil)
		if err != nil {
			return d, to, size, err
		}
		size += int64(len(doc))
		var wire api.GatewayRules
		dec := json.NewDecoder(bytes.NewReader(doc))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&wire); err != nil {
			return d, to, size, err
		}
		d.From, d.Revision, to = wire.From, wire.Revision, link.RulesVersion{Revision: wire.Revision, Tag: wire.Tag}
		for _, c := range wire.Clusters {
			rules, err := clusterRules(c)
			if err != nil {
				return d, to, size, err
			}
			d.Clusters = append(d.Clusters, rules)
		}
		for _, id := range wire.RemovedClusters {
			d.RemovedClusters = append(d.RemovedClusters, link.ID(id))
		}
		if !wire.More {
			return d, to, size, nil
		}
	}
}

// clusterRules are the settings that the simulation's clusters have.
func clusterRules(w api.GatewayClusterRules) (link.ClusterRules, error) {
	c := link.ClusterRules{
		ClusterID: link.ID(w.ClusterID), ProjectID: link.ID(w.ProjectID), PrivateNames: w.PrivateNames, PublicNames: w.PublicNames,
		PublicAccess: link.PublicAccess(w.PublicAccess),
	}
	for _, b := range w.Backends {
		c.Backends = append(c.Backends, link.Backend{Address: b.Address})
	}
	for _, e := range w.EndpointIDs {
		c.Endpoints = append(c.Endpoints, link.EndpointID(e))
	}
	for _, a := range w.AllowList {
		p, err := netip.ParsePrefix(a.Prefix)
		if err != nil {
			return c, err
		}
		c.AllowList = append(c.AllowList, link.AllowEntry{Prefix: p, UI: a.UI, SQL: a.SQL})
	}
	return c, nil
}

// follow applies what comes until the stream ends.
func (g *gateway) follow(ctx context.Context, s *api.RuleStream) error {
	for {
		d, to, _, err := next(s)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the simulation is over
		case err != nil:
			return fmt.Errorf("gateway %s: %w", g.id, err)
		}
		if d.From != d.Revision {
			start := time.Now()
			rules, err := g.rules.Apply(d)
			if err != nil {
				return fmt.Errorf("gateway %s: %w", g.id, err)
			}
			now := time.Now()
			g.mu.Lock()
			g.rules, g.at = rules, to
			for r := d.From + 1; r <= d.Revision; r++ {
				g.applied[r] = now
			}
			g.applies = append(g.applies, now.Sub(start))
			g.mu.Unlock()
		}
		select {
		case g.due <- struct{}{}:
		default:
		}
	}
}

// acknowledge tells the control plane the newest revision, and what changes meanwhile in one.
func (g *gateway) acknowledge(ctx context.Context) {
	for last := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-g.due:
		}
		revision := g.revision()
		if g.client.Acknowledge(ctx, api.GatewayAck{GatewayID: g.id, Revision: revision}) != nil {
			continue
		}
		now := time.Now()
		g.mu.Lock()
		for r := max(last+1, revision-1000); r <= revision; r++ {
			g.acked[r] = now
		}
		g.mu.Unlock()
		last = revision
	}
}

func (g *gateway) revision() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at.Revision
}

func (g *gateway) ackedUpTo(revision int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.acked[revision]
	return ok
}
