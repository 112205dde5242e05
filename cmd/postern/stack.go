package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/postern/postern/internal/certificate"
	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/cloud/awsprivatelink"
	"github.com/postern/postern/internal/config"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/fabric"
	"github.com/postern/postern/internal/gateway"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
)

// The embedded installation's fixed words.
const (
	embeddedRegion  = "us-east-1"
	embeddedDomain  = "postern.test" // RFC 6761: never a public name
	embeddedProject = "Acme"
	embeddedCluster = "acme"
)

// stackConfig says where an embedded installation keeps its data and listens. An empty address is a free port of
// loopback.
type stackConfig struct {
	Dir      dataDir
	Database databaseFlags

	APIAddr, AWSAddr, SOCKSAddr, HTTPProxyAddr, DNSHost, PublicAddr, PrivateAddr string

	Log *slog.Logger
}

// stack is the whole of Postern in one process: the embedded cloud, the control plane, a gateway and a sample backend.
type stack struct {
	ready Ready

	fabric  *fabric.Fabric
	control *controlPlane
	gateway *gateway.Gateway
	backend *sampleBackend
	ca      *authority

	certificates *certificate.Directory // that the gateway shows
}

// startStack starts everything and returns when everything listens and the region's service is there. The caller closes
// the result. Started again on the same directory it goes on where it was, whatever ended it.
func startStack(ctx context.Context, cfg stackConfig) (_ *stack, err error) {
	s := &stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	database, err := cfg.Database.find()
	if err != nil {
		return nil, err
	}
	accounts, err := cfg.Dir.accounts()
	if err != nil {
		return nil, err
	}
	if s.ca, err = openAuthority(string(cfg.Dir), time.Now()); err != nil {
		return nil, err
	}
	api, err := listen(ctx, "--api-addr", orLoopback(cfg.APIAddr))
	if err != nil {
		return nil, err
	}
	base := "http://" + api.Addr().String()
	gatewayToken, err := cfg.Dir.secret("gateway-token")
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	if err := s.startGateway(ctx, cfg, base, gatewayToken); err != nil {
		return nil, errors.Join(err, api.Close())
	}
	if err := s.startFabric(ctx, cfg, accounts); err != nil {
		return nil, errors.Join(err, api.Close())
	}
	s.control, err = startControl(ctx, controlConfig{
		Dir: cfg.Dir, Database: database, Alone: true, Listener: api, Domain: embeddedDomain, Drivers: fabricDrivers(ctx, s.fabric.URL(), accounts[0], cfg.Log), Log: cfg.Log,
		Cadence:   plan.Cadence{Fast: 200 * time.Millisecond, Slow: 2 * time.Second},
		PublicURL: base,
		// All of it is on this machine, and so may be who is told.
		Webhooks: config.Webhooks{AllowedRanges: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}},
	})
	if err != nil {
		return nil, err
	}
	s.ready = Ready{
		APIURL: base, Token: s.control.token, AWSEndpointURL: s.fabric.URL(), Region: embeddedRegion,
		SOCKSAddr: s.fabric.SOCKSAddr(), HTTPProxyAddr: s.fabric.HTTPProxyAddr(),
		Gateway: ReadyGateway{PublicAddr: s.gateway.PublicAddr().String(), PrivateAddr: s.gateway.PrivateAddr().String()},
		CAFile:  s.ca.file,
	}
	if s.ready.Accounts, err = readyAccounts(s.fabric, accounts, embeddedRegion); err != nil {
		return nil, err
	}
	if customer, ok := s.ready.account("customer"); ok {
		s.ready.DNSAddr = customer.DNSAddr
	}
	if err := s.seed(ctx); err != nil {
		return nil, err
	}
	if err := s.awaitService(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *stack) startGateway(ctx context.Context, cfg stackConfig, base, token string) error {
	key, err := gateway.LoadOrCreateKey(string(cfg.Dir))
	if err != nil {
		return err
	}
	log := cfg.Log.With("part", "gateway")
	dir := cfg.Dir.path("certificates")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.certificates, err = certificate.OpenDirectory(dir, nil, log); err != nil {
		return err
	}
	s.gateway, err = gateway.Start(ctx, gateway.Config{
		ID: "gateway-1", Key: key,
		// Where TLS ends at the gateway: the operator's own certificates, else those of the embedded authority.
		Certificates:   certificate.Sources{s.certificates, s.ca},
		PrivateTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, // all of it is on this machine
		Listeners: []gateway.ListenerConfig{
			{Side: link.PrivateListener, Addr: orLoopback(cfg.PrivateAddr), TrustedPeers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			{Side: link.PublicListener, Addr: orLoopback(cfg.PublicAddr), Port: 443},
		},
		RulesFile:  cfg.Dir.path("gateway-rules.json"),
		ControlURL: base, Token: token, Log: log,
	})
	return err
}

func (s *stack) startFabric(ctx context.Context, cfg stackConfig, accounts []fabric.Account) (err error) {
	// ctx bounds the start alone; Close ends what was started.
	s.fabric, err = fabric.Start(context.WithoutCancel(ctx), fabric.Config{
		Dir:     cfg.Dir.path("fabric"),
		APIAddr: cfg.AWSAddr, SOCKSAddr: cfg.SOCKSAddr, HTTPProxyAddr: cfg.HTTPProxyAddr, DNSAddr: cfg.DNSHost,
		Accounts: accounts, Regions: []string{embeddedRegion},
		// The vendor owns the domain of the private names; in public it holds nothing but the proof of that.
		Domains: []fabric.Domain{{Name: "pe." + embeddedDomain, AccountID: accounts[0].ID}},
		// The clusters' public names lead to the gateway's public listener, as the vendor's public DNS would have it.
		Internet: []fabric.InternetHost{{
			Name:  "*." + embeddedRegion + "." + embeddedDomain,
			Ports: map[uint16]string{443: s.gateway.PublicAddr().String()},
		}},
		Seed: uint64(time.Now().UnixNano()),
		Log:  cfg.Log.With("part", "fabric"),
	})
	return err
}

// fabricDrivers gives the reconciler the one driver it needs: AWS's, pointed at the fabric with the vendor's keys.
func fabricDrivers(ctx context.Context, url string, vendor fabric.Account, log *slog.Logger) func(cloud.Limiter) drivers {
	return func(l cloud.Limiter) drivers {
		d, err := awsprivatelink.New(ctx, awsprivatelink.Config{
			Region: embeddedRegion, EndpointURL: url,
			AccessKeyID: vendor.AccessKeyID, SecretAccessKey: vendor.SecretAccessKey, Limiter: l, Log: log,
		})
		return func(p link.Provider, region string) (cloud.Driver, error) {
			if p != link.AWS || region != embeddedRegion {
				return nil, &link.Error{
					Kind: link.Precondition, Reason: "NO_DRIVER", Message: fmt.Sprintf("the embedded cloud has no region %s of %s", region, p),
					Hint: "it is " + embeddedRegion + " of AWS alone",
				}
			}
			return d, err
		}
	}
}

// seed asks the control plane for the region, a project and a cluster. Everything it asks is idempotent: on later
// starts only the gateway's and the backend's addresses change.
func (s *stack) seed(ctx context.Context) error {
	p, op := s.control.plane, s.control.operator
	vendor, _ := s.ready.account("vendor")
	private, err := netip.ParseAddrPort(s.ready.Gateway.PrivateAddr)
	if err != nil {
		return err
	}
	if _, err := p.PutRegion(ctx, op, link.Region{
		Provider: link.AWS, Name: embeddedRegion, VPCID: vendor.VPCID, SubnetIDs: vendor.SubnetIDs,
		Targets: []netip.AddrPort{private}, Ports: []uint16{443},
	}); err != nil {
		return err
	}
	project, err := p.CreateProject(ctx, op, "", embeddedProject)
	if err != nil {
		return err
	}
	cl, err := s.sampleCluster(ctx, project.ID)
	if err != nil {
		return err
	}
	names := []string{cl.Regions[0].PrivateName, cl.Regions[0].PublicName}
	cert, err := s.ca.issue(names, time.Now())
	if err != nil {
		return err
	}
	if s.backend, err = startSampleBackend(cert, cl.Name); err != nil {
		return err
	}
	if cl, err = p.UpdateCluster(ctx, op, cl.ID, control.ClusterUpdate{Backends: &[]string{s.backend.addr}}); err != nil {
		return err
	}
	if _, err := p.CreateServices(ctx, op, cl.ID); err != nil {
		return err
	}
	s.ready.ProjectID, s.ready.ClusterID = string(project.ID), string(cl.ID)
	s.ready.PrivateDomain, s.ready.PublicDomain = names[0], names[1]
	return nil
}

// sampleCluster finds the sample cluster, and makes it at the first start.
func (s *stack) sampleCluster(ctx context.Context, project link.ID) (link.Cluster, error) {
	p, op := s.control.plane, s.control.operator
	for page := (control.Page{}); ; {
		all, next, err := p.Clusters(ctx, op, page)
		if err != nil {
			return link.Cluster{}, err
		}
		for _, c := range all {
			if c.Name == embeddedCluster {
				return c, nil
			}
		}
		if page.Token = next; next == "" {
			break
		}
	}
	return p.CreateCluster(ctx, op, control.ClusterRequest{
		ProjectID: project, Name: embeddedCluster, Provider: link.AWS, Regions: []string{embeddedRegion},
	})
}

// awaitService waits until the reconciler has made the region's service at the cloud.
func (s *stack) awaitService(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last link.Service
	for {
		all, err := s.control.plane.Services(ctx, s.control.operator, link.ID(s.ready.ClusterID))
		if err == nil && len(all) > 0 {
			last = all[0]
			if last.State == link.ServiceAvailable {
				s.ready.ServiceName, s.ready.ServiceID = last.Name, last.ServiceID
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the region's private endpoint service is still %s: %v: %w", last.State, last.Conditions, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Close stops everything, the control plane last but for the cloud, so that gateways can still report.
func (s *stack) Close(ctx context.Context) error {
	var errs []error
	if s.gateway != nil {
		errs = append(errs, s.gateway.Close())
	}
	if s.certificates != nil {
		s.certificates.Close()
	}
	if s.backend != nil {
		errs = append(errs, s.backend.Close(ctx))
	}
	if s.control != nil {
		errs = append(errs, s.control.Close(ctx))
	}
	if s.fabric != nil {
		errs = append(errs, s.fabric.Close())
	}
	return errors.Join(errs...)
}

func orLoopback(addr string) string {
	if addr == "" {
		return net.JoinHostPort("127.0.0.1", "0")
	}
	return addr
}
