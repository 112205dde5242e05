package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/policy"
)

// getter returns an object as its own GET answers with it. value knows the parameters of the path.
type getter func(ctx context.Context, c policy.Caller, value func(name string) string) (any, error)

func getterOf[I, T any](f func(context.Context, policy.Caller, *I) (T, error)) getter {
	return func(ctx context.Context, c policy.Caller, value func(name string) string) (any, error) {
		in := new(I)
		fillPath(reflect.ValueOf(in).Elem(), value)
		return f(ctx, c, in)
	}
}

// fillPath sets the fields that are parameters of the path, as huma does, whose rules the request has passed already.
func fillPath(v reflect.Value, value func(name string) string) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Tag.Get("path")
		switch {
		case v.Type().Field(i).Anonymous:
			fillPath(field, value)
		case name == "":
		case field.Kind() == reflect.String:
			field.SetString(value(name))
		case field.CanInt():
			n, _ := strconv.ParseInt(value(name), 10, 64)
			field.SetInt(n)
		}
	}
}

// tagOf is the strong entity tag (RFC 9110, section 8.8.3) of an object: it differs whenever its JSON does.
func tagOf(object any) string {
	b, err := json.Marshal(object)
	if err != nil {
		panic(fmt.Sprintf("httpapi: %T does not marshal: %v", object, err)) // all that is answered with does
	}
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// tagListed tells whether a list of entity tags names tag; "*" names every one. Only where weakly is set the tags that a
// cache on the way made weak count as well.
func tagListed(list, tag string, weakly bool) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if weakly {
			one = strings.TrimPrefix(one, "W/")
		}
		if one == "*" || one == tag {
			return true
		}
	}
	return false
}

// onCondition runs f, and where the request is for a change on the condition of If-Match, looks at the object and runs f
// in one transaction, so that nobody comes between.
func onCondition[T any](ctx context.Context, s *server, r route, f func(context.Context) (T, error)) (out T, err error) {
	req := requestOf(ctx)
	match := strings.Join(req.asked.Values("If-Match"), ",")
	if match == "" || r.method == http.MethodGet {
		return f(ctx)
	}
	get := s.getters[r.path]
	if get == nil || r.method == http.MethodPost {
		// Not to look would do what was asked for only on a condition.
		return out, newProblem(http.StatusBadRequest, 3, "what this asks for has no ETag to match",
			api.ErrorDetail{Reason: "CONDITION_NOT_SUPPORTED", Field: "If-Match", Hint: "leave If-Match out"})
	}
	failed := s.plane.Together(ctx, func(ctx context.Context) error {
		var none T
		out, err = none, s.matches(ctx, get, match)
		if err == nil {
			out, err = f(ctx)
		}
		if err != nil && problemOf(err).Status >= http.StatusInternalServerError {
			return err
		}
		return nil // a refusal has undone what it had done, and what was noted of it stays
	})
	if failed != nil {
		err = failed
	}
	return out, err
}

// matches refuses when the object is not, or no longer, as the request has it.
func (s *server) matches(ctx context.Context, get getter, match string) error {
	req := requestOf(ctx)
	object, err := get(ctx, callerOf(ctx), req.names)
	if err != nil {
		return err
	}
	tag := tagOf(object)
	if tagListed(match, tag, false) {
		return nil
	}
	req.answer.Set("ETag", tag)
	return newProblem(http.StatusPreconditionFailed, 9, "the object is not the one of If-Match: it was changed meanwhile",
		api.ErrorDetail{Reason: "PRECONDITION_FAILED", Field: "If-Match", Hint: "get the object again, decide again, and send the ETag that came with it"})
}

// describeHeaders writes into the document which operations have tags and conditions, and which take idempotency keys.
func (s *server) describeHeaders() {
	tag := &huma.Param{Description: "The object's strong entity tag", Schema: &huma.Schema{Type: huma.TypeString}}
	header := func(name, doc string) *huma.Param {
		return &huma.Param{Name: name, In: "header", Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	for path, item := range s.api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPut: item.Put, http.MethodPost: item.Post, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
		} {
			if op == nil {
				continue
			}
			if ok := op.Responses[strconv.Itoa(op.DefaultStatus)]; s.objects[s.answers[op.OperationID]] {
				ok.Headers = map[string]*huma.Param{"ETag": tag}
			}
			switch {
			case method == http.MethodPost:
				if op.Security != nil {
					op.Parameters = append(op.Parameters, header("Idempotency-Key", "Makes a repetition within 24 hours change nothing and be answered as the request was"))
				}
			case s.getters[path] == nil:
			case method == http.MethodGet:
				op.Parameters = append(op.Parameters, header("If-None-Match", "Tags of the copies that the caller has"))
				op.Responses["304"] = &huma.Response{Description: "The caller's copy is current", Headers: map[string]*huma.Param{"ETag": tag}}
			default:
				op.Parameters = append(op.Parameters, header("If-Match", "Change the object only if it still has this tag; 412 otherwise"))
			}
		}
	}
}
