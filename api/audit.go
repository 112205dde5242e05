package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditEntry is an entry of the audit log: who changed or asked for what, and what became of it.
type AuditEntry struct {
	Position       int64           `json:"position" doc:"From 1, without gaps"`
	At             time.Time       `json:"at"`
	Actor          AuditActor      `json:"actor"`
	Action         string          `json:"action" doc:"The kind of the object, a dot and a verb" example:"trusted-owner.create"`
	ObjectKind     string          `json:"object_kind"`
	ObjectID       string          `json:"object_id"`
	OrganisationID string          `json:"organisation_id,omitempty" doc:"Where the object stood, as the next two"`
	ProjectID      string          `json:"project_id,omitempty"`
	ClusterID      string          `json:"cluster_id,omitempty"`
	Decision       string          `json:"decision" doc:"DONE, ALLOWED or REFUSED"`
	Rule           string          `json:"rule,omitempty" doc:"Of the policy, that decided"`
	Reason         string          `json:"reason,omitempty"`
	Message        string          `json:"message,omitempty"`
	Before         json.RawMessage `json:"before,omitempty" doc:"How the object was"`
	After          json.RawMessage `json:"after,omitempty" doc:"How it is since"`
	RequestID      string          `json:"request_id,omitempty"`
	Source         string          `json:"source,omitempty" doc:"IP address of the peer that asked"`
	Count          int64           `json:"count" doc:"How many alike this entry stands for"`
	Previous       string          `json:"previous_hash"`
	Hash           string          `json:"hash"`
}

// AuditActor is who asked; a part of Postern has a name alone.
type AuditActor struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
	Role string `json:"role,omitempty"`
}

// AuditList is a page of the audit log.
type AuditList struct {
	Entries    []AuditEntry `json:"entries"`
	Pagination Pagination   `json:"pagination"`
}

// AuditKey is a public key that signs the audit log.
type AuditKey struct {
	PublicKey   string `json:"public_key" doc:"Ed25519, base64"`
	VerifierKey string `json:"verifier_key" doc:"The same as C2SP signed-note writes it"`
}

// AuditKeyList is the answer of GET audit/keys.
type AuditKeyList struct {
	InstallationID string     `json:"installation_id"`
	Keys           []AuditKey `json:"keys" doc:"The oldest first"`
}

// AuditCheckpoint says, signed, how far the audit log had come.
type AuditCheckpoint struct {
	Note string `json:"note" doc:"A signed note; keep it, and hold later exports against it"`
}

// AuditQuery says of which entries of the audit log a list or an export is. Its zero value is everything.
type AuditQuery struct {
	OrganisationID string    // empty: of all, for operators
	ClusterID      string    // of a list alone
	From           time.Time // inclusive
	To             time.Time // not inclusive; of a list alone
	Position       int64     // the first of an export; 0 leaves it to From
}

func (q AuditQuery) query(p Page) url.Values {
	v := p.query()
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("organisation_id", q.OrganisationID)
	set("cluster_id", q.ClusterID)
	if !q.From.IsZero() {
		set("from", q.From.UTC().Format(time.RFC3339Nano))
	}
	if !q.To.IsZero() {
		set("to", q.To.UTC().Format(time.RFC3339Nano))
	}
	if q.Position != 0 {
		set("position", strconv.FormatInt(q.Position, 10))
	}
	return v
}

// Audit returns a page of the audit log.
func (c *Client) Audit(ctx context.Context, q AuditQuery, p Page) (AuditList, error) {
	var out AuditList
	err := c.call(ctx, http.MethodGet, path("audit"), q.query(p), nil, &out)
	return out, err
}

// AuditKeys returns the public keys that sign the audit log.
func (c *Client) AuditKeys(ctx context.Context, q AuditQuery) (AuditKeyList, error) {
	var out AuditKeyList
	err := c.call(ctx, http.MethodGet, path("audit", "keys"), q.query(Page{}), nil, &out)
	return out, err
}

// AuditCheckpoint has the end of the audit log signed.
func (c *Client) AuditCheckpoint(ctx context.Context, q AuditQuery) (AuditCheckpoint, error) {
	var out AuditCheckpoint
	err := c.call(ctx, http.MethodGet, path("audit", "checkpoint"), q.query(Page{}), nil, &out)
	return out, err
}

// ExportAudit opens an export of the audit log: lines of JSON that can be verified by themselves. The caller reads it to its
// end and closes it; an export that broke off does not verify.
func (c *Client) ExportAudit(ctx context.Context, q AuditQuery) (io.ReadCloser, error) {
	u := path("audit", "export")
	u.RawQuery = q.query(Page{}).Encode()
	resp, err := c.get(ctx, u, "application/x-ndjson")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, fmt.Errorf("export the audit log: %w", readError(resp))
	}
	return resp.Body, nil
}

// AuditReport tells which endpoints could pass traffic to a cluster in a time, and which did.
type AuditReport struct {
	ClusterID   string           `json:"cluster_id" format:"uuid"`
	ClusterName string           `json:"cluster_name"`
	From        time.Time        `json:"from"`
	To          time.Time        `json:"to"`
	MadeAt      time.Time        `json:"made_at"`
	Endpoints   []AuditEndpoint  `json:"endpoints"`
	Egress      []AuditEgress    `json:"egress" doc:"Egress private endpoints by which the cluster could reach customers"`
	Public      []AuditInterval  `json:"public_access" doc:"States of the public door"`
	AllowList   []AuditAllowed   `json:"allow_list_at_start" doc:"What changed since stands among the changes"`
	PublicFlows AuditFlows       `json:"public_flows"`
	Refused     []RefusedAttempt `json:"refused_attempts"`
	Changes     []AuditEntry     `json:"changes"`
	Limits      []string         `json:"limits" doc:"What this report cannot know"`
}

// AuditEndpoint is what is known of an endpoint.
type AuditEndpoint struct {
	EndpointID      string          `json:"endpoint_id"`
	ExternalOwnerID string          `json:"external_owner_id,omitempty"`
	Could           []AuditInterval `json:"could_pass" doc:"When it was let in"`
	Did             AuditFlows      `json:"did_pass"`
	Outside         int64           `json:"flows_outside" doc:"Flows that began while it was not let in"`
}

// AuditEgress is what is known of an egress private endpoint.
type AuditEgress struct {
	ID     string          `json:"id" format:"uuid"`
	Region string          `json:"region"`
	Target string          `json:"target_service_identifier"`
	Could  []AuditInterval `json:"could_pass" doc:"When it was available"`
}

// AuditInterval is a time in which something held, within the report's.
type AuditInterval struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	What string    `json:"what"`
	By   string    `json:"by,omitempty"`
}

// AuditFlows sums flows up.
type AuditFlows struct {
	Count    int64     `json:"count"`
	BytesIn  int64     `json:"bytes_in" doc:"From the customer"`
	BytesOut int64     `json:"bytes_out" doc:"To the customer"`
	FirstAt  time.Time `json:"first_at,omitzero"`
	LastAt   time.Time `json:"last_at,omitzero"`
}

// AuditAllowed is an entry of an allow list.
type AuditAllowed struct {
	Prefix string `json:"prefix"`
	UI     bool   `json:"ui"`
	SQL    bool   `json:"sql"`
	Name   string `json:"name,omitempty"`
}

// AuditReport returns the report of a cluster, also of one that was deleted. A zero to is now.
func (c *Client) AuditReport(ctx context.Context, clusterID string, from, to time.Time) (AuditReport, error) {
	var out AuditReport
	q := AuditQuery{From: from, To: to}
	err := c.call(ctx, http.MethodGet, path("clusters", clusterID, "audit-report"), q.query(Page{}), nil, &out)
	return out, err
}
