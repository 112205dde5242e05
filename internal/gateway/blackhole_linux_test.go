package gateway

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/backend"
)

// blackHole is a backend that answers nothing, not even to a connection: a listener whose queue is full, to which Linux
// is silent.
type blackHole struct {
	net.Listener
	addr    string
	serving sync.WaitGroup
}

func newBlackHole(t *testing.T) *blackHole {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "black hole")
	defer file.Close() //nolint:errcheck // package net has a copy
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	h := &blackHole{Listener: ln, addr: ln.Addr().String()}
	t.Cleanup(func() {
		_ = ln.Close()
		h.serving.Wait()
	})
	for range 16 {
		d := net.Dialer{Timeout: 300 * time.Millisecond}
		c, err := d.DialContext(t.Context(), "tcp", h.addr)
		if err != nil {
			return h
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue does not fill")
	return nil
}

// wake has the hole serve TLS, what waits in its queue included.
func (h *blackHole) wake(cert tls.Certificate) {
	h.serving.Go(func() {
		for {
			c, err := h.Accept()
			if err != nil {
				return
			}
			h.serving.Go(func() {
				defer c.Close()
				over := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
				_, _ = io.Copy(over, over)
			})
		}
	})
}

// A backend that swallows everything costs a flow the time to connect once, then no flow at all; when it is back and
// needed, it gets flows again.
func TestABlackHoleAmongTheBackends(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, func(c *Config) {
			if change != nil {
				change(c)
			}
			c.Timeouts.Dial = 250 * time.Millisecond
		})
		hole := newBlackHole(t)
		rules := w.rules(1)
		rules.Clusters[0].Backends = []api.GatewayTarget{{Address: hole.addr, Weight: 200}, {Address: w.acme.addr, Weight: 1}}
		w.apply(rules)
		out := func() bool {
			for s := range w.g.pool.All() {
				if s.Backend == hole.addr && !s.In {
					return true
				}
			}
			return false
		}
		for n := 0; !out(); n++ {
			if n > 50 {
				t.Fatal("the hole is not ejected")
			}
			echo(t, w.open(endpointA, acmePrivate), "by the one that lives")
		}
		w.control.await("the news of the hole", func() bool {
			return slices.ContainsFunc(w.control.health, func(h api.GatewayBackend) bool {
				return h.Backend == hole.addr && !h.Healthy && h.Reason == backend.ConnectTimeout
			})
		})
		flow := w.open(endpointA, acmePrivate)
		for s := range w.g.pool.All() {
			if s.Backend == hole.addr && s.Flows > 0 {
				t.Error("the hole got a flow")
			}
		}
		// The other one goes, and the hole wakes up.
		_ = w.acme.ln.Close()
		hole.wake(w.cert)
		echo(t, w.open(endpointA, acmePrivate), "by the one that is back")
		echo(t, flow, "and the flow that was there goes on")
	})
}

// Two tries, then the flow ends: without a byte, in time, and with a record that says why.
func TestNothingButBlackHoles(t *testing.T) {
	bothEngines(t, func(t *testing.T, change func(*Config)) {
		w := newWorld(t, func(c *Config) {
			if change != nil {
				change(c)
			}
			c.Timeouts.Dial = 200 * time.Millisecond
		})
		rules := w.rules(1)
		rules.Clusters[0].Backends = nil
		for range mostDials + 1 {
			rules.Clusters[0].Backends = append(rules.Clusters[0].Backends, api.GatewayTarget{Address: newBlackHole(t).addr})
		}
		w.apply(rules)
		var all sync.WaitGroup
		for range 10 {
			c := w.balancer(endpointA)
			if _, err := c.Write(clientHello(t, acmePrivate)); err != nil {
				t.Fatal(err)
			}
			all.Go(func() { closedWithoutAByte(t, c) })
		}
		all.Wait()
		if f := w.control.awaitEnd(reasonUnreachable); f.BytesIn != 0 || f.BytesOut != 0 {
			t.Errorf("recorded %+v", f)
		}
		eventually(t, "nothing is left", func() bool { return w.g.engine.Stats().Open == 0 && w.g.LiveFlows() == 0 })
	})
}
