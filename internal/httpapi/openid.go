package httpapi

import (
	"net/http"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
)

// The cookies that a browser keeps. The prefix makes it take them from this host alone, by TLS or on loopback, for all paths
// (RFC 6265bis, section 4.1.3.2).
const (
	sessionCookie = "__Host-postern-session"
	attemptCookie = "__Host-postern-attempt" // of a sign-in at the OpenID provider
)

// slowed serves a browser that signs in within its address's rate.
func (s *server) slowed(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.signIns.passes(w, addressOf(requestOf(r.Context()).source)) {
			f(w, r)
		}
	}
}

// beginOpenID sends a browser to the OpenID provider. Not one of the document's operations: a browser goes here, no client.
func (s *server) beginOpenID(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ask := control.OpenIDRequest{ReturnTo: q.Get("return"), Loopback: q.Get("redirect_uri"), State: q.Get("state"), Challenge: q.Get("code_challenge")}
	if m := q.Get("code_challenge_method"); ask.Loopback != "" && m != "S256" {
		newProblem(http.StatusBadRequest, 3, "the challenge's method is not S256",
			api.ErrorDetail{Reason: "MALFORMED_CHALLENGE", Field: "code_challenge_method", Hint: "send code_challenge_method=S256"}).write(w)
		return
	}
	to, keep, err := s.plane.BeginOpenID(r.Context(), ask)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	// Lax: it comes back from the provider's site, by a link.
	http.SetCookie(w, cookie(attemptCookie, keep, 10*time.Minute))
	http.Redirect(w, r, to, http.StatusFound)
}

// finishOpenID takes the browser back from the provider.
func (s *server) finishOpenID(w http.ResponseWriter, r *http.Request) {
	keep := ""
	if c, err := r.Cookie(attemptCookie); err == nil {
		keep = c.Value
	}
	q := r.URL.Query()
	to, in, err := s.plane.FinishOpenID(r.Context(), visitor(r.Context()), keep, control.Returned{State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error")})
	http.SetCookie(w, cookie(attemptCookie, "", -1))
	if err != nil && to == "" {
		s.refuse(w, r, err)
		return
	}
	if in.Token != "" {
		http.SetCookie(w, cookie(sessionCookie, in.Token, time.Until(in.Session.ExpiresAt)))
	}
	http.Redirect(w, r, to, http.StatusFound)
}

// refuse answers a browser with an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		requestOf(r.Context()).fail(r.Context(), err)
	}
	p.write(w)
}

// cookie is one for this host alone. With a negative life it is taken away.
func cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second)}
	if life < 0 {
		c.MaxAge = -1
	}
	return c
}
