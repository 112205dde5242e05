package httpapi_test

import (
	"bytes"
	"cmp"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// unwritten are the changes that leave no entry when they are allowed, and why.
var unwritten = map[string]string{
	"POST /api/v1/gateway/ack":     "what a gateway decides by is no decision",
	"POST /api/v1/gateway/reports": "records of flows are evidence of their own",

	networkingOf("POST", "/private-endpoint-services"): "the region has its service already",
}

// otherwise are bodies that change what a customer has, where those of inquiries ask for what there is.
var otherwise = map[string]string{
	networkingOf("PUT", "/allowlist/{cidr_ip}/{cidr_mask}"):   `{"ui":true,"sql":true}`,
	networkingOf("PATCH", "/allowlist/{cidr_ip}/{cidr_mask}"): `{"sql":true}`,
	networkingOf("PATCH", "/egress-private-endpoints/{id}"):   `{"domain_names":["db.acme.example.com"]}`,
	"PUT /api/v1/regions/{provider}/{region}":                 `{"vpc_id":"vpc-0a1b2c3d4e5f60719","subnet_ids":["subnet-0a1b2c3d4e5f60718"],"gateway_targets":["127.0.0.1:8443"]}`,
	"PUT /api/v1/service-profile":                             `{"ports":[{"port":5432,"traffic":"SQL"}]}`,
}

// Whatever changes something leaves an entry with the request's id when it is allowed, and one of a refusal when it is not:
// every operation of the document but those that only read.
func TestEveryChangeIsEvidence(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, name := range operations() {
		fields := strings.Fields(name)
		method, path, q := fields[0], fields[1], inquiries[name]
		if method == http.MethodGet {
			continue
		}
		n++
		q.body = cmp.Or(otherwise[name], q.body)
		ask := func(as policy.Caller) (reply, []audit.Entry) {
			customer := w.tenant(t)
			if as.Grants != nil {
				as = customer.member(link.RoleOperator, link.ScopeInstallation)
			}
			token := w.tokenOf(t, as, q.session)
			if path == "/api/v1/gateway/ack" || path == "/api/v1/gateway/reports" {
				if as.Grants != nil {
					token = gatewayToken
				}
			}
			customer = w.ready(t, customer, q.ready)
			before := w.head(t)
			got := w.ask(t, method, customer.url(t, path, q.query), customer.fill(q.body), token)
			return got, w.entriesOf(t, before, got.header.Get("X-Request-Id"))
		}
		allowed, entries := ask(policy.Caller{Role: policy.Member, Grants: []link.Grant{{}}})
		done := 0
		for _, e := range entries {
			if e.Decision == audit.Done {
				done++
			}
			if e.Decision == audit.Refused || e.Source != "127.0.0.1" || e.Actor.Name == "" {
				t.Errorf("%s, allowed: %+v", name, e)
			}
		}
		if allowed.status != http.StatusOK && allowed.status != http.StatusCreated {
			t.Errorf("%s as an operator: %d %s", name, allowed.status, allowed.body)
		}
		if why := unwritten[name]; (done == 0) != (why != "") {
			t.Errorf("%s, allowed: %d entries (%s)", name, done, why)
		}
		if path == "/api/v1/logout" {
			continue // everybody may
		}
		refused, entries := ask(policy.Caller{Role: policy.Member})
		if refused.status != http.StatusForbidden && refused.status != http.StatusNotFound {
			t.Errorf("%s as a stranger: %d %s", name, refused.status, refused.body)
		}
		if len(entries) == 0 || entries[0].Decision != audit.Refused || entries[0].Rule == "" || entries[0].Source != "127.0.0.1" || entries[0].Actor.Role != "member" {
			t.Errorf("%s, refused: %+v", name, entries)
		} else if entries[0].Place.OrganisationID != "" {
			t.Errorf("%s: the organisation is told which stranger tried: %+v", name, entries[0])
		}
	}
	if n < 40 {
		t.Errorf("%d operations change something", n)
	}
}

// head is the position of the last entry of the audit log.
func (w *world) head(t *testing.T) (n int64) {
	t.Helper()
	w.read(t, func(tx *store.Tx) error {
		head, err := tx.AuditHead()
		n = head.Position
		return err
	})
	return n
}

// entriesOf are the entries of one request after a position.
func (w *world) entriesOf(t *testing.T, after int64, request string) (out []audit.Entry) {
	t.Helper()
	w.read(t, func(tx *store.Tx) error {
		out = nil
		all, err := tx.AuditRange(after+1, 1<<62, 1000)
		for _, s := range all {
			e, err := audit.Open(s.Body)
			if err != nil {
				return err
			}
			if e.RequestID == request {
				out = append(out, e)
			}
		}
		return err
	})
	return out
}

func (w *world) read(t *testing.T, f func(*store.Tx) error) {
	t.Helper()
	if err := w.store.Read(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// A refusal stays in the log also when the request is one transaction with something else, which it undoes.
func TestARefusalOutlivesItsTransaction(t *testing.T) {
	w := newWorld(t)
	for name, header := range map[string]map[string]string{
		"idempotency key": {"Idempotency-Key": "k1"}, "plain": {},
	} {
		customer := w.tenant(t)
		token := w.tokenOf(t, customer.member(link.RoleViewer, link.ScopeCluster), false)
		header["Authorization"] = "Bearer " + token
		before := w.head(t)
		got := w.send(t, http.MethodPost, customer.fill("/api/v1/clusters/{cluster_id}/networking/allowlist"), `{"cidr_ip":"198.51.100.0","cidr_mask":24,"ui":true,"sql":true}`, header)
		entries := w.entriesOf(t, before, got.header.Get("X-Request-Id"))
		if got.status != http.StatusForbidden || len(entries) != 1 || entries[0].Decision != audit.Refused || string(entries[0].Place.OrganisationID) != customer["organisation_id"] {
			t.Errorf("%s: %d %s, %+v", name, got.status, got.body, entries)
		}
	}
	customer := w.tenant(t)
	token := w.tokenOf(t, customer.member(link.RoleViewer, link.ScopeProject), false)
	path := customer.fill("/api/v1/projects/{project_id}")
	tag := w.send(t, http.MethodGet, path, "", map[string]string{"Authorization": "Bearer " + token}).header.Get("ETag")
	before := w.head(t)
	got := w.send(t, http.MethodPatch, path, `{"name":"other"}`, map[string]string{"Authorization": "Bearer " + token, "If-Match": tag})
	if entries := w.entriesOf(t, before, got.header.Get("X-Request-Id")); got.status != http.StatusForbidden || len(entries) != 1 {
		t.Errorf("on a condition: %d %s, %+v", got.status, got.body, entries)
	}
}

// Whoever shows no good token leaves one entry a minute, however often; and so does who fails to sign in.
func TestStrangersAreCounted(t *testing.T) {
	w := newWorld(t)
	before := w.head(t)
	for range 50 {
		if got := w.ask(t, http.MethodGet, "/api/v1/clusters", "", "not-a-token-of-anybody-here"); got.status != http.StatusUnauthorized {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	for range 3 {
		got := w.ask(t, http.MethodPost, "/api/v1/login/password", `{"email":"nobody@acme.example","password":"correct horse battery"}`, "")
		if got.status != http.StatusUnauthorized {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	counts := map[string]int{}
	w.read(t, func(tx *store.Tx) error {
		clear(counts)
		all, err := tx.AuditRange(before+1, 1<<62, 1000)
		for _, s := range all {
			e, err := audit.Open(s.Body)
			if err != nil {
				return err
			}
			if e.Decision != audit.Refused || e.Actor.Name != "anonymous" || e.Source != "127.0.0.1" || e.RequestID == "" {
				t.Errorf("%+v", e)
			}
			counts[e.Action+" "+e.Rule]++
		}
		return err
	})
	// One of each; two when a minute ended meanwhile, and its count.
	for _, kind := range []string{"token.use TOKEN_UNKNOWN", "session.create SIGN_IN_REFUSED"} {
		if n := counts[kind]; n < 1 || n > 3 {
			t.Errorf("%s: %d entries of %v", kind, n, counts)
		}
	}
}

// What an organisation's admin reads of the log holds no secret and nothing that is the vendor's.
func TestWhatAnOrganisationReads(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	c := w.client
	customer := w.tenant(t)
	cluster := customer["cluster_id"]
	began := time.Now().Add(-time.Hour)

	if _, err := c.UpdateCluster(ctx, cluster, api.UpdateClusterRequest{Backends: &[]string{"backend.internal.example:26257"}}); err != nil {
		t.Fatal(err)
	}
	for _, ask := range []struct{ method, path, body string }{
		{http.MethodPut, "/api/v1/clusters/{cluster_id}/traffic", `{"health":{"check":"HTTP","path":"/only-the-vendor-knows"}}`},
		{http.MethodPost, "/api/v1/webhooks", `{"organisation_id":"{organisation_id}","url":"https://hooks.example.com/path-that-lets-in?token=query-that-lets-in"}`},
		{http.MethodPost, "/api/v1/principals/{principal_id}/api-keys", `{"name":"k"}`},
		{http.MethodPost, "/api/v1/clusters/{cluster_id}/networking/claims", `{}`},
		{
			http.MethodPost, "/api/v1/clusters/{cluster_id}/networking/egress-private-endpoints",
			`{"region":"us-east-1","target_service_identifier":"com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718","target_service_type":"PRIVATE_SERVICE"}`,
		},
	} {
		if got := w.send(t, ask.method, customer.fill(ask.path), customer.fill(ask.body), nil); got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", ask.path, got.status, got.body)
		}
	}
	hook := w.send(t, http.MethodPost, customer.fill("/api/v1/webhooks/{webhook_id}/rotate-secret"), "", nil)
	secrets := [][]byte{
		[]byte("backend.internal.example"), []byte("only-the-vendor-knows"), []byte("that-lets-in"), []byte("whsec_"), []byte("made_names"),
		[]byte("password_hash"), []byte("$argon2"),
	}
	if hook.status == http.StatusOK {
		if _, secret, found := bytes.Cut(hook.body, []byte("whsec_")); found {
			secrets = append(secrets, secret[:20])
		}
	}

	admin := w.tokenOf(t, customer.member(link.RoleOrganisationAdmin, link.ScopeOrganisation), false)
	as := map[string]string{"Authorization": "Bearer " + admin}
	for _, path := range []string{
		"/api/v1/audit?limit=500&organisation_id={organisation_id}", "/api/v1/audit?limit=500&organisation_id={organisation_id}&cluster_id={cluster_id}",
		"/api/v1/audit/export?organisation_id={organisation_id}", "/api/v1/clusters/{cluster_id}/audit-report?from=" + began.UTC().Format(time.RFC3339),
	} {
		got := w.send(t, http.MethodGet, customer.fill(path), "", as)
		if got.status != http.StatusOK || !bytes.Contains(got.body, []byte("claim.create")) {
			t.Errorf("%s: %d %.300s", path, got.status, got.body)
		}
		for _, secret := range secrets {
			if i := bytes.Index(got.body, secret); i >= 0 {
				t.Errorf("%s tells %s: %s", path, secret, got.body[max(0, i-300):i+len(secret)])
			}
		}
	}
	// The vendor reads who changed the backends, and to what.
	if got := w.send(t, http.MethodGet, "/api/v1/audit?limit=500&cluster_id="+cluster, "", nil); !bytes.Contains(got.body, []byte("backend.internal.example:26257")) {
		t.Errorf("the vendor is not told of the backends: %d %.2000s", got.status, got.body)
	}
}
