package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// mostGrants is how many roles one principal may hold: all of them are looked at in every request of it.
const mostGrants = 1000

// MemberRequest asks to make somebody a member of a scope. It names a person by e-mail address, who need not be known
// before, or a service account by its id.
type MemberRequest struct {
	Scope            link.Scope
	Role             link.Role
	Email            string
	Name             string // of a person who is not known yet; the address when empty
	ServiceAccountID link.ID
}

func grantRef(s link.Scope, key string) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectGrant, ID: string(s.Kind) + "/" + string(s.ID) + "/" + key}
}

// noScope is the answer when what a scope names is not there.
func noScope(s link.Scope) error {
	switch s.Kind {
	case link.ScopeOrganisation:
		return scopeField(noOrganisation(s.ID))
	case link.ScopeProject:
		return scopeField(noProject(s.ID))
	case link.ScopeCluster:
		return scopeField(noCluster(s.ID))
	}
	return invalid("scope", "MALFORMED_SCOPE", "not a scope: "+link.Quote(string(s.Kind)), "give INSTALLATION, ORGANISATION, PROJECT or CLUSTER")
}

// scopeField names the field of a request about members in an error that was made for others.
func scopeField(err error) error {
	if e, ok := errors.AsType[*link.Error](err); ok {
		e.Field = "scope_id"
	}
	return err
}

func checkScope(s link.Scope) error {
	switch s.Kind {
	case link.ScopeInstallation:
		if s.ID != "" {
			return invalid("scope_id", "MALFORMED_SCOPE", "the installation has no id", "leave scope_id out")
		}
		return nil
	case link.ScopeOrganisation, link.ScopeProject, link.ScopeCluster:
		_, err := link.ParseID("scope_id", string(s.ID))
		return err
	}
	return noScope(s)
}

// Members lists a part of who holds which role at a scope and beneath it, and the token of the next part. Of the
// installation it lists those who hold a role at the installation's own scope.
func (p *Plane) Members(ctx context.Context, c policy.Caller, scope link.Scope, page Page) (out []link.Member, next string, err error) {
	of := "members " + string(scope.Kind) + " " + string(scope.ID)
	cut, err := page.cut(of)
	if err != nil {
		return nil, "", err
	}
	if err := checkScope(scope); err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, grantRef(scope, ""), func(tx *store.Tx) error {
		if _, err := scopePlace(tx, scope); err != nil {
			return err
		}
		var seq int64
		out, seq, err = tx.Members(scope, cut)
		for i := range out {
			out[i] = memberShown(c, out[i])
		}
		next = page.next(of, seq)
		return err
	})
	return out, next, err
}

// memberShown is a member as a caller is told of it. Whoever is somebody elsewhere too is shown to an organisation by the address
// that it has typed: what the person is called, and whether it may sign in, is not that organisation's to know.
func memberShown(c policy.Caller, m link.Member) link.Member {
	if m.Elsewhere && m.Principal.Kind == link.Person && m.Principal.ID != c.ID && !operates(c) {
		m.Principal.Name, m.Principal.Disabled = m.Principal.Email, false
	}
	return m
}

func scopePlace(tx *store.Tx, s link.Scope) (link.Place, error) {
	at, err := tx.PlaceOfScope(s)
	if errors.Is(err, store.ErrNotFound) {
		return at, noScope(s)
	}
	return at, err
}

// mayGrant refuses what the caller may not give or take at a scope.
func (ch *change) mayGrant(role link.Role, s link.Scope) error {
	at, err := scopePlace(ch.Tx, s)
	if err != nil && link.KindOf(err) != link.NotFound {
		return err
	}
	d := policy.MayGrant(ch.caller, role, s, at)
	ch.verdict = verdict{d, policy.Change, grantRef(s, ""), at}
	if !d.Allow && (ch.caller.Role != policy.Member || err == nil && d.Visible) {
		return refusal(ch.caller, d)
	}
	if !d.Allow && err == nil {
		err = noScope(s)
	}
	return err
}

// AddMember gives somebody a role at a scope. Given again it is the same. Of a person whoever asks is told nothing but what it
// said: the answer does not tell whether the person was known.
func (p *Plane) AddMember(ctx context.Context, c policy.Caller, r MemberRequest) (out link.Member, err error) {
	if err := checkRole(r.Role, r.Scope); err != nil {
		return link.Member{}, err
	}
	switch {
	case (r.Email == "") == (r.ServiceAccountID == ""):
		return link.Member{}, invalid("email", "MEMBER_REQUIRED", "a member is a person or a service account", "give either email or service_account_id")
	case r.Email != "":
		r.Email, r.Name, err = checkPerson(r.Email, r.Name)
	default:
		_, err = link.ParseID("service_account_id", string(r.ServiceAccountID))
	}
	if err != nil {
		return link.Member{}, err
	}
	err = p.attempt(ctx, c, func(ch *change) error {
		if err := ch.mayGrant(r.Role, r.Scope); err != nil {
			return err
		}
		if out.Principal, err = ch.memberToBe(r, ch.at); err != nil {
			return err
		}
		held, err := ch.GrantsOf(out.Principal.ID)
		if err != nil {
			return err
		}
		if len(held) >= mostGrants {
			return &link.Error{
				Kind: link.Precondition, Reason: "TOO_MANY_ROLES", Message: fmt.Sprintf("%s holds %d roles", callerName(out.Principal), len(held)),
				Hint: "give one role at a scope that holds the others",
			}
		}
		var made bool
		out.Grant, made, err = ch.AddGrant(link.Grant{PrincipalID: out.Principal.ID, Role: r.Role, Scope: r.Scope})
		if err != nil || !made {
			return err
		}
		return ch.noteGrant(out, eventCreated, nil, out.Grant, "%s holds the role %s now")
	})
	if r.Email != "" && !operates(c) {
		out.Principal.Name, out.Principal.Disabled = r.Name, false
	}
	return out, err
}

// memberToBe returns whom a request is about.
func (ch *change) memberToBe(r MemberRequest, at link.Place) (link.Principal, error) {
	if r.Email != "" {
		return ch.addPrincipal(link.Principal{Kind: link.Person, Name: r.Name, Email: r.Email})
	}
	p, err := ch.Principal(r.ServiceAccountID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return p, err
	}
	switch {
	case err != nil, p.Kind != link.ServiceAccount, p.OrganisationID != at.OrganisationID && !operates(ch.caller):
		err = noPrincipal(r.ServiceAccountID)
	case p.OrganisationID != "" && p.OrganisationID != at.OrganisationID:
		err = &link.Error{
			Kind: link.Precondition, Reason: "ANOTHER_ORGANISATION", Field: "service_account_id",
			Message: "service account " + p.Name + " is another organisation's", Hint: "make a service account in the organisation",
		}
	}
	return p, err
}

// RemoveMember takes a role at a scope away from somebody.
func (p *Plane) RemoveMember(ctx context.Context, c policy.Caller, scope link.Scope, id link.ID, role link.Role) (out link.Member, err error) {
	if err := checkRole(role, scope); err != nil {
		return link.Member{}, err
	}
	err = p.attempt(ctx, c, func(ch *change) error {
		if err := ch.mayGrant(role, scope); err != nil {
			return err
		}
		if out.Grant, err = ch.Grant(id, role, scope); err != nil {
			return missing(err, "MEMBER_NOT_FOUND", "member "+link.Quote(string(id))+" with the role "+string(role)+" there", "list the members to see their ids and roles")
		}
		if out.Principal, err = ch.Principal(id); err != nil {
			return err
		}
		if err := ch.keepAdmin(out.Grant); err != nil {
			return err
		}
		if out.Elsewhere, err = ch.HoldsElsewhere(id, out.Grant.Within.OrganisationID); err != nil {
			return err
		}
		return errors.Join(ch.RemoveGrant(id, role, scope), ch.noteGrant(out, eventDeleted, out.Grant, nil, "%s no longer holds the role %s"))
	})
	return memberShown(c, out), err
}

// noteGrant writes the line of a grant's coming or going. format takes the principal's name and the role.
func (ch *change) noteGrant(m link.Member, typ string, before, after any, format string) error {
	return ch.changed(grantRef(m.Grant.Scope, string(m.Principal.ID)+"/"+string(m.Grant.Role)), typ, string(m.Grant.Role), before, after,
		format, callerName(m.Principal), m.Grant.Role)
}

func checkRole(r link.Role, s link.Scope) error {
	if err := checkScope(s); err != nil {
		return err
	}
	if policy.Fits(r, s.Kind) {
		return nil
	}
	for _, known := range policy.Roles {
		if r == known {
			return invalid("role", "ROLE_NOT_HERE", fmt.Sprintf("the role %s means nothing in the scope %s", r, s.Kind), "give it in a wider scope, or give another role")
		}
	}
	return invalid("role", "MALFORMED_ROLE", "not a role: "+link.Quote(string(r)),
		"give VIEWER, CLUSTER_OPERATOR, CLUSTER_ADMIN, PROJECT_ADMIN, ORGANISATION_ADMIN or OPERATOR")
}
