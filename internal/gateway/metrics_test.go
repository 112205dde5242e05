package gateway

import (
	"bufio"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/link"
)

// testSources are sources in which every metric has a value of its own.
func testSources(t *traffic, backends iter.Seq[link.BackendHealth]) metricSources {
	return metricSources{
		traffic: t,
		engine: func() engine.Stats {
			return engine.Stats{In: 1001, Out: 1002, Spliced: 1003, Relaying: 1004, Pipes: 1005, AcceptErrors: 1006, Paused: 1007}
		},
		rules: func() ruleFacts {
			return ruleFacts{revision: 41, clusters: 42, endpoints: 43, applied: time.UnixMilli(1_800_000_000_500)}
		},
		connected: func() bool { return true },
		backends:  backends,
		waiting:   func() int { return 51 },
		spooled:   func() int64 { return 52 },
		lost:      func() uint64 { return 53 },
		certificates: func() []certificate.Shown {
			return []certificate.Shown{{Name: "late", Expires: time.Unix(62, 0)}, {Name: "early", Expires: time.Unix(61, 0)}, {Name: "early", Expires: time.Unix(63, 0)}}
		},
	}
}

// scrape returns the gateway's own samples.
func scrape(t testing.TB, src metricSources) (samples []string, text string) {
	t.Helper()
	answer := httptest.NewRecorder()
	newMetricsHandler(src, slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	text = answer.Body.String()
	for in := bufio.NewScanner(strings.NewReader(text)); in.Scan(); {
		if sample, own := strings.CutPrefix(in.Text(), "postern_gateway_"); own {
			samples = append(samples, sample)
		}
	}
	return samples, text
}

func TestMetrics(t *testing.T) {
	counters := newTraffic(2)
	for loop := range 2 {
		counters.accepted(loop, link.PrivateListener)
		counters.accepted(loop, link.PublicListener)
		counters.decided(loop, link.PrivateListener, verdictAllowed, "")
		counters.decided(loop, link.PublicListener, verdictRefused, "ADDRESS_NOT_ALLOWED")
		counters.ended(loop, link.PublicListener, engine.End{Reason: "ADDRESS_NOT_ALLOWED"})
	}
	counters.decided(0, link.PublicListener, verdictWouldRefuse, "PUBLIC_ACCESS_DISABLED")
	counters.ended(1, link.PrivateListener, engine.End{
		Reason: engine.ClientClosed, Connect: 3 * time.Millisecond, FirstByte: 20 * time.Second,
	})
	for _, r := range []struct {
		status int
		code   string
	}{{200, ""}, {204, ""}, {0, "client_gone"}, {502, "bad_gateway"}, {999, ""}} {
		counters.loops[1].web.request(side(link.PublicListener), r.status, r.code, 10*time.Millisecond)
	}
	counters.loops[0].web.handshake("TLS_HANDSHAKE_FAILED")
	counters.loops[0].web.in.Add(1011)
	counters.loops[1].web.out.Add(1012)
	got, text := scrape(t, testSources(counters, slices.Values([]link.BackendHealth{
		{ClusterID: acmeID, Backend: "10.9.0.1:443", Healthy: true},
		{ClusterID: acmeID, Backend: "10.9.0.2:443"},
		{ClusterID: globexID, Backend: "10.9.0.1:443", Healthy: true},
		{ClusterID: globexID, Backend: "10.9.0.1:443"}, // told twice: down counts, and the scrape goes on
	})))
	want := []string{
		`accept_errors_total 1006`,
		`accept_paused_total 1007`,
		`backend_up{backend="10.9.0.1:443",cluster="` + acmeID + `"} 1`,
		`backend_up{backend="10.9.0.1:443",cluster="` + globexID + `"} 0`,
		`backend_up{backend="10.9.0.2:443",cluster="` + acmeID + `"} 0`,
		`backends{state="down"} 2`,
		`backends{state="up"} 2`,
		`bytes_total{direction="in"} 1001`,
		`bytes_total{direction="out"} 1002`,
		`certificate_expiry_timestamp_seconds{certificate="early"} 61`,
		`certificate_expiry_timestamp_seconds{certificate="late"} 62`,
		`certificates 3`,
		`connect_seconds_bucket{le="0.0025"} 0`,
		`connect_seconds_bucket{le="0.005"} 1`,
		`connect_seconds_bucket{le="+Inf"} 1`,
		`connect_seconds_sum 0.003`,
		`connect_seconds_count 1`,
		`control_connected 1`,
		`decisions_total{decision="allowed",listener="private",reason=""} 2`,
		`decisions_total{decision="refused",listener="public",reason="ADDRESS_NOT_ALLOWED"} 2`,
		`decisions_total{decision="would_refuse",listener="public",reason="PUBLIC_ACCESS_DISABLED"} 1`,
		`first_byte_seconds_bucket{le="10"} 0`,
		`first_byte_seconds_bucket{le="+Inf"} 1`,
		`first_byte_seconds_sum 20`,
		`first_byte_seconds_count 1`,
		`flows_accepted_total{listener="private"} 2`,
		`flows_accepted_total{listener="public"} 2`,
		`flows_closed_total{listener="private",reason="CLIENT_CLOSED"} 1`,
		`flows_closed_total{listener="public",reason="ADDRESS_NOT_ALLOWED"} 2`,
		`flows_open{listener="private"} 1`,
		`flows_open{listener="public"} 0`,
		`flows_relaying 1004`,
		`http_bytes_total{direction="in"} 1011`,
		`http_bytes_total{direction="out"} 1012`,
		`http_failures_total{code="bad_gateway"} 1`,
		`http_failures_total{code="client_gone"} 1`,
		`http_request_seconds_bucket{le="0.005"} 0`,
		`http_request_seconds_bucket{le="0.01"} 5`,
		`http_request_seconds_sum 0.05`,
		`http_request_seconds_count 5`,
		`http_requests_total{listener="private",status="1xx"} 0`,
		`http_requests_total{listener="private",status="2xx"} 0`,
		`http_requests_total{listener="private",status="3xx"} 0`,
		`http_requests_total{listener="private",status="4xx"} 0`,
		`http_requests_total{listener="private",status="5xx"} 0`,
		`http_requests_total{listener="private",status="none"} 0`,
		`http_requests_total{listener="public",status="1xx"} 0`,
		`http_requests_total{listener="public",status="2xx"} 2`,
		`http_requests_total{listener="public",status="3xx"} 0`,
		`http_requests_total{listener="public",status="4xx"} 0`,
		`http_requests_total{listener="public",status="5xx"} 1`,
		`http_requests_total{listener="public",status="none"} 2`,
		`reports_dropped_total 53`,
		`reports_spooled_bytes 52`,
		`reports_waiting 51`,
		`rules_applied_timestamp_seconds 1.8000000005e+09`,
		`rules_clusters 42`,
		`rules_endpoints 43`,
		`rules_revision 41`,
		`splice_pipes 1005`,
		`spliced_bytes_total 1003`,
		`tls_handshakes_failed_total{reason="TLS_HANDSHAKE_FAILED"} 1`,
	}
	left := slices.DeleteFunc(slices.Clone(got), func(s string) bool {
		return slices.Contains(want, s) || strings.Contains(s, "_seconds_bucket")
	})
	if len(left) > 0 {
		t.Errorf("unexpected: %s", strings.Join(left, "\n"))
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("missing: %s", w)
		}
	}
	for _, w := range []string{"go_goroutines ", "process_open_fds ", "go_build_info{"} {
		if !strings.Contains(text, "\n"+w) {
			t.Errorf("no %s", w)
		}
	}
	if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("against the naming rules: %v, %v", problems, err)
	}
}

func TestMetricsBeforeAnyRules(t *testing.T) {
	src := testSources(newTraffic(1), slices.Values([]link.BackendHealth(nil)))
	src.rules = func() ruleFacts { return ruleFacts{} }
	src.connected = func() bool { return false }
	got, _ := scrape(t, src)
	for _, w := range []string{"rules_revision 0", "rules_applied_timestamp_seconds 0", "control_connected 0", "connect_seconds_count 0"} {
		if !slices.Contains(got, w) {
			t.Errorf("missing: %s", w)
		}
	}
}

func TestSeriesOfBackendsAreBounded(t *testing.T) {
	for _, tt := range []struct{ up, down, series int }{
		{0, 0, 0},
		{mostBackendSeries - 1, 1, mostBackendSeries},
		{mostBackendSeries, 1, 1},
		{3 * mostBackendSeries, 0, 0},
		{10, 2 * mostBackendSeries, mostBackendSeries},
	} {
		got, _ := scrape(t, testSources(newTraffic(1), func(yield func(link.BackendHealth) bool) {
			for i := range tt.up + tt.down {
				if !yield(link.BackendHealth{ClusterID: acmeID, Backend: fmt.Sprintf("10.0.0.1:%d", i), Healthy: i < tt.up}) {
					return
				}
			}
		}))
		series := 0
		for _, s := range got {
			if strings.HasPrefix(s, "backend_up{") {
				series++
			}
		}
		if series != tt.series || !slices.Contains(got, fmt.Sprintf(`backends{state="up"} %d`, tt.up)) ||
			!slices.Contains(got, fmt.Sprintf(`backends{state="down"} %d`, tt.down)) {
			t.Errorf("%d up and %d down: %d series, want %d", tt.up, tt.down, series, tt.series)
		}
	}
}

func TestReasonsAreBounded(t *testing.T) {
	counters := newTraffic(1)
	for i := range 3 * mostReasons {
		reason := fmt.Sprint("REASON_", i)
		counters.decided(0, link.PublicListener, verdictRefused, reason)
		counters.ended(0, link.PublicListener, engine.End{Reason: reason})
	}
	sum := counters.sum()
	if n := len(sum.decided); n != mostReasons+1 || sum.decided[decidedKey{1, verdictRefused, otherReason}] != 2*mostReasons {
		t.Errorf("%d reasons of decisions", n)
	}
	if n := len(sum.closed); n != mostReasons+1 || sum.closed[closedKey{1, otherReason}] != 2*mostReasons {
		t.Errorf("%d reasons of ends", n)
	}
}

// A scrape while the loops count sees no fewer than none open.
func TestMetricsWhileLoopsCount(t *testing.T) {
	const loops, each = 2, 20000
	counters := newTraffic(loops)
	var counting sync.WaitGroup
	for loop := range loops {
		counting.Go(func() {
			for range each {
				counters.accepted(loop, link.PrivateListener)
				counters.decided(loop, link.PrivateListener, verdictAllowed, "")
				counters.ended(loop, link.PrivateListener, engine.End{Reason: engine.ClientClosed, Connect: time.Millisecond})
			}
		})
	}
	done := make(chan struct{})
	go func() {
		counting.Wait()
		close(done)
	}()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		if sum := counters.sum(); sum.ended[0] > sum.accepted[0] {
			t.Fatalf("%d ended of %d", sum.ended[0], sum.accepted[0])
		}
	}
	if sum := counters.sum(); sum.accepted[0] != loops*each || sum.closed[closedKey{0, engine.ClientClosed}] != loops*each {
		t.Errorf("%+v", sum)
	}
}

func BenchmarkTraffic(b *testing.B) {
	counters := newTraffic(1)
	end := engine.End{Reason: engine.ClientClosed, Connect: 3 * time.Millisecond, FirstByte: 5 * time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		counters.accepted(0, link.PrivateListener)
		counters.decided(0, link.PrivateListener, verdictAllowed, "")
		counters.ended(0, link.PrivateListener, end)
	}
}
