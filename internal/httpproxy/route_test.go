package httpproxy

import (
	"strings"
	"testing"

	"github.com/postern/postern/internal/link"
)

func compileSite(t testing.TB, change func(*link.ReverseProxy)) *Site {
	t.Helper()
	site, err := Compile(testRules(func(c *link.ClusterRules) { change(&c.Proxy.Proxy) }))
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func bySubdomain(p *link.ReverseProxy) { p.Docker = link.DockerSubdomain }
func byPath(p *link.ReverseProxy)      { p.Docker = link.DockerPath }
func byPathUnknown(p *link.ReverseProxy) {
	p.Docker, p.Repositories = link.DockerPath, nil
}
func noDocker(p *link.ReverseProxy) { p.Docker = link.DockerNone }
func renamed(p *link.ReverseProxy)  { p.PublicContext = "repo" }

func TestRoutes(t *testing.T) {
	const registry = "/artifactory/api/docker/"
	for _, c := range []struct {
		name       string
		settings   func(*link.ReverseProxy)
		repository string // that the host or the port names
		target     string
		want       string // at the application; empty when it is refused
		direct     bool
	}{
		{"page", bySubdomain, "", "/ui/login?x=1", "/ui/login?x=1", false},
		{"root", bySubdomain, "", "/", "/", false},
		{"star", bySubdomain, "", "*", "*", false},
		{"application", bySubdomain, "", "/artifactory/api/system/ping", "/artifactory/api/system/ping", true},
		{"application's root", bySubdomain, "", "/artifactory?x", "/artifactory?x", true},
		{"a longer name", bySubdomain, "", "/artifactory2/x", "/artifactory2/x", false},
		{"matrix parameters", bySubdomain, "", "/artifactory/libs/a;p=1/b", "/artifactory/libs/a;p=1/b", true},
		{"points in names", bySubdomain, "", "/artifactory/a..b/.x/c.", "/artifactory/a..b/.x/c.", true},
		{"escapes", bySubdomain, "", "/artifactory/a%2Fb%20c", "/artifactory/a%2Fb%20c", true},

		{"another context", renamed, "", "/repo/x?y", "/artifactory/x?y", true},
		{"another context's root", renamed, "", "/repo", "/artifactory", true},
		{"a longer name than the other context", renamed, "", "/repository", "/repository", false},

		{"subdomain", bySubdomain, "docker-local", "/v2/app/manifests/1?x", registry + "docker-local/v2/app/manifests/1?x", true},
		{"subdomain: ping", bySubdomain, "docker-local", "/v2/", registry + "docker-local/v2/", true},
		{"subdomain: ping without a slash", bySubdomain, "docker-local", "/v2", registry + "docker-local/v2", true},
		{"subdomain: version 1", bySubdomain, "docker-local", "/v1/search?q=x", registry + "docker-local/v1/search?q=x", true},
		{"subdomain: token", bySubdomain, "docker-local", "/v2/token?scope=repository:docker-local/app:pull", registry + "docker-local/v2/token?scope=repository:docker-local/app:pull", true},
		{"subdomain: mount", bySubdomain, "docker-local", "/v2/app/blobs/uploads/?mount=sha256:1&from=docker-local/x", registry + "docker-local/v2/app/blobs/uploads/?mount=sha256:1&from=docker-local/x", true},
		{"subdomain: something else", bySubdomain, "docker-local", "/v3/", "/v3/", false},
		{"subdomain: application", bySubdomain, "docker-local", "/artifactory/x", "/artifactory/x", true},
		{"no subdomain", bySubdomain, "", "/v2/app/manifests/1", "/v2/app/manifests/1", false},

		{"path", byPath, "", "/v2/docker-local/app/manifests/1", registry + "docker-local/v2/app/manifests/1", true},
		{"path: version 1", byPath, "", "/v1/docker-local/search?q=x", registry + "docker-local/v1/search?q=x", true},
		{"path: a repository that is not listed", byPath, "", "/v2/other/app/tags/list", registry + "other/v2/app/tags/list", true},
		{"path: catalog of one", byPath, "", "/v2/docker-local/_catalog?n=2", registry + "docker-local/v2/_catalog?n=2", true},
		{"path: ping", byPath, "", "/v2/", registry + "docker-local/v2/", true},
		{"path: ping without a slash", byPath, "", "/v2", registry + "docker-local/v2/", true},
		{"path: ping of one", byPath, "", "/v2/docker-local/", registry + "docker-local/v2/", true},
		{"path: token", byPath, "", "/v2/token?service=x&scope=repository%3Adocker-local%2Fapp%3Apull", registry + "docker-local/v2/token?service=x&scope=repository%3Aapp%3Apull", true},
		{
			"path: token of one", byPath, "", "/v2/docker-remote/token?scope=repository:docker-remote/a:pull+repository:docker-remote/b:pull,push&account=me",
			registry + "docker-remote/v2/token?scope=repository%3Aa%3Apull+repository%3Ab%3Apull%2Cpush&account=me", true,
		},
		{"path: mount", byPath, "", "/v2/docker-local/app/blobs/uploads/?mount=sha256:1&from=docker-local/x", registry + "docker-local/v2/app/blobs/uploads/?mount=sha256:1&from=x", true},
		{"path: escaped mount", byPath, "", "/v2/docker-local/app/blobs/uploads/?from=docker-local%2Fx%2Fy&mount=sha256%3A1", registry + "docker-local/v2/app/blobs/uploads/?from=x%2Fy&mount=sha256%3A1", true},
		{"path: mount from elsewhere", byPath, "", "/v2/docker-local/app/blobs/uploads/?mount=sha256:1&from=docker-remote/x&a=b", registry + "docker-local/v2/app/blobs/uploads/?a=b", true},
		{"path: no repository", byPath, "", "/v2/_catalog", "", true},
		{"path: no key", byPath, "", "/v2/%2e/x", "", true},
		{"path: ping where none is known", byPathUnknown, "", "/v2/", "/v2/", false},
		{"no Docker", noDocker, "", "/v2/x/y", "/v2/x/y", false},

		{"dots", bySubdomain, "", "/artifactory/../x", "", false},
		{"one dot", bySubdomain, "", "/./x", "", false},
		{"dots at the end", bySubdomain, "", "/x/..", "", false},
		{"escaped dots", bySubdomain, "", "/artifactory/%2e%2E/x", "", false},
		{"half escaped dots", bySubdomain, "", "/artifactory/.%2e/x", "", false},
		{"dots with a parameter", bySubdomain, "", "/artifactory/..;x=1/y", "", false},
		{"dots between backslashes", bySubdomain, "", `/artifactory\..\x`, "", false},
		{"dots in a registry", bySubdomain, "docker-local", "/v2/../../x", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			way, failure := compileSite(t, c.settings).route(c.target, c.repository)
			switch {
			case failure != nil && c.want != "":
				t.Errorf("refused: %s", failure.code)
			case failure == nil && (way.target != c.want || way.direct != c.direct):
				t.Errorf("goes to %q, direct %v", way.target, way.direct)
			}
		})
	}
}

func TestNames(t *testing.T) {
	site := compileSite(t, bySubdomain)
	port := compileSite(t, func(p *link.ReverseProxy) {
		p.Docker = link.DockerPort
		p.Repositories[0].ServerName = "docker.test"
	})
	for _, c := range []struct {
		site       *Site
		listener   link.Listener
		name       string
		repository string
		ok         bool
	}{
		{site, link.PublicListener, "art.test", "", true},
		{site, link.PublicListener, "docker-local.art.test", "docker-local", true},
		{site, link.PublicListener, "other.art.test", "", false},
		{site, link.PublicListener, "x.docker-local.art.test", "", false},
		{site, link.PublicListener, "docker-local.art.test.evil.example", "", false},
		{site, link.PublicListener, "docker-local.artxtest", "", false},
		{site, link.PublicListener, "c1.pe.test", "", false},
		{site, link.PrivateListener, "c1.pe.test", "", true},
		{site, link.PrivateListener, "docker-remote.c1.pe.test", "docker-remote", true},
		{site, link.PublicListener, "", "", false},
		{site, link.PublicListener, "127.0.0.1", "", false},
		{port, link.PublicListener, "docker.test", "", true},
		{port, link.PublicListener, "docker-local.art.test", "", false},
	} {
		repository, ok := c.site.find(c.listener, c.name)
		if repository != c.repository || ok != c.ok || c.site.Serves(c.listener, c.name) != ok {
			t.Errorf("%s at the %s listener: %q, %v", c.name, c.listener, repository, ok)
		}
	}
}

func TestAddresses(t *testing.T) {
	nodes := func(p *link.ReverseProxy) {
		p.Docker = link.DockerSubdomain
		p.Nodes = []link.ProxyNode{{Host: "localhost", DirectPort: 8081, RouterPort: 8082}}
	}
	const sub = "docker-local.art.test"
	for _, c := range []struct {
		name     string
		settings func(*link.ReverseProxy)
		host     string
		target   string // of the request
		in, want string
		where    whither
	}{
		{"relative to the path", bySubdomain, "art.test", "/x", "y/z?a:b", "y/z?a:b", inside},
		{"query alone", bySubdomain, "art.test", "/x", "?y", "?y", inside},
		{"relative to the host", bySubdomain, "art.test", "/x", "/y", "/y", inside},
		{"own", bySubdomain, "art.test", "/x", "https://art.test/y?z", "https://art.test/y?z", inside},
		{"own in capitals", bySubdomain, "art.test", "/x", "HTTPS://ART.test", "https://art.test/", inside},
		{"own over http", bySubdomain, "art.test", "/x", "http://art.test/y", "https://art.test/y", inside},
		{"own with the usual port", bySubdomain, "art.test", "/x", "https://art.test:443/y", "https://art.test/y", inside},
		{"own with another port", bySubdomain, "art.test", "/x", "https://art.test:444/y", "https://art.test:444/y", outside},
		{"own behind a port", bySubdomain, "art.test:8443", "/x", "https://art.test:8443/y", "https://art.test:8443/y", inside},
		{"without a scheme", bySubdomain, "art.test", "/x", "//art.test/y", "https://art.test/y", inside},
		{"node", nodes, "art.test", "/x", "http://localhost:8082/y", "https://art.test/y", inside},
		{"the node that answers", nodes, "art.test", "/x", "http://10.0.0.1:8081/y", "https://art.test/y", inside},
		{"another name", bySubdomain, sub, "/x", "https://art.test/ui", "https://art.test/ui", sideways},
		{"another name over http", bySubdomain, sub, "/x", "http://art.test/ui", "http://art.test/ui", outside},
		{"another name of the other listener", bySubdomain, sub, "/x", "https://c1.pe.test/", "https://c1.pe.test/", outside},
		{"elsewhere", bySubdomain, "art.test", "/x", "https://s3.test/y?sig", "https://s3.test/y?sig", outside},
		{"elsewhere without a scheme", bySubdomain, "art.test", "/x", "//s3.test/y", "//s3.test/y", outside},
		{"no host", bySubdomain, "art.test", "/x", "https:///y", "https:///y", outside},
		{"another scheme", bySubdomain, "art.test", "/x", "javascript:alert(1)", "javascript:alert(1)", outside},
		{"backslashes", bySubdomain, "art.test", "/x", `https:\\evil.test/`, `https:\\evil.test/`, outside},
		{"backslash behind the host", bySubdomain, "art.test", "/x", `https://art.test\@evil.test/`, `https://art.test\@evil.test/`, outside},
		{"user in front of the host", bySubdomain, "art.test", "/x", "https://art.test@evil.test/", "https://art.test@evil.test/", outside},

		{"upload, subdomain", bySubdomain, sub, "/v2/a/blobs/uploads/", "/artifactory/api/docker/docker-local/v2/a/blobs/uploads/1?_state=x", "/v2/a/blobs/uploads/1?_state=x", inside},
		{"upload, absolute", bySubdomain, sub, "/v2/a/blobs/uploads/", "http://" + sub + "/artifactory/api/docker/docker-local/v2/a/blobs/uploads/1", "https://" + sub + "/v2/a/blobs/uploads/1", inside},
		{"upload, another repository", bySubdomain, sub, "/v2/a/blobs/uploads/", "/artifactory/api/docker/docker-remote/v2/a", "/artifactory/api/docker/docker-remote/v2/a", inside},
		{"no registry's path", bySubdomain, sub, "/v2/a/x", "/artifactory/api/docker/docker-local/other", "/artifactory/api/docker/docker-local/other", inside},
		{"upload, path", byPath, "art.test", "/v2/docker-local/a/blobs/uploads/", "https://art.test/artifactory/api/docker/docker-local/v2/a/blobs/uploads/1", "https://art.test/v2/docker-local/a/blobs/uploads/1", inside},
		{"upload, path, version 1", byPath, "art.test", "/v1/docker-local/a", "/artifactory/api/docker/docker-local/v1/a", "/v1/docker-local/a", inside},
		{"not asked by a Docker client", byPath, "art.test", "/artifactory/x", "/artifactory/api/docker/docker-local/v2/a", "/artifactory/api/docker/docker-local/v2/a", inside},
		{"another context", renamed, "art.test", "/repo/x", "https://art.test/artifactory/y?z", "https://art.test/repo/y?z", inside},
		{"another context's root", renamed, "art.test", "/repo/x", "/artifactory", "/repo", inside},
		{"a longer name", renamed, "art.test", "/repo/x", "/artifactory2", "/artifactory2", inside},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := compileSite(t, c.settings)
			host, _ := cutPort(c.host)
			repository, _ := site.find(link.PublicListener, host)
			way, failure := site.route(c.target, repository)
			if failure != nil {
				t.Fatal(failure.code)
			}
			v := view{site: site, way: &way, listener: link.PublicListener, scheme: "https", host: c.host, node: "10.0.0.1:8081"}
			if got, where := v.turn(c.in); got != c.want || where != c.where {
				t.Errorf("%q, %v", got, where)
			}
		})
	}
}

func TestAnswerFields(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings func(*link.ReverseProxy)
		host     string
		target   string
		field    string
		in, want string
	}{
		{
			"next page", bySubdomain, "docker-local.art.test", "/v2/a/tags/list", "Link",
			`</artifactory/api/docker/docker-local/v2/a/tags/list?last=b&n=1>; rel="next"`, `</v2/a/tags/list?last=b&n=1>; rel="next"`,
		},
		{
			"next page, path", byPath, "art.test", "/v2/docker-local/_catalog", "Link",
			`<http://art.test/artifactory/api/docker/docker-local/v2/_catalog?last=b>; rel="next"`, `<https://art.test/v2/docker-local/_catalog?last=b>; rel="next"`,
		},
		{"two links", renamed, "art.test", "/x", "Link", `</artifactory/a>; rel=prev, <https://x.test/artifactory>; rel=next`, `</repo/a>; rel=prev, <https://x.test/artifactory>; rel=next`},
		{"broken link", renamed, "art.test", "/x", "Link", `</artifactory/a`, `</artifactory/a`},
		{
			"realm", bySubdomain, "docker-local.art.test", "/v2/", "WWW-Authenticate",
			`Bearer realm="https://docker-local.art.test/artifactory/api/docker/docker-local/v2/token",service="a"`, `Bearer realm="https://docker-local.art.test/v2/token",service="a"`,
		},
		{
			"realm, path", byPath, "art.test", "/v2/", "WWW-Authenticate",
			`bearer service="a",Realm="http://art.test/artifactory/api/docker/docker-local/v2/token"`, `bearer service="a",Realm="https://art.test/v2/docker-local/token"`,
		},
		{"relative realm", byPath, "art.test", "/v2/", "WWW-Authenticate", `Bearer realm="/artifactory/api/docker/docker-local/v2/token"`, `Bearer realm="https://art.test/v2/docker-local/token"`},
		{"foreign realm", byPath, "art.test", "/v2/", "WWW-Authenticate", `Bearer realm="https://auth.test/token"`, `Bearer realm="https://auth.test/token"`},
		{"Basic's realm", byPath, "art.test", "/v2/", "WWW-Authenticate", `Basic realm="/artifactory/api/docker/docker-local/v2/token"`, `Basic realm="/artifactory/api/docker/docker-local/v2/token"`},
		{"cookie", renamed, "art.test", "/x", "Set-Cookie", `a=b; Path=/artifactory; HttpOnly`, `a=b; Path=/repo; HttpOnly`},
		{"cookie below", renamed, "art.test", "/x", "Set-Cookie", `a=/artifactory;path=/artifactory/x`, `a=/artifactory;path=/repo/x`},
		{"cookie of another path", renamed, "art.test", "/x", "Set-Cookie", `a=b; Path=/artifactory2`, `a=b; Path=/artifactory2`},
		{"cookie where nothing is renamed", bySubdomain, "art.test", "/x", "Set-Cookie", `a=b; Path=/artifactory`, `a=b; Path=/artifactory`},
		{"the application's own guess", bySubdomain, "art.test", "/x", "Strict-Transport-Security", "max-age=1", ""},
		{"what only proxies tell", bySubdomain, "art.test", "/x", "X-Postern-User", "admin", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := compileSite(t, c.settings)
			repository, _ := site.find(link.PublicListener, c.host)
			way, failure := site.route(c.target, repository)
			if failure != nil {
				t.Fatal(failure.code)
			}
			v := view{site: site, way: &way, listener: link.PublicListener, scheme: "https", host: c.host}
			var r response
			if err := parseResponse(&r, head("HTTP/1.1 200 OK", c.field+": "+c.in), 10); err != nil {
				t.Fatal(err)
			}
			v.turnFields(&r)
			got := ""
			for _, f := range r.fields {
				if f.name == c.field && f != strictTransport {
					got = f.value
				}
			}
			if got != c.want {
				t.Errorf("%s", got)
			}
		})
	}
}

// What a Docker client asked by the repository's path it gets back as that path.
func FuzzRoute(f *testing.F) {
	for _, s := range []string{
		"/v2/docker-local/a/manifests/1", "/v2/", "/v1/x/y?from=x/z", "/artifactory/x", "/v2/docker-local/token?scope=repository:docker-local/a:pull", "/x/%2e%2e/",
	} {
		f.Add(s)
	}
	site := compileSite(f, byPath)
	f.Fuzz(func(t *testing.T, target string) {
		if !isTarget(target) || target[0] != '/' {
			return
		}
		way, failure := site.route(target, "")
		if failure != nil || way.ticket != "" || strings.HasPrefix(target, ticketPath) {
			return
		}
		if !isTarget(way.target) || way.target[0] != '/' {
			t.Fatalf("%q goes to %q", target, way.target)
		}
		path, _, _ := strings.Cut(target, "?")
		inner, _, _ := strings.Cut(way.target, "?")
		if hasDots(inner) {
			t.Errorf("%q goes to %q", path, inner)
		}
		v := view{site: site, way: &way, scheme: "https", host: "art.test"}
		back := v.back(inner)
		if way.docker && strings.Count(path, "/") > 2 && back != path {
			t.Errorf("%q goes to %q and comes back as %q", path, inner, back)
		}
		if !way.docker && back != path {
			t.Errorf("%q comes back as %q", path, back)
		}
	})
}
