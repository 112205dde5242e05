package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/notify"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/reconcile"
	"github.com/postern/postern/internal/store"
)

// controlConfig says how a control plane runs.
type controlConfig struct {
	Dir      dataDir
	Database string       // URL of a PostgreSQL database; empty: SQLite in Dir
	Alone    bool         // the database has to be this installation's: another's is left as it is, and it is an error
	Listener net.Listener // of the API; becomes the control plane's
	Domain   string
	Drivers  func(cloud.Limiter) drivers
	Cadence  plan.Cadence // zero: the reconciler's own

	TLS         config.TLS     // zero: plain HTTP
	MetricsAddr string         // empty: no metrics
	OpenID      control.OpenID // where people sign in; nil for no such place
	Shutdown    config.Shutdown

	AuditKeyFile string // of the key that signs the audit log; in Dir when empty

	Limits  config.Limits  // zero: the API's own
	Proxies []netip.Prefix // in front of the API, that are believed

	PublicURL string // links in messages begin with it; empty: with the path
	Webhooks  config.Webhooks
	Mail      config.Mail // zero: none is sent

	Log *slog.Logger
}

// drivers returns the driver of a region, which may be shared.
type drivers func(link.Provider, string) (cloud.Driver, error)

// vendorAccount is the name by which all control planes of an installation know the account that they work in. They share
// what its clouds let them ask.
const vendorAccount = "vendor"

// controlPlane is the store, the reconciler and the API in this process.
type controlPlane struct {
	plane        *control.Plane
	operator     policy.Caller // zero when the token is not known here
	token        string        // of the operator; empty: only its hash is in the database, and not the token in the data folder
	gatewayToken string        // alike
	auditKey     string        // the public one, as a verifier of signed notes takes it

	store      *store.Store
	notifier   *notify.Notifier
	audit      sync.WaitGroup     // for what keeps the audit log
	endAudit   context.CancelFunc // ends it
	reconciler *reconcile.Reconciler
	server     *http.Server
	metrics    *metricsServer
	addr       net.Addr
	certs      certificates
	end        context.CancelFunc // ends the streams that the server holds open
	served     chan error
	grace      time.Duration
	draining   atomic.Bool
}

// startControl opens the store and serves. The caller closes the result.
func startControl(ctx context.Context, cfg controlConfig) (_ *controlPlane, err error) {
	c := &controlPlane{grace: cfg.Shutdown.Grace, addr: cfg.Listener.Addr()}
	if c.grace == 0 {
		c.grace = 5 * time.Second
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close(context.WithoutCancel(ctx)), cfg.Listener.Close())
		}
	}()
	if c.store, err = openStore(ctx, cfg.Database, cfg.Dir.path(databaseDir), cfg.Log); err != nil {
		return nil, err
	}
	key, err := auditKey(cmp.Or(cfg.AuditKeyFile, cfg.Dir.path("audit-key")))
	if err != nil {
		return nil, err
	}
	public, _ := key.Public().(ed25519.PublicKey)
	c.auditKey = audit.VerifierKey(c.store.InstallationID(), public)
	c.plane = control.New(c.store, control.Options{
		Domain: cfg.Domain, Log: cfg.Log, AuditKey: key, Mail: cfg.Mail.SMTPAddr != "", Webhooks: cfg.Webhooks.AllowedRanges,
		OpenID: cfg.OpenID,
	})
	if c.token, err = installToken(ctx, c.plane, cfg, operatorToken); err != nil {
		return nil, err
	}
	if cfg.Alone && c.token == "" {
		return nil, usagef("give a database of its own", "the database is another installation's: its operator's token is not in %s", cfg.Dir)
	}
	keep, endKeep := context.WithCancel(context.WithoutCancel(ctx))
	c.endAudit = endKeep
	c.audit.Go(func() { c.plane.KeepAudit(keep) })
	if c.gatewayToken, err = installToken(ctx, c.plane, cfg, gatewayToken); err != nil {
		return nil, err
	}
	if c.token != "" {
		if c.operator, err = c.plane.Authenticate(ctx, control.Visitor{}, c.token); err != nil {
			return nil, err
		}
	}
	if c.notifier, err = startNotifier(ctx, c.store, cfg); err != nil {
		return nil, err
	}
	meter := newMeter(c.store)
	limiter := reconcile.NewLimiter(c.store, vendorAccount, meter.observer(), cfg.Log)
	c.reconciler, err = reconcile.Start(ctx, reconcile.Config{
		Store: c.store, Drivers: cfg.Drivers(limiter), Domain: cfg.Domain, Handlers: c.notifier.Handlers(),
		Cadence: cfg.Cadence, Observer: meter.observer(), Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	port := cfg.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
	if c.certs, err = apiCertificates(cfg.TLS, string(cfg.Dir), port, cfg.Log); err != nil {
		return nil, err
	}
	if c.metrics, err = startMetrics(ctx, cfg.MetricsAddr, meter, cfg.Log); err != nil {
		return nil, err
	}
	streams, end := context.WithCancel(context.WithoutCancel(ctx))
	c.end = end
	c.server = &http.Server{
		Handler: httpapi.New(c.plane, httpapi.Options{
			Log: cfg.Log, Version: version(), Done: streams.Done(), Ready: c.ready, Observe: meter.request,
			Rates:   apiRates(cfg.Limits),
			Streams: httpapi.Streams{PerCaller: cfg.Limits.StreamsPerCaller, All: cfg.Limits.Streams}, Proxies: cfg.Proxies,
		}),
		TLSConfig:         c.certs.config,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	c.served = make(chan error, 1)
	go func() {
		if c.server.TLSConfig != nil {
			c.served <- c.server.ServeTLS(cfg.Listener, "", "")
		} else {
			c.served <- c.server.Serve(cfg.Listener)
		}
	}()
	if c.certs.manage != nil {
		if err := c.certs.manage(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// apiRates are the rates of the API that settings ask for; of zero settings its own.
func apiRates(l config.Limits) httpapi.Rates {
	rate := func(r config.Rate) httpapi.Rate {
		if r.PerSecond == 0 && r.Burst > 0 {
			r.PerSecond = -1 // no limit, and not the API's own
		}
		return httpapi.Rate{PerSecond: r.PerSecond, Burst: r.Burst}
	}
	return httpapi.Rates{Callers: rate(l.Callers), Addresses: rate(l.Strangers), SignIns: rate(l.SignIns)}
}

// startNotifier starts what brings messages to people and programs.
func startNotifier(ctx context.Context, st *store.Store, cfg controlConfig) (*notify.Notifier, error) {
	n := notify.Config{
		Store: st, PublicURL: cfg.PublicURL, Open: cfg.Webhooks.AllowedRanges, Agent: "Postern/" + version(), Log: cfg.Log.With("part", "notify"),
	}
	if m := cfg.Mail; m.SMTPAddr != "" {
		n.Mail = &notify.MailConfig{Addr: m.SMTPAddr, From: m.From, Username: m.Username, Password: m.Password.Reveal()}
	}
	return notify.Start(ctx, n)
}

// ready tells whether requests should come here.
func (c *controlPlane) ready(ctx context.Context) error {
	if c.draining.Load() {
		return errors.New("this process is being stopped")
	}
	return c.store.Ready(ctx)
}

// drain says that requests should go elsewhere, and gives those who send them time to notice.
func (c *controlPlane) drain(delay time.Duration) {
	c.draining.Store(true)
	<-time.After(delay) // a second signal ends the process meanwhile
}

// url is how the API is reached.
func (c *controlPlane) url(cfg config.API) string {
	switch {
	case cfg.PublicURL != "":
		return cfg.PublicURL
	case c.certs.config != nil: // the server's own becomes something else once it serves, also without a certificate
		return "https://" + c.addr.String()
	}
	return "http://" + c.addr.String()
}

// Close stops answering, then working, then closes the store.
func (c *controlPlane) Close(ctx context.Context) error {
	var errs []error
	if c.server != nil {
		c.end()
		ctx, cancel := context.WithTimeout(ctx, c.grace)
		defer cancel()
		if c.server.Shutdown(ctx) != nil {
			errs = append(errs, c.server.Close())
		}
		if err := <-c.served; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	if c.certs.close != nil {
		c.certs.close()
	}
	if c.metrics != nil {
		errs = append(errs, c.metrics.Close())
	}
	if c.reconciler != nil {
		errs = append(errs, c.reconciler.Close())
	}
	if c.notifier != nil {
		errs = append(errs, c.notifier.Close())
	}
	if c.endAudit != nil {
		c.endAudit() // after everything that writes to the log, so that the last checkpoint covers it
		c.audit.Wait()
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
