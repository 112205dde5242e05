package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/store"
)

// Two processes on one database keep together within what the cloud takes.
func TestLimitersShareABucket(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	st, err := store.Open(t.Context(), t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	var mu sync.Mutex
	waits, outcomes := 0, map[cloud.Outcome]int{}
	o := Observer{
		Waited: func(string, time.Duration) { mu.Lock(); waits++; mu.Unlock() },
		Sent:   func(_ string, out cloud.Outcome, _ time.Duration) { mu.Lock(); outcomes[out]++; mu.Unlock() },
	}
	one, two := NewLimiter(st, "vendor", o, log), NewLimiter(st, "vendor", o, log)
	r := cloud.Request{API: "ec2:Describe", Bucket: cloud.Bucket{Name: "AWS/us-east-1/ec2/Describe", Burst: 4, PerSecond: 40}}
	const each = 10
	began := time.Now()
	var all sync.WaitGroup
	for _, l := range []*Limiter{one, two} {
		for range each {
			all.Go(func() {
				if err := l.Wait(t.Context(), r); err != nil {
					t.Error(err)
				}
				l.Sent(r, cloud.Done, time.Millisecond)
			})
		}
	}
	all.Wait()
	if least := time.Duration((2*each - r.Bucket.Burst) / r.Bucket.PerSecond * float64(time.Second)); time.Since(began) < least {
		t.Errorf("%d requests in %v, which the cloud takes in %v", 2*each, time.Since(began), least)
	}
	if waits != 2*each || outcomes[cloud.Done] != 2*each {
		t.Errorf("told of %d waits and %v", waits, outcomes)
	}

	// What one was told by the cloud, the other heeds.
	one.Sent(r, cloud.Throttled, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := two.Wait(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("right after the other was throttled: %v", err)
	}
	if err := two.Wait(t.Context(), r); err != nil {
		t.Errorf("later: %v", err)
	}

	// Without a database the cloud itself says what is too much.
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	lost := r
	lost.Bucket.Name = "AWS/us-east-1/ec2/Other"
	if err := one.Wait(t.Context(), lost); err != nil {
		t.Errorf("without a database: %v", err)
	}
}
