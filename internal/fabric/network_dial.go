package fabric

import (
	"context"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// SOCKSAddr is where the SOCKS5 vantage point listens. The user name of a client says where it stands: a VPC's id, that
// and a subnet's ("vpc-…/subnet-…"), or [Internet]; its password says nothing.
func (f *Fabric) SOCKSAddr() string { return f.network.socks.ln.Addr().String() }

// HTTPProxyAddr is where the HTTP CONNECT vantage point listens. The user name of the proxy credentials is as with
// SOCKS.
func (f *Fabric) HTTPProxyAddr() string { return f.network.http.ln.Addr().String() }

// DNSAddr is where the DNS server of a VPC, or of [Internet], answers, over UDP and TCP. It is "" for an unknown VPC.
// The port is the same as long as the fabric runs.
func (f *Fabric) DNSAddr(vpcID string) string { return f.network.dnsAddr(vpcID) }

// Dial connects from a vantage point, named as a SOCKS user is, to a name or address with a port as seen from there.
// network is "tcp" or "tcp4".
//
// The error is a *net.OpError as from [net.Dialer]: around a *net.DNSError, around ECONNREFUSED or ENETUNREACH, or one
// whose Timeout is true. What the network drops, it drops in silence: such a dial holds until ctx ends, two minutes at
// most, and still succeeds when meanwhile the way opens. The connection can half-close (it has CloseWrite), and its
// addresses are the client's and the dialled one in the fabric's world. The caller closes it.
func (f *Fabric) Dial(ctx context.Context, vpcID, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if network != "tcp" && network != "tcp4" {
		return fail(net.UnknownNetworkError(network))
	}
	from, ok := f.network.admit(vpcID)
	if !ok {
		return fail(&net.AddrError{Err: "no such vantage point", Addr: vpcID})
	}
	host, port, err := splitAddress(address)
	if err != nil {
		return fail(err)
	}
	fl, err := f.network.dial(ctx, from, host, port)
	if err != nil {
		return nil, err
	}
	return fl, nil
}

// LookupHost returns the IPv4 addresses that name has in a VPC, or on the [Internet]. The error is a *net.DNSError.
func (f *Fabric) LookupHost(ctx context.Context, vpcID, name string) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.network.lookup(vpcID, name)
}

// addressesOf resolves a name to addresses as a stub resolver does.
func (v *view) addressesOf(name string) ([]netip.Addr, error) {
	missing := func(rcode int) error {
		e := &net.DNSError{Name: name, Server: "the VPC's resolver"}
		switch rcode {
		case dns.RcodeSuccess, dns.RcodeNameError:
			e.Err, e.IsNotFound = "no such host", true
		default:
			e.Err, e.IsTemporary = "server misbehaving", rcode == dns.RcodeServerFailure
		}
		return e
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return nil, missing(dns.RcodeNameError)
	}
	a := v.resolve(name, dns.TypeA)
	var addrs []netip.Addr
	for _, rr := range a.records {
		if rr, ok := rr.(*dns.A); ok {
			if addr, ok := netip.AddrFromSlice(rr.A); ok {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	if len(addrs) == 0 {
		return nil, missing(a.rcode)
	}
	return addrs, nil
}
