package reconcile_test

import (
	"fmt"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/storetest"
)

// TestStoryOfAProjectsConnection: the endpoint is let in because the project trusts its owner, whatever its clusters say,
// and turned away when the connection ends.
func TestStoryOfAProjectsConnection(t *testing.T) {
	m := newMemoryCloud()
	h := enter(t, storetest.New(t), m)
	ctx := t.Context()
	c := h.cluster("acme")
	project := must[link.Cluster](t)(h.plane.Cluster(ctx, operator, c)).ProjectID
	becomes := func(state link.State, reason string) link.Connection {
		t.Helper()
		var conn link.Connection
		h.eventually(fmt.Sprintf("the project's connection becomes %s %s", state, reason), func() string {
			conn = must[link.Connection](t)(h.plane.ProjectConnection(ctx, operator, project, string(endpoint)))
			if link.ConditionOf(conn.Conditions, link.ConditionAccepted).Reason == reason && conn.State == state {
				return ""
			}
			return fmt.Sprintf("it is %s, conditions %+v", conn.State, conn.Conditions)
		})
		return conn
	}
	h.serviceUp()
	m.create(endpoint, customer)
	must[link.Connection](t)(h.plane.ConnectProject(ctx, operator, project, link.AWS, "us-east-1", string(endpoint)))
	becomes(link.Rejected, link.ReasonOwnerNotTrusted)
	owner := must[link.TrustedOwner](t)(h.plane.AddProjectTrustedOwner(ctx, operator, project, link.AWSAccountID, customer))
	if conn := becomes(link.Available, link.ReasonOwnerTrusted); conn.OwnerID != customer || conn.ServiceName == "" {
		t.Errorf("the connection does not know its endpoint: %+v", conn)
	}
	if h.listed(c, endpoint) {
		t.Error("the cluster's own rules list the project's endpoint")
	}
	// A cluster's own connection of the same endpoint, whose owner the cluster does not trust, changes nothing for the project.
	h.connect(c, endpoint)
	h.becomes(c, endpoint, link.Rejected, link.ReasonOwnerNotTrusted, false)
	becomes(link.Available, link.ReasonOwnerTrusted)
	must[link.TrustedOwner](t)(h.plane.RemoveProjectTrustedOwner(ctx, operator, project, owner.ID))
	h.cloudBecomes(link.Rejected)
	must[link.TrustedOwner](t)(h.plane.AddProjectTrustedOwner(ctx, operator, project, link.AWSAccountID, customer))
	becomes(link.Available, link.ReasonOwnerTrusted)
	if err := h.plane.DisconnectProject(ctx, operator, project, string(endpoint)); err != nil {
		t.Fatal(err)
	}
	becomes(link.Deleted, link.ReasonDisconnected)
	h.cloudBecomes(link.Rejected)
}
