package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// Connections lists a cluster's private endpoint connections, without those that are over.
func (p *Plane) Connections(ctx context.Context, c policy.Caller, clusterID link.ID) (out []link.Connection, err error) {
	err = p.read(ctx, c, part(link.ObjectConnection, clusterID), func(tx *store.Tx) error {
		cl, err := cluster(tx, clusterID)
		if err != nil {
			return err
		}
		if out, err = tx.Connections(clusterID); err != nil {
			return err
		}
		health, err := backendHealth(tx, c, cl)
		for i := range out {
			out[i].Conditions = append(out[i].Conditions, health)
		}
		return err
	})
	return out, err
}

// Connection returns one connection. One that was deleted is still told, in state DELETED and wanted GONE.
func (p *Plane) Connection(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string) (out link.Connection, err error) {
	err = p.read(ctx, c, part(link.ObjectConnection, clusterID), func(tx *store.Tx) error {
		cl, id, err := clusterAndEndpoint(tx, clusterID, endpointID)
		if err != nil {
			return err
		}
		out, err = connection(tx, c, cl, id)
		return err
	})
	return out, err
}

// connection reads a connection as callers see it.
func connection(tx *store.Tx, c policy.Caller, cl link.Cluster, id link.EndpointID) (link.Connection, error) {
	out, err := tx.Connection(cl.ID, id)
	if err != nil {
		return out, missing(err, "CONNECTION_NOT_FOUND", "connection of "+string(id)+" with cluster "+cl.Name, "list the cluster's connections")
	}
	health, err := backendHealth(tx, c, cl)
	out.Conditions = append(out.Conditions, health)
	return out, err
}

func clusterAndEndpoint(tx *store.Tx, clusterID link.ID, endpointID string) (link.Cluster, link.EndpointID, error) {
	cl, err := cluster(tx, clusterID)
	if err != nil {
		return cl, "", err
	}
	id, err := link.ParseEndpointID(cl.Provider, endpointID)
	return cl, id, err
}

// Connect asks for the connection of an endpoint with a cluster. It may be asked for before the endpoint or the service
// exists, and before its owner is trusted: it comes about when all of it holds. Asking for what is under way or stands
// changes nothing; asking for one that was rejected, deleted or lost starts it anew.
func (p *Plane) Connect(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string) (link.Connection, error) {
	return p.want(ctx, c, clusterID, endpointID, func(ch *change, conn link.Connection, known bool) (link.Connection, bool, error) {
		if known && !lost(conn) {
			return conn, false, nil
		}
		was := valueOf(conn, known)
		conn = anew(conn, ch.Now())
		return conn, true, ch.changed(connectionRef(clusterID, conn.EndpointID), eventConnected, "", was, audit.ConnectionOf(conn), "a connection of %s was asked for", conn.EndpointID)
	})
}

// valueOf is what the audit log says of a connection before a change; nil when there was none.
func valueOf(c link.Connection, known bool) any {
	if !known {
		return nil
	}
	return audit.ConnectionOf(c)
}

// lost tells whether a connection is not what its asking was for and will not become it by itself.
func lost(c link.Connection) bool {
	return c.Want != link.WantConnected || slices.Contains([]link.State{link.Deleted, link.Expired, link.Failed}, c.State) ||
		link.ConditionOf(c.Conditions, link.ConditionAccepted).Reason == link.ReasonRejectedOutside
}

// anew starts a connection from its beginning, and forgets where its endpoint was seen: it may be seen elsewhere, or be
// seen no more.
func anew(c link.Connection, now time.Time) link.Connection {
	c.Want, c.State, c.AskedAt = link.WantConnected, link.Pending, now
	if c.ServiceID, c.ServiceName, c.OwnerID = "", "", ""; c.ProjectID == "" {
		c.Region = "" // a project's connection is for the one that was asked for
	}
	for _, cond := range []link.Condition{
		{Type: link.ConditionRegistered, Reason: link.ReasonLooking, Message: "the endpoint is being looked for at the cloud"},
		{Type: link.ConditionAccepted, Reason: link.ReasonLooking, Message: "the endpoint is accepted or refused once it was seen"},
		{Type: link.ConditionDNSReady, Reason: link.ReasonNoFlowYet, Message: "no flow came through this endpoint yet"},
		{Type: link.ConditionReachable, Reason: link.ReasonNoFlowYet, Message: "no flow came through this endpoint yet"},
	} {
		cond.Status = link.Unknown
		c.Conditions = link.SetCondition(c.Conditions, cond, now)
	}
	return c
}

// Disconnect asks for the end of a connection, which leaves the rules of the gateways at once. It is NotFound only when
// there never was one.
func (p *Plane) Disconnect(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string) (link.Connection, error) {
	return p.want(ctx, c, clusterID, endpointID, func(ch *change, conn link.Connection, known bool) (link.Connection, bool, error) {
		if !known {
			return conn, false, missing(store.ErrNotFound, "CONNECTION_NOT_FOUND", "connection of "+string(conn.EndpointID)+" with this cluster", "list the cluster's connections")
		}
		if conn.Want == link.WantGone {
			return conn, false, nil
		}
		was := valueOf(conn, known)
		conn.Want, conn.State, conn.Approved = link.WantGone, link.Deleting, false
		conn.Conditions = link.SetCondition(conn.Conditions, link.Condition{
			Type: link.ConditionAccepted, Status: link.False, Reason: link.ReasonDisconnected, Message: "the connection was deleted",
		}, ch.Now())
		return conn, true, ch.changed(connectionRef(clusterID, conn.EndpointID), eventDisconnected, "", was, audit.ConnectionOf(conn), "the end of the connection was asked for")
	})
}

// want changes what is asked of a connection. edit gets the connection as it is, or a blank one when it is not known, and
// returns it as it should be and whether that is another.
func (p *Plane) want(ctx context.Context, c policy.Caller, clusterID link.ID, endpointID string,
	edit func(ch *change, conn link.Connection, known bool) (link.Connection, bool, error),
) (out link.Connection, err error) {
	err = p.change(ctx, c, part(link.ObjectConnection, clusterID), func(ch *change) error {
		cl, id, err := clusterAndEndpoint(ch.Tx, clusterID, endpointID)
		if err != nil {
			return err
		}
		if err := ch.want(cl, id, edit); err != nil {
			return err
		}
		out, err = connection(ch.Tx, c, cl, id)
		return err
	})
	return out, err
}

func (ch *change) want(cl link.Cluster, id link.EndpointID, edit func(*change, link.Connection, bool) (link.Connection, bool, error)) error {
	if err := ch.LockEndpoint(cl.Provider, id); err != nil {
		return err
	}
	conn, err := ch.Connection(cl.ID, id)
	known := err == nil
	if errors.Is(err, store.ErrNotFound) {
		conn, err = link.Connection{ClusterID: cl.ID, EndpointID: id, Provider: cl.Provider}, nil
	}
	if err != nil {
		return err
	}
	over := conn.Want == link.WantGone
	conn, changed, err := edit(ch, conn, known)
	if err != nil {
		return err
	}
	// Also when nothing changed: whoever asks again may know that it is worth a look.
	if err := ch.MarkEndpointDue(cl.Provider, id); err != nil || !changed {
		return err
	}
	if known {
		if over && conn.Want == link.WantConnected {
			conn.CreatedAt = ch.Now() // another connection, of the same endpoint
		}
		_, err = ch.SwapConnection(conn)
	} else {
		_, err = ch.AddConnection(conn)
	}
	return errors.Join(err, ch.RulesChanged(store.RulesOfCluster, cl.ID))
}

// backendHealth says whether a gateway reaches one of the cluster's backends. It is worked out when asked for: it holds
// for all of the cluster's connections alike and changes more often than any of them. Which backend it is, is the vendor's
// to know.
func backendHealth(tx *store.Tx, caller policy.Caller, cl link.Cluster) (link.Condition, error) {
	c := link.Condition{
		Type: link.ConditionBackendHealthy, Status: link.Unknown, Reason: link.ReasonNoGatewayReport,
		Message: "no gateway has reported on the cluster's backends yet", LastTransition: cl.UpdatedAt,
	}
	all, err := tx.BackendHealth(cl.ID, tx.Now().Add(-liveFor))
	for _, h := range all {
		if !slices.Contains(cl.Backends, h.Backend) {
			continue // it was taken away
		}
		if h.Healthy {
			c.Status, c.Reason, c.Message, c.NextStep = link.True, link.ReasonBackendsHealthy, "a gateway reaches a backend of the cluster", ""
			c.LastTransition = h.At
			break
		}
		c.Status, c.Reason = link.False, link.ReasonNoHealthyBackend
		c.Message = "no gateway reaches a backend of the cluster"
		if operates(caller) {
			c.Message += "; of " + h.Backend + " one says: " + h.Reason
		}
		c.NextStep = "the vendor checks that the cluster's backends run and that its gateways may reach them"
		c.LastTransition = h.At
	}
	return c, err
}
