package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Projects lists a part of the projects that the caller may see, and the token of the next part.
func (p *Plane) Projects(ctx context.Context, c policy.Caller, page Page) (out []link.Project, next string, err error) {
	cut, err := page.cut("projects")
	if err != nil {
		return nil, "", err
	}
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectProject}, func(tx *store.Tx) error {
		var seq int64
		out, seq, err = tx.Projects(policy.ReachOf(c, link.ObjectProject), cut)
		next = page.next("projects", seq)
		return err
	})
	return out, next, err
}

// Project returns one project.
func (p *Plane) Project(ctx context.Context, c policy.Caller, id link.ID) (out link.Project, err error) {
	err = p.read(ctx, c, projectRef(id), func(tx *store.Tx) error {
		out, err = project(tx, id)
		return err
	})
	return out, err
}

func projectRef(id link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectProject, ID: string(id)}
}

func project(tx *store.Tx, id link.ID) (link.Project, error) {
	out, err := tx.Project(id)
	if errors.Is(err, store.ErrNotFound) {
		return out, noProject(id)
	}
	return out, err
}

func noProject(id link.ID) error {
	return missing(store.ErrNotFound, "PROJECT_NOT_FOUND", "project "+link.Quote(string(id)), "list the projects to see their ids")
}

// CreateProject returns the project of a name in an organisation, empty for the vendor's own, made now unless there is
// one.
func (p *Plane) CreateProject(ctx context.Context, c policy.Caller, organisation link.ID, name string) (out link.Project, err error) {
	if err := checkName("project", name); err != nil {
		return link.Project{}, err
	}
	err = p.act(ctx, c, policy.Create, link.ObjectRef{Kind: link.ObjectProject}, organisationRef(organisation), func(ch *change) error {
		var made bool
		out, made, err = ch.AddProject(organisation, name)
		if errors.Is(err, store.ErrNotFound) {
			return noOrganisation(organisation)
		}
		if err != nil || !made {
			return err
		}
		return ch.changed(projectRef(out.ID), eventCreated, "", nil, out, "project %s was created", name)
	})
	return out, err
}

// RenameProject gives a project another name, which no other of its organisation has.
func (p *Plane) RenameProject(ctx context.Context, c policy.Caller, id link.ID, name string) (out link.Project, err error) {
	if err := checkName("project", name); err != nil {
		return link.Project{}, err
	}
	err = p.change(ctx, c, projectRef(id), func(ch *change) error {
		before, err := project(ch.Tx, id)
		if out = before; err != nil || before.Name == name {
			return err
		}
		switch _, err := ch.ProjectNamed(before.OrganisationID, name); {
		case err == nil:
			return nameTaken("project", name)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		out.Name = name
		if out, err = ch.UpdateProject(out); err != nil {
			return raced(err)
		}
		return ch.changed(projectRef(id), eventChanged, "NAME", before, out, "project %s is now called %s", before.Name, name)
	})
	return out, err
}

// DeleteProject removes a project that has no clusters, with the roles that were given in it.
func (p *Plane) DeleteProject(ctx context.Context, c policy.Caller, id link.ID) error {
	return p.act(ctx, c, policy.Delete, projectRef(id), projectRef(id), func(ch *change) error {
		old, err := project(ch.Tx, id)
		if err != nil {
			return err
		}
		n, err := ch.ClustersOfProject(id)
		if err != nil {
			return err
		}
		if n > 0 {
			return &link.Error{
				Kind: link.Precondition, Reason: "CLUSTERS_EXIST", Message: fmt.Sprintf("project %s still has %d clusters", old.Name, n),
				Hint: "delete its clusters first",
			}
		}
		return errors.Join(ch.RemoveProject(id), ch.changed(projectRef(id), eventDeleted, "", old, nil, "project %s was deleted", old.Name))
	})
}

// mostTitle is the longest text, in characters, that names something for people alone.
const mostTitle = 100

// checkTitle refuses a name for people that is too long or would not show on one line.
func checkTitle(field, s string) error {
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return invalid(field, "MALFORMED_NAME", field+" holds characters that do not print: "+link.Quote(s), "")
	case utf8.RuneCountInString(s) > mostTitle:
		return invalid(field, "NAME_TOO_LONG", field+" is too long: "+link.Quote(s), "give at most 100 characters")
	case strings.TrimSpace(s) != s:
		return invalid(field, "MALFORMED_NAME", field+" begins or ends with a space: "+link.Quote(s), "")
	}
	return nil
}

// checkName refuses what cannot be the name of something of a kind that has to have one.
func checkName(kind, s string) error {
	if s == "" {
		return invalid("name", "NAME_REQUIRED", "a "+kind+" needs a name", "")
	}
	return checkTitle("name", s)
}

func nameTaken(kind, name string) error {
	return &link.Error{
		Kind: link.Conflict, Reason: "NAME_TAKEN", Field: "name", Message: "there is another " + kind + " named " + link.Quote(name), Hint: "choose another name",
	}
}

// raced turns a compare-and-swap that was lost into the answer that a caller gets.
func raced(err error) error {
	if errors.Is(err, store.ErrChanged) {
		return &link.Error{
			Kind: link.Conflict, Reason: "CHANGED_MEANWHILE", Message: "somebody else changed it at the same time", Hint: "look at it again, and decide again",
		}
	}
	return err
}
