package control

import (
	"context"
	"errors"
	"strings"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// PrincipalUpdate holds what to change about a person or a service account; nil leaves it as it is.
type PrincipalUpdate struct {
	Name     *string
	Disabled *bool
}

// Self is who asks, and what it may.
type Self struct {
	Principal link.Principal // of a member; otherwise blank but for its name
	Role      policy.Role
	Grants    []link.Grant
}

// Me tells a caller who it is.
func (p *Plane) Me(ctx context.Context, c policy.Caller) (out Self, err error) {
	out = Self{Principal: link.Principal{Name: c.Name}, Role: c.Role, Grants: c.Grants}
	switch {
	case c.Role == policy.Anonymous:
		return Self{}, refusal(c, policy.May(c, policy.Read, link.ObjectRef{Kind: link.ObjectPrincipal}, link.Place{}))
	case c.ID == "":
		return out, nil
	}
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		out.Principal, err = tx.Principal(c.ID)
		if errors.Is(err, store.ErrNotFound) {
			return noPrincipal(c.ID)
		}
		return err
	})
	return out, err
}

func principalRef(p link.Principal) link.ObjectRef {
	return part(link.ObjectPrincipal, p.OrganisationID, string(p.ID))
}

func noPrincipal(id link.ID) error {
	return missing(store.ErrNotFound, "PRINCIPAL_NOT_FOUND", "person or service account "+link.Quote(string(id)),
		"list the service accounts, or the members, to see their ids")
}

// principal reads a principal of a kind that the caller may do something to, and says what was decided about that.
func principal(tx *store.Tx, c policy.Caller, a policy.Action, kind link.PrincipalKind, id link.ID) (out link.Principal, v verdict, err error) {
	out, err = tx.Principal(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && out.Kind != kind {
		out, err = link.Principal{ID: id}, nil
	}
	if err != nil {
		return link.Principal{}, verdict{}, err
	}
	// Also of one that is not there: who may not ask is told that, and nothing else.
	if v, err = may(tx, c, a, principalRef(out), principalRef(out)); err != nil {
		return link.Principal{}, v, err
	}
	if out.Kind != kind {
		return link.Principal{}, v, noPrincipal(id)
	}
	return out, v, nil
}

// principal reads a principal of a kind that the caller may change, and that may no more than the caller. Whatever else
// changes what it signs in with comes before or after this transaction.
func (ch *change) principal(a policy.Action, kind link.PrincipalKind, id link.ID) (out link.Principal, err error) {
	if err := ch.LockOwner(sessionRef(id)); err != nil {
		return link.Principal{}, err
	}
	if out, ch.verdict, err = principal(ch.Tx, ch.caller, a, kind, id); err != nil {
		return out, err
	}
	grants, err := ch.GrantsOf(id)
	if err != nil {
		return link.Principal{}, err
	}
	return out, ch.mayControl(grants)
}

// mayControl refuses to let the caller be, or keep out, a principal that holds more than it does.
func (ch *change) mayControl(grants []link.Grant) error {
	d := policy.MayControl(ch.caller, grants)
	if !d.Allow {
		ch.Permission = d
	}
	return refusal(ch.caller, d)
}

// principals lists a part of what read reads, which the caller may when it may read of.
func (p *Plane) principals(ctx context.Context, c policy.Caller, of link.ObjectRef, name string, page Page,
	read func(*store.Tx, store.Cut) ([]link.Principal, int64, error),
) (out []link.Principal, next string, err error) {
	cut, err := page.cut(name)
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, of, func(tx *store.Tx) error {
		var seq int64
		out, seq, err = read(tx, cut)
		next = page.next(name, seq)
		return err
	})
	return out, next, err
}

// ServiceAccounts lists a part of the service accounts that the caller may see, and the token of the next part.
func (p *Plane) ServiceAccounts(ctx context.Context, c policy.Caller, page Page) ([]link.Principal, string, error) {
	return p.principals(ctx, c, link.ObjectRef{Kind: link.ObjectPrincipal}, "service-accounts", page,
		func(tx *store.Tx, cut store.Cut) ([]link.Principal, int64, error) {
			return tx.ServiceAccounts(policy.ReachOf(c, link.ObjectPrincipal), cut)
		})
}

// People lists a part of all people, and the token of the next part. They are the vendor's to see: an organisation sees
// those that are its members.
func (p *Plane) People(ctx context.Context, c policy.Caller, page Page) ([]link.Principal, string, error) {
	return p.principals(ctx, c, part(link.ObjectPrincipal, ""), "people", page,
		func(tx *store.Tx, cut store.Cut) ([]link.Principal, int64, error) { return tx.People(cut) })
}

// Principal returns one principal of a kind.
func (p *Plane) Principal(ctx context.Context, c policy.Caller, kind link.PrincipalKind, id link.ID) (out link.Principal, err error) {
	var v verdict
	err = p.st.Read(ctx, func(tx *store.Tx) error {
		out, v, err = principal(tx, c, policy.Read, kind, id)
		return err
	})
	return out, p.told(ctx, c, v, err)
}

// CreateServiceAccount returns the service account of a name in an organisation, empty for the vendor's own, made now
// unless there is one. It may nothing until it is made a member of something.
func (p *Plane) CreateServiceAccount(ctx context.Context, c policy.Caller, organisation link.ID, name string) (out link.Principal, err error) {
	if err := checkName("service account", name); err != nil {
		return link.Principal{}, err
	}
	all := part(link.ObjectPrincipal, organisation)
	within := all
	if organisation != "" {
		within = organisationRef(organisation)
	}
	err = p.act(ctx, c, policy.Create, all, within, func(ch *change) error {
		out, err = ch.addPrincipal(link.Principal{Kind: link.ServiceAccount, OrganisationID: organisation, Name: name})
		if errors.Is(err, store.ErrNotFound) {
			return noOrganisation(organisation)
		}
		return err
	})
	return out, err
}

// CreatePerson returns the person of an e-mail address, made now unless there is one. name may be empty: then the address
// stands for it.
func (p *Plane) CreatePerson(ctx context.Context, c policy.Caller, email, name string) (out link.Principal, err error) {
	if email, name, err = checkPerson(email, name); err != nil {
		return link.Principal{}, err
	}
	all := part(link.ObjectPrincipal, "")
	err = p.act(ctx, c, policy.Create, all, all, func(ch *change) error {
		out, err = ch.addPrincipal(link.Principal{Kind: link.Person, Name: name, Email: email})
		return err
	})
	return out, err
}

// addPrincipal returns the principal that is as asked for, made now unless there is one.
func (ch *change) addPrincipal(asked link.Principal) (link.Principal, error) {
	out, made, err := ch.AddPrincipal(asked)
	if err != nil || !made {
		return out, err
	}
	return out, ch.changed(principalRef(out), eventCreated, string(out.Kind), nil, out, "%s %s was created", called(out), out.Name)
}

// called is what a principal is called in a sentence.
func called(p link.Principal) string {
	if p.Kind == link.ServiceAccount {
		return "service account"
	}
	return "person"
}

// UpdatePrincipal changes what u names of a principal of a kind.
func (p *Plane) UpdatePrincipal(ctx context.Context, c policy.Caller, kind link.PrincipalKind, id link.ID, u PrincipalUpdate) (out link.Principal, err error) {
	if u.Name != nil {
		if err := checkName("principal", *u.Name); err != nil {
			return link.Principal{}, err
		}
	}
	err = p.attempt(ctx, c, func(ch *change) error {
		before, err := ch.principal(policy.Change, kind, id)
		if err != nil {
			return err
		}
		out = before
		if u.Name != nil {
			out.Name = *u.Name
		}
		if u.Disabled != nil {
			out.Disabled = *u.Disabled
		}
		if out == before {
			return nil
		}
		if out.Name != before.Name && kind == link.ServiceAccount {
			switch _, err := ch.ServiceAccountNamed(before.OrganisationID, out.Name); {
			case err == nil:
				return nameTaken("service account", out.Name)
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		if out.Disabled && !before.Disabled {
			if err := ch.keepAdmins(before); err != nil {
				return err
			}
		}
		if out, err = ch.UpdatePrincipal(out); err != nil {
			return raced(err)
		}
		return ch.changed(principalRef(out), eventChanged, "", before, out, "%s %s was changed: disabled %t", called(out), out.Name, out.Disabled)
	})
	return out, err
}

// DeletePrincipal removes a principal of a kind, with its roles and whatever it signs in with.
func (p *Plane) DeletePrincipal(ctx context.Context, c policy.Caller, kind link.PrincipalKind, id link.ID) error {
	return p.attempt(ctx, c, func(ch *change) error {
		old, err := ch.principal(policy.Delete, kind, id)
		if err != nil {
			return err
		}
		if err := ch.keepAdmins(old); err != nil {
			return err
		}
		return errors.Join(ch.RemovePrincipal(id), ch.changed(principalRef(old), eventDeleted, "", old, nil, "%s %s was deleted", called(old), old.Name))
	})
}

// keepAdmins refuses to take a principal away that is the last admin of an organisation, except from the vendor.
func (ch *change) keepAdmins(p link.Principal) error {
	grants, err := ch.GrantsOf(p.ID)
	if err != nil {
		return err
	}
	for _, g := range grants {
		if err := ch.keepAdmin(g); err != nil {
			return err
		}
	}
	return nil
}

// keepAdmin refuses to take away a grant that makes the last admin of an organisation, except from the vendor: nobody
// within could give the role back.
func (ch *change) keepAdmin(g link.Grant) error {
	if g.Role != link.RoleOrganisationAdmin || g.Scope.Kind != link.ScopeOrganisation || operates(ch.caller) {
		return nil
	}
	// Two admins who take the role from each other at the same time do it one after the other.
	if err := ch.LockOrganisation(g.Scope.ID); err != nil {
		return err
	}
	n, err := ch.Holders(g.Role, g.Scope, g.PrincipalID)
	if err != nil || n > 0 {
		return err
	}
	return &link.Error{
		Kind: link.Precondition, Reason: "LAST_ADMIN", Message: "the organisation would be left without an admin",
		Hint: "make somebody else " + string(link.RoleOrganisationAdmin) + " first, or ask the vendor",
	}
}

// mostEmail is the longest e-mail address, in bytes: RFC 5321, section 4.5.3.1.3, without the brackets.
const mostEmail = 254

// checkPerson refuses what cannot be an e-mail address and a name, and returns them as they are kept.
func checkPerson(email, name string) (keptEmail, keptName string, err error) {
	plain := !strings.ContainsFunc(email, func(r rune) bool { return r >= 0x7f }) // in lower case a Kelvin sign is a k
	email = strings.ToLower(email)
	local, domain, ok := strings.Cut(email, "@")
	odd := func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"(),:;<>@[\]`, r) }
	if !plain || !ok || local == "" || !isHost(domain) || strings.ContainsFunc(local, odd) || len(email) > mostEmail {
		return "", "", invalid("email", "MALFORMED_EMAIL", "not an e-mail address: "+link.Quote(email), "for example ann@acme.example")
	}
	if name == "" {
		return email, email, nil
	}
	return email, name, checkTitle("name", name)
}
