package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const vpce = "vpce-0a1b2c3d4e5f60718"

var (
	operator = policy.Caller{Name: "op", Role: policy.Operator}
	gateway  = policy.Caller{Name: "gw", Role: policy.Gateway}
)

// desk is a control plane over an empty database with a clock that the test moves.
type desk struct {
	*control.Plane
	t   *testing.T
	ctx context.Context
	st  *store.Store
	now time.Time
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, ctx: t.Context(), now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	d.st = storetest.Open(t, store.Options{Log: log, Now: func() time.Time { return d.now }})
	d.Plane = control.New(d.st, control.Options{Domain: "postern.test", Log: log})
	return d
}

// ok returns what takes a call's results, and ends the test when there was an error.
func ok[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (d *desk) region() link.Region {
	return link.Region{
		Provider: link.AWS, Name: "us-east-1", VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"},
		Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7443")},
	}
}

func (d *desk) request(name string) control.ClusterRequest {
	d.t.Helper()
	ok[link.Region](d.t)(d.PutRegion(d.ctx, operator, d.region()))
	p := ok[link.Project](d.t)(d.CreateProject(d.ctx, operator, "", "p"))
	return control.ClusterRequest{ProjectID: p.ID, Name: name, Provider: link.AWS, Regions: []string{"us-east-1"}, Backends: []string{"db.internal:26257"}}
}

func (d *desk) cluster(name string) link.Cluster {
	d.t.Helper()
	return ok[link.Cluster](d.t)(d.CreateCluster(d.ctx, operator, d.request(name)))
}

// refuses checks that err is what a person is told, with a kind, a reason and, where an input is at fault, its name.
func (d *desk) refuses(err error, kind link.Kind, reason, field string) {
	d.t.Helper()
	e, is := errors.AsType[*link.Error](err)
	if !is {
		d.t.Errorf("error %v, want a link.Error of reason %s", err, reason)
		return
	}
	if e.Kind != kind || e.Reason != reason || e.Field != field {
		d.t.Errorf("kind %d, reason %s, field %q; want %d, %s, %q (%v)", e.Kind, e.Reason, e.Field, kind, reason, field, err)
	}
}

// rules are the whole rules as they are.
func (d *desk) rules() (v link.RulesVersion, set link.RuleSet) {
	d.t.Helper()
	err := d.Rules(d.ctx, gateway, 2, func(of link.RulesVersion, part link.RuleSet) error {
		v, set.Revision = of, part.Revision
		set.Ports, set.Claims = append(set.Ports, part.Ports...), append(set.Claims, part.Claims...)
		set.Clusters = append(set.Clusters, part.Clusters...)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return v, set
}

func (d *desk) revision() int64 {
	v, _ := d.rules()
	return v.Revision
}

// bumps checks that f makes exactly one new revision of the rules, or none.
func (d *desk) bumps(what string, want bool, f func() error) {
	d.t.Helper()
	before := d.revision()
	if err := f(); err != nil {
		d.t.Errorf("%s: %v", what, err)
	}
	if n := d.revision() - before; n > 1 || (n == 1) != want {
		d.t.Errorf("%s made %d new revisions of the rules; want one: %t", what, n, want)
	}
}

func (d *desk) history(kind, id string) string {
	es, _, err := d.Events(d.ctx, operator, link.ObjectRef{Kind: kind, ID: id}, control.Page{})
	if err != nil {
		d.t.Error(err)
	}
	var out []string
	for _, e := range es {
		if e.Actor == "" || e.Message == "" || !e.At.Equal(d.now) {
			d.t.Errorf("an event does not say who, what and when: %+v", e)
		}
		out = append(out, strings.TrimSpace(e.Type+" "+e.Reason))
	}
	return strings.Join(out, ", ")
}
