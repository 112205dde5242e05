package httpproxy

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postern/postern/internal/link"
)

// twoClient speaks HTTP/2 frame by frame.
type twoClient struct {
	t    *testing.T
	conn *tls.Conn
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func (w *world) two(t *testing.T) *twoClient {
	t.Helper()
	conn, err := tls.Dial("tcp", w.address, &tls.Config{RootCAs: w.ca.pool(), ServerName: siteName, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patient))
	c := &twoClient{t: t, conn: conn, Framer: http2.NewFramer(conn, conn)}
	c.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(err, c.WriteSettings()); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a request's head: names and values in turn.
func (c *twoClient) ask(stream uint32, end bool, pairs ...string) {
	c.t.Helper()
	c.block.Reset()
	for i := 0; i+1 < len(pairs); i += 2 {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // into memory
	}
	block := c.block.Bytes()
	err := c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: block[:min(len(block), 16<<10)], EndStream: end, EndHeaders: len(block) <= 16<<10,
	})
	for len(block) > 16<<10 && err == nil {
		block = block[16<<10:]
		err = c.WriteContinuation(stream, len(block) <= 16<<10, block[:min(len(block), 16<<10)])
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// next reads up to a frame of a stream's, or of the connection's end.
func (c *twoClient) next(stream uint32) http2.Frame {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		if h := f.Header(); h.StreamID == stream && h.Type != http2.FrameSettings && h.Type != http2.FrameWindowUpdate || h.Type == http2.FrameGoAway {
			return f
		}
	}
}

// status reads an answer's head.
func (c *twoClient) status(stream uint32) string {
	c.t.Helper()
	f, ok := c.next(stream).(*http2.MetaHeadersFrame)
	if !ok {
		return "none"
	}
	return f.PseudoValue("status")
}

func TestTwoRefusals(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, nil)
	for _, c := range []struct {
		name   string
		fields []string
		status string
		code   string
	}{
		{"a long head", []string{":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/", "x", strings.Repeat("~", 66<<10)}, "431", "request_header_too_large"},
		{"many fields", append([]string{":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/"}, strings.Split(strings.Repeat("x,1,", 300)+"x,1", ",")...), "431", "request_header_too_large"},
		{"a path that is none", []string{":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "x"}, "400", "bad_request"},
		{"a star that is none", []string{":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "*"}, "400", "bad_request"},
		{"a path with a blank", []string{":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/ HTTP/1.1"}, "400", "bad_request"},
		{"CONNECT", []string{":method", "CONNECT", ":authority", siteName + ":443"}, "400", "bad_request"},
		{"another expectation", []string{":method", "PUT", ":scheme", "https", ":authority", siteName, ":path", "/", "expect", "x"}, "400", "bad_request"},
		{"another host", []string{":method", "GET", ":scheme", "https", ":authority", "evil.test", ":path", "/"}, "421", "misdirected_request"},
		{"no host", []string{":method", "GET", ":scheme", "https", ":path", "/"}, "421", "misdirected_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			two := w.two(t)
			two.ask(1, true, c.fields...)
			if status := two.status(1); status != c.status {
				t.Errorf("%s", status)
			}
			if f, ok := two.next(1).(*http2.DataFrame); !ok || !f.StreamEnded() || !strings.Contains(string(f.Data()), c.code) {
				t.Errorf("no %s", c.code)
			}
			two.ask(3, true, ":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/")
			if status := two.status(3); status != "200" {
				t.Errorf("the next request: %s", status)
			}
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		if r.Protocol != "HTTP/2.0" || r.Status != 200 && (r.Code == "" || r.Code != "misdirected_request" && r.Err == nil) {
			t.Errorf("%+v", r)
		}
	}
}

// A body that does not come is answered, and holds no other request.
func TestTwoSlowBodies(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, func(c *Config) { c.Timeouts.Body = 100 * time.Millisecond })
	for _, length := range []string{"10", "100000", ""} {
		two := w.two(t)
		fields := []string{":method", "PUT", ":scheme", "https", ":authority", siteName, ":path", "/"}
		if length != "" {
			fields = append(fields, "content-length", length)
		}
		two.ask(1, false, fields...)
		if err := two.WriteData(1, false, []byte("abc")); err != nil {
			t.Fatal(err)
		}
		if status := two.status(1); status != "408" {
			t.Errorf("%s", status)
		}
		for ended := false; ; {
			f := two.next(1)
			if f, ok := f.(*http2.RSTStreamFrame); ok {
				if !ended || f.ErrCode != http2.ErrCodeNo {
					t.Errorf("the answer has ended: %v; %v", ended, f)
				}
				break
			}
			ended = f.Header().Flags.Has(http2.FlagDataEndStream)
		}
		two.ask(3, true, ":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/")
		if status := two.status(3); status != "200" {
			t.Errorf("the next request: %s", status)
		}
	}
}

// A client that breaks the connection's rules is told a code; the operator what it was.
func TestTwoBrokenRules(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, nil)
	two := w.two(t)
	two.AllowIllegalWrites = true
	if err := two.WriteData(0, false, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if f, ok := two.next(0).(*http2.GoAwayFrame); !ok || f.ErrCode != http2.ErrCodeProtocol || len(f.DebugData()) > 0 {
		t.Errorf("%v", f)
	}
	if r := w.recorded(); r.Code != "http2_error" || r.Host != siteName || !strings.Contains(r.Err.Error(), "DATA without a stream") {
		t.Errorf("%+v", r)
	}
}

// A flow without requests is told that it ends, so that a client knows of a request on its way that nothing was done for it.
func TestTwoFlowsAreToldToGo(t *testing.T) {
	ca := newAuthority(t, "Clients")
	for name, end := range map[string]func(*world){
		"new rules want a certificate": func(w *world) {
			w.rules(testRules(trusting(ca, link.CertificatesOptional)))
			w.server.Recheck() // whether the first request has ended or its answer alone
		},
		"shutdown": func(w *world) { _ = w.server.Shutdown(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, http.HandlerFunc(echo), nil, nil)
			two := w.two(t)
			two.ask(1, true, ":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/")
			if status := two.status(1); status != "200" {
				t.Fatal(status)
			}
			over := make(chan struct{})
			go func() {
				defer close(over)
				end(w)
			}()
			next := func() http2.Frame {
				t.Helper()
				f, err := two.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			wantGoAway := func(f http2.Frame, last uint32) bool {
				t.Helper()
				away, ok := f.(*http2.GoAwayFrame)
				if ok && (away.ErrCode != http2.ErrCodeNo || away.LastStreamID != last) {
					t.Errorf("%v", away)
				}
				return ok
			}
			for !wantGoAway(next(), 1<<31-1) {
			}
			ping, ok := next().(*http2.PingFrame)
			if !ok {
				t.Fatal("no PING")
			}
			two.ask(3, true, ":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/") // was on its way
			if err := two.WritePing(true, ping.Data); err != nil {
				t.Fatal(err)
			}
			for told, answered := false, false; !told || !answered; {
				f := next()
				told = wantGoAway(f, 3) || told
				answered = answered || f.Header().StreamID == 3 && f.Header().Flags.Has(http2.FlagDataEndStream)
			}
			if _, err := two.ReadFrame(); !errors.Is(err, io.EOF) {
				t.Errorf("behind GOAWAY: %v", err)
			}
			two.conn.Close()
			<-over
		})
	}
}

// A server that was retired tells its clients to go, those that come late with their first request, and answers all that comes.
func TestTwoRetired(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), nil, nil)
	request := []string{":method", "GET", ":scheme", "https", ":authority", siteName, ":path", "/"}
	wantBoth := func(two *twoClient, stream uint32) {
		t.Helper()
		for told, answered := false, false; !told || !answered; {
			f, err := two.ReadFrame()
			if err != nil {
				t.Fatalf("told to go: %v, answered: %v, %v", told, answered, err)
			}
			told = told || f.Header().Type == http2.FrameGoAway
			answered = answered || f.Header().StreamID == stream && f.Header().Flags.Has(http2.FlagDataEndStream)
		}
	}
	early := w.two(t)
	early.ask(1, true, request...)
	if status := early.status(1); status != "200" {
		t.Fatal(status)
	}
	w.server.Retire()
	early.ask(3, true, request...) // before it knows
	wantBoth(early, 3)
	late := w.two(t)
	late.ask(1, true, request...)
	wantBoth(late, 1)
}

// nghttp and h2load are clients of another make: flows with one request and with many at once, answers longer than windows.
func TestNghttp(t *testing.T) {
	for _, program := range []string{"nghttp", "h2load"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs nghttp (Debian package nghttp2-client)")
		}
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(w, r.Body)
			return
		}
		http.ServeContent(w, r, "x.bin", time.Unix(1e9, 0), bytes.NewReader(content))
	}), func(c *link.ClusterRules) { c.PublicNames = append(c.PublicNames, "localhost") }, nil)
	_, port, err := net.SplitHostPort(w.address)
	if err != nil {
		t.Fatal(err)
	}
	address := "https://localhost:" + port + "/x"
	file := filepath.Join(t.TempDir(), "x.bin")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: content}), 0o600); err != nil {
		t.Fatal(err)
	}
	sent, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, complaints.Bytes())
		}
		return string(out)
	}
	if got := run("nghttp", "--timeout=20", address); got != string(content) {
		t.Errorf("nghttp got %d bytes", len(got))
	}
	if got := run("nghttp", "--timeout=20", "--padding=100", "--continuation", "--data="+file, address); got != string(sent) {
		t.Errorf("nghttp got %d bytes back of %d", len(got), len(sent))
	}
	for _, windows := range [][]string{nil, {"--window-bits=20", "--connection-window-bits=24"}} {
		got := run("h2load", append(windows, "--requests=200", "--clients=4", "--max-concurrent-streams=10", address)...)
		if !regexp.MustCompile(`200 succeeded, 0 failed, 0 errored`).MatchString(got) {
			t.Errorf("h2load: %s", got)
		}
	}
}
