//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	chance "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// webLoad asks for one document again and again, over connections that stay, and checks every byte of every answer. One
// request that fails in any way fails the whole run.
type webLoad struct {
	id      identity
	to      netip.AddrPort
	preface []byte // a PROXY header ahead of the handshake; empty for none
	path    string
	http2   bool
}

// How many requests are under way at a time when a proxy is saturated: over HTTP/1.1 one on each connection, over HTTP/2
// several.
const (
	webConcurrency = 64
	webStreams     = 8
)

// webClient asks once, and returns when the whole answer has come.
type webClient interface {
	ask(ctx context.Context) error
	close()
}

// saturate keeps webConcurrency requests under way, and returns how many were answered inside the window.
func (l *webLoad) saturate(ctx context.Context, w window) (int, error) {
	var count atomic.Int64
	var began, ended int64
	err := l.drive(ctx, w, func(ctx context.Context, c webClient) error {
		for ctx.Err() == nil {
			if err := c.ask(ctx); err != nil {
				return err
			}
			count.Add(1)
		}
		return nil
	}, func() { began = count.Load() }, func() { ended = count.Load() })
	return int(ended - began), err
}

// pace begins requests at random moments (Poisson), at a rate, whether or not those before have been answered, and returns
// how long each took from the moment at which it was due.
func (l *webLoad) pace(ctx context.Context, rate float64, w window) (int, []time.Duration, error) {
	var mu sync.Mutex
	var latency, counted []time.Duration
	// Room for what is due while every connection is busy; whoever waits in it is late, and counts as such.
	due := make(chan time.Time, 1<<16)
	clock := func(ctx context.Context) {
		random := chance.New(chance.NewPCG(1, 2))
		next := time.Now()
		for ctx.Err() == nil {
			next = next.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
			time.Sleep(time.Until(next))
			select {
			case due <- next:
			case <-ctx.Done():
			}
		}
	}
	ticking, stop := context.WithCancel(ctx)
	var ticker sync.WaitGroup
	ticker.Go(func() { clock(ticking) })
	err := l.drive(ctx, w, func(ctx context.Context, c webClient) error {
		for {
			select {
			case at := <-due:
				if err := c.ask(ctx); err != nil {
					return err
				}
				took := time.Since(at)
				mu.Lock()
				latency = append(latency, took)
				mu.Unlock()
			case <-ctx.Done():
				return nil
			}
		}
	}, func() {
		mu.Lock()
		latency = latency[:0]
		mu.Unlock()
	}, func() {
		mu.Lock()
		counted = slices.Clone(latency)
		mu.Unlock()
	})
	stop()
	ticker.Wait()
	return len(counted), counted, err
}

// drive has every client do its work through the warm-up and the window. begin is called when the window opens, end when it
// closes. Clients that are at work then are stopped; that their last answers did not come is no failure.
func (l *webLoad) drive(ctx context.Context, w window, work func(context.Context, webClient) error, begin, end func()) error {
	clients, err := l.clients(ctx)
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var working sync.WaitGroup
	for _, c := range clients {
		working.Go(func() {
			if err := work(ctx, c); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	pause(w.warmUp)
	err = w.opened()
	begin()
	pause(w.length)
	end()
	err = errors.Join(err, w.closed())
	if failed := context.Cause(ctx); failed != nil {
		err = errors.Join(err, failed)
	}
	cancel(nil)
	for _, c := range clients {
		c.close()
	}
	working.Wait()
	return err
}

func (l *webLoad) clients(ctx context.Context) ([]webClient, error) {
	out := make([]webClient, webConcurrency)
	for i := range out {
		switch {
		case !l.http2:
			c, err := l.dialHTTP1(ctx)
			if err != nil {
				return out[:i], err
			}
			out[i] = c
		case i%webStreams == 0:
			out[i] = l.newHTTP2()
		default:
			out[i] = out[i-1]
		}
		if i%webStreams == 0 || !l.http2 { // the connection is there before anybody is measured
			if err := out[i].ask(ctx); err != nil {
				return out[:i+1], err
			}
		}
	}
	return out, nil
}

func (l *webLoad) dial(ctx context.Context, protocol string) (*tls.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.to.String())
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(l.preface); err != nil {
		_ = conn.Close()
		return nil, err
	}
	config := l.id.client(webName)
	config.NextProtos = []string{protocol}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if got := secure.ConnectionState().NegotiatedProtocol; got != protocol {
		_ = conn.Close()
		return nil, fmt.Errorf("the proxy speaks %q, not %s", got, protocol)
	}
	return secure, nil
}

// http1 is a connection of HTTP/1.1. Written without package net/http, which costs several times what it asks for.
type http1 struct {
	conn    *tls.Conn
	r       *bufio.Reader
	request []byte
	want    []byte
	room    []byte
}

func (l *webLoad) dialHTTP1(ctx context.Context) (*http1, error) {
	conn, err := l.dial(ctx, "http/1.1")
	if err != nil {
		return nil, err
	}
	return &http1{
		conn: conn, r: bufio.NewReaderSize(conn, 32<<10), want: documents[l.path], room: make([]byte, 32<<10),
		request: []byte("GET " + l.path + " HTTP/1.1\r\nHost: " + webName + "\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n" +
			"Authorization: Bearer 0123456789abcdef0123456789abcdef\r\nX-Forwarded-For: " + forgedAddress + "\r\n" +
			"X-Jfrog-Client-Cert: " + forgedCertificate + "\r\n\r\n"),
	}, nil
}

func (c *http1) close() { _ = c.conn.Close() }

func (c *http1) ask(context.Context) error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("the answer %q", line)
		}
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length != len(c.want) {
		return fmt.Errorf("an answer of %d bytes, want %d", length, len(c.want))
	}
	check := checker{want: c.want}
	for check.at < length {
		n, err := c.r.Read(c.room[:min(len(c.room), length-check.at)])
		if err != nil {
			return err
		}
		if _, err := check.Write(c.room[:n]); err != nil {
			return err
		}
	}
	return nil
}

// http2 is a connection of HTTP/2, which several use at once.
type http2 struct {
	transport *http.Transport
	url       string
	want      []byte
}

func (l *webLoad) newHTTP2() *http2 {
	t := &http.Transport{
		DialTLSContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx, "h2") },
		Protocols:          new(http.Protocols),
		DisableCompression: true,
	}
	t.Protocols.SetHTTP2(true)
	return &http2{transport: t, url: "https://" + webName + l.path, want: documents[l.path]}
}

func (c *http2) close() { c.transport.CloseIdleConnections() }

func (c *http2) ask(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header = http.Header{
		"User-Agent": {"bench/1.0"}, "Accept": {"*/*"}, "Authorization": {"Bearer 0123456789abcdef0123456789abcdef"},
		"X-Forwarded-For": {forgedAddress}, "X-Jfrog-Client-Cert": {forgedCertificate},
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		return fmt.Errorf("the answer %s by %s", resp.Status, resp.Proto)
	}
	check := checker{want: c.want}
	if _, err := io.Copy(&check, resp.Body); err != nil {
		return err
	}
	return check.end()
}
