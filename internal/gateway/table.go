package gateway

import (
	"sync"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// flowTable holds every flow from accept to close, so that new rules and the gateway's end reach all of them.
type flowTable struct {
	mu       sync.Mutex
	flows    map[*flow]*admission // nil while the flow is not admitted
	admitted int
}

// admission is what a flow was let in by.
type admission struct {
	facts   policy.FlowFacts
	cluster link.ID
	proof   bool
}

func (t *flowTable) init() { t.flows = make(map[*flow]*admission) }

func (t *flowTable) add(f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flows[f] = nil
}

func (t *flowTable) admit(f *flow, a *admission) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flows[f] == nil {
		t.admitted++
	}
	t.flows[f] = a
}

func (t *flowTable) remove(f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flows[f] != nil {
		t.admitted--
	}
	delete(t.flows, f)
}

func (t *flowTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.admitted
}

// holds reports whether rules still let a flow pass that was admitted by a: to the same cluster and in the same way.
// That its backends changed does not end a flow.
func (a *admission) holds(rules *policy.Rules) bool {
	d := rules.Decide(a.facts)
	return d.Allow && d.ClusterID == a.cluster && d.Proof == a.proof
}

// recheck cuts the admitted flows that rules no longer allow, and returns how many. The rules must be in force already:
// a flow that is admitted from now on looks at them itself.
func (t *flowTable) recheck(rules *policy.Rules, reason string) int {
	t.mu.Lock()
	var revoked []*flow
	for f, a := range t.flows {
		if a != nil && !a.holds(rules) {
			revoked = append(revoked, f)
		}
	}
	t.mu.Unlock()
	for _, f := range revoked {
		f.cut(reason)
	}
	return len(revoked)
}

func (t *flowTable) closeAll(reason string) {
	t.mu.Lock()
	all := make([]*flow, 0, len(t.flows))
	for f := range t.flows {
		all = append(all, f)
	}
	t.mu.Unlock()
	for _, f := range all {
		f.cut(reason)
	}
}
