package fabric

import (
	"net/http"
	"sync"
	"time"
)

// Limit is a token bucket of requests, as the cloud has one for each account, region and action: Burst of them may come
// at once, and PerSecond afterwards. The zero Limit lets everything pass.
type Limit struct {
	Burst     float64
	PerSecond float64
}

// quota counts requests against Config.Limit. It is no part of the state: a cloud that was restarted has forgotten them.
type quota struct {
	mu      sync.Mutex
	buckets map[bucketKey]*bucket
}

type bucketKey struct{ account, region, action string }

type bucket struct {
	left float64
	at   time.Time
}

// take takes a request's token and reports whether there was one.
func (q *quota) take(key bucketKey, l Limit, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.buckets == nil {
		q.buckets = map[bucketKey]*bucket{}
	}
	b := q.buckets[key]
	if b == nil {
		b = &bucket{left: l.Burst, at: now}
		q.buckets[key] = b
	}
	b.left = min(l.Burst, b.left+l.PerSecond*now.Sub(b.at).Seconds())
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// throttled is what a call ends with that is one too many, nil when it is not. The answers are the services' own.
func (c *call) throttled() error {
	if c.f.cfg.Limit == nil {
		return nil
	}
	l := c.f.cfg.Limit(c.action)
	if l == (Limit{}) || c.f.quota.take(bucketKey{c.account, c.region, c.action}, l, c.f.cfg.Now()) {
		return nil
	}
	if c.service == &ec2Service {
		return failWith(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	}
	return fail("Throttling", "Rate exceeded")
}
