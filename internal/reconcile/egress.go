package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/store"
)

const (
	// mostEgressSteps bounds the steps of one look: what is more than a removal of names, one of the endpoint and the
	// observation after each is gone on with at the next look.
	mostEgressSteps = 4

	keptEgress = 100 // egress endpoints of one cluster that are over
)

// egressKey names an egress private endpoint at the cloud. It holds the installation's id, so that two installations in
// one account keep apart.
func (r *Reconciler) egressKey(id link.ID) string {
	return "postern/" + r.cfg.Store.InstallationID() + "/egress/" + string(id)
}

// handleEgress is the handler of egress endpoints. Their work is named by cluster and id, where that of other objects is by
// provider and name.
func (r *Reconciler) handleEgress(ctx context.Context, w store.Work) store.Outcome {
	return r.handle(func(ctx context.Context, cluster link.Provider, id string) (time.Duration, error) {
		return r.lookAtEgress(ctx, link.ID(cluster), link.ID(id))
	})(ctx, w)
}

// egressView is what is known about an egress endpoint.
type egressView struct {
	region link.Region
	driver cloud.EgressDriver
	facts  plan.EgressFacts
}

// lookAtEgress brings an egress private endpoint to where it is wanted: observe, plan, write down, act, and observe again.
func (r *Reconciler) lookAtEgress(ctx context.Context, cluster, id link.ID) (time.Duration, error) {
	v, err := r.egressView(ctx, cluster, id)
	if err != nil {
		return 0, err
	}
	for step := 1; ; step++ {
		if err := r.observeEgress(ctx, &v); err != nil {
			return 0, r.egressUnreachable(ctx, v, err)
		}
		todo := plan.Egress(v.facts)
		// Before anything is done: names that may come to stand at the cloud have to be in the books.
		if err := r.recordEgress(ctx, &v, todo); err != nil {
			return 0, err
		}
		if todo.Over {
			return 0, errGone
		}
		if todo.Action == plan.EgressNothing || step == mostEgressSteps {
			return todo.Look, nil
		}
		again, err := r.actOnEgress(ctx, &v, todo)
		no, refused := errors.AsType[*cloud.Refusal](err)
		switch {
		case refused:
			r.cfg.Log.Warn("the cloud refused", "action", todo.Action.String(), "egress", id, "code", no.Code, "message", no.Message)
			told := plan.EgressRefused(v.facts, todo.Action, no.Reason, plan.Refusal{Code: no.Code, Message: no.Message})
			return told.Look, r.recordEgress(ctx, &v, told)
		case errors.Is(err, cloud.ErrNotFound): // what is not there any more is observed next
		case err != nil:
			return 0, r.egressUnreachable(ctx, v, err)
		case !again:
			return todo.Look, nil
		}
	}
}

// egressView reads the books.
func (r *Reconciler) egressView(ctx context.Context, cluster, id link.ID) (v egressView, err error) {
	err = r.cfg.Store.Read(ctx, func(tx *store.Tx) error {
		e, err := tx.Egress(cluster, id)
		if err != nil {
			return err
		}
		v.facts = plan.EgressFacts{Egress: e, Cadence: r.cfg.Cadence}
		if v.region, err = tx.Region(e.Provider, e.Region); err != nil {
			return err
		}
		account, err := tx.EgressAccount(e.Provider, e.Region)
		v.facts.Principal = link.AccountPrincipal(e.Region, account)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return v, errGone
	}
	if err != nil {
		return v, err
	}
	if v.driver, err = r.egressDriver(v.facts.Egress.Provider, v.facts.Egress.Region); err != nil {
		return v, r.egressUnreachable(ctx, v, err)
	}
	return v, nil
}

// errNoEgress: there is no way out by this provider yet.
var errNoEgress = errors.New("it makes no egress endpoints")

func (r *Reconciler) egressDriver(p link.Provider, region string) (cloud.EgressDriver, error) {
	d, err := r.driver(p, region)
	if err != nil {
		return nil, err
	}
	if e, ok := d.(cloud.EgressDriver); ok {
		return e, nil
	}
	return nil, fmt.Errorf("driver for %s/%s: %w", p, region, errNoEgress)
}

// observeEgress completes the view with what the cloud shows now.
func (r *Reconciler) observeEgress(ctx context.Context, v *egressView) error {
	seen, err := v.driver.Egress(ctx, r.egressKey(v.facts.Egress.ID))
	v.facts.Now, v.facts.Observed = r.now(), nil
	switch {
	case err == nil:
		v.facts.Observed = &plan.ObservedEgress{EndpointID: seen.EndpointID, State: seen.State, Address: seen.Address, Problem: seen.Problem}
	case !errors.Is(err, cloud.ErrNotFound):
		return fmt.Errorf("look at egress endpoint %s: %w", v.facts.Egress.ID, err)
	}
	return nil
}

// actOnEgress does what was planned, and reports whether there is something new to look at.
func (r *Reconciler) actOnEgress(ctx context.Context, v *egressView, todo plan.EgressPlan) (again bool, err error) {
	e := v.facts.Egress
	key := r.egressKey(e.ID)
	switch todo.Action {
	case plan.EgressEnsure:
		_, err = v.driver.EnsureEgress(ctx, cloud.EgressSpec{
			Key: key, Target: e.Target, VPCID: v.region.VPCID, SubnetIDs: v.region.SubnetIDs,
			Tags: map[string]string{
				"postern:installation": r.cfg.Store.InstallationID(), "postern:cluster": string(e.ClusterID), "postern:egress": string(e.ID),
				"Name": "postern egress " + string(e.ID),
			},
		})
		again = true
	case plan.EgressSetNames:
		err = v.driver.EnsureNames(ctx, cloud.NamesSpec{Key: key, VPCID: v.region.VPCID, Names: todo.Names, Gone: todo.Gone})
		if err == nil {
			err = r.recordEgress(ctx, v, plan.EgressNamed(e, todo.Names, todo.Gone, r.now()))
		}
		again = true
	case plan.EgressRemove:
		again, err = v.driver.DeleteEgress(ctx, key)
		v.facts.Gone = again && err == nil
	}
	if err != nil {
		return false, fmt.Errorf("%s of %s: %w", todo.Action, e.ID, err)
	}
	r.cfg.Log.Info("told the cloud", "action", todo.Action.String(), "egress", e.ID, "cluster", e.ClusterID, "endpoint", e.EndpointID)
	return again, nil
}

// recordEgress stores how an endpoint stands, and takes it over into the view.
func (r *Reconciler) recordEgress(ctx context.Context, v *egressView, p plan.EgressPlan) error {
	if !p.Changed && !p.Over {
		return nil
	}
	stored := v.facts.Egress
	err := r.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		// So that who asks for something in this moment does not lose to us.
		if err := tx.LockEgress(p.Egress.ID); err != nil {
			return err
		}
		if p.Changed {
			if stored, err = tx.SwapEgress(p.Egress); err != nil {
				return err
			}
		}
		was := v.facts.Egress
		ref := link.ObjectRef{Kind: link.ObjectEgress, ID: string(stored.ClusterID) + "/" + string(stored.ID)}
		if err := addNotes(tx, ref, p.Notes, audit.EgressOf(was), audit.EgressOf(stored)); err != nil || !p.Over {
			return err
		}
		return tx.TrimEgress(stored.ClusterID, keptEgress)
	})
	if err == nil {
		v.facts.Egress = stored
	}
	return err
}

// egressUnreachable records that the cloud could not be asked, and returns why.
func (r *Reconciler) egressUnreachable(ctx context.Context, v egressView, failure error) error {
	if ctx.Err() != nil || errors.Is(failure, store.ErrChanged) {
		return failure
	}
	p := plan.EgressUnreachable(v.facts.Egress, r.now())
	if err := r.recordEgress(ctx, &v, p); err != nil && !errors.Is(err, store.ErrChanged) {
		return errors.Join(failure, err)
	}
	return failure
}

// lookAtEgressAccount finds out in whose name the egress endpoints of a region are made, so that customers can be told
// before they ask for one.
func (r *Reconciler) lookAtEgressAccount(ctx context.Context, p link.Provider, region string) (time.Duration, error) {
	d, err := r.egressDriver(p, region)
	if errors.Is(err, errNoEgress) {
		return 0, errGone
	}
	if err != nil {
		return 0, err
	}
	account, err := d.Account(ctx)
	if err != nil {
		return 0, err
	}
	return 0, r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if known, err := tx.EgressAccount(p, region); err == nil && known == account {
			return nil
		}
		return tx.PutEgressAccount(p, region, account)
	})
}

// learnAccounts has the accounts found out of regions that are older than egress endpoints.
func (r *Reconciler) learnAccounts(ctx context.Context) error {
	return r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		regions, err := tx.Regions()
		if err != nil {
			return err
		}
		for _, region := range regions {
			_, err := tx.EgressAccount(region.Provider, region.Name)
			if errors.Is(err, store.ErrNotFound) {
				err = tx.MarkEgressAccountDue(region.Provider, region.Name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
