package main

import (
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// TestMetrics: what is scraped is in order, and docs/operation.md describes it, neither more nor less.
func TestMetrics(t *testing.T) {
	m := newMeter(storetest.Open(t, store.Options{}))
	o := m.observer()
	o.Waited("ec2:DescribeVpcEndpoints", time.Second)
	o.Sent("ec2:DescribeVpcEndpoints", cloud.Throttled, time.Second)
	o.Looked(store.WorkEndpoint, time.Second, true)
	m.request(httpapi.Observation{Method: "GET", Route: "/api/v1/regions", Status: 200})
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	text := rec.Body.String()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "postern_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	doc, err := os.ReadFile("../../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := names(text, `(?m)^# TYPE (postern_\w+)`)
	described := names(string(doc), "(?m)^\\| `(postern_\\w+)`")
	// A state that no connection has is not shown, and a status that no delivery has.
	described = slices.DeleteFunc(described, func(s string) bool { return s == "postern_connections" || s == "postern_deliveries" })
	if !slices.Equal(shown, described) {
		t.Errorf("shown     %v\ndescribed %v", shown, described)
	}
}

func names(text, pattern string) (out []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return slices.Compact(out)
}
