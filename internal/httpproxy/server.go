// Package httpproxy is the gateway's HTTP: it ends a flow's TLS, and proxies its requests to a cluster's application as the
// cluster's settings say. What a request may do and where it goes are pure functions on values (route, docker, fields,
// clientcert's decision); the rest moves bytes.
package httpproxy

import (
	"context"
	"crypto/rand"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postern/postern/internal/http2"
	"github.com/postern/postern/internal/link"
)

// Server answers flows. Make one with New; end it with Shutdown or Close.
type Server struct {
	cfg    Config
	idle   idle
	follow *follower
	seal   sealer // of sites that have none of their own

	twoConfig http2.Config
	crew      http2.Crew // for the requests of HTTP/2

	quit    context.CancelFunc
	working sync.WaitGroup

	mu       sync.Mutex
	sessions map[*session]struct{}
	retired  bool
	draining bool
	empty    chan struct{} // closed when draining and no session is left
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

	// Front is set of a flow that a trusted reverse proxy opened, which ended TLS; then Site and Name mean nothing.
	Front *Front

	// State is the caller's own.
	State any
}

// Record tells of one request, of a handshake that failed, or of an HTTP/2 connection that was ended for what its client did
// ("http2_error"), to whoever may know everything.
type Record struct {
	Flow      *Flow
	ClusterID link.ID
	At        time.Time // when its head was there
	Took      time.Duration
	Protocol  string // HTTP/1.1, HTTP/2.0; empty of a handshake
	Method    string
	Host      string
	Path      string     // without the query, and without what is secret in it
	Status    int        // as the client got it; 0 when it got none
	Code      string     // the stable code of a refusal or a failure; empty when the application answered
	Source    netip.Addr // whose it is
	User      string     // that its certificate named and that the application was told
	Note      string     // what the decision has to say for the audit log
	Node      string     // the key of the node that answered
	In, Out   int64      // bytes of the bodies
	Err       error      // what went wrong, in words for the operator
}

// New makes a server.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	secret := make([]byte, link.TicketKeySize)
	_, _ = rand.Read(secret) // never fails: crypto/rand aborts the program instead
	s := &Server{cfg: cfg, seal: sealer{secret}, sessions: map[*session]struct{}{}, empty: make(chan struct{})}
	s.idle = idle{perKey: cfg.Limits.IdlePerKey, most: cfg.Limits.Idle, age: cfg.Timeouts.IdleNode, byKey: map[string][]*upstream{}}
	s.follow = newFollower(&s.cfg)
	s.twoConfig = s.cfg.twoConfig()
	ctx, quit := context.WithCancel(context.Background())
	s.quit = quit
	s.working.Go(func() { s.idle.run(ctx) })
	return s, nil
}

// Serve answers the requests of one flow, whose ClientHello, or with a Front whose first request, is still unread in conn, and returns when the flow has ended
// and conn is closed. When ctx is done the flow is cut. The error says why nothing was answered; a flow that ends after
// its handshake ends without one.
func (s *Server) Serve(ctx context.Context, conn net.Conn, flow *Flow) error {
	c := &session{s: s, ctx: ctx, flow: flow, client: client{
		source: flow.Source.Addr(), scheme: "https", port: flow.Port, forwarded: describe(flow.Source.Addr(), "https", flow.Port),
	}}
	c.wire = &wire{Conn: conn}
	c.own = idle{perKey: s.cfg.Limits.Streams, most: s.cfg.Limits.Streams, age: s.cfg.Timeouts.IdleNode, byKey: map[string][]*upstream{}}
	defer c.own.close()
	defer c.wire.cut()
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return ErrClosed
	}
	s.sessions[c] = struct{}{}
	c.last.Store(s.retired)
	s.mu.Unlock()
	defer s.remove(c)
	stop := context.AfterFunc(ctx, func() { c.wire.cut() })
	defer stop()
	return c.serve()
}

func (s *Server) remove(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if s.draining && len(s.sessions) == 0 {
		close(s.empty)
	}
}

// all returns the flows that are open.
func (s *Server) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.sessions))
}

func (s *Server) record(r *Record) {
	if s.cfg.Record != nil {
		s.cfg.Record(r)
	}
}

// Recheck closes the flows that new rules no longer allow to stay open as they are: those whose client certificate no
// longer stands, and those without requests whose handshake did not ask for the certificate that is now wanted; of the
// latter one with a request ends behind it. Call it when new rules are in force. It returns how many it closed.
func (s *Server) Recheck() (closed int) {
	now := s.cfg.Now()
	for _, c := range s.all() {
		if c.recheck(now) {
			closed++
		}
	}
	return closed
}

// Retire has every flow end behind its next request, also those that are still to come, and returns at once: for a server whose
// successor takes the new ones. It closes nothing, so that no request is lost on its way: clients of HTTP/1 learn with the next
// answer that it was the last, those of HTTP/2 by GOAWAY. End the server with Shutdown as ever.
func (s *Server) Retire() {
	s.mu.Lock()
	s.retired = true
	s.mu.Unlock()
	for _, c := range s.all() {
		c.retire()
	}
}

// CloseIdle closes the flows without requests, and has those that have one end behind it.
func (s *Server) CloseIdle() {
	for _, c := range s.all() {
		c.closeIdle()
	}
}

// Shutdown closes flows without requests at once, lets requests end, and returns when no flow is left or when ctx is done,
// with ctx's error and after cutting those that were.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.draining
	s.draining = true
	if first && len(s.sessions) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	s.CloseIdle()
	var err error
	select {
	case <-s.empty:
	case <-ctx.Done():
		err = ctx.Err()
		for _, c := range s.all() {
			c.wire.cut()
		}
		<-s.empty
	}
	s.crew.Close()
	s.quit()
	s.working.Wait()
	s.idle.close()
	s.follow.close()
	return err
}

// Close cuts all flows and returns when none is left.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx) // that flows were cut is what was asked for
	return nil
}
