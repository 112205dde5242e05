package httpproxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestNodesThatFail(t *testing.T) {
	const docker = `{"errors":[{"code":"UNAVAILABLE","message":`
	for _, c := range []struct {
		name   string
		node   func(t *testing.T) string
		status int
		code   string
		noted  string // in the record
	}{
		{"none", func(*testing.T) string { return "" }, 503, "no_backend", "no node"},
		{"nobody listens", func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return l.Addr().String()
		}, 503, "no_backend", "refused"},
		{"closes", func(t *testing.T) string {
			return scripted(t, func(_ net.Conn, in *bufio.Reader) { readRequest(in) })
		}, 502, "bad_gateway", "EOF"},
		{"resets", func(t *testing.T) string {
			return scripted(t, func(conn net.Conn, in *bufio.Reader) {
				readRequest(in)
				_ = conn.(*net.TCPConn).SetLinger(0)
			})
		}, 502, "bad_gateway", "reset"},
		{"talks something else", func(t *testing.T) string {
			return scripted(t, func(conn net.Conn, in *bufio.Reader) {
				readRequest(in)
				_, _ = io.WriteString(conn, "SSH-2.0-secret\r\n\r\n")
			})
		}, 502, "bad_gateway", errVersion.Error()},
		{"contradicts itself", func(t *testing.T) string {
			return scripted(t, func(conn net.Conn, in *bufio.Reader) {
				readRequest(in)
				_, _ = io.WriteString(conn, head("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"))
			})
		}, 502, "bad_gateway", errBoth.Error()},
		{"switches unasked", func(t *testing.T) string {
			return scripted(t, func(conn net.Conn, in *bufio.Reader) {
				readRequest(in)
				_, _ = io.WriteString(conn, head("HTTP/1.1 101 X", "Connection: upgrade", "Upgrade: x"))
			})
		}, 502, "bad_gateway", errSwitch.Error()},
		{"says nothing", func(t *testing.T) string {
			return scripted(t, func(_ net.Conn, in *bufio.Reader) {
				readRequest(in)
				readRequest(in)
			})
		}, 504, "gateway_timeout", "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothProtocols(t, func(t *testing.T, two bool) {
				w := newWorldAt(t, c.node(t), nil, func(c *Config) { c.Timeouts.Upstream = 200 * time.Millisecond })
				client := w.client(two)
				resp, body := do(t, client, newRequest(t, "GET", "https://art.test/x", nil))
				if resp.status != c.status || !strings.HasPrefix(body, `{"code":"`+c.code+`","message":`) {
					t.Errorf("%s: %s", resp.Status, body)
				}
				if strings.Contains(body, "127.0.0.1") || strings.Contains(body, "secret") {
					t.Errorf("the peer is told too much: %s", body)
				}
				if r := w.recorded(); r.Code != c.code || r.Err == nil || !strings.Contains(r.Err.Error(), c.noted) {
					t.Errorf("record: %s, %v", r.Code, r.Err)
				}
				resp, body = do(t, client, newRequest(t, "GET", "https://docker-local.art.test/v2/", nil))
				if resp.status != c.status || !strings.HasPrefix(body, docker) {
					t.Errorf("%s: %s", resp.Status, body)
				}
			})
		})
	}
}

// A connection that the node closed while nobody used it costs a request nothing that can be sent again.
func TestClosedConnectionsAreReplaced(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			closed := make(chan struct{}, 10)
			node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
				if _, ok := readRequest(in); ok {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
				conn.Close()
				closed <- struct{}{}
			})
			w := newWorldAt(t, node, nil, nil)
			client := w.client(false)
			for range 5 {
				if resp, body := do(t, client, newRequest(t, method, "https://art.test/", strings.NewReader("x"))); resp.status != 200 || body != "ok" {
					t.Fatalf("%s: %s", resp.Status, body)
				}
				<-closed
			}
		})
	}
}

// A request that the application may have acted on is not sent twice.
func TestPostsAreNotSentTwice(t *testing.T) {
	var posts atomic.Int32
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			r, ok := readRequest(in)
			if !ok {
				return
			}
			if r.Method == http.MethodPost {
				posts.Add(1)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	w := newWorldAt(t, node, nil, nil)
	client := w.client(false)
	do(t, client, newRequest(t, "GET", "https://art.test/", nil))
	if resp, _ := do(t, client, newRequest(t, "POST", "https://art.test/", strings.NewReader("x"))); resp.status != 502 || posts.Load() != 1 {
		t.Errorf("%s, sent %d times", resp.Status, posts.Load())
	}
}

// A connection that told the node whose flow it is carries no other flow's requests.
func TestOwnConnectionsStayWithTheirFlow(t *testing.T) {
	var conns atomic.Int32
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		n := conns.Add(1)
		for {
			if _, ok := readRequest(in); !ok {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		}
	})
	w := newWorldAt(t, node, nil, nil)
	w.mu.Lock()
	w.own = true
	w.mu.Unlock()
	one, another := w.client(false), w.client(false)
	for range 3 {
		if _, body := do(t, one, newRequest(t, "GET", "https://art.test/", nil)); body != "1" {
			t.Errorf("the first flow's request came over connection %s", body)
		}
		if _, body := do(t, another, newRequest(t, "GET", "https://art.test/", nil)); body != "2" {
			t.Errorf("the second flow's request came over connection %s", body)
		}
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections for two flows", n)
	}
}

func TestNodesConnectionsAreKept(t *testing.T) {
	var conns atomic.Int32
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		conns.Add(1)
		for {
			if _, ok := readRequest(in); !ok {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})
	w := newWorldAt(t, node, nil, nil)
	client := w.client(false)
	for range 20 {
		do(t, client, newRequest(t, "GET", "https://art.test/", nil))
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests", n)
	}
	for end := time.Now().Add(patient); ; <-time.After(time.Millisecond) { // the answer is there before the connection is put aside
		w.server.idle.mu.Lock()
		n := w.server.idle.count
		w.server.idle.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are kept", n)
		}
	}
	w.server.idle.sweep(time.Now().Add(time.Hour))
	do(t, client, newRequest(t, "GET", "https://art.test/", nil))
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections after the first was idle for too long", n)
	}
}

// More than the answer on a connection means that its end is not where it was taken to be: nobody uses it again.
func TestLeftoversEndANodesConnection(t *testing.T) {
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			if _, ok := readRequest(in); !ok {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
		}
	})
	w := newWorldAt(t, node, nil, nil)
	client := w.client(false)
	for range 3 {
		if _, body := do(t, client, newRequest(t, "GET", "https://art.test/", nil)); body != "ok" {
			t.Fatalf("%q", body)
		}
	}
}

func TestAnswersThatBreakOff(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
	} {
		bothProtocols(t, func(t *testing.T, two bool) {
			node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
				readRequest(in)
				_, _ = io.WriteString(conn, answer)
			})
			w := newWorldAt(t, node, nil, nil)
			resp, err := w.client(two).Do(newRequest(t, "GET", "https://art.test/", nil))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("the client takes a part for the whole")
			}
			if r := w.recorded(); r.Code != "bad_gateway" {
				t.Errorf("record: %s", r.Code)
			}
		})
	}
}

func TestAnswersWithoutALength(t *testing.T) {
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		readRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nto the end")
	})
	w := newWorldAt(t, node, nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		client := w.client(two)
		for range 2 {
			if resp, body := do(t, client, newRequest(t, "GET", "https://art.test/", nil)); body != "to the end" || resp.status != 200 {
				t.Errorf("%s: %q", resp.Status, body)
			}
		}
	})
	conn := w.raw()
	fmt.Fprint(conn, "GET / HTTP/1.0\r\nHost: art.test\r\n\r\n")
	all, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(all), "\r\n\r\nto the end") || strings.Contains(string(all), "chunked") {
		t.Errorf("to HTTP/1.0: %q, %v", all, err)
	}
}
