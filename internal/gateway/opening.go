package gateway

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/engine"
	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
)

// Why a flow was refused before policy could be asked; policy has the other reasons. The words are stable.
const (
	reasonUntrustedPeer  = "UNTRUSTED_PEER"         // not from the load balancer's addresses
	reasonNoProxyHeader  = "NO_PROXY_HEADER"        // the balancer's PROXY protocol is off
	reasonBadProxyHeader = "MALFORMED_PROXY_HEADER" // cut short, or not what the protocol says
	reasonHeaderTimeout  = "PROXY_HEADER_TIMEOUT"   // no PROXY header in time
	reasonBadEndpointID  = "MALFORMED_ENDPOINT_ID"  // the balancer's endpoint TLV holds no endpoint id
	reasonNotTLS         = "NOT_TLS"                // the first bytes are neither TLS nor PostgreSQL, or not the one that the port carries
	reasonBadHello       = "MALFORMED_CLIENT_HELLO" // cut short, or not what TLS says
	reasonHelloTooLong   = "CLIENT_HELLO_TOO_LONG"  // beyond what is read for anybody
	reasonHelloTimeout   = "CLIENT_HELLO_TIMEOUT"   // no ClientHello in time
	reasonBadServerName  = "MALFORMED_SERVER_NAME"  // not a host name
	reasonServerNameIsIP = "SERVER_NAME_IS_ADDRESS" // an IP address in place of a name
	reasonNoTLS          = "POSTGRES_WITHOUT_TLS"   // a PostgreSQL client that wants no TLS, so that nothing names a cluster
	reasonBadPostgres    = "MALFORMED_POSTGRES"     // not what a PostgreSQL client sends first
	reasonEarlyBytes     = "BYTES_BEFORE_ANSWER"    // bytes behind SSLRequest that nobody can have asked for yet

	azureEndpointIDPrefix = "azure-link-" // before the link id, which is a bare number on the wire
	gcpEndpointIDPrefix   = "gcp-psc-"    // before the connection id
)

// phase is what a flow waits for.
type phase uint8

const (
	inHeader   phase = iota // a PROXY header
	inStart                 // the first bytes of the client's own
	inHello                 // a ClientHello after SSLRequest
	inDial                  // the backend
	inGreeting              // the backend's answer to SSLRequest
	inRelay
)

// open goes on with the first bytes of a flow as far as read leads. It is a pure step of a machine: what it says is done
// by the engine, which calls again with more. The bytes that Discard names were taken.
func (f *flow) open(read []byte, eof bool) engine.Action {
	taken := 0
	for {
		a, n := f.step(read[taken:], eof)
		taken += n
		if a.Do != goOn {
			a.Discard = taken
			return a
		}
	}
}

// goOn is the verb of a step that only took bytes.
const goOn engine.Verb = 255

// step looks at the bytes that were not taken yet, and returns how many of them it took.
func (f *flow) step(read []byte, eof bool) (a engine.Action, taken int) {
	switch f.phase {
	case inHeader:
		return f.header(read, eof)
	case inStart:
		return f.start(read, eof)
	default:
		return f.hello(read, eof), 0
	}
}

// more asks for n bytes in all, unless no more will come.
func (f *flow) more(read []byte, eof bool, n int, cutShort string) engine.Action {
	switch {
	case !eof:
		a := engine.Action{Do: engine.Read, Need: n}
		if f.phase != inHeader && !f.timed {
			a.Within, f.timed = f.g.cfg.Timeouts.Hello, true
		}
		return a
	case len(read) == 0:
		return engine.Action{Do: engine.Close} // connected and left, as a health check does: nobody needs to hear of it
	}
	return f.refuse("", cutShort)
}

// header reads and believes the balancer's PROXY header.
func (f *flow) header(read []byte, eof bool) (engine.Action, int) {
	parse := l4.ParseProxyHeader
	if f.listener.Side == link.PublicListener {
		parse = l4.ParseAnyProxyHeader
	}
	h, n, err := parse(read)
	switch {
	case err == nil:
	case errors.Is(err, l4.ErrIncomplete):
		return f.more(read, eof, n, reasonBadProxyHeader), 0
	case errors.Is(err, l4.ErrNotProxy):
		return f.refuse("", reasonNoProxyHeader), 0
	default:
		return f.refuse("", reasonBadProxyHeader), 0
	}
	if h.Local {
		return engine.Action{Do: engine.Close}, 0 // the balancer's own health check
	}
	if reason := f.believe(h); reason != "" {
		return f.refuse("", reason), 0
	}
	return f.identified(), n
}

// believe takes over what a trusted peer's PROXY header says. The reason is empty unless it cannot be believed.
func (f *flow) believe(h l4.ProxyHeader) (reason string) {
	if h.Source.IsValid() {
		f.source, f.sourceTold = netip.AddrPortFrom(h.Source.Addr().Unmap(), h.Source.Port()), true
	}
	if h.Destination.IsValid() {
		f.port = h.Destination.Port()
	}
	if f.listener.Side == link.PublicListener {
		return "" // what names a private endpoint has no meaning at the public door
	}
	switch {
	case h.AWSEndpoint != nil:
		id, err := link.ParseEndpointID(link.AWS, string(h.AWSEndpoint))
		if err != nil {
			return reasonBadEndpointID
		}
		f.endpoint = id
	case h.HasAzureLink:
		f.endpoint = link.EndpointID(azureEndpointIDPrefix + strconv.FormatUint(uint64(h.AzureLink), 10))
	case h.HasGCPConnection:
		f.endpoint = link.EndpointID(gcpEndpointIDPrefix + strconv.FormatUint(h.GCPConnection, 10))
	}
	return ""
}

// identified goes on once it is known whose the flow is and which port it came to.
func (f *flow) identified() engine.Action {
	if !f.g.meters.enter(f.party()) {
		return f.refuse("", reasonFairShare)
	}
	f.entered = true
	if f.listener.Front != nil {
		return f.serveFront()
	}
	rule := f.g.rules.Load().Port(f.port)
	f.protocol, f.backendPort = rule.Protocol, rule.BackendPort
	if rule.Denied || f.protocol == link.ProtocolTCP {
		return f.decide()
	}
	f.phase = inStart
	return engine.Action{Do: goOn}
}

// start tells TLS from PostgreSQL, and answers the requests with which a PostgreSQL client begins.
func (f *flow) start(read []byte, eof bool) (engine.Action, int) {
	if len(read) == 0 {
		return f.more(read, eof, 1, reasonNotTLS), 0
	}
	opening := l4.Sniff(read[0])
	switch {
	case opening == l4.OpeningTLS:
		return f.hello(read, eof), 0
	case opening != l4.OpeningPostgres || f.protocol == link.ProtocolTLS:
		return f.refuse("", reasonNotTLS), 0
	}
	kind, n, err := l4.ParsePostgres(read)
	switch {
	case errors.Is(err, l4.ErrIncomplete):
		return f.more(read, eof, n, reasonBadPostgres), 0
	case err != nil:
		return f.refuse("", reasonNotTLS), 0
	}
	switch kind {
	case l4.PostgresCancel:
		// The one message that has to come without TLS, from a client before PostgreSQL 17: only the endpoint can tell
		// where it goes.
		f.nameless = true
		return f.decide(), 0
	case l4.PostgresStartup:
		return f.refuse("", reasonNoTLS), 0
	}
	if len(read) > n {
		return f.refuse("", reasonEarlyBytes), 0
	}
	answer := postgresYes
	if kind == l4.PostgresGSS {
		if f.refusedGSS {
			return f.refuse("", reasonBadPostgres), 0
		}
		answer, f.refusedGSS = postgresNo, true
	} else {
		f.phase, f.postgres = inHello, true
	}
	a := f.more(nil, false, 1, reasonBadPostgres)
	a.Reply = answer
	return a, n
}

var postgresYes, postgresNo = []byte{l4.PostgresYes}, []byte{l4.PostgresNo}

// hello reads the ClientHello and decides.
func (f *flow) hello(read []byte, eof bool) engine.Action {
	hello, n, err := l4.ParseClientHello(read)
	switch {
	case err == nil:
	case errors.Is(err, l4.ErrIncomplete):
		return f.more(read, eof, n, reasonBadHello)
	case errors.Is(err, l4.ErrNotTLS):
		return f.refuse("", reasonNotTLS)
	case errors.Is(err, l4.ErrHelloTooLong):
		return f.refuse("", reasonHelloTooLong)
	case errors.Is(err, l4.ErrServerNameIP):
		return f.refuse("", reasonServerNameIsIP)
	case errors.Is(err, l4.ErrServerName):
		return f.refuse("", reasonBadServerName)
	default:
		return f.refuse("", reasonBadHello)
	}
	f.name = hello.ServerName
	if f.listener.Side == link.PublicListener && hello.OffersProtocol(certificate.ChallengeProtocol) && f.g.web.provesName(f.name) {
		return f.answerChallenge()
	}
	if f.protocol == link.ProtocolPostgres && !f.postgres && !hello.OffersProtocol(l4.PostgresALPN) {
		return f.refuse("", reasonNotTLS)
	}
	return f.decide()
}
