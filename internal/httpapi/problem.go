package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// problem is the body of every answer that is not a success.
type problem api.Error

// Error and GetStatus make it an error that huma answers with as it is.
func (p *problem) Error() string { return p.Message }

// GetStatus returns the HTTP status.
func (p *problem) GetStatus() int { return p.Status }

// kinds says how each kind of error is answered: HTTP status and google.rpc.Code.
var kinds = map[link.Kind]struct{ status, code int }{
	link.Internal:        {http.StatusInternalServerError, 13},
	link.Invalid:         {http.StatusBadRequest, 3},
	link.NotFound:        {http.StatusNotFound, 5},
	link.Conflict:        {http.StatusConflict, 6},
	link.Denied:          {http.StatusForbidden, 7},
	link.Precondition:    {http.StatusPreconditionFailed, 9},
	link.Unavailable:     {http.StatusServiceUnavailable, 14},
	link.Unauthenticated: {http.StatusUnauthorized, 16},
	link.Exhausted:       {http.StatusTooManyRequests, 8},
	link.Gone:            {http.StatusGone, 11},
}

// fields names the input that a refusal is about where only a request's form tells: the control plane knows objects, not
// the places in paths and header fields that name them.
var fields = map[string]string{
	"TOKEN_UNKNOWN":           "Authorization",
	"PROJECT_NOT_FOUND":       "project_id",
	"CLUSTER_NOT_FOUND":       "cluster_id",
	"ORGANISATION_NOT_FOUND":  "organisation_id",
	"PRINCIPAL_NOT_FOUND":     "principal_id",
	"MEMBER_NOT_FOUND":        "principal_id",
	"PROJECTS_EXIST":          "organisation_id",
	"CLUSTERS_EXIST":          "project_id",
	"CONNECTIONS_EXIST":       "cluster_id",
	"REGION_NOT_FOUND":        "region",
	"REGION_IN_USE":           "region",
	"REGION_DELETING":         "region",
	"CONNECTION_NOT_FOUND":    "endpoint_id",
	"ENDPOINT_NOT_FOUND":      "endpoint_id",
	"TRUSTED_OWNER_NOT_FOUND": "owner_id",
	"ALLOW_ENTRY_NOT_FOUND":   "cidr_ip",
	"CLAIM_NOT_FOUND":         "claim_id",
	"CLAIM_USED":              "claim_id",
	"TOO_MANY_CLAIMS":         "cluster_id",
	"API_KEY_NOT_FOUND":       "key_id",
	"SESSION_NOT_FOUND":       "session_id",

	"EGRESS_ENDPOINT_NOT_FOUND": "id",
	"EGRESS_ENDPOINT_DELETED":   "id",
	"TOO_MANY_EGRESS_ENDPOINTS": "cluster_id",

	"GATEWAY_NOT_FOUND": "gateway_id",
	"WEBHOOK_NOT_FOUND": "webhook_id",

	"REVERSE_PROXY_NOT_FOUND":       "cluster_id",
	"TRUSTED_CERTIFICATE_NOT_FOUND": "certificate_id",
	"REVOKED_CERTIFICATE_NOT_FOUND": "certificate_id",
	"TOO_MANY_CERTIFICATES":         "cluster_id",

	"DELIVERY_NOT_FOUND": "delivery_id",
}

// problemOf makes the answer to err. An error that nobody made for a peer's eyes becomes a bare 500, or 503 when it is
// only that the time was over: what it says belongs in the log.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if all := mistakes(err); len(all) > 1 {
		p := newProblem(http.StatusBadRequest, kinds[link.Invalid].code, all[0].Message)
		for _, e := range all[:min(len(all), maxDetails)] {
			p.Details = append(p.Details, api.ErrorDetail{Reason: e.Reason, Field: e.Field, Hint: e.Hint, Message: e.Message})
		}
		return p
	}
	if e, ok := errors.AsType[*link.Error](err); ok && e.Kind != link.Internal {
		k, field := kinds[e.Kind], e.Field
		if field == "" {
			field = fields[e.Reason]
		}
		p := newProblem(k.status, k.code, e.Message, api.ErrorDetail{Reason: e.Reason, Field: field, Hint: e.Hint})
		p.RetryAfter = e.After
		return p
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return newProblem(http.StatusServiceUnavailable, 14, "the request took too long",
			api.ErrorDetail{Reason: "TIMED_OUT", Hint: "try again"})
	}
	return newProblem(http.StatusInternalServerError, 13, "something went wrong in Postern",
		api.ErrorDetail{Reason: "INTERNAL", Hint: "the server's log has the cause under the request id in X-Request-Id"})
}

// mistakes are the errors of an input that were joined to be told at once; none when something else is among them.
func mistakes(err error) (out []*link.Error) {
	all, several := errors.AsType[interface {
		error
		Unwrap() []error
	}](err)
	if !several {
		if e, ok := errors.AsType[*link.Error](err); ok && e.Kind == link.Invalid {
			return []*link.Error{e}
		}
		return nil
	}
	for _, part := range all.Unwrap() {
		some := mistakes(part)
		if len(some) == 0 {
			return nil
		}
		out = append(out, some...)
	}
	return out
}

func newProblem(status, code int, message string, details ...api.ErrorDetail) *problem {
	return &problem{Status: status, Code: code, Message: message, Details: details}
}

// write answers a request outside of huma with p.
func (p *problem) write(w http.ResponseWriter) {
	p.headers(w.Header().Add)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the peer is gone when this fails
}

// headers sets the header fields that the status asks for.
func (p *problem) headers(set func(name, value string)) {
	switch p.Status {
	case http.StatusUnauthorized: // RFC 6750, section 3
		challenge := `Bearer realm="postern"`
		if len(p.Details) > 0 && p.Details[0].Reason != reasonNoToken {
			challenge += `, error="invalid_token"`
		}
		set("WWW-Authenticate", challenge)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		set("Retry-After", seconds(max(p.RetryAfter, time.Second)))
	}
}

var bendOnce sync.Once

// bendHuma makes huma, whose settings for this are the process's, answer errors in the shape of problem, compare field
// names exactly and describe arrays as never null.
func bendHuma() {
	bendOnce.Do(func() {
		huma.DefaultArrayNullable = false
		huma.ValidateStrictCasing = true
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			return humaProblem(status, message, errs)
		}
		huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
			p := humaProblem(status, message, errs)
			p.headers(ctx.SetHeader)
			if p.Status == http.StatusInternalServerError {
				requestOf(ctx.Context()).fail(ctx.Context(), errors.Join(errs...))
			}
			return p
		}
	})
}

// humaProblem translates what huma reports: the error of a handler (one that is not its own), or what its validation
// found.
func humaProblem(status int, message string, errs []error) *problem {
	switch status {
	case http.StatusInternalServerError:
		return problemOf(errors.Join(errs...))
	case http.StatusRequestEntityTooLarge:
		return newProblem(status, 3, "the body is too long",
			api.ErrorDetail{Reason: "BODY_TOO_LONG", Field: "body", Hint: fmt.Sprintf("send at most %d bytes", maxBody)})
	case http.StatusRequestTimeout:
		return newProblem(status, 4, "the body did not arrive in time", api.ErrorDetail{Reason: "BODY_TIMED_OUT", Field: "body"})
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if len(errs) == 0 { // huma's own words for it are "request body is required"
			return newProblem(http.StatusBadRequest, 3, message, api.ErrorDetail{Reason: "BODY_REQUIRED", Field: "body", Hint: "send a JSON object"})
		}
		p := newProblem(http.StatusBadRequest, 3, "")
		for _, err := range errs[:min(len(errs), maxDetails)] {
			m, d := complaint(err)
			// A field that is unknown often is the misspelt one that is missing: it is what to look at first.
			if p.Message == "" || d.Reason == reasonUnknownField && p.Details[0].Reason != reasonUnknownField {
				p.Message = m
				p.Details = append([]api.ErrorDetail{d}, p.Details...)
				continue
			}
			p.Details = append(p.Details, d)
		}
		return p
	}
	return newProblem(status, 2, message, api.ErrorDetail{Reason: "REFUSED"})
}

// maxDetails bounds the details of one answer: a hostile body can be wrong in many places.
const maxDetails = 40

const reasonUnknownField = "UNKNOWN_FIELD"

var requiredProperty = regexp.MustCompile(`^expected (?:required )?property (\S+) to be present`)

// complaint translates one finding of huma's validation. Its Value, which may be the whole body, is left out.
func complaint(err error) (message string, d api.ErrorDetail) {
	found, ok := errors.AsType[*huma.ErrorDetail](err)
	if !ok {
		// What the JSON decoder says when a value does not fit its Go type in a way that the schema does not tell.
		return "the body does not fit", api.ErrorDetail{Reason: "INVALID_VALUE", Field: "body", Hint: "see /openapi.json"}
	}
	field := found.Location
	for _, where := range []string{"body.", "path.", "query.", "header."} {
		if rest, cut := strings.CutPrefix(field, where); cut {
			field = rest
			break
		}
	}
	field = brief(field)
	if m := requiredProperty.FindStringSubmatch(found.Message); m != nil {
		if field == "body" || field == "" {
			field = m[1]
		} else {
			field += "." + m[1]
		}
		return field + " is missing", api.ErrorDetail{Reason: "REQUIRED", Field: field}
	}
	switch {
	case found.Message == "unexpected property":
		return "unknown field " + link.Quote(field), api.ErrorDetail{
			Reason: reasonUnknownField, Field: field, Hint: "field names are exact, capitals included; /openapi.json lists them",
		}
	case strings.HasSuffix(found.Message, "parameter is missing"):
		return field + " is missing", api.ErrorDetail{Reason: "REQUIRED", Field: field}
	case found.Location == "body" && !strings.HasPrefix(found.Message, "expected "):
		return "the body is not JSON", api.ErrorDetail{Reason: "MALFORMED_JSON", Field: "body", Hint: brief(found.Message)}
	}
	return field + ": " + brief(found.Message), api.ErrorDetail{Reason: "INVALID_VALUE", Field: field, Hint: brief(found.Message)}
}

// brief cuts what a peer sent, or what quotes it, to a length that fits a message.
func brief(s string) string {
	const most = 120
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
