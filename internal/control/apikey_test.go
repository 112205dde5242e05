package control_test

import (
	"errors"
	"testing"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// by is a principal as a caller that speaks by a key of its own.
func (d *desk) by(p link.Principal, k link.APIKey, within link.Place) policy.Caller {
	c := d.as(p)
	c.Via = k.ID
	c.Grants = policy.Limit(c.Grants, k.Ceiling, k.Scope, within)
	return c
}

// What a key makes is limited as the key is, or more, and ends no later.
func TestKeyMakesNoMoreThanItself(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	admin := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, acme.organisation.ID, "deploy"))
	robot := ok[link.Principal](t)(d.CreateServiceAccount(d.ctx, operator, acme.organisation.ID, "robot"))
	for id, role := range map[link.ID]link.Role{admin.ID: link.RoleOrganisationAdmin, robot.ID: link.RoleViewer} {
		ok[link.Member](t)(d.AddMember(d.ctx, operator, control.MemberRequest{Scope: acme.atOrganisation(), Role: role, ServiceAccountID: id}))
	}
	try := func(by policy.Caller, of link.Principal, n control.NewAPIKey) (link.APIKey, error) {
		n.Name = "k"
		k, _, err := d.CreateAPIKey(d.ctx, by, of.ID, n)
		return k, err
	}
	organisation := link.Place{OrganisationID: acme.organisation.ID}
	hour := ok[link.APIKey](t)(try(operator, admin, control.NewAPIKey{Life: time.Hour}))
	capped := ok[link.APIKey](t)(try(operator, admin, control.NewAPIKey{Ceiling: link.RoleOrganisationAdmin, Scope: acme.atOrganisation(), Life: time.Hour}))
	ends := d.now.Add(time.Hour)
	for _, tt := range []struct {
		name    string
		by      link.APIKey
		of      link.Principal
		ask     control.NewAPIKey
		reason  string // of the refusal; empty for none
		field   string
		ceiling link.Role
		scope   link.Scope
		ends    time.Time
	}{
		{name: "no time asked for", by: hour, of: admin, ends: ends},
		{name: "less time", by: hour, of: admin, ask: control.NewAPIKey{Life: time.Minute}, ends: d.now.Add(time.Minute)},
		{name: "as much time", by: hour, of: robot, ask: control.NewAPIKey{Life: time.Hour}, ends: ends},
		{name: "more time", by: hour, of: admin, ask: control.NewAPIKey{Life: time.Hour + time.Second}, reason: "KEY_BEYOND_OWN", field: "ttl_seconds"},
		{name: "more time for another", by: hour, of: robot, ask: control.NewAPIKey{Life: 2 * time.Hour}, reason: "KEY_BEYOND_OWN", field: "ttl_seconds"},
		{name: "for ever", by: hour, of: admin, ask: control.NewAPIKey{Forever: true}, reason: "KEY_BEYOND_OWN", field: "ttl_seconds"},
		{name: "limits of its own", by: hour, of: admin, ask: control.NewAPIKey{Ceiling: link.RoleViewer}, ceiling: link.RoleViewer, ends: ends},
		{name: "a limited key's for another, as it is", by: capped, of: robot, ceiling: link.RoleOrganisationAdmin, scope: acme.atOrganisation(), ends: ends},
		{name: "limited more", by: capped, of: robot, ask: control.NewAPIKey{Ceiling: link.RoleViewer, Scope: acme.atCluster()}, ceiling: link.RoleViewer, scope: acme.atCluster(), ends: ends},
		{name: "a higher ceiling", by: capped, of: robot, ask: control.NewAPIKey{Ceiling: link.RoleOperator}, reason: "KEY_BEYOND_OWN", field: "ceiling"},
		{name: "a wider scope", by: capped, of: robot, ask: control.NewAPIKey{Scope: link.Scope{Kind: link.ScopeInstallation}}, reason: "KEY_BEYOND_OWN", field: "scope"},
		{name: "a scope that is not there", by: capped, of: robot, ask: control.NewAPIKey{Scope: link.Scope{Kind: link.ScopeCluster, ID: link.NewID()}}, reason: "KEY_BEYOND_OWN", field: "scope"},
		{name: "a limited key's of the same principal", by: capped, of: admin, reason: "KEY_IS_LIMITED"},
	} {
		got, err := try(d.by(admin, tt.by, organisation), tt.of, tt.ask)
		if tt.reason != "" {
			e, is := errors.AsType[*link.Error](err)
			if !is || e.Kind != link.Denied || e.Reason != tt.reason || e.Field != tt.field {
				t.Errorf("%s: %+v, want %s of %q", tt.name, err, tt.reason, tt.field)
			}
			continue
		}
		if err != nil || got.Ceiling != tt.ceiling || got.Scope != tt.scope || !got.ExpiresAt.Equal(tt.ends) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	// By a session a key gets what it asks for.
	if k, err := try(d.as(admin), admin, control.NewAPIKey{Life: 10 * time.Hour}); err != nil || !k.ExpiresAt.Equal(d.now.Add(10*time.Hour)) {
		t.Errorf("by a session: %+v, %v", k, err)
	}
}

// A limited key ends neither its principal's sessions nor other keys of it, but itself.
func TestLimitedKeyEndsNothingElse(t *testing.T) {
	d := newDesk(t)
	acme := d.customer("acme")
	self := acme.admin
	key := func(n control.NewAPIKey) link.APIKey {
		t.Helper()
		n.Name = "k"
		k, _, err := d.CreateAPIKey(d.ctx, d.as(self), self.ID, n)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var session link.Session
	err := d.st.Write(d.ctx, func(tx *store.Tx) (err error) {
		session, err = tx.AddSession(link.Session{ID: link.NewID(), PrincipalID: self.ID, Method: link.ByPassword, ExpiresAt: d.now.Add(time.Hour)}, "hash", time.Hour)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	full, limited := key(control.NewAPIKey{}), key(control.NewAPIKey{Ceiling: link.RoleViewer})
	by := d.by(self, limited, link.Place{})
	d.refuses(d.EndSession(d.ctx, by, self.ID, session.ID), link.Denied, "KEY_IS_LIMITED", "")
	_, err = d.RevokeAPIKey(d.ctx, by, self.ID, full.ID)
	d.refuses(err, link.Denied, "KEY_IS_LIMITED", "")
	if _, err := d.RevokeAPIKey(d.ctx, by, self.ID, limited.ID); err != nil {
		t.Errorf("a key ends itself: %v", err)
	}
	if err := d.EndSession(d.ctx, d.by(self, full, link.Place{}), self.ID, session.ID); err != nil {
		t.Errorf("a key without limits ends a session: %v", err)
	}
}
