package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/store"
)

// takeDown removes a service from the cloud and then from the books. It needs the service's own row alone: the region, its
// clusters and their connections may be gone long since. The row stays until the cloud has let the service go, so that
// whoever looks sees what is left and why.
func (r *Reconciler) takeDown(ctx context.Context, d cloud.Driver, s store.Service) (time.Duration, error) {
	todo := plan.Service(plan.ServiceFacts{Service: s.Service, AppliedVersion: s.AppliedVersion, Gone: true, Now: r.now(), Cadence: r.cfg.Cadence})
	s, err := r.recordService(ctx, s, todo, s.AppliedVersion)
	if err != nil {
		return 0, err
	}
	if s.ServiceID != "" {
		if err := r.turnAway(ctx, d, s.Service); err != nil {
			return 0, r.notDeleted(ctx, s, err)
		}
	}
	if err := d.DeleteService(ctx, r.serviceKey(s.Region)); err != nil {
		return 0, r.notDeleted(ctx, s, err)
	}
	return 0, r.forget(ctx, s)
}

// turnAway rejects what is attached to a service: a cloud does not let go of one that is in use.
func (r *Reconciler) turnAway(ctx context.Context, d cloud.Driver, s link.Service) error {
	es, err := r.endpoints(ctx, d, s, cloud.Query{}, r.now())
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var ids []link.EndpointID
	for _, e := range es {
		if slices.Contains([]link.State{link.PendingAcceptance, link.Pending, link.Available}, e.State) {
			ids = append(ids, e.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	for _, err := range d.Reject(ctx, s.ServiceID, ids...) {
		// What cannot be rejected may be on its way out by itself. Whether it is in the way, the deletion tells.
		if no := (*cloud.Refusal)(nil); err != nil && !errors.Is(err, cloud.ErrNotFound) && !errors.As(err, &no) {
			return err
		}
	}
	return nil
}

// notDeleted records why a service is still there, and returns why.
func (r *Reconciler) notDeleted(ctx context.Context, s store.Service, failure error) error {
	no, refused := errors.AsType[*cloud.Refusal](failure)
	if !refused || ctx.Err() != nil {
		return r.serviceFailed(ctx, s, failure)
	}
	p := plan.ServiceNotDeleted(s.Service, plan.Refusal{Code: no.Code, Message: no.Message}, no.Reason == cloud.EndpointsAttached, r.now())
	if _, err := r.recordService(ctx, s, p, s.AppliedVersion); err != nil {
		return errors.Join(failure, err)
	}
	return failure
}

// forget takes a service that is no more, its endpoints and its region out of the books. Their histories stay.
func (r *Reconciler) forget(ctx context.Context, s store.Service) error {
	err := r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		ids, err := tx.EndpointsSeenIn(s.Provider, s.Region)
		if err != nil {
			return err
		}
		for _, of := range []string{link.ObjectService, link.ObjectRegion} {
			ref := link.ObjectRef{Kind: of, ID: string(s.Provider) + "/" + s.Region}
			err = errors.Join(err, addNotes(tx, ref, []plan.Note{{Type: plan.NoteDeleted, Reason: link.ReasonDeleting, Message: "the service is gone from the cloud"}}, nil, nil))
		}
		if s.ServiceID != "" {
			err = errors.Join(err, tx.ServiceRulesChanged(s.Provider, s.ServiceID), tx.RemoveServiceEndpoints(s.Provider, s.ServiceID))
		}
		return errors.Join(err, markAll(tx, s.Provider, ids), tx.RemoveRegion(s.Provider, s.Region), tx.RemoveService(s))
	})
	if err != nil {
		return err
	}
	return errGone
}
