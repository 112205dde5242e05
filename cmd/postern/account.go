package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
)

// accountCommand is how people come to sign in by password. Who they are and what they may is "postern person" and "postern
// member".
func (a *app) accountCommand() *cobra.Command {
	var name string
	var operator bool
	create := a.verb("create EMAIL", "Let a person sign in by password", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := c.CreatePerson(ctx, api.CreatePersonRequest{Email: args[0], Name: name})
		if err != nil {
			return err
		}
		if operator {
			if _, err := c.AddMember(ctx, api.AddMemberRequest{Scope: api.Scope{Scope: "INSTALLATION"}, Role: "OPERATOR", Email: p.Email}); err != nil {
				return err
			}
		}
		return a.resetSignIn(ctx, c, p)
	})
	create.Flags().StringVar(&name, "name", "", "what the person is called (default the address)")
	create.Flags().BoolVar(&operator, "operator", false, "make the person an operator of the installation")
	reset := a.verb("reset EMAIL", "End everything by which a person signs in, and let the person set a new password", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		p, err := pickPerson(ctx, c, args[0])
		if err != nil {
			return err
		}
		return a.resetSignIn(ctx, c, p)
	})
	set := &cobra.Command{
		Use:   "set-password",
		Short: "Set your own password by the token that an operator gave you, and sign in",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := a.baseURL()
			if err != nil {
				return err
			}
			c, err := a.clientOf(base, "")
			if err != nil {
				return err
			}
			q := newAsker(cmd.InOrStdin(), a.err)
			token, err := q.secret("Token")
			if err != nil {
				return err
			}
			password, err := q.newPassword()
			if err != nil {
				return err
			}
			s, err := c.SetPassword(cmd.Context(), api.SetPasswordRequest{Token: token, Password: password})
			if err != nil {
				return err
			}
			return a.signedIn(base, s)
		},
	}
	return noun("account", "accounts", "People who sign in by password", create, reset, set)
}

func (a *app) resetSignIn(ctx context.Context, c *api.Client, p api.Principal) error {
	r, err := c.ResetSignIn(ctx, p.ID)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(r)
	}
	_, err = fmt.Fprintf(a.out, `%s sets a password with this token, once, until %s:

  %s

by: postern account set-password --api-url %s
this is shown once: whoever has it can become that person
`, p.Email, r.ExpiresAt.Format(time.DateTime), r.Token, c.BaseURL())
	return err
}

func (a *app) sessionCommand() *cobra.Command {
	var of string
	list := a.verb("list", "List your sessions", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		id, err := sessionsOf(ctx, c, of)
		if err != nil {
			return err
		}
		l, err := c.Sessions(ctx, id)
		if err != nil {
			return err
		}
		return a.show(l, &table{head: []string{"SESSION", "METHOD", "FROM", "BEGAN", "LAST USED", "EXPIRES"}, none: "no sessions"}, func(t *table) {
			for _, s := range l.Sessions {
				t.add(s.ID, s.Method, s.Source, when(s.CreatedAt, time.Now()), when(s.LastUsedAt, time.Now()), s.ExpiresAt.Format(time.DateTime))
			}
		})
	})
	end := a.verb("end SESSION", "End a session at once", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		id, err := sessionsOf(ctx, c, of)
		if err != nil {
			return err
		}
		if err := c.EndSession(ctx, id, args[0]); err != nil {
			return err
		}
		return a.done(map[string]string{"id": args[0]}, "session %s has ended", args[0])
	})
	for _, cmd := range []*cobra.Command{list, end} {
		cmd.Flags().StringVar(&of, "person", "", "of this person, by id or e-mail address (default your own)")
	}
	return noun("session", "sessions", "Where you are signed in", list, end)
}

func sessionsOf(ctx context.Context, c *api.Client, person string) (string, error) {
	if person == "" {
		return ownID(ctx, c)
	}
	p, err := pickPerson(ctx, c, person)
	return p.ID, err
}

// ownID is the id of the person or service account that the client speaks for.
func ownID(ctx context.Context, c *api.Client) (string, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return "", err
	}
	if me.PrincipalID == "" {
		return "", usagef(`sign in with "postern login", or name whose you mean`, "a token of the installation is nobody's")
	}
	return me.PrincipalID, nil
}
