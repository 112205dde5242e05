package gateway

import (
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/link"
)

const (
	// mostBackendSeries bounds the series of backends. With more backends than this only those that are down have one: a
	// gateway of a hundred thousand clusters must not drown who scrapes it.
	mostBackendSeries = 1000
	// mostCertificateSeries bounds those of certificates likewise.
	mostCertificateSeries = 1000
	scrapeTimeout         = 10 * time.Second
	scrapesAtOnce         = 4
)

// ruleFacts say what rules a gateway decides by.
type ruleFacts struct {
	revision            int64
	clusters, endpoints int
	applied             time.Time // zero: there are none
}

// metricSources are what the metrics ask when they are scraped. All are set, and may be called from any goroutine.
type metricSources struct {
	traffic   *traffic
	engine    func() engine.Stats
	rules     func() ruleFacts
	connected func() bool // the rules stream is open
	backends  iter.Seq[link.BackendHealth]
	waiting   func() int    // records in memory
	spooled   func() int64  // bytes on disk
	lost      func() uint64 // records

	certificates func() []certificate.Shown
}

// newMetricsHandler answers scrapes in the formats of Prometheus. It has a registry of its own, with the process's and
// the Go runtime's metrics beside the gateway's.
func newMetricsHandler(src metricSources, log *slog.Logger) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		&metricCollector{src},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTimeout,
	})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postern_gateway_"+name, help, labels, nil)
}

var (
	descAccepted  = desc("flows_accepted_total", "Flows accepted.", "listener")
	descOpen      = desc("flows_open", "Flows accepted and not ended; those that the gateway answers itself count until it takes them over.", "listener")
	descDecisions = desc("decisions_total", "What became of flows, and why those were refused that were.", "listener", "decision", "reason")
	descClosed    = desc("flows_closed_total", "Flows ended, by what ended them.", "listener", "reason")
	descConnect   = desc("connect_seconds", "Time to connect to a backend.")
	descFirstByte = desc("first_byte_seconds", "Time from connected until the backend's first byte.")

	descBytes        = desc("bytes_total", "Bytes relayed: in is from clients, out is to them.", "direction")
	descSpliced      = desc("spliced_bytes_total", "Of the bytes relayed, those that never came to user space.")
	descRelaying     = desc("flows_relaying", "Flows that are being relayed.")
	descPipes        = desc("splice_pipes", "Pipes that are open for splicing.")
	descAcceptErrors = desc("accept_errors_total", "Times that accepting failed.")
	descAcceptPaused = desc("accept_paused_total", "Times that accepting paused, at the bound of flows or for want of descriptors.")

	descRequests   = desc("http_requests_total", "Requests to proxied clusters, by the class of the status that the client got.", "listener", "status")
	descTook       = desc("http_request_seconds", "Time from a request's head to the end of its answer.")
	descFailures   = desc("http_failures_total", "Answers of the gateway's own in the place of the application's, by their codes.", "code")
	descWebBytes   = desc("http_bytes_total", "Bytes of proxied flows: in is from clients, out is to them.", "direction")
	descHandshakes = desc("tls_handshakes_failed_total", "TLS handshakes with clients of proxied clusters that failed.", "reason")
	descCerts      = desc("certificates", "Server certificates that the gateway shows.")
	descExpiry     = desc("certificate_expiry_timestamp_seconds", "When a server certificate expires, in Unix time; of very many the first to expire.", "certificate")

	descRevision  = desc("rules_revision", "Revision of the rules in force; 0 when there are none and every flow is refused.")
	descClusters  = desc("rules_clusters", "Clusters in the rules in force.")
	descEndpoints = desc("rules_endpoints", "Authorised endpoints in the rules in force.")
	descApplied   = desc("rules_applied_timestamp_seconds", "When the rules in force were applied, in Unix time; 0 when there are none.")
	descConnected = desc("control_connected", "Whether the rules stream from the control plane is open.")

	descBackends  = desc("backends", "Backends that are known, by state.", "state")
	descBackendUp = desc("backend_up", "Whether a backend is healthy. With very many backends only those that are not have a series.", "cluster", "backend")

	descWaiting = desc("reports_waiting", "Records that wait in memory for the control plane.")
	descSpooled = desc("reports_spooled_bytes", "Bytes of records that wait on disk for the control plane.")
	descLost    = desc("reports_dropped_total", "Records that were dropped because the control plane did not take them.")
)

// metricCollector makes metrics of counters when it is scraped.
type metricCollector struct{ metricSources }

// Describe implements prometheus.Collector.
func (c *metricCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descAccepted, descOpen, descDecisions, descClosed, descConnect, descFirstByte, descBytes, descSpliced, descRelaying, descPipes,
		descAcceptErrors, descAcceptPaused, descRevision, descClusters, descEndpoints, descApplied, descConnected, descBackends,
		descBackendUp, descWaiting, descSpooled, descLost, descRequests, descTook, descFailures, descWebBytes, descHandshakes, descCerts, descExpiry,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *metricCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}

	sum := c.traffic.sum()
	for i, l := range sideNames {
		counter(descAccepted, sum.accepted[i], string(l))
		gauge(descOpen, float64(sum.accepted[i]-sum.ended[i]), string(l))
	}
	for k, n := range sum.decided {
		counter(descDecisions, n, string(sideNames[k.side]), k.verdict.String(), k.reason)
	}
	for k, n := range sum.closed {
		counter(descClosed, n, string(sideNames[k.side]), k.reason)
	}
	out <- sum.connect.metric(descConnect)
	out <- sum.firstByte.metric(descFirstByte)

	e := c.engine()
	counter(descBytes, e.In, "in")
	counter(descBytes, e.Out, "out")
	counter(descSpliced, e.Spliced)
	gauge(descRelaying, float64(e.Relaying))
	gauge(descPipes, float64(e.Pipes))
	counter(descAcceptErrors, e.AcceptErrors)
	counter(descAcceptPaused, e.Paused)

	for i, l := range sideNames {
		for class, name := range statusClasses {
			counter(descRequests, sum.web.requests[i][class], string(l), name)
		}
	}
	out <- sum.web.took.metric(descTook)
	for code, n := range sum.web.failures {
		counter(descFailures, n, code)
	}
	counter(descWebBytes, sum.web.in, "in")
	counter(descWebBytes, sum.web.out, "out")
	for reason, n := range sum.web.handshakes {
		counter(descHandshakes, n, reason)
	}
	certs := slices.SortedFunc(slices.Values(c.certificates()), func(a, b certificate.Shown) int { return a.Expires.Compare(b.Expires) })
	gauge(descCerts, float64(len(certs)))
	for _, cert := range firstOfEach(certs) {
		gauge(descExpiry, float64(cert.Expires.Unix()), strings.ToValidUTF8(cert.Name, "?"))
	}

	r := c.rules()
	gauge(descRevision, float64(r.revision))
	gauge(descClusters, float64(r.clusters))
	gauge(descEndpoints, float64(r.endpoints))
	applied := 0.0
	if !r.applied.IsZero() {
		applied = float64(r.applied.UnixMilli()) / 1000
	}
	gauge(descApplied, applied)
	gauge(descConnected, oneIf(c.connected()))

	b := c.collectBackends()
	gauge(descBackends, float64(b.up), "up")
	gauge(descBackends, float64(b.down), "down")
	for k, up := range b.shown() {
		gauge(descBackendUp, oneIf(up), string(k.cluster), strings.ToValidUTF8(k.backend, "?"))
	}

	gauge(descWaiting, float64(c.waiting()))
	gauge(descSpooled, float64(c.spooled()))
	counter(descLost, c.lost())
}

// firstOfEach leaves, of certificates that are sorted by their end, the first of each name, as many as get a series.
func firstOfEach(certs []certificate.Shown) (out []certificate.Shown) {
	seen := map[string]bool{}
	for _, c := range certs {
		if name := strings.ToValidUTF8(c.Name, "?"); !seen[name] && len(out) < mostCertificateSeries {
			seen[name] = true
			out = append(out, c)
		}
	}
	return out
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// backendSeries are the backends of a scrape.
type backendSeries struct {
	up, down int
	all      map[healthKey]bool // whether it is up; as many as may be shown and one more
	sick     map[healthKey]bool // those that are down, as many as may be shown
}

func (c *metricCollector) collectBackends() backendSeries {
	s := backendSeries{all: map[healthKey]bool{}, sick: map[healthKey]bool{}}
	for h := range c.backends {
		k := healthKey{h.ClusterID, h.Backend}
		if h.Healthy {
			s.up++
		} else {
			s.down++
			if len(s.sick) < mostBackendSeries {
				s.sick[k] = false
			}
		}
		if before, twice := s.all[k]; twice || len(s.all) <= mostBackendSeries {
			s.all[k] = h.Healthy && (before || !twice)
		}
	}
	return s
}

// shown are the backends that get a series.
func (s backendSeries) shown() map[healthKey]bool {
	if len(s.all) > mostBackendSeries {
		return s.sick
	}
	return s.all
}

// trafficSum is what all loops have counted.
type trafficSum struct {
	accepted, ended    [2]uint64
	connect, firstByte latencySum
	decided            map[decidedKey]uint64
	closed             map[closedKey]uint64
	web                webSum
}

func (t *traffic) sum() trafficSum {
	sum := trafficSum{
		decided: map[decidedKey]uint64{}, closed: map[closedKey]uint64{},
		web: webSum{failures: map[string]uint64{}, handshakes: map[string]uint64{}},
	}
	for i := range t.loops {
		c := &t.loops[i]
		for i := range sideNames {
			// The ends first: a flow that ends in between must not make fewer than none open.
			sum.ended[i] += c.ended[i].Load()
			sum.accepted[i] += c.accepted[i].Load()
		}
		sum.connect.add(&c.connect)
		sum.firstByte.add(&c.firstByte)
		sum.web.add(&c.web)
		c.mu.Lock()
		for _, d := range c.decided {
			sum.decided[d.key] += d.n
		}
		for _, d := range c.closed {
			sum.closed[d.key] += d.n
		}
		c.mu.Unlock()
	}
	return sum
}

// latencySum is a histogram of all loops.
type latencySum struct {
	buckets [len(latencyBounds) + 1]uint64
	sum     time.Duration
}

func (s *latencySum) add(l *latency) {
	for i := range s.buckets {
		s.buckets[i] += l.buckets[i].Load()
	}
	s.sum += time.Duration(l.sum.Load())
}

func (s *latencySum) metric(d *prometheus.Desc) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(latencyBounds))
	var n uint64
	for i, bound := range latencyBounds {
		n += s.buckets[i]
		cumulative[bound.Seconds()] = n
	}
	n += s.buckets[len(latencyBounds)]
	return prometheus.MustNewConstHistogram(d, n, s.sum.Seconds(), cumulative)
}
