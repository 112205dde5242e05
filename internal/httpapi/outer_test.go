package httpapi

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A handler that panics is answered for with a bare 500; what it said stays in the log.
func TestPanics(t *testing.T) {
	var log bytes.Buffer
	s := &server{o: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /early", func(http.ResponseWriter, *http.Request) { panic("the secret cause") })
	mux.HandleFunc("GET /late", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic("the secret cause")
	})
	h := s.outer(mux)

	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/early", http.NoBody))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") || !strings.Contains(rec.Body.String(), `"reason":"INTERNAL"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if !strings.Contains(log.String(), "the secret cause") || !strings.Contains(log.String(), rec.Header().Get("X-Request-Id")) {
		t.Errorf("log %s", log.String())
	}

	defer func() {
		v := recover()
		if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("half an answer was ended as if it were whole: %v", v)
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/late", http.NoBody))
}
