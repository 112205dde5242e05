package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/internal/gateway"
)

// process is the program once it has its sockets and no privileges.
type process struct {
	options
	log           *slog.Logger
	sockets       sockets
	ready         int    // the descriptor to tell a predecessor at, -1 for none
	notifySocket  string // the service manager's, empty for none
	setProcessors bool   // nobody has said how many processors Go may use

	certs   certificates
	gateway *gateway.Gateway
	ended   chan struct{} // closed by end
	signals chan os.Signal
	scraped []*http.Server // usually one or none
	serving sync.WaitGroup // one per server of scraped
}

// serve is the process's life: it takes flows until it is told to end, or until a successor takes them.
func (p *process) serve(getenv func(string) string) error {
	p.signals = make(chan os.Signal, 4)
	signal.Notify(p.signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	if err := p.start(getenv); err != nil {
		return err
	}
	if p.ready >= 0 {
		// The predecessor speaks to the service manager: until it has, this process is a stranger there.
		if err := sayReady(p.ready); err != nil {
			p.log.Warn("the predecessor no longer listens", "error", err)
		}
	} else {
		p.tell("READY=1")
	}

	type result struct {
		pid int
		err error
	}
	var handedOver chan result // nil while no handover is under way
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case s := <-p.signals:
			switch {
			case s != syscall.SIGHUP:
				if handedOver != nil {
					cancel()
					if r := <-handedOver; r.err == nil { // it came to serve all the same
						_ = syscall.Kill(r.pid, syscall.SIGTERM)
					}
				}
				p.stop()
				return nil
			case handedOver != nil:
				p.log.Info("a handover is under way")
			default:
				p.log.Info("starts a successor")
				p.tell(reloading()...)
				handedOver = make(chan result, 1)
				go func(done chan<- result) {
					pid, err := p.succeed(ctx)
					done <- result{pid, err}
				}(handedOver)
			}
		case r := <-handedOver:
			if r.err == nil {
				p.retire(r.pid)
				return nil
			}
			handedOver = nil
			p.log.Error("no successor serves: this process goes on", "error", r.err)
			p.tell("READY=1")
		}
	}
}

// succeed starts the program on disk in this process's place, with the same arguments.
func (p *process) succeed(ctx context.Context) (pid int, err error) {
	if os.Getpid() == 1 {
		return 0, errors.New("the first process of a container cannot be replaced: its end would be the container's")
	}
	path, err := executable()
	if err != nil {
		return 0, err
	}
	return p.sockets.handOver(ctx, path, os.Args)
}

// start starts the gateway.
func (p *process) start(getenv func(string) string) (err error) {
	c := &p.config
	c.Log = p.log
	if c.HTTPClient, err = p.httpClient(); err != nil {
		return err
	}
	if c.Token, err = p.token(getenv); err != nil {
		return err
	}
	if c.Key, err = gateway.LoadOrCreateKey(p.data); err != nil {
		return fmt.Errorf("%w\nNext: give a directory that this user may write with --data", err)
	}
	if c.Listeners, err = p.listenerConfigs(); err != nil {
		return err
	}
	if err = p.openCertificates(); err != nil {
		p.certs.close()
		for _, l := range c.Listeners {
			_ = l.Listener.Close()
		}
		return err
	}
	c.Certificates = p.certs.source
	// One processor more than event loops: each loop holds its own while it is busy, and the rest needs one too.
	if c.Loops == 0 {
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if p.setProcessors {
		runtime.GOMAXPROCS(c.Loops + 1)
	}
	if getenv("GOGC") == "" {
		go keepMemory(p.ended)
	}
	c.HoldProcessors = runtime.GOMAXPROCS(0) > c.Loops
	if p.gateway, err = gateway.Start(context.Background(), *c); err != nil {
		p.certs.close()
		return err
	}
	if p.certs.acme != nil {
		if err := p.certs.acme.Manage(); err != nil { // which is no reason to carry no flows
			p.log.Error("the authority is not asked for certificates", "error", err)
		}
	}
	p.log.Info("gateway listens", "id", c.ID, "pid", os.Getpid(), "private", p.gateway.PrivateAddr(), "public", p.gateway.PublicAddr(),
		"listeners", len(c.Listeners), "revision", p.gateway.Revision(), "loops", c.Loops, "descriptors", descriptors())
	p.serveMetrics()
	return nil
}

// serveMetrics answers scrapes until the process ends or a successor does.
func (p *process) serveMetrics() {
	for name := range p.sockets {
		if name.role != metricsRole {
			continue
		}
		l, err := p.sockets.listener(name)
		if err != nil {
			p.log.Error("no metrics", "error", err) // which is no reason to carry no flows
			continue
		}
		srv := newMetricsServer(p.gateway.Metrics(), p.log)
		p.scraped = append(p.scraped, srv)
		p.log.Info("metrics are served", "url", fmt.Sprintf("http://%s/metrics", l.Addr()))
		p.serving.Go(func() { _ = srv.Serve(l) }) // until closeMetrics
	}
}

func (p *process) closeMetrics() {
	for _, srv := range p.scraped {
		_ = srv.Close()
	}
	p.serving.Wait()
}

// listenerConfigs are the command line's listeners and those of systemd's sockets.
func (p *process) listenerConfigs() ([]gateway.ListenerConfig, error) {
	all := p.listeners
	for name := range p.sockets {
		if name.role != metricsRole && !p.onCommandLine(name) {
			all = append(all, listenerOption{name: name})
		}
	}
	var out []gateway.ListenerConfig
	for _, l := range all {
		tcp, err := p.sockets.listener(l.name)
		if err != nil {
			for _, c := range out {
				_ = c.Listener.Close()
			}
			return nil, fmt.Errorf("%s listener %s: %w", l.name.role, l.name.addr, err)
		}
		out = append(out, p.options.listenerConfig(l, tcp))
	}
	return out, nil
}

// descriptors is how many descriptors the process may open: the soft limit, which Go has raised to the hard one. A flow
// takes two.
func descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// stop ends the process's work in order: no more flows, the open ones until the deadline. A further SIGTERM ends the
// process at once.
func (p *process) stop() {
	signal.Ignore(syscall.SIGHUP)
	signal.Reset(syscall.SIGTERM, os.Interrupt)
	p.tell("STOPPING=1")
	p.log.Info("gateway drains", "flows", p.gateway.LiveFlows(), "deadline", p.drain)
	ctx, cancel := context.WithTimeout(context.Background(), p.drain)
	defer cancel()
	p.end(ctx)
}

// retire does the same after a successor has taken over the sockets, with a deadline of its own, which SIGTERM brings
// down to that of stop: who stops a service tells all of its processes.
func (p *process) retire(successor int) {
	p.closeMetrics() // or scrapes would meet now one process, now the other
	p.gateway.StopKeeping()
	p.gateway.Retire()
	p.tell("READY=1", fmt.Sprintf("MAINPID=%d", successor))
	p.log.Info("a successor serves: gateway drains", "successor", successor, "flows", p.gateway.LiveFlows(), "deadline", p.handoverDrain)
	ctx, cancel := context.WithTimeout(context.Background(), p.handoverDrain)
	defer cancel()
	go func() {
		for s := range p.signals {
			if s == syscall.SIGHUP {
				p.log.Info("a successor serves already", "successor", successor)
				continue
			}
			signal.Reset(syscall.SIGTERM, os.Interrupt)
			p.log.Info("gateway drains", "flows", p.gateway.LiveFlows(), "deadline", p.drain)
			p.gateway.CloseIdle()
			time.AfterFunc(p.drain, cancel)
		}
	}()
	p.end(ctx)
}

// end closes the process's own sockets, so that nobody waits in a queue that no one serves, and drains the gateway until
// ctx ends.
func (p *process) end(ctx context.Context) {
	p.sockets.close()
	defer close(p.ended)
	if err := p.gateway.Shutdown(ctx); err != nil {
		p.log.Warn("the drain deadline passed", "error", err)
	}
	p.certs.close()
	p.closeMetrics()
	p.log.Info("gateway ended", "pid", os.Getpid())
}

// tell tells the service manager; that it cannot be told is for the log alone.
func (p *process) tell(states ...string) {
	if err := notify(p.notifySocket, states...); err != nil {
		p.log.Warn("the service manager does not hear", "error", err)
	}
}
