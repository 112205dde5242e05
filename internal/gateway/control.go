package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

const (
	retryPause    = 200 * time.Millisecond
	retryPauseMax = 15 * time.Second
	postTimeout   = 10 * time.Second
	flushTimeout  = 2 * time.Second
	mostRuleBytes = 256 << 20 // one document of the rules stream
)

// controlClient speaks to the control plane.
type controlClient struct {
	cfg   Config
	http  *http.Client
	base  string
	saved atomic.Int64  // the revision that is applied and on disk
	due   chan struct{} // holds one token when saved has to be acknowledged
}

func newControlClient(cfg Config) *controlClient {
	c := &controlClient{cfg: cfg, http: cfg.HTTPClient, base: strings.TrimSuffix(cfg.ControlURL, "/"), due: make(chan struct{}, 1)}
	if c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = cfg.KeepAlive
		c.http = &http.Client{Transport: t}
	}
	return c
}

func (c *controlClient) close() {
	if c.cfg.HTTPClient == nil {
		c.http.CloseIdleConnections()
	}
}

// refusedError is an answer of the control plane other than 200.
type refusedError struct {
	status  int
	message string // as the control plane words it; may be empty
}

func (e *refusedError) Error() string {
	s := fmt.Sprintf("the control plane answered %d %s", e.status, http.StatusText(e.status))
	if e.message != "" {
		s += ": " + e.message
	}
	if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		s += " (check the gateway's token)"
	}
	return s
}

// permanent reports whether sending the same again can't help.
func (e *refusedError) permanent() bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusConflict:
		return true
	}
	return false
}

func (c *controlClient) do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	refused := &refusedError{status: resp.StatusCode}
	var body struct {
		Message string `json:"message"`
	}
	if text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10)); err == nil && json.Unmarshal(text, &body) == nil {
		refused.message = body.Message
	}
	return nil, refused
}

// post sends one document.
func (c *controlClient) post(ctx context.Context, path string, doc any) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	return resp.Body.Close()
}

// followRules keeps the rules stream open until ctx ends.
func (g *Gateway) followRules(ctx context.Context) {
	pause := backoff{}
	for ctx.Err() == nil {
		got, err := g.readRules(ctx)
		if ctx.Err() != nil {
			return
		}
		if got {
			pause = backoff{}
		}
		g.log.Warn("the rules stream ended: decides by the last rules and connects again",
			"revision", g.Revision(), "error", err)
		pause.wait(ctx)
	}
}

// readRules opens the rules stream and applies what comes until it ends. got says that rules came.
func (g *Gateway) readRules(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	query := url.Values{
		"gateway_id": {g.cfg.ID},
		"proof_key":  {base64.RawURLEncoding.EncodeToString(g.cfg.Key.Public().(ed25519.PublicKey))},
		"revision":   {strconv.FormatInt(g.Revision(), 10)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.ctl.base+"/api/v1/gateway/rules?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	// A control plane that vanished without a word sends nothing, not even the empty lines: the watch ends the stream.
	watch := time.AfterFunc(g.cfg.KeepAlive, func() { cancel(errSilent) })
	defer watch.Stop()
	resp, err := g.ctl.do(req)
	if err != nil {
		return false, because(ctx, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(&watchedReader{r: resp.Body, watch: watch, every: g.cfg.KeepAlive})
	lines.Buffer(make([]byte, 0, 64<<10), mostRuleBytes)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := g.apply(line); err != nil {
			return got, err
		}
		got = true
	}
	if err := lines.Err(); err != nil {
		return got, because(ctx, err)
	}
	return got, errors.New("the control plane closed the stream")
}

var errSilent = errors.New("the control plane fell silent")

// because returns the cause of ctx's end when ctx has ended, and err otherwise.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watchedReader puts off the watch with every read.
type watchedReader struct {
	r     io.Reader
	watch *time.Timer
	every time.Duration
}

func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.watch.Reset(w.every)
	}
	return n, err
}

// apply puts a document of the rules stream into force, cuts the flows that it no longer allows, keeps it on disk, and
// only then has it acknowledged. A revision below the last is applied like any other: the control plane was restored
// from a backup, and what it says holds.
func (g *Gateway) apply(doc []byte) error {
	wire, set, err := decodeRules(doc)
	if err != nil {
		return err
	}
	if before := g.Revision(); set.Revision < before {
		g.log.Warn("the control plane went back to an older revision", "from", before, "to", set.Revision)
	}
	rules := policy.Compile(set)
	g.rules.Store(rules)
	cut := g.flows.recheck(rules, reasonRevoked)
	g.back.keep(set)
	g.log.Info("rules applied", "revision", set.Revision, "clusters", len(set.Clusters), "flows_cut", cut)
	if g.cfg.RulesFile != "" {
		if err := saveRules(g.cfg.RulesFile, wire); err != nil {
			return fmt.Errorf("rules of revision %d are in force but could not be kept: %w", set.Revision, err)
		}
	}
	g.ctl.saved.Store(set.Revision)
	select {
	case g.ctl.due <- struct{}{}:
	default:
	}
	return nil
}

// acknowledge tells the control plane the revision in force, after each change and until it was heard.
func (g *Gateway) acknowledge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ctl.due:
		}
		for pause := (backoff{}); ; pause.wait(ctx) {
			revision := g.ctl.saved.Load()
			err := g.ctl.post(ctx, "/api/v1/gateway/ack", api.GatewayAck{GatewayID: g.cfg.ID, Revision: revision})
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				break
			}
			g.log.Warn("the revision in force could not be acknowledged: will go on trying", "revision", revision, "error", err)
		}
	}
}

// report sends what the gateway saw, in batches, until ctx ends, and then once more what is left. A batch that failed
// is sent again under its own id before any other, so that the control plane stores it once.
func (g *Gateway) report(ctx context.Context) {
	defer g.out.stop()
	const path = "/api/v1/gateway/reports"
	for {
		select {
		case <-ctx.Done():
			g.flush(path, nil)
			return
		case <-g.out.wake:
		}
		if !sleep(ctx, g.cfg.ReportEvery) {
			g.flush(path, nil)
			return
		}
		for {
			batch, some := g.out.batch()
			if !some {
				break
			}
			for pause := (backoff{}); ; pause.wait(ctx) {
				err := g.ctl.post(ctx, path, batch)
				if ctx.Err() != nil {
					g.flush(path, &batch) // when it did arrive after all, its id says so
					return
				}
				if err == nil {
					break
				}
				if refused, ok := errors.AsType[*refusedError](err); ok && refused.permanent() {
					g.log.Error("a report was refused and is dropped", "error", err, "flows", len(batch.Flows), "refused", len(batch.Refused))
					break
				}
				g.log.Warn("a report could not be sent: will go on trying", "error", err)
			}
		}
	}
}

// flush sends first, when there is one, and everything that waits, and gives up at the first failure.
func (g *Gateway) flush(path string, first *api.GatewayReport) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	batch, some := api.GatewayReport{}, first != nil
	if some {
		batch = *first
	} else {
		batch, some = g.out.batch()
	}
	for some {
		if err := g.ctl.post(ctx, path, batch); err != nil {
			g.log.Warn("the last reports could not be sent", "error", err)
			return
		}
		batch, some = g.out.batch()
	}
}

// backoff paces retries: it doubles from one to the next, and each pause is drawn between half of it and all of it, so
// that many gateways do not come back at once. The zero value starts anew.
type backoff struct{ last time.Duration }

// wait pauses, or returns early when ctx ends.
func (b *backoff) wait(ctx context.Context) {
	b.last = min(max(2*b.last, retryPause), retryPauseMax)
	sleep(ctx, b.last/2+rand.N(b.last/2))
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
