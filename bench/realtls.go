//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	chance "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/l4"
)

// proxyHeader is what an AWS load balancer sends ahead of a client's first byte, 100 bytes long.
func proxyHeader(source, endpoint string) []byte {
	return l4.AppendProxyHeader(nil, l4.ProxyWriter{
		Source:      netip.AddrPortFrom(netip.MustParseAddr(source), 40000),
		Destination: netip.MustParseAddrPort("10.1.0.1:443"), AWSEndpoint: endpoint, PadTo: 100,
	})
}

// The client that the proxies let pass, and one that they do not.
const (
	clientAddress  = "10.2.3.4"
	strangeAddress = "192.0.2.1"
)

// tlsBackend is a backend that really speaks TLS. For the short errand it answers once, for all others it echoes.
type tlsBackend struct {
	listener net.Listener
	config   *tls.Config
	conns    sync.WaitGroup
}

func startTLSBackend(id identity) (*tlsBackend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &tlsBackend{listener: l, config: id.server}
	b.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Go(func() { b.serve(tls.Server(conn, b.config)) })
		}
	})
	return b, nil
}

// serve serves one flow. What goes wrong here goes wrong at the client too, and is told there.
func (b *tlsBackend) serve(conn *tls.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if conn.HandshakeContext(ctx) != nil {
		return
	}
	if conn.ConnectionState().ServerName == short.serverName() {
		_ = answerOnce(conn)
		return
	}
	_, _ = io.Copy(conn, conn)
	_ = conn.CloseWrite()
}

func (b *tlsBackend) routes() []route {
	var out []route
	for e := range errands {
		out = append(out, route{e.serverName(), netip.MustParseAddrPort(b.listener.Addr().String())})
	}
	return out
}

func (b *tlsBackend) close() {
	b.listener.Close()
	b.conns.Wait()
}

// tlsClient is a client that really speaks TLS, a goroutine per flow.
type tlsClient struct {
	id      identity
	preface []byte
	to      netip.AddrPort
}

// prefaced is a connection whose first write goes out together with what has to stand in front of it.
type prefaced struct {
	net.Conn
	preface []byte
}

func (p *prefaced) Write(b []byte) (int, error) {
	if p.preface == nil {
		return p.Conn.Write(b)
	}
	before := len(p.preface)
	n, err := p.Conn.Write(append(bytes.Clone(p.preface), b...))
	p.preface = nil
	return max(n-before, 0), err
}

func (c *tlsClient) dial(serverName string) (*tls.Conn, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", c.to.String())
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return tls.Client(&prefaced{conn, c.preface}, c.id.client(serverName)), nil
}

// flow is one short flow.
func (c *tlsClient) flow() error {
	conn, err := c.dial(short.serverName())
	if err != nil {
		return err
	}
	return askOnce(conn)
}

func (c *tlsClient) saturate(concurrency int, w window) (flows int, err error) {
	var complete atomic.Int64
	var stop atomic.Bool
	failed := make(chan error, concurrency)
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for !stop.Load() {
				if err := c.flow(); err != nil {
					failed <- err
					return
				}
				complete.Add(1)
			}
		})
	}
	defer workers.Wait()
	defer stop.Store(true)
	err = w.over(failed, func() { flows = int(complete.Load()) - flows }) // what was complete at the end, less that at the start
	return flows, err
}

func (c *tlsClient) pace(rate float64, w window) (flows int, latency []time.Duration, err error) {
	var mu sync.Mutex
	var begun sync.WaitGroup
	stop, counts := make(chan struct{}), false
	failed := make(chan error, 1)
	one := func(due time.Time) {
		err := c.flow()
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
		flows++
		if counts {
			latency = append(latency, time.Since(due))
		}
	}
	begun.Go(func() {
		dice := chance.New(chance.NewPCG(1, 2))
		for next := time.Now(); ; next = next.Add(time.Duration(dice.ExpFloat64() / rate * float64(time.Second))) {
			select {
			case <-stop:
				return
			case <-time.After(time.Until(next)):
				begun.Go(func() { one(next) })
			}
		}
	})
	before, inWindow := 0, 0
	err = w.over(failed, func() {
		mu.Lock()
		defer mu.Unlock()
		counts = !counts
		inWindow, before = flows-before, flows
	})
	close(stop)
	begun.Wait()
	return inWindow, latency, err
}

// over waits until the window has passed, and calls mark when it opens and when it closes.
func (w window) over(failed <-chan error, mark func()) error {
	for _, part := range []struct {
		length time.Duration
		edge   func() error
	}{{w.warmUp, w.opened}, {w.length, w.closed}} {
		select {
		case err := <-failed:
			return err
		case <-time.After(part.length):
		}
		mark()
		if err := part.edge(); err != nil {
			return err
		}
	}
	return nil
}

// verify sees that a proxy does the work that is measured: it carries TLS both ways unchanged to the backend that the
// server name says, and refuses what has to be refused.
func verify(c tlsClient) error {
	if err := c.echo(echoBytes); err != nil {
		return fmt.Errorf("an echo of %d bytes: %w", echoBytes, err)
	}
	for _, r := range []struct {
		what, name string
		preface    []byte
	}{
		{"an unknown name", "other.bench.example", proxyHeader(clientAddress, endpointID)},
		{"a stranger", idle.serverName(), proxyHeader(strangeAddress, strangeEndpoint)},
		{"no PROXY header", idle.serverName(), nil},
	} {
		stranger := c
		stranger.preface = r.preface
		if conn, err := stranger.dial(r.name); err != nil {
			return err
		} else if err := refused(conn); err != nil {
			return fmt.Errorf("%s was %w", r.what, err)
		}
	}
	return nil
}

const echoBytes = 1 << 20

// refused returns nil when the flow was closed without an answer.
func refused(conn *tls.Conn) error {
	defer conn.Close()
	err := conn.HandshakeContext(context.Background()) // dial has set a deadline
	if _, answered := errors.AsType[*tls.CertificateVerificationError](err); answered || err == nil {
		return errors.New("let pass")
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return errors.New("neither let pass nor refused")
	}
	return nil
}

// echo sends bytes to a backend that sends them back, and compares.
func (c *tlsClient) echo(n int64) error {
	conn, err := c.dial(idle.serverName())
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, got := sha256.New(), sha256.New()
	wrote := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(conn, sent), rand.Reader, n)
		wrote <- errors.Join(err, conn.CloseWrite())
	}()
	back, err := io.Copy(got, conn)
	if err := errors.Join(err, <-wrote); err != nil {
		return err
	}
	if back != n || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		return fmt.Errorf("other bytes came back, %d of %d", back, n)
	}
	return nil
}
