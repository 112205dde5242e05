package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	began := r.now()
	endpoints, err := r.endpoints(ctx, d, s.Service, began)
	if err != nil {
		return 0, r.serviceFailed(ctx, s, err)
	}
	return todo.Look, r.takeIn(ctx, s.Service, endpoints, began)
}

// recordService stores how a service stands and returns it as stored.
func (r *Reconciler) recordService(ctx context.Context, s store.Service, p plan.ServicePlan, applied int64) (store.Service, error) {
	if !p.Changed && applied == s.AppliedVersion {
		return s, nil
	}
	ready := s.ServiceID != p.Service.ServiceID || s.State != p.Service.State
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
		if err := addNotes(tx, ref, p.Notes, nil, serviceOf(s.Service)); err != nil || !ready {
			return err
		}
		// Whoever waited for the service, or belonged to one that is no more, has to be looked at.
		conns, err := tx.ServiceConnections(s.Provider, s.Region)
		if err != nil {
			return err
		}
		for _, c := range conns {
			if err := tx.MarkEndpointDue(c.Provider, c.EndpointID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	return stored, nil
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

// endpoints lists a service's endpoints, by a list that others may share unless it has to have begun after a time.
func (r *Reconciler) endpoints(ctx context.Context, d cloud.Driver, s link.Service, after time.Time) ([]link.Endpoint, error) {
	es, began, err := r.lists.get(ctx, d, listKey(s), s.ServiceID, after)
	if err != nil {
		return nil, fmt.Errorf("list the endpoints of %s: %w", s.ServiceID, err)
	}
	out := make([]link.Endpoint, len(es))
	for i, e := range es {
		e.Provider, e.Region, e.ServiceID = s.Provider, s.Region, s.ServiceID
		e.SeenAt = began
		out[i] = e
	}
	return out, nil
}

func listKey(s link.Service) string { return string(s.Provider) + "/" + s.Region + "/" + s.ServiceID }

// takeIn stores a service's endpoints as listed, and marks due those that differ from what was known and have a
// connection or could be let in without one. began is no later than the beginning of the list. So a deletion or a rejection past Postern is noticed without a look at each connection.
func (r *Reconciler) takeIn(ctx context.Context, s link.Service, listed []link.Endpoint, began time.Time) error {
	var known []link.Endpoint
	err := r.cfg.Store.Read(ctx, func(tx *store.Tx) (err error) {
		known, err = tx.ServiceEndpoints(s.Provider, s.ServiceID)
		return err
	})
	if err != nil {
		return err
	}
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
	if len(news) == 0 && len(before) == 0 {
		return nil
	}
	// In one order, for each takes its endpoint's lock.
	slices.SortFunc(news, func(a, b link.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		for _, e := range news {
			if fresh, err := putEndpoint(tx, e); err != nil || !fresh {
				if err != nil {
					return err
				}
				continue
			}
			if err := markNews(tx, e); err != nil {
				return err
			}
		}
		for _, id := range slices.Sorted(maps.Keys(before)) {
			if err := tx.LockEndpoint(s.Provider, id); err != nil {
				return err
			}
			e, err := tx.Endpoint(s.Provider, id)
			if errors.Is(err, store.ErrNotFound) || err == nil && tx.SeenSince(e, began) {
				continue // a look at this endpoint saw it later than the list did
			}
			if err != nil {
				return err
			}
			if err := errors.Join(tx.RemoveEndpoint(s.Provider, id), tx.EndpointRulesChanged(s.Provider, id)); err != nil {
				return err
			}
			if err := markConnected(tx, s.Provider, id); err != nil {
				return err
			}
		}
		return nil
	})
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
