package control_test

import (
	"testing"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// admits tells whether a gateway that follows the rules by deltas admits an endpoint to a private name.
func (d *desk) admits(rules **policy.Rules, at *link.RulesVersion, endpoint link.EndpointID, name string) bool {
	d.t.Helper()
	delta, to, known, err := d.RulesSince(d.ctx, gateway, *at)
	switch {
	case err != nil:
		d.t.Fatal(err)
	case !known:
		var set link.RuleSet
		to, set = d.rules()
		*rules = policy.Compile(set)
	case to != *at:
		if *rules, err = (*rules).Apply(delta); err != nil {
			d.t.Fatal(err)
		}
	}
	*at = to
	return (*rules).Decide(policy.FlowFacts{Listener: link.PrivateListener, EndpointID: endpoint, Name: name, Port: 443, At: d.now}).Allow
}

// TestProjectConnectionAdmits: a project's connection lets its endpoint reach every cluster of the project in the one
// region, those that come later among them, and none elsewhere; and no longer from the moment on that it is taken away.
func TestProjectConnectionAdmits(t *testing.T) {
	d := newDesk(t)
	west := d.region()
	west.Name = "us-west-2"
	ok[link.Region](t)(d.PutRegion(d.ctx, operator, west))
	create := func(project, name string, regions ...string) {
		t.Helper()
		r := d.request(name)
		r.ProjectID, r.Regions = ok[link.Project](t)(d.CreateProject(d.ctx, operator, "", project)).ID, regions
		ok[link.Cluster](t)(d.CreateCluster(d.ctx, operator, r))
	}
	create("p", "east", "us-east-1")
	create("p", "both", "us-east-1", "us-west-2")
	create("p", "west", "us-west-2")
	create("q", "other", "us-east-1")
	p := ok[link.Project](t)(d.CreateProject(d.ctx, operator, "", "p")).ID

	var rules *policy.Rules
	var at link.RulesVersion
	expect := func(when string, names ...string) {
		t.Helper()
		want := map[string]bool{}
		for _, n := range names {
			want[n] = true
		}
		for _, c := range []string{"east.us-east-1", "both.us-east-1", "west.us-west-2", "other.us-east-1", "later.us-east-1"} {
			if got := d.admits(&rules, &at, vpce, c+".pe.postern.test"); got != want[c] {
				t.Errorf("%s: admitted to %s: %t", when, c, got)
			}
		}
	}
	inEast := []string{"east.us-east-1", "both.us-east-1"}
	expect("before anything")
	conn := ok[link.Connection](t)(d.ConnectProject(d.ctx, operator, p, link.AWS, "us-east-1", vpce))
	d.seen()
	expect("nobody trusts its owner")
	owner := ok[link.TrustedOwner](t)(d.AddProjectTrustedOwner(d.ctx, operator, p, link.AWSAccountID, "123456789012"))
	expect("its owner is trusted", inEast...)
	create("p", "later", "us-east-1")
	inEast = append(inEast, "later.us-east-1")
	expect("another cluster was created", inEast...)
	ok[link.TrustedOwner](t)(d.RemoveProjectTrustedOwner(d.ctx, operator, p, owner.ID))
	expect("its owner is no longer trusted")
	ok[link.TrustedOwner](t)(d.AddProjectTrustedOwner(d.ctx, operator, p, link.AWSAccountID, "*"))
	expect("everybody is trusted", inEast...)
	_, err := d.ConnectProject(d.ctx, operator, p, link.AWS, "us-west-2", vpce)
	d.refuses(err, link.Conflict, "CONNECTED_ELSEWHERE", "region")
	if err := d.DisconnectProject(d.ctx, operator, p, vpce); err != nil {
		t.Fatal(err)
	}
	expect("it was taken away")
	ok[link.Connection](t)(d.ConnectProject(d.ctx, operator, p, link.AWS, "us-west-2", vpce))
	expect("it was asked for in a region where it is not")
	ok[link.Connection](t)(d.ConnectProject(d.ctx, operator, p, link.AWS, "us-west-2", vpce))
	if got, want := d.history(conn.Ref().Kind, conn.Ref().ID), "CONNECTED, DISCONNECTED, CONNECTED"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}
}

// A flow through a project's endpoint proves the project's connection, as it would a cluster's.
func TestFlowsProveAProjectsConnection(t *testing.T) {
	d := newDesk(t)
	c := d.cluster("acme")
	ok[link.TrustedOwner](t)(d.AddProjectTrustedOwner(d.ctx, operator, c.ProjectID, link.AWSAccountID, "*"))
	ok[link.Connection](t)(d.ConnectProject(d.ctx, operator, c.ProjectID, link.AWS, "us-east-1", vpce))
	d.seen()
	flow := link.Flow{ID: "f", ClusterID: c.ID, Listener: link.PrivateListener, EndpointID: vpce, Name: c.Regions[0].PrivateName, StartedAt: d.now}
	if err := d.Report(d.ctx, gateway, link.GatewayReport{GatewayID: "g", BatchID: "1", SentAt: d.now, Flows: []link.Flow{flow}}); err != nil {
		t.Fatal(err)
	}
	conn := ok[link.Connection](t)(d.ProjectConnection(d.ctx, operator, c.ProjectID, vpce))
	for _, typ := range []string{link.ConditionReachable, link.ConditionDNSReady} {
		if got := link.ConditionOf(conn.Conditions, typ); got.Status != link.True {
			t.Errorf("%+v", got)
		}
	}
}

func TestProjectConnectionRefusals(t *testing.T) {
	d := newDesk(t)
	p := d.cluster("acme").ProjectID
	connect := func(project link.ID, provider link.Provider, region, id string) error {
		_, err := d.ConnectProject(d.ctx, operator, project, provider, region, id)
		return err
	}
	trust := func(project link.ID, typ link.OwnerType, id string) error {
		_, err := d.AddProjectTrustedOwner(d.ctx, operator, project, typ, id)
		return err
	}
	_, unknownOwner := d.RemoveProjectTrustedOwner(d.ctx, operator, p, link.NewID())
	for _, tt := range []struct {
		err           error
		kind          link.Kind
		reason, field string
	}{
		{connect(link.NewID(), link.AWS, "us-east-1", vpce), link.NotFound, "PROJECT_NOT_FOUND", ""},
		{connect(p, link.AWS, "mars-1", vpce), link.Invalid, "REGION_UNKNOWN", "region"},
		{connect(p, link.AWS, "us-east-1", "vpce-x"), link.Invalid, "MALFORMED_ENDPOINT_ID", "endpoint_id"},
		{d.DisconnectProject(d.ctx, operator, p, vpce), link.NotFound, "CONNECTION_NOT_FOUND", ""},
		{trust(link.NewID(), link.AWSAccountID, "*"), link.NotFound, "PROJECT_NOT_FOUND", ""},
		{trust(p, link.GCPProjectID, "*"), link.Invalid, "OWNER_TYPE_NOT_SUPPORTED", "type"},
		{trust(p, link.AWSAccountID, "12"), link.Invalid, "MALFORMED_OWNER_ID", "external_owner_id"},
		{unknownOwner, link.NotFound, "TRUSTED_OWNER_NOT_FOUND", ""},
		{func() error { _, err := d.ProjectConnections(d.ctx, gateway, p); return err }(), link.Denied, "GATEWAY_ONLY_REPORTS", ""},
	} {
		d.refuses(tt.err, tt.kind, tt.reason, tt.field)
	}
}
