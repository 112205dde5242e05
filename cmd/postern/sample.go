package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// sampleBackend is the vendor's service of an embedded installation: an HTTPS server behind the gateway that holds the
// certificate of the cluster's names itself, since the gateway passes TLS through unread.
type sampleBackend struct {
	server *http.Server
	addr   string
	done   chan error
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
		addr: ln.Addr().String(),
		done: make(chan error, 1),
		server: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(io.Discard, "", 0), // handshakes that a health check breaks off
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		},
	}
	go func() { s.done <- s.server.ServeTLS(ln, "", "") }()
	return s, nil
}

// Close ends every flow and waits for the server.
func (s *sampleBackend) Close(context.Context) error {
	err := s.server.Close()
	if e := <-s.done; err == nil && !errors.Is(e, http.ErrServerClosed) {
		err = e
	}
	return err
}
