package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/policy"
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
		"192.0.2.7:4711":              "192.0.2.7",
		"[::ffff:192.0.2.7]:4711":     "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:4711": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:4712": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:4711":         "fe80::/64",
	} {
		if got := addressOf(sourceOf(&http.Request{RemoteAddr: from}, nil)); got != want {
			t.Errorf("%s counts as %s, want %s", from, got, want)
		}
	}
}

// Only what a believed proxy says counts, and of that only the last that is not another such proxy's: the rest whoever asks
// can write itself.
func TestSourceBehindProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8:f::/48")}
	for _, tt := range []struct {
		name, peer string
		said       []string
		want       string
	}{
		{"a visitor, and no proxy", "192.0.2.7:1", nil, "192.0.2.7"},
		{"a visitor who claims to be another", "192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7"},
		{"a proxy's visitor", "10.0.0.1:1", []string{"192.0.2.7"}, "192.0.2.7"},
		{"a proxy's visitor who claims to be another", "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7"},
		{"in a field of its own", "10.0.0.1:1", []string{"198.51.100.1", "192.0.2.7"}, "192.0.2.7"},
		{"who claims to be a proxy", "10.0.0.1:1", []string{"198.51.100.1, 10.0.0.9, 192.0.2.7"}, "192.0.2.7"},
		{"two proxies", "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		{"two proxies of IPv6", "[2001:db8:f::1]:1", []string{"2001:db8:1::7 , 2001:db8:f::2"}, "2001:db8:1::7"},
		{"with ports", "10.0.0.1:1", []string{"192.0.2.7:4711, [2001:db8:f::2]:4712"}, "192.0.2.7"},
		{"in brackets", "10.0.0.1:1", []string{"[2001:db8:1::7]"}, "2001:db8:1::7"},
		{"with a zone", "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"mapped", "[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"a proxy that says nonsense", "10.0.0.1:1", []string{"192.0.2.7, unknown"}, "10.0.0.1"},
		{"a proxy that asks itself", "10.0.0.1:1", []string{"10.0.0.2"}, "10.0.0.2"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.said}}
		if got := sourceOf(r, proxies).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func FuzzSource(f *testing.F) {
	f.Add("192.0.2.7", "10.0.0.1")
	f.Add("[2001:db8::1]:80, 10.0.0.2:", "[,]")
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, one, two string) {
		h := http.Header{"X-Forwarded-For": {one, two}}
		if got := sourceOf(&http.Request{RemoteAddr: "192.0.2.7:1", Header: h}, proxies); got != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("one who is no proxy passes for %s", got)
		}
		if got := sourceOf(&http.Request{RemoteAddr: "10.0.0.1:1", Header: h}, proxies); !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("behind a proxy: %v", got)
		}
	})
}

// A caller has so many streams at once, and so has everybody together; one that ends makes room for another.
func TestOpenStreamsAreBounded(t *testing.T) {
	o := newOpenStreams(Streams{PerCaller: 2, All: 3})
	ann, ben := policy.Caller{ID: "ann", Role: policy.Member}, policy.Caller{ID: "ben", Role: policy.Member}
	var ends []func()
	for i, step := range []struct {
		who  policy.Caller
		room bool
	}{{ann, true}, {ann, true}, {ann, false}, {ben, true}, {ben, false}} {
		end, full := o.open(step.who)
		if (full == nil) != step.room {
			t.Errorf("%d: room for %s: %t, want %t", i, step.who.ID, full == nil, step.room)
		}
		if full != nil {
			if full.Status != http.StatusTooManyRequests || full.RetryAfter == 0 || full.Details[0].Hint == "" {
				t.Errorf("%d: the refusal is %+v", i, full)
			}
			continue
		}
		ends = append(ends, end)
	}
	for _, end := range ends {
		end()
	}
	if o.all != 0 || len(o.by) != 0 {
		t.Errorf("after all have ended %d are open, of %v", o.all, o.by)
	}
	if _, full := o.open(ann); full != nil {
		t.Error("no room after all have ended")
	}
}
