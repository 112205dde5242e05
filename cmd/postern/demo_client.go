package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// internet is the vantage point outside every VPC.
const internet = "internet"

// answer is what an HTTPS GET came to.
type answer struct {
	status int
	body   string
	err    error
}

// get asks https://name/ from a vantage point, as an application there would.
func (d *demo) get(ctx context.Context, from, name string) answer {
	return d.getVia(ctx, from, name, name)
}

// getVia asks for name at the address of host.
func (d *demo) getVia(ctx context.Context, from, host, name string) answer {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tr := d.transport(from, host)
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+name+"/", nil)
	if err != nil {
		return answer{err: err}
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return answer{err: plain(err)}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return answer{status: resp.StatusCode, body: string(b), err: err}
}

// openStream opens a flow that stays open: the body of a streamed answer. The caller closes it.
func (d *demo) openStream(ctx context.Context, from, name string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+name+"/stream", nil)
	if err != nil {
		return nil, err
	}
	resp, err := d.transport(from, name).RoundTrip(req)
	if err != nil {
		return nil, plain(err)
	}
	if resp.StatusCode != http.StatusOK {
		closeQuietly(resp.Body)
		return nil, fmt.Errorf("the stream is answered with %s", resp.Status)
	}
	return resp.Body, nil
}

// transport connects to port 443 of host from a vantage point, whatever name is asked for, and trusts the embedded
// authority alone.
func (d *demo) transport(from, host string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.stack.fabric.Dial(ctx, from, network, net.JoinHostPort(host, "443"))
		},
		TLSClientConfig:     &tls.Config{RootCAs: d.stack.ca.pool(), MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second,
		DisableKeepAlives:   true,
	}
}

// plain strips what net/http puts around an error.
func plain(err error) error {
	for {
		u := errors.Unwrap(err)
		if u == nil || strings.HasPrefix(err.Error(), "tls:") {
			return err
		}
		if errors.Is(u, io.EOF) {
			return errors.New("the gateway closed the connection without a word")
		}
		err = u
	}
}

// answered and refused are what an answer can be waited for to be.
func answered(a answer) error {
	switch {
	case a.err != nil:
		return a.err
	case a.status != http.StatusOK:
		return fmt.Errorf("answered with %d", a.status)
	}
	return nil
}

func refused(a answer) error {
	if a.err == nil {
		return fmt.Errorf("answered with %d", a.status)
	}
	return nil
}

// eventually asks until the answer is as wanted: a change of rules takes a moment to reach the gateway.
func (d *demo) eventually(ctx context.Context, from, name string, want func(answer) error) (a answer, err error) {
	err = d.until(ctx, 10*time.Second, func() error {
		a = d.get(ctx, from, name)
		return want(a)
	})
	return a, err
}

// until tries do every 50 ms until it returns nil, for at most limit, and returns its last error otherwise.
func (d *demo) until(ctx context.Context, limit time.Duration, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// invocation is how this program was most likely started, for commands that a person is told to type.
func invocation() string {
	exe, err := os.Executable()
	if err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/postern"
	}
	return "postern"
}
