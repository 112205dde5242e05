package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
)

// No page of another origin is ever let in: no answer says anything of CORS, and a preflight request has no answer.
func TestNoOtherOrigins(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/v1/projects", "/api/v1/clusters/" + w.cluster.ID, "/healthz", "/openapi.json", "/nowhere"} {
		for _, method := range []string{"OPTIONS", "GET"} {
			got := w.send(t, method, path, "", map[string]string{
				"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization",
			})
			if method == "OPTIONS" && got.status != http.StatusMethodNotAllowed && got.status != http.StatusNotFound {
				t.Errorf("%s %s: %d", method, path, got.status)
			}
			for name := range got.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s is answered with %s", method, path, name)
				}
			}
		}
	}
}

// Whoever tries tokens is put off; whoever has one is not, from the same address.
func TestGuessingIsPutOff(t *testing.T) {
	handler := httpapi.New(control.New(nil, control.Options{}), httpapi.Options{Rates: httpapi.Rates{Addresses: httpapi.Rate{PerSecond: 0.01, Burst: 3}}})
	statuses := map[int]int{}
	for range 5 {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1/projects", nil))
		statuses[rec.Code]++
	}
	if statuses[http.StatusUnauthorized] != 3 || statuses[http.StatusTooManyRequests] != 2 {
		t.Errorf("%v", statuses)
	}
}
