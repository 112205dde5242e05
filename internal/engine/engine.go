// Package engine accepts streams and moves their bytes: for each flow it reads from the client until its Handler knows
// where the flow goes, connects, and relays until both sides have ended. It knows nothing of rules; the Handler knows
// nothing of sockets.
//
// There are two implementations behind one conformance suite. On Linux, Start runs event loops over epoll, with
// non-blocking sockets: an idle flow costs two descriptors and its Flow value, no goroutine and no buffer. StartNet runs
// everywhere on package net with goroutines, and is what the other one is tested against.
package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Handler decides what happens to flows. For one flow its methods are called one after the other, never at the same
// time, and never while a function given to Engine.Each looks at that flow. They are called from event loops: they must
// not block, and must not keep or change the byte slices that they get.
type Handler interface {
	// Accepted is called when a stream was accepted, before anything is read from it.
	Accepted(f *Flow) Action

	// Received is called with all bytes from the client that were not discarded yet, once there are as many as the last
	// Read asked for. With eof true the client ended its half before, and no more will come. It is not called any more
	// after a Dial.
	Received(f *Flow, read []byte, eof bool) Action

	// TimedOut is called when the time limit of a Read, an Await or a Wait passed, with the client's bytes. What the flow
	// is waiting for is for the Handler to know.
	TimedOut(f *Flow, read []byte) Action

	// Connected is called when a Dial has come to its end: err is nil, or says why not. It wraps a syscall.Errno or
	// os.ErrDeadlineExceeded, and ErrLocal when it was not the backend's fault. After a failure the answer may be another
	// Dial; the bytes are still there. After a success it is Relay or Await.
	Connected(f *Flow, err error) Action

	// Answered is called, after Await, with the bytes that the backend has sent so far and that were not taken yet, once
	// there are as many as asked for; with eof true the backend ended its half before, or broke off, and another Dial may
	// follow. The answer's Discard counts these bytes.
	Answered(f *Flow, read []byte, eof bool) Action

	// Ended is called once for every flow, last of all, also for those that were refused. For a detached flow it is
	// called when it is handed over, with the reason Detached.
	Ended(f *Flow, e End)
}

// Verb is what an Action asks for.
type Verb uint8

// The verbs. The zero value closes the flow.
const (
	Close  Verb = iota // end the flow
	Read               // read from the client until Need bytes are there
	Dial               // connect to To, then write Preface to it
	Await              // read from the backend until Need bytes are there; what the client sent waits
	Relay              // pass on what was read, then both ways until the end
	Detach             // hand the client's stream over to Take
	Wait               // do nothing; TimedOut is called when Within has passed
)

// Action is what a Handler wants done next. Which fields count depends on Do.
type Action struct {
	Do Verb

	// Read and Await: call again when this many bytes are there, those to discard not counted, at least one more than
	// there are now.
	Need int
	// Read, Dial, Await and Wait: the time limit, from now on. 0 leaves the running one in force (for Dial: none).
	Within time.Duration
	// How many bytes to drop from the front of what the call got: they are not passed on.
	Discard int
	// Read: to be written to the client before; a few bytes. A client that does not take them at once is cut off.
	Reply []byte

	// Dial: where to. Preface is written to the backend before anything of the client's, in one piece with the connecting:
	// a few hundred bytes. The engine keeps the slice until Connected is called.
	To      netip.AddrPort
	Preface []byte
	// Dial: what the client has sent goes out together with Preface, which saves a system call and, on a short way, a
	// wake-up. The answer to a successful Connected can only be Relay (or Close) then. A Dial that fails has sent nothing.
	Eager bool

	// Close: Reason goes into End; Reset sends a reset in place of an orderly end.
	Reason string
	Reset  bool

	// Detach: called in a goroutine of its own with the stream, from which the bytes that were read before come first.
	// It owns the stream. Engine.Close and Drain wait for it to return; done is closed when the flow is cut or the
	// engine ends.
	Take func(stream net.Conn, done <-chan struct{})
}

// End is how a flow ended.
type End struct {
	Reason    string        // one of the reasons below, the Handler's own, or that of a cut
	In, Out   int64         // bytes from the client to the backend (the preface not counted), and back
	Connect   time.Duration // from the last Dial until the backend was connected; 0 when it never was
	FirstByte time.Duration // from connected until the backend's first byte; 0 when none came
}

// ErrLocal says that a Dial failed for want of descriptors, ports or memory here, which tells nothing of the backend.
var ErrLocal = errors.New("no descriptor, port or memory left")

// Why a relayed flow ended: what happened first counts. The words are stable. Before it relays a flow may end by
// CLIENT_CLOSED (a Read after the client's end), CLIENT_RESET and CUT too.
const (
	ClientClosed = "CLIENT_CLOSED" // the client was the first to end its half, in order
	ServerClosed = "SERVER_CLOSED" // the backend was
	ClientReset  = "CLIENT_RESET"  // the client's connection broke
	ServerReset  = "SERVER_RESET"  // the backend's did
	Idle         = "IDLE"          // no byte moved either way for Config.Idle, or a peer stopped reading for so long
	HalfClosed   = "HALF_CLOSED"   // one side had ended, and nothing came from the other for Config.HalfClose
	Detached     = "DETACHED"      // not an end: the flow was handed over
	WasCut       = "CUT"           // cut without a reason
)

// Config is what an engine is started with.
type Config struct {
	Handler Handler

	// Loops is the number of event loops; 0 means one per processor that Go may use.
	Loops int
	// MaxFlows bounds the flows that are open at once, detached ones included. At the bound the engine stops to accept;
	// what comes waits in the listeners' queues. 0 derives it from the descriptors that the process may open.
	MaxFlows int
	// Idle ends a relayed flow on which nothing moved in either direction for so long, at the latest after twice the
	// time. 0 means never.
	Idle time.Duration
	// HalfClose bounds how long a relayed flow lives with one half ended and nothing moving. 0 means Idle.
	HalfClose time.Duration
	// HoldProcessors lets an event loop that has just been busy wait for its next event without giving its processor
	// back to the Go scheduler, which spares two thread switches per wake-up. It wants a GOMAXPROCS greater than Loops,
	// and a process that is the gateway's alone.
	HoldProcessors bool

	// Trouble is told what an operator has to know, at most once a second per kind: that no descriptor is left, that
	// accepting fails. Nil means nobody is told.
	Trouble func(err error)
}

// Engine is a running engine.
type Engine interface {
	// Listen accepts flows from l from now on, and owns it. tag is what the flows' Tag returns. It can be called at any
	// time before Drain and Close.
	Listen(l *net.TCPListener, tag any) error

	// Each calls visit, one flow after the other, for every open flow that Accepted was called for, detached ones
	// included, in the flow's own turn (see Handler). A flow for which it returns cut is ended with the reason: both peers see a reset. Each returns once
	// every flow was visited; one that was accepted meanwhile may be missed, and its Handler calls come after the call
	// of Each began. It may be called from anywhere but from a Handler.
	Each(visit func(f *Flow) (reason string, cut bool))

	// Stats returns what the engine has counted.
	Stats() Stats

	// StopAccepting closes the listeners. Flows in their queues that nobody has accepted are lost, unless another process
	// holds the same listener. It returns when no Accepted call is under way or will come.
	StopAccepting()

	// Drain stops accepting and returns when no flow is left. When ctx ends before, it cuts those that are left with the
	// reason and returns ctx's error, still after the last Ended.
	Drain(ctx context.Context, reason string) error

	// Close is Drain without patience, and frees everything.
	Close() error
}

// Stats is what an engine counts. Accepted to Spliced only ever grow.
type Stats struct {
	Accepted     uint64
	AcceptErrors uint64
	Paused       uint64 // times that accepting paused, at the bound or for want of descriptors
	In, Out      uint64 // bytes relayed so far, of live flows too
	Spliced      uint64 // of these, the bytes that never came to user space
	Open         int    // flows accepted and not ended
	Relaying     int
	Pipes        int // pipes that are open for splicing
	MaxFlows     int // the bound in force
}
