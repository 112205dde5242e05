package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/verify"
)

// place says from where a path is looked at, and by which roots its certificate is judged.
type place struct {
	proxy     string // socks5h://VPC:x@host:port; empty: this machine
	dnsServer string
	caFile    string
}

func (p *place) flags(f *pflag.FlagSet) {
	f.StringVar(&p.proxy, "proxy", "", "look from behind this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT (default $POSTERN_PROXY, else this machine)")
	f.StringVar(&p.dnsServer, "dns-server", "", "the resolver of that place, HOST:PORT (default $POSTERN_DNS)")
	f.StringVar(&p.caFile, "ca-file", "", "roots that the service's certificate is checked against (default $POSTERN_CA_FILE, else the system's)")
}

// settle fills what the flags left open from the environment, then from a running "postern up" on r.
func (p *place) settle(r *Ready, vpcID string) {
	for _, v := range []struct {
		field *string
		name  string
	}{{&p.proxy, "POSTERN_PROXY"}, {&p.dnsServer, "POSTERN_DNS"}, {&p.caFile, "POSTERN_CA_FILE"}} {
		if *v.field == "" {
			*v.field = os.Getenv(v.name)
		}
	}
	if r != nil && p.proxy == "" {
		p.inside(r, vpcID)
	}
}

// inside makes p a VPC of the embedded cloud, as far as p does not say otherwise.
func (p *place) inside(r *Ready, vpcID string) {
	for _, acc := range r.Accounts {
		if acc.VPCID == vpcID {
			p.proxy = "socks5h://" + vpcID + ":x@" + r.SOCKSAddr
			if p.dnsServer == "" {
				p.dnsServer = acc.DNSAddr
			}
		}
	}
	if p.caFile == "" {
		p.caFile = r.CAFile
	}
}

// vantage opens the place.
func (p *place) vantage() (verify.Vantage, error) {
	if p.proxy == "" {
		return verify.Local(), nil
	}
	v, err := verify.SOCKS5(p.proxy, p.dnsServer)
	if err != nil {
		return v, usagef("write it as socks5h://vpc-…:x@127.0.0.1:1080, and the DNS server as 127.0.0.1:53", "the vantage point cannot be used: %v", err)
	}
	return v, nil
}

// roots reads the certificates that the service's chain has to end in; nil means the system's.
func (p *place) roots() (*x509.CertPool, error) {
	if p.caFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(p.caFile)
	if err != nil {
		return nil, usagef("give a readable PEM file to --ca-file", "the roots cannot be read: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, usagef("give a file with PEM certificates to --ca-file", "%s holds no certificate", p.caFile)
	}
	return pool, nil
}

// proofKeys asks the control plane for the gateways' keys.
func proofKeys(ctx context.Context, c *api.Client, clusterID string) ([]ed25519.PublicKey, error) {
	ks, err := c.ProofKeys(ctx, clusterID)
	if err != nil {
		return nil, err
	}
	keys := make([]ed25519.PublicKey, 0, len(ks))
	for _, k := range ks {
		keys = append(keys, ed25519.PublicKey(k.Key))
	}
	return keys, nil
}

// vendorFacts asks the control plane what it knows of the path: the other side of the diagnosis. What it does not tell
// this caller stays unknown.
func vendorFacts(ctx context.Context, c *api.Client, clusterID string, endpoint link.EndpointID, region string) verify.Vendor {
	v := verify.Vendor{}
	if endpoint != "" {
		cn, err := c.Connection(ctx, clusterID, string(endpoint))
		switch {
		case err == nil:
			v.Connection = linkConnection(cn)
		case !api.IsNotFound(err):
			return v
		}
	}
	l, err := c.RefusedAttempts(ctx, clusterID, api.Page{Limit: 500})
	if err != nil {
		return v
	}
	v.Known = true
	attempts := l.RefusedAttempts
	// Those whose name led to no cluster, or whose endpoint could not be read, are told to operators only.
	if l, err := c.UnroutedAttempts(ctx, api.Page{Limit: 500}); err == nil {
		attempts = append(attempts, l.RefusedAttempts...)
	}
	for _, r := range attempts {
		v.Refused = append(v.Refused, link.RefusedAttempt{
			ClusterID: link.ID(r.ClusterID), Listener: link.Listener(r.Listener), EndpointID: link.EndpointID(r.EndpointID), Name: r.Name,
			Source: r.Source, Reason: r.Reason, WouldRefuse: r.WouldRefuse, Count: r.Count, FirstAt: r.FirstAt, LastAt: r.LastAt,
		})
	}
	if v.Connection != nil {
		if b := link.ConditionOf(v.Connection.Conditions, link.ConditionBackendHealthy); b.Status != link.Unknown {
			v.Backends = []link.BackendHealth{{ClusterID: link.ID(clusterID), Healthy: b.Status == link.True, Reason: b.Reason, At: b.LastTransition}}
		}
	}
	if l, err := c.Gateways(ctx); err == nil { // operators only
		v.RulesRevision = l.RulesRevision
		for _, g := range l.Gateways {
			v.Gateways = append(v.Gateways, link.Gateway{ID: g.ID, AppliedRevision: g.AppliedRevision, LastSeenAt: g.LastSeenAt})
		}
	}
	if ss, err := c.Services(ctx, clusterID); err == nil {
		for _, s := range ss {
			if s.RegionName == region || region == "" {
				v.ServiceState, v.ServiceZoneIDs = link.ServiceState(s.Status), s.AvailabilityZoneIDs
				v.Reachable = link.ConditionOf(linkConditions(s.Conditions), link.ConditionReachable)
			}
		}
	}
	if p, err := c.PublicAccess(ctx, clusterID); err == nil {
		v.PublicAccess = link.PublicAccess(p.Mode)
	}
	return v
}

func linkConnection(c api.Connection) *link.Connection {
	return &link.Connection{
		EndpointID: link.EndpointID(c.EndpointID), Provider: link.Provider(c.CloudProvider), Region: c.RegionName,
		ServiceID: c.EndpointServiceID, ServiceName: c.ServiceName, OwnerID: c.ExternalOwnerID,
		State: link.State(trimStatus(c.Status)), CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		Conditions: linkConditions(c.Conditions),
	}
}

func linkConditions(cs []api.Condition) []link.Condition {
	out := make([]link.Condition, 0, len(cs))
	for _, k := range cs {
		out = append(out, link.Condition{
			Type: k.Type, Status: link.Truth(k.Status), Reason: k.Reason, Message: k.Message, NextStep: k.NextStep,
			LastTransition: k.LastTransitionTime,
		})
	}
	return out
}
