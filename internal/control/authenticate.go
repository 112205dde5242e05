package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// How long a session lasts: after its last use, and in all.
const (
	sessionIdle = 12 * time.Hour
	sessionLife = 7 * 24 * time.Hour
)

// usedEvery is how often the use of a key or a session is written down, at most.
const usedEvery = time.Minute

// Authenticate returns who a bearer token stands for that a visitor shows. It looks at the database each time and remembers nothing: a key that
// was revoked, a session that ended and a principal that was disabled are refused with the very next request.
func (p *Plane) Authenticate(ctx context.Context, v Visitor, token string) (policy.Caller, error) {
	var c policy.Caller
	var use func(*store.Tx) error // writes down that the token was used; nil when that was done lately
	err := p.st.Read(ctx, func(tx *store.Tx) (err error) {
		use = nil
		if id, malformed := identity.ParseKey(token); malformed == nil {
			c, use, err = keyCaller(tx, id, token)
			return err
		}
		if identity.IsToken(identity.SessionToken, token) {
			c, use, err = sessionCaller(tx, token)
			return err
		}
		name, role, err := tx.Token(token)
		c = policy.Caller{Name: name, Role: policy.Role(role)}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		const rule = "TOKEN_UNKNOWN"
		p.refuse(ctx, "", audit.Entry{
			Actor: anonymous, Action: "token.use", Object: link.ObjectRef{Kind: "token"}, Decision: audit.Refused, Rule: rule,
			Why: "somebody showed a token that is not known, or not good any more", RequestID: v.RequestID, Source: v.Source,
		})
		return policy.Caller{}, &link.Error{
			Kind: link.Unauthenticated, Reason: rule, Message: "the token is missing or not known here",
			Hint: "send the header Authorization: Bearer <token> with a token of this installation; a session ends by itself, so sign in again",
		}
	}
	if err != nil {
		return policy.Caller{}, fmt.Errorf("look up a token: %w", err)
	}
	c.RequestID, c.Source = v.RequestID, v.Source
	if use != nil && p.uses.begin(c.Via, p.now()) {
		// Who asks has asked rightly, whatever becomes of this.
		if err := p.st.Write(ctx, use); err != nil {
			p.log.LogAttrs(ctx, slog.LevelWarn, "the use of a token is not written down", slog.String("id", string(c.Via)), slog.Any("error", err))
		}
	}
	return c, nil
}

// keyCaller is whom an API key stands for, or ErrNotFound.
func keyCaller(tx *store.Tx, id link.ID, token string) (c policy.Caller, use func(*store.Tx) error, err error) {
	k, err := tx.APIKeyOf(id, identity.TokenHash(token))
	if err != nil {
		return policy.Caller{}, nil, err
	}
	if !k.InForce(tx.Now()) {
		return policy.Caller{}, nil, store.ErrNotFound
	}
	at, err := tx.PlaceOfScope(k.Scope)
	switch {
	case k.Scope.Kind == "":
	case errors.Is(err, store.ErrNotFound): // what the key was for is gone: it gives nothing
		k.Scope.ID = ""
	case err != nil:
		return policy.Caller{}, nil, err
	}
	if c, err = memberCaller(tx, k.PrincipalID, k.ID); err != nil {
		return policy.Caller{}, nil, err
	}
	c.Grants = policy.Limit(c.Grants, k.Ceiling, k.Scope, at)
	c.Role = policy.RoleOf(c.Grants)
	if tx.Now().Sub(k.LastUsedAt) >= usedEvery {
		use = func(tx *store.Tx) error { return tx.UsedAPIKey(k.ID, usedEvery) }
	}
	return c, use, nil
}

// sessionCaller is whom a session stands for, or ErrNotFound.
func sessionCaller(tx *store.Tx, token string) (c policy.Caller, use func(*store.Tx) error, err error) {
	s, err := tx.SessionOf(identity.TokenHash(token), sessionIdle)
	if err != nil {
		return policy.Caller{}, nil, err
	}
	if c, err = memberCaller(tx, s.PrincipalID, s.ID); err != nil {
		return policy.Caller{}, nil, err
	}
	if tx.Now().Sub(s.LastUsedAt) >= usedEvery {
		use = func(tx *store.Tx) error { return tx.UsedSession(s.ID, usedEvery) }
	}
	return c, use, nil
}

// memberCaller is a principal that may do all that its grants say, or ErrNotFound when it is disabled.
func memberCaller(tx *store.Tx, id, via link.ID) (policy.Caller, error) {
	pr, err := tx.Principal(id)
	if err != nil {
		return policy.Caller{}, err
	}
	if pr.Disabled {
		return policy.Caller{}, store.ErrNotFound
	}
	grants, err := tx.GrantsOf(id)
	return policy.Caller{ID: id, Name: callerName(pr), Role: policy.RoleOf(grants), Grants: grants, Via: via}, err
}

// callerName is how a principal is called in histories: a person by the address, which is nobody else's.
func callerName(p link.Principal) string {
	if p.Email != "" {
		return p.Email
	}
	return p.Name
}

// uses keeps this process from writing down the use of one token many times at once.
type uses struct {
	mu    sync.Mutex
	begun map[link.ID]time.Time
}

// mostUses is how many tokens are remembered. Forgetting one costs a needless write.
const mostUses = 10_000

// begin reports whether the use of a token is to be written down now.
func (u *uses) begin(id link.ID, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := now.Sub(u.begun[id]); 0 <= d && d < usedEvery {
		return false
	}
	if len(u.begun) >= mostUses || u.begun == nil {
		u.begun = map[link.ID]time.Time{}
	}
	u.begun[id] = now
	return true
}
