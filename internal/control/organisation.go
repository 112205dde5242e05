package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

func organisationRef(id link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectOrganisation, ID: string(id)}
}

func organisation(tx *store.Tx, id link.ID) (link.Organisation, error) {
	out, err := tx.Organisation(id)
	if errors.Is(err, store.ErrNotFound) {
		return out, noOrganisation(id)
	}
	return out, err
}

func noOrganisation(id link.ID) error {
	return missing(store.ErrNotFound, "ORGANISATION_NOT_FOUND", "organisation "+link.Quote(string(id)), "list the organisations to see their ids")
}

// Organisations lists a part of the organisations that the caller may see, and the token of the next part.
func (p *Plane) Organisations(ctx context.Context, c policy.Caller, page Page) (out []link.Organisation, next string, err error) {
	cut, err := page.cut("organisations")
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectOrganisation}, func(tx *store.Tx) error {
		var seq int64
		out, seq, err = tx.Organisations(policy.ReachOf(c, link.ObjectOrganisation), cut)
		next = page.next("organisations", seq)
		return err
	})
	return out, next, err
}

// Organisation returns one organisation.
func (p *Plane) Organisation(ctx context.Context, c policy.Caller, id link.ID) (out link.Organisation, err error) {
	err = p.read(ctx, c, organisationRef(id), func(tx *store.Tx) error {
		out, err = organisation(tx, id)
		return err
	})
	return out, err
}

// CreateOrganisation returns the organisation of a name, made now unless there is one.
func (p *Plane) CreateOrganisation(ctx context.Context, c policy.Caller, name string) (out link.Organisation, err error) {
	if err := checkName("organisation", name); err != nil {
		return link.Organisation{}, err
	}
	all := link.ObjectRef{Kind: link.ObjectOrganisation}
	err = p.act(ctx, c, policy.Create, all, all, func(ch *change) error {
		var made bool
		if out, made, err = ch.AddOrganisation(name); err != nil || !made {
			return err
		}
		return ch.changed(organisationRef(out.ID), eventCreated, "", nil, out, "organisation %s was created", name)
	})
	return out, err
}

// RenameOrganisation gives an organisation another name, which no other has.
func (p *Plane) RenameOrganisation(ctx context.Context, c policy.Caller, id link.ID, name string) (out link.Organisation, err error) {
	if err := checkName("organisation", name); err != nil {
		return link.Organisation{}, err
	}
	err = p.change(ctx, c, organisationRef(id), func(ch *change) error {
		before, err := organisation(ch.Tx, id)
		if out = before; err != nil || before.Name == name {
			return err
		}
		switch _, err := ch.OrganisationNamed(name); {
		case err == nil:
			return nameTaken("organisation", name)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		out.Name = name
		if out, err = ch.UpdateOrganisation(out); err != nil {
			return raced(err)
		}
		return ch.changed(organisationRef(id), eventChanged, "NAME", before, out, "organisation %s is now called %s", before.Name, name)
	})
	return out, err
}

// DeleteOrganisation removes an organisation that has no projects, with its service accounts, its subscriptions and the roles
// that were given in it. The people stay: they may be members elsewhere.
func (p *Plane) DeleteOrganisation(ctx context.Context, c policy.Caller, id link.ID) error {
	return p.act(ctx, c, policy.Delete, organisationRef(id), organisationRef(id), func(ch *change) error {
		// Nobody makes a project in it from here on.
		if err := ch.LockOrganisation(id); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return noOrganisation(id)
			}
			return err
		}
		old, err := organisation(ch.Tx, id)
		if err != nil {
			return err
		}
		n, err := ch.ProjectsOfOrganisation(id)
		if err != nil {
			return err
		}
		if n > 0 {
			return &link.Error{
				Kind: link.Precondition, Reason: "PROJECTS_EXIST", Message: fmt.Sprintf("organisation %s still has %d projects", old.Name, n),
				Hint: "delete its projects first",
			}
		}
		return errors.Join(ch.RemoveOrganisation(id), ch.changed(organisationRef(id), eventDeleted, "", old, nil, "organisation %s was deleted", old.Name))
	})
}
