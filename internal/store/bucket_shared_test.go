package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

func TestBucketIsShared(t *testing.T) { storetest.OnEach(t, testBucketIsShared) }

// Many who take tokens at once get no more together than there are, and what one was told counts for all.
func testBucketIsShared(t *testing.T, db storetest.Database) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	st := db.Open(t, store.Options{Now: func() time.Time { return now }})
	b := store.Bucket{Name: "account/AWS/us-east-1/ec2/DescribeVpcEndpointConnections", Burst: 20, PerSecond: 5}
	var given atomic.Int64
	var takers sync.WaitGroup
	for range 8 {
		takers.Go(func() {
			for range 5 {
				got, wait, err := st.TakeTokens(t.Context(), b, 3)
				if err != nil || got == 0 && wait <= 0 {
					t.Errorf("%d tokens, wait %v, %v", got, wait, err)
				}
				given.Add(int64(got))
			}
		})
	}
	takers.Wait()
	if given.Load() != 20 {
		t.Errorf("%d tokens of 20 were given", given.Load())
	}
	other := b
	other.Name = "account/AWS/us-west-2/ec2/DescribeVpcEndpointConnections"
	if err := st.SlowBucket(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if got, _, err := st.TakeTokens(t.Context(), other, 1); err != nil || got != 0 {
		t.Errorf("%d tokens of a bucket that was throttled just now, %v", got, err)
	}
}
