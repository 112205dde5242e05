package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Gateway is one data-path process as the control plane knows it.
type Gateway struct {
	ID              string    `json:"id"`
	ProofKey        []byte    `json:"proof_key" doc:"Ed25519 public key that signs its proofs of path"`
	AppliedRevision int64     `json:"applied_revision"`
	LastSeenAt      time.Time `json:"last_seen_at"`
}

// GatewayList is the answer of GET /gateways.
type GatewayList struct {
	Gateways      []Gateway `json:"gateways"`
	RulesRevision int64     `json:"rules_revision" doc:"The revision that gateways should decide by"`
}

// ProofKey is the public key with which a gateway signs its proofs of path.
type ProofKey struct {
	GatewayID string `json:"gateway_id"`
	Key       []byte `json:"key" doc:"Ed25519 public key"`
}

// ProofKeyList is the answer of GET proof-keys.
type ProofKeyList struct {
	ProofKeys []ProofKey `json:"proof_keys"`
}

// Gateways lists the gateways, and the revision of the rules that they should decide by. For operators.
func (c *Client) Gateways(ctx context.Context) (GatewayList, error) {
	var out GatewayList
	err := c.call(ctx, http.MethodGet, path("gateways"), nil, nil, &out)
	return out, err
}

// ProofKeys lists the keys by which a proof of path of the cluster may be signed.
func (c *Client) ProofKeys(ctx context.Context, clusterID string) ([]ProofKey, error) {
	var out ProofKeyList
	err := c.call(ctx, http.MethodGet, networking(clusterID, "proof-keys"), nil, nil, &out)
	return out.ProofKeys, err
}

// RuleStream is an open stream of rules. It is not safe for concurrent use, except for Close.
type RuleStream struct {
	body io.ReadCloser
	in   *bufio.Reader
}

// Rules opens the stream of rules. There is always a first document, also for a gateway whose rules are the newest. The
// stream ends when ctx does; the caller closes it. Rules is never retried by the client.
func (c *Client) Rules(ctx context.Context, hello GatewayHello) (*RuleStream, error) {
	u := path("gateway", "rules")
	u.RawQuery = url.Values{
		"gateway_id": {hello.GatewayID},
		"proof_key":  {base64.RawURLEncoding.EncodeToString(hello.ProofKey)},
		"revision":   {strconv.FormatInt(hello.Revision, 10)},
		"tag":        {hello.Tag},
	}.Encode()
	resp, err := c.get(ctx, u, "application/x-ndjson")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return &RuleStream{body: resp.Body, in: bufio.NewReaderSize(resp.Body, 64<<10)}, nil
}

// Next waits for the next document. Every line of the stream, also an empty one that keeps it alive, is reported to
// alive when that is not nil. It returns io.EOF when the server ended the stream between two documents.
func (s *RuleStream) Next(alive func()) (GatewayRules, error) {
	line, err := s.NextDocument(alive)
	if err != nil {
		return GatewayRules{}, err
	}
	var rules GatewayRules
	if err := json.Unmarshal(line, &rules); err != nil {
		return GatewayRules{}, fmt.Errorf("rules that cannot be read: %w", err)
	}
	return rules, nil
}

// NextDocument is Next for a caller that decodes the document itself: a gateway refuses rules with a field that it does
// not know, which could be the one that restricts.
func (s *RuleStream) NextDocument(alive func()) ([]byte, error) {
	for {
		line, err := s.line()
		if err != nil {
			if errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if alive != nil {
			alive()
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// maxDocument bounds what one line may hold, in bytes. Lines are about a megabyte; one cluster alone can need more.
const maxDocument = 16 << 20

// line reads to the end of a line. The result is the caller's to keep.
func (s *RuleStream) line() (line []byte, err error) {
	for {
		part, err := s.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxDocument {
			return nil, fmt.Errorf("a document of the rules stream is longer than %d bytes", maxDocument)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// Close ends the stream. A Next that waits returns an error.
func (s *RuleStream) Close() error { return s.body.Close() }

// Acknowledge tells the control plane which revision the gateway decides by.
func (c *Client) Acknowledge(ctx context.Context, ack GatewayAck) error {
	return c.call(ctx, http.MethodPost, path("gateway", "ack"), nil, ack, nil)
}

// Report hands over a batch of what the gateway saw. Sending the same batch again changes nothing.
func (c *Client) Report(ctx context.Context, r GatewayReport) error {
	return c.call(ctx, http.MethodPost, path("gateway", "reports"), nil, r, nil)
}
