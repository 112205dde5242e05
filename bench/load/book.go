//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"

	"github.com/postern/postern/api"
)

// audit compares what clients were told with what is there, which it asks the control planes for in turns. It returns how
// many things it compared, and one line for each that is not as it was acknowledged.
func (in *installation) audit(ctx context.Context, tenants []*tenant, books []book) (compared int, wrong []string, err error) {
	want := book{}
	for _, b := range books {
		maps.Copy(want, b)
	}
	have := book{}
	n := 0
	for _, t := range tenants {
		for _, cluster := range t.clusters {
			n++
			if err := readBook(ctx, in.operator(n), cluster, have); err != nil {
				return 0, nil, err
			}
		}
	}
	for t, there := range want {
		switch {
		case there && !have[t]:
			wrong = append(wrong, fmt.Sprintf("the %s %s was acknowledged and is lost", t.kind, t.key))
		case !there && have[t]:
			wrong = append(wrong, fmt.Sprintf("the end of the %s %s was acknowledged and is lost", t.kind, t.key))
		}
	}
	for t, there := range have {
		if _, known := want[t]; there && !known {
			wrong = append(wrong, fmt.Sprintf("nobody made the %s %s", t.kind, t.key))
		}
	}
	return len(want), wrong, nil
}

// readBook adds what is there of a cluster.
func readBook(ctx context.Context, c *api.Client, cluster string, into book) error {
	connections, err := c.Connections(ctx, cluster)
	if err != nil {
		return err
	}
	for _, one := range connections {
		into[thing{connection, cluster, one.EndpointID}] = one.Status != api.StatusDeleted && one.Status != api.StatusDeleting
	}
	owners, err := c.TrustedOwners(ctx, cluster)
	if err != nil {
		return err
	}
	for _, one := range owners {
		into[thing{owner, cluster, one.ExternalOwnerID}] = true
	}
	for p := (api.Page{Limit: 500}); ; {
		list, err := c.AllowList(ctx, cluster, p)
		if err != nil {
			return err
		}
		for _, one := range list.AllowList {
			if one.CIDRMask == 32 { // a new cluster's own entry admits everybody
				into[thing{entry, cluster, one.CIDRIP}] = true
			}
		}
		if p.Token = list.Pagination.NextPage; p.Token == "" {
			return nil
		}
	}
}
