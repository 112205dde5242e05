//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/postern/postern/api"
)

// traffic is what passes through the gateway while the control plane is under load: one flow that stays open, and new ones
// beside it, to a server that sends back what it gets.
type traffic struct {
	in     *installation
	roots  *x509.CertPool
	server net.Listener
	serve  sync.WaitGroup
	open   trafficCluster // admits everybody
	shut   trafficCluster // admits nobody until admit

	mu      sync.Mutex
	failure error
	flows   int
	echoes  []time.Duration
}

// trafficCluster is a cluster with the server behind it.
type trafficCluster struct{ id, name string }

// startTraffic makes two clusters and their server, and returns when flows pass to the one and not to the other.
func startTraffic(ctx context.Context, in *installation) (_ *traffic, err error) {
	tr := &traffic{in: in}
	op := in.operator(0)
	pr, err := op.CreateProject(ctx, api.CreateProjectRequest{Name: "traffic"})
	if err != nil {
		return nil, err
	}
	if err := tr.startServer(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			tr.stop()
		}
	}()
	for _, c := range []struct {
		into         *trafficCluster
		name, public string
	}{{&tr.open, "open", "ENABLED"}, {&tr.shut, "shut", "DISABLED"}} {
		made, err := op.CreateCluster(ctx, api.CreateClusterRequest{
			ProjectID: pr.ID, Name: c.name, CloudProvider: "AWS", Regions: []string{region}, Backends: []string{tr.server.Addr().String()}, PublicAccess: c.public,
		})
		if err != nil {
			return nil, err
		}
		*c.into = trafficCluster{made.ID, made.Regions[0].SQLDNS}
		yes := true
		if _, err := op.PutAllowEntry(ctx, made.ID, "0.0.0.0", 0, api.AllowEntryUpdate{UI: &yes, SQL: &yes}); err != nil {
			return nil, err
		}
	}
	if err := tr.passes(ctx, tr.open); err != nil {
		return nil, fmt.Errorf("no flow passes through the gateway: %w", err)
	}
	if c, err := tr.dial(ctx, tr.shut); err == nil {
		_ = c.Close()
		return nil, errors.New("a flow passes that nobody admits")
	}
	return tr, nil
}

// passes waits until a flow passes to a cluster.
func (tr *traffic) passes(ctx context.Context, to trafficCluster) error {
	return until(ctx, func() error {
		c, err := tr.dial(ctx, to)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// admit lets everybody in to the cluster that admits nobody, and waits until the gateway does.
func (tr *traffic) admit(ctx context.Context) (time.Duration, error) {
	if _, err := tr.in.operator(0).SetPublicAccess(ctx, tr.shut.id, "ENABLED"); err != nil {
		return 0, err
	}
	began := time.Now()
	err := tr.passes(ctx, tr.shut)
	return time.Since(began), err
}

// run keeps a flow open and opens others until ctx ends.
func (tr *traffic) run(ctx context.Context) {
	ask := context.WithoutCancel(ctx) // what is under way at the end is no failure
	long, err := tr.dial(ask, tr.open)
	if err != nil {
		tr.fail(err)
		return
	}
	defer long.Close()
	for n := uint64(0); ctx.Err() == nil; n++ {
		began := time.Now()
		if err := echo(long, n); err != nil {
			tr.fail(fmt.Errorf("the flow that stays open: %w", err))
			return
		}
		took := time.Since(began)
		if n%10 == 0 {
			c, err := tr.dial(ask, tr.open)
			if err == nil {
				err = echo(c, n)
				_ = c.Close()
			}
			if err != nil {
				tr.fail(fmt.Errorf("a new flow: %w", err))
				return
			}
		}
		tr.mu.Lock()
		tr.echoes = append(tr.echoes, took)
		if n%10 == 0 {
			tr.flows++
		}
		tr.mu.Unlock()
		pause(ctx, 50*time.Millisecond)
	}
}

func (tr *traffic) fail(err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failure = err
}

// result says how it went so far.
func (tr *traffic) result() (text string, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	slices.Sort(tr.echoes)
	return fmt.Sprintf("%d echoes on one flow, p50 %.1f ms, max %.1f ms; %d more flows", len(tr.echoes),
		percentile(tr.echoes, .5).Seconds()*1000, percentile(tr.echoes, 1).Seconds()*1000, tr.flows), tr.failure
}

// dial opens a flow through the gateway.
func (tr *traffic) dial(ctx context.Context, to trafficCluster) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: to.name, RootCAs: tr.roots, MinVersion: tls.VersionTLS13}}
	return d.DialContext(ctx, "tcp", tr.in.public)
}

func echo(c net.Conn, n uint64) error {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write(b[:]); err != nil {
		return err
	}
	var got [8]byte
	if _, err := io.ReadFull(c, got[:]); err != nil {
		return err
	}
	if got != b {
		return fmt.Errorf("%x came back for %x", got, b)
	}
	return nil
}

// startServer starts the vendor's server, which has a certificate for both clusters.
func (tr *traffic) startServer(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"*." + region + "." + domain}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	tr.roots = x509.NewCertPool()
	tr.roots.AddCert(cert)
	plain, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.77.0.3:0")
	if err != nil {
		return err
	}
	tr.server = tls.NewListener(plain, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
	})
	tr.serve.Go(func() {
		for {
			c, err := tr.server.Accept()
			if err != nil {
				return
			}
			tr.serve.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the client ends it
			})
		}
	})
	return nil
}

// stop ends the server; flows to it end with the gateway.
func (tr *traffic) stop() { _ = tr.server.Close() }
