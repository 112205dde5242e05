package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
)

// unseen are the answers that the document promises and that no test of this package has to make the server give, each
// with the reason. The key is "operation id status".
var unseen = map[string]string{
	"GetHealth default": "it has nothing that could fail",

	"GetSignInMethods default": "neither has this",
}

// seen are the answers that the tests of this package saw, by the same keys.
var seen = struct {
	sync.Mutex
	answers map[string]bool
}{answers: map[string]bool{}}

// TestMain runs the tests and then, when all of them ran, compares what they saw with what the document promises: an
// operation or an answer that no test meets may be described in any way.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.fuzz").Value.String() == "" && !testing.Short() {
		for _, lack := range promisedUnseen() {
			fmt.Println("no test sees the answer that the OpenAPI document promises:", lack)
			code = 1
		}
	}
	os.Exit(code)
}

func promisedUnseen() (lack []string) {
	seen.Lock()
	defer seen.Unlock()
	for _, item := range document().Paths.Map() {
		for _, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if key := op.OperationID + " " + status; !seen.answers[key] && unseen[key] == "" {
					lack = append(lack, key)
				}
			}
		}
	}
	slices.Sort(lack)
	return lack
}

// document is the server's OpenAPI document, which is the same whatever the store holds.
var document = sync.OnceValue(func() *openapi3.T {
	handler := httpapi.New(control.New(nil, control.Options{}), httpapi.Options{Version: "v-test"})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		panic(err)
	}
	return doc
})

// truthful serves what handler answers and holds every answer against the document: its status, its header fields and its
// body. A request that was answered with success has to be one that the document allows, too.
func truthful(t *testing.T, handler http.Handler) http.Handler {
	mux := http.NewServeMux()
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			route := &routers.Route{Spec: document(), Path: path, PathItem: item, Method: method, Operation: op}
			mux.Handle(method+" "+path, witness(t, handler, route))
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		kept := &copied{ResponseWriter: w}
		handler.ServeHTTP(kept, r)
		if r.URL.Path == "/openapi.json" && kept.status == http.StatusOK {
			return
		}
		// What no operation describes is refused, in the one form of every refusal.
		if kept.status < 400 {
			t.Errorf("%s %s is not in the document and was answered with %d", r.Method, r.URL, kept.status)
		}
		var said any
		if err := json.Unmarshal(kept.body.Bytes(), &said); err == nil {
			err = document().Components.Schemas["Problem"].Value.VisitJSON(said)
			if err != nil {
				t.Errorf("%s %s was answered with %d and no Problem: %v\n%s", r.Method, r.URL, kept.status, err, kept.body.Bytes())
			}
		} else if r.Method != http.MethodHead {
			t.Errorf("%s %s was answered with %d and no JSON: %s", r.Method, r.URL, kept.status, kept.body.Bytes())
		}
	})
	return mux
}

// witness serves one operation.
func witness(t *testing.T, handler http.Handler, route *routers.Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent bytes.Buffer
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &sent), r.Body}
		kept := &copied{ResponseWriter: w}
		defer func() {
			if kept.status == 0 || kept.broken {
				return // nobody got an answer
			}
			asked := r.Clone(r.Context())
			asked.Body = io.NopCloser(&sent)
			if asked.Header.Get("Content-Type") == "" {
				asked.Header.Set("Content-Type", "application/json") // whoever does not say what it is may mean it
			}
			if err := hold(asked, route, kept); err != nil {
				t.Errorf("%s %s was answered with %d: %v\n%s", r.Method, r.URL, kept.status, err, kept.body.Bytes())
			}
			askAgain(t, handler, asked, route, kept)
		}()
		handler.ServeHTTP(kept, r)
	})
}

// askAgain asks for an object that was told once more, with its tag: whoever has it is not sent it again.
func askAgain(t *testing.T, handler http.Handler, r *http.Request, route *routers.Route, kept *copied) {
	tag, key := kept.Header().Get("ETag"), route.Operation.OperationID+" 304"
	seen.Lock()
	known := seen.answers[key]
	seen.Unlock()
	if known || r.Method != http.MethodGet || kept.status != http.StatusOK || tag == "" {
		return
	}
	r = r.Clone(context.WithoutCancel(r.Context())) // whoever asked may have had enough
	r.Header.Set("If-None-Match", tag)
	w := httptest.NewRecorder()
	again := &copied{ResponseWriter: w}
	handler.ServeHTTP(again, r)
	if again.status == http.StatusOK && w.Header().Get("ETag") != tag {
		return // it was changed just now
	}
	if again.status != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("ETag") != tag {
		t.Errorf("%s %s of a copy that is current was answered with %d %s", r.Method, r.URL, again.status, w.Body)
	} else if err := hold(r, route, again); err != nil {
		t.Errorf("%s %s of a copy that is current: %v", r.Method, r.URL, err)
	}
}

// hold holds one answer against the document.
func hold(r *http.Request, route *routers.Route, kept *copied) error {
	status := fmt.Sprint(kept.status)
	if route.Operation.Responses.Value(status) == nil {
		if kept.status < 400 {
			return errors.New("the document has no such status")
		}
		status = "default"
	}
	seen.Lock()
	seen.answers[route.Operation.OperationID+" "+status] = true
	seen.Unlock()

	params := map[string]string{}
	for part := range strings.SplitSeq(route.Path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			params[name] = r.PathValue(name)
		}
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	if kept.status < 300 {
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			return fmt.Errorf("the request is not one of the document: %w", err)
		}
	}
	if typ := kept.Header().Get("Content-Type"); typ != "" && typ != "application/json" {
		// A stream: its lines are held against their own schema where they are read.
		if route.Operation.Responses.Value(status).Value.Content[typ] == nil {
			return fmt.Errorf("the document does not have %s here", typ)
		}
		return nil
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: kept.status, Header: kept.Header(), Options: options}
	return openapi3filter.ValidateResponse(r.Context(), out.SetBodyBytes(kept.body.Bytes()))
}

// copied keeps a copy of what an answer says.
type copied struct {
	http.ResponseWriter
	status int
	broken bool // what was written did not go out
	body   bytes.Buffer
}

func (c *copied) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	if c.Header().Get("Content-Type") == "application/json" {
		c.body.Write(b)
	}
	n, err := c.ResponseWriter.Write(b)
	c.broken = c.broken || err != nil
	return n, err
}

// Unwrap lets http.ResponseController find the stream.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// TestStrangersAreRefused asks for every operation that needs a token without one and with a wrong one.
func TestStrangersAreRefused(t *testing.T) {
	w := newWorld(t)
	before := w.state(t)
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security == nil {
				continue
			}
			for _, token := range []string{"", "Bearer wrong", "Basic b3BlcmF0b3I6eA=="} {
				got := w.send(t, method, anyPath(path), "", map[string]string{"Authorization": token})
				if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s with %q: %d %s", method, path, token, got.status, got.body)
				}
			}
		}
	}
	same(t, before, w.state(t))
}

// anyPath fills the parameters of a path of the document.
func anyPath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "x"
		}
	}
	return strings.Join(parts, "/")
}
