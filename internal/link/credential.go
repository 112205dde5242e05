package link

import "time"

// APIKey is a key by which a program speaks for a principal. It gives what its principal's grants give, and no more than its
// ceiling and its scope leave of them.
type APIKey struct {
	ID          ID
	PrincipalID ID
	Name        string
	Ceiling     Role   // every grant of a higher role counts as this one; empty for no ceiling
	Scope       Scope  // grants count within it alone; of no kind for everywhere
	CreatedBy   string // the name of the caller who made it
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: it does not
	LastUsedAt  time.Time // to a minute; zero: never
	RevokedAt   time.Time // zero: it was not
}

// InForce reports whether the key is good at a time.
func (k APIKey) InForce(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// SignInMethod is how somebody signed in.
type SignInMethod string

// The ways to sign in.
const (
	ByPassword SignInMethod = "PASSWORD"
	ByOpenID   SignInMethod = "OPENID"
)

// Session is what a person who signed in speaks by, until it ends or was not used for long.
type Session struct {
	ID          ID
	PrincipalID ID
	Method      SignInMethod
	Source      string // IP address that signed in
	CreatedAt   time.Time
	LastUsedAt  time.Time // to a minute
	ExpiresAt   time.Time
}
