package httpproxy

import (
	"context"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/revocation"
)

// Revocation tells what responders say of client certificates. A *revocation.Keeper does.
type Revocation interface {
	Await(ctx context.Context, q clientcert.Question) clientcert.Revocation
}

var _ Revocation = (*revocation.Keeper)(nil)
