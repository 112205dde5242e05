package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/store"
)

// sighting is what the cloud shows of an account's endpoints at a service.
type sighting struct {
	endpoints []link.Endpoint
	err       error
}

// sight looks for one endpoint at a service, by as small a list as can show it: all of them while they fit a page; of a
// larger service those of the endpoint's owner, together with the owners that other looks ask for; and those that arrive
// while the owner is not known. So what a look costs does not grow with the service. An endpoint whose owner is not known
// and that somebody let in past us is found by the next full list.
func (r *Reconciler) sight(ctx context.Context, d cloud.Driver, s link.Service, id link.EndpointID, owner string, after time.Time) (*link.Endpoint, error) {
	var es []link.Endpoint
	var err error
	switch {
	case plan.Whole(r.size(s)):
		es, err = r.endpoints(ctx, d, s, cloud.Query{}, after)
	case owner != "":
		es, err = r.ownersEndpoints(ctx, d, s, owner)
	default:
		es, err = r.endpoints(ctx, d, s, cloud.Query{Arriving: true}, after)
	}
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(es, func(e link.Endpoint) bool { return e.ID == id }); i >= 0 {
		return &es[i], nil
	}
	return nil, nil
}

// ownersEndpoints lists the endpoints of an owner at a service, by a request that may be for many owners.
func (r *Reconciler) ownersEndpoints(ctx context.Context, d cloud.Driver, s link.Service, owner string) ([]link.Endpoint, error) {
	seen, err := r.owners.ask(ctx, listKey(s), owner, func(ctx context.Context, owners []string) []sighting {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
		began := r.now()
		es, err := d.Endpoints(ctx, s.ServiceID, cloud.Query{Owners: slices.Compact(slices.Sorted(slices.Values(owners)))})
		byOwner := map[string][]link.Endpoint{}
		for _, e := range placed(es, s, began) {
			byOwner[e.OwnerID] = append(byOwner[e.OwnerID], e)
		}
		out := make([]sighting, len(owners))
		for i, o := range owners {
			out[i] = sighting{byOwner[o], err}
		}
		return out
	})
	if err == nil {
		err = seen.err
	}
	if err != nil {
		return nil, fmt.Errorf("list an owner's endpoints of %s: %w", s.ServiceID, err)
	}
	return seen.endpoints, nil
}

// endpoints lists a service's endpoints, by a list that others may share unless it has to have begun after a time.
func (r *Reconciler) endpoints(ctx context.Context, d cloud.Driver, s link.Service, q cloud.Query, after time.Time) ([]link.Endpoint, error) {
	es, began, err := r.lists.get(ctx, d, listKey(s), s.ServiceID, q, after)
	if err != nil {
		return nil, fmt.Errorf("list the endpoints of %s: %w", s.ServiceID, err)
	}
	if !q.Arriving {
		r.setSize(s, len(es))
	}
	return placed(es, s, began), nil
}

// placed are endpoints as the books keep them.
func placed(es []link.Endpoint, s link.Service, seen time.Time) []link.Endpoint {
	out := make([]link.Endpoint, len(es))
	for i, e := range es {
		e.Provider, e.Region, e.ServiceID = s.Provider, s.Region, s.ServiceID
		e.SeenAt = seen
		out[i] = e
	}
	return out
}

func listKey(s link.Service) string { return string(s.Provider) + "/" + s.Region + "/" + s.ServiceID }

// size is how many endpoints a service had when it was last listed in full, as far as this process knows; 0 before.
func (r *Reconciler) size(s link.Service) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sizes[listKey(s)]
}

func (r *Reconciler) setSize(s link.Service, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes[listKey(s)] = n
}

// decide tells the cloud to let an endpoint in or to turn it away, together with others of the service for which other
// looks decide the same.
func (r *Reconciler) decide(ctx context.Context, d cloud.Driver, s link.Service, id link.EndpointID, a plan.Action) error {
	do := d.Accept
	if a == plan.Reject {
		do = d.Reject
	}
	// It outlives this look, but not this process's right to look: then another one decides.
	no, err := r.decisions.ask(ctx, a.String()+" "+listKey(s), id, func(run context.Context, ids []link.EndpointID) []error {
		ctx, cancel := context.WithTimeout(store.OnBehalf(run, ctx), r.cfg.Timeout)
		defer cancel()
		return do(ctx, s.ServiceID, ids...)
	})
	if err == nil {
		err = no
	}
	return err
}
