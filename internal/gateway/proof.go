package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/l4"
	"github.com/postern/postern/internal/link"
)

// Bounds of the proof server. A proof is one small request; who is slower or longer than this wants something else.
const (
	proofTimeout   = 5 * time.Second
	proofMaxHeader = 8 << 10
)

// proofServer answers the flows that go to a proof name. It ends their TLS itself, with a certificate that its proof
// key signed for itself: a verifier does not ask a CA for it but compares the key with the one that the control plane
// knows.
type proofServer struct {
	cfg   Config
	tls   *tls.Config
	http  *http.Server
	conns chan net.Conn // handed to the HTTP server
	done  chan struct{}
	once  sync.Once
}

func newProofServer(cfg Config) (*proofServer, error) {
	cert, err := proofCertificate(cfg)
	if err != nil {
		return nil, err
	}
	p := &proofServer{cfg: cfg, conns: make(chan net.Conn), done: make(chan struct{})}
	p.tls = &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		SessionTicketsDisabled: true,
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	p.http = &http.Server{
		Handler: http.HandlerFunc(p.handle), ReadHeaderTimeout: proofTimeout, ReadTimeout: proofTimeout,
		WriteTimeout: proofTimeout, MaxHeaderBytes: proofMaxHeader,
		ErrorLog: log.New(io.Discard, "", 0), Protocols: &http1,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				return context.WithValue(ctx, proofFlow{}, t.NetConn())
			}
			return ctx
		},
	}
	// One request per flow, or a flow could live for as long as its client likes to ask, and keep the gateway from draining.
	p.http.SetKeepAlivesEnabled(false)
	return p, nil
}

// proofFlow is the context key of a request's *proofConn.
type proofFlow struct{}

// proofCertificate signs a certificate of the proof key with the proof key. It names the gateway and carries no host
// name: one key answers for all of them.
func proofCertificate(cfg Config) (tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("serial number of the proof certificate: %w", err)
	}
	const day = 24 * time.Hour
	now := cfg.Now()
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: "Postern gateway " + cfg.ID},
		NotBefore: now.Add(-day), NotAfter: now.Add(3650 * day), // clocks differ, and the key is what is checked
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, cfg.Key.Public().(ed25519.PublicKey), cfg.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("proof certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: cfg.Key}, nil
}

func (p *proofServer) serve() { _ = p.http.Serve((*proofListener)(p)) } // always ErrServerClosed

func (p *proofServer) close() {
	p.once.Do(func() { close(p.done) })
	_ = p.http.Close()
}

// answer serves a flow until it is closed or cut, and returns its bytes on the wire.
func (p *proofServer) answer(f *flow, stream l4.Stream, cut <-chan struct{}) (in, out int64) {
	c := &proofConn{Stream: stream, flow: f, closed: make(chan struct{})}
	server := tls.Server(c, p.tls)
	ctx, cancel := context.WithTimeout(context.Background(), proofTimeout)
	go func() {
		select {
		case <-cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	err := server.HandshakeContext(ctx)
	stop()
	cancel()
	if err != nil || f.claim != "" && !f.g.claimed(f) {
		_ = c.Close()
		return c.in.Load(), c.out.Load()
	}
	select {
	case p.conns <- server:
		select {
		case <-c.closed:
		case <-cut:
		}
	case <-cut:
	case <-p.done:
	}
	_ = c.Close()
	return c.in.Load(), c.out.Load()
}

// handle answers `GET /?nonce=…` with a signed proof of path.
func (p *proofServer) handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path != "/" {
		http.Error(w, "not found: ask for /?nonce=…", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	c, ok := r.Context().Value(proofFlow{}).(*proofConn)
	if !ok {
		http.Error(w, "no flow", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if c.flow.claim != "" {
		_ = json.NewEncoder(w).Encode(claimAnswer{c.flow.claim, c.flow.cluster, c.flow.endpoint, p.cfg.ID})
		return
	}
	nonce := r.URL.Query()["nonce"]
	if len(nonce) != 1 || !validNonce(nonce[0]) {
		http.Error(w, fmt.Sprintf("give one nonce of %d to %d characters of URL-safe base64", link.MinNonce, link.MaxNonce),
			http.StatusBadRequest)
		return
	}
	proof := link.PathProof{
		Nonce: nonce[0], ClusterID: c.flow.cluster, Name: c.flow.name, Listener: c.flow.listener.Side,
		EndpointID: c.flow.endpoint, Source: c.flow.source.String(), GatewayID: p.cfg.ID, IssuedAt: p.cfg.Now().UTC(),
	}
	_ = json.NewEncoder(w).Encode(proof.Sign(p.cfg.Key)) // an error here is a client that has left
}

func validNonce(s string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) >= link.MinNonce && len(s) <= link.MaxNonce
}

// proofConn is a flow as the proof server sees it.
type proofConn struct {
	l4.Stream
	flow    *flow
	in, out atomic.Int64
	closing sync.Once
	closed  chan struct{}
}

func (c *proofConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	c.in.Add(int64(n))
	return n, err
}

func (c *proofConn) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	c.out.Add(int64(n))
	return n, err
}

func (c *proofConn) Close() error {
	err := c.Stream.Close()
	c.closing.Do(func() { close(c.closed) })
	return err
}

// proofListener hands flows to the HTTP server.
type proofListener proofServer

func (l *proofListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *proofListener) Close() error   { return nil } // proofServer.close ends Accept
func (l *proofListener) Addr() net.Addr { return proofAddr{} }

type proofAddr struct{}

func (proofAddr) Network() string { return "proof" }
func (proofAddr) String() string  { return "proof" }
