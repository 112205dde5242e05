package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// mostHops is how many hosts are asked, the first one included.
const mostHops = 3

var (
	errNotAllowed = errors.New("the redirect's host is not one that may be followed")
	errForbidden  = errors.New("the redirect's host has an address that may not be dialled")
	errAnswer     = errors.New("the redirect's host answers")
	errTooMany    = errors.New("too many redirects")
	errTooBig     = errors.New("the redirect's answer is too long")
)

// mayFollow makes the request for a redirect's target: https, and a host of the site's list, with its port.
func (s *Site) mayFollow(target string) (*http.Request, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, errNotAllowed // url.Parse's error repeats the address
	}
	host := withPort(strings.ToLower(u.Host))
	if u.Scheme != "https" || u.User != nil || u.Opaque != "" || !s.hosts[host] {
		return nil, fmt.Errorf("%w: %s://%s", errNotAllowed, u.Scheme, u.Host)
	}
	u.Fragment, u.RawFragment = "", ""
	return &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"User-Agent": {""}}}, nil
}

// follower gets what redirects lead to.
type follower struct {
	cfg       *Config
	transport *http.Transport
}

func newFollower(cfg *Config) *follower {
	f := &follower{cfg: cfg}
	f.transport = &http.Transport{
		Proxy: nil, DialContext: f.dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Follow.Roots},
		TLSHandshakeTimeout: cfg.Timeouts.Handshake, ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: int64(cfg.Limits.Header),
		MaxIdleConnsPerHost: 16, IdleConnTimeout: cfg.Timeouts.IdleNode, DisableCompression: true, ForceAttemptHTTP2: false,
	}
	return f
}

func (f *follower) close() { f.transport.CloseIdleConnections() }

// get sends a request and follows where it leads, as far as the site allows. The answer is one that a client can use: with
// content, or one to a condition. done ends it.
func (f *follower) get(ctx context.Context, site *Site, r *http.Request) (resp *http.Response, done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Follow.MaxTime)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	for range mostHops {
		resp, err := f.transport.RoundTrip(r.WithContext(ctx))
		if err != nil {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err // without the address
			}
			return nil, nil, err
		}
		if !isRedirect(resp.StatusCode) {
			switch resp.StatusCode {
			case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
			default:
				resp.Body.Close()
				return nil, nil, fmt.Errorf("%w with status %d", errAnswer, resp.StatusCode)
			}
			if resp.ContentLength > f.cfg.Follow.MaxSize {
				resp.Body.Close()
				return nil, nil, errTooBig
			}
			resp.Body = &limited{ReadCloser: resp.Body, left: f.cfg.Follow.MaxSize}
			return resp, func() {
				resp.Body.Close()
				cancel()
			}, nil
		}
		resp.Body.Close()
		to, err := r.URL.Parse(resp.Header.Get("Location"))
		if err != nil {
			return nil, nil, errNotAllowed
		}
		next, err := site.mayFollow(to.String())
		if err != nil {
			return nil, nil, err
		}
		next.Method, next.Header = r.Method, r.Header
		r = next
	}
	return nil, nil, errTooMany
}

// dial resolves a host once and dials an address that it is allowed to have.
func (f *follower) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeouts.Dial)
	defer cancel()
	resolve := f.cfg.Follow.Resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	last := errForbidden
	for _, addr := range addrs {
		if !mayDial(addr, f.cfg.Follow.Private) {
			continue
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(addr.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// notPublic are ranges that nobody is reached by from outside, as IANA's special-purpose registries have them, beyond
// those that netip tells.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's metadata
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// mayDial reports whether an address is a public one, or allowed all the same.
func mayDial(addr netip.Addr, allowed []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range allowed {
		if p.Contains(addr) {
			return true
		}
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// limited ends with an error when more comes than is allowed.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n, errTooBig
	}
	return n, err
}
