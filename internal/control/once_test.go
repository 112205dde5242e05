package control_test

import (
	"context"
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// The repetition of a request is answered as the request was only while its caller may what it might then.
func TestRepetitionIsAuthorisedAnew(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	done := 0
	ask := func(c policy.Caller) (link.KeptAnswer, bool, error) {
		return d.Once(d.ctx, c, "key", "request", func(context.Context) (link.KeptAnswer, error) {
			done++
			return link.KeptAnswer{Status: 200, Body: "what only an admin is told"}, nil
		})
	}
	admin := d.as(acme.admin)
	limited := func(role link.Role, at link.Scope, within link.Place) policy.Caller {
		c := admin
		c.Grants = policy.Limit(c.Grants, role, at, within)
		return c
	}
	organisation := link.Place{OrganisationID: acme.organisation.ID}
	if _, repeated, err := ask(admin); err != nil || repeated {
		t.Fatalf("the request: %t, %v", repeated, err)
	}
	for name, c := range map[string]policy.Caller{
		"without any role":           {ID: admin.ID, Name: admin.Name, Role: admin.Role},
		"by a key that is for less":  limited(link.RoleViewer, link.Scope{}, link.Place{}),
		"by a key for another scope": limited("", acme.atCluster(), link.Place{OrganisationID: acme.organisation.ID, ProjectID: acme.project.ID, ClusterID: acme.cluster.ID}),
	} {
		kept, _, err := ask(c)
		d.refuses(err, link.Conflict, "RIGHTS_CHANGED", "Idempotency-Key")
		_ = kept
		if done != 1 {
			t.Errorf("%s: it was done %d times", name, done)
		}
	}
	if kept, repeated, err := ask(limited("", acme.atOrganisation(), organisation)); err != nil || !repeated || kept.Body == "" {
		t.Errorf("with all that it had: %+v, %t, %v", kept, repeated, err)
	}
	// And whether the request is the same counts first.
	_, _, err := d.Once(d.ctx, policy.Caller{ID: admin.ID, Name: admin.Name, Role: admin.Role}, "key", "another", nil)
	d.refuses(err, link.Invalid, "IDEMPOTENCY_KEY_REUSED", "Idempotency-Key")
}
