package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// sampleBackend is the vendor's service of an embedded installation: an HTTPS server behind the gateway that holds the
// certificate of the cluster's names itself, since the gateway passes TLS through unread. On the same port it speaks plain
// HTTP with a gateway that ends TLS itself, for a cluster with a reverse proxy.
type sampleBackend struct {
	server *http.Server
	addr   string
	ln     net.Listener
	secure *handed
	plain  *handed
	done   chan error // one of each server
	gone   chan struct{}
}

// startSampleBackend listens on a free port of loopback. The caller closes it.
func startSampleBackend(cert tls.Certificate, cluster string) (*sampleBackend, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "Hello from cluster %s. You asked for %s.\n", cluster, r.Host)
	})
	mux.HandleFunc("GET /api/system/ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"status": "OK", "cluster": cluster})
	})
	// A line every tenth of a second for as long as the client listens: a flow that stays open.
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		rc := http.NewResponseController(w)
		for {
			if _, err := io.WriteString(w, "tick\n"); err != nil || rc.Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	})
	s := &sampleBackend{
		addr: ln.Addr().String(), ln: ln, secure: newHanded(ln), plain: newHanded(ln),
		done: make(chan error, 2), gone: make(chan struct{}),
		server: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(io.Discard, "", 0), // handshakes that a health check breaks off
			// Without NextProtos, the server would offer HTTP/2 and not speak it whenever Serve below is quicker than ServeTLS.
			TLSConfig: &tls.Config{
				Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			},
		},
	}
	go func() { s.done <- s.server.ServeTLS(s.secure, "", "") }()
	go func() { s.done <- s.server.Serve(s.plain) }()
	go s.accept()
	return s, nil
}

// accept hands out what comes, by its first byte.
func (s *sampleBackend) accept() {
	defer close(s.gone)
	var looking sync.WaitGroup
	defer looking.Wait()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return // closed
		}
		looking.Go(func() {
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			peeked := &peekedConn{Conn: conn, r: bufio.NewReaderSize(conn, 16)}
			first, err := peeked.r.Peek(1)
			_ = conn.SetReadDeadline(time.Time{})
			const handshake = 22 // the first byte of a TLS record that holds a ClientHello
			switch {
			case err != nil:
				_ = conn.Close()
			case first[0] == handshake:
				s.secure.hand(peeked)
			default:
				s.plain.hand(peeked)
			}
		})
	}
}

// Close ends every flow and waits for the server.
func (s *sampleBackend) Close(context.Context) error {
	err := errors.Join(s.ln.Close(), s.server.Close())
	for range 2 {
		if e := <-s.done; err == nil && !errors.Is(e, http.ErrServerClosed) {
			err = e
		}
	}
	<-s.gone
	return err
}

// peekedConn is a connection of which the first byte was looked at.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// handed is a listener whose connections somebody else accepts.
type handed struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHanded(of net.Listener) *handed {
	return &handed{Listener: of, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handed) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}
