package engine

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// epollEngine is the engine over epoll: loops that share the listeners and nothing else.
type epollEngine struct {
	cfg          Config
	epoch        time.Time // when the clock was zero
	loops        []*loop
	running      sync.WaitGroup // the loops
	takers       sync.WaitGroup // the goroutines of detached flows
	census       census
	pipesPerLoop int

	mu     sync.Mutex // guards what follows, and the order of Listen and StopAccepting
	doors  []*door
	closed bool // no more listeners are taken

	told [troubles]atomic.Int64 // when an operator was last told, by kind
	free sync.Once
}

// Start starts an engine, on Linux with event loops over epoll. End it with Close.
func Start(cfg Config) (Engine, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	if runtime.GOMAXPROCS(0) <= cfg.Loops {
		cfg.HoldProcessors = false // nobody else would get one
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("engine: ask for the limit of descriptors: %w", err)
	}
	pipes := int(min(files.Cur/16, mostPipes))
	if cfg.MaxFlows <= 0 {
		cfg.MaxFlows = flowsFor(min(files.Cur, 1<<30), pipes)
	}
	e := &epollEngine{cfg: cfg, epoch: time.Now(), pipesPerLoop: max(1, pipes/cfg.Loops)}
	e.census.init(cfg.MaxFlows)
	for i := range cfg.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			for _, l := range e.loops {
				l.free()
			}
			return nil, fmt.Errorf("engine: make an event loop: %w", err)
		}
		e.loops = append(e.loops, l)
	}
	for _, l := range e.loops {
		e.running.Go(l.run)
	}
	return e, nil
}

// mostPipes bounds the pipes of an engine: at their size that is as much as a user may have (pipe(7), pipe-user-pages-soft).
const mostPipes = 256

// flowsFor returns how many flows fit into a number of descriptors: each has two, and some are for other purposes.
func flowsFor(files uint64, pipes int) int {
	const others = 64
	return max(16, (int(files)-others-2*pipes)/2)
}

// clock returns nanoseconds since the engine started, on the clock that nobody sets.
func (e *epollEngine) clock() int64 { return int64(time.Since(e.epoch)) }

func (e *epollEngine) Listen(ln *net.TCPListener, tag any) error {
	d, err := newDoor(ln, tag)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		closeFD(d.fd)
		return net.ErrClosed
	}
	e.doors = append(e.doors, d)
	for _, l := range e.loops {
		l.post(func(l *loop) { l.open(d) })
	}
	return nil
}

func (e *epollEngine) StopAccepting() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, l := range e.loops {
		l.call((*loop).shut)
	}
	// What one loop had accepted for another is in the other's inbox, before this.
	for _, l := range e.loops {
		l.call(func(*loop) {})
	}
	for _, d := range e.doors {
		closeFD(d.fd)
	}
	e.doors = nil
}

func (e *epollEngine) Each(visit func(f *Flow) (reason string, cut bool)) {
	for _, l := range e.loops {
		w := &walk{visit: visit, done: make(chan struct{})}
		if l.post(func(l *loop) { l.walks = append(l.walks, w) }) {
			<-w.done
		}
	}
}

func (e *epollEngine) Drain(ctx context.Context, reason string) error {
	return drain(ctx, e, &e.census, reason)
}

func (e *epollEngine) Close() error {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.Drain(gone, WasCut)
	e.free.Do(func() {
		for _, l := range e.loops {
			l.post(func(l *loop) { l.quit = true })
		}
	})
	e.running.Wait()
	e.takers.Wait()
	return nil
}

func (e *epollEngine) Stats() Stats {
	s := Stats{Open: int(e.census.open.Load()), MaxFlows: e.cfg.MaxFlows}
	for _, l := range e.loops {
		p := &l.public
		s.Accepted += p.accepted.Load()
		s.AcceptErrors += p.acceptErrors.Load()
		s.Paused += p.paused.Load()
		s.In += p.in.Load()
		s.Out += p.out.Load()
		s.Spliced += p.spliced.Load()
		s.Relaying += int(p.relaying.Load())
		s.Pipes += int(p.pipes.Load())
	}
	return s
}

// left is called when a flow is gone.
func (e *epollEngine) left() { e.census.leave() }

// Kinds of trouble, each of which is told at most once a second.
const (
	troubleAccept = iota
	troubleDial
	troubleWatch
	troubleDetach
	troubleHandler
	troubles
)

var troubleWords = [troubles]string{
	troubleAccept: "cannot accept flows", troubleDial: "cannot dial", troubleWatch: "cannot watch a socket",
	troubleDetach: "cannot hand a flow over", troubleHandler: "cannot do what is asked",
}

func (e *epollEngine) trouble(kind int, err error) {
	if e.cfg.Trouble == nil {
		return
	}
	now, last := e.clock()+1, e.told[kind].Load()
	if last != 0 && now-last < int64(time.Second) || !e.told[kind].CompareAndSwap(last, now) {
		return
	}
	e.cfg.Trouble(fmt.Errorf("%s: %w", troubleWords[kind], err))
}

// out reports whether an error says that the process or the machine has no descriptor or memory left.
func out(errno syscall.Errno) bool {
	return errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOBUFS || errno == unix.ENOMEM
}
