package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// scopeFlags say where roles hold.
type scopeFlags struct {
	organisation, project, cluster string
	installation                   bool
}

func (s *scopeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.organisation, "organisation", "", "in an organisation, by id or name")
	f.StringVar(&s.project, "project", "", "in a project, by id or name")
	f.StringVarP(&s.cluster, "cluster", "c", "", "in a cluster, by id or name")
	f.BoolVar(&s.installation, "installation", false, "in the whole installation")
	cmd.MarkFlagsOneRequired("organisation", "project", "cluster", "installation")
	cmd.MarkFlagsMutuallyExclusive("organisation", "project", "cluster", "installation")
}

func (s *scopeFlags) scope(ctx context.Context, a *app, c *api.Client) (api.Scope, error) {
	switch {
	case s.organisation != "":
		o, err := pickOrganisation(ctx, c, s.organisation)
		return api.Scope{Scope: string(link.ScopeOrganisation), ScopeID: o.ID}, err
	case s.project != "":
		p, err := pickProject(ctx, c, s.project)
		return api.Scope{Scope: string(link.ScopeProject), ScopeID: p.ID}, err
	case s.cluster != "":
		cl, err := a.pickCluster(ctx, c, s.cluster)
		return api.Scope{Scope: string(link.ScopeCluster), ScopeID: cl.ID}, err
	}
	return api.Scope{Scope: string(link.ScopeInstallation)}, nil
}

// roleArg reads a role from a command line, where it may be written as people do: cluster-admin.
func roleArg(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

func (a *app) memberCommand() *cobra.Command {
	var in scopeFlags
	list := a.verb("list", "List who holds which role there and beneath", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		scope, err := in.scope(ctx, a, c)
		if err != nil {
			return err
		}
		all, err := everyMember(ctx, c, scope)
		if err != nil {
			return err
		}
		return a.show(api.MemberList{Members: all}, &table{head: []string{"NAME", "E-MAIL", "KIND", "ROLE", "SCOPE", "SCOPE ID", "SINCE"}, none: "no members"}, func(t *table) {
			for _, m := range all {
				t.add(m.Name, m.Email, plainKind(m.Kind), m.Role, m.Scope.Scope, m.ScopeID, when(m.CreatedAt, time.Now()))
			}
		})
	})
	var to scopeFlags
	var req api.AddMemberRequest
	add := a.verb("add EMAIL|ACCOUNT ROLE", "Give a person or a service account a role", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		var err error
		if req.Scope, err = to.scope(ctx, a, c); err != nil {
			return err
		}
		req.Role = roleArg(args[1])
		if strings.Contains(args[0], "@") {
			req.Email = args[0]
		} else if req.ServiceAccountID, err = serviceAccountID(ctx, c, args[0]); err != nil {
			return err
		}
		m, err := c.AddMember(ctx, req)
		if err != nil {
			return err
		}
		return a.done(m, "%s is %s of %s", m.Name, m.Role, strings.TrimSpace(m.Scope.Scope+" "+m.ScopeID))
	})
	add.Flags().StringVar(&req.Name, "name", "", "what a person who is new is called (default the address)")
	var from scopeFlags
	remove := a.verb("remove EMAIL|ACCOUNT ROLE", "Take a role away", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		scope, err := from.scope(ctx, a, c)
		if err != nil {
			return err
		}
		id, err := memberID(ctx, c, scope, args[0])
		if err != nil {
			return err
		}
		m, err := c.RemoveMember(ctx, scope, id, roleArg(args[1]))
		if err != nil {
			return err
		}
		return a.done(m, "%s is no longer %s of %s", m.Name, m.Role, strings.TrimSpace(m.Scope.Scope+" "+m.ScopeID))
	})
	in.add(list)
	to.add(add)
	from.add(remove)
	return noun("member", "members", "Who may do what, and where", list, add, remove)
}

func everyMember(ctx context.Context, c *api.Client, s api.Scope) ([]api.Member, error) {
	return everyPage(func(p api.Page) ([]api.Member, string, error) {
		l, err := c.Members(ctx, s, p)
		return l.Members, l.Pagination.NextPage, err
	})
}

// serviceAccountID is the id of the service account of an id or a name. An id need not be of one that the caller may see.
func serviceAccountID(ctx context.Context, c *api.Client, name string) (string, error) {
	if id, err := link.ParseID("ACCOUNT", name); err == nil {
		return string(id), nil
	}
	p, err := pickServiceAccount(ctx, c, name)
	return p.ID, err
}

// memberID finds the principal of an id, an e-mail address or a name among the members of a scope.
func memberID(ctx context.Context, c *api.Client, s api.Scope, name string) (string, error) {
	if id, err := link.ParseID("ACCOUNT", name); err == nil {
		return string(id), nil
	}
	all, err := everyMember(ctx, c, s)
	if err != nil {
		return "", err
	}
	var found string
	for _, m := range all {
		if m.Email != name && (m.Email != "" || m.Name != name) {
			continue
		}
		if found != "" && found != m.PrincipalID {
			return "", usagef(`give the id, as "postern member list --output json" shows it`, "several members are called %s", link.Quote(name))
		}
		found = m.PrincipalID
	}
	if found == "" {
		return "", &link.Error{
			Kind: link.NotFound, Reason: "UNKNOWN_MEMBER", Message: "no member has this e-mail address, name or id: " + link.Quote(name),
			Hint: `"postern member list" shows them`,
		}
	}
	return found, nil
}
