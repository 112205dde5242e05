package gateway

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// The gateway with the real control plane: what an operator does through the API reaches the flows, and what the
// gateway saw reaches the operator.
func TestWithTheRealControlPlane(t *testing.T) {
	const owner, operatorToken = "123456789012", "the-operator's-token"
	ctx := t.Context()
	log := testLog(t)
	st, err := store.Open(ctx, t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	done := make(chan struct{})
	srv := httptest.NewServer(httpapi.New(control.New(st, control.Options{Domain: "postern.test", Log: log}), httpapi.Options{
		Log: log, Version: "v-test", Done: done,
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	t.Cleanup(func() { close(done) })
	w := newWorld(t, func(c *Config) { c.ControlURL = srv.URL })
	err = st.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.PutEndpoint(link.Endpoint{
			Provider: link.AWS, Region: "us-east-1", ServiceID: "vpce-svc-0a1b2c3d4e5f60718", ID: endpointA, OwnerID: owner,
			State: link.Available, SeenAt: tx.Now(),
		})
		return errors.Join(err, tx.PutToken("alice", string(policy.Operator), operatorToken), tx.PutToken("gw-1", string(policy.Gateway), testToken))
	})
	if err != nil {
		t.Fatal(err)
	}
	operator := api.New(srv.URL, operatorToken)
	project, err := operator.CreateProject(ctx, api.CreateProjectRequest{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.PutRegion(ctx, "AWS", "us-east-1", api.PutRegionRequest{
		VPCID: "vpc-0a1b2c3d4e5f60718", SubnetIDs: []string{"subnet-0a1b2c3d4e5f60718"}, GatewayTargets: []string{w.g.PrivateAddr().String()},
	}); err != nil {
		t.Fatal(err)
	}
	cluster, err := operator.CreateCluster(ctx, api.CreateClusterRequest{
		ProjectID: project.ID, Name: "acme", CloudProvider: "AWS", Regions: []string{"us-east-1"}, Backends: []string{w.acme.addr},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.AddTrustedOwner(ctx, cluster.ID, api.AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: owner}); err != nil {
		t.Fatal(err)
	}
	if _, err := operator.AddConnection(ctx, cluster.ID, endpointA); err != nil {
		t.Fatal(err)
	}
	applied := func() bool {
		seen, err := operator.Gateways(ctx)
		if err != nil {
			t.Fatal(err)
		}
		gateways := seen.Gateways
		list, err := operator.AllowList(ctx, cluster.ID, api.Page{})
		if err != nil {
			t.Fatal(err)
		}
		return len(gateways) == 1 && gateways[0].AppliedRevision > 0 && gateways[0].AppliedRevision == w.g.Revision() && !list.Propagating
	}
	eventually(t, "the rules are applied and acknowledged", applied)

	flow := w.open(endpointA, acmePrivate)
	echo(t, flow, "through the real control plane's rules")
	if _, err := w.tls(w.balancer(endpointB), acmePrivate); err == nil {
		t.Error("an endpoint that nobody connected got through")
	}
	eventually(t, "flow and refused attempt are listed", func() bool {
		flows, err := operator.Flows(ctx, cluster.ID, api.Page{})
		if err != nil {
			t.Fatal(err)
		}
		refused, err := operator.RefusedAttempts(ctx, cluster.ID, api.Page{})
		if err != nil {
			t.Fatal(err)
		}
		return len(flows.Flows) == 1 && flows.Flows[0].EndpointID == endpointA && len(refused.RefusedAttempts) == 1 &&
			refused.RefusedAttempts[0].EndpointID == endpointB && refused.RefusedAttempts[0].Reason == policy.EndpointNotAuthorised
	})
	keys, err := operator.ProofKeys(ctx, cluster.ID)
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Key, w.cfg.Key.Public().(ed25519.PublicKey)) {
		t.Errorf("proof keys %+v, %v", keys, err)
	}

	start := time.Now()
	if err := operator.DeleteConnection(ctx, cluster.ID, endpointA); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(flow)
	if took := time.Since(start); err == nil || took > time.Second {
		t.Errorf("the flow ended %v after its connection, with %v: it has to be cut within a second", took, err)
	}
	eventually(t, "the flow's end is listed", func() bool {
		flows, err := operator.Flows(ctx, cluster.ID, api.Page{})
		return err == nil && flows.Flows[0].CloseReason == reasonRevoked
	})
}

// eventually asks until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > testPatient {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
