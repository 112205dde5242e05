package verify

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
)

// Vantage is a place in a network from which a path is probed. Name and Dial are required.
type Vantage struct {
	// Name says where this is, for the report. It holds no secret.
	Name string

	// Dial connects as net.Dialer.DialContext does. An error of the vantage point itself, which says nothing about the
	// path, is or wraps a *VantageError.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Resolve asks the resolver of this place one question. nil: the vantage point resolves names while it dials, and
	// nothing can be said about DNS.
	Resolve func(ctx context.Context, name string, typ RecordType) (Answer, error)

	// System resolves as applications at this place do, hosts file included; nil when that is the same as Resolve.
	System func(ctx context.Context, name string) ([]netip.Addr, error)

	// Proxy tells through which HTTP proxy applications at this place would fetch u, nil for none. The field may be nil.
	Proxy func(u *url.URL) (*url.URL, error)

	// Outside is a place outside the private network, from which the public door is tried; nil: this place itself.
	Outside *Vantage
}

// VantageError says that the vantage point does not work, so that nothing is known about the path.
type VantageError struct {
	Vantage string
	Err     error
}

func (e *VantageError) Error() string { return "vantage point " + e.Vantage + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *VantageError) Unwrap() error { return e.Err }

// Local is this machine: its own interfaces and the resolvers of /etc/resolv.conf.
func Local() Vantage {
	var dialer net.Dialer
	v := Vantage{
		Name: "this machine",
		Dial: dialer.DialContext,
		System: func(ctx context.Context, name string) ([]netip.Addr, error) {
			addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
			for i, a := range addrs {
				addrs[i] = a.Unmap()
			}
			return addrs, err
		},
		Proxy: func(u *url.URL) (*url.URL, error) { return http.ProxyFromEnvironment(&http.Request{URL: u}) },
	}
	if host, err := os.Hostname(); err == nil {
		v.Name = host
	}
	v.Resolve = Resolver(systemServers("/etc/resolv.conf")...)
	return v
}

// SOCKS5 is the place behind a SOCKS5 proxy (RFC 1928): proxy is its URL, socks5://user:password@host:port; the user
// name chooses the network when the proxy stands for several. dnsServer is host:port of the resolver of that place, asked
// directly and not through the proxy; when it is empty the proxy resolves.
func SOCKS5(proxy, dnsServer string) (Vantage, error) {
	s, err := parseSOCKS5(proxy)
	if err != nil {
		return Vantage{}, err
	}
	v := Vantage{Name: s.place(), Dial: s.dial}
	if dnsServer != "" {
		if _, _, err := net.SplitHostPort(dnsServer); err != nil {
			return Vantage{}, err
		}
		v.Resolve = Resolver(dnsServer)
	}
	return v, nil
}

// Resolver asks the DNS servers in turn, each given as host:port, over this machine's own network. It is what a Vantage
// made by hand takes as Resolve.
func Resolver(servers ...string) func(ctx context.Context, name string, typ RecordType) (Answer, error) {
	return func(ctx context.Context, name string, typ RecordType) (Answer, error) {
		return exchangeAny(ctx, servers, name, typ)
	}
}
