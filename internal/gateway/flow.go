package gateway

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Why a flow was refused before policy could be asked; policy has the other reasons. The words are stable.
const (
	reasonUntrustedPeer   = "UNTRUSTED_PEER"         // not from the load balancer's addresses
	reasonNoProxyHeader   = "NO_PROXY_HEADER"        // the balancer's PROXY protocol is off
	reasonBadProxyHeader  = "MALFORMED_PROXY_HEADER" // cut short, or not what the protocol says
	reasonHeaderTimeout   = "PROXY_HEADER_TIMEOUT"   // no PROXY header in time
	reasonBadEndpointID   = "MALFORMED_ENDPOINT_ID"  // the balancer's endpoint TLV holds no endpoint id
	reasonNotTLS          = "NOT_TLS"                // the first bytes are no TLS handshake
	reasonBadHello        = "MALFORMED_CLIENT_HELLO" // cut short, or not what TLS says
	reasonHelloTooLong    = "CLIENT_HELLO_TOO_LONG"  // beyond what is read for anybody
	reasonHelloTimeout    = "CLIENT_HELLO_TIMEOUT"   // no ClientHello in time
	reasonBadServerName   = "MALFORMED_SERVER_NAME"  // not a host name
	reasonServerNameIsIP  = "SERVER_NAME_IS_ADDRESS" // an IP address in place of a name
	reasonRevoked         = "REVOKED"                // close reason: new rules no longer allow the flow
	reasonNoBackend       = "NO_BACKEND"             // close reason: the cluster has no backend
	reasonUnreachable     = "BACKEND_UNREACHABLE"    // close reason: no backend took the flow
	reasonReplayFailed    = "BACKEND_CLOSED"         // close reason: the backend broke off before it had the ClientHello
	reasonProofDone       = "PROOF_DONE"             // close reason: the gateway itself answered
	azureEndpointIDPrefix = "azure-link-"            // before the link id, which is a bare number on the wire
	gcpEndpointIDPrefix   = "gcp-psc-"               // before the connection id
	firstRead             = 4 << 10                  // holds a PROXY header and nearly every ClientHello
	mostRead              = l4.MaxProxyHeader + l4.MaxClientHello
)

// flow is one stream from accept to close. One goroutine owns it; cut may be called from others.
type flow struct {
	g        *Gateway
	listener *listener
	conn     l4.Stream
	peer     netip.AddrPort // who opened the connection: the load balancer, on the private listener
	source   netip.AddrPort // the client: as the load balancer told, or the peer
	facts    policy.FlowFacts

	read   []byte // what was read so far
	parsed int    // the length of the PROXY header in it, which is not part of the client's stream

	mu     sync.Mutex
	reason string // why the flow was cut; empty while it was not
	relay  *l4.Relay
	cancel context.CancelFunc // ends dialing
}

var firstReads = sync.Pool{New: func() any { b := make([]byte, 0, firstRead); return &b }}

// cut ends the flow, whatever it is doing.
func (f *flow) cut(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason != "" {
		return
	}
	f.reason = reason
	switch {
	case f.relay != nil:
		f.relay.Cut(reason)
	default:
		if f.cancel != nil {
			f.cancel()
		}
		_ = f.conn.Close()
	}
}

// cutReason returns why the flow was cut, empty when it was not.
func (f *flow) cutReason() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reason
}

// serve is the life of a flow.
func (f *flow) serve() {
	defer f.g.flows.remove(f)
	defer f.conn.Close()
	buf := firstReads.Get().(*[]byte)
	f.read = (*buf)[:0]
	release := func() {
		if buf != nil {
			firstReads.Put(buf)
			f.read, buf = nil, nil
		}
	}
	defer release()

	f.source = f.peer
	ok, reason := f.readHeader()
	if ok {
		ok, reason = f.readHello()
	}
	if !ok {
		if reason != "" && f.cutReason() == "" {
			f.g.refuse(f, "", reason, false)
		}
		return
	}
	rules := f.g.rules.Load()
	d := rules.Decide(f.facts)
	if !d.Allow {
		f.g.refuse(f, d.ClusterID, d.Reason, false)
		return
	}
	f.g.flows.admit(f, &admission{facts: f.facts, cluster: d.ClusterID, proof: d.Proof})
	if now := f.g.rules.Load(); now != rules {
		// The rules changed between the decision and the table: whoever changed them may have looked at the table too
		// early to find this flow there.
		if a := (admission{facts: f.facts, cluster: d.ClusterID, proof: d.Proof}); !a.holds(now) {
			f.g.refuse(f, d.ClusterID, now.Decide(f.facts).Reason, false)
			return
		}
	}
	if d.WouldRefuse {
		f.g.refuse(f, d.ClusterID, d.Reason, true)
	}
	f.carry(d, release)
}

// carry takes an admitted flow to where it goes, and records its start and its end.
func (f *flow) carry(d policy.Decision, release func()) {
	g := f.g
	record := api.GatewayFlow{
		ID: string(link.NewID()), ClusterID: string(d.ClusterID), Listener: string(f.facts.Listener),
		EndpointID: string(f.facts.EndpointID), Source: f.source.String(), Name: f.facts.Name, StartedAt: g.cfg.Now().UTC(),
	}
	g.out.flow(record)
	var in, out int64
	var reason string
	if d.Proof {
		in, out = g.proof.answer(f, d.ClusterID)
		reason = reasonProofDone
	} else {
		in, out, reason = f.forward(d, release)
	}
	if r := f.cutReason(); r != "" {
		reason = r
	}
	end := g.cfg.Now().UTC()
	record.EndedAt, record.BytesIn, record.BytesOut, record.CloseReason = &end, in, out, reason
	g.out.flow(record)
	if reason == reasonRevoked {
		g.log.Info("flow cut: the rules no longer allow it", "flow", record.ID, "cluster", record.ClusterID,
			"endpoint", record.EndpointID, "source", record.Source, "name", record.Name)
	}
}

// forward relays the flow to a backend, from the first byte of the ClientHello on.
func (f *flow) forward(d policy.Decision, release func()) (in, out int64, reason string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.mu.Lock()
	f.cancel = cancel
	cut := f.reason
	f.mu.Unlock()
	if cut != "" {
		return 0, 0, cut
	}
	server, reason := f.g.back.dial(ctx, d.ClusterID, d.Target.Backends)
	if server == nil {
		return 0, 0, reason
	}
	hello := f.read[f.parsed:]
	_ = server.SetWriteDeadline(time.Now().Add(f.g.cfg.Timeouts.Dial))
	n, err := server.Write(hello)
	if err != nil {
		_ = server.Close()
		return int64(n), 0, reasonReplayFailed
	}
	release()
	_ = server.SetWriteDeadline(time.Time{})
	_ = f.conn.SetReadDeadline(time.Time{})
	relay := l4.NewRelay(f.conn, server, f.g.cfg.Timeouts.Idle)
	f.mu.Lock()
	f.relay = relay
	cut = f.reason
	f.mu.Unlock()
	if cut != "" {
		relay.Cut(cut)
	}
	reason = relay.Run()
	in, out = relay.Bytes()
	return in + int64(n), out, reason
}

// readHeader reads and believes the PROXY header of a private flow; on the public listener there is none. When it is
// not ok the reason says why the flow is refused; an empty one is a health check, which nobody needs to hear of.
func (f *flow) readHeader() (ok bool, reason string) {
	if f.facts.Listener != link.PrivateListener {
		f.facts.Source = f.peer.Addr()
		return true, ""
	}
	if !f.listener.trusts(f.peer.Addr()) {
		return false, reasonUntrustedPeer
	}
	_ = f.conn.SetReadDeadline(time.Now().Add(f.g.cfg.Timeouts.Header))
	for {
		header, n, err := l4.ParseProxyHeader(f.read)
		switch {
		case err == nil:
			f.parsed = n
			if header.Local {
				return false, ""
			}
			return f.believe(header)
		case errors.Is(err, l4.ErrNotProxy):
			return false, reasonNoProxyHeader
		case !errors.Is(err, l4.ErrIncomplete):
			return false, reasonBadProxyHeader
		}
		if err := f.readTo(n); err != nil {
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				return false, reasonHeaderTimeout
			case len(f.read) == 0:
				return false, "" // connected and left
			}
			return false, reasonBadProxyHeader
		}
	}
}

// believe takes over what a trusted peer's PROXY header says.
func (f *flow) believe(h l4.ProxyHeader) (ok bool, reason string) {
	if h.Source.IsValid() {
		f.source = netip.AddrPortFrom(h.Source.Addr().Unmap(), h.Source.Port())
		f.facts.Source = f.source.Addr()
	}
	switch {
	case h.AWSEndpoint != nil:
		id, err := link.ParseEndpointID(link.AWS, string(h.AWSEndpoint))
		if err != nil {
			return false, reasonBadEndpointID
		}
		f.facts.EndpointID = id
	case h.HasAzureLink:
		f.facts.EndpointID = link.EndpointID(azureEndpointIDPrefix + strconv.FormatUint(uint64(h.AzureLink), 10))
	case h.HasGCPConnection:
		f.facts.EndpointID = link.EndpointID(gcpEndpointIDPrefix + strconv.FormatUint(h.GCPConnection, 10))
	}
	return true, ""
}

// readHello reads the ClientHello, with the same results as readHeader. Who leaves before the first byte of it only
// looked whether somebody listens, as a TCP check does.
func (f *flow) readHello() (ok bool, reason string) {
	_ = f.conn.SetReadDeadline(time.Now().Add(f.g.cfg.Timeouts.Hello))
	for {
		hello, n, err := l4.ParseClientHello(f.read[f.parsed:])
		switch {
		case err == nil:
			f.facts.Name = hello.ServerName
			return true, ""
		case errors.Is(err, l4.ErrNotTLS):
			return false, reasonNotTLS
		case errors.Is(err, l4.ErrHelloTooLong):
			return false, reasonHelloTooLong
		case errors.Is(err, l4.ErrServerNameIP):
			return false, reasonServerNameIsIP
		case errors.Is(err, l4.ErrServerName):
			return false, reasonBadServerName
		case !errors.Is(err, l4.ErrIncomplete):
			return false, reasonBadHello
		}
		if err := f.readTo(f.parsed + n); err != nil {
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				return false, reasonHelloTimeout
			case len(f.read) == f.parsed:
				return false, ""
			}
			return false, reasonBadHello
		}
	}
}

// readTo reads until at least n bytes are there, and takes along what else has arrived.
func (f *flow) readTo(n int) error {
	if n > mostRead {
		return errors.New("gateway: a parser asked for more than it may") // cannot be: the parsers have their own limits
	}
	if n > cap(f.read) {
		grown := make([]byte, len(f.read), max(n, min(2*cap(f.read), mostRead)))
		copy(grown, f.read)
		f.read = grown
	}
	for len(f.read) < n {
		c, err := f.conn.Read(f.read[len(f.read):cap(f.read)])
		f.read = f.read[:len(f.read)+c]
		if err != nil && len(f.read) < n {
			return err
		}
	}
	return nil
}

// refuse records a refused flow, or with would one that passed and would have been refused. The peer is told nothing.
func (g *Gateway) refuse(f *flow, cluster link.ID, reason string, would bool) {
	g.out.refused(refusal{
		cluster: cluster, listener: f.facts.Listener, endpoint: f.facts.EndpointID, name: f.facts.Name,
		source: f.source.Addr(), reason: reason, would: would,
	})
	g.log.Debug("flow refused", "reason", reason, "would", would, "cluster", cluster, "listener", f.facts.Listener,
		"endpoint", f.facts.EndpointID, "name", f.facts.Name, "source", f.source)
}
