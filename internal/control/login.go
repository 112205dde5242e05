package control

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// resetLife is how long a token to set a password is good.
const resetLife = 72 * time.Hour

// The types of the events of signing in.
const (
	eventSignedIn     = "SIGNED_IN"
	eventSignedOut    = "SIGNED_OUT"
	eventSignInFailed = "SIGN_IN_FAILED"
	eventRevoked      = "REVOKED"
)

const tooManyAttempts = "TOO_MANY_ATTEMPTS"

// notRight is the one answer to every sign-in by password that fails: whoever asks learns nothing of which accounts there are.
func notRight() error {
	return &link.Error{
		Kind: link.Unauthenticated, Reason: "SIGN_IN_REFUSED", Message: "the e-mail address or the password is not right",
		Hint: "try again; an operator can reset the password",
	}
}

// admit counts a try to sign in, and refuses one that comes too soon after others that failed. account is empty for tries
// that name none.
func (p *Plane) admit(ctx context.Context, v Visitor, account string, method link.SignInMethod) error {
	wait := p.sources.Try(sourceKey(v.Source), p.now())
	if wait == 0 && account != "" {
		wait = p.accounts.Try(identity.TokenHash(account), p.now())
	}
	if wait == 0 {
		return nil
	}
	wait = wait.Truncate(time.Second) + time.Second
	p.refuseSignIn(ctx, v, link.Principal{}, "", method, tooManyAttempts)
	return &link.Error{
		Kind: link.Exhausted, Reason: tooManyAttempts, Message: "too many attempts to sign in have failed", After: wait,
		Hint: "try again in " + wait.String(),
	}
}

// admitted forgets the failures of who has signed in.
func (p *Plane) admitted(v Visitor, account string) {
	p.sources.Undo(sourceKey(v.Source)) // no more: who has one account may still guess at others
	if account != "" {
		p.accounts.Succeeded(identity.TokenHash(account))
	}
}

// sourceKey is what of an address is one visitor's: of IPv6 the network, whose addresses are all one customer's.
func sourceKey(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return ""
	}
	if a = a.Unmap(); a.Is6() {
		if prefix, err := a.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return a.String()
}

// SignInByPassword begins a session of the person of an e-mail address. Every failure takes the same work and is answered by
// the same refusal, whether there is such an account, it has a password, is disabled, or the password is another.
func (p *Plane) SignInByPassword(ctx context.Context, v Visitor, email, password string) (out SignedIn, err error) {
	email = strings.ToLower(email)
	if err := p.admit(ctx, v, email, link.ByPassword); err != nil {
		return SignedIn{}, err
	}
	var pr link.Principal
	var kept string
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		pr, kept = link.Principal{}, ""
		if pr, err = tx.PrincipalByEmail(email); err == nil {
			kept, err = tx.PasswordOf(pr.ID)
		}
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return SignedIn{}, err
	}
	right, stale, err := p.passwords.Check(ctx, kept, password)
	if err != nil {
		return SignedIn{}, err
	}
	fresh := ""
	if right && stale {
		if fresh, err = p.passwords.Hash(ctx, password); err != nil {
			return SignedIn{}, err
		}
	}
	signedIn := false
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		signedIn = false
		ch := v.as(tx, pr)
		if right { // a reset at the same time ends this session, or this one sees what it has done
			if err := tx.LockOwner(sessionRef(pr.ID)); err != nil {
				return err
			}
		}
		// Meanwhile the account may have been disabled, deleted, or given another password.
		if now, err := tx.Principal(pr.ID); right && err == nil && !now.Disabled {
			still, err := tx.PasswordOf(pr.ID)
			if err != nil {
				return err
			}
			if still == kept {
				if fresh != "" {
					if err := tx.RehashPassword(pr.ID, kept, fresh); err != nil {
						return err
					}
				}
				signedIn = true
				out, err = ch.beginSession(v, now, link.ByPassword)
				return err
			}
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return ch.signInFailed(v, pr, link.ByPassword)
	})
	switch {
	case err != nil:
		return SignedIn{}, err
	case !signedIn:
		p.refuseSignIn(ctx, v, pr, identity.TokenHash(email), link.ByPassword, "SIGN_IN_REFUSED")
		return SignedIn{}, notRight()
	}
	p.admitted(v, email)
	return out, nil
}

// signInFailed writes that somebody did not get in as a principal, which is blank when what was typed names none. What was
// typed stands nowhere: it may be a password in the wrong field.
func (ch *change) signInFailed(v Visitor, pr link.Principal, method link.SignInMethod) error {
	ch.caller = policy.Caller{Name: anonymous.Name, RequestID: v.RequestID, Source: v.Source}
	who := "an account that is not known"
	if pr.ID != "" {
		who = callerName(pr)
	}
	return ch.note(principalRef(pr), eventSignInFailed, string(method), "somebody at %s tried to sign in as %s", orUnknown(v.Source), who)
}

// ResetSignIn makes a token by which a person sets a password, once, and returns it with when it expires. Everything by which
// the person signed in until now is no longer good: password, sessions, and the OpenID provider's subject, which may be bound
// anew. API keys stay. The token makes whoever has it that person: it is for operators alone, to hand over.
func (p *Plane) ResetSignIn(ctx context.Context, c policy.Caller, id link.ID) (token string, expires time.Time, err error) {
	err = p.attempt(ctx, c, func(ch *change) error {
		pr, err := ch.principal(policy.Change, link.Person, id)
		if err != nil {
			return err
		}
		if _, err := ch.EndSessions(id); err != nil {
			return err
		}
		token, expires = identity.NewToken(identity.ResetToken), ch.Now().Add(resetLife)
		return errors.Join(ch.ForgetSignIn(id), ch.PutPasswordReset(id, identity.TokenHash(token), expires),
			ch.changed(principalRef(pr), eventChanged, "SIGN_IN_RESET", nil, nil, "%s has to set a new password, by a token that is good until %s", callerName(pr), expires.Format(time.RFC3339)))
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

// SetPassword sets the password of whom a token of ResetSignIn is for, and signs in. The token is good for one password.
func (p *Plane) SetPassword(ctx context.Context, v Visitor, token, password string) (out SignedIn, err error) {
	if err := identity.CheckPassword("password", password); err != nil {
		return SignedIn{}, err
	}
	if err := p.admit(ctx, v, "", link.ByPassword); err != nil {
		return SignedIn{}, err
	}
	hash := identity.TokenHash(token)
	unknown := &link.Error{
		Kind: link.Unauthenticated, Reason: "RESET_TOKEN_UNKNOWN", Field: "token", Message: "this token sets no password: it is unknown, was used, or has expired",
		Hint: "ask an operator for another",
	}
	var of link.ID
	err = p.st.Read(ctx, func(tx *store.Tx) (err error) {
		of, err = tx.PasswordReset(hash)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		p.refuseSignIn(ctx, v, link.Principal{}, "", link.ByPassword, unknown.Reason)
		return SignedIn{}, unknown
	}
	if err != nil {
		return SignedIn{}, err
	}
	kept, err := p.passwords.Hash(ctx, password)
	if err != nil {
		return SignedIn{}, err
	}
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		if err := tx.LockOwner(sessionRef(of)); err != nil {
			return err
		}
		id, err := tx.TakePasswordReset(hash)
		if err != nil {
			return err
		}
		pr, err := tx.Principal(id)
		if err != nil {
			return err
		}
		if pr.Disabled {
			return store.ErrNotFound
		}
		ch := v.as(tx, pr)
		if _, err := ch.EndSessions(id); err != nil {
			return err
		}
		if err := errors.Join(ch.PutPassword(id, kept), ch.changed(principalRef(pr), eventChanged, "PASSWORD_SET", nil, nil, "%s set a password", callerName(pr))); err != nil {
			return err
		}
		out, err = ch.beginSession(v, pr, link.ByPassword)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		p.refuseSignIn(ctx, v, link.Principal{}, "", link.ByPassword, unknown.Reason)
		return SignedIn{}, unknown
	}
	if err != nil {
		return SignedIn{}, err
	}
	p.admitted(v, "")
	return out, nil
}

// logRefusal tells the operator why a sign-in failed, which the person is not told in full.
func (p *Plane) logRefusal(ctx context.Context, v Visitor, err error) {
	p.log.LogAttrs(ctx, slog.LevelInfo, "sign-in refused", slog.String("request_id", v.RequestID), slog.String("source", v.Source), slog.Any("error", err))
}
