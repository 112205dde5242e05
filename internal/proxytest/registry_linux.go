package proxytest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/postern/postern/internal/servertest"
)

// Registry is Debian's docker-registry for one repository of the application, whose part of the application's paths it
// serves. It asks for a token, the same for all repositories, which User gets for Password at …/v2/token.
type Registry struct {
	Key string
	// Relative has it answer paths where others answer URLs.
	Relative bool
	// Storage, when not empty, is the URL below which somebody serves the files of Dir: it answers requests for blobs with
	// redirects to there. Start sets Dir.
	Storage, Dir string

	url   *url.URL
	proxy *httputil.ReverseProxy
}

const registryConfiguration = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %q, prefix: %s, relativeurls: %t}
`

const registryRedirects = `middleware:
  storage: [{name: redirect, options: {baseurl: %q}}]
`

// Start starts the registry, which ends with the test.
func (g *Registry) Start(t testing.TB) {
	t.Helper()
	addr := servertest.Addr(t)
	g.Dir = t.TempDir()
	configuration := fmt.Appendf(nil, registryConfiguration, g.Dir, addr.String(), g.prefix(), g.Relative)
	if g.Storage != "" {
		configuration = fmt.Appendf(configuration, registryRedirects, g.Storage)
	}
	path := writeFile(t, t.TempDir(), "registry.yml", configuration)
	servertest.Run(t, servertest.Account{}, addr, "docker-registry", "serve", path)
	g.url = &url.URL{Scheme: "http", Host: addr.String()}
	g.proxy = &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(g.url)
			// It answers with URLs that it makes of what the proxies in front tell.
			r.Out.Host = r.In.Host
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := r.In.Header[name]; ok {
					r.Out.Header[name] = values
				}
			}
		},
		ModifyResponse: func(r *http.Response) error {
			// It leaves its prefix out of the paths that it answers; an application does not.
			if path, relative := strings.CutPrefix(r.Header.Get("Location"), "/v2/"); relative {
				r.Header.Set("Location", g.prefix()+"v2/"+path)
			}
			return nil
		},
	}
}

func (g *Registry) prefix() string { return "/artifactory/api/docker/" + g.Key + "/" }

// token is what every registry gives User, in the form of a JSON Web Token (RFC 7519) which says whose it is. Nobody here
// looks at its signature.
var token = func() string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + part([]byte(`{"sub":"jfac@01/users/`+User+`"}`)) + "." + part([]byte("signature"))
}()

// serve answers a request for a path below the registry's prefix.
func (g *Registry) serve(w http.ResponseWriter, r *http.Request, path string) {
	switch {
	case path == "/v2/token":
		if user, password, _ := r.BasicAuth(); user != User || password != Password {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, token)
	case r.Header.Get("Authorization") != "Bearer "+token:
		realm := publicURL(r).JoinPath(g.prefix(), "v2/token")
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q", realm, r.Host))
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
	case strings.HasSuffix(path, "/tags/list"):
		g.tags(w, r, path)
	default:
		g.proxy.ServeHTTP(w, r)
	}
}
