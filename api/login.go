package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// SignInMethods are the ways in which people sign in to an installation.
type SignInMethods struct {
	Password bool `json:"password" doc:"By e-mail address and password"`
	OpenID   bool `json:"openid" doc:"At an OpenID provider: send a browser to /api/v1/login/openid"`
}

// PasswordSignInRequest asks for a session by e-mail address and password.
type PasswordSignInRequest struct {
	Email    string `json:"email" maxLength:"320"`
	Password string `json:"password" maxLength:"1024"`
}

// SetPasswordRequest sets a password by a token that an operator handed over.
type SetPasswordRequest struct {
	Token    string `json:"token" maxLength:"128" doc:"Good once, for a few days"`
	Password string `json:"password" maxLength:"1024" doc:"12 to 256 characters"`
}

// ExchangeCodeRequest asks for the session of somebody who signed in at the OpenID provider, for a program on the own machine.
type ExchangeCodeRequest struct {
	Code         string `json:"code" maxLength:"128" doc:"As it came back to the program's loopback URL; good once, for a minute"`
	CodeVerifier string `json:"code_verifier" maxLength:"128" doc:"The answer to the challenge with which the sign-in began (RFC 7636)"`
}

// NewSession is a session with what is shown at its beginning and never again.
type NewSession struct {
	Session
	Token     string    `json:"token" doc:"To send as Authorization: Bearer; it is shown now and kept nowhere"`
	Principal Principal `json:"principal"`
}

// Session is what somebody who signed in speaks by. It ends by itself after twelve hours without use.
type Session struct {
	ID         string    `json:"id" format:"uuid"`
	Method     string    `json:"method" enum:"PASSWORD,OPENID"`
	Source     string    `json:"source,omitempty" doc:"IP address that signed in"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at" doc:"To a minute"`
	ExpiresAt  time.Time `json:"expires_at" doc:"However often it is used"`
}

// SessionList is a principal's sessions.
type SessionList struct {
	Sessions []Session `json:"sessions"`
}

// SignInReset is a token by which a person sets a password.
type SignInReset struct {
	PrincipalID string    `json:"principal_id" format:"uuid"`
	Token       string    `json:"token" doc:"Whoever has it can become that person, once; it is shown now and kept nowhere"`
	ExpiresAt   time.Time `json:"expires_at"`
}

// SignInMethods returns the ways to sign in.
func (c *Client) SignInMethods(ctx context.Context) (SignInMethods, error) {
	var out SignInMethods
	err := c.call(ctx, http.MethodGet, path("login"), nil, nil, &out)
	return out, err
}

// SignInByPassword begins a session.
func (c *Client) SignInByPassword(ctx context.Context, req PasswordSignInRequest) (NewSession, error) {
	var out NewSession
	err := c.call(ctx, http.MethodPost, path("login", "password"), nil, req, &out)
	return out, err
}

// SetPassword sets a password and begins a session. The token is good once.
func (c *Client) SetPassword(ctx context.Context, req SetPasswordRequest) (NewSession, error) {
	var out NewSession
	err := c.call(ctx, http.MethodPost, path("login", "set-password"), nil, req, &out)
	return out, err
}

// OpenIDSignIn is how a program on the own machine sends a browser to sign in at the OpenID provider (RFC 8252).
type OpenIDSignIn struct {
	RedirectURI   string // http://127.0.0.1:PORT/…, where the program listens
	State         string // comes back with the code, so that the program knows its own
	CodeChallenge string // the base64url of the verifier's SHA-256
}

// SignInURL is the page to open in a browser. It comes back to the redirect URI with code and state, or error and state.
func (s OpenIDSignIn) SignInURL(baseURL string) string {
	return baseURL + "/api/v1/login/openid?" + url.Values{
		"redirect_uri": {s.RedirectURI}, "state": {s.State}, "code_challenge": {s.CodeChallenge}, "code_challenge_method": {"S256"},
	}.Encode()
}

// ExchangeCode begins the session that a code is for.
func (c *Client) ExchangeCode(ctx context.Context, req ExchangeCodeRequest) (NewSession, error) {
	var out NewSession
	err := c.call(ctx, http.MethodPost, path("login", "code"), nil, req, &out)
	return out, err
}

// SignOut ends the session that the client's token is of.
func (c *Client) SignOut(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, path("logout"), nil, nil, nil)
}

// Sessions returns a principal's sessions, oldest first.
func (c *Client) Sessions(ctx context.Context, principalID string) (SessionList, error) {
	var out SessionList
	err := c.call(ctx, http.MethodGet, path("principals", principalID, "sessions"), nil, nil, &out)
	return out, err
}

// EndSession ends a session of a principal at once.
func (c *Client) EndSession(ctx context.Context, principalID, sessionID string) error {
	return c.call(ctx, http.MethodDelete, path("principals", principalID, "sessions", sessionID), nil, nil, nil)
}

// ResetSignIn ends everything by which a person signs in, and returns a token by which the person sets a password.
func (c *Client) ResetSignIn(ctx context.Context, personID string) (SignInReset, error) {
	var out SignInReset
	err := c.call(ctx, http.MethodPost, path("people", personID, "sign-in-reset"), nil, nil, &out)
	return out, err
}
