package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/httpapi"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

const (
	operatorToken = "operator-token-of-the-test"
	gatewayToken  = "gateway-token-of-the-test"
	endpointA     = "vpce-0a1b2c3d4e5f60718"
	endpointB     = "vpce-0ffffffffffffffff"
	account       = "123456789012"
)

// world is the API over a real control plane over a real store, with one project, region and cluster in it.
type world struct {
	url     string
	client  *api.Client // the operator's
	gateway *api.Client
	store   *store.Store
	cluster api.Cluster
	log     *syncBuffer
	stop    func()       // ends the streams, as a server that shuts down does
	later   atomic.Int64 // by how much the store's clock is ahead
}

// unlimited lets everybody ask as often as a test does.
var unlimited = httpapi.Rates{Callers: httpapi.Rate{PerSecond: -1}, Addresses: httpapi.Rate{PerSecond: -1}, SignIns: httpapi.Rate{PerSecond: -1}}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, storetest.New(t))
}

func newWorldOn(t *testing.T, d storetest.Database) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.store, err = d.TryOpen(ctx, store.Options{
		Log: log, Now: func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() }) // a test may have closed it
	err = w.store.Write(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.PutToken("alice", string(policy.Operator), operatorToken), tx.PutToken("gw-1", string(policy.Gateway), gatewayToken))
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	w.stop = sync.OnceFunc(func() { close(done) })
	plane := control.New(w.store, control.Options{Domain: "postern.test", Log: log, AuditKey: auditKey})
	handler := httpapi.New(plane, httpapi.Options{
		Log: log, Version: "v-test", KeepAlive: 20 * time.Millisecond, Rates: unlimited, Done: done, Ready: w.store.Ready,
	})
	srv := httptest.NewServer(truthful(t, handler))
	t.Cleanup(srv.Close)
	t.Cleanup(w.stop)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	w.url = srv.URL
	w.client, w.gateway = api.New(srv.URL, operatorToken), api.New(srv.URL, gatewayToken)

	project, err := w.client.CreateProject(ctx, api.CreateProjectRequest{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.PutRegion(ctx, "AWS", "us-east-1", api.PutRegionRequest{
		VPCID: "vpc-0a1b2c3d4e5f60718", SubnetIDs: []string{"subnet-0a1b2c3d4e5f60718"}, GatewayTargets: []string{"127.0.0.1:8443"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.cluster, err = w.client.CreateCluster(ctx, api.CreateClusterRequest{
		ProjectID: project.ID, Name: "acme", CloudProvider: "AWS", Regions: []string{"us-east-1"}, Backends: []string{"127.0.0.1:9443"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// ahead sets the store's clock ahead.
func (w *world) ahead(d time.Duration) { w.later.Add(int64(d)) }

// see makes the store know an endpoint as if a cloud had shown it.
func (w *world) see(t *testing.T, id, owner string, state link.State) {
	t.Helper()
	err := w.store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.PutEndpoint(link.Endpoint{
			Provider: link.AWS, Region: "us-east-1", ServiceID: "vpce-svc-0a1b2c3d4e5f60718", ID: link.EndpointID(id),
			OwnerID: owner, State: state, SeenAt: tx.Now(),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request as it is and returns the answer.
func (w *world) send(t *testing.T, method, path, body string, header map[string]string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+operatorToken)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		if v == "" {
			req.Header.Del(k)
		} else {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

// state is everything that a request could have changed, as the API and the rules show it.
func (w *world) state(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	var out bytes.Buffer
	put := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(b, '\n'))
	}
	id := w.cluster.ID
	put(w.client.Projects(ctx, api.Page{}))
	put(w.client.Organisations(ctx, api.Page{}))
	put(w.client.People(ctx, api.Page{}))
	put(w.client.ServiceAccounts(ctx, api.Page{}))
	put(w.client.Members(ctx, api.Scope{Scope: "INSTALLATION"}, api.Page{}))
	put(w.client.Regions(ctx))
	put(w.client.Clusters(ctx, api.Page{}))
	put(w.client.Services(ctx, id))
	put(w.client.Connections(ctx, id))
	put(w.client.AWSEndpointConnections(ctx, id))
	put(w.client.TrustedOwners(ctx, id))
	put(w.client.ProjectConnections(ctx, w.cluster.ProjectID))
	put(w.client.ProjectTrustedOwners(ctx, w.cluster.ProjectID))
	put(w.client.AllowList(ctx, id, api.Page{}))
	put(w.client.ClusterTraffic(ctx, id))
	put(w.client.ClientCertificates(ctx, id))
	put(w.client.TrustedCertificates(ctx, id))
	put(w.client.RevokedCertificates(ctx, id, api.Page{}))
	put(w.client.ServiceProfile(ctx))
	put(w.client.Claims(ctx, id, api.Page{}))
	put(w.client.ClusterEvents(ctx, id, api.Page{}))
	put(w.client.Flows(ctx, id, api.Page{}))
	put(w.client.RefusedAttempts(ctx, id, api.Page{}))
	put(w.client.Gateways(ctx))
	err := w.store.Read(ctx, func(tx *store.Tx) error {
		return tx.Rules(100, func(v link.RulesVersion, part link.RuleSet) error {
			put(part, nil)
			put(v, nil)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// within runs f with a context that ends after a minute, long after everything here has happened.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
