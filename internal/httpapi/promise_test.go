package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/policy"
)

// published are the networking calls that CockroachDB Cloud's API has beneath a cluster, which ours has as well.
const published = `
GET    /private-endpoint-services
POST   /private-endpoint-services
GET    /private-endpoint-connections
POST   /private-endpoint-connections
DELETE /private-endpoint-connections/{endpoint_id}
GET    /aws-endpoint-connections
PATCH  /aws-endpoint-connections/{endpoint_id}
GET    /private-endpoint-trusted-owners
POST   /private-endpoint-trusted-owners
GET    /private-endpoint-trusted-owners/{owner_id}
DELETE /private-endpoint-trusted-owners/{owner_id}
GET    /allowlist
POST   /allowlist
PUT    /allowlist/{cidr_ip}/{cidr_mask}
PATCH  /allowlist/{cidr_ip}/{cidr_mask}
DELETE /allowlist/{cidr_ip}/{cidr_mask}
GET    /egress-private-endpoints
POST   /egress-private-endpoints
GET    /egress-private-endpoints/{id}
PATCH  /egress-private-endpoints/{id}
DELETE /egress-private-endpoints/{id}
`

// pages are those of them that come in pages; the others do not.
var pages = []string{"/allowlist", "/egress-private-endpoints"}

func TestPublishedPaths(t *testing.T) {
	for line := range strings.Lines(strings.TrimSpace(published)) {
		method, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		path = strings.TrimSpace(path)
		item := document().Paths.Value("/api/v1/clusters/{cluster_id}/networking" + path)
		if item == nil || item.GetOperation(method) == nil {
			t.Errorf("the document has no %s %s", method, path)
			continue
		}
		params := item.GetOperation(method).Parameters
		for _, name := range []string{"pagination.page", "pagination.limit", "pagination.sort_order"} {
			if got, want := params.GetByInAndName("query", name) != nil, method == http.MethodGet && slices.Contains(pages, path); got != want {
				t.Errorf("%s %s takes %s: %v, want %v", method, path, name, got, want)
			}
		}
	}
}

// secretField is how a field is called that holds what is shown once.
var secretField = regexp.MustCompile(`^(?:.*_)?(secret|token|code)$|^key$|^password$`)

// public are fields that are called so and hold no secrets: a gateway's public key, the names of repositories and kinds of note.
// A reverse proxy's own key is the name of a file, and in Artifactory's words that of the proxy.
var public = []string{"proof_keys.[].key", "repositories.[].key", "notes.[].code", "snippet.notes.[].code"}

// TestSecretsAreShownOnce: an answer with a secret in it is marked, so that no repetition of the request is told it; and what
// is marked has one.
func TestSecretsAreShownOnce(t *testing.T) {
	marked := 0
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			var secrets []string
			ok := op.Responses.Value("200")
			if ok == nil {
				ok = op.Responses.Value("201")
			}
			if ok := ok.Value.Content.Get("application/json"); ok != nil && ok.Schema != nil {
				secrets = secretsOf(ok.Schema.Value, "", 0)
			}
			if strings.Contains(path, "/reverse-proxy") || strings.Contains(path, "/artifactory/") {
				secrets = slices.DeleteFunc(secrets, func(name string) bool { return name == "key" })
			}
			_, once := op.Extensions["x-shown-once"]
			if once != (len(secrets) > 0) {
				t.Errorf("%s %s answers with the secrets %v; marked as shown once: %v", method, path, secrets, once)
			}
			if once {
				marked++
				if method != http.MethodPost {
					t.Errorf("%s %s shows a secret: it may be asked again", method, path)
				}
			}
		}
	}
	if marked == 0 {
		t.Error("no operation is marked")
	}
}

// secretsOf are the fields of a schema, and of those in it, that hold secrets by their names.
func secretsOf(s *openapi3.Schema, at string, depth int) (out []string) {
	if s == nil || depth > 6 {
		return nil
	}
	for name, p := range s.Properties {
		if secretField.MatchString(name) && p.Value.Type.Includes("string") && !slices.Contains(public, at+name) {
			out = append(out, at+name)
		}
		out = append(out, secretsOf(p.Value, at+name+".", depth+1)...)
	}
	if s.Items != nil {
		out = append(out, secretsOf(s.Items.Value, at+"[].", depth+1)...)
	}
	return out
}

// TestWrongFields asks every operation that takes a body with each field of another type, each one that it needs left out, one
// that nobody knows, and all of it at once. Each answer names the fields.
func TestWrongFields(t *testing.T) {
	w := newWorld(t)
	before := w.state(t)
	checked := 0
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil {
				continue
			}
			schema := op.RequestBody.Value.Content.Get("application/json").Schema.Value
			url := strings.NewReplacer("{provider}", "AWS", "{region}", "us-east-1", "{cidr_ip}", "203.0.113.0", "{cidr_mask}", "24", "{endpoint_id}", endpointA).Replace(path)
			url = pathParameter.ReplaceAllString(url, nobody)
			whole := map[string]any{}
			for name, p := range schema.Properties {
				whole[name] = some(p.Value, 0)
			}
			ask := func(what string, body map[string]any, want map[string]string) {
				t.Helper()
				checked++
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				token := operatorToken
				if strings.HasPrefix(path, "/api/v1/gateway/") {
					token = gatewayToken
				}
				got := w.send(t, method, url, string(text), map[string]string{"Authorization": "Bearer " + token})
				var e api.Error
				if err := json.Unmarshal(got.body, &e); err != nil || got.status != http.StatusBadRequest || e.Code != 3 {
					t.Errorf("%s %s with %s: %d %s", method, path, what, got.status, got.body)
					return
				}
				for _, d := range e.Details {
					if want[d.Field] == d.Reason {
						delete(want, d.Field)
					}
				}
				if len(want) > 0 {
					t.Errorf("%s %s with %s: nothing of %v in %s", method, path, what, want, got.body)
				}
			}
			all, wrong := map[string]string{"no_such_field": "UNKNOWN_FIELD"}, map[string]any{"no_such_field": 1}
			for name, p := range schema.Properties {
				body := maps.Clone(whole)
				body[name] = another(p.Value)
				wrong[name], all[name] = body[name], "INVALID_VALUE"
				ask("another type of "+name, body, map[string]string{name: "INVALID_VALUE"})
				if slices.Contains(schema.Required, name) {
					body := maps.Clone(whole)
					delete(body, name)
					ask("no "+name, body, map[string]string{name: "REQUIRED"})
				}
			}
			if more := schema.AdditionalProperties.Has; more != nil && *more {
				delete(all, "no_such_field")
				ask("everything wrong", wrong, all)
				continue
			}
			body := maps.Clone(whole)
			body["no_such_field"] = 1
			ask("an unknown field", body, map[string]string{"no_such_field": "UNKNOWN_FIELD"})
			ask("everything wrong", wrong, all)
		}
	}
	if checked < 100 {
		t.Errorf("%d bodies were sent", checked)
	}
	same(t, before, w.state(t))
}

var pathParameter = regexp.MustCompile(`\{[a-z_]+\}`)

// some is a value that a schema allows.
func some(s *openapi3.Schema, depth int) any {
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type.Includes("string"):
		switch s.Format {
		case "date-time":
			return "2026-01-01T00:00:00Z"
		case "uuid":
			return nobody
		}
		return strings.Repeat("a", max(8, int(s.MinLength)))
	case s.Type.Includes("boolean"):
		return true
	case s.Type.Includes("integer"), s.Type.Includes("number"):
		if s.Min != nil {
			return *s.Min
		}
		return 1
	case s.Type.Includes("array"):
		if s.MinItems > 0 && depth < 5 {
			return []any{some(s.Items.Value, depth+1)}
		}
		return []any{}
	}
	out := map[string]any{}
	for _, name := range s.Required {
		out[name] = some(s.Properties[name].Value, depth+1)
	}
	return out
}

// another is a value of another type than a schema's.
func another(s *openapi3.Schema) any {
	if s.Type.Includes("string") {
		return 7
	}
	return "seven"
}

// TestLongFields sends to every operation that takes a body each text far too long. What is asked for by it is refused, in the
// field's name, and the answer does not repeat it.
func TestLongFields(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 100_000)
	for name, q := range inquiries {
		if q.body == "" {
			continue
		}
		var whole map[string]any
		customer := w.ready(t, w.tenant(t), q.ready)
		if err := json.Unmarshal([]byte(customer.fill(q.body)), &whole); err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(name)
		token := operatorToken
		if strings.HasPrefix(fields[1], "/api/v1/gateway/") {
			token = gatewayToken
		}
		for field, value := range whole {
			if _, text := value.(string); !text {
				continue
			}
			body := maps.Clone(whole)
			body[field] = long
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			got := w.ask(t, fields[0], customer.url(t, fields[1], q.query), string(text), token)
			if got.status != http.StatusBadRequest || !strings.Contains(string(got.body), fmt.Sprintf(`"field":%q`, field)) || len(got.body) > 1500 {
				t.Errorf("%s with a long %s: %d %.300s", name, field, got.status, got.body)
			}
		}
	}
}

// TestRates: a member that asks too often is put off for as long as the answer says; others are not, and neither is the vendor.
func TestRates(t *testing.T) {
	w := newWorld(t)
	plane := control.New(w.store, control.Options{Domain: "postern.test"})
	srv := httptest.NewServer(truthful(t, httpapi.New(plane, httpapi.Options{
		Version: "v-test", Rates: httpapi.Rates{Callers: httpapi.Rate{PerSecond: 0.001, Burst: 2}, SignIns: httpapi.Rate{PerSecond: 0.001, Burst: 3}},
	})))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	member, other := w.tokenOf(t, policy.Caller{}, false), w.tokenOf(t, policy.Caller{}, false)
	ask := func(token string) reply {
		t.Helper()
		return w.send(t, http.MethodGet, "/api/v1/clusters", "", map[string]string{"Authorization": "Bearer " + token})
	}
	for i, left := range []string{"1", "0"} {
		if got := ask(member); got.status != http.StatusOK || got.header.Get("RateLimit-Remaining") != left || got.header.Get("RateLimit-Limit") != "2" {
			t.Errorf("request %d: %d %v", i+1, got.status, got.header)
		}
	}
	got := ask(member)
	var e api.Error
	if err := json.Unmarshal(got.body, &e); err != nil || got.status != http.StatusTooManyRequests || e.Code != 8 || e.Details[0].Reason != "RATE_LIMITED" {
		t.Errorf("the third: %d %s", got.status, got.body)
	}
	if wait := got.header.Get("Retry-After"); len(wait) < 3 || len(wait) > 4 || got.header.Get("RateLimit-Remaining") != "0" || got.header.Get("RateLimit-Reset") == "" {
		t.Errorf("the third may come again after %q: %v", wait, got.header)
	}
	for range 5 {
		if got := ask(operatorToken); got.status != http.StatusOK || got.header.Get("RateLimit-Limit") != "" {
			t.Errorf("the vendor: %d %v", got.status, got.header)
		}
	}
	if got := ask(other); got.status != http.StatusOK {
		t.Errorf("another member: %d", got.status)
	}

	// Whoever signs in is slowed down by address, by whatever way.
	signIn := func() reply {
		t.Helper()
		return w.send(t, http.MethodPost, "/api/v1/login/password", `{"email":"a@b.example","password":"guess"}`, map[string]string{"Authorization": ""})
	}
	for range 3 {
		if got := signIn(); got.status != http.StatusUnauthorized {
			t.Errorf("a guess: %d %s", got.status, got.body)
		}
	}
	if got := signIn(); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), "RATE_LIMITED") {
		t.Errorf("one guess more: %d %s", got.status, got.body)
	}
	for path, want := range map[string]int{"/api/v1/login/openid": http.StatusTooManyRequests, "/api/v1/login/openid/callback": http.StatusTooManyRequests, "/api/v1/login": http.StatusOK} {
		if got := w.send(t, http.MethodGet, path, "", map[string]string{"Authorization": ""}); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
}
