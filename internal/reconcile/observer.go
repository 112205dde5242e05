package reconcile

import (
	"time"

	"github.com/postern/postern/internal/cloud"
)

// Observer is told what the reconciler does, for metrics. Each field may be nil; none may block, and each is called from
// many goroutines.
type Observer struct {
	Waited func(api string, d time.Duration)                           // for a token of the API's bucket, before a request
	Sent   func(api string, outcome cloud.Outcome, took time.Duration) // a request to a cloud
	Looked func(kind string, took time.Duration, failed bool)          // at an object; kind is store.Work's
}

func (o Observer) waited(api string, d time.Duration) {
	if o.Waited != nil {
		o.Waited(api, d)
	}
}

func (o Observer) sent(api string, outcome cloud.Outcome, took time.Duration) {
	if o.Sent != nil {
		o.Sent(api, outcome, took)
	}
}

func (o Observer) looked(kind string, took time.Duration, failed bool) {
	if o.Looked != nil {
		o.Looked(kind, took, failed)
	}
}
