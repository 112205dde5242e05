package openid_test

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/openid"
)

const redirect = "https://postern.example/callback"

// startProvider starts an OpenID provider that ends with the test.
func startProvider(t *testing.T) *mockoidc.MockOIDC {
	t.Helper()
	m, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Shutdown() }) // a test may have shut it down
	return m
}

func client(t *testing.T, m *mockoidc.MockOIDC, change func(*openid.Config)) *openid.Provider {
	t.Helper()
	c := openid.Config{
		Issuer: m.Issuer(), ClientID: m.ClientID, ClientSecret: m.ClientSecret, RedirectURL: redirect,
		Scopes: []string{"email", "profile", "groups"}, GrantClaim: "groups",
	}
	if change != nil {
		change(&c)
	}
	p, err := openid.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// visit goes where the browser is sent, as somebody who is signed in at the provider, and returns the code it is sent back with.
func visit(t *testing.T, to string) url.Values {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(back.String(), redirect) {
		t.Fatalf("the provider answered %s, and sends to %q", resp.Status, back)
	}
	return back.Query()
}

var jane = mockoidc.MockUser{Subject: "s-1", Email: "Jane@Example.com", EmailVerified: true, PreferredUsername: "jane", Groups: []string{"admins", "staff"}}

func TestSignIn(t *testing.T) {
	m := startProvider(t)
	p := client(t, m, func(c *openid.Config) { c.Domains = []string{"@EXAMPLE.com"} })
	m.QueueUser(&jane)
	a, to, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	q := asked.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("code_challenge") == a.Verifier ||
		q.Get("state") != a.State || q.Get("nonce") != a.Nonce || q.Get("redirect_uri") != redirect {
		t.Errorf("the browser is sent with %v", q)
	}
	back := visit(t, to)
	if back.Get("state") != a.State {
		t.Error("another state came back")
	}
	got, err := p.Finish(t.Context(), a, back.Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Issuer != m.Issuer() || got.ID != "s-1" || got.Email != "jane@example.com" || got.Name != "jane" || !slices.Equal(got.Values, []string{"admins", "staff"}) {
		t.Errorf("signed in: %+v", got)
	}
	if _, err := p.Finish(t.Context(), a, back.Get("code")); reason(err) != "CODE_REFUSED" {
		t.Errorf("the same code again: %v", err)
	} else if strings.Contains(err.Error(), back.Get("code")) {
		t.Errorf("the error repeats the code: %v", err)
	}
}

func TestWhoIsNotSignedIn(t *testing.T) {
	with := func(change func(*mockoidc.MockUser)) func(*mockoidc.MockOIDC) {
		return func(m *mockoidc.MockOIDC) {
			u := jane
			change(&u)
			m.QueueUser(&u)
		}
	}
	for _, c := range []struct {
		name   string
		before func(*mockoidc.MockOIDC) // the browser goes to the provider
		change func(*identity.Attempt)  // of what was kept, when it is back
		after  func(*mockoidc.MockOIDC) // the code is exchanged
		config func(*openid.Config)
		reason string
	}{
		{name: "unverified email", before: with(func(u *mockoidc.MockUser) { u.EmailVerified = false }), reason: "EMAIL_NOT_VERIFIED"},
		{name: "no email", before: with(func(u *mockoidc.MockUser) { u.Email = "" }), reason: "EMAIL_MISSING"},
		{name: "an email that is none", before: with(func(u *mockoidc.MockUser) { u.Email = "Jane <jane@example.com>" }), reason: "EMAIL_MISSING"},
		{name: "an email with a Kelvin sign for a k", before: with(func(u *mockoidc.MockUser) { u.Email = "\u212aim@example.com" }), reason: "EMAIL_MISSING"},
		{name: "foreign domain", config: func(c *openid.Config) { c.Domains = []string{"postern.example"} }, reason: "DOMAIN_NOT_ALLOWED"},
		{
			name: "a domain that only ends like ours", before: with(func(u *mockoidc.MockUser) { u.Email = "jane@notexample.com" }),
			config: func(c *openid.Config) { c.Domains = []string{"example.com"} }, reason: "DOMAIN_NOT_ALLOWED",
		},
		{name: "wrong nonce", change: func(a *identity.Attempt) { a.Nonce = "another" }, reason: "ID_TOKEN_INVALID"},
		{name: "wrong verifier", change: func(a *identity.Attempt) { a.Verifier = strings.Repeat("a", 43) }, reason: "CODE_REFUSED"},
		{name: "expired token", after: func(m *mockoidc.MockOIDC) { m.FastForward(-time.Hour) }, reason: "ID_TOKEN_INVALID"},
		{name: "foreign signature", after: func(m *mockoidc.MockOIDC) {
			// Same key id, another key: what an attacker without the provider's key can make.
			other, err := mockoidc.RandomKeypair(2048)
			if err != nil {
				panic(err)
			}
			other.Kid = m.Keypair.Kid
			m.Keypair = &mockoidc.Keypair{PrivateKey: other.PrivateKey, PublicKey: m.Keypair.PublicKey, Kid: m.Keypair.Kid}
		}, reason: "ID_TOKEN_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := startProvider(t)
			p := client(t, m, c.config)
			if c.before == nil {
				c.before = with(func(*mockoidc.MockUser) {})
			}
			c.before(m)
			a, to, err := p.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			code := visit(t, to).Get("code")
			if c.change != nil {
				c.change(&a)
			}
			if c.after != nil {
				c.after(m)
			}
			got, err := p.Finish(t.Context(), a, code)
			if reason(err) != c.reason || link.KindOf(err) != link.Unauthenticated || got.ID != "" {
				t.Errorf("%+v, %v; want %s", got, err, c.reason)
			}
		})
	}
}

// A token that the provider made for another client of its is none of ours.
func TestWrongAudience(t *testing.T) {
	m, err := mockoidc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ours := m.ClientID
	// Between the check of the request and the making of the token the mock looks at its ClientID again, so a middleware can't
	// change it; the token of another client is made by asking for it as that client.
	if err := m.AddMiddleware(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if r.URL.Path == mockoidc.TokenEndpoint {
				if err := r.ParseForm(); err == nil && r.Form.Get("client_id") == ours {
					r.Form.Set("client_id", "another")
					m.ClientID = "another"
					defer func() { m.ClientID = ours }()
				}
			}
			next.ServeHTTP(w, r)
		})
	}); err != nil {
		t.Fatal(err)
	}
	start(t, m)
	p := client(t, m, nil)
	m.QueueUser(&jane)
	a, to, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Finish(t.Context(), a, visit(t, to).Get("code"))
	if reason(err) != "ID_TOKEN_INVALID" || !strings.Contains(err.Error(), "audience") {
		t.Errorf("a token for another audience: %v", err)
	}
}

func TestKeysRotateAtTheProvider(t *testing.T) {
	m := startProvider(t)
	p := client(t, m, nil)
	for i := range 3 {
		m.QueueUser(&jane)
		a, to, err := p.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Finish(t.Context(), a, visit(t, to).Get("code")); err != nil {
			t.Fatalf("sign-in %d: %v", i, err)
		}
		if m.Keypair, err = mockoidc.RandomKeypair(2048); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProviderIsDown(t *testing.T) {
	m := startProvider(t)
	p := client(t, m, nil)
	for range 2 {
		m.QueueError(&mockoidc.ServerError{Code: http.StatusServiceUnavailable, Error: "down", Description: "back soon"})
	}
	if _, _, err := p.Begin(t.Context()); reason(err) != "PROVIDER_UNAVAILABLE" || link.KindOf(err) != link.Unavailable {
		t.Errorf("discovery at a provider that is down: %v", err)
	}
	if _, _, err := p.Begin(t.Context()); reason(err) != "PROVIDER_UNAVAILABLE" {
		t.Errorf("discovery at a provider that is still down: %v", err)
	}
	m.QueueUser(&jane)
	a, to, err := p.Begin(t.Context())
	if err != nil {
		t.Fatalf("once it is back: %v", err)
	}
	code := visit(t, to).Get("code")
	if err := m.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), a, code); reason(err) != "PROVIDER_UNAVAILABLE" {
		t.Errorf("exchange with a provider that is gone: %v", err)
	} else if strings.Contains(err.Error(), code) {
		t.Errorf("the error repeats the code: %v", err)
	}
}

func TestProviderConfigIsChecked(t *testing.T) {
	good := openid.Config{Issuer: "https://accounts.example", ClientID: "c", RedirectURL: redirect}
	for _, c := range []struct {
		field  string
		change func(*openid.Config)
	}{
		{"", func(*openid.Config) {}},
		{"", func(c *openid.Config) { c.Issuer = "http://127.0.0.1:1/oidc" }},
		{"issuer", func(c *openid.Config) { c.Issuer = "http://accounts.example" }},
		{"issuer", func(c *openid.Config) { c.Issuer = "accounts.example" }},
		{"client_id", func(c *openid.Config) { c.ClientID = "" }},
		{"redirect_url", func(c *openid.Config) { c.RedirectURL = "http://postern.example/callback" }},
		{"grant_claim", func(c *openid.Config) { c.GrantRules = []identity.GrantRule{{Value: "x"}} }},
	} {
		config := good
		c.change(&config)
		_, err := openid.New(config)
		e, _ := errors.AsType[*link.Error](err)
		if (err == nil) != (c.field == "") || e != nil && e.Field != c.field {
			t.Errorf("%+v: %v, want field %q", config, err, c.field)
		}
	}
}

func reason(err error) string {
	if e, ok := errors.AsType[*link.Error](err); ok {
		return e.Reason
	}
	return ""
}

func start(t *testing.T, m *mockoidc.MockOIDC) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(ln, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Shutdown() }) // nothing is left to lose
}
