package awsprivatelink

import (
	"context"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

var tracer = otel.Tracer("github.com/postern/postern/internal/cloud/awsprivatelink")

// traced makes a span of each request to AWS with all its tries, and with what it waited for the limiter.
func traced(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("PosternTrace", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		name := awsmiddleware.GetServiceID(ctx) + " " + awsmiddleware.GetOperationName(ctx)
		ctx, span := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
		defer span.End()
		out, meta, err := next.HandleInitialize(ctx, in)
		if err != nil {
			span.SetStatus(codes.Error, codeOf(err))
		}
		return out, meta, err
	}), middleware.After)
}
