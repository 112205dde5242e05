package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postern/postern/internal/link"
)

// mostAnswer is how much of an answer is read, in bytes: enough to use the TCP stream again.
const mostAnswer = 16 << 10

// sign makes the value of the header webhook-signature: one signature per key that is good now.
func sign(k link.SigningKeys, id string, at time.Time, body []byte) string {
	signed := fmt.Sprintf("%s.%d.", id, at.Unix())
	var out []string
	for _, key := range [][]byte{k.Now, k.Before} {
		if key == nil {
			continue
		}
		h := hmac.New(sha256.New, key)
		h.Write([]byte(signed))
		h.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// post sends a parcel as a webhook.
func (n *Notifier) post(ctx context.Context, p parcel) result {
	body, err := payloadOf(p, n.cfg.PublicURL).body()
	if err != nil {
		return result{words: "the message cannot be written as JSON"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.webhook.URL, bytes.NewReader(body))
	if err != nil {
		return result{words: "the URL is not one that anything can be sent to"}
	}
	now := n.cfg.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", n.cfg.Agent)
	req.Header.Set("webhook-id", string(p.delivery.ID))
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", sign(p.keys, string(p.delivery.ID), now, body))
	resp, err := n.http.Do(req)
	if err != nil {
		return result{words: inWords(err, n.cfg.Timeout)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, mostAnswer) // what it says does not matter
	r := result{status: resp.StatusCode, arrived: resp.StatusCode >= 200 && resp.StatusCode <= 299, gone: resp.StatusCode == http.StatusGone}
	if !r.arrived {
		r.words = strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
		r.retryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	if resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		r.words += ": redirects are not followed"
	}
	return r
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110, section 10.2.3). It is 0 when there is none that
// can be read.
func retryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// errNotPublic is why nothing was sent to an address.
var errNotPublic = errors.New("the address is not public")

// newClient returns a client that reaches public addresses alone, and those that are allowed. The address is looked at
// when it is dialled, so that no name can lead elsewhere than it did when it was looked at.
func newClient(cfg Config) *http.Client {
	dialer := &net.Dialer{
		Timeout: cfg.Timeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return errNotPublic
			}
			addr := at.Addr().Unmap()
			if link.PublicAddress(addr) || slices.ContainsFunc(cfg.Open, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				return nil
			}
			return errNotPublic
		},
	}
	return &http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// No proxy: it would dial what we may not.
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    cfg.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
		},
	}
}

// inWords says why there was no answer, for whoever owns the subscription. What an error says of our side stays out of it.
func inWords(err error, within time.Duration) string {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		host x509.HostnameError
		rec  tls.RecordHeaderError
		ne   net.Error
	)
	switch {
	case errors.Is(err, errNotPublic):
		return "the receiver's name leads to an address that is not public"
	case errors.As(err, &dns):
		return "the receiver's name cannot be resolved"
	case errors.As(err, &cert), errors.As(err, &host):
		return "the receiver's certificate cannot be verified"
	case errors.As(err, &rec), errors.Is(err, http.ErrSchemeMismatch):
		return "the receiver does not speak TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the receiver refuses connections"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return fmt.Sprintf("no answer within %.0f seconds", within.Seconds())
	}
	return "the receiver could not be reached"
}
