package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}

func (s *server) health() {
	ok := Health{Status: "ok", Version: s.o.Version}

	register(s, route{method: http.MethodGet, path: "/healthz", id: "GetHealth", tag: "Health", summary: "Tell whether the server runs", open: true},
		func(context.Context, policy.Caller, *struct{}) (Health, error) { return ok, nil })

	register(s, route{method: http.MethodGet, path: "/readyz", id: "GetReadiness", tag: "Health", summary: "Tell whether the server can do its work", open: true},
		func(ctx context.Context, _ policy.Caller, _ *struct{}) (Health, error) {
			if s.o.Ready == nil {
				return ok, nil
			}
			if err := s.o.Ready(ctx); err != nil {
				requestOf(ctx).fail(ctx, err)
				return Health{}, &link.Error{
					Kind: link.Unavailable, Reason: "NOT_READY", Message: "the server is not ready", Hint: "try again; its log says what is missing", Err: err,
				}
			}
			return ok, nil
		})
}

// document serves the OpenAPI document, written once: huma's own route for it would write it while requests read it.
func (s *server) document() {
	s.describeHeaders()
	text, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(fmt.Sprintf("the OpenAPI document cannot be written: %v", err)) // the routes above are a defect then
	}
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // the peer is gone when this fails
	})
}
