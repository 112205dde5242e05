package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

const (
	retryPause    = 200 * time.Millisecond
	retryPauseMax = 15 * time.Second
	postTimeout   = 10 * time.Second
	flushTimeout  = 2 * time.Second
)

// controlPlane is the gateway's way to the control plane.
type controlPlane struct {
	api     *api.Client
	own     *http.Transport                  // nil when the caller brought an HTTP client
	inForce atomic.Pointer[api.GatewayRules] // what the control plane told last; nil before it told anything
	kept    *api.GatewayRules                // what of that is on disk; acknowledge's own, and finish's after it
	due     chan struct{}                    // holds one token when inForce has to be kept and acknowledged
}

func newControlPlane(cfg Config) *controlPlane {
	c := &controlPlane{due: make(chan struct{}, 1)}
	client := cfg.HTTPClient
	if client == nil {
		c.own = http.DefaultTransport.(*http.Transport).Clone()
		client = &http.Client{Transport: c.own}
	}
	c.api = api.New(cfg.ControlURL, cfg.Token, api.WithHTTPClient(client), api.WithUserAgent("postern-gateway"))
	return c
}

func (c *controlPlane) close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

func (c *controlPlane) acknowledge(ctx context.Context, ack api.GatewayAck) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	return c.api.Acknowledge(ctx, ack)
}

func (c *controlPlane) report(ctx context.Context, batch api.GatewayReport) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	return c.api.Report(ctx, batch)
}

// hopeless reports whether sending the same report again can't help.
func hopeless(err error) bool {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// followRules keeps the rules stream open until ctx ends.
func (g *Gateway) followRules(ctx context.Context) {
	pause := backoff{}
	for ctx.Err() == nil {
		got, err := g.readRules(ctx)
		if ctx.Err() != nil {
			return
		}
		if got {
			pause = backoff{}
		}
		g.log.Warn("the rules stream ended: decides by the last rules and connects again",
			"revision", g.Revision(), "error", err)
		pause.wait(ctx)
	}
}

// readRules opens the rules stream and applies what comes until it ends. got says that rules came.
func (g *Gateway) readRules(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A control plane that vanished without a word sends nothing, not even the empty lines: the watch ends the stream.
	watch := time.AfterFunc(g.cfg.KeepAlive, func() { cancel(errSilent) })
	defer watch.Stop()
	stream, err := g.ctl.api.Rules(ctx, api.GatewayHello{
		GatewayID: g.cfg.ID, ProofKey: g.cfg.Key.Public().(ed25519.PublicKey), Revision: g.Revision(),
	})
	if err != nil {
		return false, because(ctx, err)
	}
	defer stream.Close() //nolint:errcheck // only read from
	g.back.tellAnew()
	for {
		doc, err := stream.NextDocument(func() { watch.Reset(g.cfg.KeepAlive) })
		if errors.Is(err, io.EOF) {
			return got, errors.New("the control plane closed the stream")
		}
		if err != nil {
			return got, because(ctx, err)
		}
		if err := g.apply(doc); err != nil {
			return got, err
		}
		got = true
	}
}

var errSilent = errors.New("the control plane fell silent")

// because returns the cause of ctx's end when ctx has ended, and err otherwise.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// apply puts a document of the rules stream into force, cuts the flows that it no longer allows, and leaves it to
// acknowledge to keep it: a disk that is slow or full must not delay the rules that come next. A revision below the last
// is applied like any other: the control plane was restored from a backup, and what it says holds.
func (g *Gateway) apply(doc []byte) error {
	wire, set, err := decodeRules(doc)
	if err != nil {
		return err
	}
	if before := g.Revision(); set.Revision < before {
		g.log.Warn("the control plane went back to an older revision", "from", before, "to", set.Revision)
	}
	cut := g.enforce(set)
	g.log.Info("rules applied", "revision", set.Revision, "clusters", len(set.Clusters), "flows_cut", cut)
	g.ctl.inForce.Store(&wire)
	select {
	case g.ctl.due <- struct{}{}:
	default:
	}
	return nil
}

// keep writes the rules in force to disk unless they are there.
func (g *Gateway) keep() error {
	rules := g.ctl.inForce.Load()
	if rules == nil || rules == g.ctl.kept || g.cfg.RulesFile == "" {
		return nil
	}
	if err := saveRules(g.cfg.RulesFile, *rules); err != nil {
		return fmt.Errorf("keep the rules of revision %d, which are in force: %w", rules.Revision, err)
	}
	g.ctl.kept = rules
	return nil
}

// enforce puts rules into force, and returns how many flows they ended.
func (g *Gateway) enforce(set link.RuleSet) (cut int) {
	rules := policy.Compile(set)
	g.rules.Store(rules)
	cut = g.flows.recheck(rules, reasonRevoked)
	g.back.keep(set)
	return cut
}

// acknowledge keeps the rules in force on disk and then tells the control plane their revision, after each change and
// until both succeeded.
func (g *Gateway) acknowledge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ctl.due:
		}
		for pause := (backoff{}); ; pause.wait(ctx) {
			revision := g.ctl.inForce.Load().Revision
			err := g.keep()
			if err == nil {
				err = g.ctl.acknowledge(ctx, api.GatewayAck{GatewayID: g.cfg.ID, Revision: revision})
			}
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				break
			}
			g.log.Warn("the revision in force could not be acknowledged: will go on trying", "revision", revision, "error", err)
		}
	}
}

// backoff paces retries: it doubles from one to the next, and each pause is drawn between half of it and all of it, so
// that many gateways do not come back at once. The zero value starts anew.
type backoff struct{ last time.Duration }

// wait pauses, or returns early when ctx ends.
func (b *backoff) wait(ctx context.Context) { sleep(ctx, b.next()) }

// next returns how long to pause.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, retryPause), retryPauseMax)
	return b.last/2 + rand.N(b.last/2)
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
