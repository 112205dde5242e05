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

	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/store"
)

// meter counts what the control plane does. Its names are those of docs/operation.md.
type meter struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

// newMeter makes a meter of the process and of what the database holds when it is asked.
func newMeter(st *store.Store) *meter {
	m := &meter{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_http_request_seconds", Help: "Time to answer requests of the API; a stream counts as long as it lasts.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route", "code"}),
	}
	m.registry.MustRegister(
		m.requests, &storeCollector{store: st},
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
)

// storeCollector asks the database at each scrape.
type storeCollector struct{ store *store.Store }

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descStoreUp, descWorkDue, descWorkOldest, descWorkFailing, descConnections, descGateways, descRules, descLastEvent,
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
	gauge(descWorkDue, float64(n.Due))
	gauge(descWorkOldest, n.OldestDue.Seconds())
	gauge(descWorkFailing, float64(n.Failing))
	gauge(descGateways, float64(n.Gateways))
	gauge(descRules, float64(n.RulesRevision))
	gauge(descLastEvent, float64(n.LastEvent))
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
