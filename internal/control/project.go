package control

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Projects lists all projects.
func (p *Plane) Projects(ctx context.Context, c policy.Caller) (out []link.Project, err error) {
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectProject}, func(tx *store.Tx) error {
		out, _, err = tx.Projects(link.Reach{All: true}, store.Cut{Limit: 500})
		return err
	})
	return out, err
}

// Project returns one project.
func (p *Plane) Project(ctx context.Context, c policy.Caller, id link.ID) (out link.Project, err error) {
	err = p.read(ctx, c, link.ObjectRef{Kind: link.ObjectProject, ID: string(id)}, func(tx *store.Tx) error {
		out, err = project(tx, id)
		return err
	})
	return out, err
}

func project(tx *store.Tx, id link.ID) (link.Project, error) {
	out, err := tx.Project(id)
	return out, missing(err, "PROJECT_NOT_FOUND", "project "+link.Quote(string(id)), "list the projects to see their ids")
}

// CreateProject returns the project of a name, made now unless there is one.
func (p *Plane) CreateProject(ctx context.Context, c policy.Caller, name string) (out link.Project, err error) {
	if err := checkTitle("name", name); err != nil {
		return link.Project{}, err
	}
	if name == "" {
		return link.Project{}, invalid("name", "NAME_REQUIRED", "a project needs a name", "")
	}
	err = p.change(ctx, c, link.ObjectRef{Kind: link.ObjectProject}, func(ch *change) error {
		var made bool
		out, made, err = ch.AddProject("", name)
		if err != nil || !made {
			return err
		}
		return ch.note(link.ObjectRef{Kind: link.ObjectProject, ID: string(out.ID)}, eventCreated, "", "project %s was created", name)
	})
	return out, err
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
