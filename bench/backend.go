//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// backend is what the proxies forward to: one event loop that plays the server's part of the transcripts, with an
// address per errand, and checks every byte of the client's part but those of a bulk upload, which it counts.
type backend struct {
	poll        *poller
	transcripts [errands]transcript
	bulk        int64 // bytes of a download and of an upload; may change while no such flow is open
	addrs       [errands]netip.AddrPort
	listening   map[int]errand
	flows       []backendFlow // by descriptor
	room        []byte
	quit        [2]int // a pipe: closing the second end ends the loop
	ended       chan struct{}

	served atomic.Int64 // flows that were served to the end of the answer

	mu   sync.Mutex
	fail error // the first thing that went wrong
}

// backendFlow is a flow at the backend.
type backendFlow struct {
	errand errand
	stage  backendStage
	at     int   // bytes of the message that is due
	left   int64 // bytes of a bulk that are still to move
}

type backendStage uint8

const (
	awaitHello backendStage = iota
	awaitRequest
	awaitUpload
	sendDownload
	awaitEnd
)

func startBackend(transcripts [errands]transcript) (*backend, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	b := &backend{
		poll: poll, transcripts: transcripts, listening: map[int]errand{}, flows: make([]backendFlow, descriptorLimit()),
		room: make([]byte, bulkChunk), ended: make(chan struct{}),
	}
	for e := range errands {
		fd, at, err := listenSocket()
		if err == nil {
			err = poll.add(fd, unix.EPOLLIN)
		}
		if err != nil {
			return nil, fmt.Errorf("backend: %w", err)
		}
		b.listening[fd], b.addrs[e] = e, at
	}
	if err := unix.Pipe2(b.quit[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	if err := poll.add(b.quit[0], unix.EPOLLIN); err != nil {
		return nil, err
	}
	go b.run()
	return b, nil
}

// close ends the backend, and returns what went wrong in its life.
func (b *backend) close() error {
	_ = unix.Close(b.quit[1])
	<-b.ended
	return b.failure()
}

// failure returns the first thing that went wrong, nil when nothing did.
func (b *backend) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fail
}

func (b *backend) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.fail = fmt.Errorf("backend: %w", err)
	}
}

func (b *backend) run() {
	runtime.LockOSThread()
	defer close(b.ended)
	defer b.poll.close()
	for {
		events, err := b.poll.wait(-1)
		if err != nil {
			b.failed(err)
			return
		}
		for _, ev := range events {
			fd := int(ev.Fd)
			switch e, listens := b.listening[fd]; {
			case fd == b.quit[0]:
				for fd := range b.listening {
					_ = unix.Close(fd)
				}
				_ = unix.Close(fd)
				return
			case listens:
				b.accept(fd, e)
			default:
				if err := b.step(fd, &b.flows[fd]); err != nil {
					_ = unix.Close(fd)
					if !errors.Is(err, errDone) {
						b.failed(fmt.Errorf("%s: %w", b.flows[fd].errand.serverName(), err))
					}
				}
			}
		}
	}
}

func (b *backend) accept(listener int, e errand) {
	for range 16 {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			if !again(err) {
				b.failed(err)
			}
			return
		}
		b.flows[fd] = backendFlow{errand: e}
		_ = unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 1)
		if err := b.poll.add(fd, unix.EPOLLIN); err != nil {
			b.failed(err)
			_ = unix.Close(fd)
		}
	}
}

// errDone ends a flow in order.
var errDone = errors.New("done")

// step does what an event allows. After an error the flow is over.
func (b *backend) step(fd int, f *backendFlow) error {
	switch f.stage {
	case sendDownload:
		return b.send(fd, f)
	case awaitUpload:
		return b.count(fd, f)
	default:
	}
	n, err := unix.Read(fd, b.room)
	if again(err) {
		return nil
	}
	if err != nil {
		if f.stage == awaitEnd { // a client that is in a hurry to leave
			return errDone
		}
		return err
	}
	if n == 0 {
		if f.stage == awaitEnd || f.stage == awaitHello && f.at == 0 { // or a proxy that looked whether somebody is here
			return errDone
		}
		return fmt.Errorf("the flow ended in stage %d, at %d", f.stage, f.at)
	}
	return b.read(fd, f, b.room[:n])
}

// read takes what the client sent.
func (b *backend) read(fd int, f *backendFlow, read []byte) error {
	t := &b.transcripts[f.errand]
	for len(read) > 0 {
		var err error
		switch f.stage {
		case awaitHello:
			if read, err = expected(t.hello, &f.at, read); err != nil {
				return err
			}
			if f.at < len(t.hello) {
				return nil
			}
			f.stage, f.at = awaitRequest, 0
			if err := writeAll(fd, t.flight); err != nil {
				return err
			}
		case awaitRequest:
			if read, err = expected(t.request, &f.at, read); err != nil {
				return err
			}
			if f.at == len(t.request) {
				if err := b.requested(fd, f); err != nil {
					return err
				}
			}
		case awaitUpload:
			f.left -= int64(len(read))
			return b.count(fd, f)
		default:
			return fmt.Errorf("%d bytes too many", len(read))
		}
	}
	return nil
}

// requested does what the flow is for.
func (b *backend) requested(fd int, f *backendFlow) error {
	switch f.errand {
	case download:
		f.stage, f.left = sendDownload, b.bulk
		if err := b.poll.change(fd, unix.EPOLLOUT); err != nil {
			return err
		}
		return b.send(fd, f)
	case upload:
		f.stage, f.left = awaitUpload, b.bulk
		return nil
	case idle:
		f.stage = awaitEnd
		b.served.Add(1)
		return writeAll(fd, b.transcripts[idle].answer)
	default:
		return b.answer(fd, f)
	}
}

// answer ends a flow as most servers do: the answer, and at once the end.
func (b *backend) answer(fd int, f *backendFlow) error {
	if err := writeAll(fd, b.transcripts[f.errand].answer); err != nil {
		return err
	}
	b.served.Add(1)
	return errDone
}

func (b *backend) send(fd int, f *backendFlow) error {
	for range 4 { // then another flow's turn
		n, err := unix.Write(fd, b.room[:min(f.left, int64(len(b.room)))])
		if again(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.left -= int64(n); f.left == 0 {
			b.served.Add(1)
			return errDone
		}
	}
	return nil
}

func (b *backend) count(fd int, f *backendFlow) error {
	for range 4 {
		n, err := discard(fd, b.room[:min(f.left, int64(len(b.room)))])
		switch {
		case again(err):
			return nil
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("%d bytes of an upload are missing", f.left)
		}
		if f.left -= int64(n); f.left == 0 {
			return b.answer(fd, f)
		}
	}
	return nil
}

// writeAll writes a message that a socket's buffer has room for.
func writeAll(fd int, b []byte) error {
	n, err := unix.Write(fd, b)
	if err == nil && n < len(b) {
		err = errors.New("a socket that does not take a message whole")
	}
	return err
}
