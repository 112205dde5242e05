package control_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern/postern/internal/link"
)

// However many ask at once, a cluster has no more open claims than it may have.
func TestClaimsAskedForTogetherKeepTheLimit(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("orders")
	const asked, most = 120, 100
	var made, refused atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range asked / 8 {
				switch _, err := d.CreateClaim(d.ctx, operator, c.ID, "", 0); {
				case err == nil:
					made.Add(1)
				case link.KindOf(err) == link.Precondition:
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if made.Load() != most || refused.Load() != asked-most {
		t.Errorf("%d claims were made and %d refused, want %d made", made.Load(), refused.Load(), most)
	}
}

// Those who create the same cluster at once get the same one.
func TestClustersCreatedTogetherAreOne(t *testing.T) {
	d := newDesk(t)
	r := d.request("orders")
	ids := make(chan link.ID, 8)
	for range cap(ids) {
		go func() {
			c, err := d.CreateCluster(d.ctx, operator, r)
			if err != nil {
				t.Error(err)
			}
			ids <- c.ID
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("one name, two clusters: %s and %s", first, id)
		}
	}
}
