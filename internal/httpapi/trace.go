package httpapi

import (
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var tracer = otel.Tracer("github.com/postern/postern/internal/httpapi")

// traced makes a span of each request, named by its route: what a peer may choose freely stands in none. A trace that the
// peer began is linked and not gone on with, or strangers would decide which of ours are kept.
func (s *server) traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := s.mux.Handler(r)
		if pattern == "" {
			pattern = "unknown"
		}
		remote := otel.GetTextMapPropagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot()}
		if l := trace.LinkFromContext(remote); l.SpanContext.IsValid() {
			options = append(options, trace.WithLinks(l))
		}
		ctx, span := tracer.Start(r.Context(), pattern, options...)
		defer span.End()
		sw := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(sw, r.WithContext(ctx))
		span.SetAttributes(
			attribute.Int("http.response.status_code", sw.status), attribute.String("postern.request_id", w.Header().Get("X-Request-Id")),
		)
		if sw.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(sw.status))
		}
	})
}
