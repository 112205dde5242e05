package openid_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/openid"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const operatorToken = "operator-token-of-the-test"

// house is the whole of signing in: the API over TLS, for which a browser keeps cookies, and a provider.
type house struct {
	t        *testing.T
	provider *mockoidc.MockOIDC
	srv      *httptest.Server
	operator *api.Client
	log      *logBuffer
	now      time.Time
	mu       sync.Mutex
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newHouse(t *testing.T, change func(*openid.Config)) *house {
	t.Helper()
	h := &house{t: t, provider: startProvider(t), log: &logBuffer{}, now: time.Now()}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	clock := func() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.now }
	st := storetest.Open(t, store.Options{Log: log, Now: clock})
	h.srv = httptest.NewUnstartedServer(nil)
	p := client(t, h.provider, func(c *openid.Config) {
		c.RedirectURL = "https://" + h.srv.Listener.Addr().String() + "/api/v1/login/openid/callback"
		if change != nil {
			change(c)
		}
	})
	plane := control.New(st, control.Options{Domain: "postern.test", Log: log, OpenID: p, Now: clock})
	if err := plane.PutToken(t.Context(), "alice", policy.Operator, operatorToken); err != nil {
		t.Fatal(err)
	}
	h.srv.Config.Handler = httpapi.New(plane, httpapi.Options{Log: log})
	h.srv.StartTLS()
	t.Cleanup(h.srv.Close)
	h.operator = h.client(operatorToken)
	return h
}

func (h *house) client(token string) *api.Client {
	return api.New(h.srv.URL, token, api.WithHTTPClient(h.srv.Client()))
}

// browser keeps cookies and follows redirects, except to loopback, where a program waits: it stops there.
type browser struct {
	h    *house
	http *http.Client
}

func (h *house) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	t := h.srv.Client().Transport.(*http.Transport).Clone()
	h.t.Cleanup(t.CloseIdleConnections)
	return &browser{h, &http.Client{Jar: jar, Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// get asks for one page and returns its status, where it sends to, and its text.
func (b *browser) get(to string) (status int, next, body string) {
	b.h.t.Helper()
	if strings.HasPrefix(to, "/") {
		to = b.h.srv.URL + to
	}
	req, err := http.NewRequestWithContext(b.h.t.Context(), http.MethodGet, to, nil)
	if err != nil {
		b.h.t.Fatal(err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(text)
}

// callback goes to the provider as u and returns where it sends back to.
func (b *browser) callback(begin string, u mockoidc.MockUser) string {
	b.h.t.Helper()
	b.h.provider.QueueUser(&u)
	status, to, body := b.get(begin)
	if status != http.StatusFound || !strings.HasPrefix(to, b.h.provider.Issuer()) {
		b.h.t.Fatalf("%s: %d to %q %s", begin, status, to, body)
	}
	status, back, body := b.get(to)
	if status != http.StatusFound {
		b.h.t.Fatalf("the provider: %d %s", status, body)
	}
	return back
}

// signIn goes all the way, for a page of ours.
func (b *browser) signIn(u mockoidc.MockUser) (status int, next, body string) {
	b.h.t.Helper()
	return b.get(b.callback("/api/v1/login/openid?return=/console/", u))
}

func TestBrowserSignsIn(t *testing.T) {
	h := newHouse(t, func(c *openid.Config) {
		c.Domains = []string{"example.com"}
		c.GrantRules = []identity.GrantRule{
			{Value: "admins", Role: link.RoleOperator, Scope: link.Scope{Kind: link.ScopeInstallation}},
			{Value: "staff", Role: link.RoleViewer, Scope: link.Scope{Kind: link.ScopeInstallation}},
			{Value: "ghosts", Role: link.RoleViewer, Scope: link.Scope{Kind: link.ScopeOrganisation, ID: "gone"}},
		}
	})
	b := h.browser()
	status, next, body := b.signIn(jane)
	if status != http.StatusFound || next != "/console/" {
		t.Fatalf("signed in: %d to %q %s", status, next, body)
	}
	if status, _, body = b.get("/api/v1/me"); status != http.StatusOK || !strings.Contains(body, "jane@example.com") || !strings.Contains(body, `"role":"operator"`) {
		t.Errorf("me: %d %s", status, body)
	}
	if status, _, _ = h.browser().get("/api/v1/me"); status != http.StatusUnauthorized {
		t.Errorf("another browser: %d", status)
	}
	// The claim takes what it gave.
	u := jane
	u.Groups = []string{"staff"}
	if status, _, body = b.signIn(u); status != http.StatusFound {
		t.Fatalf("again: %d %s", status, body)
	}
	if _, _, body = b.get("/api/v1/me"); !strings.Contains(body, `"role":"member"`) || !strings.Contains(body, "VIEWER") || strings.Contains(body, "OPERATOR") {
		t.Errorf("me, no longer an admin at the provider: %s", body)
	}
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	for what, secret := range map[string]string{"a code": "code=", "the client's secret": h.provider.ClientSecret, "a session": string(identity.SessionToken)} {
		if strings.Contains(h.log.b.String(), secret) {
			t.Errorf("%s stands in the log", what)
		}
	}
}

// Whoever the provider names is let in as nobody else, and only when invited.
func TestWhomASubjectIs(t *testing.T) {
	h := newHouse(t, nil)
	ctx := within(t)
	refuses := func(what string, u mockoidc.MockUser, reason string) {
		t.Helper()
		b := h.browser()
		if status, next, body := b.signIn(u); status != http.StatusUnauthorized || !strings.Contains(body, reason) {
			t.Errorf("%s: %d to %q %s; want %s", what, status, next, body, reason)
		}
		if status, _, _ := b.get("/api/v1/me"); status != http.StatusUnauthorized {
			t.Errorf("%s is somebody all the same", what)
		}
	}
	refuses("nobody has invited", jane, "NOT_INVITED")
	p, err := h.operator.CreatePerson(ctx, api.CreatePersonRequest{Email: "jane@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	unverified := jane
	unverified.EmailVerified = false
	refuses("an address that is not verified", unverified, "EMAIL_NOT_VERIFIED")
	if status, _, body := h.browser().signIn(jane); status != http.StatusFound {
		t.Fatalf("invited: %d %s", status, body)
	}
	thief := jane
	thief.Subject = "s-2"
	refuses("another subject of the same address", thief, "ADDRESS_TAKEN")
	moved := jane
	moved.Email = "jane.smith@example.com"
	if status, _, body := h.browser().signIn(moved); status != http.StatusFound {
		t.Errorf("the same subject with another address: %d %s", status, body)
	}

	// Nor is an account with a password taken over.
	john, err := h.operator.CreatePerson(ctx, api.CreatePersonRequest{Email: "john@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	reset, err := h.operator.ResetSignIn(ctx, john.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.client("").SetPassword(ctx, api.SetPasswordRequest{Token: reset.Token, Password: "a sentence nobody guesses"}); err != nil {
		t.Fatal(err)
	}
	refuses("the address of an account with a password", mockoidc.MockUser{Subject: "s-3", Email: "john@example.com", EmailVerified: true}, "ADDRESS_TAKEN")

	// After a reset the address may be bound anew.
	if _, err := h.operator.ResetSignIn(ctx, p.ID); err != nil {
		t.Fatal(err)
	}
	if status, _, body := h.browser().signIn(thief); status != http.StatusFound {
		t.Errorf("after the reset: %d %s", status, body)
	}
	yes := true
	if _, err := h.operator.UpdatePerson(ctx, p.ID, api.UpdatePrincipalRequest{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	refuses("who is disabled", thief, "ACCOUNT_DISABLED")
}

// An answer of the provider is good once, for the browser that asked, for ten minutes.
func TestAnswersThatAreNotTaken(t *testing.T) {
	h := newHouse(t, func(c *openid.Config) { c.Domains = []string{"example.com"} })
	const begin = "/api/v1/login/openid"
	refused := func(what string, b *browser, to, reason string) {
		t.Helper()
		if status, next, body := b.get(to); status != http.StatusUnauthorized || !strings.Contains(body, reason) {
			t.Errorf("%s: %d to %q %s, want %s", what, status, next, body, reason)
		}
	}
	refused("an answer to another browser", h.browser(), h.browser().callback(begin, jane), "ATTEMPT_UNKNOWN")

	b := h.browser()
	back := b.callback(begin, jane)
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	kept := b.http.Jar.Cookies(u)
	q := u.Query()
	q.Set("state", "another")
	refused("another state", b, u.Path+"?"+q.Encode(), "ATTEMPT_UNKNOWN")
	b.http.Jar.SetCookies(u, secured(kept))
	refused("no code", b, u.Path+"?"+url.Values{"state": {u.Query().Get("state")}, "error": {"access_denied"}}.Encode(), "PROVIDER_REFUSED")
	b.http.Jar.SetCookies(u, secured(kept))
	if status, next, body := b.get(back); status != http.StatusFound || next != "/" {
		t.Fatalf("the answer itself: %d to %q %s", status, next, body)
	}
	refused("an answer without what the browser kept", b, back, "ATTEMPT_UNKNOWN")
	b.http.Jar.SetCookies(u, secured(kept))
	refused("an answer that was taken, with what the browser kept", b, back, "ATTEMPT_USED")

	late := h.browser()
	back = late.callback(begin, jane)
	h.mu.Lock()
	h.now = h.now.Add(11 * time.Minute)
	h.mu.Unlock()
	refused("an answer after eleven minutes", late, back, "ATTEMPT_EXPIRED")

	for _, c := range []struct{ query, reason string }{
		{"return=https://evil.example/", "MALFORMED_RETURN"},
		{"return=//evil.example/", "MALFORMED_RETURN"},
		{`return=/\evil.example/`, "MALFORMED_RETURN"},
		{"return=console", "MALFORMED_RETURN"},
		{"redirect_uri=http://127.0.0.1:1/&code_challenge_method=plain&code_challenge=x", "MALFORMED_CHALLENGE"},
		{"redirect_uri=http://127.0.0.1:1/&code_challenge_method=S256&code_challenge=x", "MALFORMED_CHALLENGE"},
		{"redirect_uri=http://evil.example:1/&code_challenge_method=S256", "MALFORMED_REDIRECT"},
		{"redirect_uri=https://127.0.0.1:1/&code_challenge_method=S256", "MALFORMED_REDIRECT"},
		{"redirect_uri=http://127.0.0.1.evil.example:1/&code_challenge_method=S256", "MALFORMED_REDIRECT"},
		{"redirect_uri=http://a@127.0.0.1:1/&code_challenge_method=S256", "MALFORMED_REDIRECT"},
	} {
		query := strings.ReplaceAll(c.query, `\`, "%5C")
		if status, _, body := h.browser().get(begin + "?" + query); status != http.StatusBadRequest || !strings.Contains(body, c.reason) {
			t.Errorf("%s: %d %s", c.query, status, body)
		}
	}
}

// secured is cookies as they were set: a jar gives back names and values alone.
func secured(in []*http.Cookie) []*http.Cookie {
	for _, c := range in {
		c.Secure, c.Path = true, "/"
	}
	return in
}

// A program on the own machine gets a code through the browser, and for it a session; a failure it is told as well.
func TestProgramSignsIn(t *testing.T) {
	h := newHouse(t, func(c *openid.Config) { c.Domains = []string{"example.com"} })
	ctx := within(t)
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	ask := api.OpenIDSignIn{RedirectURI: "http://127.0.0.1:49152/", State: "mine", CodeChallenge: base64.RawURLEncoding.EncodeToString(sum[:])}
	b := h.browser()
	status, next, body := b.get(b.callback(ask.SignInURL(h.srv.URL), jane))
	to, err := url.Parse(next)
	if err != nil || status != http.StatusFound || to.Host != "127.0.0.1:49152" || to.Query().Get("state") != "mine" {
		t.Fatalf("%d to %q %s", status, next, body)
	}
	if strings.Contains(next, string(identity.SessionToken)) {
		t.Error("a session stands in a URL")
	}
	if status, _, _ := b.get("/api/v1/me"); status != http.StatusUnauthorized {
		t.Error("the browser is signed in as well")
	}
	s, err := h.client("").ExchangeCode(ctx, api.ExchangeCodeRequest{Code: to.Query().Get("code"), CodeVerifier: verifier})
	if err != nil {
		t.Fatal(err)
	}
	if me, err := h.client(s.Token).Me(ctx); err != nil || me.Email != "jane@example.com" {
		t.Errorf("me: %+v, %v", me, err)
	}

	stranger := jane
	stranger.Subject, stranger.Email = "s-9", "jane@elsewhere.example"
	b = h.browser()
	_, next, _ = b.get(b.callback(ask.SignInURL(h.srv.URL), stranger))
	if to, err = url.Parse(next); err != nil || to.Query().Get("error") != "DOMAIN_NOT_ALLOWED" || to.Query().Get("state") != "mine" || to.Query().Get("code") != "" {
		t.Errorf("a stranger's program is told %q", next)
	}
	if m, err := h.client("").SignInMethods(ctx); err != nil || !m.OpenID {
		t.Errorf("ways to sign in: %+v, %v", m, err)
	}
	if err := h.provider.Shutdown(); err != nil {
		t.Fatal(err)
	}
}

// within is a context that ends long after everything here has happened.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
