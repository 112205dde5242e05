package httpapi_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// TestStory goes through every call that succeeds; each request and answer is held against the OpenAPI document.
func TestStory(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c, gw := w.client, w.gateway
	id := w.cluster.ID

	t.Run("projects", func(t *testing.T) {
		p := must(c.CreateProject(ctx, api.CreateProjectRequest{Name: "beta"}))(t)
		same(t, p.ID, must(c.CreateProject(ctx, api.CreateProjectRequest{Name: "beta"}))(t).ID)
		same(t, p, must(c.Project(ctx, p.ID))(t))
		list := must(c.Projects(ctx, api.Page{}))(t).Projects
		if len(list) != 2 || list[0].Name != "acme" || list[1].ID != p.ID {
			t.Errorf("projects %+v", list)
		}
		history(t, must(c.ProjectEvents(ctx, p.ID, api.Page{}))(t))
	})

	t.Run("regions", func(t *testing.T) {
		r := must(c.PutRegion(ctx, "AWS", "us-east-1", api.PutRegionRequest{
			VPCID: "vpc-0a1b2c3d4e5f60718", SubnetIDs: []string{"subnet-0a1b2c3d4e5f60718"}, GatewayTargets: []string{"127.0.0.1:8443", "[::1]:8443"}, Ports: []int{443, 5432},
		}))(t)
		if !slices.Equal(r.Ports, []int{443, 5432}) || !slices.Equal(r.GatewayTargets, []string{"127.0.0.1:8443", "[::1]:8443"}) {
			t.Errorf("region %+v", r)
		}
		list := must(c.Regions(ctx))(t)
		if len(list) != 1 || list[0].Name != "us-east-1" || list[0].VPCID != r.VPCID {
			t.Errorf("regions %+v", list)
		}
		same(t, list[0], must(c.Region(ctx, "AWS", "us-east-1"))(t))
		history(t, must(c.RegionEvents(ctx, "AWS", "us-east-1", api.Page{}))(t))
	})

	t.Run("clusters", func(t *testing.T) {
		got := must(c.Cluster(ctx, id))(t)
		want := api.Cluster{
			ID: id, ProjectID: w.cluster.ProjectID, Name: "acme", CloudProvider: "AWS", State: "CREATED", Plan: "DEDICATED",
			NetworkVisibility: "PUBLIC", PublicAccess: "ENABLED", Backends: []string{"127.0.0.1:9443"}, CustomNames: []string{}, Conditions: []api.Condition{},
			Regions: []api.ClusterRegion{{
				Name: "us-east-1", SQLDNS: "acme.us-east-1.postern.test", UIDNS: "acme.us-east-1.postern.test",
				InternalDNS: "acme.us-east-1.pe.postern.test", PrivateEndpointDNS: "acme.us-east-1.pe.postern.test",
			}},
			CreatedAt: got.CreatedAt, UpdatedAt: got.UpdatedAt,
		}
		same(t, want, got)
		if got.CreatedAt.IsZero() || time.Since(got.CreatedAt) > time.Minute {
			t.Errorf("created at %v", got.CreatedAt)
		}
		other := must(c.CreateCluster(ctx, api.CreateClusterRequest{
			ProjectID: w.cluster.ProjectID, Name: "other", CloudProvider: "AWS", Regions: []string{"us-east-1"}, PublicAccess: "DISABLED",
		}))(t)
		if other.NetworkVisibility != "PRIVATE" || other.Backends == nil {
			t.Errorf("cluster %+v", other)
		}
		changed := must(c.UpdateCluster(ctx, other.ID, api.UpdateClusterRequest{Backends: &[]string{"10.0.0.9:443"}}))(t)
		same(t, []string{"10.0.0.9:443"}, changed.Backends)

		page := must(c.Clusters(ctx, api.Page{Limit: 1}))(t)
		next := must(c.Clusters(ctx, api.Page{Limit: 1, Token: page.Pagination.NextPage}))(t)
		last := must(c.Clusters(ctx, api.Page{Limit: 1, Descending: true}))(t)
		if len(page.Clusters) != 1 || page.Clusters[0].ID != id || len(next.Clusters) != 1 || next.Clusters[0].ID != other.ID ||
			next.Pagination.NextPage != "" || len(last.Clusters) != 1 || last.Clusters[0].ID != other.ID {
			t.Errorf("pages %+v, %+v, descending %+v", page, next, last)
		}
		history(t, must(c.ClusterEvents(ctx, other.ID, api.Page{}))(t))
		if err := c.DeleteCluster(ctx, other.ID); err != nil {
			t.Error(err)
		}
		if _, err := c.Cluster(ctx, other.ID); !api.IsNotFound(err) {
			t.Errorf("after deletion: %v", err)
		}
	})

	t.Run("public access", func(t *testing.T) {
		for _, mode := range []string{"DISABLED", "REPORT_ONLY", "ENABLED"} {
			same(t, mode, must(c.SetPublicAccess(ctx, id, mode))(t).Mode)
			same(t, mode, must(c.PublicAccess(ctx, id))(t).Mode)
		}
	})

	t.Run("traffic settings", func(t *testing.T) {
		const backend = "127.0.0.1:9443"
		asNew := api.ClusterTraffic{
			Backends: []api.BackendTraffic{{Address: backend, Weight: 1}}, Health: api.HealthCheck{Check: "NONE"}, DeniedPorts: []int{},
		}
		same(t, asNew, must(c.ClusterTraffic(ctx, id))(t))
		yes, weight, flows := true, 5, 1000
		check := &api.HealthCheck{Check: "HTTP", Path: "/healthz", Statuses: []int{200, 204}, IntervalSeconds: 5, TimeoutSeconds: 2, Rise: 1, Fall: 4}
		set := must(c.PutClusterTraffic(ctx, id, api.ClusterTrafficUpdate{
			Backends: []api.BackendTrafficUpdate{{Address: backend, Weight: &weight, Draining: &yes}}, Health: check, ProxyProtocol: &yes,
			DeniedPorts: &[]int{3389, 22}, Limits: &api.TrafficLimitsUpdate{Flows: &flows},
		}))(t)
		want := api.ClusterTraffic{
			Backends: []api.BackendTraffic{{Address: backend, Weight: 5, Draining: true}}, Health: *check, ProxyProtocol: true,
			DeniedPorts: []int{22, 3389}, Limits: api.TrafficLimits{Flows: 1000},
		}
		same(t, want, set)
		same(t, want, must(c.ClusterTraffic(ctx, id))(t))
		no := false
		want.Backends[0].Draining, want.DeniedPorts = false, []int{}
		same(t, want, must(c.UpdateClusterTraffic(ctx, id, api.ClusterTrafficUpdate{
			Backends: []api.BackendTrafficUpdate{{Address: backend, Draining: &no}}, DeniedPorts: &[]int{},
		}))(t))
		want.Health = api.HealthCheck{Check: "NONE"}
		same(t, want, must(c.UpdateClusterTraffic(ctx, id, api.ClusterTrafficUpdate{Health: &want.Health}))(t))
		same(t, asNew, must(c.PutClusterTraffic(ctx, id, api.ClusterTrafficUpdate{}))(t))
	})

	t.Run("service profile", func(t *testing.T) {
		same(t, api.ServiceProfile{Ports: []api.PortRule{}}, must(c.ServiceProfile(ctx))(t))
		same(t, api.EventList{Events: []api.Event{}}, must(c.ServiceProfileEvents(ctx, api.Page{}))(t))
		rules := []api.PortRule{{Port: 22, Denied: true}, {Port: 443, Protocol: "TLS", Traffic: "UI"}, {Port: 2022, Protocol: "TCP", BackendPort: 22}}
		got := must(c.PutServiceProfile(ctx, api.ServiceProfile{Ports: []api.PortRule{rules[2], rules[0], rules[1]}}))(t)
		same(t, rules, got.Ports)
		same(t, got, must(c.ServiceProfile(ctx))(t))
		history(t, must(c.ServiceProfileEvents(ctx, api.Page{}))(t))
		same(t, api.ServiceProfile{Ports: []api.PortRule{}}, must(c.PutServiceProfile(ctx, api.ServiceProfile{Ports: []api.PortRule{}}))(t))
	})

	t.Run("services", func(t *testing.T) {
		first := must(c.CreateServices(ctx, id))(t)
		same(t, first, must(c.CreateServices(ctx, id))(t))
		same(t, first, must(c.Services(ctx, id))(t))
		if len(first) != 1 || first[0].Status != "CREATING" || first[0].RegionName != "us-east-1" || first[0].AWS == nil {
			t.Errorf("services %+v", first)
		}
		history(t, must(c.ServiceEvents(ctx, id, "us-east-1", api.Page{}))(t))
		if r := must(c.Regions(ctx))(t); r[0].Service == nil {
			t.Errorf("the region shows no service: %+v", r[0])
		}
	})

	t.Run("trusted owners", func(t *testing.T) {
		req := api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: account}
		o := must(c.AddTrustedOwner(ctx, id, req))(t)
		same(t, o, must(c.AddTrustedOwner(ctx, id, req))(t))
		same(t, o, must(c.TrustedOwner(ctx, id, o.ID))(t))
		same(t, []api.TrustedOwner{o}, must(c.TrustedOwners(ctx, id))(t))
		history(t, must(c.TrustedOwnerEvents(ctx, id, o.ID, api.Page{}))(t))
		same(t, o, must(c.RemoveTrustedOwner(ctx, id, o.ID))(t))
		same(t, []api.TrustedOwner{}, must(c.TrustedOwners(ctx, id))(t))
		must(c.AddTrustedOwner(ctx, id, req))(t)
	})

	t.Run("connections", func(t *testing.T) {
		conn := must(c.AddConnection(ctx, id, endpointA))(t)
		if conn.Status != api.StatusPending || conn.EndpointID != endpointA || len(conn.Conditions) == 0 {
			t.Errorf("connection %+v", conn)
		}
		same(t, []api.Connection{conn}, must(c.Connections(ctx, id))(t))
		same(t, conn, must(c.AddConnection(ctx, id, endpointA))(t))
		same(t, conn, must(c.Connection(ctx, id, endpointA))(t))
		history(t, must(c.ConnectionEvents(ctx, id, endpointA, api.Page{}))(t))
		for range 2 {
			if err := c.DeleteConnection(ctx, id, endpointA); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("project connections", func(t *testing.T) {
		project := w.cluster.ProjectID
		owner := must(c.AddProjectTrustedOwner(ctx, project, api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: account}))(t)
		if owner.ProjectID != project || owner.ClusterID != "" {
			t.Errorf("owner %+v", owner)
		}
		same(t, []api.TrustedOwner{owner}, must(c.ProjectTrustedOwners(ctx, project))(t))
		same(t, owner, must(c.ProjectTrustedOwner(ctx, project, owner.ID))(t))
		history(t, must(c.ProjectTrustedOwnerEvents(ctx, project, owner.ID, api.Page{}))(t))
		req := api.AddProjectConnectionRequest{EndpointID: endpointA, CloudProvider: "AWS", Region: "us-east-1"}
		conn := must(c.AddProjectConnection(ctx, project, req))(t)
		if conn.Status != api.StatusPending || conn.EndpointID != endpointA || conn.RegionName != "us-east-1" || len(conn.Conditions) == 0 {
			t.Errorf("connection %+v", conn)
		}
		same(t, conn, must(c.AddProjectConnection(ctx, project, req))(t))
		same(t, []api.Connection{conn}, must(c.ProjectConnections(ctx, project))(t))
		same(t, conn, must(c.ProjectConnection(ctx, project, endpointA))(t))
		history(t, must(c.ProjectConnectionEvents(ctx, project, endpointA, api.Page{}))(t))
		if own := must(c.Connections(ctx, id))(t); slices.ContainsFunc(own, func(c api.Connection) bool { return c.EndpointID == endpointA && c.Status != api.StatusDeleting }) {
			t.Errorf("the cluster lists the project's connection as its own: %+v", own)
		}
		for range 2 {
			if err := c.DeleteProjectConnection(ctx, project, endpointA); err != nil {
				t.Error(err)
			}
		}
		same(t, owner, must(c.RemoveProjectTrustedOwner(ctx, project, owner.ID))(t))
	})

	t.Run("aws endpoint connections", func(t *testing.T) {
		w.see(t, endpointB, account, link.PendingAcceptance)
		list := must(c.AWSEndpointConnections(ctx, id))(t)
		if len(list) != 1 || list[0].EndpointID != endpointB || list[0].Status != "PENDING_ACCEPTANCE" || list[0].ExternalOwnerID != account {
			t.Fatalf("endpoints %+v", list)
		}
		if len(list[0].Conditions) != 1 || list[0].Conditions[0].Reason != "NOT_REGISTERED" || list[0].Conditions[0].NextStep == "" {
			t.Errorf("conditions %+v", list[0].Conditions)
		}
		before := must(c.SetAWSEndpointConnection(ctx, id, endpointB, "AVAILABLE"))(t)
		if before.Status != "PENDING_ACCEPTANCE" {
			t.Errorf("before: %+v", before)
		}
		if conns := must(c.Connections(ctx, id))(t); !slices.ContainsFunc(conns, func(c api.Connection) bool { return c.EndpointID == endpointB }) {
			t.Errorf("connections %+v", conns)
		}
		after := must(c.AWSEndpointConnections(ctx, id))(t)
		conn := must(c.Connection(ctx, id, endpointB))(t)
		if len(after) != 1 || !after[0].CreatedAt.Equal(conn.CreatedAt) || after[0].UpdatedAt.Before(list[0].UpdatedAt) {
			t.Fatalf("endpoints %+v, connection %+v", after, conn)
		}
		same(t, conn.Conditions, after[0].Conditions)
	})

	t.Run("claims", func(t *testing.T) {
		made := must(c.CreateClaim(ctx, id, api.CreateClaimRequest{TTLSeconds: 600}))(t)
		if made.State != "OPEN" || made.RegionName != "us-east-1" || made.Name != made.Code+".claim.us-east-1.pe.postern.test" ||
			!strings.Contains(made.Command, "https://"+made.Name) || made.ExpiresAt.Sub(made.CreatedAt) != 10*time.Minute {
			t.Errorf("%+v", made)
		}
		list := must(c.Claims(ctx, id, api.Page{}))(t).Claims
		same(t, []api.Claim{made.Claim}, list)
		same(t, made.Claim, must(c.Claim(ctx, id, made.ID))(t))
		other := must(c.CreateClaim(ctx, id, api.CreateClaimRequest{}))(t)
		for range 2 {
			if revoked := must(c.RevokeClaim(ctx, id, other.ID))(t); revoked.State != "REVOKED" || revoked.RevokedAt.IsZero() {
				t.Errorf("%+v", revoked)
			}
		}
		const claiming = "vpce-0c1a1000000000000"
		w.see(t, claiming, account, link.Available)
		spoken := api.GatewayReport{GatewayID: "gw-1", BatchID: "claims", SentAt: made.CreatedAt, Claims: []api.GatewayClaim{
			{ClaimID: made.ID, EndpointID: claiming, Source: "10.1.2.3", At: made.CreatedAt},
		}}
		if err := gw.Report(ctx, spoken); err != nil {
			t.Fatal(err)
		}
		list = must(c.Claims(ctx, id, api.Page{}))(t).Claims
		if len(list) != 2 || list[0].State != "USED" || list[0].EndpointID != claiming || list[0].UsedAt.IsZero() || list[1].State != "REVOKED" {
			t.Errorf("claims %+v", list)
		}
		conn := must(c.Connection(ctx, id, claiming))(t)
		if conn.Status != api.StatusPending {
			t.Errorf("connection %+v", conn)
		}
		history(t, must(c.ConnectionEvents(ctx, id, claiming, api.Page{}))(t))
		if err := c.DeleteConnection(ctx, id, claiming); err != nil {
			t.Error(err)
		}
	})

	t.Run("allow list", func(t *testing.T) {
		start := must(c.AllowList(ctx, id, api.Page{}))(t)
		if len(start.AllowList) != 2 || start.AllowList[0].CIDRIP != "0.0.0.0" || start.AllowList[1].CIDRIP != "::" || start.Propagating {
			t.Errorf("allow list %+v", start)
		}
		e := api.AllowEntry{CIDRIP: "203.0.113.0", CIDRMask: 24, SQL: true, Name: "office"}
		same(t, e, must(c.AddAllowEntry(ctx, id, e))(t))
		same(t, e, must(c.AllowEntry(ctx, id, e.CIDRIP, 24))(t))
		yes, name := true, "branch"
		e.SQL, e.UI, e.Name = false, true, ""
		same(t, e, must(c.PutAllowEntry(ctx, id, e.CIDRIP, 24, api.AllowEntryUpdate{UI: &yes}))(t))
		e.Name = name
		same(t, e, must(c.UpdateAllowEntry(ctx, id, e.CIDRIP, 24, api.AllowEntryUpdate{Name: &name}))(t))
		same(t, e, must(c.RemoveAllowEntry(ctx, id, e.CIDRIP, 24))(t))
		same(t, start.AllowList, must(c.AllowList(ctx, id, api.Page{}))(t).AllowList)
		v6 := api.AllowEntry{CIDRIP: "2001:db8::", CIDRMask: 32, UI: true}
		same(t, v6, must(c.PutAllowEntry(ctx, id, v6.CIDRIP, 32, api.AllowEntryUpdate{UI: &yes}))(t))
		page := must(c.AllowList(ctx, id, api.Page{Limit: 2}))(t)
		rest := must(c.AllowList(ctx, id, api.Page{Limit: 2, Token: page.Pagination.NextPage}))(t)
		same(t, []api.AllowEntry{v6}, rest.AllowList)
	})

	t.Run("what gateways tell", func(t *testing.T) {
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		ended := at.Add(time.Minute)
		key := bytes.Repeat([]byte{7}, ed25519.PublicKeySize)
		s, err := w.gateway.Rules(within(t), api.GatewayHello{GatewayID: "gw-1", ProofKey: key})
		if err != nil {
			t.Fatal(err)
		}
		rules, err := s.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := gw.Acknowledge(ctx, api.GatewayAck{GatewayID: "gw-1", Revision: rules.Revision}); err != nil {
			t.Error(err)
		}
		report := api.GatewayReport{
			GatewayID: "gw-1", BatchID: "b1", SentAt: at,
			Flows: []api.GatewayFlow{
				{ID: "f1", ClusterID: id, Listener: "private", EndpointID: endpointB, Source: "10.1.2.3:4567", Name: "acme.us-east-1.pe.postern.test", StartedAt: at},
				{ID: "f2", ClusterID: id, Listener: "public", Source: "203.0.113.9:1", Name: "acme.us-east-1.postern.test", StartedAt: at.Add(time.Second), EndedAt: &ended, BytesIn: 1, BytesOut: 2, CloseReason: "CLIENT_CLOSED"},
			},
			Refused: []api.GatewayRefusal{
				{ClusterID: id, Listener: "private", EndpointID: endpointA, Name: "acme.us-east-1.pe.postern.test", Source: "10.9.9.9", Reason: "ENDPOINT_NOT_AUTHORISED", Count: 3, FirstAt: at, LastAt: ended},
				{Listener: "public", Name: "nowhere.test", Source: "203.0.113.1", Reason: "UNKNOWN_NAME", Count: 1, FirstAt: at, LastAt: at},
			},
			Backends: []api.GatewayBackend{{ClusterID: id, Backend: "127.0.0.1:9443", Healthy: true, At: at}},
		}
		for range 2 { // the same batch again changes nothing
			if err := gw.Report(ctx, report); err != nil {
				t.Fatal(err)
			}
		}
		flows := must(c.Flows(ctx, id, api.Page{}))(t).Flows
		if len(flows) != 2 || flows[0].ID != "f2" || flows[0].BytesOut != 2 || !flows[0].EndedAt.Equal(ended) || flows[1].ID != "f1" ||
			!flows[1].EndedAt.IsZero() || flows[1].EndpointID != endpointB || flows[1].GatewayID != "gw-1" {
			t.Errorf("flows %+v", flows)
		}
		same(t, []api.RefusedAttempt{{
			ClusterID: id, Listener: "private", EndpointID: endpointA, Name: "acme.us-east-1.pe.postern.test", Source: "10.9.9.9",
			Reason: "ENDPOINT_NOT_AUTHORISED", Count: 3, FirstAt: at, LastAt: ended,
		}}, must(c.RefusedAttempts(ctx, id, api.Page{}))(t).RefusedAttempts)
		same(t, []api.RefusedAttempt{{
			Listener: "public", Name: "nowhere.test", Source: "203.0.113.1", Reason: "UNKNOWN_NAME", Count: 1, FirstAt: at, LastAt: at,
		}}, must(c.UnroutedAttempts(ctx, api.Page{}))(t).RefusedAttempts)
		seen := must(c.Gateways(ctx))(t)
		if seen.RulesRevision != rules.Revision {
			t.Errorf("rules revision %d, want %d", seen.RulesRevision, rules.Revision)
		}
		gws := seen.Gateways
		if len(gws) != 1 || gws[0].ID != "gw-1" || gws[0].AppliedRevision != rules.Revision || !bytes.Equal(gws[0].ProofKey, key) {
			t.Errorf("gateways %+v", gws)
		}
		same(t, []api.ProofKey{{GatewayID: "gw-1", Key: key}}, must(c.ProofKeys(ctx, id))(t))
	})

	t.Run("health", func(t *testing.T) {
		if err := c.Healthy(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Ready(ctx); err != nil {
			t.Error(err)
		}
	})
}

// must returns v and fails the test that it is applied to when err is not nil.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func same[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// history checks that an object's events begin with one that says who and what.
func history(t *testing.T, l api.EventList) {
	t.Helper()
	if len(l.Events) == 0 {
		t.Error("no history")
		return
	}
	for _, e := range l.Events {
		if e.Type == "" || e.Message == "" || e.Actor == "" || e.At.IsZero() {
			t.Errorf("event %+v", e)
		}
	}
}
