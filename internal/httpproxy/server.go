// Package httpproxy is the gateway's HTTP: it ends a flow's TLS, and proxies its requests to a cluster's application as the
// cluster's settings say. What a request may do and where it goes are pure functions on values (route, docker, fields,
// clientcert's decision); the rest moves bytes.
package httpproxy

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/postern/postern/internal/link"
)

// Server answers flows. Make one with New; end it with Shutdown or Close.
type Server struct {
	cfg Config
}

// Flow is one flow that was admitted to a cluster with a reverse proxy.
type Flow struct {
	Endpoint link.EndpointID // through which it came; empty at the public door
	Listener link.Listener
	Source   netip.AddrPort // the client
	Port     uint16         // as the client dialled it
	Name     string         // the server name of its ClientHello, in lower case

	// Site gives the rules by which a request to host, in lower case without a port, is handled. It is called for every
	// request, so that new rules count on flows that are open. Nil says that this flow may not reach the host, which is
	// answered with 421.
	Site func(host string) *Site

	// State is the caller's own.
	State any
}

// Record tells of one request, or of a handshake that failed, to whoever may know everything.
type Record struct {
	Flow      *Flow
	ClusterID link.ID
	At        time.Time // when its head was there
	Took      time.Duration
	Protocol  string // HTTP/1.1, HTTP/2.0; empty of a handshake
	Method    string
	Host      string
	Path      string // without the query, and without what is secret in it
	Status    int    // as the client got it; 0 when it got none
	Code      string // the stable code of a refusal or a failure; empty when the application answered
	User      string // that its certificate named and that the application was told
	Note      string // what the decision has to say for the audit log
	Node      string // the key of the node that answered
	In, Out   int64  // bytes of the bodies
	Err       error  // what went wrong, in words for the operator
}

// New makes a server.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Serve answers the requests of one flow, whose ClientHello is still unread in conn, and returns when the flow has ended
// and conn is closed. When ctx is done the flow is cut.
func (s *Server) Serve(ctx context.Context, conn net.Conn, flow *Flow) error {
	return conn.Close()
}

// Recheck closes the flows that new rules no longer allow to stay open as they are: those whose client certificate no
// longer stands, and those without requests whose handshake did not ask for the certificate that is now wanted. Call it
// when new rules are in force.
func (s *Server) Recheck() (closed int) { return 0 }

// Shutdown closes flows without requests at once, lets requests end, and returns when no flow is left or when ctx is done,
// with ctx's error and after cutting those that were.
func (s *Server) Shutdown(ctx context.Context) error { return nil }

// Close cuts all flows and returns when none is left.
func (s *Server) Close() error { return nil }
