//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern/postern/api"
)

// clustersEach is how many clusters an organisation has, all in one project.
const clustersEach = 2

// tenant is an organisation with its clusters.
type tenant struct {
	id       string
	clusters []string
	keys     []string // API keys, each of a service account of its own
}

// settle makes the organisations, and an API key for each client: the n-th client is of organisation n modulo their number.
func (in *installation) settle(ctx context.Context, s setting) ([]*tenant, error) {
	op := in.operator(0)
	tenants := make([]*tenant, 0, s.Organisations)
	for n := range s.Organisations {
		t := &tenant{}
		o, err := op.CreateOrganisation(ctx, api.CreateOrganisationRequest{Name: fmt.Sprint("organisation ", n)})
		if err != nil {
			return nil, err
		}
		t.id = o.ID
		pr, err := op.CreateProject(ctx, api.CreateProjectRequest{OrganisationID: o.ID, Name: "shop"})
		if err != nil {
			return nil, err
		}
		for m := range clustersEach {
			c, err := op.CreateCluster(ctx, api.CreateClusterRequest{
				ProjectID: pr.ID, Name: fmt.Sprintf("shop-%d-%d", n, m), CloudProvider: "AWS", Regions: []string{region},
			})
			if err != nil {
				return nil, err
			}
			t.clusters = append(t.clusters, c.ID)
		}
		tenants = append(tenants, t)
	}
	for n := range s.Clients {
		t := tenants[n%len(tenants)]
		key, err := makeKey(ctx, op, t.id, fmt.Sprint("client ", n))
		if err != nil {
			return nil, err
		}
		t.keys = append(t.keys, key)
	}
	return tenants, in.serve(ctx, tenants[0].clusters[0])
}

func makeKey(ctx context.Context, op *api.Client, organisation, name string) (string, error) {
	sa, err := op.CreateServiceAccount(ctx, api.CreateServiceAccountRequest{OrganisationID: organisation, Name: name})
	if err != nil {
		return "", err
	}
	_, err = op.AddMember(ctx, api.AddMemberRequest{
		Scope: api.Scope{Scope: "ORGANISATION", ScopeID: organisation}, Role: "CLUSTER_ADMIN", ServiceAccountID: sa.ID,
	})
	if err != nil {
		return "", err
	}
	key, err := op.CreateAPIKey(ctx, sa.ID, api.CreateAPIKeyRequest{Name: "load"})
	return key.Key, err
}

// serve asks for the region's service and waits until it is there.
func (in *installation) serve(ctx context.Context, cluster string) error {
	op := in.operator(0)
	if _, err := op.CreateServices(ctx, cluster); err != nil {
		return err
	}
	return until(ctx, func() error {
		all, err := op.Services(ctx, cluster)
		switch {
		case err != nil:
			return err
		case len(all) == 0 || all[0].Name == "":
			return errors.New("the region's service is not there yet")
		}
		return nil
	})
}
