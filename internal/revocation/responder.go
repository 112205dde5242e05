package revocation

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/ocsp"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
)

// mostAnswer is how long an answer may be, in bytes.
const mostAnswer = 64 << 10

// question asks a responder: by POST, and by GET where that is refused (RFC 6960, appendix A).
func (k *Keeper) question(ctx context.Context, q clientcert.Question) (clientcert.Answer, error) {
	request, err := ocsp.CreateRequest(q.Leaf, q.Issuer, nil)
	if err != nil {
		return clientcert.Answer{}, fmt.Errorf("make the question: %w", err)
	}
	body, err := k.exchange(ctx, http.MethodPost, q.URL, request)
	if errors.Is(err, errStatus) {
		body, err = k.exchange(ctx, http.MethodGet, strings.TrimSuffix(q.URL, "/")+"/"+
			url.QueryEscape(base64.StdEncoding.EncodeToString(request)), nil)
	}
	if err != nil {
		return clientcert.Answer{}, err
	}
	return clientcert.ReadAnswer(q, body, k.config.Now())
}

// errStatus says that a responder answered, and not with an answer.
var errStatus = errors.New("no answer to a question")

func (k *Keeper) exchange(ctx context.Context, method, address string, request []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(request))
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/ocsp-request")
	}
	r.Header.Set("Accept", "application/ocsp-response")
	r.Header.Set("User-Agent", "postern")
	// The transport itself follows no redirect, which could lead anywhere.
	answer, err := k.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "application/ocsp-response" {
		return nil, fmt.Errorf("%w: status %d, %.40q", errStatus, answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask: %w", err)
	case len(body) > mostAnswer:
		return nil, fmt.Errorf("the answer is longer than %d bytes", mostAnswer)
	}
	return body, nil
}

// newTransport reaches permitted addresses alone, without a proxy, and keeps no connection: the questions are few, and
// far between.
func (k *Keeper) newTransport() *http.Transport {
	return &http.Transport{
		DialContext: k.dial, DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: timeout,
		MaxResponseHeaderBytes: 16 << 10,
	}
}

// dial resolves a host once, and connects to what it found: a second look-up could find something else. An address that
// is not permitted spoils the whole answer, since whoever gave it may not be trusted with the others.
func (k *Keeper) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := k.config.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !k.permits(a) {
			return nil, fmt.Errorf("the responder's address %s is not a public one", a)
		}
	}
	err = errors.New("the responder has no address")
	for _, a := range addrs {
		var d net.Dialer
		var conn net.Conn
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// permits reports whether a responder may have an address. What a certificate says is a CA's word, and may lead to what
// only this machine reaches.
func (k *Keeper) permits(a netip.Addr) bool {
	a = a.Unmap()
	return link.PublicAddress(a) || slices.ContainsFunc(k.config.Private, func(p netip.Prefix) bool { return p.Contains(a) })
}
