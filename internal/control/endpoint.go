package control

import (
	"context"
	"errors"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// CloudEndpoints lists the endpoints as the cloud shows them that have a connection with the cluster or belong to an
// account that it trusts.
func (p *Plane) CloudEndpoints(ctx context.Context, c policy.Caller, clusterID link.ID) (out []link.Endpoint, err error) {
	err = p.read(ctx, c, part(link.ObjectEndpoint, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		out, err = tx.ClusterEndpoints(clusterID)
		return err
	})
	return out, err
}

// SetEndpointState accepts (AVAILABLE) or rejects (REJECTED) an endpoint for a cluster by an admin's own decision,
// whoever owns it, and returns the endpoint as it was. There needs to be no connection before; there is one afterwards.
func (p *Plane) SetEndpointState(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string, want link.State) (before link.Endpoint, err error) {
	if want != link.Available && want != link.Rejected {
		return link.Endpoint{}, invalid("status", "MALFORMED_STATUS", "an endpoint cannot be set to "+link.Quote(string(want)), "give AVAILABLE or REJECTED")
	}
	err = p.change(ctx, c, part(link.ObjectEndpoint, clusterID), func(ch *change) error {
		cl, id, err := clusterAndEndpoint(ch.Tx, clusterID, endpointID)
		if err != nil {
			return err
		}
		if before, err = observed(ch.Tx, cl, id); err != nil {
			return err
		}
		return ch.want(cl, id, func(ch *change, conn link.Connection, known bool) (link.Connection, bool, error) {
			ref, was := connectionRef(clusterID, id), valueOf(conn, known)
			if want == link.Rejected {
				if conn.Want == link.WantRejected {
					return conn, false, nil
				}
				if !known || conn.Want == link.WantGone {
					conn = anew(conn, ch.Now())
				}
				conn.Want, conn.State, conn.Approved = link.WantRejected, link.Rejected, false
				conn.Conditions = link.SetCondition(conn.Conditions, policy.RejectedByAdmin(), ch.Now())
				return conn, true, ch.changed(ref, eventRejected, link.ReasonRejectedByAdmin, was, audit.ConnectionOf(conn), "an admin rejected %s", id)
			}
			if known && conn.Approved && !lost(conn) {
				return conn, false, nil
			}
			if !known || lost(conn) {
				conn = anew(conn, ch.Now())
			}
			conn.Approved = true
			return conn, true, ch.changed(ref, eventApproved, link.ReasonApproved, was, audit.ConnectionOf(conn), "an admin approved %s of account %s", id, before.OwnerID)
		})
	})
	return before, err
}

// observed returns an endpoint as last seen, or what its connection knows of it when it is seen no more.
func observed(tx *store.Tx, cl link.Cluster, id link.EndpointID) (link.Endpoint, error) {
	e, err := tx.Endpoint(cl.Provider, id)
	if !errors.Is(err, store.ErrNotFound) {
		return e, err
	}
	conn, err := tx.Connection(cl.ID, id)
	if err != nil {
		return link.Endpoint{}, missing(err, "ENDPOINT_NOT_FOUND", "endpoint "+string(id)+" at any service of this cluster",
			"check the id; an endpoint shows up here within a minute of its creation")
	}
	return link.Endpoint{
		Provider: conn.Provider, Region: conn.Region, ServiceID: conn.ServiceID, ID: id, OwnerID: conn.OwnerID,
		State: conn.State, SeenAt: conn.UpdatedAt,
	}, nil
}
