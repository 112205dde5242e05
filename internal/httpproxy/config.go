package httpproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Config is what a Server is made with.
type Config struct {
	// Certificate gives the server certificate for a ClientHello, as tls.Config.GetCertificate does. An error ends the
	// handshake; there is no other certificate to fall back on.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Pick names the node that takes a request. It is called once for each try, by many goroutines at once, and does not
	// wait long. ErrNoNode, or an error that wraps it, says that there is none.
	Pick func(ctx context.Context, to Destination) (Node, error)

	// Revocation tells what responders say of client certificates; nil asks nobody, so that where a site wants to know
	// no answer comes.
	Revocation Revocation

	// Record, when there is one, is told of every request when it has ended, and of handshakes that failed. The record is
	// the callee's until it returns. It is called in the flow's goroutine and must not wait.
	Record func(*Record)

	Limits   Limits
	Timeouts Timeouts
	Follow   Follow

	Now func() time.Time // of certificates and tickets; nil means time.Now
}

// Destination is where a request has to go.
type Destination struct {
	Flow *Flow
	Site *Site
	// Direct asks for the nodes' direct port (see link.ProxyNode), for a path of the application's own context. Site.Nodes
	// gives the addresses that this means.
	Direct bool
	// Failed is the node that could not be reached at the first try, nil at that one.
	Failed Node
}

// Node is a server of the application, picked for one request.
type Node interface {
	// Key is what the node's idle connections are kept by: connections to nodes of one key are interchangeable.
	Key() string
	// Own says that a connection carries something of its flow, a PROXY header for instance, and is used by that flow alone.
	Own() bool
	// Dial opens a connection to the node. An error is the node's failure, which the implementation keeps account of.
	Dial(ctx context.Context) (net.Conn, error)
	// Ended says that the request has ended there; it is called exactly once for every Node that Pick gave, also after a
	// failed Dial. Answered says that the node sent at least a byte, broken that it closed the connection or broke it
	// before its answer was whole.
	Ended(answered, broken bool)
}

// ErrNoNode says that no node can take a request.
var ErrNoNode = errors.New("no node")

// Limits bound what a peer can make a Server hold. A zero field means its default, in parentheses.
type Limits struct {
	Header     int // bytes of a request's or an answer's head (64 KiB)
	Fields     int // lines in it (200)
	Streams    int // of one HTTP/2 connection at once (100)
	IdlePerKey int // upstream connections that are kept for one key (64)
	Idle       int // upstream connections that are kept in all (1024)
}

// Timeouts bound how long a silent peer is waited for. A zero field means its default, in parentheses.
type Timeouts struct {
	Handshake time.Duration // of TLS as a whole (10 s)
	Header    time.Duration // from a request's first byte to the end of its head (20 s)
	Idle      time.Duration // between requests of one flow (75 s)
	Body      time.Duration // between two bytes of a request's body (60 s)
	Send      time.Duration // for a client that takes no byte (60 s)
	Dial      time.Duration // one try to reach a node (5 s)
	Upstream  time.Duration // between two bytes of an answer, and before its first (2400 s)
	IdleNode  time.Duration // for an upstream connection that nobody uses (30 s)
}

// Follow says how redirects are followed.
type Follow struct {
	// Private are ranges of addresses that may be dialled though they are not public. Without any, loopback, private,
	// link-local, shared and metadata addresses are refused.
	Private []netip.Prefix
	// Resolve gives a host's addresses; nil means the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Roots   *x509.CertPool // that a target's certificate leads to; nil means the system's
	MaxSize int64          // bytes of one answer; 0 means 1 TiB
	MaxTime time.Duration  // of one answer as a whole; 0 means 1 h
	Expiry  time.Duration  // of a signed address; 0 means 5 min
}

func (c *Config) complete() error {
	if c.Certificate == nil || c.Pick == nil {
		return errors.New("httpproxy: give Certificate and Pick")
	}
	for _, d := range []struct {
		at    *int
		value int
	}{
		{&c.Limits.Header, 64 << 10},
		{&c.Limits.Fields, 200},
		{&c.Limits.Streams, 100},
		{&c.Limits.IdlePerKey, 64},
		{&c.Limits.Idle, 1024},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
	t, f := &c.Timeouts, &c.Follow
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&t.Handshake, 10 * time.Second},
		{&t.Header, 20 * time.Second},
		{&t.Idle, 75 * time.Second},
		{&t.Body, time.Minute},
		{&t.Send, time.Minute},
		{&t.Dial, 5 * time.Second},
		{&t.Upstream, 2400 * time.Second},
		{&t.IdleNode, 30 * time.Second},
		{&f.MaxTime, time.Hour},
		{&f.Expiry, 5 * time.Minute},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
	if f.MaxSize <= 0 {
		f.MaxSize = 1 << 40
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}
