package httpapi

import (
	"context"
	"sync"
	"time"
	"weak"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// ruleFeed makes what goes out on the rules streams, once for all of them: a hundred gateways that wait for a change
// cost one look at the database and one encoding, not a hundred. The full set is kept while some stream still sends it,
// and no longer.
type ruleFeed struct {
	plane *control.Plane

	mu      sync.Mutex
	changes map[link.RulesVersion]*ruleLines // by what they start from
	full    weak.Pointer[ruleLines]
}

// ruleLines are a full set or a change as lines of the stream. Nothing but done may be read before done is closed.
type ruleLines struct {
	done  chan struct{}
	to    link.RulesVersion
	lines [][]byte
	known bool // false: there is no way from where it was asked from, but the full set
	err   error
}

func newRuleFeed(plane *control.Plane) *ruleFeed {
	return &ruleFeed{plane: plane, changes: make(map[link.RulesVersion]*ruleLines)}
}

// makeWithin bounds how long lines may take to be made; a full set of a hundred thousand clusters takes seconds.
const makeWithin = time.Minute

// clustersInPart is how many clusters a part of the full set holds at most.
const clustersInPart = 1000

// news returns what leads from a version to one of revision newest or later, and the full set when that is not known.
func (f *ruleFeed) news(ctx context.Context, c policy.Caller, from link.RulesVersion, newest int64) (*ruleLines, error) {
	l, err := f.since(ctx, c, from, newest)
	if err != nil || l.known {
		return l, err
	}
	return f.all(ctx, c, newest)
}

func (f *ruleFeed) since(ctx context.Context, c policy.Caller, from link.RulesVersion, newest int64) (*ruleLines, error) {
	f.mu.Lock()
	l := f.changes[from]
	if l.serves(newest) {
		f.mu.Unlock()
		return l.wait(ctx)
	}
	for v, old := range f.changes {
		if !old.serves(newest) {
			delete(f.changes, v)
		}
	}
	l = &ruleLines{done: make(chan struct{})}
	f.changes[from] = l
	f.mu.Unlock()
	return l.make(ctx, func(ctx context.Context) error {
		delta, to, known, err := f.plane.RulesSince(ctx, c, from)
		if err != nil || !known {
			l.to = to
			return err
		}
		l.to, l.known = to, true
		l.lines, err = documents(wireRules(delta, to), false)
		return err
	})
}

func (f *ruleFeed) all(ctx context.Context, c policy.Caller, newest int64) (*ruleLines, error) {
	f.mu.Lock()
	l := f.full.Value()
	if l.serves(newest) {
		f.mu.Unlock()
		return l.wait(ctx)
	}
	l = &ruleLines{done: make(chan struct{})}
	f.full = weak.Make(l)
	f.mu.Unlock()
	return l.make(ctx, func(ctx context.Context) error {
		// The last part says that it is the last: each one waits for the next.
		var waiting *link.RuleDelta
		put := func(more bool) error {
			lines, err := documents(wireRules(*waiting, l.to), more)
			l.lines = append(l.lines, lines...)
			return err
		}
		err := f.plane.Rules(ctx, c, clustersInPart, func(v link.RulesVersion, part link.RuleSet) error {
			l.to = v
			if waiting != nil {
				if err := put(true); err != nil {
					return err
				}
			}
			waiting = &link.RuleDelta{Revision: part.Revision, Clusters: part.Clusters, Projects: part.Projects, Claims: part.Claims}
			if part.Ports != nil {
				waiting.Ports = &part.Ports
			}
			return nil
		})
		if err != nil {
			return err
		}
		return put(false)
	})
}

// serves tells whether lines are being made, or were made and lead to revision newest or later.
func (l *ruleLines) serves(newest int64) bool {
	if l == nil {
		return false
	}
	select {
	case <-l.done:
		return l.err == nil && l.to.Revision >= newest
	default:
		return true
	}
}

func (l *ruleLines) wait(ctx context.Context) (*ruleLines, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return l, l.err
	}
}

// make makes the lines. Others wait for them, so that the end of the stream that happens to be the first is not theirs.
func (l *ruleLines) make(ctx context.Context, f func(context.Context) error) (*ruleLines, error) {
	defer close(l.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), makeWithin)
	defer cancel()
	l.err = f(ctx)
	return l, l.err
}
