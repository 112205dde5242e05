package engine

import (
	"io"
	"net"
	"testing"
	"time"
)

// Two engines accept from one socket, as at a handover, and the older one stops: every flow is served by one of them. The
// kernel wakes one of the loops that sleep for each flow (EPOLLEXCLUSIVE), and none of these wake-ups may get lost with
// the loop that leaves.
func TestNoFlowIsLostAtAHandover(t *testing.T) {
	for range 100 {
		handOver(t)
	}
}

func handOver(t *testing.T) {
	own := listen(t)
	old, err := Start(Config{Handler: greeter{}, Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	successor, err := Start(Config{Handler: greeter{}, Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = successor.Close() }()
	for _, e := range []Engine{old, successor} {
		f, err := own.File()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Listen(l.(*net.TCPListener), nil); err != nil {
			t.Fatal(err)
		}
	}
	const clients = 8
	errs := make(chan error, clients)
	for range clients {
		go func() { errs <- greeted(own.Addr().String()) }()
	}
	old.StopAccepting()
	for range clients {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// greeted opens a flow and waits for it to be served and closed.
func greeted(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.Copy(io.Discard, c)
	return err
}

// greeter ends every flow at once, in order.
type greeter struct{}

func (greeter) Accepted(*Flow) Action               { return Action{Reason: "GREETED"} }
func (greeter) Received(*Flow, []byte, bool) Action { return Action{} }
func (greeter) TimedOut(*Flow, []byte) Action       { return Action{} }
func (greeter) Connected(*Flow, error) Action       { return Action{} }
func (greeter) Answered(*Flow, []byte, bool) Action { return Action{} }
func (greeter) Ended(*Flow, End)                    {}
