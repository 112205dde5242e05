package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
)

// meter counts what the control plane does. Its names are those of docs/operation.md.
type meter struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	cloud    *prometheus.HistogramVec
	waited   *prometheus.CounterVec
	looks    *prometheus.HistogramVec
}

// newMeter makes a meter of the process and of what the database holds when it is asked.
func newMeter(st *store.Store) *meter {
	m := &meter{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_http_request_seconds", Help: "Time to answer requests of the API; a stream counts as long as it lasts.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route", "code"}),
		cloud: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_cloud_request_seconds", Help: "Time of tries of requests to a cloud, by what came of them.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"api", "outcome"}),
		waited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_cloud_wait_seconds_total", Help: "Time that requests to a cloud waited for its rate limits.",
		}, []string{"api"}),
		looks: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_look_seconds", Help: "Time of looks at objects.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"kind", "result"}),
	}
	m.registry.MustRegister(
		m.requests, m.cloud, m.waited, m.looks, &storeCollector{store: st},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return m
}

// request counts one request.
func (m *meter) request(o httpapi.Observation) {
	m.requests.WithLabelValues(o.Method, o.Route, strconv.Itoa(o.Status)).Observe(o.Took.Seconds())
}

// observer counts what the reconciler does.
func (m *meter) observer() reconcile.Observer {
	return reconcile.Observer{
		Waited: func(api string, d time.Duration) { m.waited.WithLabelValues(api).Add(d.Seconds()) },
		Sent: func(api string, o cloud.Outcome, took time.Duration) {
			m.cloud.WithLabelValues(api, string(o)).Observe(took.Seconds())
		},
		Looked: func(kind string, took time.Duration, failed bool) {
			result := "done"
			if failed {
				result = "failed"
			}
			m.looks.WithLabelValues(kind, result).Observe(took.Seconds())
		},
	}
}

func storeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postern_"+name, help, labels, nil)
}

var (
	descStoreUp     = storeDesc("database_up", "Whether the database answered this scrape.")
	descWorkDue     = storeDesc("work_due", "Objects that have to be looked at now.")
	descWorkOldest  = storeDesc("work_oldest_due_seconds", "For how long the object that waits longest has been due.")
	descWorkFailing = storeDesc("work_failing", "Objects whose last look at the cloud failed.")
	descConnections = storeDesc("connections", "Private endpoint connections, by state.", "state")
	descGateways    = storeDesc("gateways_connected", "Gateways that were heard of in the last minute.")
	descRules       = storeDesc("rules_revision", "Revision of the gateways' rules.")
	descLastEvent   = storeDesc("events_last_id", "Id of the newest line of history.")
	descDeliveries  = storeDesc("deliveries", "Deliveries of events that are kept, by status; DEAD ones wait for somebody.", "status")
	descAudit       = storeDesc("audit_position", "Position of the newest entry of the audit log.")
	descAuditSigned = storeDesc("audit_signed_position", "Position that the newest signed checkpoint of the audit log covers.")
)

// storeCollector asks the database at each scrape.
type storeCollector struct{ store *store.Store }

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descStoreUp, descWorkDue, descWorkOldest, descWorkFailing, descConnections, descGateways, descRules, descLastEvent,
		descDeliveries, descAudit, descAuditSigned,
	} {
		ch <- d
	}
}

// scrapeWithin bounds how long a scrape waits for the database.
const scrapeWithin = 5 * time.Second

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	n, err := c.store.Census(ctx)
	if err != nil {
		gauge(descStoreUp, 0)
		return
	}
	gauge(descStoreUp, 1)
	gauge(descWorkDue, float64(n.Backlog.Due))
	gauge(descWorkOldest, n.Backlog.Oldest.Seconds())
	gauge(descWorkFailing, float64(n.Failing))
	gauge(descGateways, float64(n.Gateways))
	gauge(descRules, float64(n.RulesRevision))
	gauge(descLastEvent, float64(n.LastEvent))
	gauge(descAudit, float64(n.AuditPosition))
	gauge(descAuditSigned, float64(n.AuditSigned))
	for status, count := range n.Deliveries {
		gauge(descDeliveries, float64(count), status)
	}
	for state, count := range n.Connections {
		gauge(descConnections, float64(count), state)
	}
}

// metricsServer answers GET /metrics.
type metricsServer struct {
	server *http.Server
	served chan error
	addr   net.Addr
}

// startMetrics serves a meter at addr, nowhere when that is empty.
func startMetrics(ctx context.Context, addr string, m *meter, log *slog.Logger) (*metricsServer, error) {
	if addr == "" {
		return nil, nil
	}
	ln, err := listen(ctx, "--metrics-addr", addr)
	if err != nil {
		return nil, err
	}
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: errorLog, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}))
	s := &metricsServer{served: make(chan error, 1), addr: ln.Addr(), server: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: errorLog,
	}}
	go func() { s.served <- s.server.Serve(ln) }()
	return s, nil
}

// Close ends the server.
func (s *metricsServer) Close() error {
	err := s.server.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
