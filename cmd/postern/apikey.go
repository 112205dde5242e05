package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

func (a *app) apiKeyCommand() *cobra.Command {
	var account string
	list := a.verb("list", "List API keys", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		id, err := keysOf(ctx, c, account)
		if err != nil {
			return err
		}
		all, err := everyPage(func(p api.Page) ([]api.APIKey, string, error) {
			l, err := c.APIKeys(ctx, id, p)
			return l.APIKeys, l.Pagination.NextPage, err
		})
		if err != nil {
			return err
		}
		head := []string{"NAME", "KEY", "PREFIX", "STATE", "LIMITS", "CREATED", "BY", "EXPIRES", "LAST USED"}
		return a.show(api.APIKeyList{APIKeys: all}, &table{head: head, none: `no API keys; "postern api-key create" makes one`}, func(t *table) {
			for _, k := range all {
				expires := "never"
				if !k.ExpiresAt.IsZero() {
					expires = k.ExpiresAt.Format(time.DateTime)
				}
				t.add(k.Name, k.ID, k.Prefix+"…", k.State, limits(k), when(k.CreatedAt, time.Now()), k.CreatedBy, expires, when(k.LastUsedAt, time.Now()))
			}
		})
	})
	var req api.CreateAPIKeyRequest
	var ttl time.Duration
	var within keyScopeFlags
	create := a.verb("create NAME", "Make a key by which a program speaks for you or a service account", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		id, err := keysOf(ctx, c, account)
		if err != nil {
			return err
		}
		if req.Scope, err = within.scope(ctx, a, c); err != nil {
			return err
		}
		if ttl%time.Second != 0 {
			return usagef("give whole seconds, for example 720h", "--ttl cannot be %v", ttl)
		}
		req.Name, req.TTLSeconds, req.Ceiling = args[0], int(ttl/time.Second), roleArg(req.Ceiling)
		k, err := c.CreateAPIKey(ctx, id, req)
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(k)
		}
		until := "for ever"
		if !k.ExpiresAt.IsZero() {
			until = "until " + k.ExpiresAt.Format(time.DateTime)
		}
		_, err = fmt.Fprintf(a.out, `API key %s (%s) is good %s:

  %s

this is shown once; give it to programs as POSTERN_TOKEN, or to "postern login --with-key"
`, k.Name, k.ID, until, k.Key)
		return err
	})
	f := create.Flags()
	f.DurationVar(&ttl, "ttl", 0, "how long it is good, at most 8784h (default 2160h, or as long as the key that asks)")
	f.BoolVar(&req.NeverExpires, "never-expires", false, "for ever, which only the vendor's own may be")
	f.StringVar(&req.Ceiling, "ceiling", "", "let higher roles count as this one, for example viewer")
	within.add(create)
	create.MarkFlagsMutuallyExclusive("ttl", "never-expires")
	revoke := a.verb("revoke KEY", "End a key at once", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		id, err := keysOf(ctx, c, account)
		if err != nil {
			return err
		}
		key, err := link.ParseID("KEY", args[0])
		if err != nil {
			return err
		}
		k, err := c.RevokeAPIKey(ctx, id, string(key))
		if err != nil {
			return err
		}
		return a.done(k, "API key %s is no longer good", k.Name)
	})
	for _, cmd := range []*cobra.Command{list, create, revoke} {
		cmd.Flags().StringVar(&account, "account", "", "of this service account, by id or name (default your own)")
	}
	return noun("api-key", "api-keys", "Keys by which programs speak", list, create, revoke)
}

func keysOf(ctx context.Context, c *api.Client, account string) (string, error) {
	if account == "" {
		return ownID(ctx, c)
	}
	return serviceAccountID(ctx, c, account)
}

// keyScopeFlags say within what a key counts; nothing for everywhere.
type keyScopeFlags struct{ scopeFlags }

func (s *keyScopeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.organisation, "organisation", "", "let it count in this organisation alone, by id or name")
	f.StringVar(&s.project, "project", "", "let it count in this project alone, by id or name")
	f.StringVarP(&s.cluster, "cluster", "c", "", "let it count in this cluster alone, by id or name")
	cmd.MarkFlagsMutuallyExclusive("organisation", "project", "cluster")
}

func (s *keyScopeFlags) scope(ctx context.Context, a *app, c *api.Client) (*api.Scope, error) {
	if s.organisation == "" && s.project == "" && s.cluster == "" {
		return nil, nil
	}
	scope, err := s.scopeFlags.scope(ctx, a, c)
	return &scope, err
}

// limits says what a key leaves of its principal's roles.
func limits(k api.APIKey) string {
	var parts []string
	if k.Ceiling != "" {
		parts = append(parts, "at most "+k.Ceiling)
	}
	if k.Scope != nil {
		parts = append(parts, strings.ToLower(k.Scope.Scope)+" "+k.Scope.ScopeID)
	}
	return strings.Join(parts, ", ")
}
