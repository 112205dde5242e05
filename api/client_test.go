package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve starts a server that answers everything with h, and a client of it whose waits are recorded, not slept.
func serve(t *testing.T, h http.HandlerFunc, opts ...Option) (*Client, *[]time.Duration) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	var waits []time.Duration
	opts = append([]Option{WithHTTPClient(srv.Client()), withSleep(func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	})}, opts...)
	return New(srv.URL+"/", "secret", opts...), &waits
}

// Every method's request: what goes over the wire is the contract.
func TestRequests(t *testing.T) {
	const cl = "/api/v1/clusters/c1"
	const net = cl + "/networking"
	yes := true
	sends(t, map[string]request{
		"Projects": {ask(func(ctx context.Context, c *Client) (any, error) { return c.Projects(ctx, Page{}) }), "GET /api/v1/projects"},
		"Project":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.Project(ctx, "p1") }), "GET /api/v1/projects/p1"},
		"CreateProject": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateProject(ctx, CreateProjectRequest{Name: "acme"})
		}), `POST /api/v1/projects {"name":"acme"}`},
		"ProjectEvents": {ask(func(ctx context.Context, c *Client) (any, error) { return c.ProjectEvents(ctx, "p1", Page{}) }), "GET /api/v1/projects/p1/events"},
		"Regions":       {ask(func(ctx context.Context, c *Client) (any, error) { return c.Regions(ctx) }), "GET /api/v1/regions"},
		"PutRegion": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.PutRegion(ctx, "AWS", "us-east-1", PutRegionRequest{VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"}, GatewayTargets: []string{"10.0.0.1:1"}, Ports: []int{443}})
		}), `PUT /api/v1/regions/AWS/us-east-1 {"vpc_id":"vpc-1","subnet_ids":["subnet-1"],"gateway_targets":["10.0.0.1:1"],"ports":[443]}`},
		"RegionEvents": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.RegionEvents(ctx, "AWS", "us-east-1", Page{})
		}), "GET /api/v1/regions/AWS/us-east-1/events"},
		"Clusters": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.Clusters(ctx, Page{Token: "a b", Limit: 7, Descending: true})
		}), "GET /api/v1/clusters?pagination.limit=7&pagination.page=a+b&pagination.sort_order=DESC"},
		"Cluster": {ask(func(ctx context.Context, c *Client) (any, error) { return c.Cluster(ctx, "c1") }), "GET " + cl},
		"CreateCluster": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateCluster(ctx, CreateClusterRequest{ProjectID: "p1", Name: "acme", CloudProvider: "AWS", Regions: []string{"us-east-1"}})
		}), `POST /api/v1/clusters {"project_id":"p1","name":"acme","cloud_provider":"AWS","regions":["us-east-1"]}`},
		"UpdateCluster": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateCluster(ctx, "c1", UpdateClusterRequest{Backends: &[]string{}, CustomNames: &[]string{"a.example"}})
		}), "PATCH " + cl + ` {"backends":[],"custom_names":["a.example"]}`},
		"DeleteCluster":  {func(ctx context.Context, c *Client) error { return c.DeleteCluster(ctx, "c1") }, "DELETE " + cl},
		"ClusterEvents":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.ClusterEvents(ctx, "c1", Page{}) }), "GET " + cl + "/events"},
		"ClusterTraffic": {ask(func(ctx context.Context, c *Client) (any, error) { return c.ClusterTraffic(ctx, "c1") }), "GET " + cl + "/traffic"},
		"PutClusterTraffic": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.PutClusterTraffic(ctx, "c1", ClusterTrafficUpdate{})
		}), "PUT " + cl + "/traffic {}"},
		"UpdateClusterTraffic": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateClusterTraffic(ctx, "c1", ClusterTrafficUpdate{
				Backends: []BackendTrafficUpdate{{Address: "a:1", Draining: &yes}}, DeniedPorts: &[]int{}, Limits: &TrafficLimitsUpdate{Flows: new(int)},
			})
		}), "PATCH " + cl + `/traffic {"backends":[{"address":"a:1","draining":true}],"denied_ports":[],"limits":{"flows":0}}`},
		"ServiceProfile": {ask(func(ctx context.Context, c *Client) (any, error) { return c.ServiceProfile(ctx) }), "GET /api/v1/service-profile"},
		"PutServiceProfile": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.PutServiceProfile(ctx, ServiceProfile{Ports: []PortRule{{Port: 22, Denied: true}}})
		}), `PUT /api/v1/service-profile {"ports":[{"port":22,"denied":true}]}`},
		"ServiceProfileEvents": {ask(func(ctx context.Context, c *Client) (any, error) { return c.ServiceProfileEvents(ctx, Page{}) }), "GET /api/v1/service-profile/events"},
		"Claims":               {ask(func(ctx context.Context, c *Client) (any, error) { return c.Claims(ctx, "c1", Page{Limit: 7}) }), "GET " + net + "/claims?pagination.limit=7"},
		"CreateClaim": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateClaim(ctx, "c1", CreateClaimRequest{TTLSeconds: 60})
		}), "POST " + net + `/claims {"ttl_seconds":60}`},
		"RevokeClaim":     {ask(func(ctx context.Context, c *Client) (any, error) { return c.RevokeClaim(ctx, "c1", "k1") }), "DELETE " + net + "/claims/k1"},
		"PublicAccess":    {ask(func(ctx context.Context, c *Client) (any, error) { return c.PublicAccess(ctx, "c1") }), "GET " + net + "/public-access"},
		"SetPublicAccess": {ask(func(ctx context.Context, c *Client) (any, error) { return c.SetPublicAccess(ctx, "c1", "DISABLED") }), "PUT " + net + `/public-access {"mode":"DISABLED"}`},
		"Services":        {ask(func(ctx context.Context, c *Client) (any, error) { return c.Services(ctx, "c1") }), "GET " + net + "/private-endpoint-services"},
		"CreateServices":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.CreateServices(ctx, "c1") }), "POST " + net + "/private-endpoint-services"},
		"ServiceEvents": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.ServiceEvents(ctx, "c1", "us-east-1", Page{})
		}), "GET " + net + "/private-endpoint-services/us-east-1/events"},
		"Connections": {ask(func(ctx context.Context, c *Client) (any, error) { return c.Connections(ctx, "c1") }), "GET " + net + "/private-endpoint-connections"},
		"Connection":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.Connection(ctx, "c1", "vpce-1") }), "GET " + net + "/private-endpoint-connections/vpce-1"},
		"an id with slashes": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.Connection(ctx, "c1", "/subscriptions/a b/é")
		}), "GET " + net + "/private-endpoint-connections/%2Fsubscriptions%2Fa%20b%2F%C3%A9"},
		"an id of dots":    {ask(func(ctx context.Context, c *Client) (any, error) { return c.Connection(ctx, "c1", "..") }), "GET " + net + "/private-endpoint-connections/%2E%2E"},
		"AddConnection":    {ask(func(ctx context.Context, c *Client) (any, error) { return c.AddConnection(ctx, "c1", "vpce-1") }), "POST " + net + `/private-endpoint-connections {"endpoint_id":"vpce-1"}`},
		"DeleteConnection": {func(ctx context.Context, c *Client) error { return c.DeleteConnection(ctx, "c1", "vpce-1") }, "DELETE " + net + "/private-endpoint-connections/vpce-1"},
		"ConnectionEvents": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.ConnectionEvents(ctx, "c1", "vpce-1", Page{Token: "x"})
		}), "GET " + net + "/private-endpoint-connections/vpce-1/events?pagination.page=x"},
		"AWSEndpointConnections": {ask(func(ctx context.Context, c *Client) (any, error) { return c.AWSEndpointConnections(ctx, "c1") }), "GET " + net + "/aws-endpoint-connections"},
		"SetAWSEndpointConnection": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.SetAWSEndpointConnection(ctx, "c1", "vpce-1", "REJECTED")
		}), "PATCH " + net + `/aws-endpoint-connections/vpce-1 {"status":"REJECTED"}`},
		"TrustedOwners": {ask(func(ctx context.Context, c *Client) (any, error) { return c.TrustedOwners(ctx, "c1") }), "GET " + net + "/private-endpoint-trusted-owners"},
		"TrustedOwner":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.TrustedOwner(ctx, "c1", "o1") }), "GET " + net + "/private-endpoint-trusted-owners/o1"},
		"AddTrustedOwner": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.AddTrustedOwner(ctx, "c1", AddTrustedOwnerRequest{Type: "AWS_ACCOUNT_ID", ExternalOwnerID: "123456789012"})
		}), "POST " + net + `/private-endpoint-trusted-owners {"type":"AWS_ACCOUNT_ID","external_owner_id":"123456789012"}`},
		"RemoveTrustedOwner": {ask(func(ctx context.Context, c *Client) (any, error) { return c.RemoveTrustedOwner(ctx, "c1", "o1") }), "DELETE " + net + "/private-endpoint-trusted-owners/o1"},
		"TrustedOwnerEvents": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.TrustedOwnerEvents(ctx, "c1", "o1", Page{})
		}), "GET " + net + "/private-endpoint-trusted-owners/o1/events"},
		"AllowList": {ask(func(ctx context.Context, c *Client) (any, error) { return c.AllowList(ctx, "c1", Page{}) }), "GET " + net + "/allowlist"},
		"AddAllowEntry": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.AddAllowEntry(ctx, "c1", AllowEntry{CIDRIP: "10.0.0.0", CIDRMask: 8, UI: true})
		}), "POST " + net + `/allowlist {"cidr_ip":"10.0.0.0","cidr_mask":8,"ui":true,"sql":false}`},
		"PutAllowEntry": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.PutAllowEntry(ctx, "c1", "2001:db8::", 32, AllowEntryUpdate{SQL: &yes})
		}), "PUT " + net + `/allowlist/2001:db8::/32 {"sql":true}`},
		"UpdateAllowEntry": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateAllowEntry(ctx, "c1", "10.0.0.0", 8, AllowEntryUpdate{UI: &yes})
		}), "PATCH " + net + `/allowlist/10.0.0.0/8 {"ui":true}`},
		"RemoveAllowEntry": {ask(func(ctx context.Context, c *Client) (any, error) { return c.RemoveAllowEntry(ctx, "c1", "10.0.0.0", 8) }), "DELETE " + net + "/allowlist/10.0.0.0/8"},
		"RefusedAttempts":  {ask(func(ctx context.Context, c *Client) (any, error) { return c.RefusedAttempts(ctx, "c1", Page{}) }), "GET " + net + "/refused-attempts"},
		"UnroutedAttempts": {ask(func(ctx context.Context, c *Client) (any, error) { return c.UnroutedAttempts(ctx, Page{}) }), "GET /api/v1/refused-attempts"},
		"Flows":            {ask(func(ctx context.Context, c *Client) (any, error) { return c.Flows(ctx, "c1", Page{}) }), "GET " + net + "/flows"},
		"ProofKeys":        {ask(func(ctx context.Context, c *Client) (any, error) { return c.ProofKeys(ctx, "c1") }), "GET " + net + "/proof-keys"},
		"Gateways":         {ask(func(ctx context.Context, c *Client) (any, error) { return c.Gateways(ctx) }), "GET /api/v1/gateways"},
		"Rules": {func(ctx context.Context, c *Client) error {
			s, err := c.Rules(ctx, GatewayHello{GatewayID: "g 1", ProofKey: []byte{0xfb, 0xff}, Revision: 3, Tag: "0a"})
			if err != nil {
				return err
			}
			return s.Close()
		}, "GET /api/v1/gateway/rules?gateway_id=g+1&proof_key=-_8&revision=3&tag=0a"},
		"Acknowledge": {func(ctx context.Context, c *Client) error {
			return c.Acknowledge(ctx, GatewayAck{GatewayID: "g1", Revision: 3})
		}, `POST /api/v1/gateway/ack {"gateway_id":"g1","revision":3}`},
		"Report": {func(ctx context.Context, c *Client) error {
			return c.Report(ctx, GatewayReport{GatewayID: "g1", BatchID: "b1"})
		}, `POST /api/v1/gateway/reports {"gateway_id":"g1","batch_id":"b1","sent_at":"0001-01-01T00:00:00Z"}`},
		"SignInMethods": {ask(func(ctx context.Context, c *Client) (any, error) { return c.SignInMethods(ctx) }), "GET /api/v1/login"},
		"SignInByPassword": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.SignInByPassword(ctx, PasswordSignInRequest{Email: "a@b", Password: "p"})
		}), `POST /api/v1/login/password {"email":"a@b","password":"p"}`},
		"SetPassword": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.SetPassword(ctx, SetPasswordRequest{Token: "t", Password: "p"})
		}), `POST /api/v1/login/set-password {"token":"t","password":"p"}`},
		"ExchangeCode": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.ExchangeCode(ctx, ExchangeCodeRequest{Code: "c", CodeVerifier: "v"})
		}), `POST /api/v1/login/code {"code":"c","code_verifier":"v"}`},
		"SignOut":     {func(ctx context.Context, c *Client) error { return c.SignOut(ctx) }, "POST /api/v1/logout"},
		"Sessions":    {ask(func(ctx context.Context, c *Client) (any, error) { return c.Sessions(ctx, "u1") }), "GET /api/v1/principals/u1/sessions"},
		"EndSession":  {func(ctx context.Context, c *Client) error { return c.EndSession(ctx, "u1", "s1") }, "DELETE /api/v1/principals/u1/sessions/s1"},
		"ResetSignIn": {ask(func(ctx context.Context, c *Client) (any, error) { return c.ResetSignIn(ctx, "u1") }), "POST /api/v1/people/u1/sign-in-reset"},
		"CreateAPIKey": {ask(func(ctx context.Context, c *Client) (any, error) {
			return c.CreateAPIKey(ctx, "u1", CreateAPIKeyRequest{Name: "ci", Ceiling: "VIEWER", Scope: &Scope{Scope: "CLUSTER", ScopeID: "c1"}})
		}), `POST /api/v1/principals/u1/api-keys {"name":"ci","ceiling":"VIEWER","scope":{"scope":"CLUSTER","scope_id":"c1"}}`},
		"APIKeys":      {ask(func(ctx context.Context, c *Client) (any, error) { return c.APIKeys(ctx, "u1", Page{Limit: 7}) }), "GET /api/v1/principals/u1/api-keys?pagination.limit=7"},
		"RevokeAPIKey": {ask(func(ctx context.Context, c *Client) (any, error) { return c.RevokeAPIKey(ctx, "u1", "k1") }), "DELETE /api/v1/principals/u1/api-keys/k1"},
		"OpenAPI":      {ask(func(ctx context.Context, c *Client) (any, error) { return c.OpenAPI(ctx) }), "GET /openapi.json"},
		"Healthy":      {func(ctx context.Context, c *Client) error { return c.Healthy(ctx) }, "GET /healthz"},
		"Ready":        {func(ctx context.Context, c *Client) error { return c.Ready(ctx) }, "GET /readyz"},
	})
}

// request is a call and what it sends.
type request struct {
	call func(context.Context, *Client) error
	want string // method, escaped path and query, body
}

// sends makes each call and compares what it sends.
func sends(t *testing.T, tests map[string]request) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got string
			c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = r.Method + " " + r.URL.RequestURI()
				if len(body) > 0 {
					got += " " + string(body)
					if ct := r.Header.Get("Content-Type"); ct != "application/json" {
						t.Errorf("Content-Type %q", ct)
					}
				}
				if a := r.Header.Get("Authorization"); a != "Bearer secret" {
					t.Errorf("Authorization %q", a)
				}
				_, _ = io.WriteString(w, "{}")
			})
			if err := tt.call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func ask(f func(context.Context, *Client) (any, error)) func(context.Context, *Client) error {
	return func(ctx context.Context, c *Client) error {
		_, err := f(ctx, c)
		return err
	}
}

func TestRetry(t *testing.T) {
	read := func(ctx context.Context, c *Client) error { _, err := c.Projects(ctx, Page{}); return err }
	write := func(ctx context.Context, c *Client) error { _, err := c.AddConnection(ctx, "c1", "vpce-1"); return err }
	tests := map[string]struct {
		call       func(context.Context, *Client) error
		status     int
		retryAfter string
		bad        int // this many bad answers, then a good one
		requests   int
		ok         bool
		wait       time.Duration // of each; -1 for any
	}{
		"a read waits as long as the server asks":       {read, 503, "2", 2, 3, true, 2 * time.Second},
		"a read waits when there are too many requests": {read, 429, "1", 1, 2, true, time.Second},
		"a read without Retry-After waits by itself":    {read, 503, "", 1, 2, true, -1},
		"a read gives up after four":                    {read, 503, "0", 9, 4, false, 0},
		"a wait that nobody sits out is an error":       {read, 503, "3600", 9, 1, false, 0},
		"other errors of the server are final":          {read, 500, "1", 9, 1, false, 0},
		"a bad gateway's too":                           {read, 502, "1", 9, 1, false, 0},
		"a write is sent once":                          {write, 503, "1", 1, 1, false, 0},
		"a write is sent once also when throttled":      {write, 429, "1", 1, 1, false, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			c, waits := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if int(requests.Add(1)) > tt.bad {
					_, _ = io.WriteString(w, "{}")
					return
				}
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				w.WriteHeader(tt.status)
			})
			err := tt.call(t.Context(), c)
			if (err == nil) != tt.ok || int(requests.Load()) != tt.requests {
				t.Errorf("%d requests and error %v; want %d and success %v", requests.Load(), err, tt.requests, tt.ok)
			}
			for _, w := range *waits {
				if tt.wait >= 0 && w != tt.wait || w > maxBackoff {
					t.Errorf("waited %v, want %v", w, tt.wait)
				}
			}
		})
	}
}

func TestRetryEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	requests := 0
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		cancel()
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}, WithAttempts(9))
	if err := c.Healthy(ctx); err == nil || requests != 1 {
		t.Errorf("%d requests, error %v", requests, err)
	}
}

func TestErrors(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		want   Error
	}{
		"as the API says it": {
			400, `{"code":3,"message":"not an endpoint id","details":[{"reason":"MALFORMED_ENDPOINT_ID","field":"endpoint_id","hint":"look"}]}`,
			Error{Status: 400, Code: 3, Message: "not an endpoint id", RequestID: "r1", Details: []ErrorDetail{{Reason: "MALFORMED_ENDPOINT_ID", Field: "endpoint_id", Hint: "look"}}},
		},
		"with fields of a later version": {
			404, `{"code":5,"message":"gone","details":[],"more":{"x":1}}`,
			Error{Status: 404, Code: 5, Message: "gone", RequestID: "r1", Details: []ErrorDetail{}},
		},
		"from a proxy in between": {
			502, "<html>Bad Gateway</html>",
			Error{Status: 502, RequestID: "r1", Message: "the server answered 502 Bad Gateway, not as this API does"},
		},
		"JSON of something else": {
			400, `{"error":"no"}`,
			Error{Status: 400, RequestID: "r1", Message: "the server answered 400 Bad Request, not as this API does"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Request-Id", "r1")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := c.Cluster(t.Context(), "c1")
			got, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("not an *Error: %v", err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if IsNotFound(err) != (tt.status == 404) {
				t.Errorf("IsNotFound(%v) is wrong", err)
			}
		})
	}
}

func TestAnswersThatCannotBeRead(t *testing.T) {
	for name, body := range map[string]string{"no JSON": "hello", "another shape": `{"projects":7}`, "half": `{"projects":[`} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
			if got, err := c.Projects(t.Context(), Page{}); err == nil {
				t.Errorf("no error, and %v", got)
			}
		})
	}
}

// The token must not stand in what a program prints when the server is away.
func TestErrorsKeepTheToken(t *testing.T) {
	c := New("http://127.0.0.1:1", "secret")
	_, err := c.Projects(t.Context(), Page{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestRuleStream(t *testing.T) {
	first := GatewayRules{Revision: 1, Tag: "0a", More: true}
	second := GatewayRules{From: 1, Revision: 2, Tag: "0b", Clusters: []GatewayClusterRules{{ClusterID: "c1", PrivateNames: []string{"a.pe.test"}}}}
	line := func(v any) string { b, _ := json.Marshal(v); return string(b) + "\n" }
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "\n"+line(first)+"\n\n"+line(second)+`{"revision":3`)
	})
	s, err := c.Rules(t.Context(), GatewayHello{GatewayID: "g1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // only read from
	signs := 0
	for _, want := range []GatewayRules{first, second} {
		got, err := s.Next(func() { signs++ })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
	}
	if signs != 5 {
		t.Errorf("%d signs of life, want 5", signs)
	}
	if _, err := s.Next(nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a document: %v, want unexpected EOF", err)
	}
}

func TestRuleStreamBoundsItsLines(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		long := strings.Repeat("x", 1<<20)
		for range 20 {
			if _, err := io.WriteString(w, long); err != nil {
				return
			}
		}
	})
	s, err := c.Rules(t.Context(), GatewayHello{GatewayID: "g1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // only read from
	if _, err := s.Next(nil); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a line without end: %v", err)
	}
}

func TestRuleStreamRefused(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"code":7,"message":"no","details":[{"reason":"OPERATOR_IS_NO_GATEWAY"}]}`)
	})
	if _, err := c.Rules(t.Context(), GatewayHello{GatewayID: "g1"}); Reason(err) != "OPERATOR_IS_NO_GATEWAY" {
		t.Errorf("error %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	soon := time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat)
	tests := map[string]struct {
		header     string
		attempt    int
		least, top time.Duration
	}{
		"seconds":                     {"7", 1, 7 * time.Second, 7 * time.Second},
		"none":                        {"0", 1, 0, 0},
		"longer than is waited for":   {"11", 1, -1, -1},
		"a date":                      {soon, 1, 0, 3 * time.Second},
		"a date that has passed":      {"Mon, 02 Jan 2006 15:04:05 GMT", 1, 0, 0},
		"a date far off":              {"Fri, 01 Jan 2100 00:00:00 GMT", 1, -1, -1},
		"absent, the first time":      {"", 1, firstBackoff / 2, firstBackoff},
		"absent, the third time":      {"", 3, 2 * firstBackoff, 4 * firstBackoff},
		"absent, the thousandth time": {"", 1000, maxBackoff / 2, maxBackoff},
		"nonsense":                    {"soon", 1, firstBackoff / 2, firstBackoff},
		"less than none":              {"-5", 1, firstBackoff / 2, firstBackoff},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := retryAfter(tt.header, tt.attempt); got < tt.least || got > tt.top {
				t.Errorf("%v, want %v to %v", got, tt.least, tt.top)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	tests := map[string]struct {
		err  Error
		want string
	}{
		"with a hint":  {Error{Status: 400, Message: "not an endpoint id", Details: []ErrorDetail{{Reason: "X", Hint: "copy it"}}}, "not an endpoint id: copy it"},
		"without":      {Error{Status: 400, Message: "not an endpoint id", Details: []ErrorDetail{{Reason: "X"}}}, "not an endpoint id"},
		"with nothing": {Error{Status: 503}, "the API answered 503 Service Unavailable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// The wait between attempts ends with the context.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := sleep(ctx, 500*time.Millisecond); err != nil || time.Since(start) != 500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
