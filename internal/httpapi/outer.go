package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/postern/postern/api"
)

// request is what one request's log lines share.
type request struct {
	id     string
	log    *slog.Logger
	method string
	path   string
	source netip.Addr               // whence it came; the zero address when that is not known
	asked  http.Header              // of the request
	answer http.Header              // to go out with the answer
	cause  error                    // of an answer that is a refusal or a failure
	names  func(name string) string // the values of the path's parameters; what is none is empty
}

type requestKey struct{}

// requestOf returns the request that ctx belongs to; outside of one, a request that logs nowhere.
func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{
		log: slog.New(slog.DiscardHandler), asked: http.Header{}, answer: http.Header{}, names: func(string) string { return "" },
	}
}

// fail logs the cause of an answer that hides it.
func (r *request) fail(ctx context.Context, cause error) {
	r.log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("request_id", r.id),
		slog.String("method", r.method), slog.String("path", brief(r.path)), slog.Any("error", cause))
}

// outer wraps the routes in what holds for every request: an id, header fields that keep browsers and caches from
// harm, the API's own form of 404, 405 and 415, and an answer also when a handler panics.
func (s *server) outer(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // never fails
		req := &request{id: hex.EncodeToString(raw[:]), log: s.o.Log, method: r.Method, path: r.URL.Path, asked: r.Header, answer: w.Header()}
		req.source = sourceOf(r, s.o.Proxies)
		h := w.Header()
		h.Set("X-Request-Id", req.id)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000") // RFC 6797; a name may have other hosts below it
		}

		sw := &statusWriter{ResponseWriter: w}
		start := time.Now()
		handler, pattern := mux.Handler(r)
		ctx := context.WithValue(r.Context(), requestKey{}, req)
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				req.fail(ctx, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
				if sw.status != 0 {
					panic(http.ErrAbortHandler) // half an answer must not look like a whole one
				}
				problemOf(errors.New("panic")).write(sw)
			}
			s.o.Log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("request_id", req.id), slog.String("method", r.Method),
				slog.String("path", brief(r.URL.Path)), slog.Int("status", sw.status), slog.Duration("took", time.Since(start)))
			s.observe(r.Method, pattern, sw.status, time.Since(start))
		}()

		conn := http.NewResponseController(w) // that of a test has no deadlines, which is no harm
		if r.ContentLength != 0 {
			// Also for a body that nobody is going to read: net/http reads the rest of it before it answers.
			_ = conn.SetReadDeadline(start.Add(s.o.BodyTimeout))
		}
		_ = conn.SetWriteDeadline(start.Add(2 * s.o.BodyTimeout)) // a stream sets its own with each line

		r = r.WithContext(ctx)
		req.names = r.PathValue // which the mux sets
		switch p := unfit(r); {
		case pattern == "":
			unrouted(handler, r, sw)
		case p != nil:
			p.write(sw)
		default:
			mux.ServeHTTP(sw, r)
		}
	})
}

// observe tells of a request. What a peer may choose freely stands in none of it.
func (s *server) observe(method, pattern string, status int, took time.Duration) {
	if s.o.Observe == nil {
		return
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "OTHER"
	}
	_, route, _ := strings.Cut(pattern, " ")
	if route == "" {
		route = "unknown"
	}
	s.o.Observe(Observation{Method: method, Route: route, Status: status, Took: took})
}

// unfit refuses a body that says it is something other than JSON, and writes what says JSON in the one way that huma
// compares with. A body that does not say what it is may be JSON.
func unfit(r *http.Request) *problem {
	ct := r.Header.Get("Content-Type")
	if ct == "" || r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if typ, _, err := mime.ParseMediaType(ct); err == nil && typ == "application/json" {
		r.Header.Set("Content-Type", typ)
		return nil
	}
	return newProblem(http.StatusUnsupportedMediaType, 3, "the body is not declared as JSON",
		api.ErrorDetail{Reason: "UNSUPPORTED_MEDIA_TYPE", Field: "Content-Type", Hint: "send Content-Type: application/json"})
}

// unrouted answers a request that no route fits, in the words of h: the mux's own handler for it, which knows the
// difference between an unknown path and a method that this path does not have.
func unrouted(h http.Handler, r *http.Request, w http.ResponseWriter) {
	said := &discard{header: http.Header{}}
	h.ServeHTTP(said, r)
	if said.status == http.StatusMethodNotAllowed {
		allow := said.header.Get("Allow")
		w.Header().Set("Allow", allow)
		newProblem(said.status, 12, "this path has no method "+brief(r.Method),
			api.ErrorDetail{Reason: "METHOD_NOT_ALLOWED", Field: "method", Hint: "it has " + allow}).write(w)
		return
	}
	newProblem(http.StatusNotFound, 5, "no such path",
		api.ErrorDetail{Reason: "UNKNOWN_PATH", Field: "path", Hint: "/openapi.json lists the paths"}).write(w)
}

// discard keeps a response's head and drops its body.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// statusWriter remembers the status. It hides nothing: http.ResponseController finds the connection through Unwrap.
type statusWriter struct {
	http.ResponseWriter
	status int
	held   *heldAnswer // where the answer goes instead of out; nil: out
}

func (w *statusWriter) WriteHeader(status int) {
	if w.held != nil {
		w.held.status = status
		return
	}
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.held != nil {
		return w.held.body.Write(b)
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
