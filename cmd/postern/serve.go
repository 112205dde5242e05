package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/link"
)

func (a *app) serveCommand() *cobra.Command {
	var (
		addr, domain, endpoint string
		database               databaseFlags
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane: API and reconciler, against a real cloud",
		Long: `Run the control plane alone. The reconciler uses the AWS credentials of its environment, as the aws command
does (AWS_PROFILE, AWS_ACCESS_KEY_ID, an instance's role). Gateways are processes of their own: postern-gateway.

On a PostgreSQL database any number of these processes share the work. All of them need the same files token and
gateway-token in their data directories: the one that starts last says which tokens are good.

The API speaks plain HTTP: keep it on loopback or behind a server that terminates TLS.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), addr, domain, endpoint, &database)
		},
	}
	f := cmd.Flags()
	f.StringVar(&addr, "api-addr", "127.0.0.1:8443", "address of the API")
	f.StringVar(&domain, "domain", "", "base domain of the clusters' names: CLUSTER.REGION.pe.DOMAIN is private, CLUSTER.REGION.DOMAIN public")
	f.StringVar(&endpoint, "aws-endpoint-url", "", "AWS endpoint to use instead of Amazon's, for example that of \"postern fabric\"")
	database.add(f)
	_ = cmd.MarkFlagRequired("domain")
	return cmd
}

func (a *app) serve(ctx context.Context, addr, domain, endpoint string, database *databaseFlags) (err error) {
	url, err := database.find()
	if err != nil {
		return err
	}
	dir, err := openDataDir(a.dataDir)
	if err != nil {
		return err
	}
	ln, err := listen(ctx, "--api-addr", addr)
	if err != nil {
		return err
	}
	c, err := startControl(ctx, controlConfig{Dir: dir, Database: url, Listener: ln, Domain: domain, Drivers: a.awsDrivers(endpoint), Log: a.log})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}()
	r := Ready{APIURL: "http://" + ln.Addr().String(), Token: c.token}
	if err := writeReady(dir.path(readyName), &r); err != nil {
		return err
	}
	if a.json() {
		err = a.printJSON(map[string]string{
			"api_url": r.APIURL, "token_file": dir.path("token"), "gateway_token_file": dir.path("gateway-token"),
		})
	} else {
		_, err = fmt.Fprintf(a.out, `The control plane listens on http://%s

  operator's token   %s
  gateways' token    %s

Next: "postern region set", then "postern cluster create"; on each gateway:
  postern-gateway --control-url http://%s --token-file FILE --private :7443 --trusted-peer SUBNET --data DIR
`, ln.Addr(), dir.path("token"), dir.path("gateway-token"), ln.Addr())
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// awsDrivers makes the driver of each region when the reconciler first needs it.
func (a *app) awsDrivers(endpoint string) func(link.Provider, string) (cloud.Driver, error) {
	var mu sync.Mutex
	drivers := map[string]cloud.Driver{}
	return func(p link.Provider, region string) (cloud.Driver, error) {
		if p != link.AWS {
			return nil, &link.Error{
				Kind: link.Precondition, Reason: "NO_DRIVER", Message: fmt.Sprintf("there is no driver for provider %s yet", p),
				Hint: "use a region of AWS",
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if d, ok := drivers[region]; ok {
			return d, nil
		}
		d, err := awsprivatelink.New(context.Background(), awsprivatelink.Config{Region: region, EndpointURL: endpoint, Log: a.log})
		if err != nil {
			return nil, err
		}
		drivers[region] = d
		return d, nil
	}
}
