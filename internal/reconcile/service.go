package reconcile

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// serviceKey names a region's service at the cloud. The installation's id keeps two installations in one account apart;
// a load balancer's name, which is made of it, holds 32 characters.
func (r *Reconciler) serviceKey(region string) string {
	const most = 32
	key := "postern-" + r.cfg.Store.InstallationID() + "-" + region
	return key[:min(len(key), most)]
}

// lookAtService makes a region's service stand at the cloud, and takes in the list of its endpoints.
func (r *Reconciler) lookAtService(ctx context.Context, p link.Provider, region string) (time.Duration, error) {
	var s store.Service
	var desired link.Region
	err := r.cfg.Store.Read(ctx, func(tx *store.Tx) (err error) {
		if s, err = tx.Service(p, region); err != nil {
			return err
		}
		desired, err = tx.Region(p, region)
		if errors.Is(err, store.ErrNotFound) {
			s.Gone, err = true, nil // what the region was made of is not needed to take it down
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return 0, errGone
	}
	if err != nil {
		return 0, err
	}
	d, err := r.driver(p, region)
	if err != nil {
		return 0, r.serviceFailed(ctx, s, err)
	}
	if s.Gone {
		return r.takeDown(ctx, d, s)
	}
	facts := plan.ServiceFacts{Region: desired, Service: s.Service, AppliedVersion: s.AppliedVersion, Cadence: r.cfg.Cadence}
	if r.cfg.Domain != "" {
		facts.PrivateDNSName = link.PrivateWildcard(region, r.cfg.Domain)
	}
	key := r.serviceKey(region)

	seen, err := d.Service(ctx, key)
	switch {
	case err == nil:
		facts.Observed = observed(seen)
	case !errors.Is(err, cloud.ErrNotFound):
		return 0, r.serviceFailed(ctx, s, err)
	}
	facts.Now = r.now()
	todo := plan.Service(facts)
	if todo.Ensure {
		// What is known so far goes into the books first: should this process end in the middle, people see why.
		if s, err = r.recordService(ctx, s, todo, s.AppliedVersion); err != nil {
			return 0, err
		}
		seen, err = d.EnsureService(ctx, cloud.ServiceSpec{
			Key: key, VPCID: desired.VPCID, SubnetIDs: desired.SubnetIDs, Ports: desired.Ports, Targets: desired.Targets,
			Principals: plan.Principals(), PrivateDNSName: facts.PrivateDNSName,
		})
		if err != nil {
			return 0, r.serviceFailed(ctx, s, err)
		}
		facts.Service, facts.Observed, facts.Ensured, facts.Now = s.Service, observed(seen), true, r.now()
		todo = plan.Service(facts)
	}
	if s, err = r.recordService(ctx, s, todo, todo.AppliedVersion); err != nil {
		return 0, err
	}
	if s.ServiceID == "" {
		return todo.Look, nil
	}
	return todo.Look, r.inspect(ctx, d, s)
}

// inspect lists a service's endpoints and takes in what is new: all of them when a full list is due, and otherwise those
// that arrive.
func (r *Reconciler) inspect(ctx context.Context, d cloud.Driver, of store.Service) error {
	s := of.Service
	began := r.now()
	var last time.Time
	var size int
	err := r.cfg.Store.Read(ctx, func(tx *store.Tx) (err error) {
		last, size, err = tx.ServiceList(s.Provider, s.ServiceID)
		return err
	})
	if err != nil {
		return err
	}
	size = max(size, r.size(s))
	// Whole lists are due with every look. A clock that was set back puts none off.
	if since := began.Sub(last); !last.IsZero() && !plan.Whole(size) && since >= 0 && since < jitter(r.cfg.Cadence.FullList(size)) {
		es, err := r.endpoints(ctx, d, s, cloud.Query{Arriving: true}, began)
		if err != nil {
			return r.serviceFailed(ctx, of, err)
		}
		return r.takeIn(ctx, s, es, nil, began)
	}
	es, err := r.endpoints(ctx, d, s, cloud.Query{}, began)
	if err != nil {
		return r.serviceFailed(ctx, of, err)
	}
	var known []link.Endpoint
	err = r.cfg.Store.Read(ctx, func(tx *store.Tx) (err error) {
		known, err = tx.ServiceEndpoints(s.Provider, s.ServiceID)
		return err
	})
	if err == nil {
		err = r.takeIn(ctx, s, es, known, began)
	}
	if err != nil || plan.Whole(len(es)) && plan.Whole(size) {
		return err
	}
	return r.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutServiceList(s.Provider, s.ServiceID, began, len(es)) })
}

// recordService stores how a service stands and returns it as stored.
func (r *Reconciler) recordService(ctx context.Context, s store.Service, p plan.ServicePlan, applied int64) (store.Service, error) {
	if !p.Changed && applied == s.AppliedVersion {
		return s, nil
	}
	fresh := p.Service.ServiceID != "" && s.ServiceID != p.Service.ServiceID
	lost := ""
	if s.ServiceID != p.Service.ServiceID {
		lost = s.ServiceID
	}
	s.Service, s.AppliedVersion = p.Service, applied
	stored := s
	err := r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.SwapService(s); err != nil {
			return err
		}
		stored = s
		stored.Version++
		stored.UpdatedAt = tx.Now()
		ref := link.ObjectRef{Kind: link.ObjectService, ID: string(s.Provider) + "/" + s.Region}
		if lost != "" { // and its endpoints with it: no list will ever show them again
			if err := errors.Join(tx.ServiceRulesChanged(s.Provider, lost), tx.RemoveServiceEndpoints(s.Provider, lost)); err != nil {
				return err
			}
		}
		if err := addNotes(tx, ref, p.Notes, nil, serviceOf(s.Service)); err != nil || lost == "" {
			return err
		}
		// Whoever belonged to a service that is no more has to be looked at.
		ids, err := tx.EndpointsSeenIn(s.Provider, s.Region)
		if err != nil {
			return err
		}
		return markAll(tx, s.Provider, ids)
	})
	if err != nil {
		return s, err
	}
	if fresh {
		err = r.wake(ctx, stored.Service)
	}
	return stored, err
}

// mostWritten bounds how many objects one transaction writes: other writers wait for it.
const mostWritten = 200

// wake looks at the connections that waited for a service. They would be looked at without it, later.
func (r *Reconciler) wake(ctx context.Context, s link.Service) error {
	var ids []link.EndpointID
	err := r.cfg.Store.Read(ctx, func(tx *store.Tx) (err error) {
		ids, err = tx.EndpointsAwaitedIn(s.Provider, s.Region)
		return err
	})
	for some := range slices.Chunk(ids, mostWritten) {
		if err == nil {
			err = r.cfg.Store.Write(ctx, func(tx *store.Tx) error { return markAll(tx, s.Provider, some) })
		}
	}
	return err
}

func markAll(tx *store.Tx, p link.Provider, ids []link.EndpointID) error {
	for _, id := range ids {
		if err := tx.MarkEndpointDue(p, id); err != nil {
			return err
		}
	}
	return nil
}

// serviceValue is what the audit log says of a service.
type serviceValue struct {
	State     link.ServiceState `json:"state"`
	ServiceID string            `json:"service_id,omitempty"`
	Name      string            `json:"name,omitempty"`
	ZoneIDs   []string          `json:"zone_ids,omitempty"`
}

func serviceOf(s link.Service) serviceValue {
	return serviceValue{s.State, s.ServiceID, s.Name, s.ZoneIDs}
}

// serviceFailed records a failure in words for people, and returns it.
func (r *Reconciler) serviceFailed(ctx context.Context, s store.Service, failure error) error {
	if ctx.Err() != nil {
		return failure
	}
	var p plan.ServicePlan
	if no, ok := errors.AsType[*cloud.Refusal](failure); ok {
		p = plan.ServiceRefused(s.Service, plan.Refusal{Code: no.Code, Message: no.Message}, r.now())
	} else {
		p = plan.ServiceUnreachable(s.Service, r.now())
	}
	if _, err := r.recordService(ctx, s, p, s.AppliedVersion); err != nil {
		return errors.Join(failure, err)
	}
	return failure
}

func observed(s cloud.Service) *plan.ObservedService {
	o := &plan.ObservedService{
		ServiceID: s.ServiceID, Name: s.Name, State: s.State, ZoneIDs: s.ZoneIDs, Principals: s.Principals, Problem: s.Problem,
		PrivateDNSName: s.PrivateDNSName, PrivateDNSVerified: s.PrivateDNSVerified, PrivateDNSMissing: s.PrivateDNSMissing,
	}
	for _, t := range s.Targets {
		o.Targets = append(o.Targets, plan.ObservedTarget(t))
	}
	return o
}

// takeIn stores a service's endpoints as listed, and marks due those that differ from what was known and have a connection
// or could be let in without one. Of known, those that were not listed are gone; it is empty where not all were listed.
// began is no later than the beginning of the list. So a deletion or a rejection past Postern is noticed without a look at
// each connection.
func (r *Reconciler) takeIn(ctx context.Context, s link.Service, listed, known []link.Endpoint, began time.Time) error {
	before := make(map[link.EndpointID]link.Endpoint, len(known))
	for _, e := range known {
		before[e.ID] = e
	}
	var news []link.Endpoint
	for _, e := range listed {
		old, ok := before[e.ID]
		delete(before, e.ID)
		if !ok || old.State != e.State || old.OwnerID != e.OwnerID {
			news = append(news, e)
		}
	}
	for some := range slices.Chunk(news, mostWritten) {
		if err := r.takeInNews(ctx, some); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(before)), mostWritten) {
		err := r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			for _, id := range some {
				if err := takeOut(tx, s.Provider, id, began); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// takeInNews stores endpoints as listed. What the books say already costs no write.
func (r *Reconciler) takeInNews(ctx context.Context, listed []link.Endpoint) error {
	var news []link.Endpoint
	err := r.cfg.Store.Read(ctx, func(tx *store.Tx) error {
		for _, e := range listed {
			old, err := tx.Endpoint(e.Provider, e.ID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err != nil || old.ServiceID != e.ServiceID || old.State != e.State || old.OwnerID != e.OwnerID {
				news = append(news, e)
			}
		}
		return nil
	})
	if err != nil || len(news) == 0 {
		return err
	}
	// In one order, for each takes its endpoint's lock.
	slices.SortFunc(news, func(a, b link.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		for _, e := range news {
			fresh, err := putEndpoint(tx, e)
			if err == nil && fresh {
				err = markNews(tx, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// takeOut forgets an endpoint that a full list which began at a time did not show.
func takeOut(tx *store.Tx, p link.Provider, id link.EndpointID, began time.Time) error {
	if err := tx.LockEndpoint(p, id); err != nil {
		return err
	}
	e, err := tx.Endpoint(p, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && tx.SeenSince(e, began) {
		return nil // a look at this endpoint saw it later than the list did
	}
	if err != nil {
		return err
	}
	return errors.Join(tx.RemoveEndpoint(p, id), tx.EndpointRulesChanged(p, id), markConnected(tx, p, id))
}

// putEndpoint stores an endpoint as observed. The rules name endpoints by what the cloud shows, so news change those of the
// clusters that the endpoint has connections with.
func putEndpoint(tx *store.Tx, e link.Endpoint) (news bool, err error) {
	news, err = tx.PutEndpoint(e)
	if err != nil || !news {
		return news, err
	}
	return true, tx.EndpointRulesChanged(e.Provider, e.ID)
}

// markNews makes an endpoint due that has a connection, or that could be let in without one.
func markNews(tx *store.Tx, e link.Endpoint) error {
	if e.State == link.PendingAcceptance {
		owners, err := tx.Trusting(e.OwnerID)
		if err != nil {
			return err
		}
		if policy.Trusts(owners, e.Provider, e.OwnerID) {
			return tx.MarkEndpointDue(e.Provider, e.ID)
		}
	}
	return markConnected(tx, e.Provider, e.ID)
}

func markConnected(tx *store.Tx, p link.Provider, id link.EndpointID) error {
	conns, err := tx.EndpointConnections(p, id)
	if err != nil || len(conns) == 0 {
		return err
	}
	return tx.MarkEndpointDue(p, id)
}
