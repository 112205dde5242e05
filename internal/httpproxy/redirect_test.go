package httpproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// store is a foreign host that serves blobs, at a name of its own on loopback.
type store struct {
	server *httptest.Server
	port   string
	asked  atomic.Pointer[http.Request]
	count  atomic.Int32
}

func newStore(t *testing.T, handler http.HandlerFunc) *store {
	s := &store{}
	ca := newAuthority(t, "Store CA")
	cert := ca.issue(t, "store", "store.test", "other.test")
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Store(r)
		s.count.Add(1)
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("X-Amz-Request-Id", "secret")
		handler(w, r)
	}))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.port = s.server.URL[strings.LastIndexByte(s.server.URL, ':')+1:]
	s.server.TLS.RootCAs = ca.pool()
	return s
}

// redirecting is a world whose application sends everybody to target, and may follow to the store.
func redirecting(t *testing.T, s *store, mode link.RedirectMode, target string, configure func(*Config)) *world {
	return newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}), func(c *link.ClusterRules) {
		c.Proxy.Proxy.Redirects = link.Redirects{Mode: mode, Hosts: []string{"store.test:" + s.port}}
	}, func(c *Config) {
		c.Follow.Roots = s.server.TLS.RootCAs
		c.Follow.Private = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Follow.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		if configure != nil {
			configure(c)
		}
	})
}

func serveBlob(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Unix(1e9, 0), strings.NewReader(strings.Repeat("blob", 100_000)))
}

func TestRedirectsThatLeave(t *testing.T) {
	s := newStore(t, serveBlob)
	target := "https://store.test:" + s.port + "/blob?X-Amz-Signature=secret"
	for _, c := range []struct {
		mode   link.RedirectMode
		status int
	}{{link.RedirectPass, 307}, {link.RedirectRefuse, 502}, {link.RedirectFollow, 200}, {link.RedirectRewrite, 307}} {
		t.Run(string(c.mode), func(t *testing.T) {
			w := redirecting(t, s, c.mode, target, nil)
			bothProtocols(t, func(t *testing.T, two bool) {
				client := w.client(two)
				r := newRequest(t, "GET", "https://art.test/x", nil, "Authorization", "Bearer secret", "Cookie", "a=secret", "X-Own", "secret", "If-None-Match", `"x"`)
				resp, body := do(t, client, r)
				if resp.status != c.status {
					t.Fatalf("%s: %s", resp.Status, body)
				}
				switch c.mode {
				case link.RedirectPass:
					if resp.Header.Get("Location") != target {
						t.Errorf("Location: %s", resp.Header.Get("Location"))
					}
					return
				case link.RedirectRefuse:
					if !strings.Contains(body, `"code":"REDIRECT_LEAVES_PRIVATE_PATH"`) || strings.Contains(body, "store.test") {
						t.Error(body)
					}
					return
				case link.RedirectRewrite:
					to := resp.Header.Get("Location")
					if !strings.HasPrefix(to, ticketPath) || strings.Contains(to, "secret") || strings.Contains(to, "store") {
						t.Fatalf("Location: %s", to)
					}
					r.URL.Path, r.URL.RawPath = to, ""
					if resp, body = do(t, client, r); resp.status != 200 {
						t.Fatalf("the rewritten address: %s: %s", resp.Status, body)
					}
				}
				if len(body) != 400_000 || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X-Amz-Request-Id") != "" {
					t.Errorf("%d bytes, %v", len(body), resp.Header)
				}
				asked := s.asked.Load()
				if asked.Header.Get("Authorization") != "" || asked.Header.Get("Cookie") != "" || asked.Header.Get("X-Own") != "" ||
					asked.Header.Get("X-Forwarded-For") != "" || asked.Header.Get("If-None-Match") != `"x"` || asked.URL.RawQuery != "X-Amz-Signature=secret" {
					t.Errorf("the store was asked %v", asked)
				}
				r.Header.Set("Range", "bytes=1-4")
				resp, body = do(t, client, r)
				if resp.status != 307 && (resp.status != 206 || body != "lobb") || resp.status == 307 && c.mode != link.RedirectRewrite {
					t.Errorf("range: %s: %.20q", resp.Status, body)
				}
				r.Method = "HEAD"
				r.Header.Del("Range")
				if resp, body = do(t, client, r); resp.status != 307 && (resp.ContentLength != 400_000 || body != "") {
					t.Errorf("HEAD: %s, %d bytes", resp.Status, resp.ContentLength)
				}
				r = newRequest(t, "PUT", "https://art.test/x", strings.NewReader("x"))
				if resp, _ = do(t, client, r); resp.status != 502 {
					t.Errorf("PUT: %s", resp.Status)
				}
			})
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, r := range w.records {
				if strings.Contains(fmt.Sprint(r.Path, r.Err, r.Node), "secret") {
					t.Errorf("record: %+v", r)
				}
			}
		})
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			w.Header().Set("Location", "https://other.test/")
			w.WriteHeader(http.StatusFound)
		case "/again":
			w.Header().Set("Location", "/again")
			w.WriteHeader(http.StatusFound)
		case "/once":
			w.Header().Set("Location", "/blob")
			w.WriteHeader(http.StatusFound)
		case "/denied":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "bucket secret")
		case "/long":
			_, _ = w.Write(make([]byte, 2000))
		default:
			_, _ = io.WriteString(w, "blob")
		}
	})
	for _, c := range []struct {
		name, target string
		configure    func(*Config)
		status       int
		code         string
		noted        error
	}{
		{"one more hop", "https://store.test:" + s.port + "/once", nil, 200, "", nil},
		{"another host", "https://other.test:" + s.port + "/", nil, 502, leaves.code, errNotAllowed},
		{"another port", "https://store.test/", nil, 502, leaves.code, errNotAllowed},
		{"http", "http://store.test:" + s.port + "/", nil, 502, leaves.code, errNotAllowed},
		{"a user", "https://u:p@store.test:" + s.port + "/", nil, 502, leaves.code, errNotAllowed},
		{"an address", "https://127.0.0.1:" + s.port + "/", nil, 502, leaves.code, errNotAllowed},
		{"a host on the way", "https://store.test:" + s.port + "/away", nil, 502, leaves.code, errNotAllowed},
		{"in a circle", "https://store.test:" + s.port + "/again", nil, 502, notFollowed.code, errTooMany},
		{"denied", "https://store.test:" + s.port + "/denied", nil, 502, notFollowed.code, errAnswer},
		{"too long", "https://store.test:" + s.port + "/long", func(c *Config) { c.Follow.MaxSize = 1000 }, 502, notFollowed.code, errTooBig},
		{"an address of the inside", "https://store.test:" + s.port + "/", func(c *Config) { c.Follow.Private = nil }, 502, notFollowed.code, errForbidden},
		{"a certificate of nobody's", "https://store.test:" + s.port + "/", func(c *Config) { c.Follow.Roots = nil }, 502, notFollowed.code, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := redirecting(t, s, link.RedirectFollow, c.target, c.configure)
			resp, body := do(t, w.client(false), newRequest(t, "GET", "https://art.test/x", nil))
			if resp.status != c.status || c.code != "" && !strings.Contains(body, `"code":"`+c.code+`"`) || strings.Contains(body, "secret") {
				t.Errorf("%s: %s", resp.Status, body)
			}
			if r := w.recorded(); c.noted != nil && !errors.Is(r.Err, c.noted) {
				t.Errorf("record: %v", r.Err)
			}
		})
	}
}

// A host is resolved once, and what it then resolves to is what is dialled: no second answer can lead elsewhere.
func TestRedirectsHostsAreResolvedOnce(t *testing.T) {
	s := newStore(t, serveBlob)
	var looked atomic.Int32
	w := redirecting(t, s, link.RedirectFollow, "https://store.test:"+s.port+"/", func(c *Config) {
		c.Follow.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			if looked.Add(1) > 1 {
				return []netip.Addr{netip.MustParseAddr("169.254.169.254")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	if resp, _ := do(t, w.client(false), newRequest(t, "GET", "https://art.test/x", nil)); resp.status != 200 || looked.Load() != 1 {
		t.Errorf("%s, looked up %d times", resp.Status, looked.Load())
	}
}

func TestAddressesThatMayBeDialled(t *testing.T) {
	for _, c := range []struct {
		address string
		ok      bool
	}{
		{"8.8.8.8", true},
		{"2606:4700::1111", true},
		{"52.216.0.1", true},
		{"127.0.0.1", false},
		{"::1", false},
		{"0.0.0.0", false},
		{"::", false},
		{"10.1.2.3", false},
		{"172.16.0.1", false},
		{"192.168.1.1", false},
		{"169.254.169.254", false},
		{"fd00:ec2::254", false},
		{"fe80::1", false},
		{"fe80::1%eth0", false},
		{"100.64.0.1", false},
		{"100.100.100.200", false},
		{"168.63.129.16", false},
		{"192.0.0.192", false},
		{"198.18.0.1", false},
		{"224.0.0.1", false},
		{"255.255.255.255", false},
		{"ff02::1", false},
		{"::ffff:127.0.0.1", false},
		{"::ffff:169.254.169.254", false},
		{"64:ff9b::7f00:1", false},
		{"2002:7f00:1::", false},
		{"2001:db8::1", false},
		{"0.1.2.3", false},
		{"240.0.0.1", false},
	} {
		if got := mayDial(netip.MustParseAddr(c.address), nil); got != c.ok {
			t.Errorf("%s: %v", c.address, got)
		}
	}
	if !mayDial(netip.MustParseAddr("::ffff:127.0.0.1"), []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}) {
		t.Error("what is allowed is not")
	}
}

func TestTickets(t *testing.T) {
	seal, another := sealer{make([]byte, link.TicketKeySize)}, sealer{bytes.Repeat([]byte{1}, link.TicketKeySize)}
	const target = "https://store.test/x?sig=secret"
	now := time.Unix(1e9, 0)
	ticket, err := seal.make("c1", target, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := seal.make("c1", target, now.Add(time.Minute)); err != nil || again[:20] == ticket[:20] {
		t.Errorf("two tickets of the same address begin alike: %s, %s, %v", ticket, again, err)
	}
	if got, err := seal.open("c1", ticket, now); err != nil || got != target {
		t.Errorf("%q, %v", got, err)
	}
	flipped := func(c byte) string {
		if c == 'A' {
			return "B"
		}
		return "A"
	}
	for name, open := range map[string]func() (string, error){
		"too late":        func() (string, error) { return seal.open("c1", ticket, now.Add(time.Minute)) },
		"another cluster": func() (string, error) { return seal.open("c2", ticket, now) },
		"another key":     func() (string, error) { return another.open("c1", ticket, now) },
		"changed":         func() (string, error) { return seal.open("c1", flipped(ticket[0])+ticket[1:], now) },
		"changed inside":  func() (string, error) { return seal.open("c1", ticket[:60]+flipped(ticket[60])+ticket[61:], now) },
		"the head alone":  func() (string, error) { return seal.open("c1", ticket[:22], now) },
		"cut":             func() (string, error) { return seal.open("c1", ticket[:20], now) },
		"none":            func() (string, error) { return seal.open("c1", "", now) },
		"no base64":       func() (string, error) { return seal.open("c1", "%%", now) },
		"long":            func() (string, error) { return seal.open("c1", strings.Repeat("A", longestTicket+1), now) },
	} {
		if got, err := open(); err == nil || got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzTicket(f *testing.F) {
	seal := sealer{make([]byte, link.TicketKeySize)}
	foreign, err := seal.make("c2", "https://store.test/", time.Unix(2e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(foreign)
	f.Add("")
	f.Fuzz(func(t *testing.T, ticket string) {
		if target, err := seal.open("c1", ticket, time.Unix(1e9, 0)); err == nil {
			t.Errorf("opened to %q", target)
		}
	})
}
