package gateway

import (
	"context"
	"log/slog"
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

// report sends what the gateway saw, in batches, until ctx ends, and then once more what is left. A batch that failed
// is sent again under its own id before any other, so that the control plane stores it once.
func (g *Gateway) report(ctx context.Context) {
	defer g.out.stop()
	for {
		select {
		case <-ctx.Done():
			g.flush(nil)
			return
		case <-g.out.wake:
		}
		if !sleep(ctx, g.cfg.ReportEvery) {
			g.flush(nil)
			return
		}
		for {
			batch, some := g.out.batch()
			if !some {
				break
			}
			for pause := (backoff{}); ; pause.wait(ctx) {
				err := g.ctl.report(ctx, batch)
				if ctx.Err() != nil {
					g.flush(&batch) // when it did arrive after all, its id says so
					return
				}
				if err == nil {
					break
				}
				if hopeless(err) {
					g.log.Error("a report was refused and is dropped", "error", err, "flows", len(batch.Flows), "refused", len(batch.Refused))
					break
				}
				g.log.Warn("a report could not be sent: will go on trying", "error", err)
			}
		}
	}
}

// flush sends first, when there is one, and everything that waits, and gives up at the first failure.
func (g *Gateway) flush(first *api.GatewayReport) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	for {
		var batch api.GatewayReport
		if first != nil {
			batch, first = *first, nil
		} else if next, some := g.out.batch(); some {
			batch = next
		} else {
			return
		}
		if err := g.ctl.report(ctx, batch); err != nil {
			g.log.Warn("the last reports could not be sent", "error", err)
			return
		}
	}
}
