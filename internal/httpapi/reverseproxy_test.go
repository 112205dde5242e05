package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// proxyRules are what gateways get of the world's cluster's reverse proxy, nil while they get nothing.
func (w *world) proxyRules(t *testing.T) (out *link.ProxyRules) {
	t.Helper()
	err := w.store.Read(t.Context(), func(tx *store.Tx) error {
		return tx.Rules(100, func(_ link.RulesVersion, part link.RuleSet) error {
			for _, c := range part.Clusters {
				if string(c.ClusterID) == w.cluster.ID {
					out = c.Proxy
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apiError is an error of the API, which err has to be.
func apiError(t *testing.T, err error) *api.Error {
	t.Helper()
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("%v is no error of the API", err)
	}
	return e
}

// complaints are the fields of an error with their reasons, in the order in which they are told.
func complaints(e *api.Error) (out []string) {
	for _, d := range e.Details {
		out = append(out, d.Field+" "+d.Reason)
	}
	return out
}

var nginxProxy = api.ReverseProxySettings{
	Server: "nginx", ServerName: "Art.Example.com.", HTTPS: true, Certificate: "/etc/ssl/art.pem", Key: "/etc/ssl/art.pem.key",
	Nodes: []api.ProxyNode{{Host: "localhost"}}, Repositories: []api.ProxyRepository{{Key: "docker-local"}, {Key: "app"}},
}

func TestReverseProxy(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id := w.cluster.ID
	if _, err := w.client.ReverseProxy(ctx, id); api.Reason(err) != "REVERSE_PROXY_NOT_FOUND" || !api.IsNotFound(err) {
		t.Errorf("before there is one: %v", err)
	}
	if _, err := w.client.ReverseProxySnippet(ctx, id, ""); api.Reason(err) != "REVERSE_PROXY_NOT_FOUND" {
		t.Errorf("its snippet: %v", err)
	}
	if err := w.client.DeleteReverseProxy(ctx, id); err != nil {
		t.Errorf("deleting none: %v", err)
	}

	// A dry run says what would be, and nothing is.
	before := w.state(t)
	tried, err := w.client.PutReverseProxy(ctx, id, nginxProxy, true)
	if err != nil || tried.Version != 0 || tried.Snippet == nil || !strings.HasPrefix(tried.Snippet.Target, "nginx=") || !strings.Contains(tried.Snippet.Text, "docker-local") && !strings.Contains(tried.Snippet.Text, "art.example.com") {
		t.Errorf("a dry run: %+v, %v", tried, err)
	}
	same(t, before, w.state(t))
	if _, err := w.client.ReverseProxy(ctx, id); !api.IsNotFound(err) {
		t.Errorf("after a dry run: %v", err)
	}

	want := api.ReverseProxy{Version: 1, ReverseProxySettings: api.ReverseProxySettings{
		Server: "nginx", ServerName: "art.example.com", Wildcard: "*.art.example.com", Nodes: []api.ProxyNode{{Host: "localhost", DirectPort: 8081, RouterPort: 8082}},
		AppContext: "artifactory", PublicContext: "artifactory", HTTPS: true, HTTPPort: 80, HTTPSPort: 443, Certificate: "/etc/ssl/art.pem", Key: "/etc/ssl/art.pem.key",
		TLSProfile: "INTERMEDIATE", DockerMethod: "SUBDOMAIN", Repositories: []api.ProxyRepository{{Key: "app"}, {Key: "docker-local"}},
		ClientCertificates: &api.ProxyCertificates{Mode: "OFF", Depth: 2, Header: "X-JFrog-Client-Cert"}, Redirects: &api.ProxyRedirects{Mode: "PASS"},
	}}
	is := func(what string, want, got api.ReverseProxy, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	got, err := w.client.PutReverseProxy(ctx, id, nginxProxy, false)
	is("put", want, got, err)
	got, err = w.client.ReverseProxy(ctx, id)
	is("get", want, got, err)
	got, err = w.client.PutReverseProxy(ctx, id, got.ReverseProxySettings, false)
	is("put what was got", want, got, err)
	if rules := w.proxyRules(t); rules != nil {
		t.Errorf("behind nginx the gateway gets %+v", rules)
	}

	changed := got.ReverseProxySettings
	changed.Server, changed.ServerName, changed.Wildcard = "direct", "acme.us-east-1.postern.test", ""
	changed.Redirects = &api.ProxyRedirects{Mode: "FOLLOW", Hosts: []string{"blobs.example.com"}}
	got, err = w.client.PutReverseProxy(ctx, id, changed, false)
	want.Server, want.ServerName, want.Wildcard, want.Redirects, want.Version = "direct", changed.ServerName, "*."+changed.ServerName, changed.Redirects, 2
	is("put another", want, got, err)
	rules := w.proxyRules(t)
	if rules == nil || rules.Proxy.ServerName != changed.ServerName || rules.Proxy.Redirects.Mode != link.RedirectFollow || len(rules.Proxy.Repositories) != 2 {
		t.Errorf("embedded, the gateway gets %+v", rules)
	}

	// What is rendered of the embedded server is what can be put again.
	snippet, err := w.client.ReverseProxySnippet(ctx, id, "")
	if err != nil || snippet.Target != "direct" {
		t.Fatalf("%+v, %v", snippet, err)
	}
	answer := w.send(t, http.MethodPut, "/api/v1/clusters/"+id+"/reverse-proxy", snippet.Text, nil)
	if err := json.Unmarshal(answer.body, &got); err != nil || answer.status != http.StatusOK {
		t.Fatalf("%d %s", answer.status, answer.body)
	}
	is("put what was rendered", want, got, nil)

	// Who has an old copy is told so.
	path := "/api/v1/clusters/" + id + "/reverse-proxy"
	tag := w.send(t, http.MethodGet, path, "", nil).header.Get("ETag")
	body := `{"server":"direct","https":true}`
	if got := w.send(t, http.MethodPut, path, body, map[string]string{"If-Match": tag}); got.status != http.StatusOK || got.header.Get("ETag") == tag {
		t.Errorf("on the condition that it is the same: %d %s", got.status, got.body)
	}
	if got := w.send(t, http.MethodPut, path, body, map[string]string{"If-Match": tag}); got.status != http.StatusPreconditionFailed {
		t.Errorf("again: %d %s", got.status, got.body)
	}

	if err := w.client.DeleteReverseProxy(ctx, id); err != nil {
		t.Error(err)
	}
	if rules := w.proxyRules(t); rules != nil {
		t.Errorf("without a proxy the gateway gets %+v", rules)
	}
	events, err := w.client.ClusterEvents(ctx, id, api.Page{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events.Events {
		if e.Reason == "REVERSE_PROXY" {
			n++
		}
	}
	if n != 4 {
		t.Errorf("the cluster's history tells of %d changes of its reverse proxy, want 4", n)
	}
}

func TestReverseProxySnippet(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	if _, err := w.client.PutReverseProxy(ctx, w.cluster.ID, nginxProxy, false); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/clusters/" + w.cluster.ID + "/reverse-proxy/snippet"
	plain := w.send(t, http.MethodGet, path, "", nil)
	if plain.status != http.StatusOK || plain.header.Get("Content-Type") != "text/plain" || !strings.Contains(string(plain.body), "server_name") || plain.header.Get("Content-Disposition") != "" {
		t.Errorf("as text: %d %v %s", plain.status, plain.header, plain.body)
	}
	if again := w.send(t, http.MethodGet, path, "", map[string]string{"If-None-Match": plain.header.Get("ETag")}); again.status != http.StatusNotModified || len(again.body) > 0 {
		t.Errorf("as text, to who has it: %d %s", again.status, again.body)
	}
	file := w.send(t, http.MethodGet, path+"?download=true&target=haproxy=2.6", "", nil)
	if file.header.Get("Content-Disposition") != `attachment; filename="haproxy.cfg"` || !strings.Contains(string(file.body), "frontend") {
		t.Errorf("as a file for HAProxy: %v %s", file.header, file.body)
	}
	s, err := w.client.ReverseProxySnippet(ctx, w.cluster.ID, "nginx=1.27.4,openssl=3.5")
	if err != nil || s.Target != "nginx=1.27.4,openssl=3.5.0" && s.Target != "nginx=1.27.4,openssl=3.5" || s.Text == string(plain.body) || s.Notes == nil {
		t.Errorf("with its notes, for another version: %+v, %v", s, err)
	}
	for target, want := range map[string]string{"iis": "target UNKNOWN_SERVER", "nginx=new": "target MALFORMED_TARGET"} {
		_, err := w.client.ReverseProxySnippet(ctx, w.cluster.ID, target)
		if e := apiError(t, err); e.Status != http.StatusBadRequest || !slices.Equal(complaints(e), []string{want}) {
			t.Errorf("%s: %+v", target, e)
		}
	}
}

// Every mistake is told at once, each at the place where it stands in what was sent, and nothing is stored.
func TestReverseProxyMistakes(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	before := w.state(t)
	_, err := w.client.PutReverseProxy(ctx, w.cluster.ID, api.ReverseProxySettings{
		Server: "nginx", HTTPS: true, HTTPSPort: 8443, DockerMethod: "PORTPERREPO", Certificate: "/etc/art.pem; include /etc/passwd",
		Nodes:        []api.ProxyNode{{Host: "a b"}},
		Repositories: []api.ProxyRepository{{Key: "zoo", Port: 5001}, {Key: "app", Port: 8443}, {Key: "lib"}, {Key: "app", Port: 5002}},
		Redirects:    &api.ProxyRedirects{Mode: "FOLLOW", Hosts: []string{"z.example.com", "*.example.com"}},
	}, false)
	e := apiError(t, err)
	want := []string{
		"server_name SERVER_NAME_REQUIRED", "nodes[0].host MALFORMED_HOST", "certificate MALFORMED_PATH", "key KEY_REQUIRED",
		"repositories[1].port PORT_TAKEN", "repositories[3].key DUPLICATE_REPOSITORY", "repositories[2].port PORT_REQUIRED",
		"redirects.mode EMBEDDED_REQUIRED", "redirects.hosts[1] MALFORMED_HOST",
	}
	if diff := cmp.Diff(want, complaints(e)); diff != "" || e.Status != http.StatusBadRequest || e.Code != 3 {
		t.Errorf("%d %d (-want +got):\n%s", e.Status, e.Code, diff)
	}
	for _, d := range e.Details {
		if d.Message == "" {
			t.Errorf("%s is wrong, and nothing says how", d.Field)
		}
	}
	if e.Message != e.Details[0].Message || !strings.Contains(e.Error(), e.Details[8].Message) {
		t.Errorf("it says %q", e.Error())
	}
	_, err = w.client.PutReverseProxy(ctx, w.cluster.ID, api.ReverseProxySettings{Server: "haproxy", TrustedPeers: []string{"10.0.0.0/8", "everybody"}}, true)
	if got := complaints(apiError(t, err)); !slices.Equal(got, []string{"trusted_peers[1] MALFORMED_CIDR"}) {
		t.Errorf("a peer that is none: %v", got)
	}
	many := api.ReverseProxySettings{Server: "direct"}
	for i := range 1001 {
		many.Repositories = append(many.Repositories, api.ProxyRepository{Key: fmt.Sprintf("r%d", i)})
	}
	if _, err = w.client.PutReverseProxy(ctx, w.cluster.ID, many, false); api.Reason(err) != "TOO_MANY" {
		t.Errorf("1001 repositories: %v", err)
	}
	same(t, before, w.state(t))
}

// By its names the gateway tells whose a request is, so that nobody can have it answer to another than the cluster's own; and
// where it leads to is the vendor's affair.
func TestReverseProxyOfOthers(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	c := tenant{"cluster_id": w.cluster.ID, "project_id": w.cluster.ProjectID}
	admin := api.New(w.url, w.tokenOf(t, c.member(link.RoleClusterAdmin, link.ScopeCluster), false))
	const own, private = "acme.us-east-1.postern.test", "acme.us-east-1.pe.postern.test"
	if got := w.cluster.Regions[0]; got.SQLDNS != own || got.InternalDNS != private {
		t.Fatalf("the cluster's names are %+v", got)
	}
	embedded := func(name, wildcard string) api.ReverseProxySettings {
		return api.ReverseProxySettings{Server: "direct", ServerName: name, Wildcard: wildcard}
	}
	to := func(port int) api.ReverseProxySettings {
		return api.ReverseProxySettings{Server: "direct", Nodes: []api.ProxyNode{{Host: "127.0.0.1", DirectPort: port}}}
	}
	for _, s := range []struct {
		who  *api.Client
		set  api.ReverseProxySettings
		want []string
	}{
		{admin, embedded(own, ""), nil},
		{admin, embedded("", "*."+private), nil},
		{admin, embedded(private, "*.docker."+own), nil},
		{admin, embedded("art.acme.example", ""), []string{"server_name NAME_NOT_THE_CLUSTERS", "wildcard NAME_NOT_THE_CLUSTERS"}},
		{admin, embedded(own, "*.us-east-1.postern.test"), []string{"wildcard NAME_NOT_THE_CLUSTERS"}},
		{admin, embedded(own, "*.not"+own), []string{"wildcard NAME_NOT_THE_CLUSTERS"}},
		{w.client, embedded("globex.us-east-1.postern.test", "*."+own), []string{"server_name NAME_NOT_THE_CLUSTERS"}},
		{admin, api.ReverseProxySettings{Server: "direct", Repositories: []api.ProxyRepository{{Key: "b"}, {Key: "a", ServerName: "x.example"}}}, []string{"repositories[1].server_name NAME_NOT_THE_CLUSTERS"}},

		{admin, to(5432), []string{"nodes NODES_OF_THE_VENDOR"}},
		{w.client, to(9443), nil},
		{admin, to(9443), nil}, // as the vendor set it
		{admin, to(22), []string{"nodes NODES_OF_THE_VENDOR"}},
		// What another web server answers to, and where it leads, is the affair of who runs it; but not when it becomes the gateway.
		{admin, api.ReverseProxySettings{Server: "caddy", ServerName: "art.acme.example", HTTP: true, Nodes: []api.ProxyNode{{Host: "127.0.0.1", DirectPort: 22}}}, nil},
		{admin, to(22), []string{"nodes NODES_OF_THE_VENDOR"}},
	} {
		_, err := s.who.PutReverseProxy(ctx, w.cluster.ID, s.set, false)
		var got []string
		if err != nil {
			got = complaints(apiError(t, err))
		}
		if !slices.Equal(got, s.want) {
			t.Errorf("%+v: %v, want %v", s.set, got, s.want)
		}
	}

	// A name of the customer's own is the cluster's once an operator has added it, and again another's when it is gone.
	given := func(names ...string) {
		t.Helper()
		names = append([]string{}, names...)
		if _, err := w.client.UpdateCluster(ctx, w.cluster.ID, api.UpdateClusterRequest{CustomNames: &names}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.UpdateCluster(ctx, w.cluster.ID, api.UpdateClusterRequest{CustomNames: &[]string{"art.acme.example"}}); apiError(t, err).Status != http.StatusForbidden {
		t.Errorf("an admin of the customer's adds a name: %v", err)
	}
	given("art.acme.example")
	if _, err := admin.PutReverseProxy(ctx, w.cluster.ID, embedded("art.acme.example", ""), false); err != nil {
		t.Errorf("a name of the customer's own: %v", err)
	}
	given()
	_, err := admin.PutReverseProxy(ctx, w.cluster.ID, embedded("art.acme.example", ""), false)
	if got, want := complaints(apiError(t, err)), []string{"server_name NAME_NOT_THE_CLUSTERS", "wildcard NAME_NOT_THE_CLUSTERS"}; !slices.Equal(got, want) {
		t.Errorf("once it is gone: %v, want %v", got, want)
	}

	// Nor do Artifactory's words lead anywhere else.
	asked := w.send(t, http.MethodPost, w.artifactoryBase()+webServerPath, `{"key":"direct","artifactoryServerName":"10.0.0.1","artifactoryPort":22}`, nil)
	if asked.status != http.StatusCreated {
		t.Errorf("%d %s", asked.status, asked.body)
	}
	if rules := w.proxyRules(t); rules == nil || len(rules.Proxy.Nodes) > 0 {
		t.Errorf("the gateway gets %+v", rules)
	}
}
