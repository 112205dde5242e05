package main

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// metricsRole is what the socket for scrapes is for.
const metricsRole = "metrics"

// metricsName is the socket of --metrics. Without a host it is on loopback: metrics name customers and their traffic, and
// whoever means to show them beyond the machine says through which interface.
func metricsName(addr string) (socketName, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return socketName{}, errors.New("not an address: for example 127.0.0.1:9100")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return socketName{metricsRole, net.JoinHostPort(host, port)}, nil
}

// newMetricsServer answers GET /metrics by a handler.
func newMetricsServer(metrics http.Handler, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
