package gateway

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
)

// Config is what a gateway is started with.
type Config struct {
	// ID names this gateway in reports and proofs, unique in the installation: 1 to 100 letters, digits, '.', '_', '-'.
	ID string
	// Key signs proofs of path; LoadOrCreateKey gives one that lasts.
	Key ed25519.PrivateKey

	// Listeners are where flows arrive; at least one.
	Listeners []ListenerConfig

	// RulesFile is where the last rules are kept for the next start. Empty keeps them in memory alone.
	RulesFile string

	// ControlURL is the control plane's base URL, to which /api/v1/gateway/… is appended; Token the bearer token of a
	// gateway. An empty ControlURL means that there is no control plane: the rules are those of the file.
	ControlURL, Token string
	// HTTPClient talks to the control plane; nil means one of the gateway's own. It must have no overall time-out, which
	// would end the rules stream.
	HTTPClient *http.Client

	// Certificates are shown to the clients of proxied clusters, whose TLS ends here. With nil there are none.
	Certificates certificate.Source
	// PrivateTargets are ranges of addresses that redirects are followed to, and OCSP responders asked at, though they are
	// not public: for installations of which both are a part.
	PrivateTargets []netip.Prefix

	Timeouts Timeouts
	// MaxFlows bounds the flows that are open at once; what comes beyond waits in the listeners' queues. 0 derives it from
	// the descriptors that the process may open.
	MaxFlows int
	// Loops is the number of event loops, 0 for one per processor. HoldProcessors lets a busy one keep its processor
	// while it waits a moment: for a process that is the gateway's alone (see engine.Config).
	Loops          int
	HoldProcessors bool
	// Net runs the flows on package net with goroutines in place of event loops.
	Net bool

	// ReportEvery is how often reports are sent when there is something to report. 0 means 250 ms.
	ReportEvery time.Duration
	// SpoolDir is where records wait on disk while the control plane does not take them, up to SpoolSize bytes (0 means
	// 64 MiB). Empty keeps them in memory alone, within bounds.
	SpoolDir  string
	SpoolSize int64
	// KeepAlive is how long the rules stream may stay silent before it is taken for dead. 0 means 30 s.
	KeepAlive time.Duration

	Now func() time.Time // the clock of records, proofs and claims; nil means time.Now
	Log *slog.Logger     // nil means no log
}

// ListenerConfig is one listener.
type ListenerConfig struct {
	Side link.Listener
	// Addr is the address to listen on, host:port. Listener takes its place when the caller brings one; the gateway
	// closes it, also when it does not start.
	Addr     string
	Listener *net.TCPListener
	// Port is the port that clients dial to get here, where no PROXY header tells it; 0 means the listener's own.
	Port uint16
	// TrustedPeers are the load balancer's addresses. A private listener takes flows from them alone, since only their
	// PROXY headers can be believed: with none it refuses everybody. At a public listener they are the balancer in front
	// of it, if there is one, whose flows must bring a PROXY header (v1 or v2); others speak for themselves. With Front
	// they are the reverse proxy, and nobody else is let in.
	TrustedPeers []netip.Prefix
	// Front is set of a public listener that a reverse proxy stands before which ends TLS itself.
	Front *Front
}

// Front says how a reverse proxy that ended TLS tells of its clients. Its flows come from TrustedPeers alone and are plain
// HTTP; the decision is one on every request, by the rules of the public side for the request's Host and the client's
// address, which is the last one of X-Forwarded-For: that which the proxy itself has seen.
type Front struct {
	// ProxyHeader says that its flows begin with a PROXY header (v1 or v2), whose source counts as whose the flow is.
	ProxyHeader bool
	// Format is how the proxy writes a client's certificate, into Header or, when that is empty, into the format's usual
	// one. The empty format says that it passes none on. What it passes on is verified again.
	Format clientcert.Format
	Header string
}

func (f *Front) check(l ListenerConfig) error {
	switch {
	case l.Side != link.PublicListener:
		return fmt.Errorf("listener %s: only a public one has a reverse proxy in front", link.Quote(l.Addr))
	case len(l.TrustedPeers) == 0:
		return fmt.Errorf("listener %s: give the addresses of the reverse proxy in front: with none everybody is refused", link.Quote(l.Addr))
	case f.Format != "" && !slices.Contains(clientcert.Formats, f.Format):
		return fmt.Errorf("unknown format of client certificates %s", link.Quote(string(f.Format)))
	case f.Format == "" && f.Header != "":
		return fmt.Errorf("header %s of client certificates: give their format, too", link.Quote(f.Header))
	}
	return nil
}

// Timeouts bound what a silent peer can hold. A zero field means its default; the defaults are in parentheses.
type Timeouts struct {
	Header    time.Duration // from accept to the end of the PROXY header (5 s)
	Hello     time.Duration // from there to the end of the ClientHello (10 s)
	Dial      time.Duration // one try to reach a backend, and its answer to SSLRequest (5 s)
	Idle      time.Duration // a relayed flow on which nothing moves (1 h, far beyond the 350 s of an AWS load balancer)
	HalfClose time.Duration // a relayed flow of which one half has ended and on which nothing moves (5 min)
}

func (c *Config) complete() error {
	if !validGatewayID(c.ID) {
		return fmt.Errorf("gateway id %s: give 1 to 100 letters, digits, '.', '_' or '-'", link.Quote(c.ID))
	}
	if len(c.Key) != ed25519.PrivateKeySize {
		return errors.New("no proof key: load one with LoadOrCreateKey")
	}
	if c.ControlURL != "" {
		u, err := url.Parse(c.ControlURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("control plane URL %s: give http(s)://host[:port]", link.Quote(c.ControlURL))
		}
	}
	if len(c.Listeners) == 0 {
		return errors.New("no listener: give at least one")
	}
	for _, l := range c.Listeners {
		if l.Side != link.PrivateListener && l.Side != link.PublicListener {
			return fmt.Errorf("listener %s: its side is neither private nor public", link.Quote(l.Addr))
		}
		if l.Front != nil {
			if err := l.Front.check(l); err != nil {
				return err
			}
		}
		for _, p := range l.TrustedPeers {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("trusted peers %s: give a range of IPv4 or IPv6, and IPv4 as such", p)
			}
		}
	}
	for _, d := range []struct {
		at   *time.Duration
		most time.Duration
	}{
		{&c.Timeouts.Header, 5 * time.Second},
		{&c.Timeouts.Hello, 10 * time.Second},
		{&c.Timeouts.Dial, 5 * time.Second},
		{&c.Timeouts.Idle, time.Hour},
		{&c.Timeouts.HalfClose, 5 * time.Minute},
		{&c.ReportEvery, 250 * time.Millisecond},
		{&c.KeepAlive, 30 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.most
		}
	}
	if c.SpoolSize <= 0 {
		c.SpoolSize = 64 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func validGatewayID(s string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 100
}
