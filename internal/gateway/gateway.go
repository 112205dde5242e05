// Package gateway is Postern's data path: it accepts flows on a private and a public listener, learns from the first
// bytes who they come from and where they want to go, asks policy, and relays or closes them. Its rules come over a
// stream from the control plane and stay on disk, so that it goes on deciding when the control plane is gone. What it
// saw it reports in batches.
package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Config is what a gateway is started with.
type Config struct {
	// ID names this gateway in reports and proofs, unique in the installation: 1 to 100 letters, digits, '.', '_', '-'.
	ID string
	// Key signs proofs of path; LoadOrCreateKey gives one that lasts.
	Key ed25519.PrivateKey

	// PrivateAddr and PublicAddr are the addresses to listen on, host:port. An empty one means that the gateway has no
	// such listener. A listener that the caller brings takes the place of the address; the gateway closes it.
	PrivateAddr, PublicAddr         string
	PrivateListener, PublicListener net.Listener

	// TrustedPeers are the load balancer's addresses: only from them are flows taken on the private listener, since only
	// their PROXY headers can be believed. None means that the private listener refuses everybody.
	TrustedPeers []netip.Prefix

	// RulesFile is where the last rules are kept for the next start. Empty keeps them in memory alone.
	RulesFile string

	// ControlURL is the control plane's base URL, to which /api/v1/gateway/… is appended; Token the bearer token of a
	// gateway. An empty ControlURL means that there is no control plane: the rules are those of the file.
	ControlURL, Token string
	// HTTPClient talks to the control plane; nil means one of the gateway's own. It must have no overall time-out, which
	// would end the rules stream.
	HTTPClient *http.Client

	Timeouts Timeouts
	// ReportEvery is how often reports are sent when there is something to report. 0 means 250 ms.
	ReportEvery time.Duration
	// KeepAlive is how long the rules stream may stay silent before it is taken for dead. 0 means 30 s.
	KeepAlive time.Duration

	Now func() time.Time // the clock of records and proofs; nil means time.Now
	Log *slog.Logger     // nil means no log
}

// Timeouts bound what a silent peer can hold. A zero field means its default; the defaults are in parentheses.
type Timeouts struct {
	Header time.Duration // from accept to the end of the PROXY header (5 s)
	Hello  time.Duration // from there to the end of the ClientHello (10 s)
	Dial   time.Duration // one try to reach a backend (5 s)
	Idle   time.Duration // a relayed flow on which nothing moves (1 h, far beyond the 350 s of an AWS load balancer)
}

// reasonShutdown is the close reason of flows that the gateway's own end cut.
const reasonShutdown = "GATEWAY_SHUTDOWN"

// Gateway is a running data path.
type Gateway struct {
	cfg   Config
	log   *slog.Logger
	rules atomic.Pointer[policy.Rules]
	kept  *rulesKeeper
	flows flowTable
	out   *reporter
	back  backends
	proof *proofServer
	ctl   *controlPlane // nil without a control plane

	private, public net.Listener // nil when there is none

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
	g.loadRules()
	var err error
	if g.proof, err = newProofServer(cfg); err != nil {
		return nil, err
	}
	listen := func(given net.Listener, addr string) (net.Listener, error) {
		if given != nil || addr == "" {
			return given, nil
		}
		var lc net.ListenConfig
		return lc.Listen(ctx, "tcp", addr)
	}
	if g.private, err = listen(cfg.PrivateListener, cfg.PrivateAddr); err != nil {
		return nil, fmt.Errorf("private listener: %w", err)
	}
	if g.public, err = listen(cfg.PublicListener, cfg.PublicAddr); err != nil {
		if g.private != nil {
			_ = g.private.Close()
		}
		return nil, fmt.Errorf("public listener: %w", err)
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
	for _, l := range []struct {
		net.Listener
		side link.Listener
	}{{g.private, link.PrivateListener}, {g.public, link.PublicListener}} {
		if l.Listener != nil {
			g.accepting.Go(func() { g.accept(l.Listener, l.side) })
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
		clusters, endpoints := rules.Counts()
		g.log.Info("decides by the rules of the file", "revision", rules.Revision(), "clusters", clusters, "endpoints", endpoints)
	}
}

func (c *Config) complete() error {
	if !validGatewayID(c.ID) {
		return fmt.Errorf("gateway id %s: give 1 to 100 letters, digits, '.', '_' or '-'", link.Quote(c.ID))
	}
	if len(c.Key) != ed25519.PrivateKeySize {
		return errors.New("no proof key: load one with LoadOrCreateKey")
	}
	if c.ControlURL != "" {
		u, err := url.Parse(c.ControlURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("control plane URL %s: give http(s)://host[:port]", link.Quote(c.ControlURL))
		}
	}
	for _, p := range c.TrustedPeers {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("trusted peers %s: give a range of IPv4 or IPv6, and IPv4 as such", p)
		}
	}
	for _, d := range []struct {
		at   *time.Duration
		most time.Duration
	}{
		{&c.Timeouts.Header, 5 * time.Second},
		{&c.Timeouts.Hello, 10 * time.Second},
		{&c.Timeouts.Dial, 5 * time.Second},
		{&c.Timeouts.Idle, time.Hour},
		{&c.ReportEvery, 250 * time.Millisecond},
		{&c.KeepAlive, 30 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.most
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func validGatewayID(s string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 100
}

// PrivateAddr returns where the private listener listens, nil when there is none.
func (g *Gateway) PrivateAddr() net.Addr { return addrOf(g.private) }

// PublicAddr returns where the public listener listens, nil when there is none.
func (g *Gateway) PublicAddr() net.Addr { return addrOf(g.public) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
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
		for _, l := range []net.Listener{g.private, g.public} {
			if l != nil {
				_ = l.Close()
			}
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
			if _, err := g.kept.keep(); err != nil && !errors.Is(err, errRulesStopped) {
				g.log.Error("the next start will begin with older rules", "error", err)
			}
			g.stopKeeping()
			g.ctl.close()
		}
		close(g.closed)
	})
	<-g.closed
}
