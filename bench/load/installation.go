//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/servertest"
)

// The region of the embedded cloud, and the domain of the clusters' names.
const (
	region = "us-east-1"
	domain = "load.test"
)

// installation is Postern as a vendor runs it, each part a process of its own: the cloud, one control plane on SQLite or
// several on one PostgreSQL, and a gateway.
type installation struct {
	dir, bin string

	cloud    *program
	postgres *servertest.SharedPostgres // nil: SQLite
	planes   []*program
	urls     []string // of the planes' APIs
	token    string   // of the operator
	gateway  *program

	public  string // where the gateway takes flows from the internet
	private string

	http *http.Client
}

// start starts everything. The caller stops the result.
func start(ctx context.Context, dir string, s setting) (_ *installation, err error) {
	in := &installation{dir: dir, bin: s.Programs, http: &http.Client{
		Transport: &http.Transport{MaxIdleConns: 4 * s.Clients, MaxIdleConnsPerHost: 4 * s.Clients, IdleConnTimeout: time.Minute},
	}}
	defer func() {
		if err != nil {
			in.stop()
		}
	}()
	vendor, err := in.startCloud(ctx)
	if err != nil {
		return nil, err
	}
	env := []string{
		"AWS_ACCESS_KEY_ID=" + vendor.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + vendor.SecretAccessKey, "AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
	}
	processes := 1
	if s.Postgres {
		// As people run it, but for the place: what is acknowledged is on the disk.
		if in.postgres, err = servertest.SharePostgres("fsync=on", "full_page_writes=on"); err != nil {
			return nil, err
		}
		env = append(env, "POSTERN_DATABASE_URL="+in.postgres.URL("postgres"))
		processes = s.Processes
	}
	in.token = "pst_" + rand.Text() + rand.Text()
	tokens := map[string]string{"token": in.token, "gateway-token": "pst_" + rand.Text() + rand.Text()}
	for n := range processes {
		if err := in.startPlane(ctx, n, vendor.endpoint, env, tokens); err != nil {
			return nil, err
		}
	}
	if in.public, err = freeAddr(ctx); err != nil {
		return nil, err
	}
	if in.private, err = freeAddr(ctx); err != nil {
		return nil, err
	}
	if err := in.startRegion(ctx, vendor); err != nil {
		return nil, err
	}
	in.gateway, err = startProgram(dir, "gateway", nil, filepath.Join(in.bin, "postern-gateway"),
		"--id", "gw-1", "--data", filepath.Join(dir, "gateway"), "--public", in.public+"=443", "--private", in.private, "--trusted-peer", "127.0.0.0/8",
		"--control-url", in.urls[0], "--token-file", filepath.Join(dir, "plane-0", "gateway-token"))
	if err != nil {
		return nil, err
	}
	return in, in.gateway.await(ctx, "listen", func() error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", in.public)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// account is the vendor's account of the embedded cloud.
type account struct {
	Role            string   `json:"role"`
	AccessKeyID     string   `json:"access_key_id"`
	SecretAccessKey string   `json:"secret_access_key"`
	VPCID           string   `json:"vpc_id"`
	SubnetIDs       []string `json:"subnet_ids"`
	endpoint        string
}

func (in *installation) startCloud(ctx context.Context) (account, error) {
	data := filepath.Join(in.dir, "cloud")
	var err error
	if in.cloud, err = startProgram(in.dir, "cloud", nil, filepath.Join(in.bin, "postern"), "fabric", "--data", data, "--regions", region); err != nil {
		return account{}, err
	}
	var ready struct {
		Endpoint string    `json:"aws_endpoint_url"`
		Accounts []account `json:"accounts"`
	}
	if err := in.cloud.awaitDocument(ctx, filepath.Join(data, "ready.json"), &ready); err != nil {
		return account{}, err
	}
	for _, a := range ready.Accounts {
		if a.Role == "vendor" {
			a.endpoint = ready.Endpoint
			return a, nil
		}
	}
	return account{}, errors.New("the cloud has no account of the vendor")
}

func (in *installation) startPlane(ctx context.Context, n int, endpoint string, env []string, tokens map[string]string) error {
	name := "plane-" + strconv.Itoa(n)
	data := filepath.Join(in.dir, name)
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	for file, token := range tokens {
		if err := os.WriteFile(filepath.Join(data, file), []byte(token+"\n"), 0o600); err != nil {
			return err
		}
	}
	p, err := startProgram(in.dir, name, env, filepath.Join(in.bin, "postern"),
		"serve", "--data", data, "--domain", domain, "--api-addr", "127.0.0.1:0", "--aws-endpoint-url", endpoint)
	if err != nil {
		return err
	}
	in.planes = append(in.planes, p)
	var ready struct {
		URL string `json:"api_url"`
	}
	if err := p.awaitDocument(ctx, filepath.Join(data, "ready.json"), &ready); err != nil {
		return err
	}
	in.urls = append(in.urls, ready.URL)
	return nil
}

// startRegion makes the region; its service is made when there is a cluster.
func (in *installation) startRegion(ctx context.Context, vendor account) error {
	_, err := in.operator(0).PutRegion(ctx, "AWS", region, api.PutRegionRequest{
		VPCID: vendor.VPCID, SubnetIDs: vendor.SubnetIDs, GatewayTargets: []string{in.private}, Ports: []int{443},
	})
	if err != nil {
		return fmt.Errorf("make the region: %w", err)
	}
	return nil
}

// as is the n-th client's way to the API, by the planes in turns. It repeats nothing: each answer counts.
func (in *installation) as(n int, token string) *api.Client {
	return api.New(in.urls[n%len(in.urls)], token, api.WithHTTPClient(in.http), api.WithAttempts(1))
}

func (in *installation) operator(n int) *api.Client { return in.as(n, in.token) }

// stop ends what was started.
func (in *installation) stop() {
	in.http.CloseIdleConnections()
	for _, p := range append([]*program{in.gateway}, append(in.planes, in.cloud)...) {
		if p != nil {
			p.stop()
		}
	}
	if in.postgres != nil {
		in.postgres.Stop()
	}
}
