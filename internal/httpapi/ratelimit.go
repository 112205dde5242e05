package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

// Rate is how many requests one caller may make of this process: PerSecond on average, Burst at once. PerSecond 0 or
// less is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Rates are the limits of the kinds of caller, each caller by itself. The vendor's own operators and gateways have none:
// what a gateway reports is bounded by what passes through it, and to put it off would only make it more.
type Rates struct {
	Callers   Rate // people and service accounts: 50 a second, 200 at once when zero
	Addresses Rate // an address whose requests carry no token, or one that is not known: 5 a second, 30 at once when zero
	SignIns   Rate // an address that signs in: 1 a second, 20 at once when zero
}

// mostBuckets bounds how many callers are told apart. Those that were idle the longest are forgotten first: they are full.
const mostBuckets = 10_000

// buckets are the token buckets of one kind of caller.
type buckets struct {
	of  Rate
	mu  sync.Mutex
	by  map[string]*bucket
	now func() time.Time
}

type bucket struct {
	*rate.Limiter
	used time.Time
}

func newBuckets(of, usual Rate) *buckets {
	if of == (Rate{}) {
		of = usual
	}
	return &buckets{of: of, by: map[string]*bucket{}, now: time.Now}
}

// take takes a token out of a caller's bucket. left is how many remain, wait how long it is until there is one again,
// which is 0 when this one was got.
func (b *buckets) take(who string) (left int, wait time.Duration) {
	if b.of.PerSecond <= 0 {
		return b.of.Burst, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	one := b.by[who]
	if one == nil {
		b.forget(now)
		one = &bucket{Limiter: rate.NewLimiter(rate.Limit(b.of.PerSecond), b.of.Burst)}
		b.by[who] = one
	}
	one.used = now
	if one.AllowN(now, 1) {
		return int(one.TokensAt(now)), 0
	}
	lack := 1 - one.TokensAt(now)
	return 0, max(time.Duration(lack/b.of.PerSecond*float64(time.Second)), time.Millisecond)
}

// forget makes room for one more: it drops the buckets that are full again, and when there are none all of them.
func (b *buckets) forget(now time.Time) {
	if len(b.by) < mostBuckets {
		return
	}
	full := time.Duration(float64(b.of.Burst) / b.of.PerSecond * float64(time.Second))
	for who, one := range b.by {
		if now.Sub(one.used) >= full {
			delete(b.by, who)
		}
	}
	if len(b.by) >= mostBuckets {
		clear(b.by)
	}
}

// limited serves who is known, and who signs in, within their rate. A stream counts as the one request that it is.
func (s *server) limited(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	c, op := callerOf(ctx.Context()), ctx.Operation()
	switch {
	case op.Metadata[signsIn] != nil && !s.signIns.passes(w, addressOf(requestOf(ctx.Context()).source)):
	case op.Security != nil && c.Role == policy.Member && !s.callers.passes(w, string(c.ID)):
	default:
		next(ctx)
	}
}

// signsIn marks an operation by which somebody unknown becomes known: all of an address share the bucket of SignIns, so
// that trying is slow whatever is tried.
const signsIn = "postern.signs-in"

// passes takes a token for who and says in the answer's header how many are left (draft-ietf-httpapi-ratelimit-headers, in
// the form that clients read). Where there is none it answers.
func (b *buckets) passes(w http.ResponseWriter, who string) bool {
	left, wait := b.take(who)
	if b.of.PerSecond > 0 {
		w.Header().Set("RateLimit-Limit", strconv.Itoa(b.of.Burst))
		w.Header().Set("RateLimit-Remaining", strconv.Itoa(left))
		w.Header().Set("RateLimit-Reset", seconds(max(wait, time.Duration(float64(b.of.Burst-left)/b.of.PerSecond*float64(time.Second)))))
	}
	if wait == 0 {
		return true
	}
	p := newProblem(http.StatusTooManyRequests, 8, "too many requests", api.ErrorDetail{
		Reason: "RATE_LIMITED", Hint: "try again in " + seconds(wait) + " s, and ask less often: Retry-After says how long to wait",
	})
	p.RetryAfter = wait
	p.write(w)
	return false
}

// seconds is a duration in whole seconds, rounded up, as header fields have it.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
