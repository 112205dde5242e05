package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/internal/servertest"
)

// front asks a listener before which a reverse proxy ended TLS, as that proxy.
func front(t *testing.T, addr string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * patience}
}

// raw opens a TLS connection to the public listener that speaks what it is told to.
func (v *webVendor) raw(p *program, protocol string) *tls.Conn {
	v.t.Helper()
	c := tls.Client(dial(v.t, p.public), &tls.Config{ServerName: webPublic, RootCAs: v.authority.Pool(), NextProtos: []string{protocol}})
	if err := c.HandshakeContext(v.t.Context()); err != nil {
		v.t.Fatal(err)
	}
	return c
}

// TestSIGHUPHandsOverWithoutFailingARequest: with clients of every kind that go on asking, requests under way, and connections
// that wait for their next request.
func TestSIGHUPHandsOverWithoutFailingARequest(t *testing.T) {
	v := newWebVendor(t)
	behind := servertest.Addr(t).String()
	p := v.gateway(install(t), "gw-1", "--front", behind+"=443", "--front-trusted-peer", "127.0.0.1")
	v.set(nil)

	// Clients that go on: what they keep alive, what they open anew for each request, and with a body.
	var stop atomic.Bool
	var clients sync.WaitGroup
	counts := map[string]*atomic.Int64{}
	var idle []*http.Client
	client := func(name string, c *http.Client, url, method string, anew bool) {
		count := new(atomic.Int64)
		counts[name] = count
		idle = append(idle, c)
		clients.Go(func() {
			for !stop.Load() {
				var body io.Reader = http.NoBody
				if method == http.MethodPut {
					body = bytes.NewReader(make([]byte, 100<<10))
				}
				r, err := http.NewRequestWithContext(t.Context(), method, url+"/artifactory/blob", body)
				if err != nil {
					t.Error(err)
					return
				}
				r.Close, r.Host = anew, webPublic
				r.Header.Set("X-Forwarded-For", "127.0.0.1")
				resp, err := c.Do(r)
				if err != nil {
					t.Errorf("%s, request %d: %v", name, count.Load(), err)
					return
				}
				n, err := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || method == http.MethodGet && n != 1<<20 {
					t.Errorf("%s, request %d: %s, %d bytes, %v", name, count.Load(), resp.Status, n, err)
					return
				}
				count.Add(1)
			}
		})
	}
	const url = "https://" + webPublic
	for _, two := range []bool{false, true} {
		kind := fmt.Sprintf("HTTP/%d", map[bool]int{false: 1, true: 2}[two])
		client(kind, v.client(p, two), url, http.MethodGet, false)
		client(kind+" upload", v.client(p, two), url, http.MethodPut, false)
		client(kind+" anew", v.client(p, two), url, http.MethodGet, true)
	}
	client("front", front(t, behind), "http://"+webPublic, http.MethodGet, false)
	client("front anew", front(t, behind), "http://"+webPublic, http.MethodPut, true)

	// Requests under way.
	type result struct {
		what, body string
		err        error
	}
	results := make(chan result, 10)
	var uploads []*io.PipeWriter
	begin := func(what string, c *http.Client, url string) {
		idle = append(idle, c)
		id := strconv.Itoa(len(uploads))
		up, in := io.Pipe()
		uploads = append(uploads, in)
		for _, request := range []struct {
			method, path string
			body         io.Reader
		}{{http.MethodPut, "/artifactory/stream/up?id=" + id, up}, {http.MethodGet, "/artifactory/stream/down?id=" + id, http.NoBody}} {
			r, err := http.NewRequestWithContext(t.Context(), request.method, url+request.path, request.body)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = webPublic
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			begun := make(chan struct{})
			go func() {
				said := result{what: what + " " + request.method}
				defer func() { results <- said }()
				resp, err := c.Do(r)
				if request.method == http.MethodGet {
					close(begun)
				}
				if err != nil {
					said.err = err
					return
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				said.body, said.err = string(body), err
			}()
			if request.method == http.MethodPut {
				_, _ = in.Write([]byte("first"))
				<-v.app.Arrived(id)
			} else {
				<-begun
			}
		}
	}
	begin("HTTP/1", v.client(p, false), url)
	begin("HTTP/2", v.client(p, true), url)
	begin("front", front(t, behind), "http://"+webPublic)

	// Connections without a request: one that had some, one that has only just come, one that speaks HTTP/2.
	ask := func(c net.Conn) (last bool) {
		t.Helper()
		_, _ = fmt.Fprintf(c, "GET /artifactory/x HTTP/1.1\r\nHost: %s\r\n\r\n", webPublic)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", resp.Status, err)
		}
		return resp.Close
	}
	used, fresh, half, second := v.raw(p, "http/1.1"), v.raw(p, "http/1.1"), dial(t, p.public), v.raw(p, "h2")
	ask(used)
	_, _ = io.WriteString(second, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // RFC 9113, section 3.4

	moreOf(t, counts)
	p.signal(t, syscall.SIGHUP)
	successor := p.await(t, `msg="a successor serves: gateway drains" successor=(\d+)`)[1]
	for _, addr := range []string{p.public, behind} {
		awaitDeaf(t, p.Process.Pid, addr)
	}

	// The old process answers what comes on its connections, and says that it is the last time.
	for what, c := range map[string]net.Conn{"a connection that was used": used, "one that was not": fresh} {
		if !ask(c) {
			t.Errorf("%s: the answer does not say that the connection ends", what)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: %d bytes follow the last answer", what, n)
		}
	}
	late := tls.Client(half, &tls.Config{ServerName: webPublic, RootCAs: v.authority.Pool()})
	if err := late.HandshakeContext(t.Context()); err != nil {
		t.Errorf("a connection whose handshake had not begun: %v", err)
	} else if !ask(late) {
		t.Error("a connection whose handshake had not begun goes on")
	}
	if err := awaitGoAway(second); err != nil {
		t.Errorf("HTTP/2: %v", err)
	}
	_ = second.Close()

	moreOf(t, counts)
	stop.Store(true)
	clients.Wait()
	for id, in := range uploads {
		_, _ = in.Write([]byte(" last"))
		_ = in.Close()
		v.app.Release(strconv.Itoa(id))
	}
	for range 2 * len(uploads) {
		r := <-results
		want := "first\nlast\n"
		if strings.HasSuffix(r.what, http.MethodPut) {
			want = strconv.Itoa(len("first last"))
		}
		if r.err != nil || r.body != want {
			t.Errorf("%s: %q, %v; want %q", r.what, r.body, r.err, want)
		}
	}

	// Nothing keeps the old process any more.
	for _, c := range idle {
		c.CloseIdleConnections()
	}
	p.await(t, `msg="gateway ended" pid=`+strconv.Itoa(p.Process.Pid))
	if err := p.Wait(); err != nil {
		t.Errorf("the old process: %v", err)
	}
	pid, err := strconv.Atoi(successor)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.get(v.client(p, true), url+"/artifactory/x"); got.status != http.StatusOK {
		t.Errorf("the successor: %+v", got)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for range p.lines {
	}
}

// moreOf waits until all clients have had some more requests answered.
func moreOf(t *testing.T, counts map[string]*atomic.Int64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for name, count := range counts {
		for want := count.Load() + 3; count.Load() < want && !t.Failed(); <-tick.C {
			if time.Since(start) > 2*patience {
				t.Fatalf("%s does nothing", name)
			}
		}
	}
}

// awaitGoAway reads frames (RFC 9113, section 4.1) up to GOAWAY.
func awaitGoAway(c net.Conn) error {
	in := bufio.NewReader(c)
	for {
		var head [9]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return fmt.Errorf("no GOAWAY: %w", err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		if head[3] == 7 {
			return nil
		}
	}
}

// Who stops the service does not wait for connections on which nothing is asked.
func TestSIGTERMEndsWhatAHandoverLeavesOpen(t *testing.T) {
	v := newWebVendor(t)
	p := v.gateway(install(t), "gw-1", "--drain", "1h")
	v.set(nil)
	idle := v.raw(p, "http/1.1")
	p.signal(t, syscall.SIGHUP)
	p.await(t, `msg="a successor serves: gateway drains"`)
	awaitDeaf(t, p.Process.Pid, p.public)
	_ = syscall.Kill(-p.Process.Pid, syscall.SIGTERM) // the old one's group, which is the new one's
	if err := p.end(); err != nil {
		t.Errorf("the old process: %v", err)
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
}
