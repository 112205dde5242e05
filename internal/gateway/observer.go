package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/link"
)

// observer has what is seen of flows counted, recorded and logged.
type observer struct {
	counts   *traffic
	refusals *refusalLog
	records  *recorder
	delivery *delivery // nil when there is nobody to report to
}

// newObserver makes the observer of a gateway with so many event loops, which delivers through send; nil means that
// nobody wants reports.
func newObserver(cfg Config, loops int, send func(context.Context, api.GatewayReport) error) *observer {
	o := &observer{counts: newTraffic(loops), refusals: newRefusalLog(loops, cfg.Log)}
	o.records = newRecorder(loops, cfg.ID, cfg.Now, o.refusals)
	if send == nil {
		o.records.stop()
		return o
	}
	o.delivery = newDelivery(o.records, deliveryConfig{
		Send: send, Every: cfg.ReportEvery, SpoolDir: cfg.SpoolDir, SpoolSize: cfg.SpoolSize, Log: cfg.Log,
	})
	return o
}

// run delivers and logs until ctx ends.
func (o *observer) run(ctx context.Context) {
	var logging sync.WaitGroup
	logging.Go(func() { o.refusals.run(ctx) })
	if o.delivery != nil {
		o.delivery.run(ctx)
	}
	logging.Wait()
}

// started takes note of a flow that was admitted.
func (o *observer) started(f *flow) {
	rec := f.record()
	f.ticket = o.records.started(int(f.loop), &rec)
	f.id = rec.id
	o.counts.decided(int(f.loop), f.listener.Side, verdictAllowed, "")
}

// ended takes note of the end of a flow that was accepted.
func (o *observer) ended(f *flow, e engine.End) {
	o.counts.ended(int(f.loop), f.listener.Side, e)
	if !f.admitted {
		return
	}
	rec := f.record()
	rec.ended, rec.in, rec.out, rec.reason = f.g.cfg.Now(), e.In, e.Out, e.Reason
	o.records.ended(int(f.loop), f.ticket, &rec)
}

// refused takes note of a refused flow, or with would of one that passed and would have been refused.
func (o *observer) refused(f *flow, cluster link.ID, reason string, would bool) {
	v := verdictRefused
	if would {
		v = verdictWouldRefuse
	}
	o.counts.decided(int(f.loop), f.listener.Side, v, reason)
	o.records.refused(int(f.loop), refusal{
		cluster: cluster, listener: f.listener.Side, endpoint: f.endpoint, name: f.name,
		source: f.source.Addr(), reason: reason, would: would,
	})
}

// record is what is recorded of a flow at its start.
func (f *flow) record() flowRecord {
	rec := flowRecord{
		id: f.id, cluster: f.cluster, listener: f.listener.Side, endpoint: f.endpoint, source: f.source,
		name: f.name, port: f.port, started: f.at,
	}
	if f.backend != nil {
		rec.backend = f.backend.Address()
	} else if f.web != nil {
		if b := f.web.backend.Load(); b != nil {
			rec.backend = b.Address()
		}
	}
	return rec
}

// Metrics answers scrapes by Prometheus.
func (g *Gateway) Metrics() http.Handler {
	spooled, lost := func() int64 { return 0 }, g.seen.records.dropped.Load
	if d := g.seen.delivery; d != nil {
		spooled, lost = d.spooled, d.lost
	}
	return newMetricsHandler(metricSources{
		traffic: g.seen.counts, engine: g.engine.Stats, waiting: g.seen.records.waiting, spooled: spooled, lost: lost,
		rules: func() ruleFacts {
			rules := g.rules.Load()
			clusters, endpoints := rules.Counts()
			facts := ruleFacts{revision: rules.Revision(), clusters: clusters, endpoints: endpoints}
			if rules != nil {
				facts.applied = time.UnixMilli(g.appliedAt.Load())
			}
			return facts
		},
		certificates: func() []certificate.Shown {
			if g.cfg.Certificates == nil {
				return nil
			}
			return g.cfg.Certificates.All()
		},
		connected: func() bool { return g.ctl != nil && g.ctl.connected.Load() },
		backends: func(yield func(link.BackendHealth) bool) {
			for s := range g.pool.All() {
				if !yield(link.BackendHealth{ClusterID: s.ClusterID, Backend: s.Backend, Healthy: s.Healthy, Reason: s.Reason}) {
					return
				}
			}
		},
	}, g.log)
}
