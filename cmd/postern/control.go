package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
)

// controlConfig says how a control plane runs.
type controlConfig struct {
	Dir      dataDir
	Database string       // URL of a PostgreSQL database; empty: SQLite in Dir
	Listener net.Listener // of the API; becomes the control plane's
	Domain   string
	Drivers  func(link.Provider, string) (cloud.Driver, error)
	Cadence  plan.Cadence // zero: the reconciler's own
	Log      *slog.Logger
}

// controlPlane is the store, the reconciler and the API in this process.
type controlPlane struct {
	plane        *control.Plane
	operator     policy.Caller
	token        string // of the operator
	gatewayToken string

	store      *store.Store
	reconciler *reconcile.Reconciler
	server     *http.Server
	end        context.CancelFunc // ends the streams that the server holds open
	served     chan error
}

// startControl opens the store and serves. The caller closes the result.
func startControl(ctx context.Context, cfg controlConfig) (_ *controlPlane, err error) {
	c := &controlPlane{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close(context.WithoutCancel(ctx)), cfg.Listener.Close())
		}
	}()
	if c.token, err = cfg.Dir.secret("token"); err != nil {
		return nil, err
	}
	if c.gatewayToken, err = cfg.Dir.secret("gateway-token"); err != nil {
		return nil, err
	}
	if c.store, err = openStore(ctx, cfg.Database, cfg.Dir.path("control"), cfg.Log); err != nil {
		return nil, err
	}
	c.plane = control.New(c.store, control.Options{Domain: cfg.Domain, Log: cfg.Log})
	if err := c.plane.PutToken(ctx, "operator", policy.Operator, c.token); err != nil {
		return nil, err
	}
	if err := c.plane.PutToken(ctx, "gateway", policy.Gateway, c.gatewayToken); err != nil {
		return nil, err
	}
	if c.operator, err = c.plane.Authenticate(ctx, c.token); err != nil {
		return nil, err
	}
	c.reconciler, err = reconcile.Start(ctx, reconcile.Config{
		Store: c.store, Drivers: cfg.Drivers, Domain: cfg.Domain, Cadence: cfg.Cadence, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	streams, end := context.WithCancel(context.WithoutCancel(ctx))
	c.end = end
	c.server = &http.Server{
		Handler: httpapi.New(c.plane, httpapi.Options{
			Log: cfg.Log, Version: version(), Done: streams.Done(), Ready: c.store.Ready,
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	c.served = make(chan error, 1)
	go func() { c.served <- c.server.Serve(cfg.Listener) }()
	return c, nil
}

// Close stops answering, then working, then closes the store.
func (c *controlPlane) Close(ctx context.Context) error {
	var errs []error
	if c.server != nil {
		c.end()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if c.server.Shutdown(ctx) != nil {
			errs = append(errs, c.server.Close())
		}
		if err := <-c.served; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	if c.reconciler != nil {
		errs = append(errs, c.reconciler.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}

// listen opens a listener and says what to do when the address is taken.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &link.Error{
			Kind: link.Invalid, Reason: "CANNOT_LISTEN", Field: flag, Message: fmt.Sprintf("cannot listen on %s", addr), Err: err,
			Hint: "give another address with " + flag + ", or end the program that holds this one",
		}
	}
	return ln, nil
}
