package httpapi_test

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// artifactoryBase is the base URL that a client of Artifactory is given, without the server's.
func (w *world) artifactoryBase() string { return "/api/v1/clusters/" + w.cluster.ID + "/artifactory" }

const (
	webServerPath    = "/api/system/configuration/webServer"
	nginxSnippetPath = "/api/system/configuration/reverseProxy/nginx"
)

// sidecarBody is what the shell script beside nginx posts.
const sidecarBody = `{
  "key" : "nginx", "webServerType" : "NGINX", "artifactoryAppContext" : "artifactory", "publicAppContext" : "artifactory",
  "serverName" : "art.example.com", "artifactoryServerName" : "localhost", "artifactoryPort" : 8081,
  "sslCertificate" : "/etc/pki/tls/certs/example.pem", "sslKey" : "/etc/pki/tls/private/example.key",
  "dockerReverseProxyMethod" : "REPOPATHPREFIX", "useHttps" : true, "useHttp" : true, "httpsPort" : 443, "httpPort" : 80,
  "upStreamName" : "artifactory_cluster"
}`

// TestArtifactoryStatuses is the table of the calls' statuses.
func TestArtifactoryStatuses(t *testing.T) {
	w := newWorld(t)
	base := w.artifactoryBase()
	foreign := "/api/v1/clusters/" + nobody + "/artifactory"
	viewer := w.tokenOf(t, tenant{"cluster_id": w.cluster.ID}.member(link.RoleViewer, link.ScopeCluster), false)
	anonymous, reads := map[string]string{"Authorization": ""}, map[string]string{"Authorization": "Bearer " + viewer}
	for _, c := range []struct {
		method, path, body string
		header             map[string]string
		status             int
	}{
		{"GET", base + nginxSnippetPath, "", nil, 400}, // nothing is configured
		{"GET", base + webServerPath, "", nil, 200},
		{"HEAD", base + webServerPath, "", nil, 200},
		{"GET", base + webServerPath, "", reads, 200},
		{"GET", base + webServerPath, "", anonymous, 401},
		{"HEAD", base + webServerPath, "", anonymous, 401},
		{"GET", base + nginxSnippetPath, "", anonymous, 401},
		{"POST", base + webServerPath, sidecarBody, anonymous, 401},
		{"POST", base + webServerPath, sidecarBody, reads, 403},
		{"POST", base + webServerPath + "?dryRun=true", sidecarBody, nil, 201},
		{"GET", base + nginxSnippetPath, "", nil, 400}, // that was not stored
		{"POST", base + webServerPath, sidecarBody, nil, 201},
		{"POST", base + webServerPath, sidecarBody, nil, 201},
		{"GET", base + nginxSnippetPath, "", nil, 200},
		{"GET", base + nginxSnippetPath, "", reads, 200},
		{"GET", base + "/api/system/configuration/reverseProxy/apache", "", nil, 404},
		{"GET", base + "/api/system/configuration/reverseProxy/other", "", nil, 404},
		{"POST", base + webServerPath, `{"key":"iis"}`, nil, 400},
		{"POST", base + webServerPath, `{"serverName":`, nil, 400},
		{"PUT", base + webServerPath, sidecarBody, nil, 405},
		{"GET", base + "/api/system/ping", "", nil, 404},
		{"GET", foreign + webServerPath, "", nil, 404},
		{"GET", foreign + nginxSnippetPath, "", nil, 404},
		{"POST", foreign + webServerPath, sidecarBody, nil, 404},
	} {
		got := w.send(t, c.method, c.path, c.body, c.header)
		if got.status != c.status {
			t.Errorf("%s %s: %d, want %d\n%s", c.method, c.path, got.status, c.status, got.body)
		}
	}
}

// Clients show who they are in three ways, on these calls alone.
func TestArtifactoryCredentials(t *testing.T) {
	w := newWorld(t)
	url := w.artifactoryBase() + webServerPath
	ask := func(path string, header map[string]string) reply {
		t.Helper()
		h := map[string]string{"Authorization": ""}
		for k, v := range header {
			h[k] = v
		}
		return w.send(t, http.MethodGet, path, "", h)
	}
	basic := func(user, password string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"a bearer token":            {map[string]string{"Authorization": "Bearer " + operatorToken}, 200},
		"the key's own field":       {map[string]string{"X-JFrog-Art-Api": operatorToken}, 200},
		"a password of anybody":     {map[string]string{"Authorization": basic("admin", operatorToken)}, 200},
		"a password of nobody":      {map[string]string{"Authorization": basic("", operatorToken)}, 200},
		"the token as a user":       {map[string]string{"Authorization": basic(operatorToken, "")}, 401},
		"a wrong password":          {map[string]string{"Authorization": basic("admin", "password")}, 401},
		"a wrong key":               {map[string]string{"X-JFrog-Art-Api": "AKCp5wrong"}, 401},
		"nothing":                   {nil, 401},
		"a password, from a page":   {map[string]string{"Authorization": basic("admin", operatorToken), "Sec-Fetch-Site": "same-origin"}, 200},
		"a gateway's token":         {map[string]string{"X-JFrog-Art-Api": gatewayToken}, 403},
		"a wrong key beside bearer": {map[string]string{"X-JFrog-Art-Api": "wrong", "Authorization": "Bearer " + operatorToken}, 401},
	} {
		got := ask(url, c.header)
		if got.status != c.status {
			t.Errorf("%s: %d, want %d\n%s", name, got.status, c.status, got.body)
		}
		if challenges := strings.Join(got.header.Values("WWW-Authenticate"), ", "); (c.status == 401) != strings.Contains(challenges, `Basic realm="postern"`) || (c.status == 401) != strings.Contains(challenges, "Bearer") {
			t.Errorf("%s: challenged by %s", name, challenges)
		}
	}
	for _, header := range []map[string]string{{"X-JFrog-Art-Api": operatorToken}, {"Authorization": basic("admin", operatorToken)}} {
		if got := ask("/api/v1/clusters/"+w.cluster.ID+"/reverse-proxy", header); got.status != http.StatusUnauthorized {
			t.Errorf("elsewhere by %v: %d", header, got.status)
		}
	}
	// What a browser keeps is no other site's to use.
	got := w.send(t, http.MethodPost, url, sidecarBody, map[string]string{"Authorization": basic("admin", operatorToken), "Sec-Fetch-Site": "cross-site"})
	if got.status != http.StatusForbidden {
		t.Errorf("another site's page: %d %s", got.status, got.body)
	}
	if strings.Contains(w.log.String(), operatorToken) {
		t.Error("the log has a token")
	}
}

// webServer asks for the reverse proxy as a client of Artifactory.
func (w *world) webServer(t *testing.T) (out api.ArtifactoryWebServer) {
	t.Helper()
	got := w.send(t, http.MethodGet, w.artifactoryBase()+webServerPath, "", nil)
	if err := json.Unmarshal(got.body, &out); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	return out
}

func TestArtifactoryModel(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id := w.cluster.ID
	is := func(what string, want api.ArtifactoryWebServer) {
		t.Helper()
		if diff := cmp.Diff(want, w.webServer(t), cmp.AllowUnexported(api.ArtifactoryWebServer{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want := api.ArtifactoryWebServer{
		Key: "nginx", WebServerType: "NGINX", AppContext: "artifactory", PublicContext: "artifactory", ArtifactoryServerName: "localhost", ArtifactoryPort: 8081,
		DockerReverseProxyMethod: "SUBDOMAIN", UseHTTP: true, HTTPPort: 80, HTTPSPort: 443, SSLPort: 443,
	}
	is("never configured", want)

	// What only our words say stays as it is: how clients show certificates, the other nodes, and which repositories there are.
	_, err := w.client.PutReverseProxy(ctx, id, api.ReverseProxySettings{
		Server: "apache", ServerName: "old.example.com", HTTP: true, HTTPS: true, Certificate: "/etc/a.pem", Key: "/etc/a.key", Upstream: "pool",
		Nodes:              []api.ProxyNode{{Host: "10.0.0.1", DirectPort: 8081, RouterPort: 8046}, {Host: "10.0.0.2", DirectPort: 8081, RouterPort: 8046}},
		Repositories:       []api.ProxyRepository{{Key: "docker-local"}, {Key: "docker-remote", Port: 5002}},
		ClientCertificates: &api.ProxyCertificates{Mode: "REQUIRED", CAFile: "/etc/ca.pem"}, DockerMethod: "NOVALUE",
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"key":"nginx","webServerType":"NGINX","serverName":"art.example.com","serverNameExpression":"*.art.example.com","artifactoryServerName":"10.0.0.9",
		"dockerReverseProxyMethod":"PORTPERREPO","useHttps":true,"useHttp":false,"sslPort":8443,"sslCertificate":"/etc/b.pem","sslKey":"/etc/b.key","upStreamName":"artifactory",
		"reverseProxyRepositories":{"reverseProxyRepoConfigs":[{"repoRef":"docker-remote","serverName":"art.example.com","port":5003},{"repoRef":"docker-local","serverName":"docker.example.com","port":5001}]},
		"nobodyKnows":{"this":"field"}}`
	answer := w.send(t, http.MethodPost, w.artifactoryBase()+webServerPath, body, nil)
	if answer.status != http.StatusCreated {
		t.Fatalf("%d %s", answer.status, answer.body)
	}
	want = api.ArtifactoryWebServer{
		Key: "nginx", WebServerType: "NGINX", AppContext: "artifactory", PublicContext: "artifactory", ServerName: "art.example.com", ServerNameExpression: "*.art.example.com",
		ArtifactoryServerName: "10.0.0.9", ArtifactoryPort: 8081, UpstreamName: "artifactory", DockerReverseProxyMethod: "PORTPERREPO", UseHTTPS: true,
		HTTPPort: 80, HTTPSPort: 8443, SSLPort: 8443, SSLCertificate: "/etc/b.pem", SSLKey: "/etc/b.key",
		ReverseProxyRepositories: api.ArtifactoryRepositories{Configs: []api.ArtifactoryRepository{
			{RepoRef: "docker-local", ServerName: "docker.example.com", Port: 5001}, {RepoRef: "docker-remote", ServerName: "art.example.com", Port: 5003},
		}},
	}
	is("configured", want)
	p, err := w.client.ReverseProxy(ctx, id)
	if err != nil || p.ClientCertificates.Mode != "REQUIRED" || p.Version != 2 {
		t.Errorf("in our words: %+v, %v", p, err)
	}
	if want := []api.ProxyNode{{Host: "10.0.0.9", DirectPort: 8081, RouterPort: 8046}, {Host: "10.0.0.2", DirectPort: 8081, RouterPort: 8046}}; !slices.Equal(p.Nodes, want) {
		t.Errorf("nodes %+v, want %+v", p.Nodes, want)
	}
	if want := []api.ProxyRepository{{Key: "docker-local", ServerName: "docker.example.com", Port: 5001}, {Key: "docker-remote", Port: 5003}}; !slices.Equal(p.Repositories, want) {
		t.Errorf("repositories %+v, want %+v", p.Repositories, want)
	}

	// What is got can be posted, and changes nothing.
	echo := w.send(t, http.MethodGet, w.artifactoryBase()+webServerPath, "", nil)
	if got := w.send(t, http.MethodPost, w.artifactoryBase()+webServerPath, string(echo.body), nil); got.status != http.StatusCreated {
		t.Errorf("%d %s", got.status, got.body)
	}
	is("posted as it was", want)
	if again, err := w.client.ReverseProxy(ctx, id); err != nil || again.Version != p.Version {
		t.Errorf("it is version %d now, %v", again.Version, err)
	}
}

// Every mistake is told at once, in the client's own words.
func TestArtifactoryMistakes(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	_, err := w.client.PutReverseProxy(ctx, w.cluster.ID, api.ReverseProxySettings{
		Server: "nginx", ServerName: "art.example.com", HTTP: true, Nodes: []api.ProxyNode{{Host: "localhost"}}, Repositories: []api.ProxyRepository{{Key: "app"}, {Key: "lib"}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	const repo = "reverseProxyRepositories.reverseProxyRepoConfigs"
	before := w.state(t)
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"nothing":                {`{}`, []string{"webServerType REQUIRED"}},
		"key and type disagree":  {`{"key":"nginx","webServerType":"APACHE","serverName":"a.example.com"}`, []string{"webServerType FIELDS_DISAGREE"}},
		"ports disagree":         {`{"key":"nginx","serverName":"a.example.com","httpsPort":443,"sslPort":444}`, []string{"sslPort FIELDS_DISAGREE"}},
		"direct by subdomain":    {`{"key":"direct","dockerReverseProxyMethod":"SUBDOMAIN"}`, []string{"dockerReverseProxyMethod METHOD_NOT_SUPPORTED"}},
		"neither http nor https": {`{"key":"nginx","serverName":"a.example.com","useHttp":false}`, []string{"useHttps NEITHER_HTTP_NOR_HTTPS"}},
		"no server name":         {`{"webServerType":"NGINX"}`, []string{"serverName SERVER_NAME_REQUIRED"}},
		"apache without one":     {`{"webServerType":"APACHE","useHttps":true}`, []string{"serverName SERVER_NAME_REQUIRED", "sslCertificate CERTIFICATE_REQUIRED", "sslKey KEY_REQUIRED"}},
		"no host":                {`{"webServerType":"NGINX","serverName":"a.example.com","artifactoryServerName":"not a host"}`, []string{"artifactoryServerName MALFORMED_HOST"}},
		"a relative file":        {`{"webServerType":"NGINX","serverName":"a.example.com","useHttps":true,"sslCertificate":"a.crt","sslKey":"/a.key"}`, []string{"sslCertificate MALFORMED_PATH"}},
		"an unknown repository":  {`{"webServerType":"NGINX","serverName":"a.example.com","reverseProxyRepositories":{"reverseProxyRepoConfigs":[{"repoRef":"app","port":5001},{"repoRef":"other","port":5002}]}}`, []string{repo + "[1].repoRef UNKNOWN_REPOSITORY"}},
		"a repository twice":     {`{"webServerType":"NGINX","serverName":"a.example.com","reverseProxyRepositories":{"reverseProxyRepoConfigs":[{"repoRef":"app","port":5001},{"repoRef":"app","port":5002}]}}`, []string{repo + "[1].repoRef DUPLICATE"}},
		"a port of two":          {`{"webServerType":"NGINX","serverName":"a.example.com","dockerReverseProxyMethod":"PORTPERREPO","reverseProxyRepositories":{"reverseProxyRepoConfigs":[{"repoRef":"lib","port":5001},{"repoRef":"app","port":5001}]}}`, []string{repo + "[0].port PORT_TAKEN"}},
		"the proxy's own port":   {`{"webServerType":"NGINX","serverName":"a.example.com","dockerReverseProxyMethod":"PORTPERREPO","reverseProxyRepositories":{"reverseProxyRepoConfigs":[{"repoRef":"lib","port":80}]}}`, []string{repo + " PORT_REQUIRED", repo + "[0].port PORT_TAKEN"}},
		"a port beyond 65535":    {`{"webServerType":"NGINX","serverName":"a.example.com","sslPort":65536}`, []string{"sslPort INVALID_VALUE"}},
		"another's name":         {`{"webServerType":"DIRECT","serverName":"x.postern.test","dockerReverseProxyMethod":"NOVALUE"}`, []string{"serverName NAME_NOT_THE_CLUSTERS"}},
	} {
		got := w.send(t, http.MethodPost, w.artifactoryBase()+webServerPath, c.body, nil)
		var e api.Error
		if err := json.Unmarshal(got.body, &e); err != nil || got.status != http.StatusBadRequest || !slices.Equal(complaints(&e), c.want) {
			t.Errorf("%s: %d %v, want %v\n%s", name, got.status, complaints(&e), c.want, got.body)
		}
	}
	same(t, before, w.state(t))
}

// A provider of Terraform posts, gets, and makes the resource anew when there is none; whatever it applied it has to find.
func TestArtifactoryAsTerraform(t *testing.T) {
	w := newWorld(t)
	url := w.artifactoryBase() + webServerPath
	ask := func(method, body string) (int, map[string]any) {
		t.Helper()
		got := w.send(t, method, url, body, map[string]string{"User-Agent": "terraform-provider-artifactory/12", "Accept": "application/json"})
		var said map[string]any
		if err := json.Unmarshal(got.body, &said); err != nil {
			t.Fatalf("%s: %d %s", method, got.status, got.body)
		}
		return got.status, said
	}
	for _, plan := range []string{
		`{"webServerType":"NGINX","artifactoryServerName":"art-1.internal","artifactoryPort":8081,"serverName":"art.example.com","dockerReverseProxyMethod":"SUBDOMAIN","useHttp":true,"httpPort":80,"useHttps":true,"sslPort":443,"sslCertificate":"/etc/a.pem","sslKey":"/etc/a.key"}`,
		`{"webServerType":"APACHE","artifactoryServerName":"art-1.internal","artifactoryPort":8082,"serverName":"art.example.com","dockerReverseProxyMethod":"REPOPATHPREFIX","useHttp":true,"httpPort":8080,"useHttps":false,"sslPort":443}`,
		`{"webServerType":"DIRECT","dockerReverseProxyMethod":"REPOPATHPREFIX"}`,
	} {
		status, _ := ask(http.MethodPost, plan)
		if status != http.StatusCreated {
			t.Errorf("apply: %d", status)
		}
		status, state := ask(http.MethodGet, "")
		if status != http.StatusOK {
			t.Errorf("refresh: %d", status)
		}
		var planned map[string]any
		if err := json.Unmarshal([]byte(plan), &planned); err != nil {
			t.Fatal(err)
		}
		for field, want := range planned {
			if state[field] != want {
				t.Errorf("after the apply %s is %v, and the plan has %v: the provider would want to change it for ever", field, state[field], want)
			}
		}
	}
	// The cluster goes, and the resource with it: the provider has to see that it is to be made anew.
	if err := w.client.DeleteCluster(t.Context(), w.cluster.ID); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(http.MethodGet, ""); status != http.StatusNotFound {
		t.Errorf("of a cluster that is gone: %d", status)
	}
}

// TestArtifactoryAsSidecar goes the way of the shell script beside nginx, with its own tools: wait until somebody answers,
// configure unless that was done, then poll the configuration and compare.
func TestArtifactoryAsSidecar(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl (Debian package curl)")
	}
	w := newWorld(t)
	conf := filepath.Join(t.TempDir(), "artifactory.conf")
	run := func() string {
		t.Helper()
		cmd := exec.CommandContext(within(t), "bash", "-euo", "pipefail", "-c", `
			ask() { curl -sS --fail-with-body -u "admin:$ART_PASSWORD" "$@"; }
			ask -o /dev/null --head "$ART$WEB"                                                  # is it there?
			case "$(ask "$ART$WEB")" in *'"serverName":"art.example.com"'*) echo configured ;; *)
				curl -sS -o /dev/null -w '%{http_code}\n' -u "admin:$ART_PASSWORD" -X POST -H 'Content-Type: application/json' "$ART$WEB" -d "$BODY" ;;
			esac
			ask "$ART$SNIPPET" > "$CONF.new"
			if diff "$CONF" "$CONF.new" > /dev/null 2>&1; then echo same; else mv "$CONF.new" "$CONF"; echo reloaded; fi
			curl -sS -o /dev/null -w '%{http_code}\n' "$ART$SNIPPET"                             # nobody
			ask -D - -o /dev/null "$ART$SNIPPET?download=true" | grep -i '^content-disposition' | tr -d '\r'
		`)
		cmd.Env = append(cmd.Environ(), "ART="+w.url+w.artifactoryBase(), "WEB="+webServerPath, "SNIPPET="+nginxSnippetPath, "BODY="+sidecarBody,
			"CONF="+conf, "ART_PASSWORD="+operatorToken, "no_proxy=*")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.Join(strings.Fields(strings.ToLower(string(out))), " ")
	}
	const attached = ` 401 content-disposition: attachment; filename="nginx.conf"`
	if got, want := run(), "201 reloaded"+attached; got != want {
		t.Errorf("the first time: %s, want %s", got, want)
	}
	if got, want := run(), "configured same"+attached; got != want {
		t.Errorf("the second time: %s, want %s", got, want)
	}
	p, err := w.client.ReverseProxy(t.Context(), w.cluster.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.HTTPSPort = 8443
	if _, err := w.client.PutReverseProxy(t.Context(), w.cluster.ID, p.ReverseProxySettings, false); err != nil {
		t.Fatal(err)
	}
	if got, want := run(), "configured reloaded"+attached; got != want {
		t.Errorf("after a change: %s, want %s", got, want)
	}
}
