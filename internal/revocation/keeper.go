package revocation

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/clientcert"
)

// Config is what a Keeper needs. Every field may be left out.
type Config struct {
	// Private are ranges of addresses that responders may have though they are not public ones.
	Private []netip.Prefix
	Log     *slog.Logger
	Now     func() time.Time
}

// Keeper knows what responders say. Its methods may be called from any goroutine.
type Keeper struct{ config Config }

// New makes a Keeper, which asks nobody before Start. Without it questions are asked all the same, but no answer is kept
// fresh.
func New(c Config) *Keeper { return &Keeper{config: c} }

// Start begins to refresh answers in the background, until Close.
func (k *Keeper) Start() {}

// Close ends the refreshing and the questions under way, and waits for both.
func (k *Keeper) Close() {}

// Look returns what is known now, without asking anybody; fresh says whether it is a responder's answer that still holds.
func (k *Keeper) Look(q clientcert.Question) (answer clientcert.Revocation, fresh bool) {
	return clientcert.Unknown, false
}

// Await returns what is known, and asks the responder first when there is no answer that still holds: for at most 2 s, or
// until ctx ends.
func (k *Keeper) Await(ctx context.Context, q clientcert.Question) clientcert.Revocation {
	return clientcert.Unknown
}
