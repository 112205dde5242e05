package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/proxyconf"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

var update = flag.Bool("update", false, "write the table of permissions as the server has it; look at every line of the difference")

const permissionFile = "testdata/permissions.txt"

// asker is a column of the table: somebody who asks about a customer's objects.
type asker struct {
	name string
	who  func(customer, other tenant) (token string, c policy.Caller) // a token of the world's, or a member
}

// askers are the columns. Each role is held where it is about: those of clusters at the customer's cluster, that of a
// project at its project, and that of an organisation there. The foreign admin is another customer's.
var askers = []asker{
	{"anonymous", func(tenant, tenant) (string, policy.Caller) { return "", policy.Caller{} }},
	{"gateway", func(tenant, tenant) (string, policy.Caller) { return gatewayToken, policy.Caller{} }},
	{"stranger", func(tenant, tenant) (string, policy.Caller) { return "", policy.Caller{Role: policy.Member} }},
	{"foreign", func(_, other tenant) (string, policy.Caller) {
		return "", other.member(link.RoleOrganisationAdmin, link.ScopeOrganisation)
	}},
	{"viewer", func(c, _ tenant) (string, policy.Caller) { return "", c.member(link.RoleViewer, link.ScopeCluster) }},
	{"cluster-operator", func(c, _ tenant) (string, policy.Caller) {
		return "", c.member(link.RoleClusterOperator, link.ScopeCluster)
	}},
	{"cluster-admin", func(c, _ tenant) (string, policy.Caller) {
		return "", c.member(link.RoleClusterAdmin, link.ScopeCluster)
	}},
	{"project-admin", func(c, _ tenant) (string, policy.Caller) {
		return "", c.member(link.RoleProjectAdmin, link.ScopeProject)
	}},
	{"org-admin", func(c, _ tenant) (string, policy.Caller) {
		return "", c.member(link.RoleOrganisationAdmin, link.ScopeOrganisation)
	}},
	{"operator", func(c, _ tenant) (string, policy.Caller) {
		return "", c.member(link.RoleOperator, link.ScopeInstallation)
	}},
	{"token", func(tenant, tenant) (string, policy.Caller) { return operatorToken, policy.Caller{} }},
}

// tenant is a customer with one of everything, by the names that parameters in paths, and placeholders in queries and
// bodies, have.
type tenant map[string]string

// member is a caller with a role at one of the customer's scopes.
func (c tenant) member(role link.Role, kind link.ScopeKind) policy.Caller {
	g := link.Grant{Role: role, Scope: link.Scope{Kind: kind}}
	if kind != link.ScopeInstallation {
		g.Within.OrganisationID = link.ID(c["organisation_id"])
		g.Scope.ID = g.Within.OrganisationID
	}
	if kind == link.ScopeProject || kind == link.ScopeCluster {
		g.Within.ProjectID = link.ID(c["project_id"])
		g.Scope.ID = g.Within.ProjectID
	}
	if kind == link.ScopeCluster {
		g.Within.ClusterID = link.ID(c["cluster_id"])
		g.Scope.ID = g.Within.ClusterID
	}
	return policy.Caller{Name: strings.ToLower(string(role)), Role: policy.Member, Grants: []link.Grant{g}}
}

// fill puts a tenant's values into a path, a query or a body.
func (c tenant) fill(text string) string {
	for name, value := range c {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// inquiry is what is asked of an operation beside its path.
type inquiry struct {
	query string
	body  string
	// ready makes the customer such that the operation succeeds for who may.
	ready   func(*store.Tx, tenant) error
	session bool // people ask by a session of theirs, not by an API key
}

// inquiries are the operations that take a query or a body, or more than a customer with one of everything to succeed.
var inquiries = map[string]inquiry{
	"POST /api/v1/clusters":                                                             {body: `{"project_id":"{project_id}","name":"{fresh}","cloud_provider":"AWS","regions":["us-east-1"]}`},
	"PATCH /api/v1/clusters/{cluster_id}":                                               {body: `{"backends":["10.0.0.1:1"]}`},
	"DELETE /api/v1/clusters/{cluster_id}":                                              {ready: withoutConnection},
	"PUT /api/v1/clusters/{cluster_id}/traffic":                                         {body: `{"denied_ports":[22]}`},
	"PATCH /api/v1/clusters/{cluster_id}/traffic":                                       {body: `{"denied_ports":[22]}`},
	networkingOf("PUT", "/public-access"):                                               {body: `{"mode":"DISABLED"}`},
	networkingOf("POST", "/private-endpoint-connections"):                               {body: `{"endpoint_id":"vpce-0123456789abcdef0"}`},
	networkingOf("POST", "/claims"):                                                     {body: `{}`},
	networkingOf("PATCH", "/aws-endpoint-connections/{endpoint_id}"):                    {body: `{"status":"REJECTED"}`},
	networkingOf("POST", "/private-endpoint-trusted-owners"):                            {body: `{"type":"AWS_ACCOUNT_ID","external_owner_id":"999999999999"}`},
	networkingOf("POST", "/allowlist"):                                                  {body: `{"cidr_ip":"198.51.100.0","cidr_mask":24,"ui":true,"sql":true}`},
	networkingOf("PUT", "/allowlist/{cidr_ip}/{cidr_mask}"):                             {body: `{"ui":true,"sql":false}`},
	networkingOf("PATCH", "/allowlist/{cidr_ip}/{cidr_mask}"):                           {body: `{"ui":true}`},
	"PUT /api/v1/regions/{provider}/{region}":                                           {body: `{"vpc_id":"vpc-0a1b2c3d4e5f60718","subnet_ids":["subnet-0a1b2c3d4e5f60718"],"gateway_targets":["127.0.0.1:8443"]}`},
	"DELETE /api/v1/regions/{provider}/{region}":                                        {ready: anEmptyRegion},
	"PUT /api/v1/service-profile":                                                       {body: `{"ports":[]}`},
	"POST /api/v1/projects":                                                             {body: `{"organisation_id":"{organisation_id}","name":"{fresh}"}`},
	"PATCH /api/v1/projects/{project_id}":                                               {body: `{"name":"{fresh}"}`},
	"DELETE /api/v1/projects/{project_id}":                                              {ready: withoutCluster},
	"POST /api/v1/organisations":                                                        {body: `{"name":"{fresh}"}`},
	"PATCH /api/v1/organisations/{organisation_id}":                                     {body: `{"name":"{fresh}"}`},
	"DELETE /api/v1/organisations/{organisation_id}":                                    {ready: withoutProject},
	"POST /api/v1/service-accounts":                                                     {body: `{"organisation_id":"{organisation_id}","name":"{fresh}"}`},
	"PATCH /api/v1/service-accounts/{principal_id}":                                     {body: `{"disabled":true}`},
	"POST /api/v1/people":                                                               {body: `{"email":"{fresh}@acme.example"}`},
	"PATCH /api/v1/people/{principal_id}":                                               {body: `{"name":"{fresh}"}`, ready: aPerson},
	"GET /api/v1/people/{principal_id}":                                                 {ready: aPerson},
	"DELETE /api/v1/people/{principal_id}":                                              {ready: aPerson},
	"GET /api/v1/members":                                                               {query: `scope=CLUSTER&scope_id={cluster_id}`},
	"GET /api/v1/members project":                                                       {query: `scope=PROJECT&scope_id={project_id}`},
	"GET /api/v1/members organisation":                                                  {query: `scope=ORGANISATION&scope_id={organisation_id}`},
	"GET /api/v1/members installation":                                                  {query: `scope=INSTALLATION`},
	"POST /api/v1/members":                                                              {body: `{"scope":"CLUSTER","scope_id":"{cluster_id}","role":"VIEWER","email":"{fresh}@acme.example"}`},
	"POST /api/v1/members cluster admin":                                                {body: `{"scope":"CLUSTER","scope_id":"{cluster_id}","role":"CLUSTER_ADMIN","service_account_id":"{principal_id}"}`},
	"POST /api/v1/members project":                                                      {body: `{"scope":"PROJECT","scope_id":"{project_id}","role":"VIEWER","email":"{fresh}@acme.example"}`},
	"POST /api/v1/members organisation":                                                 {body: `{"scope":"ORGANISATION","scope_id":"{organisation_id}","role":"ORGANISATION_ADMIN","email":"{fresh}@acme.example"}`},
	"POST /api/v1/members installation":                                                 {body: `{"scope":"INSTALLATION","role":"OPERATOR","email":"{fresh}@acme.example"}`},
	"DELETE /api/v1/members/{principal_id}/{role}":                                      {query: `scope=CLUSTER&scope_id={cluster_id}`},
	"GET /api/v1/gateway/rules":                                                         {query: `gateway_id=g1&revision=0&proof_key=` + strings.Repeat("A", 43)},
	"POST /api/v1/gateway/ack":                                                          {body: `{"gateway_id":"g1","revision":1}`, ready: aGateway},
	networkingOf("POST", "/egress-private-endpoints"):                                   {body: `{"region":"us-east-1","target_service_identifier":"com.amazonaws.vpce.us-east-1.vpce-svc-0a1b2c3d4e5f60718","target_service_type":"PRIVATE_SERVICE"}`},
	networkingOf("PATCH", "/egress-private-endpoints/{id}"):                             {body: `{"domain_names":[]}`},
	"POST /api/v1/principals/{principal_id}/api-keys":                                   {body: `{"name":"{fresh}"}`},
	"GET /api/v1/principals/{principal_id}/sessions":                                    {ready: aPerson},
	"DELETE /api/v1/principals/{principal_id}/sessions/{session_id}":                    {ready: aPerson},
	"POST /api/v1/people/{principal_id}/sign-in-reset":                                  {ready: aPerson},
	"POST /api/v1/logout":                                                               {session: true},
	"GET /api/v1/me":                                                                    {session: true},
	"GET /api/v1/clusters/{cluster_id}/audit-report":                                    {query: `from=2026-01-01T00:00:00Z`},
	"GET /api/v1/audit":                                                                 {query: `organisation_id={organisation_id}`},
	"GET /api/v1/audit installation":                                                    {},
	"GET /api/v1/audit/keys":                                                            {query: `organisation_id={organisation_id}`},
	"GET /api/v1/audit/keys installation":                                               {},
	"GET /api/v1/audit/checkpoint":                                                      {query: `organisation_id={organisation_id}`},
	"GET /api/v1/audit/checkpoint installation":                                         {},
	"GET /api/v1/audit/export":                                                          {query: `organisation_id={organisation_id}`},
	"GET /api/v1/audit/export installation":                                             {},
	"GET /api/v1/webhooks":                                                              {query: `organisation_id={organisation_id}`},
	"GET /api/v1/webhooks installation":                                                 {},
	"POST /api/v1/webhooks":                                                             {body: `{"organisation_id":"{organisation_id}","url":"https://hooks.example.com/{fresh}"}`},
	"POST /api/v1/webhooks installation":                                                {body: `{"url":"https://hooks.example.com/{fresh}"}`},
	"PATCH /api/v1/webhooks/{webhook_id}":                                               {body: `{"description":"{fresh}"}`},
	projectOf("POST", "/private-endpoint-connections"):                                  {body: `{"endpoint_id":"vpce-0123456789abcdef0","cloud_provider":"AWS","region":"us-east-1"}`},
	projectOf("POST", "/private-endpoint-trusted-owners"):                               {body: `{"type":"AWS_ACCOUNT_ID","external_owner_id":"999999999999"}`},
	projectOf("GET", "/private-endpoint-connections/{endpoint_id}"):                     {ready: aProjectsConnection},
	projectOf("DELETE", "/private-endpoint-connections/{endpoint_id}"):                  {ready: aProjectsConnection},
	projectOf("GET", "/private-endpoint-connections/{endpoint_id}/events"):              {ready: aProjectsConnection},
	projectOf("GET", "/private-endpoint-trusted-owners/{owner_id}"):                     {ready: aProjectsOwner},
	projectOf("GET", "/private-endpoint-trusted-owners/{owner_id}/events"):              {ready: aProjectsOwner},
	projectOf("DELETE", "/private-endpoint-trusted-owners/{owner_id}"):                  {ready: aProjectsOwner},
	"PUT /api/v1/clusters/{cluster_id}/reverse-proxy":                                   {body: `{"server":"nginx","server_name":"images.example.com","http":true,"nodes":[{"host":"localhost"}]}`},
	"PUT /api/v1/clusters/{cluster_id}/client-certificates":                             {body: `{"mode":"OPTIONAL"}`},
	"POST /api/v1/clusters/{cluster_id}/trusted-certificates":                           {body: `{"name":"{fresh}","certificate":"{certificate}"}`},
	"PUT /api/v1/clusters/{cluster_id}/trusted-certificates/{certificate_id}/crl":       {body: `{"crl":"{crl}"}`},
	"POST /api/v1/clusters/{cluster_id}/revoked-certificates":                           {body: `{"trusted_id":"{certificate_id}","serial":"0a:1b"}`},
	"GET /api/v1/clusters/{cluster_id}/revoked-certificates/{certificate_id}":           {ready: aRevokedCertificate},
	"DELETE /api/v1/clusters/{cluster_id}/revoked-certificates/{certificate_id}":        {ready: aRevokedCertificate},
	"POST /api/v1/clusters/{cluster_id}/artifactory/api/system/configuration/webServer": {body: `{"webServerType":"NGINX","serverName":"images.example.com"}`},
	"POST /api/v1/gateway/reports":                                                      {body: `{"gateway_id":"g1","batch_id":"{fresh}","sent_at":"2026-01-01T00:00:00Z"}`},
}

func networkingOf(method, rest string) string {
	return method + " /api/v1/clusters/{cluster_id}/networking" + rest
}

func projectOf(method, rest string) string {
	return method + " /api/v1/projects/{project_id}/networking" + rest
}

func aProjectsConnection(_ *store.Tx, c tenant) error {
	c["endpoint_id"] = endpointB
	return nil
}

func aProjectsOwner(_ *store.Tx, c tenant) error {
	c["owner_id"] = c["project_owner_id"]
	delete(c, "project_owner_id")
	return nil
}

func withoutConnection(tx *store.Tx, c tenant) error {
	id := link.ID(c["cluster_id"])
	conns, err := tx.Connections(id)
	for _, conn := range conns {
		conn.Want, conn.State = link.WantGone, link.Deleted
		_, err2 := tx.SwapConnection(conn)
		err = errors.Join(err, err2)
	}
	return err
}

func withoutCluster(tx *store.Tx, c tenant) error { return tx.RemoveCluster(link.ID(c["cluster_id"])) }

func withoutProject(tx *store.Tx, c tenant) error {
	return errors.Join(withoutCluster(tx, c), tx.RemoveProject(link.ID(c["project_id"])))
}

func aRevokedCertificate(_ *store.Tx, c tenant) error {
	c["certificate_id"] = c["revoked_id"]
	return nil
}

func aPerson(_ *store.Tx, c tenant) error {
	c["principal_id"] = c["person_id"]
	delete(c, "person_id")
	return nil
}

func anEmptyRegion(tx *store.Tx, c tenant) error {
	c["region"] = "eu-west-1"
	_, err := tx.PutRegion(link.Region{Provider: link.AWS, Name: c["region"], VPCID: "vpc-1", SubnetIDs: []string{"subnet-1"}, Ports: []uint16{443}})
	return err
}

func aGateway(tx *store.Tx, _ tenant) error { return tx.PutGateway("g1", make([]byte, 32)) }

// tenant makes a customer with one of everything. A kind of object that routes name gets its line here.
func (w *world) tenant(t *testing.T) tenant {
	t.Helper()
	var c tenant
	err := w.store.Write(t.Context(), func(tx *store.Tx) error {
		fresh := string(link.NewID())
		org, _, err := tx.AddOrganisation("org-" + fresh)
		if err != nil {
			return err
		}
		project, _, err := tx.AddProject(org.ID, "payments")
		if err != nil {
			return err
		}
		cluster, err := tx.AddCluster(link.Cluster{
			ID: link.NewID(), ProjectID: project.ID, Name: "c" + fresh, Provider: link.AWS, PublicAccess: link.PublicEnabled,
			Regions: []link.ClusterRegion{{Name: "us-east-1", PublicName: fresh + ".public.test", PrivateName: fresh + ".private.test"}},
		})
		if err != nil {
			return err
		}
		robot, _, err := tx.AddPrincipal(link.Principal{Kind: link.ServiceAccount, OrganisationID: org.ID, Name: "robot"})
		if err != nil {
			return err
		}
		person, _, err := tx.AddPrincipal(link.Principal{Kind: link.Person, Name: "Ann", Email: fresh + "@acme.example"})
		if err != nil {
			return err
		}
		owner, _, err := tx.AddTrustedOwner(cluster.ID, link.AWSAccountID, account)
		if err != nil {
			return err
		}
		_, _, err = tx.AddGrant(link.Grant{PrincipalID: robot.ID, Role: link.RoleViewer, Scope: link.Scope{Kind: link.ScopeCluster, ID: cluster.ID}})
		if err != nil {
			return err
		}
		_, _, err = tx.AddService(link.AWS, "us-east-1")
		if err != nil {
			return err
		}
		claim := link.Claim{ID: link.NewID(), ClusterID: cluster.ID, Region: "us-east-1", Domain: "claim.test", ExpiresAt: tx.Now().Add(1e12)}
		hash := [32]byte([]byte(strings.ReplaceAll(string(claim.ID), "-", "")))
		_, err = tx.AddClaim(claim, hash)
		if err != nil {
			return err
		}
		_, err = tx.AddConnection(link.Connection{ClusterID: cluster.ID, EndpointID: endpointA, Provider: link.AWS, State: link.Pending, Want: link.WantConnected})
		if err != nil {
			return err
		}
		conn, err := tx.AddConnection(link.Connection{ProjectID: project.ID, EndpointID: endpointB, Region: "us-east-1", Provider: link.AWS, State: link.Pending, Want: link.WantConnected})
		if err != nil {
			return err
		}
		projectOwner, _, err := tx.AddProjectTrustedOwner(project.ID, link.AWSAccountID, account)
		if err != nil {
			return err
		}
		hook, err := tx.AddWebhook(link.Webhook{ID: link.NewID(), OrganisationID: org.ID, Kind: link.WebhookHTTP, URL: receiver, Enabled: true}, make([]byte, 32))
		if err != nil {
			return err
		}
		session, err := tx.AddSession(link.Session{ID: link.NewID(), PrincipalID: person.ID, Method: link.ByPassword, ExpiresAt: tx.Now().Add(time.Hour)}, "of "+fresh, time.Hour)
		if err != nil {
			return err
		}
		for kind, id := range map[string]link.ID{
			link.ObjectOrganisation: org.ID, link.ObjectProject: project.ID, link.ObjectCluster: cluster.ID,
			link.ObjectTrustedOwner: cluster.ID + "/" + owner.ID, link.ObjectConnection: cluster.ID + "/" + endpointA, link.ObjectService: "AWS/us-east-1",
		} {
			err = errors.Join(err, tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: kind, ID: string(id)}, Type: "CREATED"}))
		}
		egress, err2 := tx.AddEgress(link.Egress{
			ID: link.NewID(), ClusterID: cluster.ID, Provider: link.AWS, Region: "us-east-1", State: link.Pending, Want: link.WantConnected,
			Target: "com.amazonaws.vpce.us-east-1.vpce-svc-0000000000000000f", TargetType: link.PrivateService,
		})
		err = errors.Join(err, err2, tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectEgress, ID: string(cluster.ID + "/" + egress.ID)}, Type: "CREATED"}))
		for _, ref := range []link.ObjectRef{conn.Ref(), projectOwner.Ref()} {
			err = errors.Join(err, tx.AddEvent(link.Event{Object: ref, Type: "CREATED"}))
		}
		err = errors.Join(err, tx.AddEvent(link.Event{Object: link.ObjectRef{Kind: link.ObjectWebhook, ID: string(org.ID + "/" + hook.ID)}, Type: link.EventTest}))
		key, err2 := tx.AddAPIKey(link.APIKey{ID: link.NewID(), PrincipalID: robot.ID, Name: "key", ExpiresAt: tx.Now().Add(1e12)}, fresh)
		err = errors.Join(err, err2)
		c = tenant{
			"session_id": string(session.ID), // of the person
			"webhook_id": string(hook.ID), "project_owner_id": string(projectOwner.ID),
			"key_id":          string(key.ID),
			"id":              string(egress.ID), // of an egress private endpoint
			"organisation_id": string(org.ID), "project_id": string(project.ID), "cluster_id": string(cluster.ID), "owner_id": string(owner.ID),
			"principal_id": string(robot.ID), "person_id": string(person.ID), "claim_id": string(claim.ID), "role": string(link.RoleViewer),
			"endpoint_id": endpointA, "cidr_ip": "203.0.113.0", "cidr_mask": "24", "provider": "AWS", "region": "us-east-1",
			"fresh": "f" + strings.ReplaceAll(fresh, "-", ""),
		}
		_, err2 = tx.PutReverseProxy(cluster.ID, proxyconf.Complete(link.ReverseProxy{
			Server: link.NGINX, ServerName: "art.example.com", HTTP: true, Nodes: []link.ProxyNode{{Host: "localhost"}},
		}))
		err = errors.Join(err, err2)
		pki := authority()
		c["web_server"], c["certificate"], c["crl"] = "nginx", inJSON(pki.leaf), inJSON(pki.list)
		trusted, err2 := tx.AddTrustedCertificate(link.TrustedCertificate{
			ID: link.NewID(), ClusterID: cluster.ID, Name: "ca", Kind: link.TrustCA, DER: pki.certificate.Raw,
		}, pki.certificate.NotAfter)
		err = errors.Join(err, err2)
		revoked, _, err2 := tx.AddRevokedCertificate(link.RevokedCertificate{ID: link.NewID(), ClusterID: cluster.ID, TrustedID: trusted.ID, Serial: "ff"})
		c["certificate_id"], c["revoked_id"] = string(trusted.ID), string(revoked.ID)
		err = errors.Join(err, err2, tx.PutAllowEntry(cluster.ID, link.AllowEntry{Prefix: netip.MustParsePrefix("203.0.113.0/24"), UI: true}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.Write(t.Context(), func(tx *store.Tx) error {
		told, _, err := tx.Deliveries(link.ID(c["webhook_id"]), "", store.Cut{Limit: 1})
		if err != nil {
			return err
		}
		c["delivery_id"] = string(told[0].ID)
		told[0].Status = link.DeliveryDead
		_, err = tx.SwapDelivery(told[0])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ready makes a customer such that an operation succeeds for who may. Who holds a role at what it takes away has none after it.
func (w *world) ready(t *testing.T, c tenant, with func(*store.Tx, tenant) error) tenant {
	t.Helper()
	if with == nil {
		return c
	}
	var out tenant
	err := w.store.Write(t.Context(), func(tx *store.Tx) error {
		out = maps.Clone(c)
		return with(tx, out)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask sends a request as somebody. Of a success, which may be a stream without an end, the body is not read.
func (w *world) ask(t *testing.T, method, url, body, token string) reply {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.url+url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := reply{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode >= 400 {
		if got.body, err = io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// operations are what the document lists, by method and path, with the variants that inquiries adds to some.
func operations() []string {
	var out []string
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security != nil {
				out = append(out, method+" "+path)
			}
		}
	}
	for name := range inquiries {
		if strings.Count(name, " ") > 1 {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		_, pathA, _ := strings.Cut(a, " ")
		_, pathB, _ := strings.Cut(b, " ")
		return strings.Compare(pathA+" "+a, pathB+" "+b)
	})
	return out
}

// TestPermissions asks every operation of the API as every role, about a customer with one of everything, and compares
// the status with the table in permissionFile. A route gets its row by -update; what it then says is for people to judge.
func TestPermissions(t *testing.T) {
	world, embedded := newWorld(t), newWorldOn(t, storetest.Database{Dir: t.TempDir()})
	got := map[string][]string{}
	for _, name := range operations() {
		w := world
		if name == "GET /api/v1/backup" { // of which there is none of a PostgreSQL, for nobody
			w = embedded
		}
		fields := strings.Fields(name)
		method, path, q := fields[0], fields[1], inquiries[name]
		if op := document().Paths.Value(path).GetOperation(method); op.RequestBody != nil && op.RequestBody.Value.Required && q.body == "" {
			t.Errorf("%s needs a body: give it one in inquiries", name)
			continue
		}
		for _, a := range askers {
			customer, other := w.tenant(t), tenant(nil)
			if a.name == "foreign" {
				other = w.tenant(t)
			}
			token, as := a.who(customer, other)
			if as.Role != policy.Anonymous {
				token = w.tokenOf(t, as, q.session)
			}
			customer = w.ready(t, customer, q.ready)
			answer := w.ask(t, method, customer.url(t, path, q.query), customer.fill(q.body), token)
			got[name] = append(got[name], fmt.Sprint(answer.status))
			if name != "POST /api/v1/logout" && !slices.Contains([]int{http.StatusOK, http.StatusCreated, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, answer.status) {
				t.Errorf("%s as %s: %d says nothing about who may: ask it better\n%s", name, a.name, answer.status, answer.body)
			}
			if (a.name == "foreign" || a.name == "stranger") && path != "/api/v1/logout" { // after which nobody may ask anything
				w.sameAsNone(t, name, customer, answer, token)
			}
		}
		// A token of the installation may what its operators may, but to end a session, which it is not.
		if n := len(askers); got[name][n-1] != got[name][n-2] && path != "/api/v1/logout" {
			t.Errorf("%s: the installation's token gets %s, an operator %s", name, got[name][n-1], got[name][n-2])
		}
	}
	if *update {
		writePermissions(t, got)
		return
	}
	want := readPermissions(t)
	for name, statuses := range got {
		if want[name] == nil {
			t.Errorf("%s has no row in %s: run this test with -update, and look at it", name, permissionFile)
			continue
		}
		for i, a := range askers {
			if statuses[i] != want[name][i] {
				t.Errorf("%s as %s: %s, want %s", name, a.name, statuses[i], want[name][i])
			}
		}
	}
	for name := range want {
		if got[name] == nil {
			t.Errorf("%s has a row in %s and is no operation", name, permissionFile)
		}
	}
}

// url is the path of an operation with the customer's values, and a query.
func (c tenant) url(t *testing.T, path, query string) string {
	t.Helper()
	url := c.fill(path)
	if strings.Contains(url, "{") {
		t.Fatalf("a tenant has no value for a parameter of %s", path)
	}
	if query != "" {
		url += "?" + c.fill(query)
	}
	return url
}

// sameAsNone asks once more, about a customer that there is not, and compares the answers byte for byte: but for the ids
// that were asked for, and what differs from request to request.
func (w *world) sameAsNone(t *testing.T, name string, customer tenant, answer reply, token string) {
	t.Helper()
	nobody := maps.Clone(customer)
	for key, value := range customer {
		if _, err := link.ParseID(key, value); err == nil {
			nobody[key] = string(link.NewID())
		}
	}
	fields, q := strings.Fields(name), inquiries[name]
	none := w.ask(t, fields[0], nobody.url(t, fields[1], q.query), nobody.fill(q.body), token)
	if none.status != answer.status {
		t.Errorf("%s of another customer: %d, and of none %d", name, answer.status, none.status)
		return
	}
	blank := func(r reply, c tenant) []byte {
		body := r.body
		for key, value := range c {
			if nobody[key] != customer[key] {
				body = bytes.ReplaceAll(body, []byte(value), []byte("{"+key+"}"))
			}
		}
		return body
	}
	if a, b := blank(answer, customer), blank(none, nobody); !bytes.Equal(a, b) {
		t.Errorf("%s of another customer: %s\nand of none: %s", name, a, b)
	}
	for _, h := range []http.Header{answer.header, none.header} {
		h.Del("X-Request-Id")
		h.Del("Date")
	}
	if a, b := fmt.Sprint(answer.header), fmt.Sprint(none.header); a != b {
		t.Errorf("%s of another customer: %s\nand of none: %s", name, a, b)
	}
}

func writePermissions(t *testing.T, got map[string][]string) {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("# Who gets which answer: every operation, as everybody, about a customer's own objects. Written by TestPermissions\n# with -update. Under anonymous stands nobody, under stranger a member of nothing, under foreign another customer's admin.\n")
	tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	head := "#"
	for _, a := range askers {
		head += a.name + "\t"
	}
	fmt.Fprintln(tw, head+"operation")
	for _, name := range operations() {
		fmt.Fprintln(tw, strings.Join(got[name], "\t")+"\t"+name)
	}
	if err := tw.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(permissionFile, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readPermissions(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(permissionFile)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if n := len(askers); len(fields) < n+2 {
			t.Fatalf("%s: not a status for each of %d: %s", permissionFile, n, line)
		} else {
			out[strings.Join(fields[n:], " ")] = fields[:n]
		}
	}
	return out
}
