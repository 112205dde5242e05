package httpproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// scripted is an application that answers byte by byte as a test says; it returns its address.
func scripted(t *testing.T, serve func(conn net.Conn, in *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return listener.Addr().String()
}

// readRequest reads one request with its body.
func readRequest(in *bufio.Reader) (*http.Request, bool) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return r, true
}

// Whatever a client says of itself in fields that only a proxy may set does not pass, in any spelling, and Connection
// cannot take away what the gateway says.
func TestForgedFieldsDoNotPass(t *testing.T) {
	var forgeries []string
	for _, name := range slices.Concat(link.ForwardedHeaders, link.CertificateHeaders, []string{"X-Own-Cert"}) {
		forgeries = append(forgeries, name, strings.ToUpper(name), strings.ToLower(name), strings.ReplaceAll(name, "-", "_"),
			strings.ToLower(strings.Replace(name, "-", "_", 1)), strings.ReplaceAll(name, "-", "."))
	}
	w := newWorld(t, http.HandlerFunc(echo), func(c *link.ClusterRules) {
		c.Proxy.Proxy.ClientCertificates.Header = "X-Own-Cert"
		c.Proxy.Proxy.OverrideBaseURL = true
	}, nil)
	conn := w.raw()
	in := bufio.NewReader(conn)
	for _, name := range forgeries {
		fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: art.test\r\n%s: forged\r\nConnection: %s, x-forwarded-for, X-Forwarded-Proto, Host, x-named\r\nX-Named: 1\r\n\r\n", name, name)
		resp, err := next(in)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.body
		if strings.Contains(got, "forged") || strings.Contains(got, "X-Named") {
			t.Errorf("%s passed:\n%s", name, got)
		}
		for _, want := range []string{
			"Host: art.test\n", "X-Forwarded-For: 203.0.113.7\n", "X-Forwarded-Proto: https\n", "X-Forwarded-Port: 443\n",
			"X-Forwarded-Host: art.test\n", "X-Jfrog-Override-Base-Url: https://art.test\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s took away %q:\n%s", name, want, got)
			}
		}
	}
	bothProtocols(t, func(t *testing.T, two bool) {
		r := newRequest(t, "GET", "https://art.test/x", nil)
		for _, name := range forgeries {
			r.Header[name] = []string{"forged"}
		}
		if _, body := do(t, w.client(two), r); strings.Contains(body, "forged") {
			t.Errorf("passed:\n%s", body)
		}
	})
}

func TestAcceptLinesAreJoined(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		r := newRequest(t, "GET", "https://docker-local.art.test/v2/a/manifests/1", nil, "Accept", "a/b", "Accept", "c/d", "Accept", "e/f")
		if _, body := do(t, w.client(two), r); !strings.Contains(body, "Accept: a/b, c/d, e/f\n") {
			t.Errorf("%s", body)
		}
	})
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, nil)
	for _, c := range []struct {
		method, target, host string // empty: the target's
		status               int
		body                 string
	}{
		{"GET", "https://art.test/", "evil.test", 421, `{"code":"misdirected_request","message":"this host is not served here"}`},
		{"GET", "https://art.test/v2/", "docker-local.art.test.evil.example", 421, `"code":"misdirected_request"`},
		{"GET", "https://art.test/", "x.artXtest", 421, `"code":"misdirected_request"`},
		{"GET", "https://art.test/", "c1.pe.test", 421, `"code":"misdirected_request"`},
		{"GET", "https://art.test/", "art.test:99999", 400, `"code":"bad_request"`},
		{"TRACE", "https://art.test/", "", 405, `"code":"method_not_allowed"`},
		{"GET", "https://art.test/a/%2e%2e/b", "", 400, `{"code":"bad_path","message":"the path has dot segments"}`},
		{"GET", "https://docker-local.art.test/v2/%2e%2e/b", "", 400, `{"errors":[{"code":"NAME_INVALID","message":"the path has dot segments","detail":{"code":"bad_path"}}]}`},
	} {
		bothProtocols(t, func(t *testing.T, two bool) {
			r := newRequest(t, c.method, c.target, nil)
			r.Host = c.host
			resp, body := do(t, w.client(two), r)
			if resp.status != c.status || !strings.Contains(body, c.body) || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %s: %s", c.method, c.target, resp.Status, body)
			}
		})
	}
}

// What could be read in two ways is refused, and nothing behind it on the connection is answered.
func TestAmbiguousRequestsEndTheConnection(t *testing.T) {
	var asked atomic.Int32
	w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/smuggled" {
			asked.Add(1)
		}
	}), nil, nil)
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"length and chunks", "POST / HTTP/1.1\r\nHost: art.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: art.test\r\nContent-Length: 0\r\nContent-Length: 10\r\n\r\n", 400},
		{"odd encoding", "POST / HTTP/1.1\r\nHost: art.test\r\nTransfer-Encoding: xchunked\r\n\r\n", 400},
		{"bare LF", "GET / HTTP/1.1\nHost: art.test\n\n", 400},
		{"CONNECT", "CONNECT art.test:443 HTTP/1.1\r\nHost: art.test\r\n\r\n", 405},
		{"long head", "GET / HTTP/1.1\r\nHost: art.test\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", 431},
		{"many fields", "GET / HTTP/1.1\r\nHost: art.test\r\n" + strings.Repeat("X: 1\r\n", 300) + "\r\n", 431},
		{"malformed chunk", "POST / HTTP/1.1\r\nHost: art.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := w.raw()
			_, _ = io.WriteString(conn, c.request+"GET /smuggled HTTP/1.1\r\nHost: art.test\r\n\r\n")
			in := bufio.NewReader(conn)
			resp, err := next(in)
			if err != nil {
				t.Fatal(err)
			}
			if resp.status != c.status || !resp.Close {
				t.Errorf("%s, closes %v", resp.Status, resp.Close)
			}
			if more, err := next(in); err == nil {
				t.Errorf("a second answer: %s", more.Status)
			}
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d smuggled requests reached the application", n)
	}
}

// A chunked body is written anew, so that no two readings of its framing can differ.
func TestChunksAreWrittenAnew(t *testing.T) {
	var got atomic.Value
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		var b strings.Builder
		for !strings.HasSuffix(b.String(), "0\r\nX-Sum: 1\r\n\r\n") {
			c, err := in.ReadByte()
			if err != nil {
				return
			}
			b.WriteByte(c)
		}
		got.Store(b.String())
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	w := newWorldAt(t, node, nil, nil)
	conn := w.raw()
	fmt.Fprint(conn, "POST /x HTTP/1.1\r\nHost: art.test\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=\"1\"\r\nabc\r\n0000\r\nX-Sum: 1\r\nContent-Length: 5\r\nX_Forwarded_For: 1\r\n\r\n")
	resp, err := next(bufio.NewReader(conn))
	if err != nil || resp.status != 200 {
		t.Fatal(resp, err)
	}
	if s := got.Load().(string); !strings.HasSuffix(s, "\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n") {
		t.Errorf("%q", s)
	}
}

func TestHeadAndRange(t *testing.T) {
	content := strings.Repeat("0123456789", 10000)
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.bin", time.Unix(1e9, 0), strings.NewReader(content))
	}), nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		client := w.client(two)
		for range 2 {
			resp, body := do(t, client, newRequest(t, "HEAD", "https://art.test/x", nil))
			if resp.status != 200 || resp.ContentLength != 100000 || body != "" {
				t.Errorf("HEAD: %s, %d bytes", resp.Status, resp.ContentLength)
			}
			resp, body = do(t, client, newRequest(t, "GET", "https://art.test/x", nil, "Range", "bytes=5-9"))
			if resp.status != 206 || body != "56789" || resp.Header.Get("Content-Range") != "bytes 5-9/100000" {
				t.Errorf("range: %s: %q", resp.Status, body)
			}
			resp, body = do(t, client, newRequest(t, "GET", "https://art.test/x", nil, "If-Modified-Since", time.Now().UTC().Format(http.TimeFormat)))
			if resp.status != 304 || body != "" {
				t.Errorf("condition: %s: %q", resp.Status, body)
			}
		}
	})
}

// What the application sends reaches the client at once, and the other way around.
func TestStreamsBothWays(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_ = control.Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "got "+line)
			_ = control.Flush()
		}
	}), nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		body, feed := io.Pipe()
		resp, err := w.client(two).Do(newRequest(t, "POST", "https://art.test/", body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		for i := range 5 {
			_, _ = fmt.Fprintf(feed, "%d\n", i)
			if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("got %d\n", i) {
				t.Fatalf("%q, %v", line, err)
			}
		}
		_ = feed.Close() // never fails
		if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

func TestInterimAnswersAndTrailers(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum, X-Forwarded-For")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Asked"))
		w.Header().Set("X-Forwarded-For", "1")
	}), nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		var early atomic.Int32
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints && h.Get("Link") != "" {
				early.Add(1)
			}
			return nil
		}})
		r := newRequest(t, "POST", "https://art.test/", io.MultiReader(strings.NewReader("hello"))).WithContext(ctx)
		r.Trailer = http.Header{"X-Asked": {"42"}}
		resp, body := do(t, w.client(two), r)
		if body != "hello" || early.Load() != 1 {
			t.Errorf("%q, %d hints", body, early.Load())
		}
		if resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Forwarded-For") != "" {
			t.Errorf("trailers %v", resp.Trailer)
		}
	})
}

// A client that asks first sends nothing that is refused.
func TestExpectations(t *testing.T) {
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil || r.Header.Get("Expect") == "" {
				return
			}
			if r.URL.Path == "/no" {
				_, _ = io.WriteString(conn, "HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n")
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	w := newWorldAt(t, node, nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		client := w.client(two)
		resp, body := do(t, client, newRequest(t, "PUT", "https://art.test/yes", strings.NewReader("hello"), "Expect", "100-continue"))
		if resp.status != 200 || body != "hello" {
			t.Errorf("%s: %q", resp.Status, body)
		}
		var read atomic.Bool
		r := newRequest(t, "PUT", "https://art.test/no", readerFunc(func([]byte) (int, error) {
			read.Store(true)
			return 0, io.EOF
		}), "Expect", "100-continue")
		r.ContentLength = 1 << 20
		if resp, _ := do(t, client, r); resp.status != 401 || read.Load() {
			t.Errorf("%s; the body was asked for: %v", resp.Status, read.Load())
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// An upload may take as long as it likes while it moves.
func TestLongUploads(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}), nil, func(c *Config) { c.Timeouts.Upstream = 250 * time.Millisecond })
	bothProtocols(t, func(t *testing.T, two bool) {
		begun, sent := time.Now(), 0
		r := newRequest(t, "PUT", "https://art.test/", readerFunc(func([]byte) (int, error) {
			if time.Since(begun) > time.Second {
				return 0, io.EOF
			}
			<-time.After(20 * time.Millisecond)
			sent++
			return 1, nil
		}))
		if resp, body := do(t, w.client(two), r); resp.status != 200 || body != fmt.Sprint(sent) {
			t.Errorf("%s: %s of %d bytes", resp.Status, body, sent)
		}
	})
}

// A node that refuses before it has read everything is heard.
func TestEarlyAnswersToLongBodies(t *testing.T) {
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 413 X\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig\n")
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, in, 1<<20)
	})
	w := newWorldAt(t, node, nil, nil)
	bothProtocols(t, func(t *testing.T, two bool) {
		r := newRequest(t, "PUT", "https://art.test/", readerFunc(func(p []byte) (int, error) { return len(p), nil }))
		resp, err := w.client(two).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAnswer(resp); got.status != 413 || got.body != "big\n" {
			t.Errorf("%s: %q, %v", got.Status, got.body, err)
		}
	})
}

func TestUpgrades(t *testing.T) {
	node := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		r, ok := readRequest(in)
		if !ok {
			return
		}
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 426 X\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Own: 1\r\n\r\nwelcome\n", r.Header.Get("Upgrade"))
		_, _ = io.Copy(conn, in)
	})
	w := newWorldAt(t, node, nil, nil)
	conn := w.raw()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: art.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly\n")
	in := bufio.NewReader(conn)
	resp, err := next(in)
	if err != nil || resp.status != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("X-Own") != "1" {
		t.Fatal(resp, err)
	}
	for _, want := range []string{"welcome\n", "early\n"} {
		if line, err := in.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v", line, err)
		}
	}
	for i := range 3 {
		fmt.Fprintf(conn, "frame %d\n", i)
		if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("frame %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if r := w.recorded(); r.Status != 101 || r.In != int64(len("early\nframe 0\nframe 1\nframe 2\n")) {
		t.Errorf("record: %d, %d bytes in", r.Status, r.In)
	}

	conn = w.raw()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: art.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n")
	if resp, err := next(bufio.NewReader(conn)); err != nil || resp.status != 426 {
		t.Errorf("h2c: %v, %v", resp, err)
	}
}

// A client that goes away ends what the node does for it, also when the whole of a long body has come.
func TestClientsThatLeave(t *testing.T) {
	for _, body := range []string{"", strings.Repeat("x", 100_000)} {
		bothProtocols(t, func(t *testing.T, two bool) {
			begun, ended := make(chan struct{}), make(chan struct{})
			w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				close(begun)
				<-r.Context().Done()
				close(ended)
			}), nil, nil)
			ctx, leave := context.WithCancel(t.Context())
			go func() {
				<-begun
				leave()
			}()
			resp, err := w.client(two).Do(newRequest(t, "PUT", "https://art.test/", strings.NewReader(body)).WithContext(ctx))
			if err == nil {
				resp.Body.Close()
				t.Fatal("there was an answer")
			}
			select {
			case <-ended:
			case <-time.After(patient):
				t.Fatal("the node still works for a client that left")
			}
			if r := w.recorded(); r.Code != "client_gone" || r.Status != 0 {
				t.Errorf("record: %d %s", r.Status, r.Code)
			}
		})
	}
}

func TestSlowClients(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, func(c *Config) {
		c.Timeouts.Header, c.Timeouts.Body, c.Timeouts.Idle, c.Timeouts.Handshake = 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond, time.Second
	})
	for _, c := range []struct {
		name, sent string
		status     int // 0: it is closed without an answer
	}{
		{"nothing", "", 0},
		{"half a head", "GET / HTTP/1.1\r\nHost: a", 408},
		{"half a short body", "PUT / HTTP/1.1\r\nHost: art.test\r\nContent-Length: 10\r\n\r\nabc", 408},
		{"half a long body", "PUT / HTTP/1.1\r\nHost: art.test\r\nContent-Length: 100000\r\n\r\nabc", 408},
		{"half a chunked body", "PUT / HTTP/1.1\r\nHost: art.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 408},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := w.raw()
			fmt.Fprint(conn, c.sent)
			resp, err := next(bufio.NewReader(conn))
			switch {
			case err == nil && resp.status != c.status:
				t.Errorf("%s", resp.Status)
			case err != nil && c.status != 0:
				t.Error(err)
			}
		})
	}
	t.Run("no handshake", func(t *testing.T) {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patient))
		if _, err := io.ReadAll(conn); err != nil {
			t.Error(err)
		}
	})
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}), nil, nil)
	conn := w.raw()
	const n = 20
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: art.test\r\n\r\n", i)
	}
	_, _ = io.WriteString(conn, all.String())
	in := bufio.NewReader(conn)
	for i := range n {
		resp, err := next(in)
		if err != nil {
			t.Fatal(err)
		}
		if resp.body != fmt.Sprintf("/%d", i) {
			t.Fatalf("answer %d is %q", i, resp.body)
		}
	}
}
