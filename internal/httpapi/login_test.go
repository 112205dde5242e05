package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

const (
	somebody = "jane@example.com"
	sentence = "a sentence nobody guesses"
)

// person makes a person who is a member of nothing, with a password.
func (w *world) person(t *testing.T, email string) (api.NewSession, *api.Client) {
	t.Helper()
	ctx := within(t)
	p, err := w.client.CreatePerson(ctx, api.CreatePersonRequest{Email: email})
	if err != nil {
		t.Fatal(err)
	}
	reset, err := w.client.ResetSignIn(ctx, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.New(w.url, "").SetPassword(ctx, api.SetPasswordRequest{Token: reset.Token, Password: sentence})
	if err != nil {
		t.Fatal(err)
	}
	return s, api.New(w.url, s.Token)
}

// refusedAs checks a refusal's status and reason.
func refusedAs(t *testing.T, what string, err error, status int, reason string) {
	t.Helper()
	e, ok := err.(*api.Error) //nolint:errorlint // the client wraps none
	if !ok || e.Status != status || api.Reason(err) != reason {
		t.Errorf("%s: %v (%s), want %d %s", what, err, api.Reason(err), status, reason)
	}
}

// A person is invited, signs in, is somebody, and signs out.
func TestPersonSignsIn(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	nobody := api.New(w.url, "")
	first, jane := w.person(t, "Jane@Example.com")

	me, err := jane.Me(ctx)
	if err != nil || me.Email != somebody || me.Role != "member" || me.PrincipalID != first.Principal.ID {
		t.Fatalf("me: %+v, %v", me, err)
	}
	if m, err := nobody.SignInMethods(ctx); err != nil || !m.Password || m.OpenID {
		t.Errorf("ways to sign in: %+v, %v", m, err)
	}
	second, err := nobody.SignInByPassword(ctx, api.PasswordSignInRequest{Email: "JANE@example.com", Password: sentence})
	if err != nil || second.Method != "PASSWORD" || second.Source != "127.0.0.1" || second.Token == first.Token {
		t.Fatalf("signed in: %v, %+v", err, second.Session)
	}
	if life := second.ExpiresAt.Sub(second.CreatedAt); life != 7*24*time.Hour {
		t.Errorf("a session lasts %s", life)
	}
	l, err := jane.Sessions(ctx, me.PrincipalID)
	if err != nil || len(l.Sessions) != 2 {
		t.Fatalf("sessions: %+v, %v", l, err)
	}
	if err := jane.EndSession(ctx, me.PrincipalID, second.ID); err != nil {
		t.Error(err)
	}
	_, err = api.New(w.url, second.Token).Me(ctx)
	refusedAs(t, "a session that was ended", err, 401, "TOKEN_UNKNOWN")
	refusedAs(t, "a session that ended, ended again", jane.EndSession(ctx, me.PrincipalID, second.ID), 404, "SESSION_NOT_FOUND")
	if err := jane.SignOut(ctx); err != nil {
		t.Error(err)
	}
	_, err = jane.Me(ctx)
	refusedAs(t, "a session after signing out", err, 401, "TOKEN_UNKNOWN")
	refusedAs(t, "signing out of the installation's token", w.client.SignOut(ctx), 412, "NO_SESSION")
	_, err = w.client.Sessions(ctx, "x")
	refusedAs(t, "sessions of no id", err, 400, "MALFORMED_ID")
}

// Whatever is wrong with a sign-in, the answer is one and the same.
func TestSignInsThatFailAreAlike(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	nobody := api.New(w.url, "")
	s, _ := w.person(t, somebody)
	disabled, _ := w.person(t, "disabled@example.com")
	yes := true
	if _, err := w.client.UpdatePerson(ctx, disabled.Principal.ID, api.UpdatePrincipalRequest{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.CreatePerson(ctx, api.CreatePersonRequest{Email: "invited@example.com"}); err != nil {
		t.Fatal(err)
	}
	var said string
	for _, c := range []struct{ what, email, password string }{
		{"another password", somebody, sentence + "!"},
		{"no password", somebody, ""},
		{"an unknown account", "john@example.com", sentence},
		{"an account without a password", "invited@example.com", sentence},
		{"an account without a password, and none", "invited@example.com", ""},
		{"a disabled account", "disabled@example.com", sentence},
		{"no account", "", ""},
	} {
		r := w.send(t, "POST", "/api/v1/login/password", `{"email":"`+c.email+`","password":"`+c.password+`"}`, map[string]string{"Authorization": ""})
		if said == "" {
			said = string(r.body)
		}
		if r.status != 401 || string(r.body) != said || !strings.Contains(said, "SIGN_IN_REFUSED") {
			t.Errorf("%s: %d %s", c.what, r.status, r.body)
		}
	}
	_, err := api.New(w.url, disabled.Token).Me(ctx)
	refusedAs(t, "a session of who was disabled", err, 401, "TOKEN_UNKNOWN")
	if _, err := nobody.SignInByPassword(ctx, api.PasswordSignInRequest{Email: somebody, Password: sentence}); err != nil {
		t.Errorf("after others failed: %v", err)
	}

	// Guessing at one account is slowed down, of whatever kind it is.
	for _, email := range []string{somebody, "john@example.com"} {
		var err error
		for range 7 {
			_, err = nobody.SignInByPassword(ctx, api.PasswordSignInRequest{Email: email, Password: "guess"})
		}
		refusedAs(t, "the seventh guess at "+email, err, 429, "TOO_MANY_ATTEMPTS")
		if e, ok := err.(*api.Error); ok && (e.RetryAfter < time.Second || e.RetryAfter > time.Minute) { //nolint:errorlint // the client wraps none
			t.Errorf("to be tried again after %s", e.RetryAfter)
		}
	}
	if _, err := api.New(w.url, s.Token).Me(ctx); err != nil {
		t.Errorf("a session of who is guessed at: %v", err)
	}
}

// The token that sets a password does so once; a new one ends the old password and everything that was begun by it.
func TestPasswordIsReset(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	nobody := api.New(w.url, "")
	s, jane := w.person(t, somebody)
	first, err := w.client.ResetSignIn(ctx, s.Principal.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = jane.Me(ctx)
	refusedAs(t, "a session from before", err, 401, "TOKEN_UNKNOWN")
	_, err = nobody.SignInByPassword(ctx, api.PasswordSignInRequest{Email: somebody, Password: sentence})
	refusedAs(t, "the password from before", err, 401, "SIGN_IN_REFUSED")

	second, err := w.client.ResetSignIn(ctx, s.Principal.ID)
	if err != nil {
		t.Fatal(err)
	}
	set := func(token, password string) error {
		_, err := nobody.SetPassword(ctx, api.SetPasswordRequest{Token: token, Password: password})
		return err
	}
	refusedAs(t, "a token that was replaced", set(first.Token, sentence), 401, "RESET_TOKEN_UNKNOWN")
	refusedAs(t, "a token of another kind", set(s.Token, sentence), 401, "RESET_TOKEN_UNKNOWN")
	refusedAs(t, "a short password", set(second.Token, "short"), 400, "UNFIT_PASSWORD")
	if err := set(second.Token, sentence); err != nil {
		t.Errorf("the newest token: %v", err)
	}
	refusedAs(t, "a token that was used", set(second.Token, sentence), 401, "RESET_TOKEN_UNKNOWN")
	_, err = w.client.ResetSignIn(ctx, nobodysID)
	refusedAs(t, "a person who is none", err, 404, "PRINCIPAL_NOT_FOUND")
}

const nobodysID = "0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11"

// account makes an organisation with a service account that is its admin.
func (w *world) account(t *testing.T, organisation string) (api.Organisation, api.Principal) {
	t.Helper()
	ctx := within(t)
	o, err := w.client.CreateOrganisation(ctx, api.CreateOrganisationRequest{Name: organisation})
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.client.CreateServiceAccount(ctx, api.CreateServiceAccountRequest{OrganisationID: o.ID, Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.AddMember(ctx, api.AddMemberRequest{Scope: api.Scope{Scope: "ORGANISATION", ScopeID: o.ID}, Role: "ORGANISATION_ADMIN", ServiceAccountID: a.ID})
	if err != nil {
		t.Fatal(err)
	}
	return o, a
}

func (w *world) key(t *testing.T, by *api.Client, principal string, req api.CreateAPIKeyRequest) (api.NewAPIKey, *api.Client) {
	t.Helper()
	k, err := by.CreateAPIKey(within(t), principal, req)
	if err != nil {
		t.Fatal(err)
	}
	return k, api.New(w.url, k.Key)
}

// A service account's key is made, used, replaced by another and revoked, and the very next request by it is refused.
func TestKeyOfAServiceAccount(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	o, account := w.account(t, "acme")
	k, ci := w.key(t, w.client, account.ID, api.CreateAPIKeyRequest{Name: "deploy"})
	if !strings.HasPrefix(k.Key, k.Prefix) || k.State != "ACTIVE" || k.CreatedBy != "alice" || k.ExpiresAt.Sub(k.CreatedAt) != 90*24*time.Hour || !k.LastUsedAt.IsZero() {
		t.Errorf("made: %+v", k.APIKey)
	}
	me, err := ci.Me(ctx)
	if err != nil || me.PrincipalID != account.ID || me.Role != "member" || len(me.Grants) != 1 {
		t.Fatalf("me: %+v, %v", me, err)
	}
	// An admin of the organisation, it makes its own successor and keys of others of the organisation.
	next, successor := w.key(t, ci, account.ID, api.CreateAPIKeyRequest{Name: "deploy 2"})
	other, err := ci.CreateServiceAccount(ctx, api.CreateServiceAccountRequest{OrganisationID: o.ID, Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	w.key(t, ci, other.ID, api.CreateAPIKeyRequest{Name: "k"})
	if k, err := successor.RevokeAPIKey(ctx, account.ID, k.ID); err != nil || k.State != "REVOKED" || k.RevokedAt.IsZero() {
		t.Fatalf("revoked: %+v, %v", k, err)
	}
	_, err = ci.Me(ctx)
	refusedAs(t, "a revoked key", err, 401, "TOKEN_UNKNOWN")
	if _, err := successor.RevokeAPIKey(ctx, account.ID, k.ID); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	l, err := successor.APIKeys(ctx, account.ID, api.Page{Limit: 1})
	if err != nil || len(l.APIKeys) != 1 || l.APIKeys[0].ID != k.ID || l.Pagination.NextPage == "" {
		t.Fatalf("keys: %+v, %v", l, err)
	}
	l, err = successor.APIKeys(ctx, account.ID, api.Page{Token: l.Pagination.NextPage})
	if err != nil || len(l.APIKeys) != 1 || l.APIKeys[0].ID != next.ID || l.APIKeys[0].LastUsedAt.IsZero() || l.APIKeys[0].CreatedBy != "ci" {
		t.Errorf("keys, second page: %+v, %v", l, err)
	}
	yes := true
	if _, err := w.client.UpdateServiceAccount(ctx, account.ID, api.UpdatePrincipalRequest{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	_, err = successor.Me(ctx)
	refusedAs(t, "a key of who is disabled", err, 401, "TOKEN_UNKNOWN")
	_, err = w.client.CreateAPIKey(ctx, account.ID, api.CreateAPIKeyRequest{Name: "k"})
	refusedAs(t, "a key for who is disabled", err, 412, "PRINCIPAL_DISABLED")
}

// What a key is limited to, it is limited to: in what it may do, and in the keys that it makes.
func TestLimitedKeys(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	o, account := w.account(t, "acme")
	_, full := w.key(t, w.client, account.ID, api.CreateAPIKeyRequest{Name: "full"})
	mine, err := full.CreateProject(ctx, api.CreateProjectRequest{Name: "mine", OrganisationID: o.ID})
	if err != nil {
		t.Fatal(err)
	}
	other, err := full.CreateProject(ctx, api.CreateProjectRequest{Name: "other", OrganisationID: o.ID})
	if err != nil {
		t.Fatal(err)
	}

	_, viewer := w.key(t, full, account.ID, api.CreateAPIKeyRequest{Name: "viewer", Ceiling: "VIEWER"})
	if ps, err := viewer.Projects(ctx, api.Page{}); err != nil || len(ps.Projects) != 2 {
		t.Errorf("a viewer sees %d projects, %v", len(ps.Projects), err)
	}
	_, err = viewer.CreateProject(ctx, api.CreateProjectRequest{Name: "third", OrganisationID: o.ID})
	refusedAs(t, "a viewer makes a project", err, 403, "ROLE_MISSING")

	_, one := w.key(t, full, account.ID, api.CreateAPIKeyRequest{Name: "one", Scope: &api.Scope{Scope: "PROJECT", ScopeID: mine.ID}})
	if _, err := one.Project(ctx, mine.ID); err != nil {
		t.Errorf("the key's own project: %v", err)
	}
	_, err = one.Project(ctx, other.ID)
	refusedAs(t, "a project beside the key's", err, 404, "PROJECT_NOT_FOUND")

	for what, limited := range map[string]*api.Client{"viewer": viewer, "one": one} {
		_, err := limited.CreateAPIKey(ctx, account.ID, api.CreateAPIKeyRequest{Name: "more"})
		refusedAs(t, what+" makes a key without its limits", err, 403, "KEY_IS_LIMITED")
	}
	create := func(by *api.Client, principal string, req api.CreateAPIKeyRequest) error {
		_, err := by.CreateAPIKey(ctx, principal, req)
		return err
	}
	_, strangers := w.account(t, "globex")
	s, jane := w.person(t, somebody)
	refusedAs(t, "a key of another organisation's", create(full, strangers.ID, api.CreateAPIKeyRequest{Name: "k"}), 404, "PRINCIPAL_NOT_FOUND")
	refusedAs(t, "a key of nobody", create(full, nobodysID, api.CreateAPIKeyRequest{Name: "k"}), 404, "PRINCIPAL_NOT_FOUND")
	refusedAs(t, "a key of nobody, for an operator", create(w.client, nobodysID, api.CreateAPIKeyRequest{Name: "k"}), 404, "PRINCIPAL_NOT_FOUND")
	refusedAs(t, "a key of a person by an operator", create(w.client, s.Principal.ID, api.CreateAPIKeyRequest{Name: "k"}), 403, "KEY_OF_ANOTHER")
	if err := create(jane, s.Principal.ID, api.CreateAPIKeyRequest{Name: "k"}); err != nil {
		t.Errorf("a key of one's own: %v", err)
	}
	refusedAs(t, "a key without end for a customer", create(w.client, account.ID, api.CreateAPIKeyRequest{Name: "k", NeverExpires: true}), 403, "KEY_MUST_EXPIRE")
	refusedAs(t, "a key without a name", create(full, account.ID, api.CreateAPIKeyRequest{}), 400, "NAME_REQUIRED")
	refusedAs(t, "a key at a scope out of reach", create(full, account.ID, api.CreateAPIKeyRequest{Name: "k", Scope: &api.Scope{Scope: "ORGANISATION", ScopeID: strangers.OrganisationID}}), 400, "SCOPE_GIVES_NOTHING")
	refusedAs(t, "a key at a scope that is none", create(full, account.ID, api.CreateAPIKeyRequest{Name: "k", Scope: &api.Scope{Scope: "CLUSTER", ScopeID: nobodysID}}), 400, "SCOPE_GIVES_NOTHING")
	_, err = full.RevokeAPIKey(ctx, account.ID, nobodysID)
	refusedAs(t, "revoking a key that is none", err, 404, "API_KEY_NOT_FOUND")
	_, err = full.APIKeys(ctx, strangers.ID, api.Page{})
	refusedAs(t, "keys of another organisation's", err, 404, "PRINCIPAL_NOT_FOUND")

	vendors, err := w.client.CreateServiceAccount(ctx, api.CreateServiceAccountRequest{Name: "vendor"})
	if err != nil {
		t.Fatal(err)
	}
	if k, _ := w.key(t, w.client, vendors.ID, api.CreateAPIKeyRequest{Name: "k", NeverExpires: true}); !k.ExpiresAt.IsZero() {
		t.Errorf("a key without end ends %s", k.ExpiresAt)
	}

	// What a key is for may end before it.
	if err := full.DeleteProject(ctx, mine.ID); err != nil {
		t.Fatal(err)
	}
	if me, err := one.Me(ctx); err != nil || len(me.Grants) != 0 {
		t.Errorf("a key of a project that is gone: %+v, %v", me, err)
	}
}

// A person with the operator's role is one, and no longer with a key that leaves less of it.
func TestOperatorInPerson(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	s, jane := w.person(t, somebody)
	if _, err := w.client.AddMember(ctx, api.AddMemberRequest{Scope: api.Scope{Scope: "INSTALLATION"}, Role: "OPERATOR", Email: somebody}); err != nil {
		t.Fatal(err)
	}
	if me, err := jane.Me(ctx); err != nil || me.Role != "operator" {
		t.Errorf("an operator: %+v, %v", me, err)
	}
	if _, err := jane.Gateways(ctx); err != nil {
		t.Errorf("an operator's request: %v", err)
	}
	_, viewer := w.key(t, jane, s.Principal.ID, api.CreateAPIKeyRequest{Name: "look", Ceiling: "VIEWER"})
	if me, err := viewer.Me(ctx); err != nil || me.Role != "member" {
		t.Errorf("an operator by a viewer's key: %+v, %v", me, err)
	}
	if _, err := viewer.Cluster(ctx, w.cluster.ID); err != nil {
		t.Errorf("a viewer of everything: %v", err)
	}
	_, err := viewer.CreateAPIKey(ctx, s.Principal.ID, api.CreateAPIKeyRequest{Name: "more"})
	refusedAs(t, "an operator's limited key makes another", err, 403, "KEY_IS_LIMITED")
}

// A browser's cookie is as good as the token in it, for requests that the browser makes for this site alone.
func TestSessionInACookie(t *testing.T) {
	w := newWorld(t)
	s, _ := w.person(t, somebody)
	const name = "__Host-postern-session="
	for _, c := range []struct {
		what, method, path string
		header             map[string]string
		status             int
		reason             string
	}{
		{"reading", "GET", "/api/v1/me", map[string]string{"Cookie": name + s.Token}, 200, ""},
		{"reading, linked from elsewhere", "GET", "/api/v1/me", map[string]string{"Cookie": name + s.Token, "Sec-Fetch-Site": "cross-site"}, 200, ""},
		{"a form elsewhere", "POST", "/api/v1/logout", map[string]string{"Cookie": name + s.Token, "Sec-Fetch-Site": "cross-site"}, 403, "CROSS_ORIGIN"},
		{"another origin", "POST", "/api/v1/logout", map[string]string{"Cookie": name + s.Token, "Origin": "https://evil.example"}, 403, "CROSS_ORIGIN"},
		{"an API key for a cookie", "GET", "/api/v1/me", map[string]string{"Cookie": name + operatorToken}, 401, "TOKEN_MISSING"},
		{"no session's cookie", "GET", "/api/v1/me", map[string]string{"Cookie": "session=" + s.Token}, 401, "TOKEN_MISSING"},
		{"our own page", "POST", "/api/v1/logout", map[string]string{"Cookie": name + s.Token, "Sec-Fetch-Site": "same-origin"}, 200, ""},
		{"after signing out", "GET", "/api/v1/me", map[string]string{"Cookie": name + s.Token}, 401, "TOKEN_UNKNOWN"},
	} {
		c.header["Authorization"] = ""
		r := w.send(t, c.method, c.path, "", c.header)
		if r.status != c.status || !strings.Contains(string(r.body), c.reason) {
			t.Errorf("%s: %d %s, want %d %s", c.what, r.status, r.body, c.status, c.reason)
		}
	}
}

// Without a provider nobody is sent to one, and what else a peer may get wrong about it is refused.
func TestNoOpenIDProvider(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	for path, want := range map[string]struct {
		status int
		reason string
	}{
		"/api/v1/login/openid":                                 {http.StatusNotFound, "NO_PROVIDER"},
		"/api/v1/login/openid/callback?state=s&code=c":         {http.StatusUnauthorized, "NO_PROVIDER"},
		"/api/v1/login/openid?redirect_uri=http://127.0.0.1:1": {http.StatusBadRequest, "MALFORMED_CHALLENGE"},
	} {
		if r := w.send(t, "GET", path, "", map[string]string{"Authorization": ""}); r.status != want.status || !strings.Contains(string(r.body), want.reason) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	_, err := api.New(w.url, "").ExchangeCode(ctx, api.ExchangeCodeRequest{Code: "c", CodeVerifier: "v"})
	refusedAs(t, "a code that nobody was given", err, 401, "CODE_UNKNOWN")
}

// A program on somebody's machine gets the session that its code is for, once, and with the answer to its own challenge alone.
func TestCodeIsExchangedOnce(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	s, _ := w.person(t, somebody)
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
	const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	issue := func() string {
		t.Helper()
		code := identity.NewToken(identity.CodeToken)
		err := w.store.Write(ctx, func(tx *store.Tx) error {
			return tx.AddSignInCode(identity.TokenHash(code), link.ID(s.Principal.ID), challenge, tx.Now().Add(time.Minute))
		})
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	nobody := api.New(w.url, "")
	code := issue()
	_, err := nobody.ExchangeCode(ctx, api.ExchangeCodeRequest{Code: code, CodeVerifier: "another"})
	refusedAs(t, "another verifier", err, 401, "CODE_UNKNOWN")
	_, err = nobody.ExchangeCode(ctx, api.ExchangeCodeRequest{Code: code, CodeVerifier: verifier})
	refusedAs(t, "a code that somebody else had", err, 401, "CODE_UNKNOWN")
	code = issue()
	got, err := nobody.ExchangeCode(ctx, api.ExchangeCodeRequest{Code: code, CodeVerifier: verifier})
	if err != nil || got.Method != "OPENID" || got.Principal.Email != somebody {
		t.Fatalf("%v: %+v", err, got.Principal)
	}
	if me, err := api.New(w.url, got.Token).Me(ctx); err != nil || me.Email != somebody {
		t.Errorf("me: %+v, %v", me, err)
	}
	_, err = nobody.ExchangeCode(ctx, api.ExchangeCodeRequest{Code: code, CodeVerifier: verifier})
	refusedAs(t, "a code that was exchanged", err, 401, "CODE_UNKNOWN")
}

// Nothing secret stands in the log, however much of it is written, nor in what is kept.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	w, ctx := newWorld(t), within(t)
	s, jane := w.person(t, somebody)
	k, _ := w.key(t, jane, s.Principal.ID, api.CreateAPIKeyRequest{Name: "k"})
	reset, err := w.client.ResetSignIn(ctx, s.Principal.ID)
	if err != nil {
		t.Fatal(err)
	}
	const guess = "a-guess-in-the-wrong-field"
	for _, req := range []api.PasswordSignInRequest{{Email: guess, Password: sentence}, {Email: somebody, Password: guess}} {
		_, err := api.New(w.url, "").SignInByPassword(ctx, req)
		refusedAs(t, "a guess", err, 401, "SIGN_IN_REFUSED")
	}
	_, err = api.New(w.url, "").SetPassword(ctx, api.SetPasswordRequest{Token: reset.Token, Password: "short"})
	refusedAs(t, "a short password", err, 400, "UNFIT_PASSWORD")
	_, err = api.New(w.url, k.Key+"x").Me(ctx)
	refusedAs(t, "a mistyped key", err, 401, "TOKEN_UNKNOWN")
	_, err = api.New(w.url, s.Token).Me(ctx)
	refusedAs(t, "a session that ended", err, 401, "TOKEN_UNKNOWN")
	if !strings.Contains(w.log.String(), "/api/v1/login/password") {
		t.Fatal("the log does not say what was asked: this test looks at nothing")
	}
	kept := w.log.String()
	err = w.store.Read(ctx, func(tx *store.Tx) error {
		for _, id := range []string{"/" + s.Principal.ID, "/"} {
			events, _, err := tx.Events(link.ObjectRef{Kind: link.ObjectPrincipal, ID: id}, store.Cut{Limit: 1000})
			if err != nil || len(events) == 0 {
				return errors.Join(err, fmt.Errorf("principal %s has %d events", id, len(events)))
			}
			kept += fmt.Sprintf("%+v", events)
		}
		events, _, err := tx.Events(link.ObjectRef{Kind: link.ObjectAPIKey, ID: s.Principal.ID + "/" + k.ID}, store.Cut{Limit: 1000})
		if len(events) != 1 || events[0].Type != "CREATED" {
			t.Errorf("events of the key: %+v", events)
		}
		kept += fmt.Sprintf("%+v", events)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SIGNED_IN", "SIGN_IN_FAILED", "SIGN_IN_RESET", "PASSWORD_SET"} {
		if !strings.Contains(kept, want) {
			t.Errorf("no event says %s", want)
		}
	}
	for what, secret := range map[string]string{
		"the session": s.Token, "the key": k.Key, "the reset token": reset.Token, "the password": sentence, "what was typed": guess,
		"the secret of the session": s.Token[4:40], "the secret of the key": k.Key[40:80],
	} {
		if strings.Contains(kept, secret) {
			t.Errorf("%s stands in the log or in an event", what)
		}
	}
}
