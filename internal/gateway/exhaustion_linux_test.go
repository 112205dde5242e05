package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
)

// The process has no descriptor left: the gateway says so and goes on with the flows that it has, it follows the rules
// and reports, and when there are descriptors again it takes flows again.
func TestNoDescriptorIsLeft(t *testing.T) {
	for name, onNet := range map[string]bool{"event loops": false, "package net": true} {
		t.Run(name, func(t *testing.T) {
			p := startGateway(t, processConfig{MaxFlows: 100_000, Net: onNet})
			p.apply(p.rules(1))
			var flows []net.Conn
			for range 5 {
				flows = append(flows, p.opens(endpointA, acmePrivate))
			}
			revoked := p.opens(endpointB, globexName)
			p.control.await("the records of what is open", func() bool { return len(p.control.flows) == 6 })

			restore := p.limit(unix.RLIMIT_NOFILE, p.nextDescriptor()+1)
			var waiting []net.Conn
			for range 6 { // the first takes the last descriptor, the others wait at the door
				waiting = append(waiting, p.knocks(endpointA))
			}
			eventually(t, "the gateway says that no descriptor is left", func() bool {
				return strings.Contains(p.said(), syscall.EMFILE.Error())
			})
			for _, c := range flows {
				echo(t, c, "who is in stays in")
			}
			without := p.rules(2)
			without.Clusters[1].EndpointIDs = nil
			p.control.publish(without)
			if _, err := revoked.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the revoked flow was not cut: %v", err)
			}
			p.control.awaitEnd(reasonRevoked)
			for _, c := range flows {
				echo(t, c, "and in")
			}

			restore()
			p.control.await("the acknowledgement of the rules", func() bool { return slices.Contains(p.control.acks, 2) })
			for _, c := range waiting {
				over, err := p.tls(c, acmePrivate)
				if err != nil {
					t.Fatalf("who waited at the door was not taken: %v", err)
				}
				echo(t, over, "at last")
			}
			for _, c := range append(flows, p.opens(endpointA, acmePrivate)) {
				echo(t, c, "as before")
			}
		})
	}
}

// A flow that finds no descriptor for its way to the backend ends with a reason of its own, which is not held against the
// backend.
func TestNoDescriptorForABackend(t *testing.T) {
	for name, onNet := range map[string]bool{"event loops": false, "package net": true} {
		t.Run(name, func(t *testing.T) {
			p := startGateway(t, processConfig{MaxFlows: 100_000, Net: onNet})
			p.apply(p.rules(1))
			keeps := p.opens(endpointA, acmePrivate)
			c := p.knocks(endpointA)
			say(t, c, l4.PostgresSSLRequest, "S") // so that it is known to be accepted
			restore := p.limit(unix.RLIMIT_NOFILE, p.nextDescriptor())
			if _, err := c.Write(clientHello(t, acmePrivate)); err != nil {
				t.Fatal(err)
			}
			closedWithoutAByte(t, c)
			p.control.awaitEnd(reasonExhausted)
			echo(t, keeps, "who is in stays in")
			restore()
			echo(t, p.opens(endpointA, acmePrivate), "the backend is as good as before")
			p.control.change(func() {
				for _, h := range p.control.health {
					if !h.Healthy {
						t.Errorf("reported %+v", h)
					}
				}
			})
		})
	}
}

// Unless it is told otherwise the gateway takes as many flows as it has descriptors for, and does not come to that end.
func TestTheBoundLeavesDescriptors(t *testing.T) {
	const files = 256
	p := startGateway(t, processConfig{Files: files})
	p.apply(p.rules(1))
	var flows []net.Conn
	for range 3 {
		flows = append(flows, p.opens(endpointA, acmePrivate))
	}
	block := make([]net.Conn, files)
	for i := range block {
		block[i] = p.knocks(endpointB)
	}
	p.control.awaitRefusal(reasonFairShare)
	for _, c := range block[:40] {
		_, _ = c.Write(clientHello(t, globexName))
	}
	for _, c := range flows {
		echo(t, c, "who is in stays in")
	}
	p.apply(p.rules(2))
	echo(t, p.opens(endpointA, acmePrivate), "and others come in")
	if s := p.said(); strings.Contains(s, syscall.EMFILE.Error()) {
		t.Error("the gateway came to the end of its descriptors")
	}
}

// The disk takes nothing any more: rules are in force at once and not acknowledged, records wait in memory, flows do not
// notice. Once there is room again everything is made up for.
func TestTheDiskIsFull(t *testing.T) {
	p := startGateway(t, processConfig{})
	p.apply(p.rules(1))
	keeps, revoked := p.opens(endpointA, acmePrivate), p.opens(endpointB, globexName)
	p.control.await("the records of what is open", func() bool { return len(p.control.flows) == 2 })

	restore := p.limit(unix.RLIMIT_FSIZE, 0) // no file may grow, which is how a full disk looks to who writes
	p.control.change(func() { p.control.failing = 1 << 30 })
	without := p.rules(2)
	without.Clusters[1].EndpointIDs = nil
	p.control.publish(without)
	if _, err := revoked.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the revoked flow was not cut: %v", err)
	}
	eventually(t, "the gateway says that it cannot keep the rules", func() bool {
		return strings.Contains(p.said(), "could not be acknowledged")
	})
	for range 20 {
		c := p.opens(endpointA, acmePrivate)
		echo(t, c, "nobody notices")
		_ = c.Close()
	}
	echo(t, keeps, "nobody at all")
	eventually(t, "the gateway says that it cannot keep the records", func() bool {
		return strings.Contains(p.said(), "reports cannot be spooled")
	})
	p.control.change(func() {
		if slices.Contains(p.control.acks, 2) {
			t.Error("rules that are not on disk were acknowledged")
		}
	})

	restore()
	p.control.await("the acknowledgement of the rules", func() bool { return slices.Contains(p.control.acks, 2) })
	p.control.change(func() { p.control.failing, p.control.flows = 0, map[string]api.GatewayFlow{} })
	_ = keeps.Close()
	p.control.await("the record of a flow that ended after all that", func() bool {
		return len(p.control.flows) > 0
	})
}

// A device that is full from the start, as a rules file and as a directory for the spool, is no reason not to start.
func TestFilesThatCannotBeUsed(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.RulesFile, c.SpoolDir = t.TempDir(), "/dev/full/spool" // a directory as a file, and a file as a directory
	})
	w.control.publish(w.rules(1))
	w.awaitRevision(1)
	c := w.open(endpointA, acmePrivate)
	echo(t, c, "by the rules in memory")
	_ = c.NetConn().(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c)
	w.control.await("the flow's record", func() bool {
		for _, f := range w.control.flows {
			if f.EndedAt != nil && time.Since(*f.EndedAt) < time.Hour {
				return true
			}
		}
		return false
	})
}
