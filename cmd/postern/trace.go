package main

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/postern/postern/internal/config"
)

// startTracing begins to send spans where the settings say. The packages of the control plane make them through the API
// of OpenTelemetry, which does nothing until then. The caller calls what is returned to send the last of them.
func startTracing(ctx context.Context, cfg config.Tracing, log *slog.Logger) (func(context.Context) error, error) {
	if cfg.OTLPURL == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(cfg.OTLPURL+"/v1/traces"))
	if err != nil {
		return nil, err
	}
	provider := trace.NewTracerProvider(
		trace.WithBatcher(exporter),
		// Whoever began a trace has decided whether it is kept.
		trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(cfg.Sampled))),
		trace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "postern"), attribute.String("service.version", version()),
		)),
	)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces are not sent", "err", err)
	}))
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return provider.Shutdown(ctx)
	}, nil
}
