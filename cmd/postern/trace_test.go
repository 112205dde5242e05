package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace/noop"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// TestTracing sends the spans of a request to a receiver, which learns what took how long and nothing secret.
func TestTracing(t *testing.T) {
	var (
		mu   sync.Mutex
		got  []*spans.Span
		wire bytes.Buffer
	)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var batch collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &batch) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		wire.Write(body)
		for _, resource := range batch.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				got = append(got, scope.GetSpans()...)
			}
		}
	}))
	defer receiver.Close()
	end, err := startTracing(t.Context(), config.Tracing{OTLPURL: receiver.URL, Sampled: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer otel.SetTracerProvider(noop.NewTracerProvider())

	const token, theirs = "a-token-that-nobody-may-see", "0af7651916cd43dd8448eb211c80319c"
	plane := control.New(storetest.Open(t, store.Options{}), control.Options{Domain: "postern.test"})
	if err := plane.PutToken(t.Context(), "op", policy.Operator, token); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/regions?name=somebody", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Traceparent", "00-"+theirs+"-b7ad6b7169203331-01")
	httpapi.New(plane, httpapi.Options{Log: slog.New(slog.DiscardHandler)}).ServeHTTP(httptest.NewRecorder(), r)
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}

	mu.Lock()
	defer mu.Unlock()
	at := slices.IndexFunc(got, func(s *spans.Span) bool { return s.GetName() == "GET /api/v1/regions" })
	if at < 0 {
		t.Fatalf("no span of the request among %v", got)
	}
	request := got[at]
	if len(request.GetLinks()) != 1 || len(request.GetParentSpanId()) != 0 {
		t.Errorf("the peer's trace is to be linked, not gone on with: %v", request)
	}
	if !slices.ContainsFunc(got, func(s *spans.Span) bool {
		return s.GetName() == "transaction read" && bytes.Equal(s.GetParentSpanId(), request.GetSpanId())
	}) {
		t.Errorf("no transaction within the request among %v", got)
	}
	for _, secret := range []string{token, "somebody"} {
		if bytes.Contains(wire.Bytes(), []byte(secret)) {
			t.Errorf("%q was sent", secret)
		}
	}
}
