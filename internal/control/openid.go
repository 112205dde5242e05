package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// OpenID is the provider at which people sign in: package openid's Provider, which says what its methods promise.
type OpenID interface {
	Issuer() string
	Begin(context.Context) (a identity.Attempt, to string, err error)
	Finish(ctx context.Context, a identity.Attempt, code string) (identity.Subject, error)
	Invites(identity.Subject) bool
	GrantRules() []identity.GrantRule
}

// How long a browser may take at the provider, and a program to exchange its code.
const (
	attemptLife = 10 * time.Minute
	codeLife    = time.Minute
)

// OpenIDRequest says where somebody wants to be after signing in at the provider: on a page of ours, or back in a program on
// the own machine, which gets a code for a session.
type OpenIDRequest struct {
	ReturnTo string // a path of this server; "/" when empty

	// Of a program (RFC 8252, section 7.3): a URL of the loopback interface, where it waits for the code, a value that
	// comes back with it, and PKCE's challenge (S256), whose answer the code is exchanged with.
	Loopback  string
	State     string
	Challenge string
}

// openIDAttempt is what the browser keeps for us, sealed, while it is at the provider.
type openIDAttempt struct {
	identity.Attempt
	OpenIDRequest
	Expires time.Time
}

const sealPurpose = "openid attempt"

// seal is the seal of what browsers keep. Its key is the installation's, so that any process opens what another has sealed.
type seal struct {
	mu     sync.Mutex
	opened *identity.Seal
}

func (p *Plane) sealed(ctx context.Context) (*identity.Seal, error) {
	p.seal.mu.Lock()
	defer p.seal.mu.Unlock()
	if p.seal.opened != nil {
		return p.seal.opened, nil
	}
	var key []byte
	fresh := identity.NewSealKey()
	err := p.st.Write(ctx, func(tx *store.Tx) (err error) {
		key, err = tx.SealKey(fresh)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.seal.opened, err = identity.NewSeal(key)
	return p.seal.opened, err
}

// SignInMethods are the ways in which people sign in here.
func (p *Plane) SignInMethods() []link.SignInMethod {
	if p.openID == nil {
		return []link.SignInMethod{link.ByPassword}
	}
	return []link.SignInMethod{link.ByPassword, link.ByOpenID}
}

// BeginOpenID returns the URL of the provider to send a browser to, and what the browser has to keep until it is back, for at
// most ten minutes.
func (p *Plane) BeginOpenID(ctx context.Context, r OpenIDRequest) (to, keep string, err error) {
	if p.openID == nil {
		return "", "", &link.Error{
			Kind: link.NotFound, Reason: "NO_PROVIDER", Message: "nobody signs in here at an OpenID provider",
			Hint: "sign in by e-mail address and password; an operator can name a provider when starting the control plane",
		}
	}
	if err := r.check(); err != nil {
		return "", "", err
	}
	s, err := p.sealed(ctx)
	if err != nil {
		return "", "", err
	}
	a, to, err := p.openID.Begin(ctx)
	if err != nil {
		p.logRefusal(ctx, Visitor{}, err)
		return "", "", err
	}
	keep, err = s.Close(sealPurpose, openIDAttempt{a, r, p.now().Add(attemptLife)})
	return to, keep, err
}

// check refuses to send anybody anywhere but to this server and the own machine.
func (r OpenIDRequest) check() error {
	if r.Loopback == "" {
		u, err := url.Parse(r.ReturnTo)
		if err != nil || r.ReturnTo != "" && (u.Host != "" || u.Scheme != "" || !strings.HasPrefix(r.ReturnTo, "/") || strings.HasPrefix(r.ReturnTo, "//")) ||
			strings.ContainsFunc(r.ReturnTo, func(c rune) bool { return c == '\\' || c < ' ' || c == 0x7f }) {
			return invalid("return", "MALFORMED_RETURN", "not a path of this server: "+link.Quote(r.ReturnTo), "it begins with one slash")
		}
		return nil
	}
	u, err := url.Parse(r.Loopback)
	var at netip.AddrPort
	if err == nil {
		at, err = netip.ParseAddrPort(u.Host)
	}
	if err != nil || !at.Addr().IsLoopback() || at.Port() == 0 || u.Scheme != "http" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		return invalid("redirect_uri", "MALFORMED_REDIRECT", "not a URL of the own machine: "+link.Quote(r.Loopback), "it looks like http://127.0.0.1:49152/")
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(r.Challenge); err != nil || len(b) != sha256.Size {
		return invalid("code_challenge", "MALFORMED_CHALLENGE", "the challenge is not the SHA-256 of a verifier, in base64url", "see RFC 7636, section 4.2, method S256")
	}
	if len(r.State) > 256 {
		return invalid("state", "MALFORMED_STATE", "the state is too long", "give at most 256 characters")
	}
	return nil
}

// Returned is with what a provider sent the browser back.
type Returned struct {
	State string
	Code  string
	Error string // the provider's word for why it did not sign anybody in
}

// FinishOpenID takes back a browser that the provider sent, with what it kept. to is where to send it next, also with an error
// whose cause a program on the own machine is to be told. For a page of ours it also returns the session, for the browser
// to keep.
func (p *Plane) FinishOpenID(ctx context.Context, v Visitor, keep string, back Returned) (to string, out SignedIn, err error) {
	var a openIDAttempt
	refused := func(reason, message string, cause error) (string, SignedIn, error) {
		err := &link.Error{Kind: link.Unauthenticated, Reason: reason, Message: message, Hint: "sign in again", Err: cause}
		p.logRefusal(ctx, v, err)
		return a.failed(reason), SignedIn{}, err
	}
	if p.openID == nil {
		return refused("NO_PROVIDER", "nobody signs in here at an OpenID provider", nil)
	}
	s, err := p.sealed(ctx)
	if err != nil {
		return "", SignedIn{}, err
	}
	if err := s.Open(sealPurpose, keep, &a); err != nil {
		return refused("ATTEMPT_UNKNOWN", "this browser did not begin to sign in here, or is not the one that did", err)
	}
	if subtle.ConstantTimeCompare([]byte(a.Attempt.State), []byte(back.State)) != 1 {
		a = openIDAttempt{} // an answer to another attempt leads nowhere
		return refused("ATTEMPT_UNKNOWN", "this is the answer to another sign-in", nil)
	}
	if !p.now().Before(a.Expires) {
		return refused("ATTEMPT_EXPIRED", "signing in took too long", nil)
	}
	if back.Error != "" || back.Code == "" {
		return refused("PROVIDER_REFUSED", "the OpenID provider did not sign you in", errors.New("the provider says "+link.Quote(back.Error)))
	}
	if err := p.admit(ctx, v, "", link.ByOpenID); err != nil { // each answer makes us ask the provider
		return a.failed("TOO_MANY_ATTEMPTS"), SignedIn{}, err
	}
	// Before the code is exchanged: of two answers of one attempt only one comes further.
	err = p.st.Write(ctx, func(tx *store.Tx) error { return tx.UseState(identity.TokenHash(a.Attempt.State), a.Expires) })
	if errors.Is(err, store.ErrChanged) {
		return refused("ATTEMPT_USED", "this sign-in was finished before", nil)
	}
	if err != nil {
		return "", SignedIn{}, err
	}
	subject, err := p.openID.Finish(ctx, a.Attempt, back.Code)
	if err != nil {
		return p.openIDFailed(ctx, v, a, err)
	}
	to, out, err = p.signInSubject(ctx, v, a, subject)
	if err != nil {
		return p.openIDFailed(ctx, v, a, err)
	}
	p.admitted(v, "")
	return to, out, nil
}

// openIDFailed tells operator and program why somebody the provider sent back is not signed in.
func (p *Plane) openIDFailed(ctx context.Context, v Visitor, a openIDAttempt, err error) (string, SignedIn, error) {
	p.logRefusal(ctx, v, err)
	reason := "INTERNAL"
	if e, ok := errors.AsType[*link.Error](err); ok {
		reason = e.Reason
		if e.Kind == link.Unauthenticated {
			err = errors.Join(err, p.st.Write(ctx, func(tx *store.Tx) error {
				return v.as(tx, link.Principal{}).signInFailed(v, link.Principal{}, link.ByOpenID)
			}))
			p.refuseSignIn(ctx, v, link.Principal{}, "", link.ByOpenID, reason)
		}
	}
	return a.failed(reason), SignedIn{}, err
}

// failed is where to send a browser whose program waits to hear what became of it; empty when none does.
func (a openIDAttempt) failed(reason string) string {
	if a.Loopback == "" {
		return ""
	}
	return a.Loopback + "?" + url.Values{"error": {reason}, "state": {a.OpenIDRequest.State}}.Encode()
}

// signInSubject signs in whom the provider named.
func (p *Plane) signInSubject(ctx context.Context, v Visitor, a openIDAttempt, s identity.Subject) (to string, out SignedIn, err error) {
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		pr, err := p.bind(tx, v, s)
		if err != nil {
			return err
		}
		if pr.Disabled {
			return &link.Error{Kind: link.Unauthenticated, Reason: "ACCOUNT_DISABLED", Message: "your account is disabled", Hint: "ask an operator"}
		}
		ch := v.as(tx, pr)
		if err := p.followClaims(ctx, ch, pr, s); err != nil {
			return err
		}
		if a.Loopback == "" {
			if to = a.ReturnTo; to == "" {
				to = "/"
			}
			out, err = ch.beginSession(v, pr, link.ByOpenID)
			return err
		}
		code := identity.NewToken(identity.CodeToken)
		to = a.Loopback + "?" + url.Values{"code": {code}, "state": {a.OpenIDRequest.State}}.Encode()
		return ch.AddSignInCode(identity.TokenHash(code), pr.ID, a.Challenge, ch.Now().Add(codeLife))
	})
	if err != nil {
		return "", SignedIn{}, raced(err)
	}
	return to, out, nil
}

// bind finds the person that a subject is. One that is not bound yet becomes the person of its address, who has to be there
// already or be invited by the provider's configuration, and must not sign in another way: an address alone does not take an
// account over.
func (p *Plane) bind(tx *store.Tx, v Visitor, s identity.Subject) (link.Principal, error) {
	id, err := tx.PrincipalOf(s.Issuer, s.ID)
	if err == nil {
		// Whoever resets this sign-in at the same time comes before or after, and not between.
		if err = tx.LockOwner(sessionRef(id)); err == nil {
			id, err = tx.PrincipalOf(s.Issuer, s.ID)
		}
	}
	if err == nil {
		return tx.Principal(id)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return link.Principal{}, err
	}
	pr, err := tx.PrincipalByEmail(s.Email)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if !p.openID.Invites(s) {
			return link.Principal{}, &link.Error{
				Kind: link.Unauthenticated, Reason: "NOT_INVITED", Message: "nobody has invited you yet", Hint: "ask for " + s.Email + " to be added as a member",
			}
		}
		asked := link.Principal{ID: link.NewID(), Kind: link.Person, Name: s.Name, Email: s.Email}
		if checkTitle("name", asked.Name) != nil {
			asked.Name = s.Email
		}
		if pr, err = v.as(tx, asked).addPrincipal(asked); err != nil {
			return link.Principal{}, err
		}
	case err != nil:
		return link.Principal{}, err
	}
	if err := tx.LockOwner(sessionRef(pr.ID)); err != nil {
		return link.Principal{}, err
	}
	n, err := tx.Subjects(pr.ID)
	if err != nil {
		return link.Principal{}, err
	}
	kept, err := tx.PasswordOf(pr.ID)
	if err != nil {
		return link.Principal{}, err
	}
	if n > 0 || kept != "" {
		return link.Principal{}, &link.Error{
			Kind: link.Unauthenticated, Reason: "ADDRESS_TAKEN", Message: "somebody with your e-mail address signs in here another way",
			Hint: "sign in that way; an operator can reset it",
		}
	}
	ch := v.as(tx, pr)
	return pr, errors.Join(tx.BindSubject(s.Issuer, s.ID, pr.ID),
		ch.changed(principalRef(pr), eventChanged, "SUBJECT_BOUND", nil, s.Issuer, "%s signs in at %s from now on", callerName(pr), s.Issuer))
}

// followClaims gives a person the roles that the provider's claim says, of those that rules name, and takes the others of them.
func (p *Plane) followClaims(ctx context.Context, ch *change, pr link.Principal, s identity.Subject) error {
	rules := p.openID.GrantRules()
	for i, r := range rules {
		same := func(o identity.GrantRule) bool { return o.Role == r.Role && o.Scope == r.Scope }
		if slices.ContainsFunc(rules[:i], same) {
			continue
		}
		g := link.Grant{PrincipalID: pr.ID, Role: r.Role, Scope: r.Scope}
		of := link.ObjectRef{Kind: link.ObjectGrant, ID: strings.Join([]string{string(r.Scope.Kind), string(r.Scope.ID), string(pr.ID), string(r.Role)}, "/")}
		held := slices.ContainsFunc(rules, func(o identity.GrantRule) bool { return same(o) && slices.Contains(s.Values, o.Value) })
		if held {
			out, made, err := ch.AddGrant(g)
			switch {
			case errors.Is(err, store.ErrNotFound):
				p.log.LogAttrs(ctx, slog.LevelWarn, "a rule for grants names a scope that is not there", slog.Any("scope", r.Scope))
			case err != nil:
				return err
			case made:
				if err := ch.changed(of, eventCreated, "OPENID_CLAIM", nil, out, "%s is %s of %s %s, as %s says", callerName(pr), r.Role, r.Scope.Kind, r.Scope.ID, s.Issuer); err != nil {
					return err
				}
			}
			continue
		}
		err := ch.RemoveGrant(pr.ID, r.Role, r.Scope)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err := errors.Join(err, ch.changed(of, eventDeleted, "OPENID_CLAIM", g, nil, "%s is no longer %s of %s %s, as %s says", callerName(pr), r.Role, r.Scope.Kind, r.Scope.ID, s.Issuer)); err != nil {
			return err
		}
	}
	return nil
}

// ExchangeCode gives a program the session that its code is for, when it has the answer to the challenge that it began with.
// A code is good once, whoever shows it.
func (p *Plane) ExchangeCode(ctx context.Context, v Visitor, code, verifier string) (out SignedIn, err error) {
	if err := p.admit(ctx, v, "", link.ByOpenID); err != nil {
		return SignedIn{}, err
	}
	taken := false
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		taken = false
		id, challenge, err := tx.TakeSignInCode(identity.TokenHash(code))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.LockOwner(sessionRef(id)); err != nil {
			return err
		}
		pr, err := tx.Principal(id)
		if err != nil {
			return err
		}
		ch := v.as(tx, pr)
		answer := sha256.Sum256([]byte(verifier))
		if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(answer[:])), []byte(challenge)) != 1 || pr.Disabled {
			return ch.signInFailed(v, pr, link.ByOpenID)
		}
		taken = true
		out, err = ch.beginSession(v, pr, link.ByOpenID)
		return err
	})
	if err != nil {
		return SignedIn{}, err
	}
	if !taken {
		p.refuseSignIn(ctx, v, link.Principal{}, "", link.ByOpenID, "CODE_UNKNOWN")
		return SignedIn{}, &link.Error{
			Kind: link.Unauthenticated, Reason: "CODE_UNKNOWN", Message: "the code is unknown, was used, or has expired", Hint: "sign in again",
		}
	}
	p.admitted(v, "")
	return out, nil
}
