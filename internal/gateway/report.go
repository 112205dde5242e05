package gateway

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// Bounds of what waits to be reported: with the control plane gone the oldest goes first. A batch stays well below the
// megabyte that the control plane reads.
const (
	mostFlowsWaiting   = 1 << 16
	mostRefusedWaiting = 1 << 13
	mostPerBatch       = 500
)

// reporter collects what the gateway saw until it is sent.
type reporter struct {
	gatewayID string
	now       func() time.Time
	log       *slog.Logger
	wake      chan struct{} // holds one token when something waits

	mu       sync.Mutex
	off      bool // nobody to report to
	flows    []api.GatewayFlow
	gone     int            // how many flow records went out of flows at its front, ever
	started  map[string]int // flow id → gone plus the index of its start record in flows
	refusals map[refusal]*refusalCount
	order    []refusal // keys of refusals, oldest first
	health   []api.GatewayBackend
	dropped  int64
}

// refusal is a kind of refused flow.
type refusal struct {
	cluster  link.ID
	listener link.Listener
	endpoint link.EndpointID
	name     string
	source   netip.Addr
	reason   string
	would    bool
}

type refusalCount struct {
	n           int64
	first, last time.Time
}

func newReporter(gatewayID string, now func() time.Time, log *slog.Logger) *reporter {
	return &reporter{
		gatewayID: gatewayID, now: now, log: log, wake: make(chan struct{}, 1),
		started: make(map[string]int), refusals: make(map[refusal]*refusalCount),
	}
}

// flow takes the record of a flow that started or ended. An end takes the place of a start that was not sent yet.
func (r *reporter) flow(rec api.GatewayFlow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return
	}
	defer r.signal()
	if rec.EndedAt != nil {
		if at, ok := r.started[rec.ID]; ok {
			delete(r.started, rec.ID)
			r.flows[at-r.gone] = rec
			return
		}
	}
	if len(r.flows) >= mostFlowsWaiting {
		r.dropped++
		r.removeFlows(1)
	}
	if rec.EndedAt == nil {
		r.started[rec.ID] = r.gone + len(r.flows)
	}
	r.flows = append(r.flows, rec)
}

// removeFlows takes n records from the front.
func (r *reporter) removeFlows(n int) []api.GatewayFlow {
	out := r.flows[:n:n]
	for i := range out {
		if out[i].EndedAt == nil {
			delete(r.started, out[i].ID)
		}
	}
	r.flows = r.flows[n:]
	r.gone += n
	if len(r.flows) == 0 {
		r.flows = nil
	}
	return out
}

func (r *reporter) refused(k refusal) {
	now := r.now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return
	}
	defer r.signal()
	if c, ok := r.refusals[k]; ok {
		c.n++
		c.last = now
		return
	}
	if len(r.order) >= mostRefusedWaiting {
		r.dropped += r.refusals[r.order[0]].n
		delete(r.refusals, r.order[0])
		r.order = r.order[1:]
	}
	r.refusals[k] = &refusalCount{n: 1, first: now, last: now}
	r.order = append(r.order, k)
}

// backend takes news of a backend; of one backend only the latest waits.
func (r *reporter) backend(b api.GatewayBackend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return
	}
	defer r.signal()
	for i := range r.health {
		if r.health[i].ClusterID == b.ClusterID && r.health[i].Backend == b.Backend {
			r.health[i] = b
			return
		}
	}
	r.health = append(r.health, b)
}

func (r *reporter) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// batch takes the oldest of what waits as one report; false when nothing does.
func (r *reporter) batch() (api.GatewayReport, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped > 0 {
		r.log.Error("reports were dropped: the control plane did not take them in time", "dropped", r.dropped)
		r.dropped = 0
	}
	if len(r.flows) == 0 && len(r.order) == 0 && len(r.health) == 0 {
		return api.GatewayReport{}, false
	}
	rep := api.GatewayReport{GatewayID: r.gatewayID, BatchID: string(link.NewID()), SentAt: r.now().UTC()}
	rep.Flows = r.removeFlows(min(len(r.flows), mostPerBatch))
	n := min(len(r.order), mostPerBatch)
	for _, k := range r.order[:n] {
		c := r.refusals[k]
		delete(r.refusals, k)
		w := api.GatewayRefusal{
			ClusterID: string(k.cluster), Listener: string(k.listener), EndpointID: string(k.endpoint), Name: k.name,
			Reason: k.reason, WouldRefuse: k.would, Count: c.n, FirstAt: c.first, LastAt: c.last,
		}
		if k.source.IsValid() {
			w.Source = k.source.String()
		}
		rep.Refused = append(rep.Refused, w)
	}
	r.order = r.order[n:]
	n = min(len(r.health), mostPerBatch)
	rep.Backends = r.health[:n:n]
	r.health = r.health[n:]
	return rep, true
}

// stop makes the reporter forget everything from now on.
func (r *reporter) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.off, r.flows, r.started, r.refusals, r.order, r.health = true, nil, nil, nil, nil, nil
}
