package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// ProjectConnections lists the connections that hold for all clusters of a project, without those that are over.
func (p *Plane) ProjectConnections(ctx context.Context, c policy.Caller, projectID link.ID) (out []link.Connection, err error) {
	err = p.read(ctx, c, part(link.ObjectProjectConnection, projectID), func(tx *store.Tx) error {
		if _, err := project(tx, projectID); err != nil {
			return err
		}
		out, err = tx.ProjectConnections(projectID)
		return err
	})
	return out, err
}

// ProjectConnection returns one of them. One that was deleted is still told, in state DELETED and wanted GONE. The id is
// enough: a project's clusters are at one provider or at several, whose ids differ in form.
func (p *Plane) ProjectConnection(ctx context.Context, c policy.Caller, projectID link.ID, endpointID string) (out link.Connection, err error) {
	err = p.read(ctx, c, part(link.ObjectProjectConnection, projectID, endpointID), func(tx *store.Tx) error {
		if _, err := project(tx, projectID); err != nil {
			return err
		}
		out, err = projectConnection(tx, projectID, endpointID)
		return err
	})
	return out, err
}

func projectConnection(tx *store.Tx, projectID link.ID, endpointID string) (link.Connection, error) {
	id, err := link.ParseEndpointID(link.AWS, endpointID)
	if err != nil {
		return link.Connection{}, err
	}
	out, err := tx.ProjectConnection(projectID, id)
	return out, missing(err, "CONNECTION_NOT_FOUND", "connection of "+string(id)+" with this project", "list the project's connections")
}

// ConnectProject asks for the connection of an endpoint with a project: the endpoint may reach every cluster of the
// project in the region, also those that are created later. As with Connect any order of things will do, and asking again
// changes nothing or starts anew what was lost. An endpoint is in one region: asking for another one is a Conflict while
// the connection stands.
func (p *Plane) ConnectProject(ctx context.Context, c policy.Caller, projectID link.ID, provider link.Provider, region, endpointID string) (out link.Connection, err error) {
	err = p.change(ctx, c, part(link.ObjectProjectConnection, projectID, endpointID), func(ch *change) error {
		if _, err := project(ch.Tx, projectID); err != nil {
			return err
		}
		id, err := link.ParseEndpointID(provider, endpointID)
		if err := errors.Join(checkProvider("cloud_provider", provider), err, ch.checkRegion(provider, region)); err != nil {
			return err
		}
		out, err = ch.ProjectConnection(projectID, id)
		known := err == nil
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		case known && !lost(out) && out.Region != region:
			return &link.Error{
				Kind: link.Conflict, Reason: "CONNECTED_ELSEWHERE", Field: "region",
				Message: fmt.Sprintf("%s is connected with the project in region %s already", id, out.Region),
				Hint:    "an endpoint is in one region: check which, and delete the connection if it was made for the wrong one",
			}
		case known && !lost(out):
			return ch.MarkEndpointDue(provider, id)
		case !known:
			out = link.Connection{ProjectID: projectID, EndpointID: id, Provider: provider}
		}
		before := out
		if out = anew(out, ch.Now()); known {
			if before.Want == link.WantGone {
				out.CreatedAt = ch.Now() // another connection, of the same endpoint
			}
			if err := ch.ConnectionRulesChanged(before); err != nil {
				return err
			}
		}
		out.Region = region
		if known {
			out, err = ch.SwapConnection(out)
		} else {
			out, err = ch.AddConnection(out)
		}
		return errors.Join(err, ch.MarkEndpointDue(provider, id), ch.ConnectionRulesChanged(out),
			ch.changed(out.Ref(), eventConnected, "", valueOf(before, known), audit.ConnectionOf(out), "a connection of %s with all clusters of the project in %s was asked for", id, region))
	})
	return out, err
}

func (ch *change) checkRegion(p link.Provider, name string) error {
	_, err := ch.Region(p, name)
	if errors.Is(err, store.ErrNotFound) {
		return invalid("region", "REGION_UNKNOWN", "the vendor is not in region "+link.Quote(name)+" of "+string(p), "list the regions")
	}
	return err
}

// DisconnectProject asks for the end of a project's connection, which leaves the rules of the gateways at once.
func (p *Plane) DisconnectProject(ctx context.Context, c policy.Caller, projectID link.ID, endpointID string) error {
	return p.change(ctx, c, part(link.ObjectProjectConnection, projectID, endpointID), func(ch *change) error {
		if _, err := project(ch.Tx, projectID); err != nil {
			return err
		}
		before, err := projectConnection(ch.Tx, projectID, endpointID)
		if err != nil {
			return err
		}
		if err := ch.MarkEndpointDue(before.Provider, before.EndpointID); err != nil || before.Want == link.WantGone {
			return err
		}
		conn := before
		conn.Want, conn.State = link.WantGone, link.Deleting
		conn.Conditions = link.SetCondition(conn.Conditions, link.Condition{
			Type: link.ConditionAccepted, Status: link.False, Reason: link.ReasonDisconnected, Message: "the connection was deleted",
		}, ch.Now())
		conn, err = ch.SwapConnection(conn)
		return errors.Join(err, ch.ConnectionRulesChanged(conn),
			ch.changed(conn.Ref(), eventDisconnected, "", audit.ConnectionOf(before), audit.ConnectionOf(conn), "the end of the connection was asked for"))
	})
}

// ProjectTrustedOwners lists the accounts whose endpoints a project accepts for its connections. They are no owners that
// its clusters trust.
func (p *Plane) ProjectTrustedOwners(ctx context.Context, c policy.Caller, projectID link.ID) (out []link.TrustedOwner, err error) {
	err = p.read(ctx, c, part(link.ObjectProjectTrustedOwner, projectID), func(tx *store.Tx) error {
		if _, err := project(tx, projectID); err != nil {
			return err
		}
		out, err = tx.ProjectTrustedOwners(projectID)
		return err
	})
	return out, err
}

// ProjectTrustedOwner returns one of them.
func (p *Plane) ProjectTrustedOwner(ctx context.Context, c policy.Caller, projectID, ownerID link.ID) (out link.TrustedOwner, err error) {
	err = p.read(ctx, c, part(link.ObjectProjectTrustedOwner, projectID, string(ownerID)), func(tx *store.Tx) error {
		out, err = projectTrustedOwner(tx, projectID, ownerID)
		return err
	})
	return out, err
}

func projectTrustedOwner(tx *store.Tx, projectID, ownerID link.ID) (link.TrustedOwner, error) {
	if _, err := project(tx, projectID); err != nil {
		return link.TrustedOwner{}, err
	}
	o, err := tx.ProjectTrustedOwner(projectID, ownerID)
	return o, missing(err, "TRUSTED_OWNER_NOT_FOUND", "trusted owner "+link.Quote(string(ownerID)), "list the project's trusted owners to see their ids")
}

// AddProjectTrustedOwner trusts an account for the project's connections. Trusting it again returns the owner that there
// is.
func (p *Plane) AddProjectTrustedOwner(ctx context.Context, c policy.Caller, projectID link.ID, typ link.OwnerType, externalID string) (out link.TrustedOwner, err error) {
	err = p.change(ctx, c, part(link.ObjectProjectTrustedOwner, projectID), func(ch *change) error {
		if _, err := project(ch.Tx, projectID); err != nil {
			return err
		}
		if typ != link.AWSAccountID {
			return invalid("type", "OWNER_TYPE_NOT_SUPPORTED", "owners of type "+link.Quote(string(typ))+" are not supported yet", "give "+string(link.AWSAccountID))
		}
		if externalID, err = link.ParseAccountID("external_owner_id", externalID); err != nil {
			return err
		}
		var made bool
		if out, made, err = ch.AddProjectTrustedOwner(projectID, typ, externalID); err != nil || !made {
			return err
		}
		_, err = ch.projectTrustChanged(out)
		return errors.Join(err, ch.changed(out.Ref(), eventCreated, "", nil, audit.OwnerOf(out), "account %s is trusted", out.ExternalOwnerID))
	})
	return out, err
}

// RemoveProjectTrustedOwner ends the trust in an account and returns what it was. Its endpoints lose at once what the
// project's connections gave them.
func (p *Plane) RemoveProjectTrustedOwner(ctx context.Context, c policy.Caller, projectID, ownerID link.ID) (out link.TrustedOwner, err error) {
	err = p.change(ctx, c, part(link.ObjectProjectTrustedOwner, projectID, string(ownerID)), func(ch *change) error {
		if out, err = projectTrustedOwner(ch.Tx, projectID, ownerID); err != nil {
			return err
		}
		if err := ch.RemoveProjectTrustedOwner(projectID, ownerID); err != nil {
			return err
		}
		covered, err := ch.projectTrustChanged(out)
		if err != nil {
			return err
		}
		left, err := ch.ProjectTrustedOwners(projectID)
		if err != nil {
			return err
		}
		for _, conn := range covered {
			if conn.Want != link.WantConnected || policy.Trusts(left, conn.Provider, conn.OwnerID) {
				continue
			}
			// Said before it is done, as with a cluster's owners.
			conn.Conditions = link.SetCondition(conn.Conditions, policy.NotTrusted("project", conn.OwnerID), ch.Now())
			if _, err := ch.SwapConnection(conn); err != nil {
				return err
			}
			if err := ch.note(conn.Ref(), "NOT_ACCEPTED", link.ReasonOwnerNotTrusted, "owner %s is no longer trusted", conn.OwnerID); err != nil {
				return err
			}
		}
		return ch.changed(out.Ref(), eventDeleted, "", audit.OwnerOf(out), nil, "account %s is no longer trusted", out.ExternalOwnerID)
	})
	return out, err
}

// projectTrustChanged marks due what an owner's coming or going may bear on, changes the rules of it, and returns the
// connections of that owner's endpoints.
func (ch *change) projectTrustChanged(o link.TrustedOwner) (covered []link.Connection, err error) {
	conns, err := ch.ProjectConnections(o.ProjectID)
	if err != nil {
		return nil, err
	}
	covered, concerned := coveredBy(o, conns)
	for _, conn := range concerned {
		if err := ch.ConnectionRulesChanged(conn); err != nil {
			return nil, err
		}
	}
	return covered, ch.MarkEndpointsDue(concerned)
}
