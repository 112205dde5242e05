package reconcile

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
)

// slowLister is a cloud of which only the list is asked, and which takes a second for it.
type slowLister struct {
	cloud.Driver
	mu             sync.Mutex
	began, at, top int
}

func (l *slowLister) Endpoints(context.Context, string, cloud.Query) ([]link.Endpoint, error) {
	l.mu.Lock()
	l.began++
	l.at++
	l.top = max(l.top, l.at)
	l.mu.Unlock()
	time.Sleep(time.Second) // of the bubble's clock
	l.mu.Lock()
	l.at--
	l.mu.Unlock()
	return nil, nil
}

// After a burst of acceptances every look wants a list that began after its own. They share one: those that come while a
// list is under way wait for it and take the next together.
func TestABurstSharesItsLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lists{fresh: 500 * time.Millisecond, now: time.Now, calls: map[string]*listCall{}}
		d := &slowLister{}
		const looks = 40
		var all sync.WaitGroup
		for i := range looks {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Millisecond)
				after := time.Now()
				_, began, err := l.get(t.Context(), d, "k", "vpce-svc-1", cloud.Query{}, after)
				if err != nil || began.Before(after) {
					t.Errorf("a list that began %v before what it has to show, %v", after.Sub(began), err)
				}
			})
		}
		all.Wait()
		if d.began > 3 || d.top > 1 {
			t.Errorf("%d looks within 0.8 s made %d lists, %d at once; want at most 3, one after the other", looks, d.began, d.top)
		}
	})
}
