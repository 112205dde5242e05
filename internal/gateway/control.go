package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
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
	api *api.Client
	own *http.Transport // nil when the caller brought an HTTP client
	due chan struct{}   // holds one token when the rules in force have to be kept and acknowledged

	wantFull  atomic.Bool                             // the next stream has to begin with the full rules
	connected atomic.Bool                             // the rules stream is open
	stream    atomic.Pointer[context.CancelCauseFunc] // ends the rules stream; nil before the first
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

// askAnew asks for the full rules, by another stream.
func (c *controlPlane) askAnew() {
	if !c.wantFull.Swap(true) { // one that was asked for may be on its way
		if end := c.stream.Load(); end != nil {
			(*end)(errRulesLost)
		}
	}
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
	g.ctl.stream.Store(&cancel)
	// A control plane that vanished without a word sends nothing, not even the empty lines: the watch ends the stream.
	watch := time.AfterFunc(g.cfg.KeepAlive, func() { cancel(errSilent) })
	defer watch.Stop()
	var at link.RulesVersion
	if !g.ctl.wantFull.Load() {
		at = g.kept.version()
	}
	stream, err := g.ctl.api.Rules(ctx, api.GatewayHello{
		GatewayID: g.cfg.ID, ProofKey: g.cfg.Key.Public().(ed25519.PublicKey), Revision: at.Revision, Tag: at.Tag,
	})
	if err != nil {
		return false, because(ctx, err)
	}
	defer stream.Close() //nolint:errcheck // only read from
	g.ctl.connected.Store(true)
	defer g.ctl.connected.Store(false)
	g.pool.TellAnew()
	for news := (&rulesNews{}); ; {
		doc, err := stream.NextDocument(func() { watch.Reset(g.cfg.KeepAlive) })
		if errors.Is(err, io.EOF) {
			return got, errors.New("the control plane closed the stream")
		}
		if err != nil {
			return got, because(ctx, err)
		}
		whole, err := news.add(doc)
		if err != nil {
			return got, err
		}
		if !whole {
			continue
		}
		if err := g.apply(news); err != nil {
			return got, err
		}
		got, news = true, &rulesNews{}
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

// apply puts news of the rules into force, cuts the flows that they no longer allow, and leaves it to acknowledge to keep
// them: a disk that is slow or full must not delay the rules that come next. A full set of a revision below the last is
// applied like any other: the control plane was restored from a backup, and what it says holds.
func (g *Gateway) apply(news *rulesNews) error {
	before := g.kept.version()
	rules, err := news.applyTo(g.rules.Load(), before)
	if errors.Is(err, errMisfit) {
		g.ctl.wantFull.Store(true)
	}
	if err != nil {
		return err
	}
	if rules != g.rules.Load() {
		if news.to.Revision < before.Revision {
			g.log.Warn("the control plane went back to an older revision", "from", before.Revision, "to", news.to.Revision)
		}
		cut := g.enforce(rules)
		clusters, endpoints := rules.Counts()
		g.log.Info("rules applied", "revision", news.to.Revision, "full", news.full(), "clusters", clusters, "endpoints", endpoints, "flows_cut", cut)
	}
	g.kept.put(news)
	if news.full() {
		g.ctl.wantFull.Store(false)
	}
	select {
	case g.ctl.due <- struct{}{}:
	default:
	}
	return nil
}

// enforce puts rules into force, and returns how many flows they ended.
func (g *Gateway) enforce(rules *policy.Rules) (cut int) {
	g.rules.Store(rules)
	g.appliedAt.Store(g.cfg.Now().UnixMilli())
	return g.recheck(rules)
}

// acknowledge keeps the rules in force on disk and then tells the control plane their revision, until both succeeded;
// what changed meanwhile is kept and acknowledged in one.
func (g *Gateway) acknowledge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ctl.due:
		}
		for pause := (backoff{}); ; pause.wait(ctx) {
			at, err := g.kept.keep()
			if errors.Is(err, errRulesStopped) {
				return
			}
			if err == nil {
				err = g.ctl.acknowledge(ctx, api.GatewayAck{GatewayID: g.cfg.ID, Revision: at.Revision})
			}
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				g.kept.tidy()
				break
			}
			g.log.Warn("the revision in force could not be acknowledged: will go on trying", "revision", at.Revision, "error", err)
			if errors.Is(err, errRulesLost) {
				g.ctl.askAnew() // and when they have come they are due
				break
			}
		}
	}
}

// StopKeeping has the rules on disk be another process's to write, from when it returns: for a gateway that drains while
// its successor serves. What is in force stays so and follows the control plane, but is no longer acknowledged.
func (g *Gateway) StopKeeping() { g.kept.stop() }

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
