//go:build linux

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/l4"
)

func transcripts(t *testing.T) (all [errands]transcript, id identity) {
	t.Helper()
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for e := range errands {
		if all[e], err = record(id, e.serverName()); err != nil {
			t.Fatal(err)
		}
	}
	return all, id
}

// load starts a backend, and a client that talks to it without any proxy.
func load(t *testing.T) (*client, *backend) {
	t.Helper()
	all, _ := transcripts(t)
	b, err := startBackend(all)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.close()
		_ = b.close()
	})
	return c, b
}

func TestARecordedSessionIsWhatTLSSends(t *testing.T) {
	all, _ := transcripts(t)
	for e := range errands {
		tr := all[e]
		hello, n, err := l4.ParseClientHello(tr.hello)
		if err != nil || n != len(tr.hello) || hello.ServerName != e.serverName() {
			t.Errorf("%s: hello for %q, %d of %d bytes, %v", e.serverName(), hello.ServerName, n, len(tr.hello), err)
		}
		const handshake, applicationData = 22, 23
		if tr.flight[0] != handshake {
			t.Errorf("the server's flight begins with a record of type %d", tr.flight[0])
		}
		if len(tr.request) < requestSize || len(tr.answer) < answerSize || tr.answer[0] != applicationData {
			t.Errorf("a request of %d bytes, an answer of %d, of type %d", len(tr.request), len(tr.answer), tr.answer[0])
		}
		if len(tr.hello) != len(all[short].hello) {
			t.Errorf("%s: a hello of %d bytes, that of others has %d", e.serverName(), len(tr.hello), len(all[short].hello))
		}
	}
}

func TestTheHeaderIsThatOfABalancer(t *testing.T) {
	h, n, err := l4.ParseProxyHeader(proxyHeader(clientAddress, endpointID))
	if err != nil || n != 100 || string(h.AWSEndpoint) != endpointID || h.Source.Addr().String() != clientAddress {
		t.Errorf("%+v, %d bytes, %v", h, n, err)
	}
}

func TestExpectedBytes(t *testing.T) {
	message := []byte("abcdef")
	at := 0
	for _, part := range []struct{ read, rest string }{{"ab", ""}, {"cde", ""}, {"fgh", "gh"}} {
		rest, err := expected(message, &at, []byte(part.read))
		if err != nil || string(rest) != part.rest {
			t.Fatalf("%q: %q, %v", part.read, rest, err)
		}
	}
	at = 2
	if _, err := expected(message, &at, []byte("cx")); err == nil {
		t.Error("other bytes were taken for the message")
	}
}

func TestEveryErrandWithoutAProxy(t *testing.T) {
	c, b := load(t)
	edges := 0
	edge := func() error { edges++; return nil }
	w := window{warmUp: 10 * time.Millisecond, length: time.Second, opened: edge, closed: edge}

	c.to = b.addrs[short]
	if n, err := c.saturate(8, w); err != nil || n == 0 {
		t.Errorf("saturated: %d flows, %v", n, err)
	}
	n, latency, err := c.pace(500, w)
	if err != nil || n == 0 || len(latency) == 0 {
		t.Errorf("paced: %d flows, %d latencies, %v", n, len(latency), err)
	}
	if edges != 4 {
		t.Errorf("two windows had %d edges", edges)
	}
	if served := int(b.served.Load()); served != c.complete {
		t.Errorf("the backend served %d flows, the client saw %d end", served, c.complete)
	}

	c.bulk, b.bulk = 3<<20+1, 3<<20+1
	for _, e := range []errand{download, upload} {
		c.to = b.addrs[e]
		if err := c.carry([]errand{e, e, e}); err != nil {
			t.Errorf("%s: %v", e.serverName(), err)
		}
	}

	c.to = b.addrs[idle]
	if err := c.hold(70); err != nil || c.open != 70 {
		t.Errorf("hold: %d flows are open, %v", c.open, err)
	}
	if err := c.release(); err != nil || c.open != 0 {
		t.Errorf("release: %d flows are open, %v", c.open, err)
	}
	if err := b.failure(); err != nil {
		t.Error(err)
	}
}

// A byte that a proxy changes, or a header that it passes on, fails the run.
func TestWhatIsNotCarriedUnchangedFails(t *testing.T) {
	w := window{length: time.Hour, opened: func() error { return nil }, closed: func() error { return nil }}
	for _, tt := range []struct {
		name string
		harm func(c *client)
		want string
	}{
		{"at the client", func(c *client) {
			tr := &c.transcripts[short]
			tr.flight = bytes.Clone(tr.flight)
			tr.flight[len(tr.flight)-1] ^= 1
		}, "other bytes"},
		{"at the backend", func(c *client) { c.preface = proxyHeader(clientAddress, endpointID) }, "other bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, b := load(t)
			c.to = b.addrs[short]
			tt.harm(c)
			_, err := c.saturate(1, w)
			if err == nil {
				t.Fatal("the run did not fail")
			}
			if err := errors.Join(err, b.close()); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestRealTLSWithoutAProxy(t *testing.T) {
	_, id := transcripts(t)
	b, err := startTLSBackend(id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	c := tlsClient{id: id, to: b.routes()[short].Backend}
	none := func() error { return nil }
	w := window{length: time.Second, opened: none, closed: none}
	if n, err := c.saturate(2, w); err != nil || n == 0 {
		t.Errorf("saturated: %d flows, %v", n, err)
	}
	if n, latency, err := c.pace(100, w); err != nil || n == 0 || len(latency) == 0 {
		t.Errorf("paced: %d flows, %d latencies, %v", n, len(latency), err)
	}
	if err := c.echo(100_000); err != nil {
		t.Errorf("echo: %v", err)
	}
	// Nobody is refused where there is no proxy: verify has to see it.
	if err := verify(c); err == nil || !strings.Contains(err.Error(), "let pass") {
		t.Errorf("verify: %v", err)
	}
}
