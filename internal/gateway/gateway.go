// Package gateway is Postern's data path: it accepts flows on a private and a public listener, learns from the first
// bytes who they come from and where they want to go, asks policy, and relays or closes them. Its rules come over a
// stream from the control plane and stay on disk, so that it goes on deciding when the control plane is gone. What it
// saw it reports in batches.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// reasonShutdown is the close reason of flows that the gateway's own end cut.
const reasonShutdown = "GATEWAY_SHUTDOWN"

// Gateway is a running data path.
type Gateway struct {
	cfg   Config
	log   *slog.Logger
	rules atomic.Pointer[policy.Rules]
	flows flowTable
	out   *reporter
	back  backends
	proof *proofServer
	ctl   *controlPlane // nil without a control plane

	listeners []listener

	accepting sync.WaitGroup     // the accept loops
	working   sync.WaitGroup     // one per flow
	serving   sync.WaitGroup     // what talks to the control plane, and the proof server
	quit      context.CancelFunc // ends serving
	ending    chan struct{}      // closed when the listeners are
	endOnce   sync.Once
	closeOnce sync.Once
	closed    chan struct{} // closed when everything has ended
}

// Start starts a gateway. It reads the rules file first and listens when it returns; with no usable file it refuses
// every flow until the control plane has told it the rules. ctx bounds the start alone; end the gateway with Shutdown
// or Close.
func Start(ctx context.Context, cfg Config) (*Gateway, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	g := &Gateway{cfg: cfg, log: cfg.Log, ending: make(chan struct{}), closed: make(chan struct{})}
	g.flows.init()
	g.back.init(g)
	g.out = newReporter(g.cfg.ID, g.cfg.Now, g.log)
	if cfg.RulesFile != "" {
		set, err := loadRules(cfg.RulesFile)
		switch {
		case err != nil:
			g.log.Error("the rules file cannot be used: every flow is refused until the control plane sends the rules",
				"file", cfg.RulesFile, "error", err)
		case set.Revision != 0:
			g.rules.Store(policy.Compile(set))
			g.log.Info("decides by the rules of the file", "revision", set.Revision, "clusters", len(set.Clusters))
		}
	}
	var err error
	if g.proof, err = newProofServer(cfg); err != nil {
		return nil, err
	}
	if err := g.listen(ctx); err != nil {
		return nil, err
	}
	running, quit := context.WithCancel(context.WithoutCancel(ctx))
	g.quit = quit
	g.serving.Go(g.proof.serve)
	if cfg.ControlURL != "" {
		g.ctl = newControlPlane(cfg)
		g.serving.Go(func() { g.followRules(running) })
		g.serving.Go(func() { g.acknowledge(running) })
		g.serving.Go(func() { g.report(running) })
	} else {
		g.out.stop()
	}
	for i := range g.listeners {
		g.accepting.Go(func() { g.accept(&g.listeners[i]) })
	}
	return g, nil
}

// listener is where flows of one side arrive.
type listener struct {
	ListenerConfig
	port uint16 // that clients dial
}

// listen opens the listeners, all or none.
func (g *Gateway) listen(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			for _, l := range g.listeners {
				_ = l.Listener.Close()
			}
		}
	}()
	for _, c := range g.cfg.Listeners {
		if c.Listener == nil {
			var lc net.ListenConfig
			opened, err := lc.Listen(ctx, "tcp", c.Addr)
			if err != nil {
				return fmt.Errorf("%s listener: %w", c.Side, err)
			}
			c.Listener = opened.(*net.TCPListener)
		}
		l := listener{ListenerConfig: c, port: c.Port}
		if l.port == 0 {
			l.port = addrPort(c.Listener.Addr()).Port()
		}
		g.listeners = append(g.listeners, l)
	}
	return nil
}

// PrivateAddr returns where the first private listener listens, nil when there is none.
func (g *Gateway) PrivateAddr() net.Addr { return g.addrOf(link.PrivateListener) }

// PublicAddr returns where the first public listener listens, nil when there is none.
func (g *Gateway) PublicAddr() net.Addr { return g.addrOf(link.PublicListener) }

func (g *Gateway) addrOf(side link.Listener) net.Addr {
	for _, l := range g.listeners {
		if l.Side == side {
			return l.Listener.Addr()
		}
	}
	return nil
}

// Revision returns the revision of the rules that the gateway decides by, 0 when it has none and refuses everything.
func (g *Gateway) Revision() int64 { return g.rules.Load().Revision() }

// LiveFlows returns how many admitted flows are open.
func (g *Gateway) LiveFlows() int { return g.flows.len() }

// Shutdown stops to accept, waits until the open flows have ended or ctx is done, cuts those that are left, sends the
// last reports and returns when nothing of the gateway runs any more. The error is ctx's when flows had to be cut.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.stopAccepting()
	drained := make(chan struct{})
	go func() {
		g.working.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		if n := g.flows.len(); n > 0 {
			err = fmt.Errorf("%d flows were cut: %w", n, context.Cause(ctx))
		}
		g.flows.closeAll(reasonShutdown)
		<-drained
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

func (g *Gateway) stopAccepting() {
	g.endOnce.Do(func() {
		close(g.ending)
		for _, l := range g.listeners {
			_ = l.Listener.Close()
		}
	})
	g.accepting.Wait()
}

// finish ends what is not a flow. Only the first call does; others wait for it.
func (g *Gateway) finish() {
	g.closeOnce.Do(func() {
		g.proof.close()
		g.quit()
		g.serving.Wait()
		if g.ctl != nil {
			if err := g.keep(); err != nil {
				g.log.Error("the next start will begin with older rules", "error", err)
			}
			g.ctl.close()
		}
		close(g.closed)
	})
	<-g.closed
}
