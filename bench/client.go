//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// client opens flows and plays the client's part of the transcripts, on one thread. It checks every byte of the
// server's part but those of a bulk download, which it counts. A flow that fails in any way fails the whole run.
type client struct {
	poll        *poller
	transcripts [errands]transcript
	bulk        int64
	preface     []byte // the balancer's PROXY header; empty on the way straight to the backend
	to          netip.AddrPort

	flows    []clientFlow // by descriptor
	room     []byte
	sources  uint32 // how many were opened, for the choice of the source address
	open     int
	held     int // of these, the idle ones that have had their answer
	complete int
	latency  []time.Duration // of the flows that ended, from due until the answer's last byte; nil when nobody asks
	ended    func()          // called when a flow came to its end; nil for none
}

// clientFlow is a flow at the client.
type clientFlow struct {
	errand errand
	stage  clientStage
	at     int       // bytes of the message that is due
	left   int64     // bytes of a bulk that are still to move
	due    time.Time // when the flow had to begin
}

type clientStage uint8

const (
	closed clientStage = iota
	connecting
	awaitFlight
	sendUpload
	awaitDownload
	awaitAnswer
	awaitClose // by the backend
	held       // open until release
)

const (
	bulkChunk = 256 << 10
	// patience is how long nothing may happen before the flows that are open are taken for stuck.
	patience = 10 * time.Second
)

func newClient(transcripts [errands]transcript) (*client, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &client{
		poll: poll, transcripts: transcripts, flows: make([]clientFlow, descriptorLimit()), room: make([]byte, bulkChunk),
	}, nil
}

func (c *client) close() { c.poll.close() }

// begin opens a flow. What it has to say first goes out with the connection.
func (c *client) begin(e errand, due time.Time) error {
	c.sources++
	fd, err := connectSocket([4]byte{127, 0, 1, byte(1 + c.sources%16)}, c.to)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.flows[fd] = clientFlow{errand: e, stage: awaitFlight, due: due}
	c.open++
	err = c.sendHello(fd, e)
	if again(err) { // the kernel has not come to it yet
		c.flows[fd].stage = connecting
		return c.poll.add(fd, unix.EPOLLOUT)
	}
	if err != nil {
		return err
	}
	return c.poll.add(fd, readable)
}

// readable is what a flow waits for that has nothing to send.
const readable = unix.EPOLLIN | unix.EPOLLRDHUP

func (c *client) sendHello(fd int, e errand) error {
	n := copy(c.room, c.preface)
	n += copy(c.room[n:], c.transcripts[e].hello)
	if err := writeAll(fd, c.room[:n]); err != nil {
		return fmt.Errorf("send the hello: %w", err)
	}
	return nil
}

// turn waits once, and does what can be done. ring is called when the clock is among what happened.
func (c *client) turn(limit time.Duration, tick clock, ring func() error) error {
	events, err := c.poll.wait(limit)
	if err != nil {
		return err
	}
	if len(events) == 0 && limit >= patience {
		return fmt.Errorf("%d flows are stuck: nothing happened for %v", c.open, limit)
	}
	for _, ev := range events {
		fd := int(ev.Fd)
		if ring != nil && fd == int(tick) {
			if err := ring(); err != nil {
				return err
			}
			continue
		}
		f := &c.flows[fd]
		err := c.step(fd, f, ev.Events)
		if err == nil {
			continue
		}
		_ = unix.Close(fd)
		stage := f.stage
		f.stage = closed
		c.open--
		if !errors.Is(err, errDone) {
			return fmt.Errorf("a flow for %s failed in stage %d: %w", f.errand.serverName(), stage, err)
		}
		c.complete++
		if c.ended != nil {
			c.ended()
		}
	}
	return nil
}

// step does what an event allows. After an error the flow is over; errDone is its good end.
func (c *client) step(fd int, f *clientFlow, events uint32) error {
	switch f.stage {
	case connecting:
		f.stage = awaitFlight
		return errors.Join(c.sendHello(fd, f.errand), c.poll.change(fd, readable))
	case sendUpload:
		return c.send(fd, f)
	case awaitDownload:
		return c.count(fd, f)
	case awaitClose:
		if events&unix.EPOLLRDHUP != 0 && events&unix.EPOLLERR == 0 {
			return errDone
		}
	default:
	}
	n, err := unix.Read(fd, c.room)
	switch {
	case again(err):
		return nil
	case err != nil:
		return err
	case n == 0 && f.stage == awaitClose:
		return errDone
	case n == 0:
		return fmt.Errorf("it ended %d bytes into a message", f.at)
	}
	return c.read(fd, f, c.room[:n])
}

// read takes what the backend sent.
func (c *client) read(fd int, f *clientFlow, read []byte) error {
	t := &c.transcripts[f.errand]
	for len(read) > 0 {
		var err error
		switch f.stage {
		case awaitFlight:
			if read, err = expected(t.flight, &f.at, read); err != nil {
				return err
			}
			if f.at < len(t.flight) {
				return nil
			}
			f.at = 0
			if err := writeAll(fd, t.request); err != nil {
				return err
			}
			switch f.errand {
			case download:
				f.stage, f.left = awaitDownload, c.bulk
			case upload:
				f.stage, f.left = sendUpload, c.bulk
				return c.poll.change(fd, unix.EPOLLOUT)
			default:
				f.stage = awaitAnswer
			}
		case awaitAnswer:
			if read, err = expected(t.answer, &f.at, read); err != nil {
				return err
			}
			if f.at < len(t.answer) {
				return nil
			}
			if c.latency != nil {
				c.latency = append(c.latency, time.Since(f.due))
			}
			f.stage = awaitClose
			if f.errand == idle {
				f.stage = held
				c.held++
			}
		default:
			return fmt.Errorf("%d bytes too many", len(read))
		}
	}
	return nil
}

func (c *client) send(fd int, f *clientFlow) error {
	for range 4 { // then another flow's turn
		n, err := unix.Write(fd, c.room[:min(f.left, int64(len(c.room)))])
		if again(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.left -= int64(n); f.left == 0 {
			f.stage = awaitAnswer
			return c.poll.change(fd, readable)
		}
	}
	return nil
}

func (c *client) count(fd int, f *clientFlow) error {
	for range 4 {
		n, err := discard(fd, c.room[:min(f.left, int64(len(c.room)))])
		switch {
		case again(err):
			return nil
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("%d bytes of a download are missing", f.left)
		}
		if f.left -= int64(n); f.left == 0 {
			f.stage = awaitClose
			return nil
		}
	}
	return nil
}

// window is the part of a run that counts: opened is called when the warm-up is over, closed when the time is.
type window struct {
	warmUp, length time.Duration
	opened, closed func() error
}

// saturate keeps as many short flows open as concurrency says, each the next one's cause, and returns how many came to
// their end in the window.
func (c *client) saturate(concurrency int, w window) (flows int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.abandon()
	refill := true
	var failed error
	c.ended = func() {
		if refill && failed == nil {
			failed = c.begin(short, time.Time{})
		}
	}
	defer func() { c.ended = nil }()
	for range concurrency {
		if err := c.begin(short, time.Time{}); err != nil {
			return 0, err
		}
	}
	until := func(end time.Time) error {
		for time.Now().Before(end) {
			if err := errors.Join(c.turn(patience, 0, nil), failed); err != nil {
				return err
			}
		}
		return nil
	}
	if err := until(time.Now().Add(w.warmUp)); err != nil {
		return 0, err
	}
	if err := w.opened(); err != nil {
		return 0, err
	}
	before := c.complete
	if err := until(time.Now().Add(w.length)); err != nil {
		return 0, err
	}
	flows = c.complete - before
	if err := w.closed(); err != nil {
		return 0, err
	}
	refill = false
	return flows, c.drain()
}

// pace opens short flows at a rate per second, at random (Poisson) but for every caller the same moments, and never
// waits for one before it opens the next. It returns how many came to their end in the window, and how long each took
// from the moment at which it had to begin.
func (c *client) pace(rate float64, w window) (flows int, latency []time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.abandon()
	tick, err := newClock(c.poll)
	if err != nil {
		return 0, nil, err
	}
	defer tick.close()
	chance := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	next := start
	ring := func() error {
		for !next.After(time.Now()) {
			if err := c.begin(short, next); err != nil {
				return err
			}
			next = next.Add(time.Duration(chance.ExpFloat64() / rate * float64(time.Second)))
		}
		return tick.set(time.Until(next))
	}
	if err := ring(); err != nil {
		return 0, nil, err
	}
	run := func(end time.Time) error {
		for time.Now().Before(end) {
			if err := c.turn(patience, tick, ring); err != nil {
				return err
			}
		}
		return nil
	}
	if err := run(start.Add(w.warmUp)); err != nil {
		return 0, nil, err
	}
	c.latency = make([]time.Duration, 0, int(2*rate*w.length.Seconds())+1)
	defer func() { c.latency = nil }()
	if err := w.opened(); err != nil {
		return 0, nil, err
	}
	before := c.complete
	if err := run(start.Add(w.warmUp + w.length)); err != nil {
		return 0, nil, err
	}
	flows, latency = c.complete-before, c.latency
	c.latency = nil
	if err := w.closed(); err != nil {
		return 0, nil, err
	}
	if err := tick.stop(); err != nil {
		return 0, nil, err
	}
	return flows, latency, c.drain()
}

// carry runs bulk flows side by side until all have moved their bytes.
func (c *client) carry(flows []errand) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.abandon()
	for _, e := range flows {
		if err := c.begin(e, time.Time{}); err != nil {
			return err
		}
	}
	return c.drain()
}

// hold opens idle flows, and returns when each has had its answer. They stay open until release.
func (c *client) hold(flows int) error {
	for opened := 0; opened < flows; {
		for range min(32, flows-opened) { // no more than a proxy takes with ease: what bursts cost is not the question
			if err := c.begin(idle, time.Time{}); err != nil {
				return err
			}
			opened++
		}
		for c.held < c.open {
			if err := c.turn(patience, 0, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// release looks whether the flows that hold has opened are all still open, and closes them.
func (c *client) release() error {
	defer c.abandon()
	return c.turn(0, 0, nil) // an end that somebody made is an event, and an error
}

// drain waits until no flow is open.
func (c *client) drain() error {
	for c.open > 0 {
		if err := c.turn(patience, 0, nil); err != nil {
			return err
		}
	}
	return nil
}

// abandon closes the flows that are open, if any.
func (c *client) abandon() {
	for fd := range c.flows {
		if c.flows[fd].stage != closed {
			_ = unix.Close(fd)
			c.flows[fd].stage = closed
		}
	}
	c.open, c.held = 0, 0
}
