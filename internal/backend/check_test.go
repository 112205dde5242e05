package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/postern/postern/internal/link"
)

// TestChecksTakeOutAndHeal: Fall bad ones in a row, Rise good ones, every Interval.
func TestChecksTakeOutAndHeal(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		target := at(one, two)
		target.Health = link.HealthCheck{Check: link.CheckTLS, Interval: 20 * time.Second, Rise: 3, Fall: 2}
		w.flow(target)
		first := netip.MustParseAddrPort(one)
		until := func(checks int) { // as many more checks of the first
			w.set(func() { w.asked[first] = 0 })
			for deadline := 0; ; deadline++ {
				var n int
				if w.set(func() { n = w.asked[first] }); n >= checks {
					break
				}
				if deadline > 10_000 {
					t.Fatal("the checks have stopped")
				}
				w.pass(100 * time.Millisecond)
			}
		}
		bad := &failure{CheckTLSFailed, io.EOF}
		until(2)
		w.set(func() { w.dead[first] = bad })
		until(1)
		w.expect("after one bad check", w.status(one).In, true)
		w.set(func() { delete(w.dead, first) })
		until(1)
		w.set(func() { w.dead[first] = bad })
		until(1)
		w.expect("bad ones, not in a row", w.status(one).In, true)
		until(1)
		w.expect("two in a row", w.status(one), Status{ClusterID: "c", Backend: one, Reason: CheckTLSFailed})
		if got := w.shares(target, 50); got[one] != 0 {
			t.Errorf("it still gets flows: %v", got)
		}
		w.set(func() { w.dead[first] = syscall.ECONNREFUSED })
		until(1)
		w.expect("for another reason", w.status(one).Reason, ConnectionRefused)
		w.set(func() { w.dead[first] = syscall.EMFILE })
		until(5)
		w.set(func() { delete(w.dead, first) })
		until(2)
		w.expect("nearly healed", w.status(one).In, false)
		until(1)
		w.expect("healed", w.status(one), Status{ClusterID: "c", Backend: one, Healthy: true, In: true})
		if got := w.shares(target, 2000)[one]; got > 400 {
			t.Errorf("no slow start: %d of 2000", got)
		}

		w.set(func() { clear(w.asked) })
		w.pass(10 * time.Minute)
		w.set(func() {
			if n := w.asked[first]; n < 26 || n > 34 {
				t.Errorf("%d checks in 10 minutes, every 20 s give or take a tenth", n)
			}
		})
	})
}

// TestAChangedCheckTakesEffect, and so does none.
func TestAChangedCheckTakesEffect(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		with, without := at(one), at(one)
		with.Health.Check = link.CheckPostgres
		w.set(func() { w.dead[netip.MustParseAddrPort(one)] = &failure{CheckNotPostgres, io.EOF} })
		w.flow(without)
		w.pass(time.Minute)
		w.expect("without a check", w.status(one).In, true)
		w.flow(with)
		w.pass(time.Minute)
		w.expect("with one", w.status(one), Status{ClusterID: "c", Backend: one, Reason: CheckNotPostgres})
		w.flow(without)
		w.expect("without again", w.status(one).In, true)
		w.pass(time.Minute)
		w.set(func() { clear(w.asked) })
		w.pass(time.Minute)
		w.expect("checks", len(w.asked), 0)
		w.flow(with)
		w.pass(time.Minute)
		w.expect("with one again", w.status(one).In, false)
	})
}

// TestAGoodCheckEndsWhatFlowsSaid, as far as it shows that they were wrong.
func TestAGoodCheckEndsWhatFlowsSaid(t *testing.T) {
	for _, tt := range []struct {
		check        link.Check
		refused, mum bool // healed of
	}{
		{link.CheckNone, false, false},
		{link.CheckTCP, true, false},
		{link.CheckTLS, true, true},
	} {
		t.Run(string(tt.check), func(t *testing.T) {
			for _, mum := range []bool{false, true} {
				inBubble(t, func(t *testing.T, w *world) {
					target := at(one)
					target.Health.Check = tt.check
					for range 10 {
						b, addr := w.pick(target, nil)
						if mum {
							b.Connected()
							b.Ended(false, true)
						} else {
							b.Failed(addr, syscall.ECONNREFUSED)
						}
					}
					w.expect("before", w.status(one).Healthy, false)
					w.pass(time.Minute)
					want := tt.refused && !mum || tt.mum && mum
					w.expect(fmt.Sprint("mum ", mum), w.status(one).Healthy, want)
				})
			}
		})
	}
}

// TestChecksAtOnce: however many backends hang.
func TestChecksAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func() { w.slow = 3 * time.Second })
		target := Target{ClusterID: "c", Backends: literals(500), Health: link.HealthCheck{Check: link.CheckTCP}}
		w.flow(target)
		w.pass(time.Minute)
		w.set(func() {
			if w.most != checksAtOnce || len(w.asked) != 500 {
				t.Errorf("%d checks at once, of %d backends", w.most, len(w.asked))
			}
		})
	})
}

// TestANamesAddressesAreCheckedInTurn, and those that fail are passed over.
func TestANamesAddressesAreCheckedInTurn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(func() { w.names["db.test"] = []string{"10.0.0.1", "10.0.0.2"} })
		target := at("db.test:443")
		target.Health.Check = link.CheckTCP
		await(t, w.Pool, target)
		w.pass(time.Minute)
		w.set(func() {
			if len(w.asked) != 2 {
				t.Errorf("checked: %v", w.asked)
			}
			w.dead[netip.MustParseAddrPort("10.0.0.2:443")] = syscall.ECONNREFUSED
			target.Health.Interval = time.Second
		})
		_, _ = w.pick(target, nil)
		w.pass(time.Minute)
		for range 10 {
			if b, addr := w.pick(target, nil); addr.String() != "10.0.0.1:443" {
				t.Errorf("%s of %s got a flow", addr, b.Address())
			}
		}
	})
}

// What backends there are: each serves one connection at a time in its own way.

func listen(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-serving
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func silent(t *testing.T) netip.AddrPort {
	return listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

func saying(t *testing.T, words string) netip.AddrPort {
	return listen(t, func(c net.Conn) {
		var some [1]byte
		if _, err := c.Read(some[:]); err != nil {
			return
		}
		_, _ = io.WriteString(c, words)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c) // so that what was not read resets nothing
	})
}

func httpd(t *testing.T, secure bool) netip.AddrPort {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "full" || !strings.HasPrefix(r.Host, "db.test:") || r.UserAgent() != "postern-gateway" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/gone", http.StatusFound) })
	mux.HandleFunc("GET /hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("endless ", 1000)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /long-head", func(w http.ResponseWriter, r *http.Request) {
		for i := range 100 {
			w.Header().Set(fmt.Sprint("X-Filler-", i), strings.Repeat("x", 1000))
		}
	})
	s := httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

func TestAsk(t *testing.T) {
	check := func(c link.Check, path string, statuses ...int) link.HealthCheck {
		return link.HealthCheck{Check: c, Path: path, Statuses: statuses, Timeout: 20 * time.Second}
	}
	soon := func(h link.HealthCheck) link.HealthCheck {
		h.Timeout = 100 * time.Millisecond
		return h
	}
	down, mute, plain, secure := refusing(t), silent(t), httpd(t, false), httpd(t, true)
	tests := []struct {
		name   string
		addr   netip.AddrPort
		health link.HealthCheck
		want   string
	}{
		{"TCP", mute, check(link.CheckTCP, ""), ""},
		{"TCP, refused", down, check(link.CheckTCP, ""), ConnectionRefused},

		{"TLS", secure, check(link.CheckTLS, ""), ""},
		{"TLS, refused", down, check(link.CheckTLS, ""), ConnectionRefused},
		{"TLS, not spoken", plain, check(link.CheckTLS, ""), CheckTLSFailed},
		{"TLS, silence", mute, soon(check(link.CheckTLS, "")), CheckTimeout},

		{"HTTP, /", plain, check(link.CheckHTTP, ""), ""},
		{"HTTP, a path", plain, check(link.CheckHTTP, "/ready?full"), ""},
		{"HTTP, not found", plain, check(link.CheckHTTP, "/gone"), CheckBadStatus},
		{"HTTP, not found as expected", plain, check(link.CheckHTTP, "/gone", 200, 404), ""},
		{"HTTP, found as not expected", plain, check(link.CheckHTTP, "/ready?full", 204), CheckBadStatus},
		{"HTTP, a redirect is an answer", plain, check(link.CheckHTTP, "/moved"), ""},
		{"HTTP, a redirect is not followed", plain, check(link.CheckHTTP, "/moved", 404), CheckBadStatus},
		{"HTTP, an interim answer", plain, check(link.CheckHTTP, "/hints", 418), ""},
		{"HTTP, an endless body", plain, check(link.CheckHTTP, "/endless"), ""},
		{"HTTP, a head without end", plain, check(link.CheckHTTP, "/long-head"), CheckFailed},
		{"HTTP, a path that is none", plain, check(link.CheckHTTP, "ready"), CheckFailed},
		{"HTTP, silence", mute, soon(check(link.CheckHTTP, "")), CheckTimeout},
		{"HTTP, something else", saying(t, "220 mail.test ESMTP\r\n"), check(link.CheckHTTP, ""), CheckFailed},
		{"HTTP, nothing but interim answers", saying(t, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000)), check(link.CheckHTTP, ""), CheckFailed},
		{"HTTP, over TLS", secure, check(link.CheckHTTP, ""), CheckBadStatus},
		{"HTTPS", secure, check(link.CheckHTTPS, "/ready?full"), ""},
		{"HTTPS, not found", secure, check(link.CheckHTTPS, "/gone"), CheckBadStatus},
		{"HTTPS, without TLS", plain, check(link.CheckHTTPS, ""), CheckTLSFailed},

		{"PostgreSQL without TLS", saying(t, "N"), check(link.CheckPostgres, ""), ""},
		{"PostgreSQL that breaks off", saying(t, "S"), check(link.CheckPostgres, ""), CheckTLSFailed},
		{"PostgreSQL in trouble", saying(t, "E"), check(link.CheckPostgres, ""), CheckNotPostgres},
		{"PostgreSQL that closes", saying(t, ""), check(link.CheckPostgres, ""), CheckFailed},
		{"PostgreSQL, silence", mute, soon(check(link.CheckPostgres, "")), CheckTimeout},
		{"no PostgreSQL", saying(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), check(link.CheckPostgres, ""), CheckNotPostgres},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := ask(t.Context(), probe{HealthCheck: tt.health, addr: tt.addr, host: "db.test"})
			if (err == nil) != (tt.want == "") || err != nil && checkReason(err) != tt.want {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestAskEndsWithItsContext: the pool does not wait for a silent backend when it closes.
func TestAskEndsWithItsContext(t *testing.T) {
	began := make(chan struct{})
	addr := listen(t, func(c net.Conn) {
		close(began)
		_, _ = io.Copy(io.Discard, c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- ask(ctx, probe{HealthCheck: link.HealthCheck{Check: link.CheckHTTP, Timeout: time.Hour}, addr: addr, host: "db.test"})
	}()
	<-began
	cancel()
	if err := <-ended; err == nil {
		t.Error("a check that nobody answered went well")
	}
}

// TestAskThroughProxyProtocol: a backend that expects a PROXY header gets one in checks, and it says LOCAL.
func TestAskThroughProxyProtocol(t *testing.T) {
	var local, other atomic.Int32
	addr := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		h, err := proxyproto.Read(in)
		if err != nil || !h.Command.IsLocal() {
			other.Add(1)
			return
		}
		local.Add(1)
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	for _, proxy := range []bool{true, false} {
		q := probe{HealthCheck: link.HealthCheck{Check: link.CheckHTTP, Timeout: 20 * time.Second}, addr: addr, host: "10.0.0.1", proxy: proxy}
		if err := ask(t.Context(), q); (err == nil) != proxy {
			t.Errorf("with a header %v: %v", proxy, err)
		}
	}
	if local.Load() != 1 || other.Load() != 1 {
		t.Errorf("%d headers that say LOCAL, %d others", local.Load(), other.Load())
	}
}

// TestServerName: the TLS checks ask for the backend's host, and for none when it is an address.
func TestServerName(t *testing.T) {
	for host, want := range map[string]string{"db.test": "db.test", "10.0.0.1": ""} {
		got := make(chan string, 1)
		addr := listen(t, func(c net.Conn) {
			_ = tls.Server(c, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				got <- h.ServerName
				return nil, errors.New("seen enough")
			}}).Handshake()
		})
		_ = ask(t.Context(), probe{HealthCheck: link.HealthCheck{Check: link.CheckTLS, Timeout: 20 * time.Second}, addr: addr, host: host})
		if name := <-got; name != want {
			t.Errorf("the server name of %s is %q", host, name)
		}
	}
}

// TestPoolOverRealConnections: from a backend's death to its return, with nothing in place of anything.
func TestPoolOverRealConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	news := make(chan link.BackendHealth, 100)
	p := NewPool(Config{Changed: func(h link.BackendHealth) { news <- h }})
	defer p.Close()
	name := net.JoinHostPort("localhost", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	target := at(name)
	target.Health = link.HealthCheck{Check: link.CheckTCP, Interval: 10 * time.Millisecond, Timeout: 5 * time.Second}
	await(t, p, target)
	b, addr, err := p.Pick(target, nil)
	if err != nil || !addr.Addr().IsLoopback() {
		t.Fatal(addr, err)
	}
	b.Ended(false, false)
	next := func(want string) {
		t.Helper()
		select {
		case h := <-news:
			if h.Reason != want || h.Backend != name || h.ClusterID != "c" {
				t.Fatalf("%+v, want reason %q", h, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no news, want %q", want)
		}
	}
	accept := func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}
	go accept(l)
	next("")
	_ = l.Close()
	next(ConnectionRefused)
	if l, err = net.Listen("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go accept(l)
	next("")
}
