package verify

import "context"

// Probe looks at the path to t from v and returns what it saw. Each step is bounded by the target's step time-out, the
// addresses are tried at the same time, and every connection and goroutine is gone when Probe returns. When ctx ends
// first, the observations say that they are incomplete.
func Probe(ctx context.Context, v Vantage, t Target) Observations { panic("not yet") }
