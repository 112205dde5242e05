package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/cloud"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/plan"
	"github.com/postern/postern/internal/store"
)

// mostSteps bounds the steps of one look. An endpoint needs one action and a second observation; more would be a fight
// with somebody, to be gone on with at the next look.
const mostSteps = 3

// lookAtEndpoint brings an endpoint to where its connections want it: observe, plan, act, and observe again.
func (r *Reconciler) lookAtEndpoint(ctx context.Context, p link.Provider, name string) (time.Duration, error) {
	var after time.Time
	for step := 1; ; step++ {
		v, err := r.view(ctx, p, link.EndpointID(name))
		if err != nil {
			return 0, err
		}
		if len(v.services) == 0 && len(v.facts.Wishes) == 0 {
			return 0, errGone
		}
		if err := r.observe(ctx, &v, after); err != nil {
			return 0, r.unreachable(ctx, v, err)
		}
		v.facts.Now = r.now()
		todo := plan.Endpoint(v.facts)
		if todo.Action == plan.Nothing || step == mostSteps {
			return todo.Look, r.record(ctx, v, todo.Connections)
		}
		if err := r.remember(ctx, v); err != nil {
			return 0, err
		}
		var no *cloud.Refusal
		err = r.act(ctx, v, todo.Action)
		switch {
		case errors.As(err, &no):
			return r.cfg.Cadence.Slow, r.refused(ctx, v, todo, plan.Refusal{Code: no.Code, Message: no.Message})
		case err != nil && !errors.Is(err, cloud.ErrNotFound): // what is not there any more is observed next
			return 0, r.unreachable(ctx, v, err)
		}
		r.cfg.Log.Info("told the cloud", "action", todo.Action.String(), "endpoint", name, "service", v.home.ServiceID)
		if err == nil && len(v.facts.Wishes) == 0 {
			if err := r.tellAccepted(ctx, v); err != nil {
				return 0, err
			}
		}
		after = r.cfg.Now()
	}
}

// seesNews tells whether the cloud shows something of the endpoint that the books do not have.
func (v view) seesNews() bool {
	e := v.facts.Endpoint
	return e != nil && (e.ServiceID != v.known.ServiceID || e.OwnerID != v.known.OwnerID || e.State != v.known.State)
}

// remember writes down an endpoint of a large service before anything is done about it: once it is let in, only its owner
// leads to it, whatever becomes of this look.
func (r *Reconciler) remember(ctx context.Context, v view) error {
	if v.owner != "" || plan.Whole(r.size(v.home)) {
		return nil
	}
	return r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := putEndpoint(tx, *v.facts.Endpoint)
		return err
	})
}

// view is what is known about an endpoint: what the books say, and then what the cloud shows.
type view struct {
	provider link.Provider
	id       link.EndpointID
	services []link.Service // those of the regions of all its clusters
	owner    string         // the account that owned it when it was last seen; empty when it never was
	known    link.Endpoint  // as the books have it; zero when they do not
	home     link.Service   // the one that has it; zero when none does
	facts    plan.EndpointFacts
}

// view reads the books.
func (r *Reconciler) view(ctx context.Context, p link.Provider, id link.EndpointID) (view, error) {
	v := view{provider: p, id: id, facts: plan.EndpointFacts{Cadence: r.cfg.Cadence, Expiry: r.cfg.Expiry}}
	err := r.cfg.Store.Read(ctx, func(tx *store.Tx) error {
		conns, err := tx.EndpointConnections(p, id)
		if err != nil {
			return err
		}
		for _, c := range conns {
			if err := v.add(tx, c); err != nil {
				return err
			}
		}
		e, err := tx.Endpoint(p, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case len(conns) == 0:
			return v.unregistered(tx, e)
		default:
			v.owner, v.known = e.OwnerID, e
		}
		for _, s := range v.services {
			if err := r.learnSize(tx, s); err != nil {
				return err
			}
		}
		return nil
	})
	return v, err
}

// learnSize takes from the books how many endpoints a service has that this process has not listed yet.
func (r *Reconciler) learnSize(tx *store.Tx, s link.Service) error {
	r.mu.Lock()
	_, known := r.sizes[listKey(s)]
	r.mu.Unlock()
	if known {
		return nil
	}
	_, n, err := tx.ServiceList(s.Provider, s.ServiceID)
	if err == nil {
		r.setSize(s, n)
	}
	return err
}

// unregistered takes the service of an endpoint without connections into the view, and who trusts the endpoint's owner.
func (v *view) unregistered(tx *store.Tx, e link.Endpoint) error {
	v.owner, v.known = e.OwnerID, e
	s, err := tx.Service(e.Provider, e.Region)
	if errors.Is(err, store.ErrNotFound) || err == nil && s.ServiceID != e.ServiceID {
		return nil
	}
	if err != nil {
		return err
	}
	v.services = append(v.services, s.Service)
	v.facts.Owners, err = tx.Trusting(e.OwnerID)
	return err
}

// tellAccepted writes into the service's history that an endpoint was let in for which no connection could tell it.
func (r *Reconciler) tellAccepted(ctx context.Context, v view) error {
	return r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		ref := link.ObjectRef{Kind: link.ObjectService, ID: string(v.home.Provider) + "/" + v.home.Region}
		return addNotes(tx, ref, []plan.Note{{
			Type: plan.NoteAccepted, Reason: link.ReasonOwnerTrusted,
			Message: fmt.Sprintf("endpoint %s, which no cluster has a connection with, was let in to be claimed: a cluster trusts its owner %s", v.id, v.facts.Endpoint.OwnerID),
		}}, nil, nil)
	})
}

// add takes a connection and the services of its cluster's regions, or of its project's one region, into the view.
func (v *view) add(tx *store.Tx, c link.Connection) error {
	w, regions := plan.Wish{Connection: c}, []string{c.Region}
	var err error
	if c.ProjectID != "" {
		w.Owners, err = tx.ProjectTrustedOwners(c.ProjectID)
	} else {
		w.Owners, regions, err = ofCluster(tx, c.ClusterID)
	}
	if err != nil {
		return err
	}
	if v.owner == "" {
		v.owner = c.OwnerID
	}
	// Also the region in which it was seen, should the cluster have left it since.
	if c.Region != "" && !slices.Contains(regions, c.Region) {
		regions = append(regions, c.Region)
	}
	for _, region := range regions {
		s, err := tx.Service(c.Provider, region)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if s.ServiceID == "" {
			continue
		}
		// That an endpoint is gone can be told only by the service of the region in which it was seen.
		w.ServiceReady = w.ServiceReady || c.Region == "" || c.Region == s.Region
		if !slices.ContainsFunc(v.services, func(have link.Service) bool { return have.ServiceID == s.ServiceID }) {
			v.services = append(v.services, s.Service)
		}
	}
	v.facts.Wishes = append(v.facts.Wishes, w)
	return nil
}

// ofCluster returns whom a cluster trusts and its regions.
func ofCluster(tx *store.Tx, id link.ID) (owners []link.TrustedOwner, regions []string, err error) {
	cl, err := tx.Cluster(id)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range cl.Regions {
		regions = append(regions, r.Name)
	}
	owners, err = tx.TrustedOwners(id)
	return owners, regions, err
}

// observe looks for the endpoint at the services, by lists that began after a time, and completes the view with it.
func (r *Reconciler) observe(ctx context.Context, v *view, after time.Time) error {
	var failed []error
	for _, s := range v.services {
		d, err := r.driver(s.Provider, s.Region)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		e, err := r.sight(ctx, d, s, v.id, v.owner, after)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if e != nil {
			v.home, v.facts.Endpoint, v.facts.ServiceName = s, e, s.Name
			return nil
		}
	}
	// Not to have found it means something only where all were asked.
	return errors.Join(failed...)
}

func (r *Reconciler) act(ctx context.Context, v view, a plan.Action) error {
	d, err := r.driver(v.home.Provider, v.home.Region)
	if err != nil {
		return err
	}
	if err := r.decide(ctx, d, v.home, v.id, a); err != nil {
		return fmt.Errorf("%s endpoint %s: %w", a, v.id, err)
	}
	return nil
}

// record stores what was observed and how the connections stand, in one transaction.
func (r *Reconciler) record(ctx context.Context, v view, conns []plan.ConnectionPlan) error {
	over, news := true, v.seesNews()
	for _, c := range conns {
		over = over && c.Connection.Want == link.WantGone && c.Connection.State == link.Deleted
		news = news || c.Changed
	}
	if !news { // most looks at what is under way: they must not wait for the writer
		if over {
			return errGone
		}
		return nil
	}
	err := r.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if e := v.facts.Endpoint; e != nil {
			if _, err := putEndpoint(tx, *e); err != nil {
				return err
			}
		}
		for _, c := range conns {
			if !c.Changed {
				continue
			}
			if err := recordConnection(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && over {
		return errGone
	}
	return err
}

func recordConnection(tx *store.Tx, p plan.ConnectionPlan) error {
	c := p.Connection
	old, err := tx.ConnectionNow(c)
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrChanged
	}
	if err != nil {
		return err
	}
	if _, err := tx.SwapConnection(c); err != nil {
		return err
	}
	if old.State != c.State || old.Want != c.Want || old.Approved != c.Approved {
		if err := tx.ConnectionRulesChanged(c); err != nil {
			return err
		}
	}
	return addNotes(tx, c.Ref(), p.Notes, audit.ConnectionOf(old), audit.ConnectionOf(c))
}

// refused records that the cloud said no to an action, at the connections on whose behalf it was asked.
func (r *Reconciler) refused(ctx context.Context, v view, todo plan.EndpointPlan, no plan.Refusal) error {
	r.cfg.Log.Warn("the cloud refused", "action", todo.Action.String(), "endpoint", v.id, "code", no.Code, "message", no.Message)
	if len(todo.Connections) == 0 {
		return nil // nobody to tell; it is tried again all the same
	}
	var conns []plan.ConnectionPlan
	for _, c := range todo.Connections {
		accepting := link.ConditionOf(c.Connection.Conditions, link.ConditionAccepted).Reason == link.ReasonAccepting
		if todo.Action != plan.Accept || accepting {
			// From where the connection stands now, so that a refusal that goes on is not told again and again.
			i := slices.IndexFunc(v.facts.Wishes, func(w plan.Wish) bool { return w.Connection.Ref() == c.Connection.Ref() })
			before := v.facts.Wishes[i].Connection
			before.Region, before.ServiceID, before.ServiceName, before.OwnerID = c.Connection.Region, c.Connection.ServiceID, c.Connection.ServiceName, c.Connection.OwnerID
			c = plan.Refused(before, todo.Action, no, r.now())
			c.Changed = true
		}
		conns = append(conns, c)
	}
	return r.record(ctx, v, conns)
}

// unreachable records that the cloud could not be asked, and returns why.
func (r *Reconciler) unreachable(ctx context.Context, v view, failure error) error {
	if ctx.Err() != nil {
		return failure
	}
	v.facts.Endpoint = nil
	var conns []plan.ConnectionPlan
	for _, w := range v.facts.Wishes {
		conns = append(conns, plan.Unreachable(w.Connection, r.now()))
	}
	if err := r.record(ctx, v, conns); err != nil && !errors.Is(err, errGone) && !errors.Is(err, store.ErrChanged) {
		return errors.Join(failure, err)
	}
	return failure
}
