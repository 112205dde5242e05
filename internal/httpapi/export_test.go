package httpapi

import (
	"context"

	"github.com/postern/postern/internal/policy"
)

// WithCallerForTest makes a request be the caller's, whatever its token.
func WithCallerForTest(ctx context.Context, c policy.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}
