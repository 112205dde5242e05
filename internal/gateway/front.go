package gateway

import (
	"net"
	"net/netip"

	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/httpproxy"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// reasonNotProxied refuses a request behind a reverse proxy for a cluster whose TLS the gateway does not end: there is
// nothing that it could pass through.
const reasonNotProxied = "CLUSTER_NOT_PROXIED"

// fronted reports whether a reverse proxy that ended TLS stands before the flow: it is nobody's own then, and each of its
// requests may be another's.
func (f *flow) fronted() bool { return f.listener.Front != nil && f.web != nil }

// serveFront hands the flow of a reverse proxy to the gateway's HTTP.
func (f *flow) serveFront() engine.Action {
	f.phase = inRelay
	f.web = &webFlow{flow: f}
	rule := f.g.rules.Load().Port(f.port)
	f.protocol, f.backendPort = rule.Protocol, rule.BackendPort
	return engine.Action{Do: engine.Detach, Take: func(stream net.Conn, done <-chan struct{}) {
		in, out := f.g.web.serve(f.web, stream.(l4.Stream), done)
		f.finish(engine.End{Reason: f.cutOr(done, reasonHTTPDone), In: in, Out: out})
	}}
}

// frontFacts are what policy decides a request by: the public side's, for a client at an address.
func (wf *webFlow) frontFacts(host string, source netip.Addr) policy.FlowFacts {
	f := wf.flow
	return policy.FlowFacts{Listener: link.PublicListener, Source: source, Name: host, Port: f.port, At: f.g.cfg.Now()}
}

// frontSite decides on a request of a client that the reverse proxy tells of.
func (wf *webFlow) frontSite(host string, source netip.Addr) *httpproxy.Site {
	f := wf.flow
	rules := f.g.rules.Load()
	if m := wf.latest.Load(); m != nil && m.rules == rules && m.host == host && m.source == source {
		return m.site
	}
	m := &siteMemo{rules: rules, host: host, source: source}
	d := rules.Decide(wf.frontFacts(host, source))
	reason := d.Reason
	switch {
	case !d.Allow:
	case !f.proxied(d.Target):
		reason = reasonNotProxied
	default:
		wf.target.Store(d.Target)
		wf.rules.Store(d.Target.Proxy)
		if m.site = f.g.web.sites.get(d.Target.Proxy).made; m.site == nil {
			reason = reasonProxyRules
		}
	}
	if reason != "" {
		verdict := verdictRefused
		if d.WouldRefuse && m.site != nil {
			verdict = verdictWouldRefuse
		}
		f.g.seen.counts.decided(int(f.loop), f.listener.Side, verdict, reason)
		f.refusedRequest(d.ClusterID, host, source, reason, verdict == verdictWouldRefuse)
	}
	if m.site != nil { // each refusal is one of its own
		wf.latest.Store(m)
	}
	return m.site
}

// enterFront counts the request that frontSite has let in within the cluster's limits, as a flow of the client's own would be.
// The requests of a reverse proxy's flow come one after the other.
func (wf *webFlow) enterFront() bool {
	f, m, t := wf.flow, wf.latest.Load(), wf.target.Load()
	cluster := m.site.ClusterID()
	reason := f.g.meters.enterRequest(partyOf("", m.source), cluster, t.Limits, f.g.monotonic())
	if reason != "" {
		f.g.seen.counts.decided(int(f.loop), f.listener.Side, verdictRefused, reason)
		f.refusedRequest(cluster, m.host, m.source, reason, false)
	}
	wf.entered = reason == ""
	return wf.entered
}

// leaveFront undoes enterFront.
func (wf *webFlow) leaveFront() {
	if wf.entered {
		m := wf.latest.Load()
		wf.flow.g.meters.leaveRequest(partyOf("", m.source), m.site.ClusterID())
		wf.entered = false
	}
}

// holds reports whether rules still let through what came last over a reverse proxy's flow, which may be under way: a
// request that was upgraded lasts.
func (wf *webFlow) holds(rules *policy.Rules) bool {
	m := wf.latest.Load()
	if m == nil {
		return true
	}
	d := rules.Decide(wf.frontFacts(m.host, m.source))
	return d.Allow && wf.flow.proxied(d.Target)
}
