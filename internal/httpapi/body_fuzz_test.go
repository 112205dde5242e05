package httpapi_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// Whatever is sent as a body or in a path, the answer is a success or a refusal in the API's form, and never a failure of
// the server.
func FuzzRequests(f *testing.F) {
	quiet := slog.New(slog.DiscardHandler)
	st := storetest.Open(f, store.Options{Log: quiet})
	plane := control.New(st, control.Options{Domain: "postern.test", Log: quiet})
	if err := plane.PutToken(f.Context(), "alice", policy.Operator, operatorToken); err != nil {
		f.Fatal(err)
	}
	handler := httpapi.New(plane, httpapi.Options{Log: quiet})

	for _, seed := range [][3]string{
		{"POST", "/api/v1/projects", `{"name":"acme"}`},
		{"POST", "/api/v1/projects", `{"name":"acme","name":7}`},
		{"POST", "/api/v1/projects", "{\"name\":\"\xff\\u0000\"}"},
		{"POST", "/api/v1/clusters", `{"project_id":null,"regions":[[]]}`},
		{"PUT", "/api/v1/regions/AWS/us-east-1", `{"vpc_id":"v","subnet_ids":["s"],"gateway_targets":["[::1%lo]:1"],"ports":[1e3]}`},
		{"PUT", "/api/v1/clusters/" + nobody + "/networking/allowlist/::%2Fx/-1", `{"ui":true}`},
		{"DELETE", "/api/v1/clusters/" + nobody + "/networking/private-endpoint-connections/%2E%2E%00", ""},
		{"PATCH", "/api/v1/clusters/" + nobody + "/networking/aws-endpoint-connections/vpce-0a1b2c3d4e5f60718", `{"status":"AVAILABLE"}`},
		{"GET", "/api/v1/clusters?pagination.page=%zz&pagination.limit=99999999999999999999", ""},
		{"POST", "/api/v1/gateway/reports", `{"flows":[{}]}`},
		{"PATCH", "/api/v1/clusters/" + nobody + "/traffic", `{"backends":[{"address":"a:1","weight":-1}],"health":{"check":"HTTP","path":"\u0000","statuses":[1e9]},"denied_ports":[65536]}`},
		{"PUT", "/api/v1/service-profile", `{"ports":[{"port":22,"denied":true},{"port":2022,"protocol":"TCP","traffic":"UI","backend_port":-1}]}`},
		{"POST", "/api/v1/clusters/" + nobody + "/networking/claims", `{"ttl_seconds":86401,"region_name":""}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !strings.HasPrefix(path, "/") {
			return // not a request
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://api.test"+path, strings.NewReader(body))
		if err != nil {
			return // not a request
		}
		req.Header.Set("Authorization", "Bearer "+operatorToken)
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code < 300 || rec.Code > 300 && rec.Code < 309 { // the mux sends paths with dots or double slashes elsewhere
			return
		}
		var e api.Error
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || rec.Code >= 500 || e.Message == "" || len(e.Details) == 0 {
			t.Errorf("%s %q: %d %s", method, path, rec.Code, rec.Body)
		}
	})
}
