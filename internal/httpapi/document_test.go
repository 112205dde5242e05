package httpapi_test

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/api"
)

func TestDocument(t *testing.T) {
	doc := document()
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || doc.Info.Version != "v-test" {
		t.Errorf("OpenAPI %s of version %s", doc.OpenAPI, doc.Info.Version)
	}
	if doc.Components.Schemas["GatewayRules"] == nil {
		t.Error("the lines of the rules stream are not described")
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			open := path == "/healthz" || path == "/readyz" || strings.HasPrefix(path, "/api/v1/login")
			if (op.Security == nil) != open {
				t.Errorf("%s %s: security %v", method, path, op.Security)
			}
			if op.Responses.Default() == nil {
				t.Errorf("%s %s describes no error", method, path)
			}
		}
	}
}

// TestEveryRouteHasAMethod calls every method of the client with placeholders and compares what it asks for with what
// the document lists: neither has something that the other lacks.
func TestEveryRouteHasAMethod(t *testing.T) {
	doc := document()
	asked := map[string]bool{}
	spy := api.New("http://spy.test", "", api.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked[r.Method+" "+shape(r.URL)] = true
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
	})}))
	v := reflect.ValueOf(spy)
	for i := range v.NumMethod() {
		m := v.Method(i)
		if m.Type().NumIn() == 0 {
			continue // BaseURL
		}
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 1; j < m.Type().NumIn(); j++ {
			arg := reflect.New(m.Type().In(j)).Elem()
			if arg.Kind() == reflect.String {
				arg.SetString("X")
			}
			args = append(args, arg)
		}
		m.Call(args)
	}
	delete(asked, "GET /openapi.json") // it describes the others
	listed := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		if strings.Contains(path, "/artifactory/") {
			continue // is asked for by clients of Artifactory
		}
		for method := range item.Operations() {
			u := &url.URL{Path: path}
			listed[method+" "+shape(u)] = true
		}
	}
	for call := range asked {
		if !listed[call] {
			t.Errorf("the client asks for %s, which the document does not list", call)
		}
	}
	for call := range listed {
		if !asked[call] {
			t.Errorf("the document lists %s, which no method of the client asks for", call)
		}
	}
}

// shape is a path with every parameter, in braces or a placeholder, replaced.
func shape(u *url.URL) string {
	parts := strings.Split(u.Path, "/")
	for i, p := range parts {
		if p == "X" || p == "0" || strings.HasPrefix(p, "{") {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "/")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The response check must be able to fail: an answer that the document does not describe is caught.
func TestResponseCheckCatches(t *testing.T) {
	doc := document()
	schema := doc.Components.Schemas["Project"].Value
	if !slices.Contains(schema.Required, "conditions") {
		t.Fatalf("Project requires %v", schema.Required)
	}
	if err := doc.ValidateSchemaJSON(schema, map[string]any{"id": nobody, "name": 7}); err == nil {
		t.Error("a project with a number for a name and nothing else passed")
	}
}
