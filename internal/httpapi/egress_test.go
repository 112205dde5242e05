package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

const customerService = "com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718"

// TestEgressStory goes through every egress call that succeeds.
func TestEgressStory(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.cluster.ID
	c := w.client

	// Whom to allow is known as soon as the cloud was asked.
	same(t, []api.EgressPrincipal{{RegionName: "us-east-1", CloudProvider: "AWS"}}, must(c.EgressPrincipals(ctx, id))(t))
	if err := w.store.Write(ctx, func(tx *store.Tx) error { return tx.PutEgressAccount(link.AWS, "us-east-1", account) }); err != nil {
		t.Fatal(err)
	}
	const principal = "arn:aws:iam::" + account + ":root"
	same(t, []api.EgressPrincipal{{RegionName: "us-east-1", CloudProvider: "AWS", AccountID: account, AllowedPrincipal: principal}}, must(c.EgressPrincipals(ctx, id))(t))

	req := api.CreateEgressEndpointRequest{Region: "us-east-1", TargetServiceIdentifier: customerService, TargetServiceType: "PRIVATE_SERVICE"}
	made := must(c.CreateEgressEndpoint(ctx, id, req))(t)
	want := api.EgressEndpoint{
		ID: made.ID, Region: "us-east-1", TargetServiceIdentifier: customerService, TargetServiceType: "PRIVATE_SERVICE", State: "PENDING", DomainNames: []string{},
		AllowedPrincipal: principal, ExpiresAt: made.CreatedAt.Add(7 * 24 * time.Hour), Conditions: made.Conditions, CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt,
	}
	same(t, want, made)
	if len(made.Conditions) != 3 {
		t.Errorf("conditions %+v", made.Conditions)
	}
	same(t, made, must(c.CreateEgressEndpoint(ctx, id, req))(t))
	same(t, made, must(c.EgressEndpoint(ctx, id, made.ID))(t))

	named := must(c.UpdateEgressEndpoint(ctx, id, made.ID, api.UpdateEgressEndpointRequest{DomainNames: []string{"Kafka.acme.example.", "*.db.acme.example", "kafka.acme.example"}}))(t)
	same(t, []string{"*.db.acme.example", "kafka.acme.example"}, named.DomainNames)
	same(t, "PENDING", named.DomainNamesState)
	unnamed := must(c.UpdateEgressEndpoint(ctx, id, made.ID, api.UpdateEgressEndpointRequest{DomainNames: []string{}}))(t)
	if len(unnamed.DomainNames) != 0 || unnamed.DomainNamesState != "" {
		t.Errorf("without names: %+v", unnamed)
	}

	req.TargetServiceIdentifier = strings.Replace(customerService, "0a1b", "0a1c", 1)
	second := must(c.CreateEgressEndpoint(ctx, id, req))(t)
	page := must(c.EgressEndpoints(ctx, id, api.Page{Limit: 1}))(t)
	same(t, []api.EgressEndpoint{unnamed}, page.EgressPrivateEndpoints)
	page = must(c.EgressEndpoints(ctx, id, api.Page{Limit: 1, Token: page.Pagination.NextPage}))(t)
	same(t, []api.EgressEndpoint{second}, page.EgressPrivateEndpoints)
	if page.Pagination.NextPage != "" {
		t.Error("there is a page after the last")
	}

	for range 2 {
		if err := c.DeleteEgressEndpoint(ctx, id, made.ID); err != nil {
			t.Fatal(err)
		}
		same(t, "DELETING", must(c.EgressEndpoint(ctx, id, made.ID))(t).State)
	}
	history(t, must(c.EgressEndpointEvents(ctx, id, made.ID, api.Page{}))(t))
}

// TestEgressRefusals sends what must be refused, and nothing has changed after it.
func TestEgressRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.cluster.ID
	made, err := w.client.CreateEgressEndpoint(ctx, id, api.CreateEgressEndpointRequest{
		Region: "us-east-1", TargetServiceIdentifier: customerService, TargetServiceType: "PRIVATE_SERVICE",
	})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := w.client.CreateEgressEndpoint(ctx, id, api.CreateEgressEndpointRequest{
		Region: "us-east-1", TargetServiceIdentifier: strings.Replace(customerService, "0a1b", "0a1c", 1), TargetServiceType: "PRIVATE_SERVICE",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.DeleteEgressEndpoint(ctx, id, gone.ID); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/clusters/" + id + "/networking/egress-private-endpoints"
	one := path + "/" + made.ID
	body := func(region, target, typ string) string {
		return fmt.Sprintf(`{"region":%q,"target_service_identifier":%q,"target_service_type":%q}`, region, target, typ)
	}
	asGateway := map[string]string{"Authorization": "Bearer " + gatewayToken}
	tests := map[string]struct {
		method, path, body string
		header             map[string]string
		status             int
		reason, field      string
	}{
		"a region of nobody":        {"POST", path, body("mars-1", customerService, "PRIVATE_SERVICE"), nil, 400, "REGION_NOT_FOUND", "region"},
		"a service of the cloud":    {"POST", path, body("us-east-1", "com.amazonaws.us-east-1.s3", "PRIVATE_SERVICE"), nil, 400, "MALFORMED_SERVICE_NAME", "target_service_identifier"},
		"a service elsewhere":       {"POST", path, body("us-east-1", strings.Replace(customerService, "east-1", "west-2", 1), "PRIVATE_SERVICE"), nil, 400, "SERVICE_IN_OTHER_REGION", "target_service_identifier"},
		"a type that is not known":  {"POST", path, body("us-east-1", customerService, "MSK_TLS"), nil, 400, "TARGET_TYPE_NOT_SUPPORTED", "target_service_type"},
		"no type":                   {"POST", path, `{"region":"us-east-1","target_service_identifier":"` + customerService + `"}`, nil, 400, "REQUIRED", "target_service_type"},
		"of no cluster":             {"POST", strings.Replace(path, id, nobody, 1), body("us-east-1", customerService, "PRIVATE_SERVICE"), nil, 404, "CLUSTER_NOT_FOUND", "cluster_id"},
		"by a gateway":              {"POST", path, body("us-east-1", customerService, "PRIVATE_SERVICE"), asGateway, 403, "GATEWAY_ONLY_REPORTS", ""},
		"reading by a gateway":      {"GET", one, "", asGateway, 403, "GATEWAY_ONLY_REPORTS", ""},
		"principals for a gateway":  {"GET", "/api/v1/clusters/" + id + "/networking/egress-principals", "", asGateway, 403, "GATEWAY_ONLY_REPORTS", ""},
		"no endpoint":               {"GET", path + "/" + nobody, "", nil, 404, "EGRESS_ENDPOINT_NOT_FOUND", "id"},
		"an id that is none":        {"GET", path + "/x", "", nil, 400, "MALFORMED_ID", "id"},
		"the end of no endpoint":    {"DELETE", path + "/" + nobody, "", nil, 404, "EGRESS_ENDPOINT_NOT_FOUND", "id"},
		"history of no endpoint":    {"GET", path + "/" + nobody + "/events", "", nil, 404, "OBJECT_NOT_FOUND", "id"},
		"names of no endpoint":      {"PATCH", path + "/" + nobody, `{"domain_names":["a.acme.example"]}`, nil, 404, "EGRESS_ENDPOINT_NOT_FOUND", "id"},
		"names of one that goes":    {"PATCH", path + "/" + gone.ID, `{"domain_names":["a.acme.example"]}`, nil, 412, "EGRESS_ENDPOINT_DELETED", "id"},
		"a name that is none":       {"PATCH", one, `{"domain_names":["a.acme.example","a b"]}`, nil, 400, "MALFORMED_DOMAIN_NAME", "domain_names[1]"},
		"a name that many share":    {"PATCH", one, `{"domain_names":["*.co.uk"]}`, nil, 400, "DOMAIN_TOO_SHORT", "domain_names[0]"},
		"the vendor's own name":     {"PATCH", one, `{"domain_names":["x.postern.test"]}`, nil, 400, "VENDORS_DOMAIN", "domain_names[0]"},
		"the cloud's own name":      {"PATCH", one, `{"domain_names":["s3.us-east-1.amazonaws.com"]}`, nil, 400, "RESERVED_DOMAIN", "domain_names[0]"},
		"the metadata's name":       {"PATCH", one, `{"domain_names":["ip-10-0-0-1.ec2.internal"]}`, nil, 400, "RESERVED_DOMAIN", "domain_names[0]"},
		"no names at all":           {"PATCH", one, `{}`, nil, 400, "REQUIRED", "domain_names"},
		"a page of another list":    {"GET", path + "?pagination.page=eHg", "", nil, 400, "MALFORMED_PAGE", "pagination.page"},
		"something that is unknown": {"PATCH", one, `{"domain_names":[],"state":"AVAILABLE"}`, nil, 400, "UNKNOWN_FIELD", "state"},
	}
	state := func() string {
		l, err := w.client.EgressEndpoints(ctx, id, api.Page{})
		events, err2 := w.client.EgressEndpointEvents(ctx, id, made.ID, api.Page{})
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal([]any{l, events})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + w.state(t)
	}
	before := state()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.send(t, tt.method, tt.path, tt.body, tt.header)
			var e struct {
				Details []api.ErrorDetail `json:"details"`
			}
			if err := json.Unmarshal(r.body, &e); err != nil || r.status != tt.status || len(e.Details) == 0 || e.Details[0].Reason != tt.reason || e.Details[0].Field != tt.field {
				t.Errorf("%d %s", r.status, r.body)
			}
			if diff := cmp.Diff(before, state()); diff != "" {
				t.Errorf("it changed something:\n%s", diff)
			}
		})
	}
}
