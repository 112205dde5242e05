package openid

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
)

// Config is what an OpenID provider is known by, and whom of its people may sign in.
type Config struct {
	Issuer       string // as the provider writes it in its tokens; its discovery document is looked for beneath it
	ClientID     string
	ClientSecret string   // empty for a public client, which has PKCE alone
	RedirectURL  string   // ours, as it is registered at the provider
	Scopes       []string // beside openid; email and profile when empty
	Domains      []string // of the email addresses that may sign in; empty for any

	// GrantClaim names the claim, a text or a list of texts, that GrantRules are about; often "groups".
	GrantClaim string
	GrantRules []identity.GrantRule

	Client *http.Client     // asks the provider; one with a time limit of ten seconds when nil
	Now    func() time.Time // time.Now when nil
}

// Provider is an OpenID provider (OpenID Connect Core 1.0), by the authorisation code flow with PKCE. It is safe for concurrent
// use and asks the provider for nothing before it is needed, so that one that is down keeps nobody from starting.
type Provider struct {
	c Config

	mu     sync.Mutex
	found  *oidc.Provider // nil until discovery succeeded
	asking *asking        // discovery that goes on; nil: none does
}

// asking is a discovery that one request makes and others wait for.
type asking struct {
	over chan struct{} // closed when it is
	err  error         // then: what came of it
}

// discoveryWithin is how long the provider may take to tell what it is.
const discoveryWithin = 10 * time.Second

// New checks a configuration. Errors are of kind Invalid.
func New(c Config) (*Provider, error) {
	bad := func(field, message, hint string) (*Provider, error) {
		return nil, &link.Error{Kind: link.Invalid, Reason: "MALFORMED_PROVIDER", Field: field, Message: message, Hint: hint}
	}
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || !secure(u) {
		return bad("issuer", "not the URL of an OpenID provider: "+link.Quote(c.Issuer), "it looks like https://accounts.example.com; plain http is for loopback alone")
	}
	if c.ClientID == "" {
		return bad("client_id", "the client id is missing", "register this installation at the provider to get one")
	}
	if u, err := url.Parse(c.RedirectURL); err != nil || u.Host == "" || !secure(u) {
		return bad("redirect_url", "not a URL that a browser can be sent back to: "+link.Quote(c.RedirectURL), "give the public https URL of this API")
	}
	if len(c.GrantRules) > 0 && c.GrantClaim == "" {
		return bad("grant_claim", "there are rules for grants, and no claim that they are about", `name it, for example "groups"`)
	}
	c.Domains = slices.Clone(c.Domains)
	for i, d := range c.Domains {
		c.Domains[i] = strings.ToLower(strings.TrimPrefix(d, "@"))
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"email", "profile"}
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Provider{c: c}, nil
}

// secure reports whether nobody on the way can change what is said at a URL.
func secure(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return true
	case "http":
		return u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	}
	return false
}

// Issuer is the provider's name for itself.
func (p *Provider) Issuer() string { return p.c.Issuer }

// GrantRules are those of the configuration.
func (p *Provider) GrantRules() []identity.GrantRule { return p.c.GrantRules }

// Invites reports whether the configuration itself says who may sign in, so that somebody who is not known here yet is let in:
// by the domain of the email address, or by a rule for grants.
func (p *Provider) Invites(s identity.Subject) bool {
	return len(p.c.Domains) > 0 || slices.ContainsFunc(p.c.GrantRules, func(r identity.GrantRule) bool { return slices.Contains(s.Values, r.Value) })
}

// Begin begins an attempt and returns the URL to send the browser to. The error, of kind Unavailable, says that the provider
// does not answer.
func (p *Provider) Begin(ctx context.Context) (a identity.Attempt, to string, err error) {
	found, err := p.discover(ctx)
	if err != nil {
		return identity.Attempt{}, "", err
	}
	a = identity.Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	return a, p.oauth(found).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

// Finish trades the code with which the provider sent the browser back for what the provider says of the subject. Whether the
// state is the attempt's the caller has compared. Errors are of kind Unauthenticated, with a reason that may be told, or
// Unavailable when the provider does not answer.
func (p *Provider) Finish(ctx context.Context, a identity.Attempt, code string) (identity.Subject, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return identity.Subject{}, err
	}
	token, err := p.oauth(found).Exchange(oidc.ClientContext(ctx, p.c.Client), code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil && refused.Response.StatusCode < 500 {
			// Its text holds the provider's whole answer, which may repeat the code.
			return identity.Subject{}, refusal("CODE_REFUSED", "the provider did not take the sign-in back", "sign in again",
				fmt.Errorf("the provider answered %d %s", refused.Response.StatusCode, link.Quote(refused.ErrorCode)))
		}
		return identity.Subject{}, p.down("exchange of the code", err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return identity.Subject{}, refusal("ID_TOKEN_INVALID", "the provider's answer does not say who signed in", "ask the operator to look at the provider's settings", nil)
	}
	verifier := found.Verifier(&oidc.Config{ClientID: p.c.ClientID, Now: p.c.Now})
	id, err := verifier.Verify(oidc.ClientContext(ctx, p.c.Client), raw)
	if err != nil {
		return identity.Subject{}, refusal("ID_TOKEN_INVALID", "the provider's token is not good here", "sign in again; if it stays so, ask the operator to look at the provider's settings", err)
	}
	if id.Nonce != a.Nonce {
		return identity.Subject{}, refusal("ID_TOKEN_INVALID", "the provider's token was made for another sign-in", "sign in again", errors.New("the nonce is another"))
	}
	return p.subject(id)
}

// subject reads the claims of a token that was verified.
func (p *Provider) subject(id *oidc.IDToken) (identity.Subject, error) {
	var all map[string]json.RawMessage
	if err := id.Claims(&all); err != nil {
		return identity.Subject{}, refusal("ID_TOKEN_INVALID", "the provider's token cannot be read", "", err)
	}
	s := identity.Subject{Issuer: id.Issuer, ID: id.Subject, Values: texts(all[p.c.GrantClaim])}
	if s.ID == "" {
		return identity.Subject{}, refusal("ID_TOKEN_INVALID", "the provider's token names nobody", "", nil)
	}
	for _, claim := range texts(all["email"]) {
		s.Email = claim
	}
	if s.Email == "" {
		return identity.Subject{}, refusal("EMAIL_MISSING", "the provider does not tell your email address", "allow it to, and sign in again", nil)
	}
	// Lower case takes a letter of another script for one of ours, and so one address for another's.
	foreign := strings.ContainsFunc(s.Email, func(r rune) bool { return r >= 0x7f })
	if a, err := mail.ParseAddress(s.Email); foreign || err != nil || a.Address != s.Email {
		return identity.Subject{}, refusal("EMAIL_MISSING", "the provider tells an email address that is none", "", nil)
	}
	s.Email = strings.ToLower(s.Email)
	// Some providers write the boolean as a text.
	if v := string(all["email_verified"]); v != "true" && v != `"true"` {
		return identity.Subject{}, refusal("EMAIL_NOT_VERIFIED", "the provider has not verified that your email address is yours", "verify it there, and sign in again", nil)
	}
	domain := s.Email[strings.LastIndexByte(s.Email, '@')+1:]
	if len(p.c.Domains) > 0 && !slices.Contains(p.c.Domains, domain) {
		return identity.Subject{}, refusal("DOMAIN_NOT_ALLOWED", "nobody with an address of "+link.Quote(domain)+" may sign in here", "sign in with your work address", nil)
	}
	s.Name = s.Email
	for _, claim := range slices.Concat(texts(all["preferred_username"]), texts(all["name"])) {
		if claim != "" {
			s.Name = claim
		}
	}
	return s, nil
}

// texts reads a claim that is a text or a list of texts; of anything else there are none.
func texts(raw json.RawMessage) []string {
	var one string
	if len(raw) == 0 || json.Unmarshal(raw, &one) == nil {
		return slices.DeleteFunc([]string{one}, func(s string) bool { return s == "" })
	}
	var many []string
	if json.Unmarshal(raw, &many) != nil {
		return nil
	}
	return many
}

// discover reads the provider's discovery document, once. The keys that it names are read when they are needed, and again
// when a token is signed with one that is not known yet. While one request asks the provider others wait for what it hears,
// each as long as it likes; when it gives up, one of them asks in its place.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	for {
		p.mu.Lock()
		found, others := p.found, p.asking
		if found == nil && others == nil {
			mine := &asking{over: make(chan struct{})}
			p.asking = mine
			p.mu.Unlock()
			return p.ask(ctx, mine)
		}
		p.mu.Unlock()
		if found != nil {
			return found, nil
		}
		select {
		case <-others.over:
			if others.err != nil && !errors.Is(others.err, context.Canceled) {
				return nil, others.err
			}
		case <-ctx.Done():
			return nil, p.down("discovery", ctx.Err())
		}
	}
}

// ask asks the provider on behalf of all who wait for a.
func (p *Provider) ask(ctx context.Context, a *asking) (*oidc.Provider, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryWithin)
	defer cancel()
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.c.Client), p.c.Issuer)
	if err != nil {
		a.err = p.down("discovery", err)
	}
	p.mu.Lock()
	p.found, p.asking = found, nil
	p.mu.Unlock()
	close(a.over)
	return found, a.err
}

func (p *Provider) oauth(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.c.ClientID, ClientSecret: p.c.ClientSecret, RedirectURL: p.c.RedirectURL, Endpoint: found.Endpoint(),
		Scopes: append([]string{oidc.ScopeOpenID}, p.c.Scopes...),
	}
}

func (p *Provider) down(what string, err error) error {
	return &link.Error{
		Kind: link.Unavailable, Reason: "PROVIDER_UNAVAILABLE", Message: "the OpenID provider does not answer as it should",
		Hint: "try again in a moment", Err: fmt.Errorf("%s at %s: %w", what, p.c.Issuer, withoutURL(err)),
	}
}

// withoutURL drops the URL that net/http puts before what went wrong: queries hold codes.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	if _, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return errors.New("it answered with an error")
	}
	return err
}

func refusal(reason, message, hint string, cause error) error {
	return &link.Error{Kind: link.Unauthenticated, Reason: reason, Message: message, Hint: hint, Err: cause}
}
