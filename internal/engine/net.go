package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// netEngine is the engine on package net: a goroutine per flow, two while it relays. It is for systems that have no epoll,
// and it is what the other engine is held against, so it does each thing in the most obvious way.
type netEngine struct {
	cfg       Config
	census    census
	turns     []sync.Mutex // one per loop number: held while a Handler or a visit looks at one of its flows
	accepting sync.WaitGroup
	running   sync.WaitGroup // flows
	ending    chan struct{}  // closed when nothing more is accepted

	accepted, acceptErrors, paused, in, out atomic.Uint64
	relaying                                atomic.Int64

	mu        sync.Mutex // guards what follows
	listeners []*net.TCPListener
	flows     map[*netFlow]struct{}
	closed    bool
}

// StartNet starts an engine on package net, which works everywhere. End it with Close.
func StartNet(cfg Config) (Engine, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	if cfg.MaxFlows <= 0 {
		cfg.MaxFlows = 1 << 30 // then accepting pauses when the system has no descriptor left
	}
	if cfg.HalfClose <= 0 {
		cfg.HalfClose = cfg.Idle
	}
	e := &netEngine{
		cfg: cfg, turns: make([]sync.Mutex, cfg.Loops), ending: make(chan struct{}), flows: make(map[*netFlow]struct{}),
	}
	e.census.init(cfg.MaxFlows)
	return e, nil
}

func (e *netEngine) Listen(l *net.TCPListener, tag any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = l.Close()
		return net.ErrClosed
	}
	e.listeners = append(e.listeners, l)
	e.accepting.Go(func() { e.accept(l, tag) })
	return nil
}

func (e *netEngine) accept(l *net.TCPListener, tag any) {
	for {
		for e.census.full() {
			if !e.pause() {
				return
			}
		}
		conn, err := l.AcceptTCP()
		if err != nil {
			select {
			case <-e.ending:
				return
			default:
			}
			e.acceptErrors.Add(1)
			if e.cfg.Trouble != nil {
				e.cfg.Trouble(fmt.Errorf("cannot accept flows: %w", err))
			}
			if !e.pause() {
				return
			}
			continue
		}
		for !e.census.enter() { // another listener was faster
			if !e.pause() {
				_ = conn.Close()
				return
			}
		}
		f := &netFlow{e: e, client: conn}
		f.loop = int(e.accepted.Add(1) % uint64(len(e.turns)))
		f.turn = &e.turns[f.loop]
		f.peer, f.tag = addrPort(conn.RemoteAddr()), tag
		e.mu.Lock()
		e.flows[f] = struct{}{}
		e.mu.Unlock()
		a := f.ask(func(h Handler) Action {
			f.begun = true
			return h.Accepted(&f.Flow)
		})
		e.running.Go(func() { f.live(a) })
	}
}

// pause waits before accepting is tried again. It reports false when there is nothing to try any more.
func (e *netEngine) pause() bool {
	e.paused.Add(1)
	select {
	case <-time.After(acceptPause):
		return true
	case <-e.ending:
		return false
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func (e *netEngine) Each(visit func(f *Flow) (reason string, cut bool)) {
	e.mu.Lock()
	flows := make([]*netFlow, 0, len(e.flows))
	for f := range e.flows {
		flows = append(flows, f)
	}
	e.mu.Unlock()
	for _, f := range flows {
		f.turn.Lock()
		if f.begun && !f.over {
			if reason, cut := visit(&f.Flow); cut {
				f.cut(reason)
			}
		}
		f.turn.Unlock()
	}
}

func (e *netEngine) StopAccepting() {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.ending)
		for _, l := range e.listeners {
			_ = l.Close()
		}
	}
	e.mu.Unlock()
	e.accepting.Wait()
}

func (e *netEngine) Drain(ctx context.Context, reason string) error {
	return drain(ctx, e, &e.census, reason)
}

func (e *netEngine) Close() error {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.Drain(gone, WasCut)
	e.running.Wait()
	return nil
}

func (e *netEngine) Stats() Stats {
	return Stats{
		Accepted: e.accepted.Load(), AcceptErrors: e.acceptErrors.Load(), Paused: e.paused.Load(),
		In: e.in.Load(), Out: e.out.Load(), Open: int(e.census.open.Load()), Relaying: int(e.relaying.Load()),
		MaxFlows: e.cfg.MaxFlows,
	}
}
