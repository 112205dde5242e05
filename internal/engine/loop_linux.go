package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// loop is one event loop: a goroutine with its epoll instance, and the streams that it owns. Nothing of it is touched by
// other goroutines but what is marked so.
//
// Every descriptor is in epoll once from when it is first waited for until it is closed, edge-triggered. An event only
// says that something may be possible again: what is possible now is remembered in the sockets' flags, which system
// calls that do less than was asked take back. So there is no system call per wait.
type loop struct {
	e       *epollEngine
	number  int
	epoll   int
	wakeup  int // an eventfd; any goroutine may write to it
	handler Handler

	turn   int64 // turns so far
	now    int64 // nanoseconds on the engine's clock when this turn began
	busy   int64 // when there was an event last
	wheel  wheel
	bufs   buffers
	lent   *direction // whose bytes are in the shared buffer
	msg    message
	addr   unix.RawSockaddrAny
	events [256]unix.EpollEvent

	streams  []*stream // by index, as epoll knows them
	vacant   []*stream // those that are free
	again    []*stream // those that had more to do than one turn allows
	due      []*stream // again, while it is worked off
	doors    []*doorway
	paused   bool    // nothing is accepted …
	resumeAt int64   // … until then
	rotor    int     // the loop that was looked at last for sharing
	pipes    []*pipe // those that are empty and unused
	walks    []*walk
	quit     bool

	tally   tally // what is counted; published at the end of each turn
	public  publicTally
	flows   atomic.Int64 // open here; read by all loops
	mu      sync.Mutex   // guards the inbox
	inbox   []func(*loop)
	reading []func(*loop) // the inbox, while it is worked off
	stopped bool          // no more is taken into the inbox
}

// holdTime is how long a loop that may hold its processor keeps it after an event. To give it back has the runtime's
// monitor look fifty times in the next milliseconds whether it should be taken away.
const holdTime = 20 * time.Millisecond

// Indexes in epoll of what is not a stream's socket. Streams have 2*index for the client and 2*index+1 for the server.
const (
	wakeIndex     = -1
	firstDoorway  = -2 // and so on downwards, by place in loop.doors
	watchAlways   = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	watchWritable = unix.EPOLLOUT
)

func newLoop(e *epollEngine, number int) (*loop, error) {
	l := &loop{e: e, number: number, handler: e.cfg.Handler, turn: 1}
	l.bufs.shared.mem = make([]byte, sharedSize)
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		closeFD(l.epoll)
		return nil, err
	}
	// Edge-triggered, so that nobody has to read the counter: every write is an event.
	if errno := epollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wakeup, unix.EPOLLIN|unix.EPOLLET, wakeIndex, 0); errno != 0 {
		l.free()
		return nil, errno
	}
	l.now = e.clock()
	l.wheel.tick = l.now >> tickShift
	return l, nil
}

func (l *loop) free() {
	for _, p := range l.pipes {
		p.close()
	}
	closeFD(l.epoll)
	closeFD(l.wakeup)
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer l.free()
	for !l.quit {
		n := l.wait()
		l.turn++
		l.now = l.e.clock()
		if n > 0 {
			l.busy = l.now
		}
		for i := range n {
			l.dispatch(&l.events[i])
		}
		l.due, l.again = l.again, l.due[:0]
		for _, s := range l.due {
			s.requeued = false
			l.attend(s)
		}
		l.wheel.advance(l.now, l.expired)
		if l.paused && l.now >= l.resumeAt {
			l.resume()
		}
		l.walkOn()
		l.publish()
	}
	l.mu.Lock()
	l.stopped = true
	rest := l.inbox
	l.mu.Unlock()
	for _, f := range rest {
		f(l)
	}
	for _, w := range l.walks {
		close(w.done)
	}
}

// wait returns how many events there are, waiting for the first one when there is nothing else to do.
//
// A blocking system call costs a Go program more than its own time: the scheduler takes the goroutine's processor (P)
// back after some microseconds, and the goroutine has to get one again, often by waking another thread. With
// HoldProcessors the first milliseconds are waited through without telling the scheduler. That is safe since such a wait ends
// early when the runtime needs the P: to stop the world, to scan this goroutine's stack or to preempt it, it sends the
// thread a signal, which interrupts epoll_wait whatever SA_RESTART says (signal(7)); and should the signal come just
// before the call, it sends another one soon, since it repeats them until the goroutine has stopped, at most 0.1 ms
// later. The goroutine yields at the next function call. Other goroutines have the remaining processors. When nothing
// comes for holdTime, the loop waits in a call that the scheduler knows of, and an idle process is idle.
func (l *loop) wait() int {
	if len(l.again) > 0 || len(l.walks) > 0 {
		return epollHold(l.epoll, l.events[:], 0)
	}
	limit := l.untilTimer()
	hold := 0
	if l.e.cfg.HoldProcessors {
		hold = max(0, int((holdTime-time.Duration(l.now-l.busy))/time.Millisecond))
		if limit >= 0 {
			hold = min(hold, limit)
		}
	}
	if n := epollHold(l.epoll, l.events[:], hold); n > 0 || hold > 0 || limit == 0 {
		return n // also when the time has passed, or a signal came: the next turn looks how long it has been idle
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], limit)
	if err != nil {
		return 0 // interrupted
	}
	return n
}

// untilTimer returns how many milliseconds the loop may wait; -1 for as long as it takes.
func (l *loop) untilTimer() int {
	wait := l.wheel.wait(l.now)
	if l.paused {
		until := max(0, time.Duration(l.resumeAt-l.now))
		if wait < 0 || until < wait {
			wait = until
		}
	}
	if wait < 0 {
		return -1
	}
	return int((wait + time.Millisecond - 1) / time.Millisecond)
}

func (l *loop) dispatch(ev *unix.EpollEvent) {
	if ev.Fd < 0 {
		if ev.Fd == wakeIndex {
			l.readInbox()
		} else {
			l.accept(firstDoorway - int(ev.Fd))
		}
		return
	}
	s := l.streams[ev.Fd/2]
	if s.generation != ev.Pad {
		return // of a socket that was closed in this turn
	}
	sock := &s.client
	if ev.Fd%2 == 1 {
		sock = &s.server
	}
	const gone = unix.EPOLLHUP | unix.EPOLLERR
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|gone) != 0 {
		sock.readable = true
	}
	if ev.Events&(unix.EPOLLRDHUP|gone) != 0 {
		sock.ending = true
	}
	if ev.Events&unix.EPOLLRDHUP != 0 {
		sock.ended = true
	}
	if ev.Events&(unix.EPOLLOUT|gone) != 0 {
		sock.writable = true
	}
	if ev.Events&unix.EPOLLERR != 0 {
		sock.failed = true
	}
	l.attend(s)
}

// attend does for a stream what can be done now, and sees to it that the loop hears of what cannot.
func (l *loop) attend(s *stream) {
	l.proceed(s)
	l.settle(s)
}

// settle is called when a stream is left until its next event.
func (l *loop) settle(s *stream) {
	if l.lent != nil {
		l.keep()
	}
	if s.phase == vacant {
		return
	}
	if s.client.fd >= 0 && !s.client.polled {
		l.watch(s, &s.client, 0)
	}
	if s.server.fd >= 0 && !s.server.polled {
		l.watch(s, &s.server, 1)
	}
}

// watch adds a socket to epoll, or adds to what it is watched for.
func (l *loop) watch(s *stream, sock *socket, side int32) {
	op, events := unix.EPOLL_CTL_ADD, uint32(watchAlways)
	if sock.polled {
		op = unix.EPOLL_CTL_MOD
	}
	if !sock.writable {
		events |= watchWritable
	}
	if errno := epollCtl(l.epoll, op, sock.fd, events, 2*s.index+side, s.generation); errno != 0 {
		l.e.trouble(troubleWatch, errno)
		l.end(s, WasCut, resetBoth)
		return
	}
	sock.polled, sock.watched = true, !sock.writable
}

// keep moves what is in the shared buffer to one that lasts.
func (l *loop) keep() {
	d := l.lent
	l.lent = nil
	if d.held != &l.bufs.shared {
		return
	}
	b := l.bufs.get(d.held.len())
	b.end = copy(b.mem, d.held.bytes())
	d.held = b
}

// lend returns the shared buffer, empty, as what d holds.
func (l *loop) lend(d *direction) *buffer {
	if l.lent != nil {
		l.keep()
	}
	b := &l.bufs.shared
	b.start, b.end = 0, 0
	d.held, l.lent = b, d
	return b
}

// drop gives back the buffer of a direction that holds nothing more, or whose bytes nobody wants.
func (l *loop) drop(d *direction) {
	if d.held == nil {
		return
	}
	if l.lent == d {
		l.lent = nil
	}
	l.bufs.put(d.held)
	d.held = nil
}

// requeue has a stream attended again in the next turn.
func (l *loop) requeue(s *stream) {
	if !s.requeued {
		s.requeued = true
		l.again = append(l.again, s)
	}
}

// post has f run in the loop's goroutine, in the order of the calls. It reports false when the loop has ended. It may be
// called from any goroutine.
func (l *loop) post(f func(*loop)) bool {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return false
	}
	l.inbox = append(l.inbox, f)
	first := len(l.inbox) == 1
	// Under the lock, since the loop closes the eventfd after it has stopped. The one who finds the inbox empty wakes.
	if first {
		wakeFD(l.wakeup)
	}
	l.mu.Unlock()
	return true
}

func (l *loop) readInbox() {
	l.mu.Lock()
	l.reading, l.inbox = l.inbox, l.reading[:0]
	l.mu.Unlock()
	for i, f := range l.reading {
		l.reading[i] = nil
		f(l)
	}
}

// call runs f in the loop's goroutine and returns when it has run. It returns at once when the loop has ended.
func (l *loop) call(f func(*loop)) {
	done := make(chan struct{})
	if l.post(func(l *loop) { f(l); close(done) }) {
		<-done
	}
}

// walk is one call of Each at one loop.
type walk struct {
	visit func(*Flow) (string, bool)
	next  int
	done  chan struct{}
}

// walkStep is how many streams a walk visits in one turn.
const walkStep = 1024

func (l *loop) walkOn() {
	if len(l.walks) == 0 {
		return
	}
	w := l.walks[0]
	for end := min(w.next+walkStep, len(l.streams)); w.next < end; w.next++ {
		s := l.streams[w.next]
		if s.phase == vacant {
			continue
		}
		if reason, cut := w.visit(&s.Flow); cut {
			l.cut(s, reason)
		}
	}
	if w.next >= len(l.streams) {
		l.walks = slices.Delete(l.walks, 0, 1)
		close(w.done)
	}
}

// tally is what a loop counts.
type tally struct {
	accepted, acceptErrors, paused, in, out, spliced uint64
	relaying, pipes                                  int64
}

// publicTally is the tally as other goroutines may read it.
type publicTally struct {
	accepted, acceptErrors, paused, in, out, spliced atomic.Uint64
	relaying, pipes                                  atomic.Int64
	last                                             tally // the loop's own
}

func (l *loop) publish() {
	t, p := &l.tally, &l.public
	if *t == p.last {
		return
	}
	p.accepted.Store(t.accepted)
	p.acceptErrors.Store(t.acceptErrors)
	p.paused.Store(t.paused)
	p.in.Store(t.in)
	p.out.Store(t.out)
	p.spliced.Store(t.spliced)
	p.relaying.Store(t.relaying)
	p.pipes.Store(t.pipes)
	p.last = *t
}
