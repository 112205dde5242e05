package httpapi

import (
	"context"
	"net/http"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// login serves the ways to sign in that need no browser. Whoever asks has no token yet.
func (s *server) login() {
	const tag, base = "Sign-in", "/api/v1/login"

	register(s, route{method: http.MethodGet, path: base, id: "GetSignInMethods", tag: tag, summary: "Tell how people sign in here", open: true},
		func(context.Context, policy.Caller, *struct{}) (out api.SignInMethods, err error) {
			for _, m := range s.plane.SignInMethods() {
				out.Password = out.Password || m == link.ByPassword
				out.OpenID = out.OpenID || m == link.ByOpenID
			}
			return out, nil
		})

	type password struct{ Body api.PasswordSignInRequest }
	register(s, route{method: http.MethodPost, path: base + "/password", id: "SignInByPassword", tag: tag, summary: "Begin a session by e-mail address and password", open: true, signsIn: true, secret: true},
		func(ctx context.Context, _ policy.Caller, in *password) (api.NewSession, error) {
			out, err := s.plane.SignInByPassword(ctx, visitor(ctx), in.Body.Email, in.Body.Password)
			return wireSignedIn(out), err
		})

	type set struct{ Body api.SetPasswordRequest }
	register(s, route{method: http.MethodPost, path: base + "/set-password", id: "SetPassword", tag: tag, summary: "Set a password by a token that an operator handed over, and begin a session", open: true, signsIn: true, secret: true},
		func(ctx context.Context, _ policy.Caller, in *set) (api.NewSession, error) {
			out, err := s.plane.SetPassword(ctx, visitor(ctx), in.Body.Token, in.Body.Password)
			return wireSignedIn(out), err
		})

	type exchange struct{ Body api.ExchangeCodeRequest }
	register(s, route{method: http.MethodPost, path: base + "/code", id: "ExchangeCode", tag: tag, summary: "Begin the session of who signed in at the OpenID provider, for a program on the own machine", open: true, signsIn: true, secret: true},
		func(ctx context.Context, _ policy.Caller, in *exchange) (api.NewSession, error) {
			out, err := s.plane.ExchangeCode(ctx, visitor(ctx), in.Body.Code, in.Body.CodeVerifier)
			return wireSignedIn(out), err
		})

	s.mux.HandleFunc("GET "+base+"/openid", s.slowed(s.beginOpenID))
	s.mux.HandleFunc("GET "+base+"/openid/callback", s.slowed(s.finishOpenID))
}

func (s *server) sessions() {
	const tag, base = "Sign-in", "/api/v1/principals/{principal_id}/sessions"

	register(s, route{method: http.MethodPost, path: "/api/v1/logout", id: "SignOut", tag: tag, summary: "End the session that makes this request"},
		func(ctx context.Context, c policy.Caller, _ *struct{}) (empty, error) {
			return empty{}, s.plane.SignOut(ctx, c)
		})

	register(s, route{method: http.MethodGet, path: base, id: "ListSessions", tag: tag, summary: "List the sessions of a person"},
		func(ctx context.Context, c policy.Caller, in *PrincipalPath) (api.SessionList, error) {
			id, err := in.principal()
			if err != nil {
				return api.SessionList{}, err
			}
			list, err := s.plane.Sessions(ctx, c, id)
			return api.SessionList{Sessions: each(list, wireSession)}, err
		})

	type one struct {
		PrincipalPath
		SessionID string `path:"session_id" doc:"The session's id"`
	}
	register(s, route{method: http.MethodDelete, path: base + "/{session_id}", id: "EndSession", tag: tag, summary: "End a session at once"},
		func(ctx context.Context, c policy.Caller, in *one) (empty, error) {
			id, err := in.principal()
			if err != nil {
				return empty{}, err
			}
			session, err := link.ParseID("session_id", in.SessionID)
			if err != nil {
				return empty{}, err
			}
			return empty{}, s.plane.EndSession(ctx, c, id, session)
		})

	register(s, route{
		method: http.MethodPost, path: "/api/v1/people/{principal_id}/sign-in-reset", id: "ResetSignIn", tag: "People", secret: true,
		summary: "End everything by which a person signs in, and make a token by which the person sets a password; it is shown once",
	},
		func(ctx context.Context, c policy.Caller, in *PrincipalPath) (api.SignInReset, error) {
			id, err := in.principal()
			if err != nil {
				return api.SignInReset{}, err
			}
			token, expires, err := s.plane.ResetSignIn(ctx, c, id)
			return api.SignInReset{PrincipalID: string(id), Token: token, ExpiresAt: expires}, err
		})
}

// visitor is where a request comes from whose sender is not known.
func visitor(ctx context.Context) control.Visitor {
	r := requestOf(ctx)
	v := control.Visitor{RequestID: r.id}
	if r.source.IsValid() {
		v.Source = r.source.String()
	}
	return v
}

func wireSession(in link.Session) api.Session {
	return api.Session{
		ID: string(in.ID), Method: string(in.Method), Source: in.Source, CreatedAt: in.CreatedAt, LastUsedAt: in.LastUsedAt, ExpiresAt: in.ExpiresAt,
	}
}

func wireSignedIn(in control.SignedIn) api.NewSession {
	return api.NewSession{Session: wireSession(in.Session), Token: in.Token, Principal: wirePrincipal(in.Principal)}
}
