package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/postern/postern/internal/backend"
	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/httpproxy"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/revocation"
)

// Why a flow ended, or could not be served, whose TLS the gateway ends. The words are stable.
const (
	reasonHTTPDone      = "HTTP_DONE"             // the gateway or the client closed it between requests
	reasonProxyRules    = "PROXY_RULES_UNUSABLE"  // the cluster's proxy settings make no sense to this gateway
	reasonNoCertificate = "NO_SERVER_CERTIFICATE" // the gateway has no certificate for the name
	reasonHandshake     = "TLS_HANDSHAKE_FAILED"  // client and gateway did not come to terms
)

// webServer is the gateway's HTTP: it hands the flows of proxied clusters to package httpproxy, and tells it what it needs to
// know of rules and backends.
type webServer struct {
	g      *Gateway
	server *httpproxy.Server
	sites  sites
	keeper *revocation.Keeper
}

func newWebServer(g *Gateway) (*webServer, error) {
	cfg := g.cfg
	w := &webServer{
		g: g, sites: sites{log: g.log},
		keeper: revocation.New(revocation.Config{Private: cfg.PrivateTargets, Log: g.log, Now: cfg.Now}),
	}
	var err error
	w.server, err = httpproxy.New(httpproxy.Config{
		Certificate: w.certificate, Pick: w.pick, Record: w.record, Revocation: w.keeper,
		Timeouts: httpproxy.Timeouts{Handshake: cfg.Timeouts.Hello, Dial: cfg.Timeouts.Dial},
		Follow:   httpproxy.Follow{Private: cfg.PrivateTargets},
		Now:      cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	w.keeper.Start()
	return w, nil
}

// close cuts what is left.
func (w *webServer) close() {
	_ = w.server.Close()
	w.keeper.Close()
}

// certificate gives the certificate for a name.
func (w *webServer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if w.g.cfg.Certificates == nil {
		return nil, certificate.ErrNone
	}
	return w.g.cfg.Certificates.Certificate(hello)
}

// webFlow is a flow of a proxied cluster.
type webFlow struct {
	flow *flow
	http httpproxy.Flow
	// What the latest request is handled by.
	latest  atomic.Pointer[siteMemo]
	rules   atomic.Pointer[link.ClusterRules]
	target  atomic.Pointer[policy.Target]
	backend atomic.Pointer[backend.Backend] // that took the last request
	reason  atomic.Pointer[string]          // why the flow could not be served
	entered bool                            // the request under way of a reverse proxy's flow is counted
}

// siteMemo is how requests to a host are handled as long as the rules are the same.
type siteMemo struct {
	rules  *policy.Rules
	host   string
	source netip.Addr // of a request behind a reverse proxy
	site   *httpproxy.Site
}

// proxied reports whether the gateway speaks HTTP on a flow to a target. What comes as PostgreSQL, or to a port of another
// protocol, passes through.
func (f *flow) proxied(t *policy.Target) bool {
	return t != nil && t.Proxy != nil && !f.postgres && !f.nameless &&
		f.protocol != link.ProtocolPostgres && f.protocol != link.ProtocolTCP
}

// serve hands the flow to the gateway's HTTP.
func (f *flow) serve() engine.Action {
	f.phase = inRelay
	f.web = &webFlow{flow: f}
	f.web.target.Store(f.target)
	f.web.rules.Store(f.target.Proxy)
	return engine.Action{Do: engine.Detach, Take: func(stream net.Conn, done <-chan struct{}) {
		in, out := f.g.web.serve(f.web, stream.(l4.Stream), done)
		reason := reasonHTTPDone
		if why := f.web.reason.Load(); why != nil {
			reason = *why
		}
		f.finish(engine.End{Reason: f.cutOr(done, reason), In: in, Out: out})
	}}
}

// serve answers a flow's requests until it is closed or cut, and returns its bytes on the wire.
func (w *webServer) serve(wf *webFlow, stream l4.Stream, cut <-chan struct{}) (in, out int64) {
	f := wf.flow
	c := &webConn{Stream: stream, counts: &w.g.seen.counts.loops[f.loop].web}
	if !f.fronted() && w.sites.get(f.target.Proxy).made == nil {
		wf.fails(reasonProxyRules)
		_ = c.Close()
		return 0, 0
	}
	wf.http = httpproxy.Flow{
		Endpoint: f.endpoint, Listener: f.listener.Side, Source: f.source, Port: f.port, Name: f.name, Site: wf.site, State: wf,
	}
	if front := f.listener.Front; front != nil {
		wf.http.Front = &httpproxy.Front{Format: front.Format, Header: front.Header, Site: wf.frontSite, Enter: wf.enterFront}
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	go func() {
		select {
		case <-cut:
		case <-stop:
		}
		cancel()
	}()
	_ = w.server.Serve(ctx, c, &wf.http) // what went wrong came to record
	close(stop)
	<-ctx.Done()
	return c.in.Load(), c.out.Load()
}

// fails notes why a flow could not be served, for its own record and for the list of those that were refused.
func (wf *webFlow) fails(reason string) {
	if f := wf.flow; wf.reason.CompareAndSwap(nil, &reason) {
		f.refusedRequest(f.cluster, f.name, f.source.Addr(), reason, false)
	}
}

// refusedRequest has a refusal recorded that is not the flow's own: it came after the flow was taken in.
func (f *flow) refusedRequest(cluster link.ID, name string, source netip.Addr, reason string, would bool) {
	f.g.seen.records.refused(int(f.loop), refusal{
		cluster: cluster, listener: f.listener.Side, endpoint: f.endpoint, name: name, source: source, reason: reason, would: would,
	})
}

// site decides, by the rules of the moment, whether the flow may ask for a host, and how that is handled: exactly as if
// its client had opened a flow with that name.
func (wf *webFlow) site(host string) *httpproxy.Site {
	f := wf.flow
	rules := f.g.rules.Load()
	if m := wf.latest.Load(); m != nil && m.rules == rules && m.host == host {
		return m.site
	}
	facts := f.facts()
	facts.Name = host
	m := &siteMemo{rules: rules, host: host}
	if d := rules.Decide(facts); d.Allow && d.ClusterID == f.cluster && f.proxied(d.Target) {
		wf.target.Store(d.Target)
		wf.rules.Store(d.Target.Proxy)
		m.site = f.g.web.sites.get(d.Target.Proxy).made
	}
	wf.latest.Store(m)
	return m.site
}

// record takes note of a request that has ended, or of a handshake that failed.
func (w *webServer) record(r *httpproxy.Record) {
	wf := r.Flow.State.(*webFlow)
	wf.leaveFront()
	f := wf.flow
	counts := &w.g.seen.counts.loops[f.loop].web
	if r.Protocol == "" {
		reason := reasonHandshake
		if errors.Is(r.Err, certificate.ErrNone) {
			reason = reasonNoCertificate
		}
		counts.handshake(reason)
		wf.fails(reason)
		return
	}
	counts.request(side(f.listener.Side), r.Status, r.Code, r.Took)
	if r.Note != "" {
		f.refusedRequest(r.ClusterID, r.Host, r.Source, r.Note, !refusedByCertificate(r.Code))
	}
}

// refusedByCertificate reports whether a code is of those with which a request ends at the table of client certificates.
func refusedByCertificate(code string) bool {
	switch code {
	case clientcert.CodeRequired, clientcert.CodeMalformed, clientcert.CodeRefused, clientcert.CodeUnauthenticated, clientcert.CodeIdentityConflict:
		return true
	}
	return false
}

// webConn is a flow as the HTTP server sees it.
type webConn struct {
	l4.Stream
	counts  *webCounts
	in, out atomic.Int64
}

func (c *webConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	c.in.Add(int64(n))
	c.counts.in.Add(uint64(n))
	return n, err
}

func (c *webConn) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	c.out.Add(int64(n))
	c.counts.out.Add(uint64(n))
	return n, err
}
