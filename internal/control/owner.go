package control

import (
	"context"
	"errors"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// TrustedOwners lists the accounts whose endpoints a cluster accepts.
func (p *Plane) TrustedOwners(ctx context.Context, c policy.Caller, clusterID link.ID) (out []link.TrustedOwner, err error) {
	err = p.read(ctx, c, part(link.ObjectTrustedOwner, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		out, err = tx.TrustedOwners(clusterID)
		return err
	})
	return out, err
}

// TrustedOwner returns one of them.
func (p *Plane) TrustedOwner(ctx context.Context, c policy.Caller, clusterID, ownerID link.ID) (out link.TrustedOwner, err error) {
	err = p.read(ctx, c, part(link.ObjectTrustedOwner, clusterID), func(tx *store.Tx) error {
		if _, err := cluster(tx, clusterID); err != nil {
			return err
		}
		out, err = trustedOwner(tx, clusterID, ownerID)
		return err
	})
	return out, err
}

func trustedOwner(tx *store.Tx, clusterID, ownerID link.ID) (link.TrustedOwner, error) {
	o, err := tx.TrustedOwner(clusterID, ownerID)
	return o, missing(err, "TRUSTED_OWNER_NOT_FOUND", "trusted owner "+link.Quote(string(ownerID)), "list the cluster's trusted owners to see their ids")
}

// AddTrustedOwner trusts an account. Endpoints of it that were connected before are accepted by themselves. Trusting it
// again returns the owner that there is.
func (p *Plane) AddTrustedOwner(ctx context.Context, c policy.Caller, clusterID link.ID, typ link.OwnerType, externalID string) (out link.TrustedOwner, err error) {
	err = p.change(ctx, c, part(link.ObjectTrustedOwner, clusterID), func(ch *change) error {
		cl, err := cluster(ch.Tx, clusterID)
		if err != nil {
			return err
		}
		if typ != policy.OwnerTypeOf(cl.Provider) {
			return invalid("type", "OWNER_TYPE_MISMATCH", "owners of type "+link.Quote(string(typ))+" cannot own endpoints at "+string(cl.Provider),
				"give "+string(policy.OwnerTypeOf(cl.Provider)))
		}
		if externalID, err = link.ParseAccountID("external_owner_id", externalID); err != nil {
			return err
		}
		var made bool
		out, made, err = ch.AddTrustedOwner(clusterID, typ, externalID)
		if err != nil || !made {
			return err
		}
		if _, err := ch.trustChanged(clusterID, out); err != nil {
			return err
		}
		if err := ch.markWaiting(clusterID); err != nil {
			return err
		}
		return errors.Join(ch.noteOwner(out, eventCreated, "account %s is trusted"), ch.RulesChanged(store.RulesOfCluster, clusterID))
	})
	return out, err
}

// RemoveTrustedOwner ends the trust in an account and returns what it was. Endpoints of it that no other trusted owner
// covers and no admin approved lose their way in at once.
func (p *Plane) RemoveTrustedOwner(ctx context.Context, c policy.Caller, clusterID, ownerID link.ID) (out link.TrustedOwner, err error) {
	err = p.change(ctx, c, part(link.ObjectTrustedOwner, clusterID), func(ch *change) error {
		if _, err := cluster(ch.Tx, clusterID); err != nil {
			return err
		}
		if out, err = trustedOwner(ch.Tx, clusterID, ownerID); err != nil {
			return err
		}
		if err := ch.RemoveTrustedOwner(clusterID, ownerID); err != nil {
			return err
		}
		covered, err := ch.trustChanged(clusterID, out)
		if err != nil {
			return err
		}
		left, err := ch.TrustedOwners(clusterID)
		if err != nil {
			return err
		}
		for _, conn := range covered {
			if conn.Want != link.WantConnected || conn.Approved || policy.Trusts(left, conn.Provider, conn.OwnerID) {
				continue
			}
			was := audit.ConnectionOf(conn)
			// Said before it is done: whoever finds the endpoint rejected later knows that it was us.
			conn.Conditions = link.SetCondition(conn.Conditions, policy.NotTrusted("cluster", conn.OwnerID), ch.Now())
			if _, err := ch.SwapConnection(conn); err != nil {
				return err
			}
			if err := ch.changed(connectionRef(clusterID, conn.EndpointID), "NOT_ACCEPTED", link.ReasonOwnerNotTrusted, was, audit.ConnectionOf(conn), "owner %s is no longer trusted", conn.OwnerID); err != nil {
				return err
			}
		}
		return errors.Join(ch.noteOwner(out, eventDeleted, "account %s is no longer trusted"), ch.RulesChanged(store.RulesOfCluster, clusterID))
	})
	return out, err
}

// trustChanged marks due what an owner's coming or going may bear on, and returns the connections on which it does.
func (ch *change) trustChanged(clusterID link.ID, o link.TrustedOwner) (covered []link.Connection, err error) {
	conns, err := ch.Connections(clusterID)
	if err != nil {
		return nil, err
	}
	covered, due := coveredBy(o, conns)
	return covered, ch.MarkEndpointsDue(due)
}

// coveredBy parts connections by an owner: those of its endpoints, and those that its coming or going may bear on. That are
// also those whose owner is not known yet: a look may be under way that learns it, and has read who is trusted before this.
func coveredBy(o link.TrustedOwner, conns []link.Connection) (covered, concerned []link.Connection) {
	for _, conn := range conns {
		switch {
		case policy.Trusts([]link.TrustedOwner{o}, conn.Provider, conn.OwnerID):
			covered, concerned = append(covered, conn), append(concerned, conn)
		case conn.OwnerID == "":
			concerned = append(concerned, conn)
		}
	}
	return covered, concerned
}

// markWaiting marks due the endpoints of accounts that a cluster trusts that ask to come in. Those that no cluster has a
// connection with are let in as well, so that they can be claimed.
func (ch *change) markWaiting(clusterID link.ID) error {
	endpoints, err := ch.ClusterEndpoints(clusterID)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		if e.State != link.PendingAcceptance {
			continue
		}
		if err := ch.MarkEndpointDue(e.Provider, e.ID); err != nil {
			return err
		}
	}
	return nil
}

// noteOwner writes the line into the histories of the owner and of its cluster, where those who may not know whom the
// cluster trusts read it. format takes the account's id.
func (ch *change) noteOwner(o link.TrustedOwner, typ, format string) error {
	ref := link.ObjectRef{Kind: link.ObjectTrustedOwner, ID: string(o.ClusterID) + "/" + string(o.ID)}
	before, after := any(nil), any(audit.OwnerOf(o))
	if typ == eventDeleted {
		before, after = after, before
	}
	return errors.Join(
		ch.changed(ref, typ, "", before, after, format, o.ExternalOwnerID),
		ch.note(clusterRef(o.ClusterID), eventChanged, "TRUSTED_OWNERS", "the trusted owners were changed"),
	)
}
