package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/proxyconf"
)

// asArtifactory marks an operation that clients of Artifactory ask for.
const asArtifactory = "postern.as-artifactory"

// artifactoryToken is the token of a request in one of the ways that clients of Artifactory have beside a bearer token: in a
// field of its own, or as the password of whatever user. It is empty where there is none.
func artifactoryToken(r *http.Request) string {
	if key := r.Header.Get("X-JFrog-Art-Api"); key != "" {
		return key
	}
	_, password, _ := r.BasicAuth()
	return password
}

// artifactory serves the calls of Artifactory's REST API about its reverse proxy, beneath a base URL of each cluster: "Get
// Reverse Proxy Configuration", "Update Reverse Proxy Configuration" and "Get Reverse Proxy Snippet" of its documentation.
func (s *server) artifactory() {
	const tag, path = "Artifactory", clusterBase + "/artifactory/api/system/configuration"

	register(s, route{
		method: http.MethodGet, path: path + "/webServer", id: "GetArtifactoryWebServer", tag: tag, artifactory: true,
		summary: "Get a cluster's reverse proxy in the words of Artifactory; of a cluster without one, the defaults",
	},
		func(ctx context.Context, c policy.Caller, in *ClusterPath) (api.ArtifactoryWebServer, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ArtifactoryWebServer{}, err
			}
			v, err := s.plane.ReverseProxy(ctx, c, id)
			if isReason(err, control.ReasonNoProxy) {
				return artifactoryDefaults, nil
			}
			return wireArtifactory(v.ReverseProxy), err
		})

	type post struct {
		ClusterPath
		DryRun bool `query:"dryRun" doc:"Check and render, and store nothing"`
		Body   api.ArtifactoryWebServerUpdate
	}
	register(s, route{
		method: http.MethodPost, path: path + "/webServer", id: "SetArtifactoryWebServer", tag: tag, artifactory: true, status: http.StatusCreated,
		summary: "Change a cluster's reverse proxy in the words of Artifactory; what they cannot say stays as it is",
	},
		func(ctx context.Context, c policy.Caller, in *post) (api.ArtifactoryWebServer, error) {
			id, err := in.cluster()
			if err != nil {
				return api.ArtifactoryWebServer{}, err
			}
			var given link.ReverseProxy
			v, _, err := s.plane.SetReverseProxy(ctx, c, id, control.ReverseProxyChange{Try: in.DryRun, Make: func(before link.ReverseProxy) (_ link.ReverseProxy, err error) {
				given, err = readArtifactory(in.Body, before)
				return given, err
			}})
			if err != nil {
				return api.ArtifactoryWebServer{}, artifactoryMistakes(err, in.Body, given)
			}
			return wireArtifactory(v.ReverseProxy), nil
		})

	type get struct {
		ClusterPath
		DownloadQuery
		Key string `path:"web_server" doc:"nginx or apache: the reverse proxy's key"`
	}
	op := route{
		method: http.MethodGet, path: path + "/reverseProxy/{web_server}", id: "GetArtifactorySnippet", tag: tag, artifactory: true,
		summary: "Render a cluster's reverse proxy as the configuration of its web server",
	}.operation()
	op.Responses = snippetResponses()
	huma.Register(s.api, op, func(ctx context.Context, in *get) (*huma.StreamResponse, error) {
		id, err := in.cluster()
		if err != nil {
			return nil, err
		}
		v, err := s.plane.ReverseProxy(ctx, callerOf(ctx), id)
		switch {
		case isReason(err, control.ReasonNoProxy):
			return nil, newProblem(http.StatusBadRequest, 9, "the reverse proxy is not configured", api.ErrorDetail{Reason: "REVERSE_PROXY_NOT_CONFIGURED", Hint: "POST webServer first"})
		case err != nil:
			return nil, err
		case string(v.Server) != in.Key:
			return nil, &link.Error{
				Kind: link.NotFound, Reason: "REVERSE_PROXY_NOT_FOUND", Field: "web_server", Message: "the reverse proxy is not of the key " + link.Quote(in.Key), Hint: "its key is " + string(v.Server),
			}
		}
		out, err := s.plane.ReverseProxySnippet(ctx, callerOf(ctx), id, proxyconf.Target{})
		if err != nil {
			return nil, err
		}
		return sendSnippet(out, in.DownloadQuery, false), nil
	})
	op.Responses["304"] = snippetCurrent
}

func isReason(err error, reason string) bool {
	e, ok := errors.AsType[*link.Error](err)
	return ok && e.Reason == reason
}

// What Artifactory says of a reverse proxy that nobody has configured.
var artifactoryDefaults = api.ArtifactoryWebServer{
	Key: "nginx", WebServerType: "NGINX", AppContext: proxyconf.DefaultContext, PublicContext: proxyconf.DefaultContext,
	ArtifactoryServerName: localNode, ArtifactoryPort: proxyconf.DefaultDirectPort, DockerReverseProxyMethod: string(link.DockerSubdomain),
	UseHTTP: true, HTTPPort: proxyconf.DefaultHTTPPort, HTTPSPort: proxyconf.DefaultHTTPSPort, SSLPort: proxyconf.DefaultHTTPSPort,
}

// localNode is where Artifactory is unless something else is said: beside its web server.
const localNode = "localhost"

func wireArtifactory(p link.ReverseProxy) api.ArtifactoryWebServer {
	out := api.ArtifactoryWebServer{
		Key: string(p.Server), WebServerType: strings.ToUpper(string(p.Server)), AppContext: p.AppContext, PublicContext: p.PublicContext,
		ServerName: p.ServerName, ServerNameExpression: p.Wildcard, ArtifactoryServerName: localNode, ArtifactoryPort: proxyconf.DefaultDirectPort,
		UpstreamName: p.Upstream, DockerReverseProxyMethod: string(p.Docker), UseHTTP: p.HTTP, UseHTTPS: p.HTTPS,
		HTTPPort: int(p.HTTPPort), HTTPSPort: int(p.HTTPSPort), SSLPort: int(p.HTTPSPort), SSLCertificate: p.Certificate, SSLKey: p.Key,
	}
	if len(p.Nodes) > 0 {
		out.ArtifactoryServerName, out.ArtifactoryPort = p.Nodes[0].Host, int(p.Nodes[0].DirectPort)
	}
	for _, r := range p.Repositories {
		if r.Port != 0 { // its server name stands there in any case: clients make the address of these two
			out.ReverseProxyRepositories.Configs = append(out.ReverseProxyRepositories.Configs,
				api.ArtifactoryRepository{RepoRef: r.Key, ServerName: cmp.Or(r.ServerName, p.ServerName), Port: int(r.Port)})
		}
	}
	return out
}

const repositoryConfigs = "reverseProxyRepositories.reverseProxyRepoConfigs"

// readArtifactory makes of what a client of Artifactory asks for what is to become of a reverse proxy. What is absent has the
// default that Artifactory has, and what Artifactory has no words for stays as it was.
func readArtifactory(in api.ArtifactoryWebServerUpdate, before link.ReverseProxy) (link.ReverseProxy, error) {
	var wrong []error
	refuse := func(field, reason, message, hint string) {
		wrong = append(wrong, &link.Error{Kind: link.Invalid, Reason: reason, Field: field, Message: message, Hint: hint})
	}
	p := before
	p.Server = link.WebServer(cmp.Or(in.Key, strings.ToLower(in.WebServerType)))
	switch {
	case p.Server == "":
		refuse("webServerType", "REQUIRED", "neither key nor webServerType is given", "give NGINX, APACHE or DIRECT")
	case in.WebServerType != "" && !strings.EqualFold(in.WebServerType, in.Key) && in.Key != "":
		refuse("webServerType", "FIELDS_DISAGREE", "key is "+in.Key+" and webServerType "+in.WebServerType, "give the same, or one of them")
	}
	p.ServerName, p.Wildcard, p.Upstream = in.ServerName, in.ServerNameExpression, in.UpstreamName
	p.AppContext, p.PublicContext = in.AppContext, in.PublicContext
	p.Certificate, p.Key = in.SSLCertificate, in.SSLKey

	p.Docker = link.DockerMethod(in.DockerReverseProxyMethod)
	if p.Server == link.Embedded {
		switch p.Docker {
		case "":
			p.Docker = link.DockerPath
		case link.DockerSubdomain: // Postern's gateway can do so; Artifactory's own server, of which these clients know, cannot
			refuse("dockerReverseProxyMethod", "METHOD_NOT_SUPPORTED", "DIRECT has no access by SUBDOMAIN in Artifactory's API",
				"give REPOPATHPREFIX, or PUT it at the cluster's reverse-proxy, where the gateway can do it")
		}
	}

	p.HTTP, p.HTTPS = in.UseHTTP == nil || *in.UseHTTP, in.UseHTTPS != nil && *in.UseHTTPS
	if !p.HTTP && !p.HTTPS {
		refuse("useHttps", "NEITHER_HTTP_NOR_HTTPS", "the reverse proxy would serve nothing", "set useHttp, useHttps or both")
	}
	p.HTTPPort, p.HTTPSPort = uint16(in.HTTPPort), uint16(cmp.Or(in.HTTPSPort, in.SSLPort))
	if in.HTTPSPort != 0 && in.SSLPort != 0 && in.HTTPSPort != in.SSLPort {
		refuse("sslPort", "FIELDS_DISAGREE", fmt.Sprintf("httpsPort is %d and sslPort %d", in.HTTPSPort, in.SSLPort), "give the same, or one of them")
	}

	p.Nodes = artifactoryNodes(in, p.Server, before)
	p.Repositories = slices.Clone(before.Repositories)
	if in.ReverseProxyRepositories == nil {
		return p, errors.Join(wrong...)
	}
	for i := range p.Repositories {
		p.Repositories[i].ServerName, p.Repositories[i].Port = "", 0
	}
	for i, r := range in.ReverseProxyRepositories.Configs {
		field := fmt.Sprintf("%s[%d].repoRef", repositoryConfigs, i)
		at := slices.IndexFunc(p.Repositories, func(known link.ProxyRepository) bool { return known.Key == r.RepoRef })
		switch {
		case at < 0:
			refuse(field, "UNKNOWN_REPOSITORY", "there is no repository "+link.Quote(r.RepoRef), "PUT the application's repositories at the cluster's reverse-proxy first")
		case slices.ContainsFunc(in.ReverseProxyRepositories.Configs[:i], func(o api.ArtifactoryRepository) bool { return o.RepoRef == r.RepoRef }):
			refuse(field, "DUPLICATE", "repository "+link.Quote(r.RepoRef)+" is given twice", "")
		default:
			p.Repositories[at].Port = uint16(r.Port)
			if !strings.EqualFold(r.ServerName, in.ServerName) {
				p.Repositories[at].ServerName = r.ServerName
			}
		}
	}
	return p, errors.Join(wrong...)
}

// artifactoryNodes are the application's servers as a client of Artifactory has them, who knows one. The gateway knows the
// cluster's backends.
func artifactoryNodes(in api.ArtifactoryWebServerUpdate, server link.WebServer, before link.ReverseProxy) []link.ProxyNode {
	if server == link.Embedded {
		if before.Server == link.Embedded {
			return before.Nodes
		}
		return nil
	}
	node := link.ProxyNode{RouterPort: proxyconf.DefaultRouterPort}
	if len(before.Nodes) > 0 {
		node = before.Nodes[0]
	}
	node.Host, node.DirectPort = cmp.Or(in.ArtifactoryServerName, localNode), uint16(cmp.Or(in.ArtifactoryPort, proxyconf.DefaultDirectPort))
	return append([]link.ProxyNode{node}, before.Nodes[min(1, len(before.Nodes)):]...)
}

// artifactoryFields are the fields of a reverse proxy in Artifactory's words.
var artifactoryFields = map[string]string{
	"server": "webServerType", "server_name": "serverName", "wildcard": "serverNameExpression", "upstream": "upStreamName",
	"nodes": "artifactoryServerName", "nodes[0].host": "artifactoryServerName", "nodes[0].direct_port": "artifactoryPort",
	"app_context": "artifactoryAppContext", "public_context": "publicAppContext", "http": "useHttp", "https": "useHttps",
	"http_port": "httpPort", "https_port": "httpsPort", "certificate": "sslCertificate", "key": "sslKey", "docker_method": "dockerReverseProxyMethod",
	"repositories": repositoryConfigs,
}

// artifactoryMistakes puts what is wrong with given, which was made of in, into Artifactory's words. What they cannot say keeps
// ours: it is wrong with what was set in our words before.
func artifactoryMistakes(err error, in api.ArtifactoryWebServerUpdate, given link.ReverseProxy) error {
	all := mistakes(err)
	if len(all) == 0 {
		return err
	}
	var out []error
	for _, e := range all {
		told := *e
		if field := artifactoryFields[e.Field]; field != "" {
			told.Field = field
		}
		if e.Field == "https_port" && in.HTTPSPort == 0 && in.SSLPort != 0 {
			told.Field = "sslPort"
		}
		var at int
		var part string
		if n, _ := fmt.Sscanf(e.Field, "repositories[%d].%s", &at, &part); n == 2 && at < len(given.Repositories) && in.ReverseProxyRepositories != nil {
			i := slices.IndexFunc(in.ReverseProxyRepositories.Configs, func(r api.ArtifactoryRepository) bool { return r.RepoRef == given.Repositories[at].Key })
			part = map[string]string{"key": "repoRef", "server_name": "serverName", "port": "port"}[part]
			told.Field = repositoryConfigs
			if i >= 0 {
				told.Field = fmt.Sprintf("%s[%d].%s", repositoryConfigs, i, part)
			}
		}
		out = append(out, &told)
	}
	return errors.Join(out...)
}
