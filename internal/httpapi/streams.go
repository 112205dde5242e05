package httpapi

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

// Streams bound how many streams of events this process keeps open. Each costs a goroutine, and every event a look.
type Streams struct {
	PerCaller int // 20 when 0
	All       int // 2000 when 0
}

// openStreams are those that are open.
type openStreams struct {
	most Streams
	mu   sync.Mutex
	all  int
	by   map[string]int // by caller
}

func newOpenStreams(most Streams) *openStreams {
	if most.PerCaller == 0 {
		most.PerCaller = 20
	}
	if most.All == 0 {
		most.All = 2000
	}
	return &openStreams{most: most, by: map[string]int{}}
}

// streamAgainIn is how long whoever found no room is told to wait: streams are long, and one may end at any time.
const streamAgainIn = 10 * time.Second

// open makes room for a stream of a caller, for as long as until end is called; or it returns the refusal.
func (o *openStreams) open(c policy.Caller) (end func(), full *problem) {
	who := string(c.Role) + " " + string(c.ID) + " " + c.Name
	o.mu.Lock()
	defer o.mu.Unlock()
	refuse := func(hint string) (func(), *problem) {
		p := newProblem(http.StatusTooManyRequests, 8, "too many streams of events are open", api.ErrorDetail{Reason: "TOO_MANY_STREAMS", Hint: hint})
		p.RetryAfter = streamAgainIn
		return nil, p
	}
	switch {
	case o.by[who] >= o.most.PerCaller:
		return refuse(fmt.Sprintf("you have %d: close those that nobody reads, or ask for pages", o.by[who]))
	case o.all >= o.most.All:
		return refuse("the server has no room for more: ask for pages, or try again later")
	}
	o.all++
	o.by[who]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.all--
		if o.by[who]--; o.by[who] == 0 {
			delete(o.by, who)
		}
	}, nil
}
