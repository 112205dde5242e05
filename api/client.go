package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client calls the API of one installation. It is safe for concurrent use. Reads that the server put off (429, 503) are
// tried again, after as long as the server asked for; nothing else is: whether to repeat a write is for the caller to say.
type Client struct {
	base     string
	token    string
	http     *http.Client
	agent    string
	attempts int
	sleep    func(context.Context, time.Duration) error
}

// Option changes how a Client works.
type Option func(*Client)

// WithHTTPClient makes the client use h, which stays the caller's. A h with a Timeout cannot hold a stream of rules open
// for longer than that.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithUserAgent makes the client call itself agent.
func WithUserAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// WithAttempts sets how often a read is tried in all: 4 when not set, 1 for no retry.
func WithAttempts(n int) Option { return func(c *Client) { c.attempts = max(n, 1) } }

// withSleep replaces the wait between attempts. For tests.
func withSleep(f func(context.Context, time.Duration) error) Option {
	return func(c *Client) { c.sleep = f }
}

// New returns a client for the API at baseURL (scheme, host and, behind a proxy, a path; without /api/v1). token may be
// empty for the calls that need none.
func New(baseURL, token string, opts ...Option) *Client {
	c := &Client{
		base: strings.TrimRight(baseURL, "/"), token: token,
		http: http.DefaultClient, agent: "postern-go", attempts: 4, sleep: sleep,
	}
	for _, o := range opts {
		o(c)
	}
	return c
}

// BaseURL returns the URL that the client was made for.
func (c *Client) BaseURL() string { return c.base }

// OpenAPI returns the server's OpenAPI document.
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.call(ctx, http.MethodGet, &url.URL{Path: "/openapi.json"}, nil, nil, &out)
	return out, err
}

// Healthy reports whether the server runs: nil when it does.
func (c *Client) Healthy(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, &url.URL{Path: "/healthz"}, nil, nil, nil)
}

// Ready reports whether the server can do its work: nil when it can. It is not tried again: not being ready is an answer.
func (c *Client) Ready(ctx context.Context) error {
	once := *c
	once.attempts = 1
	return once.call(ctx, http.MethodGet, &url.URL{Path: "/readyz"}, nil, nil, nil)
}

const (
	maxAnswer    = 32 << 20 // bytes of an answer that are read; more is an error
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 10 * time.Second // also the longest Retry-After that is waited for
)

// path makes the URL of segments under /api/v1, each escaped as a whole: an endpoint id may hold slashes.
func path(segments ...string) *url.URL {
	plain, raw := "/api/v1", "/api/v1"
	for _, s := range segments {
		plain += "/" + s
		raw += "/" + escapeSegment(s)
	}
	return &url.URL{Path: plain, RawPath: raw}
}

// escapeSegment escapes s as one path segment. "." and ".." would be resolved away by every server on the way.
func escapeSegment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

func networking(clusterID string, segments ...string) *url.URL {
	return path(append([]string{"clusters", clusterID, "networking"}, segments...)...)
}

// call sends one request, with in as its JSON body when that is not nil, and reads the answer into out when that is not
// nil. Any status but 2xx is an *Error.
func (c *Client) call(ctx context.Context, method string, u *url.URL, query url.Values, in, out any) error {
	return c.callTagged(ctx, method, u, query, in, out, nil)
}

// errUnchanged is what a request with a tag comes to when what it asks for still has the tag.
var errUnchanged = errors.New("it is unchanged")

// callTagged is call. Where tag is not nil, an answer is read only when its entity tag is another than *tag, which becomes that
// one, and the error is errUnchanged otherwise; an empty one is that of nothing.
func (c *Client) callTagged(ctx context.Context, method string, u *url.URL, query url.Values, in, out any, tag *string) error {
	var body []byte
	if report, ok := in.(GatewayReport); ok {
		body = report.AppendJSON(make([]byte, 0, flowJSON*len(report.Flows)+1<<10))
	} else if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("the request cannot be written as JSON: %w", err)
		}
	}
	if len(query) > 0 {
		u.RawQuery = query.Encode()
	}
	for attempt := 1; ; attempt++ {
		wait, err := c.once(ctx, method, u, body, out, attempt, tag)
		if err == nil || wait < 0 || method != http.MethodGet || attempt >= c.attempts {
			return err
		}
		if c.sleep(ctx, wait) != nil {
			return err
		}
	}
}

// once sends one request. With an error that a read may be repeated after, it returns how long to wait first, and a
// negative duration otherwise.
func (c *Client) once(ctx context.Context, method string, u *url.URL, body []byte, out any, attempt int, tag *string) (time.Duration, error) {
	req, err := c.request(ctx, method, u, "application/json", body)
	if err != nil {
		return -1, err
	}
	if tag != nil && *tag != "" {
		req.Header.Set("If-None-Match", *tag)
	}
	resp, err := c.do(req)
	if err != nil {
		return -1, err
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the TCP stream is used again
		_ = resp.Body.Close()
	}()
	if tag != nil && resp.StatusCode == http.StatusNotModified {
		return -1, errUnchanged
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		wait := time.Duration(-1)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			wait = retryAfter(resp.Header.Get("Retry-After"), attempt)
		}
		return wait, readError(resp)
	}
	if out == nil {
		return -1, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return -1, fmt.Errorf("the answer to %s %s broke off: %w", method, u.Path, err)
	}
	if len(b) > maxAnswer {
		return -1, fmt.Errorf("the answer to %s %s is longer than %d bytes", method, u.Path, maxAnswer)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return -1, fmt.Errorf("the answer to %s %s is not what this client understands: %w", method, u.Path, err)
	}
	if tag != nil {
		*tag = resp.Header.Get("ETag")
	}
	return -1, nil
}

// get sends one request for what is read as it comes, and returns the answer, whatever its status; the caller closes its body.
func (c *Client) get(ctx context.Context, u *url.URL, accept string) (*http.Response, error) {
	req, err := c.request(ctx, http.MethodGet, u, accept, nil)
	if err != nil {
		return nil, err
	}
	return c.do(req)
}

func (c *Client) request(ctx context.Context, method string, u *url.URL, accept string, body []byte) (*http.Request, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+u.String(), r)
	if err != nil {
		return nil, fmt.Errorf("the API's address is not a URL: %w", err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", c.agent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		// *url.Error repeats the whole URL; what went wrong is enough beside the method and the path.
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, fmt.Errorf("%s %s://%s%s: %w", req.Method, req.URL.Scheme, req.URL.Host, req.URL.Path, err)
	}
	return resp, nil
}

// readError makes an *Error of an answer, also of one that something other than the API gave.
func readError(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		e.Code, e.Details = 0, nil
		e.Message = fmt.Sprintf("the server answered %d %s, not as this API does", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return e
}

// retryAfter returns how long to wait before the next attempt: what the server asked for, in seconds (RFC 9110, section
// 10.2.3), otherwise twice as long each time, with a random part. It is negative when the server asks for longer than
// anybody should wait in a call.
func retryAfter(header string, attempt int) time.Duration {
	if s, err := strconv.Atoi(strings.TrimSpace(header)); err == nil && s >= 0 {
		if s > int(maxBackoff/time.Second) {
			return -1
		}
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(header); err == nil {
		d := max(time.Until(t), 0)
		if d > maxBackoff {
			return -1
		}
		return d
	}
	d := min(firstBackoff<<min(attempt-1, 10), maxBackoff)
	return d/2 + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
