// Package gateway is Postern's data path: it accepts flows on a private and a public listener, learns from the first
// bytes who they come from and where they want to go, asks policy, and relays or closes them. Its rules come over a
// stream from the control plane and stay on disk, so that it goes on deciding when the control plane is gone. What it
// saw it reports in batches.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/policy"
)

// Gateway is a running data path.
type Gateway struct {
	cfg       Config
	log       *slog.Logger
	begun     time.Time
	rules     atomic.Pointer[policy.Rules]
	kept      *rulesKeeper
	engine    engine.Engine
	listeners []*listener
	pool      *backend.Pool
	meters    *meters
	claims    claims
	retired   atomic.Bool
	live      atomic.Int64 // admitted flows that are open
	appliedAt atomic.Int64 // when the rules in force were applied, in Unix milliseconds; 0 without any
	seen      *observer
	proof     *proofServer
	web       *webServer
	ctl       *controlPlane // nil without a control plane

	serving   sync.WaitGroup     // what is not a flow
	quit      context.CancelFunc // ends serving
	closeOnce sync.Once
	closed    chan struct{} // closed when everything has ended
}

// Start starts a gateway. It reads the rules file first and listens when it returns; with no usable file it refuses
// every flow until the control plane has told it the rules. ctx bounds the start alone; end the gateway with Shutdown
// or Close.
func Start(ctx context.Context, cfg Config) (_ *Gateway, err error) {
	g := &Gateway{begun: time.Now(), closed: make(chan struct{})}
	defer func() {
		if err != nil {
			g.closeListeners(cfg.Listeners)
			if g.web != nil {
				g.web.close()
			}
		}
	}()
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	g.cfg, g.log = cfg, cfg.Log
	g.loadRules()
	if g.proof, err = newProofServer(cfg); err != nil {
		return nil, err
	}
	if g.web, err = newWebServer(g); err != nil {
		return nil, err
	}
	loops := cfg.Loops
	if loops <= 0 {
		loops = runtime.GOMAXPROCS(0)
	}
	var send func(context.Context, api.GatewayReport) error
	if cfg.ControlURL != "" {
		g.ctl = newControlPlane(cfg)
		send = g.ctl.report
	}
	g.seen = newObserver(cfg, loops, send)
	g.pool = backend.NewPool(backend.Config{Changed: g.seen.records.backend, Now: cfg.Now, Log: g.log})
	if err := g.listen(ctx); err != nil {
		g.pool.Close()
		return nil, err
	}
	start := engine.Start
	if cfg.Net {
		start = engine.StartNet
	}
	g.engine, err = start(engine.Config{
		Handler: (*dataPath)(g), Loops: loops, MaxFlows: cfg.MaxFlows, HoldProcessors: cfg.HoldProcessors,
		Idle: cfg.Timeouts.Idle, HalfClose: cfg.Timeouts.HalfClose, Trouble: g.trouble,
	})
	if err != nil {
		g.pool.Close()
		return nil, err
	}
	g.meters = newMeters(g.engine.Stats().MaxFlows)

	running, quit := context.WithCancel(context.WithoutCancel(ctx))
	g.quit = quit
	g.serving.Go(g.proof.serve)
	g.serving.Go(func() { g.sweep(running) })
	if cfg.ControlURL != "" {
		g.serving.Go(func() { g.followRules(running) })
		g.serving.Go(func() { g.acknowledge(running) })
	}
	g.serving.Go(func() { g.seen.run(running) })
	for _, l := range g.listeners {
		if err := g.engine.Listen(l.Listener, l); err != nil {
			_ = g.Close()
			return nil, fmt.Errorf("%s listener: %w", l.Side, err)
		}
	}
	return g, nil
}

// loadRules puts the rules of the file into force, when there are any.
func (g *Gateway) loadRules() {
	g.kept = newRulesKeeper(g.cfg.RulesFile, g.log)
	rules, err := g.kept.load()
	switch {
	case err != nil:
		g.log.Error("the rules file cannot be used: every flow is refused until the control plane sends the rules",
			"file", g.cfg.RulesFile, "error", err)
	case rules != nil:
		g.rules.Store(rules)
		g.appliedAt.Store(g.cfg.Now().UnixMilli())
		clusters, endpoints := rules.Counts()
		g.log.Info("decides by the rules of the file", "revision", rules.Revision(), "clusters", clusters, "endpoints", endpoints)
	}
}

// sweepEvery is how often what nobody uses any more is forgotten.
const sweepEvery = 10 * time.Second

func (g *Gateway) sweep(ctx context.Context) {
	for sleep(ctx, sweepEvery) {
		g.meters.sweep(g.monotonic())
		g.claims.sweep(g.monotonic())
		g.web.sites.sweep(g.rules.Load())
	}
}

// monotonic is the time since the start, whatever happens to the wall clock.
func (g *Gateway) monotonic() time.Duration { return time.Since(g.begun) }

// trouble is what the engine cannot help.
func (g *Gateway) trouble(err error) {
	g.log.Error("the engine is in trouble: will go on trying", "error", err)
}

// Revision returns the revision of the rules that the gateway decides by, 0 when it has none and refuses everything.
func (g *Gateway) Revision() int64 { return g.rules.Load().Revision() }

// LiveFlows returns how many admitted flows are open.
func (g *Gateway) LiveFlows() int { return int(g.live.Load()) }

// Retire prepares a Shutdown while another gateway takes over the listeners: of flows whose TLS ends here Shutdown then closes
// none that does nothing, for whose next request may be on its way, and waits until their clients have had an answer that tells
// them to go, or have been silent for too long. CloseIdle ends that patience.
func (g *Gateway) Retire() {
	g.retired.Store(true)
	g.web.server.Retire()
}

// CloseIdle closes the flows whose TLS ends here and that have no request under way.
func (g *Gateway) CloseIdle() { g.web.server.CloseIdle() }

// Shutdown stops to accept, waits until the open flows have ended or ctx is done, cuts those that are left, sends the
// last reports and returns when nothing of the gateway runs any more. The error is ctx's when flows had to be cut.
func (g *Gateway) Shutdown(ctx context.Context) error {
	var draining sync.WaitGroup
	if !g.retired.Load() {
		draining.Go(func() { _ = g.web.server.Shutdown(ctx) }) // that flows were cut is for Drain to say
	}
	err := g.engine.Drain(ctx, reasonShutdown)
	draining.Wait()
	if err != nil {
		err = fmt.Errorf("flows were cut: %w", err)
	}
	g.finish()
	return err
}

// Close ends the gateway at once: open flows are cut, and what was not yet reported is tried once more.
func (g *Gateway) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = g.Shutdown(ctx) // that flows were cut is what was asked for
	return nil
}

// finish ends what is not a flow. Only the first call does; others wait for it.
func (g *Gateway) finish() {
	g.closeOnce.Do(func() {
		_ = g.engine.Close() // no flow is left
		g.web.close()
		g.proof.close()
		g.pool.Close()
		g.quit()
		g.serving.Wait()
		if g.ctl != nil {
			if _, err := g.kept.keep(); err != nil && !errors.Is(err, errRulesStopped) {
				g.log.Error("the next start will begin with older rules", "error", err)
			}
			g.StopKeeping()
			g.ctl.close()
		}
		close(g.closed)
	})
	<-g.closed
}
