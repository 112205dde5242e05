package control

import (
	"context"
	"errors"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// mostSessions is how many sessions a principal has at the same time: beyond them the oldest ends.
const mostSessions = 50

// Visitor is where somebody comes from who is not known yet.
type Visitor struct {
	Source    string // IP address; empty when not known
	RequestID string
}

// SignedIn is a session as only its beginning shows it.
type SignedIn struct {
	Token     string // kept nowhere
	Session   link.Session
	Principal link.Principal
}

func sessionRef(principal link.ID) link.ObjectRef { return part(link.ObjectSession, principal) }

// as returns the transaction of somebody who has just shown who it is.
func (v Visitor) as(tx *store.Tx, pr link.Principal) *change {
	return &change{Tx: tx, caller: policy.Caller{ID: pr.ID, Name: callerName(pr), Role: policy.Member, RequestID: v.RequestID, Source: v.Source}}
}

// beginSession signs a principal in.
func (ch *change) beginSession(v Visitor, pr link.Principal, method link.SignInMethod) (SignedIn, error) {
	token := identity.NewToken(identity.SessionToken)
	s, err := ch.AddSession(link.Session{
		ID: link.NewID(), PrincipalID: pr.ID, Method: method, Source: v.Source, ExpiresAt: ch.Now().Add(sessionLife),
	}, identity.TokenHash(token), sessionIdle)
	if err != nil {
		return SignedIn{}, err
	}
	return SignedIn{Token: token, Session: s, Principal: pr}, errors.Join(
		ch.TrimSessions(pr.ID, mostSessions),
		ch.changed(principalRef(pr), eventSignedIn, string(method), nil, s, "%s signed in from %s", callerName(pr), orUnknown(v.Source)))
}

// Sessions lists a principal's sessions that last, oldest first.
func (p *Plane) Sessions(ctx context.Context, c policy.Caller, principal link.ID) (out []link.Session, err error) {
	err = p.read(ctx, c, sessionRef(principal), func(tx *store.Tx) error {
		if _, err := holder(tx, principal); err != nil {
			return err
		}
		out, err = tx.Sessions(principal, sessionIdle)
		return err
	})
	return out, err
}

// EndSession ends a session of a principal: whoever speaks by it is nobody from then on. A limited key ends none of its own
// principal's.
func (p *Plane) EndSession(ctx context.Context, c policy.Caller, principal, id link.ID) error {
	return p.change(ctx, c, sessionRef(principal), func(ch *change) error {
		pr, err := holder(ch.Tx, principal)
		if err != nil {
			return err
		}
		if principal == ch.caller.ID {
			if err := ch.speaksInFull("ends no sessions"); err != nil {
				return err
			}
		}
		s, err := ch.Tx.EndSession(principal, id)
		if err != nil {
			return missing(err, "SESSION_NOT_FOUND", "session "+link.Quote(string(id)), "list the sessions to see their ids; it may have ended by itself")
		}
		return ch.changed(principalRef(pr), eventSignedOut, "", s, nil, "a session of %s, from %s, was ended", callerName(pr), orUnknown(s.Source))
	})
}

// SignOut ends the session that the caller speaks by.
func (p *Plane) SignOut(ctx context.Context, c policy.Caller) error {
	err := p.EndSession(ctx, c, c.ID, c.Via)
	if e, ok := errors.AsType[*link.Error](err); ok && e.Kind != link.Unavailable {
		return &link.Error{
			Kind: link.Precondition, Reason: "NO_SESSION", Message: "this request was not made by a session",
			Hint: "an API key is revoked instead; a token of the installation is changed by whoever runs it",
		}
	}
	return err
}
