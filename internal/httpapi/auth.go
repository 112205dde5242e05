package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/policy"
)

// reasonNoToken is the reason of a 401 to a request that carried no token at all.
const reasonNoToken = "TOKEN_MISSING"

type callerKey struct{}

// callerOf returns who asks; nobody on a route that is open.
func callerOf(ctx context.Context) policy.Caller {
	c, _ := ctx.Value(callerKey{}).(policy.Caller)
	return c
}

// authenticate finds out who asks, before anything else of the request is looked at.
func (s *server) authenticate(ctx huma.Context, next func(huma.Context)) {
	if ctx.Operation().Security == nil {
		next(ctx)
		return
	}
	caller, err := s.caller(ctx)
	if err != nil {
		p := problemOf(err)
		if p.Status == http.StatusInternalServerError {
			requestOf(ctx.Context()).fail(ctx.Context(), err)
		}
		_, w := humago.Unwrap(ctx)
		if p.Status == http.StatusUnauthorized && ctx.Operation().Metadata[asArtifactory] != nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="postern"`) // many of them wait to be asked
		}
		if p.Status == http.StatusUnauthorized && !s.addresses.passes(w, addressOf(requestOf(ctx.Context()).source)) {
			return
		}
		p.write(w)
		return
	}
	v := visitor(ctx.Context())
	caller.RequestID, caller.Source = v.RequestID, v.Source
	next(huma.WithValue(ctx, callerKey{}, caller))
}

// caller is who asks as the request's token tells now, whatever it told before.
func (s *server) caller(ctx huma.Context) (policy.Caller, error) {
	// The scheme is compared without case: RFC 9110, section 11.1.
	header := ctx.Header("Authorization")
	if header == "" {
		if r, _ := humago.Unwrap(ctx); s.ofBrowser(r) != "" {
			if err := s.sameOrigin.Check(r); err != nil {
				return policy.Caller{}, errCrossOrigin
			}
			return s.plane.Authenticate(ctx.Context(), visitor(ctx.Context()), s.ofBrowser(r))
		}
	}
	if ctx.Operation().Metadata[asArtifactory] != nil {
		r, _ := humago.Unwrap(ctx)
		if token := artifactoryToken(r); token != "" {
			// A browser keeps what was typed into its dialog, and sends it along with whatever a page asks for.
			if err := s.sameOrigin.Check(r); err != nil {
				return policy.Caller{}, errCrossOrigin
			}
			return s.plane.Authenticate(ctx.Context(), visitor(ctx.Context()), token)
		}
	}
	scheme, token, _ := strings.Cut(header, " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return policy.Caller{}, newProblem(http.StatusUnauthorized, 16, "no token",
			api.ErrorDetail{Reason: reasonNoToken, Field: "Authorization", Hint: "send Authorization: Bearer and the token"})
	}
	return s.plane.Authenticate(ctx.Context(), visitor(ctx.Context()), token)
}

var errCrossOrigin = newProblem(http.StatusForbidden, 7, "another site's page made this request",
	api.ErrorDetail{Reason: "CROSS_ORIGIN", Field: "Origin", Hint: "send Authorization: Bearer and a token instead of what the browser keeps"})

// ofBrowser returns the session that a browser keeps; empty when it keeps none.
func (s *server) ofBrowser(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil || !identity.IsToken(identity.SessionToken, c.Value) {
		return ""
	}
	return c.Value
}
