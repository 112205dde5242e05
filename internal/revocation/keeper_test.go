package revocation

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/postern/postern/internal/clientcert"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestAwait(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	k := keeper(t, Config{Now: c.now})
	if got, fresh := k.Look(r.question()); got != clientcert.Unknown || fresh {
		t.Errorf("before anybody asked: %v, %v", got, fresh)
	}
	if got := k.Await(t.Context(), r.question()); got != clientcert.Good {
		t.Errorf("%v", got)
	}
	if got, fresh := k.Look(r.question()); got != clientcert.Good || !fresh {
		t.Errorf("afterwards: %v, %v", got, fresh)
	}
	r.set(func() { r.status = ocsp.Revoked })
	if got := k.Await(t.Context(), r.question()); got != clientcert.Good || r.asked.Load() != 1 {
		t.Errorf("while the answer holds: %v, asked %d times", got, r.asked.Load())
	}
	c.advance(time.Hour)
	if got, fresh := k.Look(r.question()); got != clientcert.Unknown || fresh {
		t.Errorf("when it holds no longer: %v, %v", got, fresh)
	}
	if got := k.Await(t.Context(), r.question()); got != clientcert.Revoked || r.asked.Load() != 2 {
		t.Errorf("asked again: %v, asked %d times", got, r.asked.Load())
	}
	r.Close()
	c.advance(10 * time.Hour)
	if got := k.Await(t.Context(), r.question()); got != clientcert.Revoked {
		t.Errorf("what was revoked is no longer, since the responder is gone: %v", got)
	}
}

// TestAwaitNobody: a certificate that names no responder that may be asked is unknown, and nobody is asked.
func TestAwaitNobody(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	k := keeper(t, Config{Now: c.now})
	q := r.question()
	q.URL = ""
	if got, fresh := k.Look(q); got != clientcert.Unknown || fresh {
		t.Errorf("%v, %v", got, fresh)
	}
	if got := k.Await(t.Context(), q); got != clientcert.Unknown || r.asked.Load() != 0 {
		t.Errorf("%v, asked %d times", got, r.asked.Load())
	}
}

// TestAwaitShares: however many wait for an answer, one question is asked, and nobody waits longer than it wants to.
func TestAwaitShares(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	release := make(chan struct{})
	r.set(func() {
		r.answer = func(w http.ResponseWriter, _ *http.Request, signed []byte) {
			<-release
			w.Header().Set("Content-Type", "application/ocsp-response")
			_, _ = w.Write(signed)
		}
	})
	k := keeper(t, Config{Now: c.now})
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	if got := k.Await(hasty, r.question()); got != clientcert.Unknown {
		t.Errorf("who does not wait: %v", got)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := k.Await(t.Context(), r.question()); got != clientcert.Good {
				t.Errorf("%v", got)
			}
		})
	}
	eventually(t, "the responder is asked", func() bool { return r.asked.Load() > 0 })
	close(release)
	wg.Wait()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestAnswers: what is no answer leaves everything unknown; the log says why, and nothing of what was answered.
func TestAnswers(t *testing.T) {
	typed := func(kind string, status int, body func(signed []byte) []byte) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, signed []byte) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = w.Write(body(signed))
		}
	}
	same := func(signed []byte) []byte { return signed }
	const right = "application/ocsp-response"
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, signed []byte)
		want   clientcert.Revocation
		asked  int64
		says   string
	}{
		{"an answer", typed(right, 200, same), clientcert.Good, 1, ""},
		{"by GET alone", func(w http.ResponseWriter, r *http.Request, signed []byte) {
			path, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
			der, err := base64.StdEncoding.DecodeString(path)
			if r.Method != http.MethodGet || err != nil {
				http.Error(w, "", http.StatusMethodNotAllowed)
				return
			}
			if _, err := ocsp.ParseRequest(der); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", right)
			_, _ = w.Write(signed)
		}, clientcert.Good, 2, ""},
		{"by POST", func(w http.ResponseWriter, r *http.Request, signed []byte) {
			if _, err := ocsp.ParseRequest(bytesOf(r)); err == nil && r.Header.Get("Content-Type") == "application/ocsp-request" {
				w.Header().Set("Content-Type", right)
				_, _ = w.Write(signed)
			}
		}, clientcert.Good, 1, ""},
		{"a page", typed("text/html", 200, same), clientcert.Unknown, 2, "text/html"},
		{"an error", typed(right, 500, same), clientcert.Unknown, 2, "status 500"},
		{"too much", typed(right, 200, func([]byte) []byte { return make([]byte, mostAnswer+1) }), clientcert.Unknown, 1, "longer than"},
		{"cut", typed(right, 200, func(signed []byte) []byte { return signed[:len(signed)-1] }), clientcert.Unknown, 1, "read the answer"},
		{"later", typed(right, 200, func([]byte) []byte { return ocsp.TryLaterErrorResponse }), clientcert.Unknown, 1, "try later"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
		}, clientcert.Unknown, 2, "status 307"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock(start)
			r := newResponder(t, c)
			r.set(func() { r.answer = tt.answer })
			var log bytes.Buffer
			k := keeper(t, Config{Now: c.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if got := k.Await(t.Context(), r.question()); got != tt.want || r.asked.Load() != tt.asked {
				t.Errorf("%v, asked %d times", got, r.asked.Load())
			}
			k.Close()
			if tt.says != "" && !strings.Contains(log.String(), tt.says) || tt.says == "" && log.Len() > 0 {
				t.Errorf("the log says %s", log.String())
			}
		})
	}
}

// TestAwaitAfterFailure: while a responder is known not to answer, nobody waits for it, until it is tried again.
func TestAwaitAfterFailure(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	r.set(func() {
		r.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "application/ocsp-response")
			_, _ = w.Write(ocsp.TryLaterErrorResponse)
		}
	})
	k := keeper(t, Config{Now: c.now})
	for range 5 {
		if got := k.Await(t.Context(), r.question()); got != clientcert.Unknown {
			t.Fatalf("%v", got)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	r.set(func() { r.answer = nil })
	c.advance(pause)
	if got := k.Await(t.Context(), r.question()); got != clientcert.Good {
		t.Errorf("tried again: %v", got)
	}
}

// TestRefresh: what somebody has looked at lately is asked again long before the answer runs out, without anybody
// waiting; what nobody wants any more is forgotten.
func TestRefresh(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	k := keeper(t, Config{Now: c.now, Every: 10 * time.Minute})
	k.Start()
	k.Start()
	is := func(want clientcert.Revocation) func() bool {
		return func() bool {
			got, fresh := k.Look(r.question())
			return got == want && fresh
		}
	}
	eventually(t, "a first look asks", is(clientcert.Good))
	r.set(func() { r.status = ocsp.Revoked })
	c.advance(10 * time.Minute)
	eventually(t, "the revocation is noticed", is(clientcert.Revoked))
	r.set(func() { r.status, r.holds = ocsp.Good, 2*time.Minute }) // it was on hold
	c.advance(10 * time.Minute)
	eventually(t, "the end of the hold is noticed", is(clientcert.Good))
	asked := r.asked.Load()
	c.advance(time.Minute)
	eventually(t, "a brief answer is renewed in the middle of its time", func() bool { return r.asked.Load() > asked })
	c.advance(forget + time.Minute)
	eventually(t, "it is forgotten", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.known) == 0
	})
}

// TestKnownIsBounded: what nobody has wanted for longest makes room.
func TestKnownIsBounded(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	k := keeper(t, Config{Now: c.now})
	ask := func(i int) {
		q := r.question()
		q.URL = fmt.Sprintf("http://%d.example/", i)
		k.Look(q)
		c.advance(time.Microsecond)
	}
	for i := range mostAnswers {
		ask(i)
	}
	ask(0) // wanted again
	ask(mostAnswers)
	k.mu.Lock()
	defer k.mu.Unlock()
	var urls []string
	for _, known := range k.known {
		urls = append(urls, known.question.URL)
	}
	all := strings.Join(urls, " ") + " "
	if len(urls) != mostAnswers || !strings.Contains(all, "http://0.example/ ") || strings.Contains(all, "http://1.example/ ") {
		t.Errorf("%d are known", len(urls))
	}
}

func TestClose(t *testing.T) {
	c := newClock(start)
	r := newResponder(t, c)
	held := make(chan struct{})
	r.set(func() {
		r.answer = func(_ http.ResponseWriter, q *http.Request, _ []byte) {
			_ = bytesOf(q)
			close(held)
			<-q.Context().Done()
		}
	})
	k := New(Config{Now: c.now, Private: loopback})
	k.Start()
	got := make(chan clientcert.Revocation)
	go func() { got <- k.Await(context.Background(), r.question()) }()
	<-held
	k.Close()
	if answer := <-got; answer != clientcert.Unknown {
		t.Errorf("%v", answer)
	}
	c.advance(pause)
	if answer := k.Await(t.Context(), r.question()); answer != clientcert.Unknown || r.asked.Load() != 1 {
		t.Errorf("after Close: %v, asked %d times", answer, r.asked.Load())
	}
	k.Start()
	k.Close()
}

// TestAddresses: a responder is reached at a public address, or where the configuration allows one, and nowhere else.
func TestAddresses(t *testing.T) {
	private := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}
	k := keeper(t, Config{Private: private})
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00:1::1": true,
		"10.2.0.1": false, "127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "::": false,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "fd00:ec2::254": false, "fe80::1": false, "100.100.100.200": false,
		"192.168.1.1": false, "172.16.0.1": false, "224.0.0.1": false, "255.255.255.255": false, "64:ff9b::a9fe:a9fe": false,
	} {
		if got := k.permits(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// TestResolvesOnce: the address that was looked at is the one that is dialled, and one bad address spoils the lot.
func TestResolvesOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		turns []string
		want  clientcert.Revocation
		says  string
	}{
		"once":                      {[]string{"127.0.0.1", "169.254.169.254"}, clientcert.Good, ""},
		"a bad one":                 {[]string{"169.254.169.254"}, clientcert.Unknown, "169.254.169.254 is not a public one"},
		"a bad one among good":      {[]string{"127.0.0.1 169.254.169.254"}, clientcert.Unknown, "169.254.169.254 is not a public one"},
		"none":                      {[]string{""}, clientcert.Unknown, "no address"},
		"not found":                 {nil, clientcert.Unknown, "no such host"},
		"the first does not answer": {[]string{"127.9.9.9 127.0.0.1"}, clientcert.Good, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock(start)
			r := newResponder(t, c)
			var log bytes.Buffer
			found := &hosts{turns: tt.turns}
			k := keeper(t, Config{Now: c.now, Resolver: found, Log: slog.New(slog.NewTextHandler(&log, nil))})
			q := r.question()
			u, _ := url.Parse(r.URL)
			q.URL = "http://ocsp.example.com:" + u.Port()
			got := k.Await(t.Context(), q)
			k.Close()
			if got != tt.want || !strings.Contains(log.String(), tt.says) || found.looked > 1 {
				t.Errorf("%v after %d look-ups: %s", got, found.looked, log.String())
			}
		})
	}
}
