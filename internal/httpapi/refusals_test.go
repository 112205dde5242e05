package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
)

const nobody = "00000000-0000-4000-8000-000000000000"

// TestRefusals sends what must be refused. Each answer has the documented status, code, reason and field, echoes little
// of what was sent, and nothing has changed after it.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.cluster.ID
	owner, err := w.client.AddTrustedOwner(ctx, id, api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: account})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.AddConnection(ctx, id, endpointA); err != nil {
		t.Fatal(err)
	}
	net := "/api/v1/clusters/" + id + "/networking"
	unknown := "/api/v1/clusters/" + nobody + "/networking"
	conns, owners, allow, aws := net+"/private-endpoint-connections", net+"/private-endpoint-trusted-owners", net+"/allowlist", net+"/aws-endpoint-connections"
	traffic := "/api/v1/clusters/" + id + "/traffic"
	long := strings.Repeat("a", 300)
	wrongToken := map[string]string{"Authorization": "Bearer wrong"}
	asGateway := map[string]string{"Authorization": "Bearer " + gatewayToken}
	cluster := func(more string) string {
		return fmt.Sprintf(`{"project_id":%q,"name":"other","cloud_provider":"AWS","regions":["us-east-1"]%s}`, w.cluster.ProjectID, more)
	}

	type wanted struct {
		status, code  int
		reason, field string
	}
	invalid := func(reason, field string) wanted { return wanted{400, 3, reason, field} }
	missing := func(reason, field string) wanted { return wanted{404, 5, reason, field} }

	tests := map[string]struct {
		method, path, body string
		header             map[string]string
		want               wanted
	}{
		"an endpoint id that is none":         {"POST", conns, `{"endpoint_id":"vpce-nope"}`, nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"an endpoint id in upper case":        {"POST", conns, `{"endpoint_id":"VPCE-0A1B2C3D4E5F60718"}`, nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"an endpoint id of 300 characters":    {"POST", conns, `{"endpoint_id":"vpce-` + long + `"}`, nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"an empty endpoint id":                {"POST", conns, `{"endpoint_id":""}`, nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"get by a malformed endpoint id":      {"GET", conns + "/vpce-nope", "", nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"get by 300 characters":               {"GET", conns + "/vpce-" + long, "", nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"get by an id with slashes":           {"GET", conns + "/%2Fsubscriptions%2Fx", "", nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"get by dots":                         {"GET", conns + "/%2E%2E", "", nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"events of a malformed endpoint id":   {"GET", conns + "/vpce-nope/events", "", nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"delete by a malformed endpoint id":   {"DELETE", conns + "/VPCE-0A1B2C3D4E5F60718", "", nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"a state for a malformed endpoint id": {"PATCH", aws + "/vpce-" + long, `{"status":"AVAILABLE"}`, nil, invalid("MALFORMED_ENDPOINT_ID", "endpoint_id")},
		"delete what never was":               {"DELETE", conns + "/" + endpointB, "", nil, missing("CONNECTION_NOT_FOUND", "endpoint_id")},
		"get what never was":                  {"GET", conns + "/" + endpointB, "", nil, missing("CONNECTION_NOT_FOUND", "endpoint_id")},
		"a state for what no cloud shows":     {"PATCH", aws + "/" + endpointB, `{"status":"AVAILABLE"}`, nil, missing("ENDPOINT_NOT_FOUND", "endpoint_id")},
		"a state that nobody may ask for":     {"PATCH", aws + "/" + endpointA, `{"status":"DELETED"}`, nil, invalid("INVALID_VALUE", "status")},

		"an unknown cluster":                {"GET", unknown + "/private-endpoint-connections", "", nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"connect to an unknown cluster":     {"POST", unknown + "/private-endpoint-connections", `{"endpoint_id":"` + endpointA + `"}`, nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"services of an unknown cluster":    {"POST", unknown + "/private-endpoint-services", "", nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"allow list of an unknown cluster":  {"GET", unknown + "/allowlist", "", nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"proof keys of an unknown cluster":  {"GET", unknown + "/proof-keys", "", nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"events of an unknown service":      {"GET", net + "/private-endpoint-services/eu-west-1/events", "", nil, missing("REGION_NOT_FOUND", "region")},
		"events of what never was":          {"GET", conns + "/" + endpointB + "/events", "", nil, missing("OBJECT_NOT_FOUND", "endpoint_id")},
		"events of an unknown project":      {"GET", "/api/v1/projects/" + nobody + "/events", "", nil, missing("OBJECT_NOT_FOUND", "project_id")},
		"events of a service not asked for": {"GET", net + "/private-endpoint-services/us-east-1/events", "", nil, missing("OBJECT_NOT_FOUND", "region")},
		"a cluster id that is none":         {"GET", "/api/v1/clusters/acme/networking/flows", "", nil, invalid("MALFORMED_ID", "cluster_id")},
		"a cluster id in upper case":        {"GET", "/api/v1/clusters/" + strings.ToUpper("0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11"), "", nil, invalid("MALFORMED_ID", "cluster_id")},
		"an unknown project":                {"GET", "/api/v1/projects/" + nobody, "", nil, missing("PROJECT_NOT_FOUND", "project_id")},

		"an account of five digits":          {"POST", owners, `{"type":"AWS_ACCOUNT_ID","external_owner_id":"12345"}`, nil, invalid("MALFORMED_OWNER_ID", "external_owner_id")},
		"a type of owner that is none":       {"POST", owners, `{"type":"FRIEND","external_owner_id":"123456789012"}`, nil, invalid("INVALID_VALUE", "type")},
		"a trusted owner id that is none":    {"DELETE", owners + "/" + account, "", nil, invalid("MALFORMED_ID", "owner_id")},
		"a trusted owner that is not there":  {"GET", owners + "/" + nobody, "", nil, missing("TRUSTED_OWNER_NOT_FOUND", "owner_id")},
		"a trusted owner of another cluster": {"DELETE", unknown + "/private-endpoint-trusted-owners/" + owner.ID, "", nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},

		"a range with host bits":         {"POST", allow, `{"cidr_ip":"203.0.113.7","cidr_mask":24,"ui":true,"sql":true}`, nil, invalid("HOST_BITS_SET", "cidr_ip")},
		"a path with host bits":          {"PUT", allow + "/203.0.113.7/24", `{"ui":true}`, nil, invalid("HOST_BITS_SET", "cidr_ip")},
		"a mask of 33":                   {"POST", allow, `{"cidr_ip":"203.0.113.0","cidr_mask":33,"ui":true,"sql":true}`, nil, invalid("MALFORMED_MASK", "cidr_mask")},
		"a mask that is no number":       {"DELETE", allow + "/203.0.113.0/x", "", nil, invalid("INVALID_VALUE", "cidr_mask")},
		"a name for an address":          {"POST", allow, `{"cidr_ip":"example.com","cidr_mask":32,"ui":true,"sql":true}`, nil, invalid("MALFORMED_ADDRESS", "cidr_ip")},
		"IPv4 dressed as IPv6":           {"DELETE", allow + "/::ffff:203.0.113.0/120", "", nil, invalid("MALFORMED_ADDRESS", "cidr_ip")},
		"a change of no entry":           {"PATCH", allow + "/203.0.113.0/24", `{"ui":true}`, nil, missing("ALLOW_ENTRY_NOT_FOUND", "cidr_ip")},
		"a removal of no entry":          {"DELETE", allow + "/203.0.113.0/24", "", nil, missing("ALLOW_ENTRY_NOT_FOUND", "cidr_ip")},
		"a page that is not ours":        {"GET", allow + "?pagination.page=nonsense", "", nil, invalid("MALFORMED_PAGE", "pagination.page")},
		"a page of fewer than none":      {"GET", allow + "?pagination.limit=-1", "", nil, invalid("INVALID_VALUE", "pagination.limit")},
		"a limit that is no number":      {"GET", allow + "?pagination.limit=many", "", nil, invalid("INVALID_VALUE", "pagination.limit")},
		"an order that is none":          {"GET", allow + "?pagination.sort_order=UP", "", nil, invalid("INVALID_VALUE", "pagination.sort_order")},
		"a mode of public access":        {"PUT", net + "/public-access", `{"mode":"OFF"}`, nil, invalid("INVALID_VALUE", "mode")},
		"a cluster's name that is none":  {"POST", "/api/v1/clusters", strings.Replace(cluster(""), "other", "Other_1", 1), nil, invalid("MALFORMED_NAME", "name")},
		"a cluster's name that is taken": {"POST", "/api/v1/clusters", strings.Replace(cluster(""), "other", "acme", 1), nil, wanted{409, 6, "NAME_TAKEN", "name"}},
		"a cluster in no region":         {"POST", "/api/v1/clusters", strings.Replace(cluster(""), "us-east-1", "eu-west-1", 1), nil, invalid("REGION_NOT_OFFERED", "regions[0]")},
		"a backend without port":         {"POST", "/api/v1/clusters", cluster(`,"backends":["db.internal"]`), nil, invalid("MALFORMED_BACKEND", "backends[0]")},
		"a provider that is none":        {"PUT", "/api/v1/regions/IBM/x", `{"vpc_id":"v","subnet_ids":["s"],"gateway_targets":["10.0.0.1:1"]}`, nil, invalid("INVALID_VALUE", "provider")},
		"a target without port":          {"PUT", "/api/v1/regions/AWS/us-east-1", `{"vpc_id":"v","subnet_ids":["s"],"gateway_targets":["10.0.0.1:1","10.0.0.2"]}`, nil, invalid("MALFORMED_TARGET", "gateway_targets[1]")},
		"a port of 65536":                {"PUT", "/api/v1/regions/AWS/us-east-1", `{"vpc_id":"v","subnet_ids":["s"],"gateway_targets":["10.0.0.1:1"],"ports":[65536]}`, nil, invalid("MALFORMED_PORT", "ports[0]")},
		"deletion before disconnection":  {"DELETE", "/api/v1/clusters/" + id, "", nil, wanted{412, 9, "CONNECTIONS_EXIST", "cluster_id"}},

		"an unknown field":                   {"POST", conns, `{"endpoint_id":"` + endpointB + `","endpoint":"x"}`, nil, invalid("UNKNOWN_FIELD", "endpoint")},
		"a field in other capitals":          {"POST", conns, `{"Endpoint_ID":"` + endpointB + `"}`, nil, invalid("UNKNOWN_FIELD", "Endpoint_ID")},
		"a missing field":                    {"POST", conns, `{}`, nil, invalid("REQUIRED", "endpoint_id")},
		"a field of another type":            {"POST", conns, `{"endpoint_id":7}`, nil, invalid("INVALID_VALUE", "endpoint_id")},
		"a body that is a list":              {"POST", conns, `[]`, nil, invalid("INVALID_VALUE", "body")},
		"traffic of an unknown cluster":      {"GET", "/api/v1/clusters/" + nobody + "/traffic", "", nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"a backend that the cluster has not": {"PATCH", traffic, `{"backends":[{"address":"127.0.0.1:9443"},{"address":"b:1"}]}`, nil, invalid("UNKNOWN_BACKEND", "backends[1].address")},
		"a weight of 257":                    {"PUT", traffic, `{"backends":[{"address":"127.0.0.1:9443","weight":257}]}`, nil, invalid("MALFORMED_WEIGHT", "backends[0].weight")},
		"a check that is none":               {"PUT", traffic, `{"health":{"check":"PING"}}`, nil, invalid("INVALID_VALUE", "health.check")},
		"a check every 300 years":            {"PUT", traffic, `{"health":{"check":"TCP","interval_seconds":9223372037}}`, nil, invalid("INVALID_VALUE", "health.interval_seconds")},
		"a check longer than its interval":   {"PUT", traffic, `{"health":{"check":"TCP","interval_seconds":2}}`, nil, invalid("TIMEOUT_TOO_LONG", "health.timeout_seconds")},
		"a denied port beyond 65535":         {"PATCH", traffic, `{"denied_ports":[22,65536]}`, nil, invalid("MALFORMED_PORT", "denied_ports[1]")},
		"a limit below none":                 {"PATCH", traffic, `{"limits":{"flows_per_endpoint":-1}}`, nil, invalid("MALFORMED_LIMIT", "limits.flows_per_endpoint")},
		"traffic settings by a gateway":      {"PUT", traffic, `{}`, asGateway, wanted{403, 7, "GATEWAY_ONLY_REPORTS", ""}},
		"a rule of port 0":                   {"PUT", "/api/v1/service-profile", `{"ports":[{"port":0}]}`, nil, invalid("MALFORMED_PORT", "ports[0].port")},
		"a rule to port 65536":               {"PUT", "/api/v1/service-profile", `{"ports":[{"port":1,"backend_port":65536}]}`, nil, invalid("MALFORMED_PORT", "ports[0].backend_port")},
		"two rules of a port":                {"PUT", "/api/v1/service-profile", `{"ports":[{"port":1},{"port":1}]}`, nil, invalid("DUPLICATE", "ports[1].port")},
		"a protocol that is none":            {"PUT", "/api/v1/service-profile", `{"ports":[{"port":1,"protocol":"UDP"}]}`, nil, invalid("INVALID_VALUE", "ports[0].protocol")},
		"a profile that says nothing":        {"PUT", "/api/v1/service-profile", `{}`, nil, invalid("REQUIRED", "ports")},
		"a profile by a gateway":             {"PUT", "/api/v1/service-profile", `{"ports":[]}`, asGateway, wanted{403, 7, "GATEWAY_ONLY_REPORTS", ""}},
		"a claim of a second":                {"POST", net + "/claims", `{"ttl_seconds":1}`, nil, invalid("INVALID_VALUE", "ttl_seconds")},
		"a claim in another region":          {"POST", net + "/claims", `{"region_name":"eu-west-1"}`, nil, invalid("REGION_NOT_FOUND", "region_name")},
		"a claim of an unknown cluster":      {"POST", unknown + "/claims", `{}`, nil, missing("CLUSTER_NOT_FOUND", "cluster_id")},
		"a claim by a gateway":               {"POST", net + "/claims", `{}`, asGateway, wanted{403, 7, "GATEWAY_ONLY_REPORTS", ""}},
		"claims to a gateway":                {"GET", net + "/claims", "", asGateway, wanted{403, 7, "GATEWAY_ONLY_REPORTS", ""}},
		"a claim id that is none":            {"DELETE", net + "/claims/x", "", nil, invalid("MALFORMED_ID", "claim_id")},
		"a claim that never was":             {"DELETE", net + "/claims/" + nobody, "", nil, missing("CLAIM_NOT_FOUND", "claim_id")},
		"a report of a claim that is none":   {"POST", "/api/v1/gateway/reports", `{"gateway_id":"g1","batch_id":"b1","sent_at":"2026-01-01T00:00:00Z","claims":[{"claim_id":"x","endpoint_id":"` + endpointA + `","source":"10.0.0.1","at":"2026-01-01T00:00:00Z"}]}`, asGateway, invalid("MALFORMED_ID", "claims[0].claim_id")},

		"a body that is null":          {"POST", conns, `null`, nil, invalid("INVALID_VALUE", "body")},
		"no body":                      {"POST", conns, ``, nil, invalid("BODY_REQUIRED", "body")},
		"a body that is no JSON":       {"POST", conns, `{"endpoint_id":`, nil, invalid("MALFORMED_JSON", "body")},
		"two documents":                {"POST", conns, `{"endpoint_id":"` + endpointB + `"}{}`, nil, invalid("MALFORMED_JSON", "body")},
		"a body over 1 MiB":            {"POST", conns, `{"endpoint_id":"` + strings.Repeat("a", 1<<20) + `"}`, nil, wanted{413, 3, "BODY_TOO_LONG", "body"}},
		"a form":                       {"POST", conns, `endpoint_id=` + endpointB, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, wanted{415, 3, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"}},
		"XML":                          {"POST", conns, `<endpoint_id/>`, map[string]string{"Content-Type": "application/xml"}, wanted{415, 3, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"}},
		"no token":                     {"GET", conns, "", map[string]string{"Authorization": ""}, wanted{401, 16, "TOKEN_MISSING", "Authorization"}},
		"another scheme":               {"GET", conns, "", map[string]string{"Authorization": "Basic b3BlcmF0b3I6eA=="}, wanted{401, 16, "TOKEN_MISSING", "Authorization"}},
		"a wrong token":                {"GET", conns, "", wrongToken, wanted{401, 16, "TOKEN_UNKNOWN", "Authorization"}},
		"a wrong token and a bad body": {"POST", conns, `{`, wrongToken, wanted{401, 16, "TOKEN_UNKNOWN", "Authorization"}},
		"a gateway that reads":         {"GET", conns, "", asGateway, wanted{403, 7, "GATEWAY_ONLY_REPORTS", ""}},
		"a gateway that connects":      {"POST", conns, `{"endpoint_id":"` + endpointB + `"}`, asGateway, wanted{403, 7, "GATEWAY_ONLY_REPORTS", ""}},
		"an operator as a gateway":     {"POST", "/api/v1/gateway/ack", `{"gateway_id":"g1","revision":1}`, nil, wanted{403, 7, "OPERATOR_IS_NO_GATEWAY", ""}},
		"an operator with a report":    {"POST", "/api/v1/gateway/reports", `{"gateway_id":"g1","batch_id":"b1","sent_at":"2026-01-01T00:00:00Z"}`, nil, wanted{403, 7, "OPERATOR_IS_NO_GATEWAY", ""}},
		"an operator at the stream":    {"GET", "/api/v1/gateway/rules?gateway_id=g1&revision=0&proof_key=" + strings.Repeat("A", 43), "", nil, wanted{403, 7, "OPERATOR_IS_NO_GATEWAY", ""}},
		"a gateway without a name":     {"GET", "/api/v1/gateway/rules?proof_key=" + strings.Repeat("A", 43), "", asGateway, invalid("REQUIRED", "gateway_id")},
		"a key that is none":           {"GET", "/api/v1/gateway/rules?gateway_id=g1&proof_key=AAAA", "", asGateway, invalid("MALFORMED_PROOF_KEY", "proof_key")},
		"a report of nothing":          {"POST", "/api/v1/gateway/reports", `{"gateway_id":"g1","batch_id":"b1","sent_at":"2026-01-01T00:00:00Z","refused":[{"listener":"private","source":"10.0.0.1","reason":"X","count":0,"first_at":"2026-01-01T00:00:00Z","last_at":"2026-01-01T00:00:00Z"}]}`, asGateway, invalid("MALFORMED_COUNT", "refused[0].count")},
		"a listener that is none":      {"POST", "/api/v1/gateway/reports", `{"gateway_id":"g1","batch_id":"b1","sent_at":"2026-01-01T00:00:00Z","flows":[{"id":"f1","cluster_id":"","listener":"side","source":"10.0.0.1:1","name":"","started_at":"2026-01-01T00:00:00Z","bytes_in":0,"bytes_out":0}]}`, asGateway, invalid("UNKNOWN_LISTENER", "flows[0].listener")},
		"an unknown path":              {"GET", "/api/v1/nothing", "", nil, missing("UNKNOWN_PATH", "path")},
		"the root":                     {"GET", "/", "", nil, missing("UNKNOWN_PATH", "path")},
		"a method that is not there":   {"PUT", conns, `{}`, nil, wanted{405, 12, "METHOD_NOT_ALLOWED", "method"}},
		"a method that nobody has":     {"BREW", conns, "", nil, wanted{405, 12, "METHOD_NOT_ALLOWED", "method"}},
	}
	before := w.state(t)
	t.Cleanup(func() {
		if strings.Contains(w.log.String(), "level=ERROR") {
			t.Errorf("refusals are not the server's failures:\n%s", w.log)
		}
	})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answer := w.send(t, tt.method, tt.path, tt.body, tt.header)
			var e api.Error
			if err := json.Unmarshal(answer.body, &e); err != nil || answer.header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d, %s, not an error of ours: %v\n%s", answer.status, answer.header.Get("Content-Type"), err, answer.body)
			}
			got := wanted{status: answer.status, code: e.Code}
			if len(e.Details) > 0 {
				got.reason, got.field = e.Details[0].Reason, e.Details[0].Field
			}
			if got != tt.want {
				t.Errorf("%+v, want %+v\n%s", got, tt.want, answer.body)
			}
			if e.Message == "" || len(answer.body) > 1500 || strings.Contains(string(answer.body), long) {
				t.Errorf("%d bytes: %.2000s", len(answer.body), answer.body)
			}
			if (answer.header.Get("WWW-Authenticate") != "") != (tt.want.status == 401) {
				t.Errorf("WWW-Authenticate %q", answer.header.Get("WWW-Authenticate"))
			}
			if (answer.header.Get("Allow") != "") != (tt.want.status == 405) {
				t.Errorf("Allow %q", answer.header.Get("Allow"))
			}
			if diff := cmp.Diff(before, w.state(t)); diff != "" {
				t.Errorf("something changed (-before +after):\n%s", diff)
			}
		})
	}
}

// What is exactly as long as allowed is not too long.
func TestBodyOfExactlyTheLimit(t *testing.T) {
	w := newWorld(t)
	frame := len(`{"name":""}`)
	got := w.send(t, "POST", "/api/v1/projects", `{"name":"`+strings.Repeat("a", 1<<20-frame)+`"}`, nil)
	if strings.Contains(string(got.body), "BODY_TOO_LONG") {
		t.Errorf("refused: %s", got.body)
	}
}

// A body that does not say what it is, or says JSON in another way, is JSON.
func TestContentTypes(t *testing.T) {
	w := newWorld(t)
	for _, ct := range []string{"", "application/json", "application/json; charset=utf-8", "Application/JSON"} {
		got := w.send(t, "POST", "/api/v1/projects", `{"name":"acme"}`, map[string]string{"Content-Type": ct})
		if got.status != http.StatusOK {
			t.Errorf("Content-Type %q: %d %s", ct, got.status, got.body)
		}
	}
}

// An error that is ours tells the peer nothing; the log has its cause under the id that the peer was given.
func TestInternalErrorsStayInside(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	got := w.send(t, "GET", "/api/v1/projects", "", nil)
	if got.status != http.StatusInternalServerError || strings.Contains(string(got.body), "sql") || strings.Contains(string(got.body), "database") {
		t.Errorf("%d %s", got.status, got.body)
	}
	id := got.header.Get("X-Request-Id")
	if log := w.log.String(); id == "" || !strings.Contains(log, "request_id="+id) || !strings.Contains(log, "closed") {
		t.Errorf("request id %q, log:\n%s", id, log)
	}
	if strings.Contains(w.log.String(), operatorToken) {
		t.Error("the log holds a token")
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/healthz", "/api/v1/clusters", "/api/v1/nothing", "/openapi.json"} {
		got := w.send(t, "GET", path, "", nil)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Type": "application/json",
		} {
			if value := got.header.Get(name); value != want {
				t.Errorf("%s: %s is %q, want %q", path, name, value, want)
			}
		}
		if len(got.header.Get("X-Request-Id")) != 16 {
			t.Errorf("%s: X-Request-Id %q", path, got.header.Get("X-Request-Id"))
		}
	}
}

// A server that cannot do its work says so, when to ask again, and in its log why; that it runs is another question.
func TestNotReady(t *testing.T) {
	log := &syncBuffer{}
	srv := httptest.NewServer(truthful(t, httpapi.New(control.New(nil, control.Options{}), httpapi.Options{
		Log:   slog.New(slog.NewTextHandler(log, nil)),
		Ready: func(context.Context) error { return errors.New("the fabric is away") },
	})))
	defer srv.Close()
	c := api.New(srv.URL, "")
	if err := c.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Ready(t.Context()); api.Reason(err) != "NOT_READY" || strings.Contains(err.Error(), "fabric") {
		t.Errorf("error %v", err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || !strings.Contains(log.String(), "the fabric is away") {
		t.Errorf("%s, Retry-After %q, log %s", resp.Status, resp.Header.Get("Retry-After"), log)
	}
}
