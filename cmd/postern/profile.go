package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// profileCommand is about the ports of the service, which are the same in every region and for every cluster.
func (a *app) profileCommand() *cobra.Command {
	tell := func(p api.ServiceProfile) error {
		return a.show(p, &table{
			head: []string{"PORT", "PROTOCOL", "TRAFFIC", "DENIED", "BACKEND PORT"}, none: "no port has a rule: each carries TLS or PostgreSQL",
		}, func(t *table) {
			for _, r := range p.Ports {
				t.add(strconv.Itoa(r.Port), orWord(r.Protocol, "TLS or POSTGRES"), orWord(r.Traffic, "any"), yesNo(r.Denied),
					orZero(r.BackendPort, "the backend's"))
			}
		})
	}
	show := a.verb("show", "Show what the ports of the service carry", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		p, err := c.ServiceProfile(ctx)
		if err != nil {
			return err
		}
		return tell(p)
	})
	set := a.verb("set RULE...", "Make these rules all that there are", cobra.MinimumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		var p api.ServiceProfile
		for _, arg := range args {
			r, err := portRule(arg)
			if err != nil {
				return err
			}
			p.Ports = append(p.Ports, r)
		}
		p, err := c.PutServiceProfile(ctx, p)
		if err != nil {
			return err
		}
		return tell(p)
	})
	set.Long = `Make these rules all that there are, in every region. A RULE is a port and what it carries, for example

  443=tls,ui    5432=postgres,sql    2022=tcp,to:22    3389=denied

tls, postgres or tcp say what flows on it (tcp is anything: the endpoint alone tells the cluster); ui or sql which allow-list
entries admit to it; to:PORT which port of the backends it leads to; denied that nothing passes.`
	clearAll := a.verb("clear", "Take all rules away: every port carries TLS or PostgreSQL", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		p, err := c.PutServiceProfile(ctx, api.ServiceProfile{Ports: []api.PortRule{}})
		if err != nil {
			return err
		}
		return tell(p)
	})
	return noun("profile", "", "What the ports of the service carry, in every region", show, set, clearAll)
}

// portRule reads a rule as it is typed.
func portRule(s string) (api.PortRule, error) {
	malformed := usagef("write it as 5432=postgres,sql or 2022=tcp,to:22 or 3389=denied", "not a rule of a port: %s", link.Quote(s))
	port, what, ok := strings.Cut(s, "=")
	n, err := strconv.Atoi(port)
	if !ok || err != nil {
		return api.PortRule{}, malformed
	}
	r := api.PortRule{Port: n}
	for word := range strings.SplitSeq(strings.ToLower(what), ",") {
		switch word {
		case "tls", "postgres", "tcp":
			r.Protocol = strings.ToUpper(word)
		case "ui", "sql":
			r.Traffic = strings.ToUpper(word)
		case "denied":
			r.Denied = true
		default:
			to, isTo := strings.CutPrefix(word, "to:")
			if r.BackendPort, err = strconv.Atoi(to); !isTo || err != nil || r.BackendPort == 0 {
				return api.PortRule{}, malformed
			}
		}
	}
	return r, nil
}
