package control

import (
	"context"
	"errors"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Services lists the private endpoint services of a cluster's regions. A region whose service nobody asked for has none.
func (p *Plane) Services(ctx context.Context, c policy.Caller, clusterID link.ID) (out []link.Service, err error) {
	err = p.read(ctx, c, clusterRef(clusterID), func(tx *store.Tx) error {
		cl, err := cluster(tx, clusterID)
		if err != nil {
			return err
		}
		for _, r := range cl.Regions {
			s, err := tx.Service(cl.Provider, r.Name)
			switch {
			case err == nil:
				out = append(out, s.Service)
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		return nil
	})
	return out, err
}

// serviceValue is what the audit log says of a service that was asked for; the cloud is to give it the rest.
type serviceValue struct{ State link.ServiceState }

// CreateServices asks for the services of all of a cluster's regions and returns them. Those that exist stay as they are.
func (p *Plane) CreateServices(ctx context.Context, c policy.Caller, clusterID link.ID) (out []link.Service, err error) {
	err = p.act(ctx, c, policy.Change, link.ObjectRef{Kind: link.ObjectService}, clusterRef(clusterID), func(ch *change) error {
		cl, err := cluster(ch.Tx, clusterID)
		if err != nil {
			return err
		}
		out = nil
		for _, r := range cl.Regions {
			s, made, err := ch.AddService(cl.Provider, r.Name)
			if err != nil {
				return err
			}
			if made {
				ref := link.ObjectRef{Kind: link.ObjectService, ID: regionKey(cl.Provider, r.Name)}
				if err := ch.changed(ref, eventCreated, "", nil, serviceValue{s.State}, "the service of %s was asked for", r.Name); err != nil {
					return err
				}
			}
			out = append(out, s.Service)
		}
		return nil
	})
	return out, err
}
