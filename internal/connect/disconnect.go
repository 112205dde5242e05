package connect

import (
	"context"
	"fmt"
	"slices"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// Disconnect takes the connection of req away again: first the names, so that nothing new is led to the endpoint, then
// the registration, by which the gateway cuts what still flows, then the endpoint. What connect did not make stays: a
// zone or an endpoint of somebody else's, an endpoint that another cluster uses too, and the account's trust, which
// other connections may rest on. It is idempotent and goes on where an earlier run stopped.
func Disconnect(ctx context.Context, cfg Config, req Request, progress func(StepEvent)) (Result, error) {
	r := newRun(cfg, progress)
	err := r.disconnect(ctx, req)
	if err != nil {
		r.fail(err)
	}
	return r.result, err
}

func (r *run) disconnect(ctx context.Context, req Request) error {
	r.start(StepRecords, "looking at both sides")
	if err := r.read(ctx, req); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.removeNames, r.deregister, r.removeEndpoint} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.start(StepTrust, "")
	r.finish(Skipped, "the cluster goes on trusting account "+r.plan.AccountID)
	return nil
}

// removeNames takes away the records, and the zone when connect made it; or disables private DNS.
func (r *run) removeNames(ctx context.Context) error {
	p := r.plan
	if p.Request.DNS == DNSPrivate {
		r.start(StepZone, "disabling private DNS on the endpoint")
		if p.endpoint == nil || !p.endpoint.privateDNS {
			r.finish(Already, "private DNS is not enabled")
			return nil
		}
		if err := r.account.setPrivateDNS(ctx, p.endpoint.id, false); err != nil {
			return err
		}
		r.result.Changed = true
		r.finish(Done, "private DNS is disabled")
		return nil
	}
	if p.zone == nil {
		r.finish(Already, "there is no private zone "+p.PrivateName)
		return nil
	}
	if changes := p.zone.removable(p.DNS.Target); len(changes) > 0 {
		if _, err := r.account.change(ctx, p.zone.id, changes); err != nil {
			return err
		}
		r.result.Changed = true
		r.finish(Done, fmt.Sprintf("%d records removed from %s", len(changes), p.zone.name))
	} else {
		r.finish(Already, "nothing of ours is in "+p.zone.name)
	}
	r.start(StepZone, "deleting the private zone "+p.zone.name)
	if !p.zone.ours {
		r.finish(Skipped, "the zone was not made by postern and stays")
		return nil
	}
	if err := r.account.deleteZone(ctx, p.zone.id); err != nil {
		return err
	}
	r.result.Changed = true
	r.finish(Done, p.zone.name+" is deleted")
	return nil
}

// deregister takes the connection away at Postern. When the endpoint is gone already, connections of this account to
// endpoints that are deleted are what is left of it.
func (r *run) deregister(ctx context.Context) error {
	r.start(StepRegistration, "taking the registration away")
	cluster := r.plan.Request.ClusterID
	var ids []string
	if r.plan.endpoint != nil {
		if r.plan.connection != nil {
			ids = append(ids, string(r.plan.endpoint.id))
		}
	} else {
		conns, err := r.cfg.API.Connections(ctx, cluster)
		if err != nil {
			return apiError("list the connections", err)
		}
		for _, c := range conns {
			dead := c.Status == api.StatusDeleted || c.Status == api.StatusExpired || c.Status == api.StatusDeleting
			if dead && c.ExternalOwnerID == r.plan.AccountID && c.RegionName == r.plan.Request.Region {
				ids = append(ids, c.EndpointID)
			}
		}
	}
	if len(ids) == 0 {
		r.finish(Already, "nothing is registered")
		return nil
	}
	for _, id := range ids {
		if err := r.cfg.API.DeleteConnection(ctx, cluster, id); err != nil && !api.IsNotFound(err) {
			return apiError("take the registration away", err)
		}
	}
	r.result.Changed = true
	if r.endpointStays() {
		// The vendor's side can finish without the endpoint's end.
		if err := r.waitDeregistered(ctx, ids); err != nil {
			return err
		}
	}
	r.finish(Done, list(ids)+" is no longer registered")
	return nil
}

// endpointStays reports whether the endpoint is not for this run to delete.
func (r *run) endpointStays() bool {
	e := r.plan.endpoint
	return e == nil || e.madeBy != madeByConnect || slices.ContainsFunc(e.clusters, r.otherCluster)
}

func (r *run) otherCluster(id string) bool { return id != r.plan.Request.ClusterID }

// removeEndpoint deletes the endpoint and waits until both sides have forgotten it.
func (r *run) removeEndpoint(ctx context.Context) error {
	e := r.plan.endpoint
	r.start(StepEndpoint, "deleting the endpoint")
	switch {
	case e == nil:
		r.finish(Already, "there is no endpoint")
		return nil
	case e.madeBy != madeByConnect:
		r.finish(Skipped, fmt.Sprintf("%s was not made by postern connect and stays", e.id))
		return nil
	case slices.ContainsFunc(e.clusters, r.otherCluster):
		if slices.Contains(e.clusters, r.plan.Request.ClusterID) {
			if err := r.account.untagEndpoint(ctx, e.id, r.plan.Request.ClusterID); err != nil {
				return err
			}
			r.result.Changed = true
		}
		r.finish(Skipped, fmt.Sprintf("%s is used by another cluster and stays", e.id))
		return nil
	}
	if err := r.account.deleteEndpoint(ctx, e.id); err != nil {
		return err
	}
	r.result.Changed = true
	err := r.poll(ctx, func(ctx context.Context) (bool, string, error) {
		left, err := r.account.endpoint(ctx, e.id)
		if left == nil {
			return err == nil, "", err
		}
		return false, "AWS is deleting the endpoint", nil
	})
	if err != nil {
		return err
	}
	if err := r.waitDeregistered(ctx, []string{string(e.id)}); err != nil {
		return err
	}
	r.finish(Done, string(e.id)+" is deleted")
	return nil
}

// waitDeregistered waits until the vendor's side has done everything that it does when a connection goes.
func (r *run) waitDeregistered(ctx context.Context, ids []string) error {
	return r.poll(ctx, func(ctx context.Context) (bool, string, error) {
		conns, err := r.cfg.API.Connections(ctx, r.plan.Request.ClusterID)
		if err != nil {
			return false, "", apiError("list the connections", err)
		}
		for _, c := range conns {
			if slices.Contains(ids, c.EndpointID) && c.Status != api.StatusDeleted {
				return false, "vendor's side " + string(link.State(c.Status)), nil
			}
		}
		return true, "", nil
	})
}
