package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/link"
)

func (a *app) serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane: API and reconciler, against a real cloud",
		Long: `Run the control plane alone. The reconciler uses the AWS credentials of its environment, as the aws command
does (AWS_PROFILE, AWS_ACCESS_KEY_ID, an instance's role). Gateways are processes of their own: postern-gateway.

On a PostgreSQL database any number of these processes share the work. The first makes the tokens of the operator and of
the gateways, in the files token and gateway-token of its data folder. One whose folder has no such file leaves them as
they are; one whose folder has another makes that the good one.

What the flags do not say is read from the environment, then from the file of --config; "postern config example"
shows every setting. Without a certificate the API speaks plain HTTP: keep it on loopback or behind a server that
terminates TLS.

SIGTERM lets the requests under way end. A second one ends it at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.loadConfig(cmd, file)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	a.configFlags(cmd, &file)
	return cmd
}

func (a *app) serve(ctx context.Context, cfg config.Config) (err error) {
	log := a.logger(cfg.Log)
	dir, err := openDataDir(cfg.DataDir)
	if err != nil {
		return err
	}
	openID, err := openIDProvider(cfg)
	if err != nil {
		return err
	}
	ln, err := listen(ctx, "--api-addr", cfg.API.Addr)
	if err != nil {
		return err
	}
	endTracing, err := startTracing(ctx, cfg.Tracing, log)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() {
		if endTracing(context.WithoutCancel(ctx)) != nil {
			log.Warn("the last traces were not sent")
		}
	}()
	c, err := startControl(ctx, controlConfig{
		Dir: dir, Database: cfg.Database.URL.Reveal(), Listener: ln, Domain: cfg.Domain, Drivers: a.awsDrivers(cfg.AWS.EndpointURL), Log: log,
		TLS: cfg.API.TLS, MetricsAddr: cfg.Metrics.Addr, Shutdown: cfg.Shutdown,
		AuditKeyFile: cfg.Audit.KeyFile, PublicURL: cfg.API.PublicURL, Webhooks: cfg.Webhooks, Mail: cfg.Mail, OpenID: openID,
		Limits: cfg.Limits, Proxies: cfg.API.TrustedProxies,
	})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}()
	r := Ready{APIURL: c.url(cfg.API), Token: c.token}
	if err := writeReady(dir.path(readyName), &r); err != nil {
		return err
	}
	tokenFile, gatewayFile := dir.path(operatorToken.file), dir.path(gatewayToken.file)
	if c.token == "" {
		tokenFile = ""
	}
	if c.gatewayToken == "" {
		gatewayFile = ""
	}
	if a.json() {
		err = a.printJSON(map[string]string{
			"api_url": r.APIURL, "token_file": tokenFile, "gateway_token_file": gatewayFile, "audit_key": c.auditKey,
		})
	} else {
		_, err = fmt.Fprintf(a.out, `The control plane listens on %s

  operator's token   %s
  gateways' token    %s
  audit log's key    %s

Keep the audit log's key where this installation cannot write: by it "postern audit verify" proves who signed the log.
Next: "postern region set", then "postern cluster create"; on each gateway:
  postern-gateway --control-url %[1]s --token-file FILE --private :7443 --trusted-peer SUBNET --data DIR
`, r.APIURL, cmp.Or(tokenFile, elsewhereToken), cmp.Or(gatewayFile, elsewhereToken), c.auditKey)
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	c.drain(cfg.Shutdown.Delay)
	return nil
}

// elsewhereToken is told in place of a token's file where another process made the token.
const elsewhereToken = "where the database was first used"

// awsDrivers makes the driver of each region when the reconciler first needs it.
func (a *app) awsDrivers(endpoint string) func(cloud.Limiter) drivers {
	return func(l cloud.Limiter) drivers {
		var mu sync.Mutex
		made := map[string]cloud.Driver{}
		return func(p link.Provider, region string) (cloud.Driver, error) {
			if p != link.AWS {
				return nil, &link.Error{
					Kind: link.Precondition, Reason: "NO_DRIVER", Message: fmt.Sprintf("there is no driver for provider %s yet", p),
					Hint: "use a region of AWS",
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if d, ok := made[region]; ok {
				return d, nil
			}
			d, err := awsprivatelink.New(context.Background(), awsprivatelink.Config{Region: region, EndpointURL: endpoint, Limiter: l, Log: a.log})
			if err != nil {
				return nil, err
			}
			made[region] = d
			return d, nil
		}
	}
}
