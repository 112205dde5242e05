package httpapi_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
)

var auditKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, ed25519.SeedSize))

// What was done over the API stands in the log with who, why, before and after; its export proves itself; and the report
// says who could pass and who did.
func TestEvidence(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	c, id := w.client, w.cluster.ID
	began := time.Now().Add(-time.Minute)
	w.see(t, endpointA, account, link.Available)
	o := must(c.AddTrustedOwner(ctx, id, api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: account}))(t)
	must(c.SetPublicAccess(ctx, id, "DISABLED"))(t)
	if _, err := w.gateway.Clusters(ctx, api.Page{}); err == nil {
		t.Fatal("a gateway may list clusters")
	}

	log := must(c.Audit(ctx, api.AuditQuery{From: began}, api.Page{Limit: 500}))(t)
	find := func(action string) api.AuditEntry {
		t.Helper()
		i := slices.IndexFunc(log.Entries, func(e api.AuditEntry) bool { return e.Action == action })
		if i < 0 {
			t.Fatalf("no %s among %+v", action, log.Entries)
		}
		return log.Entries[i]
	}
	e := find("trusted-owner.create")
	if e.Actor.Name != "alice" || e.Decision != "DONE" || e.Rule != "OPERATOR" || e.ClusterID != id || e.ObjectID != id+"/"+o.ID || len(e.RequestID) != 16 ||
		e.Before != nil || string(e.After) != `{"external_owner_id":"123456789012","type":"AWS_ACCOUNT_ID"}` {
		t.Errorf("entry %+v after %s", e, e.After)
	}
	e = find("public-access.change")
	if string(e.Before) != `{"public_access":"ENABLED"}` || string(e.After) != `{"public_access":"DISABLED"}` {
		t.Errorf("before %s, after %s", e.Before, e.After)
	}
	if e = find("cluster.read"); e.Decision != "REFUSED" || e.Actor.Name != "gw-1" || e.Rule != "GATEWAY_ONLY_REPORTS" {
		t.Errorf("refusal %+v", e)
	}
	first := must(c.Audit(ctx, api.AuditQuery{ClusterID: id}, api.Page{Limit: 1}))(t)
	if len(first.Entries) != 1 || first.Entries[0].Action != "cluster.create" || first.Pagination.NextPage == "" {
		t.Errorf("the cluster's first entry: %+v", first)
	}

	keys := must(c.AuditKeys(ctx, api.AuditQuery{}))(t)
	if len(keys.Keys) != 1 {
		t.Fatalf("keys %+v", keys)
	}
	key, err := audit.ParseKey(keys.Keys[0].VerifierKey)
	if err != nil || !bytes.Equal(key, auditKey.Public().(ed25519.PublicKey)) {
		t.Errorf("key %x, %v", key, err)
	}
	kept := must(c.AuditCheckpoint(ctx, api.AuditQuery{}))(t)
	for _, q := range []api.AuditQuery{{}, {Position: 3}, {From: began}} {
		body := must(c.ExportAudit(ctx, q))(t)
		r, err := audit.Verify(body, audit.Options{Keys: []ed25519.PublicKey{key}, Checkpoints: [][]byte{[]byte(kept.Note)}})
		if err != nil || len(r.Faults) > 0 || r.Kept != 1 || r.Entries < 5 || r.Stubs != 0 {
			t.Errorf("export of %+v: %+v, %v", q, r, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}

	must(c.AddConnection(ctx, id, endpointA))(t)
	now := time.Now()
	if err := w.gateway.Report(ctx, api.GatewayReport{GatewayID: "gw-1", BatchID: "b", SentAt: now, Flows: []api.GatewayFlow{{
		ID: "f", ClusterID: id, Listener: "private", EndpointID: endpointA, StartedAt: now.Add(-time.Second), EndedAt: &now, BytesIn: 7, BytesOut: 9,
	}}}); err != nil {
		t.Fatal(err)
	}
	r := must(c.AuditReport(ctx, id, began, time.Time{}))(t)
	if len(r.Endpoints) != 1 || r.Endpoints[0].EndpointID != endpointA || r.Endpoints[0].Did.Count != 1 || r.Endpoints[0].Did.BytesOut != 9 || r.Endpoints[0].Outside != 1 {
		t.Errorf("endpoints %+v", r.Endpoints) // its owner was not seen by the connection yet: by the books it was not let in
	}
	if len(r.Public) != 2 || r.Public[1].What != "DISABLED" || r.Public[1].By != "alice" || len(r.Limits) == 0 || len(r.Changes) < 4 {
		t.Errorf("report %+v", r)
	}
	if err := c.DeleteConnection(ctx, id, endpointA); err != nil {
		t.Error(err)
	}

	// Of a cluster whose TLS the gateway ended there may have been requests without a flow of their own.
	unseen := func() bool {
		r := must(c.AuditReport(ctx, id, began, time.Time{}))(t)
		return slices.ContainsFunc(r.Limits, func(s string) bool { return strings.Contains(s, "--front") })
	}
	if unseen() {
		t.Error("of a cluster without a reverse proxy the report speaks of requests")
	}
	must(c.PutReverseProxy(ctx, id, api.ReverseProxySettings{Server: "direct"}, false))(t)
	if !unseen() {
		t.Error("the report does not say that requests by way of a reverse proxy are not in it")
	}
	if err := c.DeleteReverseProxy(ctx, id); err != nil {
		t.Error(err)
	}
	if !unseen() {
		t.Error("once the reverse proxy is gone the report forgets that it was there")
	}
}

// An organisation's own part shows what others did as hashes alone, and proves itself all the same.
func TestAnOrganisationsExport(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	org := must(w.client.CreateOrganisation(ctx, api.CreateOrganisationRequest{Name: "acme"}))(t)
	body := must(w.client.ExportAudit(ctx, api.AuditQuery{OrganisationID: org.ID}))(t)
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verify(bytes.NewReader(b), audit.Options{Keys: []ed25519.PublicKey{auditKey.Public().(ed25519.PublicKey)}})
	if err != nil || len(r.Faults) > 0 || r.Stubs == 0 || r.Stubs == r.Entries {
		t.Errorf("%+v, %v", r, err)
	}
	if bytes.Contains(b, []byte(w.cluster.ID)) {
		t.Error("the export names a cluster of somebody else")
	}
	var first struct {
		OrganisationID string `json:"organisation_id"`
	}
	if err := json.Unmarshal(b[:bytes.IndexByte(b, '\n')], &first); err != nil || first.OrganisationID != org.ID {
		t.Errorf("header of %q, %v", first.OrganisationID, err)
	}
}

func TestEvidenceRefusals(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/v1/audit", "/api/v1/audit/keys", "/api/v1/audit/checkpoint", "/api/v1/audit/export"} {
		if r := w.send(t, http.MethodGet, path+"?organisation_id=x", "", nil); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		if r := w.send(t, http.MethodGet, path, "", map[string]string{"Authorization": "Bearer " + gatewayToken}); r.status != http.StatusForbidden {
			t.Errorf("%s by a gateway: %d %s", path, r.status, r.body)
		}
	}
	for query, want := range map[string]int{
		"": http.StatusBadRequest, "?from=yesterday": http.StatusBadRequest, "?from=2026-05-01T00:00:00Z&to=2026-04-01T00:00:00Z": http.StatusBadRequest,
	} {
		if r := w.send(t, http.MethodGet, "/api/v1/clusters/"+w.cluster.ID+"/audit-report"+query, "", nil); r.status != want {
			t.Errorf("%q: %d %s", query, r.status, r.body)
		}
	}
	if r := w.send(t, http.MethodGet, "/api/v1/clusters/"+nobody+"/audit-report?from=2020-05-01T00:00:00Z", "", nil); r.status != http.StatusNotFound {
		t.Errorf("no cluster: %d %s", r.status, r.body)
	}
}
