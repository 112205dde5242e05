package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Bounds of API keys.
const (
	defaultKeyLife = 90 * 24 * time.Hour
	shortKeyLife   = time.Minute
	longKeyLife    = 366 * 24 * time.Hour
	mostKeys       = 100 // of one principal that are good
	keptKeys       = 100 // of one principal that are not, for people to look up
)

// NewAPIKey describes a key to make.
type NewAPIKey struct {
	Name    string
	Ceiling link.Role     // empty for none
	Scope   link.Scope    // of no kind for none
	Life    time.Duration // 90 days when 0; at most 366
	Forever bool          // it never expires; for the vendor alone
}

func keyRef(principal link.ID, key ...string) link.ObjectRef {
	return part(link.ObjectAPIKey, principal, key...)
}

// holder reads a principal whose keys or sessions the caller may read or change.
func holder(tx *store.Tx, id link.ID) (link.Principal, error) {
	pr, err := tx.Principal(id)
	if errors.Is(err, store.ErrNotFound) {
		return link.Principal{}, noPrincipal(id)
	}
	return pr, err
}

// CreateAPIKey makes a key by which a program speaks for a principal, and returns it with its token, which is kept nowhere. A
// person's keys nobody else makes: what is done by them the person has done. By a limited key nobody makes one of the same
// principal, which could be limited less. A key that is made by a key is limited as that one is, or more, and ends no later.
func (p *Plane) CreateAPIKey(ctx context.Context, c policy.Caller, principal link.ID, n NewAPIKey) (out link.APIKey, token string, err error) {
	if err := checkName("API key", n.Name); err != nil {
		return link.APIKey{}, "", err
	}
	defaultLife := n.Life == 0 && !n.Forever
	if n.Life == 0 {
		n.Life = defaultKeyLife
	}
	if n.Life < shortKeyLife || n.Life > longKeyLife {
		return link.APIKey{}, "", invalid("ttl_seconds", "MALFORMED_TTL", "an API key cannot be good for "+n.Life.String(),
			fmt.Sprintf("give %.0f to %.0f seconds, or nothing for 90 days", shortKeyLife.Seconds(), longKeyLife.Seconds()))
	}
	if n.Ceiling != "" && !slices.Contains(policy.Roles, n.Ceiling) {
		return link.APIKey{}, "", invalid("ceiling", "UNKNOWN_ROLE", "no role is called "+link.Quote(string(n.Ceiling)), "see docs/identity.md for the roles")
	}
	err = p.change(ctx, c, keyRef(principal), func(ch *change) error {
		pr, err := holder(ch.Tx, principal)
		if err != nil {
			return err
		}
		n := n
		ends := time.Time{}
		if !n.Forever {
			ends = ch.Now().Add(n.Life)
		}
		if ends, err = ch.withinOwnKey(&n, ends, defaultLife); err != nil {
			return err
		}
		if err := ch.mayMakeKey(pr, n); err != nil {
			return err
		}
		k := link.APIKey{ID: link.NewID(), PrincipalID: principal, Name: n.Name, Ceiling: n.Ceiling, Scope: n.Scope, CreatedBy: ch.caller.Name, ExpiresAt: ends}
		token = identity.NewKey(k.ID)
		if out, err = ch.AddAPIKey(k, identity.TokenHash(token)); err != nil {
			return err
		}
		return errors.Join(ch.TrimAPIKeys(principal, keptKeys), ch.changed(keyRef(principal, string(k.ID)), eventCreated, "", nil, out,
			"API key %s was made for %s %s: %s", k.Name, called(pr), callerName(pr), keyLimits(out)))
	})
	if err != nil {
		return link.APIKey{}, "", err
	}
	return out, token, nil
}

// mayMakeKey refuses keys that would give more than whoever asks has to give, or nothing at all.
func (ch *change) mayMakeKey(pr link.Principal, n NewAPIKey) error {
	own := ch.caller.ID == pr.ID
	if pr.Kind == link.Person && !own {
		return &link.Error{
			Kind: link.Denied, Reason: "KEY_OF_ANOTHER", Message: "a person's API keys are made by that person",
			Hint: "make a service account, and keys for it",
		}
	}
	if pr.Disabled {
		return &link.Error{
			Kind: link.Precondition, Reason: "PRINCIPAL_DISABLED", Message: called(pr) + " " + pr.Name + " is disabled", Hint: "enable it first",
		}
	}
	if n.Forever && (pr.OrganisationID != "" || ch.caller.Role != policy.Operator) {
		return &link.Error{
			Kind: link.Denied, Reason: "KEY_MUST_EXPIRE", Field: "never_expires", Message: "only the vendor's own API keys may never expire",
			Hint: "give ttl_seconds, and make the next key before this one is over",
		}
	}
	grants, err := ch.GrantsOf(pr.ID)
	if err != nil {
		return err
	}
	if own {
		err = ch.speaksInFull("makes no keys")
	} else {
		err = ch.mayControl(grants)
	}
	if err != nil {
		return err
	}
	if n.Scope.Kind != "" {
		// A scope that is not there and one out of reach are the same to whoever asks.
		at, err := ch.PlaceOfScope(n.Scope)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err != nil || len(policy.Limit(grants, n.Ceiling, n.Scope, at)) == 0 {
			return invalid("scope", "SCOPE_GIVES_NOTHING", called(pr)+" "+pr.Name+" has no role at this scope, or there is no such scope",
				"grant it a role there first, or give a scope of its roles")
		}
	}
	switch inForce, err := ch.APIKeysInForce(pr.ID); {
	case err != nil:
		return err
	case inForce >= mostKeys:
		return &link.Error{
			Kind: link.Precondition, Reason: "TOO_MANY_KEYS", Message: fmt.Sprintf("%s %s has %d API keys", called(pr), pr.Name, inForce),
			Hint: "revoke those that nobody uses",
		}
	}
	return nil
}

// ownKey is the key that the caller speaks by, nil when it speaks by a session or is the vendor's own token.
func (ch *change) ownKey() (*link.APIKey, error) {
	k, err := ch.APIKey(ch.caller.Via)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return &k, err
}

// speaksInFull refuses a caller that speaks by a limited key to do something, also by one that takes nothing away of what its
// principal may today: tomorrow that may be more.
func (ch *change) speaksInFull(what string) error {
	k, err := ch.ownKey()
	if err != nil || k == nil || k.Ceiling == "" && k.Scope.Kind == "" {
		return err
	}
	return &link.Error{
		Kind: link.Denied, Reason: "KEY_IS_LIMITED", Message: "a limited API key " + what + " of the same principal",
		Hint: "sign in, or use a key without limits",
	}
}

// withinOwnKey keeps a key that a key makes within that one: what n leaves open becomes as that one has it, and what n says
// must not be more. ends is when the key would end, zero for never; byDefault tells that nobody asked for that time.
func (ch *change) withinOwnKey(n *NewAPIKey, ends time.Time, byDefault bool) (time.Time, error) {
	k, err := ch.ownKey()
	if err != nil || k == nil {
		return ends, err
	}
	beyond := func(field, message, hint string) (time.Time, error) {
		return ends, &link.Error{Kind: link.Denied, Reason: "KEY_BEYOND_OWN", Field: field, Message: message, Hint: hint}
	}
	switch {
	case n.Ceiling == "":
		n.Ceiling = k.Ceiling
	case k.Ceiling != "" && slices.Index(policy.Roles, n.Ceiling) > slices.Index(policy.Roles, k.Ceiling):
		return beyond("ceiling", "the API key that asks gives at most "+string(k.Ceiling), "give that or less, or sign in")
	}
	switch {
	case k.Scope.Kind == "":
	case n.Scope.Kind == "":
		n.Scope = k.Scope
	default:
		at, err := ch.PlaceOfScope(n.Scope)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return ends, err
		}
		if err != nil || !policy.Covers(k.Scope, at) {
			return beyond("scope", "the API key that asks is for another scope", "give its own scope or one beneath it, or sign in")
		}
	}
	if k.ExpiresAt.IsZero() || !ends.IsZero() && !ends.After(k.ExpiresAt) {
		return ends, nil
	}
	if !byDefault {
		return beyond("ttl_seconds", "the API key that asks ends at "+k.ExpiresAt.Format(time.RFC3339), "give less, or nothing for as long; or sign in")
	}
	return k.ExpiresAt, nil
}

// keyLimits says in words what a key is limited to.
func keyLimits(k link.APIKey) string {
	s := "as much as its principal may"
	if k.Ceiling != "" {
		s = "at most " + string(k.Ceiling)
	}
	if k.Scope.Kind != "" {
		s += " at " + string(k.Scope.Kind) + " " + string(k.Scope.ID)
	}
	if k.ExpiresAt.IsZero() {
		return s + ", for ever"
	}
	return s + ", until " + k.ExpiresAt.Format(time.RFC3339)
}

// APIKeys lists a part of a principal's keys, and the token of the next part.
func (p *Plane) APIKeys(ctx context.Context, c policy.Caller, principal link.ID, page Page) (out []link.APIKey, next string, err error) {
	of := "api-keys " + string(principal)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, keyRef(principal), func(tx *store.Tx) error {
		if _, err := holder(tx, principal); err != nil {
			return err
		}
		var seq int64
		out, seq, err = tx.APIKeys(principal, cut)
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// RevokeAPIKey ends a key at once and returns it. One that was revoked before is returned as it is. A limited key ends none of
// its principal's but itself.
func (p *Plane) RevokeAPIKey(ctx context.Context, c policy.Caller, principal, id link.ID) (out link.APIKey, err error) {
	err = p.change(ctx, c, keyRef(principal), func(ch *change) error {
		pr, err := holder(ch.Tx, principal)
		if err != nil {
			return err
		}
		before, err := ch.APIKey(id)
		if err == nil && before.PrincipalID != principal {
			err = store.ErrNotFound
		}
		if err != nil {
			return missing(err, "API_KEY_NOT_FOUND", "API key "+link.Quote(string(id))+" of this principal", "list its keys to see their ids")
		}
		if out = before; !before.RevokedAt.IsZero() {
			return nil
		}
		if principal == ch.caller.ID && id != ch.caller.Via { // itself any key may end
			if err := ch.speaksInFull("ends no other keys"); err != nil {
				return err
			}
		}
		if out, err = ch.Tx.RevokeAPIKey(id); err != nil {
			return raced(err)
		}
		return ch.changed(keyRef(principal, string(id)), eventRevoked, "", before, out, "API key %s of %s %s was revoked", out.Name, called(pr), callerName(pr))
	})
	return out, err
}
