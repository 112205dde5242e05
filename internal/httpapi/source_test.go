package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
)

// Behind a proxy that is believed each visitor has a rate of its own, and stands in the audit log by its own address. Without
// such a proxy nobody passes for another.
func TestVisitorsBehindAProxy(t *testing.T) {
	w := newWorld(t)
	plane := control.New(w.store, control.Options{Domain: "postern.test", Log: slog.New(slog.DiscardHandler)})
	for _, tt := range []struct {
		name    string
		proxies []netip.Prefix
		second  int // the status of another visitor's try
	}{
		{"believed", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, http.StatusUnauthorized},
		{"not believed", nil, http.StatusTooManyRequests},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(httpapi.New(plane, httpapi.Options{
				Log: slog.New(slog.DiscardHandler), Rates: httpapi.Rates{Addresses: httpapi.Rate{PerSecond: 0.001, Burst: 1}}, Proxies: tt.proxies,
			}))
			t.Cleanup(srv.Close)
			knock := func(from string) int {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/api/v1/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer nobody's")
				req.Header.Set("X-Forwarded-For", from)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				return resp.StatusCode
			}
			one, again, other := knock("192.0.2.1"), knock("192.0.2.1"), knock("192.0.2.2, 192.0.2.3")
			if one != http.StatusUnauthorized || again != http.StatusTooManyRequests || other != tt.second {
				t.Errorf("one visitor %d, again %d, another %d; want 401, 429, %d", one, again, other, tt.second)
			}
		})
	}
	sources := map[string]bool{}
	entries := must(w.client.Audit(t.Context(), api.AuditQuery{}, api.Page{Limit: 500}))(t).Entries
	for _, e := range entries {
		if e.Rule == "TOKEN_UNKNOWN" {
			sources[e.Source] = true
		}
	}
	if !sources["192.0.2.1"] { // others are counted with it
		t.Errorf("the audit log names %v", sources)
	}
}

// Who has as many streams of events open as one caller may is told to close some, and one that ends makes room.
func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	plane := control.New(w.store, control.Options{Domain: "postern.test", Log: slog.New(slog.DiscardHandler)})
	done := make(chan struct{})
	srv := httptest.NewServer(httpapi.New(plane, httpapi.Options{
		Log: slog.New(slog.DiscardHandler), KeepAlive: 20 * time.Millisecond, Streams: httpapi.Streams{PerCaller: 1}, Done: done,
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(done) })
	open := func(ctx context.Context) (status int, retryAfter string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+operatorToken)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	first, end := context.WithCancel(t.Context())
	defer end()
	if status, _ := open(first); status != http.StatusOK {
		t.Fatalf("the first stream: %d", status)
	}
	if status, again := open(t.Context()); status != http.StatusTooManyRequests || again == "" {
		t.Errorf("the second: %d, again after %q", status, again)
	}
	end()
	for deadline := time.Now().Add(30 * time.Second); ; {
		if status, _ := open(t.Context()); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream that ended made no room")
		}
	}
}
