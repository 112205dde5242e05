package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

const egressTarget = "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718"

func (d *desk) egress(c link.ID, target string) control.EgressView {
	d.t.Helper()
	return ok[control.EgressView](d.t)(d.CreateEgress(d.ctx, operator, c, control.EgressRequest{Region: "us-east-1", Target: target, TargetType: link.PrivateService}))
}

// become stores an egress endpoint as the reconciler would.
func (d *desk) become(e link.Egress, set func(*link.Egress)) link.Egress {
	d.t.Helper()
	err := d.st.Write(d.ctx, func(tx *store.Tx) (err error) {
		if e, err = tx.Egress(e.ClusterID, e.ID); err != nil {
			return err
		}
		set(&e)
		e, err = tx.SwapEgress(e)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return e
}

func TestEgressIsAskedForOnce(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	e := d.egress(c.ID, egressTarget)
	if e.State != link.Pending || !e.RequestedAt.Equal(d.now) || e.Principal != "" {
		t.Errorf("%+v", e)
	}
	d.now = d.now.Add(time.Hour)
	if again := d.egress(c.ID, egressTarget); again.ID != e.ID || again.Version != e.Version {
		t.Errorf("asked again: %+v", again)
	}
	// One that is over starts anew, under its id and with the whole time before it; not before the cloud is clean.
	for _, state := range []link.State{link.Failed, link.Expired} {
		d.become(e.Egress, func(e *link.Egress) { e.State, e.EndpointID = state, "vpce-0a1b2c3d4e5f60718" })
		if got := d.egress(c.ID, egressTarget); got.State != state {
			t.Errorf("%s, and not taken down yet: became %s", state, got.State)
		}
		d.become(e.Egress, func(e *link.Egress) { e.EndpointID = "" })
		if got := d.egress(c.ID, egressTarget); got.ID != e.ID || got.State != link.Pending || !got.RequestedAt.Equal(d.now) {
			t.Errorf("%s, asked again: %+v", state, got)
		}
	}
	// Beside one that goes there may be another.
	if err := d.DeleteEgress(d.ctx, operator, c.ID, e.ID); err != nil {
		t.Fatal(err)
	}
	if other := d.egress(c.ID, egressTarget); other.ID == e.ID {
		t.Error("the one that goes came back")
	}
}

func TestEgressToTheVendorItself(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	ok[[]link.Service](t)(d.CreateServices(d.ctx, operator, c.ID))
	err := d.st.Write(d.ctx, func(tx *store.Tx) error {
		s, err := tx.Service(link.AWS, "us-east-1")
		if err != nil {
			return err
		}
		s.Name = egressTarget
		return tx.SwapService(s)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.CreateEgress(d.ctx, operator, c.ID, control.EgressRequest{Region: "us-east-1", Target: egressTarget, TargetType: link.PrivateService})
	d.refuses(err, link.Invalid, "OWN_SERVICE", "target_service_identifier")
}

func TestEgressQuota(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	target := func(n int) string { return fmt.Sprintf("com.amazonaws.vpce.us-east-1.vpce-svc-%017x", n) }
	for n := range 20 {
		d.egress(c.ID, target(n))
	}
	_, err := d.CreateEgress(d.ctx, operator, c.ID, control.EgressRequest{Region: "us-east-1", Target: target(20), TargetType: link.PrivateService})
	d.refuses(err, link.Precondition, "TOO_MANY_EGRESS_ENDPOINTS", "")
	d.egress(c.ID, target(7)) // it is there already
	d.egress(d.cluster("globex").ID, target(20))
}

func TestEgressDomainNames(t *testing.T) {
	d := newDesk(t)
	acme, globex := d.cluster("acme").ID, d.cluster("globex").ID
	first, second, foreign := d.egress(acme, egressTarget), d.egress(acme, egressTarget[:len(egressTarget)-1]+"9"), d.egress(globex, egressTarget)
	set := func(of control.EgressView, names ...string) error {
		_, err := d.SetEgressNames(d.ctx, operator, of.ClusterID, of.ID, names)
		return err
	}
	if err := set(first, "*.acme.example", "db.acme.example"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		of     control.EgressView
		names  []string
		reason string // empty: they are taken
		field  string
	}{
		{"the same of another cluster", foreign, []string{"x.globex.example", "DB.acme.example."}, "DOMAIN_NAME_IN_USE", "domain_names[1]"},
		{"below one of another cluster", foreign, []string{"x.y.acme.example"}, "DOMAIN_NAME_IN_USE", "domain_names[0]"},
		{"above one of another cluster", foreign, []string{"acme.example"}, "DOMAIN_NAME_IN_USE", "domain_names[0]"},
		{"the same of the same cluster", second, []string{"acme.example"}, "DOMAIN_NAME_IN_USE", "domain_names[0]"},
		{"below one of the same cluster", second, []string{"kafka.acme.example"}, "", ""},
		{"beside it", foreign, []string{"*.globex.example", "notacme.example"}, "", ""},
		{"its own again", first, []string{"*.acme.example"}, "", ""},
		{"a whole top-level domain", foreign, []string{"*.com"}, "MALFORMED_DOMAIN_NAME", "domain_names[0]"},
		{"what many share", foreign, []string{"co.uk"}, "DOMAIN_TOO_SHORT", "domain_names[0]"},
		{"what many share of a provider", foreign, []string{"*.github.io"}, "DOMAIN_TOO_SHORT", "domain_names[0]"},
		{"the vendor's", foreign, []string{"acme.us-east-1.pe.postern.test"}, "VENDORS_DOMAIN", "domain_names[0]"},
		{"the cloud's", foreign, []string{"sts.amazonaws.com"}, "RESERVED_DOMAIN", "domain_names[0]"},
		{"the network's", foreign, []string{"x.internal"}, "RESERVED_DOMAIN", "domain_names[0]"},
		{"too many", foreign, slices.Repeat([]string{"a.example"}, 21), "TOO_MANY", "domain_names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := set(c.of, c.names...)
			if c.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			kind := link.Invalid
			if c.reason == "DOMAIN_NAME_IN_USE" {
				kind = link.Conflict
			}
			d.refuses(err, kind, c.reason, c.field)
			if err != nil && strings.Contains(err.Error(), string(acme)) {
				t.Errorf("it tells of somebody else's cluster: %v", err)
			}
		})
	}
	// A name that may still stand at the cloud is not free yet.
	d.become(first.Egress, func(e *link.Egress) { e.MadeNames = []string{"*.acme.example"} })
	if err := set(first); err != nil {
		t.Fatal(err)
	}
	d.refuses(set(foreign, "acme.example"), link.Conflict, "DOMAIN_NAME_IN_USE", "domain_names[0]")
	d.become(first.Egress, func(e *link.Egress) { e.MadeNames = nil })
	if err := set(second); err != nil {
		t.Fatal(err)
	}
	if err := set(foreign, "acme.example"); err != nil {
		t.Errorf("free again: %v", err)
	}
}

func TestEgressGoesWithItsCluster(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	e := d.egress(c.ID, egressTarget)
	if err := d.DeleteCluster(d.ctx, operator, c.ID); err != nil {
		t.Fatal(err)
	}
	err := d.st.Read(d.ctx, func(tx *store.Tx) error {
		left, err := tx.Egress(c.ID, e.ID)
		if left.Want != link.WantGone || left.State != link.Deleting {
			t.Errorf("it is %s and wanted %s", left.State, left.Want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.history(link.ObjectEgress, string(c.ID)+"/"+string(e.ID)); got != "CREATED, DELETED" {
		t.Errorf("history %s", got)
	}
	_, err = d.Egress(d.ctx, operator, c.ID, e.ID)
	d.refuses(err, link.NotFound, "CLUSTER_NOT_FOUND", "")
}

func TestEgressPrincipals(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	if ps := ok[[]control.EgressPrincipal](t)(d.EgressPrincipals(d.ctx, operator, c.ID)); len(ps) != 1 || ps[0].AccountID != "" || ps[0].Principal != "" {
		t.Errorf("before the cloud was asked: %+v", ps)
	}
	err := d.st.Write(d.ctx, func(tx *store.Tx) error { return tx.PutEgressAccount(link.AWS, "us-east-1", "123456789012") })
	if err != nil {
		t.Fatal(err)
	}
	ps := ok[[]control.EgressPrincipal](t)(d.EgressPrincipals(d.ctx, operator, c.ID))
	if len(ps) != 1 || ps[0] != (control.EgressPrincipal{Provider: link.AWS, Region: "us-east-1", AccountID: "123456789012", Principal: "arn:aws:iam::123456789012:root"}) {
		t.Errorf("%+v", ps)
	}
	if e := d.egress(c.ID, egressTarget); e.Principal != "arn:aws:iam::123456789012:root" {
		t.Errorf("the endpoint says to allow %q", e.Principal)
	}
}
