package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// secretAnswer marks an operation, also in the document, whose answer is shown once.
const secretAnswer = "x-shown-once"

// mostKey is the longest idempotency key, in bytes.
const mostKey = 255

// heldAnswer is an answer that has not gone out.
type heldAnswer struct {
	status int
	body   bytes.Buffer
}

// once serves a POST with an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) so that its repetition changes
// nothing and is answered as it was: the change and the answer are stored in one transaction.
func (s *server) once(ctx huma.Context, next func(huma.Context)) {
	key := ctx.Header("Idempotency-Key")
	if key == "" || ctx.Operation().Method != http.MethodPost {
		next(ctx)
		return
	}
	r, out := humago.Unwrap(ctx)
	w, ok := out.(*statusWriter)
	key, fits := cutKey(key)
	if !ok || !fits || ctx.Operation().Security == nil {
		newProblem(http.StatusBadRequest, 3, "the idempotency key cannot be used here", api.ErrorDetail{
			Reason: "MALFORMED_IDEMPOTENCY_KEY", Field: "Idempotency-Key",
			Hint: fmt.Sprintf("send 1 to %d printable characters, a UUID for example, and only where a token is needed", mostKey),
		}).write(out)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, ctx.Operation().MaxBodyBytes))
	if err != nil || int64(len(body)) == ctx.Operation().MaxBodyBytes {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), rest{r.Body, err})) // which is refused as it always is
		next(ctx)
		return
	}
	sum := sha256.Sum256(append([]byte(r.Method+" "+r.URL.RequestURI()+"\n"), body...))
	var held *heldAnswer
	defer func() { w.held = nil }() // also when a handler panics: what is said of that goes out
	kept, repeated, err := s.plane.Once(ctx.Context(), callerOf(ctx.Context()), key, hex.EncodeToString(sum[:]),
		func(within context.Context) (link.KeptAnswer, error) {
			held = &heldAnswer{}
			w.held = held
			w.Header().Del("ETag")
			requestOf(within).cause = nil
			r.Body = io.NopCloser(bytes.NewReader(body))
			next(huma.WithContext(ctx, within))
			switch {
			case held.status >= http.StatusInternalServerError:
				return link.KeptAnswer{}, errors.Join(errFailed, requestOf(within).cause)
			case held.status >= http.StatusMultipleChoices:
				return link.KeptAnswer{}, nil // a refusal changed nothing
			}
			a := link.KeptAnswer{Status: held.status, ETag: w.Header().Get("ETag")}
			if ctx.Operation().Extensions[secretAnswer] == nil {
				a.Body = held.body.String()
			}
			return a, nil
		})
	w.held = nil
	switch {
	case err != nil && !errors.Is(err, errFailed):
		w.Header().Del("ETag")
		p := problemOf(err)
		if p.Status >= http.StatusInternalServerError {
			requestOf(ctx.Context()).fail(ctx.Context(), err)
		}
		p.write(w)
	case !repeated:
		w.WriteHeader(held.status)
		_, _ = w.Write(held.body.Bytes()) // the peer is gone when this fails
	case kept.Body == "":
		newProblem(http.StatusConflict, 6, "this was done, and its answer holds a secret that is shown once", api.ErrorDetail{
			Reason: "ANSWER_SHOWN_ONCE", Field: "Idempotency-Key", Hint: "list the objects to find what was made; end it and make another with a new key",
		}).write(w)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Idempotency-Replayed", "true")
		if kept.ETag != "" {
			w.Header().Set("ETag", kept.ETag)
		}
		w.WriteHeader(kept.Status)
		_, _ = io.WriteString(w, kept.Body)
	}
}

// errFailed says that the answer is there already, and is a failure.
var errFailed = errors.New("the request failed")

// cutKey reads a key, which the draft has in quotes and which many send without.
func cutKey(s string) (key string, fits bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	printable := !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
	return s, s != "" && len(s) <= mostKey && printable
}

// rest is what is left of a body, or the error that ended it.
type rest struct {
	io.Reader
	err error
}

func (r rest) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.Reader.Read(b)
}
