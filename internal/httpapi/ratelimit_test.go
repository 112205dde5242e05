package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	b := newBuckets(Rate{PerSecond: 2, Burst: 3}, Rate{})
	b.now = func() time.Time { return now }
	for i, step := range []struct {
		who     string
		forward time.Duration
		left    int
		wait    time.Duration
	}{
		{"a", 0, 2, 0},
		{"a", 0, 1, 0},
		{"a", 0, 0, 0},
		{"a", 0, 0, 500 * time.Millisecond},
		{"b", 0, 2, 0}, // another's bucket is another
		{"a", 500 * time.Millisecond, 0, 0},
		{"a", 0, 0, 500 * time.Millisecond},
		{"a", time.Hour, 2, 0}, // never more than the burst
	} {
		now = now.Add(step.forward)
		if left, wait := b.take(step.who); left != step.left || wait != step.wait {
			t.Errorf("step %d: %d left, wait %v; want %d, %v", i, left, wait, step.left, step.wait)
		}
	}
	for i := range mostBuckets + 10 {
		b.take(fmt.Sprint(i))
	}
	if len(b.by) > mostBuckets {
		t.Errorf("%d callers are remembered", len(b.by))
	}
	if none := newBuckets(Rate{PerSecond: -1}, Rate{1, 1}); !none.passes(httptest.NewRecorder(), "a") || len(none.by) != 0 {
		t.Error("no limit is a limit")
	}
}

func TestRefusedByRate(t *testing.T) {
	b := newBuckets(Rate{}, Rate{PerSecond: 0.1, Burst: 1})
	if w := httptest.NewRecorder(); !b.passes(w, "a") || w.Header().Get("RateLimit-Remaining") != "0" || w.Header().Get("RateLimit-Limit") != "1" {
		t.Errorf("the first: %v", w.Header())
	}
	w := httptest.NewRecorder()
	if b.passes(w, "a") || w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "10" ||
		!strings.Contains(w.Body.String(), `"code":8`) || !strings.Contains(w.Body.String(), "RATE_LIMITED") {
		t.Errorf("the second: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// A visitor with IPv6 has a whole network of addresses, and is one visitor all the same.
func TestVisitors(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:4711":                "192.0.2.7",
		"[::ffff:192.0.2.7]:4711":       "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:4711":   "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:4712":   "2001:db8:1:2::/64",
		"[fe80::1%eth0]:4711":           "fe80::/64",
		"what a test calls its address": "what a test calls its address",
	} {
		if got := addressOf(&http.Request{RemoteAddr: from}); got != want {
			t.Errorf("%s counts as %s, want %s", from, got, want)
		}
	}
}
