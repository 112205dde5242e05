package api

// ArtifactoryWebServer is a cluster's reverse proxy in the words of Artifactory's REST API, for clients that were written for
// that. What those words cannot say stands in ReverseProxy.
type ArtifactoryWebServer struct {
	Key                      string                  `json:"key" doc:"nginx, apache or direct; also haproxy and caddy, which Artifactory does not know"`
	WebServerType            string                  `json:"webServerType" doc:"The same in capitals"`
	AppContext               string                  `json:"artifactoryAppContext"`
	PublicContext            string                  `json:"publicAppContext"`
	ServerName               string                  `json:"serverName"`
	ServerNameExpression     string                  `json:"serverNameExpression"`
	ArtifactoryServerName    string                  `json:"artifactoryServerName"`
	ArtifactoryPort          int                     `json:"artifactoryPort"`
	UpstreamName             string                  `json:"upStreamName,omitempty"`
	DockerReverseProxyMethod string                  `json:"dockerReverseProxyMethod"`
	UseHTTP                  bool                    `json:"useHttp"`
	UseHTTPS                 bool                    `json:"useHttps"`
	HTTPPort                 int                     `json:"httpPort"`
	HTTPSPort                int                     `json:"httpsPort"`
	SSLPort                  int                     `json:"sslPort" doc:"httpsPort, by its older name"`
	SSLCertificate           string                  `json:"sslCertificate"`
	SSLKey                   string                  `json:"sslKey"`
	ReverseProxyRepositories ArtifactoryRepositories `json:"reverseProxyRepositories"`
}

// ArtifactoryRepositories are the repositories that have a port of their own.
type ArtifactoryRepositories struct {
	Configs []ArtifactoryRepository `json:"reverseProxyRepoConfigs,omitempty"`
}

// ArtifactoryRepository is a repository that has a port of its own.
type ArtifactoryRepository struct {
	RepoRef    string `json:"repoRef"`
	ServerName string `json:"serverName,omitempty"`
	Port       int    `json:"port,omitempty" minimum:"1" maximum:"65535"`
}

// ArtifactoryWebServerUpdate is what such clients ask for. Fields that are not here are let pass, since they send some that
// mean nothing to Postern.
type ArtifactoryWebServerUpdate struct {
	_                        struct{}                 `additionalProperties:"true"`
	Key                      string                   `json:"key,omitempty" enum:"nginx,apache,direct"`
	WebServerType            string                   `json:"webServerType,omitempty" enum:"NGINX,APACHE,DIRECT"`
	AppContext               string                   `json:"artifactoryAppContext,omitempty" doc:"artifactory when absent"`
	PublicContext            string                   `json:"publicAppContext,omitempty" doc:"artifactoryAppContext when absent or empty"`
	ServerName               string                   `json:"serverName,omitempty"`
	ServerNameExpression     string                   `json:"serverNameExpression,omitempty" example:"*.art.example.com"`
	ArtifactoryServerName    string                   `json:"artifactoryServerName,omitempty" doc:"localhost when absent"`
	ArtifactoryPort          int                      `json:"artifactoryPort,omitempty" minimum:"1" maximum:"65535" doc:"8081 when absent"`
	UpstreamName             string                   `json:"upStreamName,omitempty"`
	DockerReverseProxyMethod string                   `json:"dockerReverseProxyMethod,omitempty" enum:"SUBDOMAIN,REPOPATHPREFIX,PORTPERREPO,NOVALUE" doc:"SUBDOMAIN when absent, and REPOPATHPREFIX of direct, which cannot have it here"`
	UseHTTP                  *bool                    `json:"useHttp,omitempty" doc:"true when absent"`
	UseHTTPS                 *bool                    `json:"useHttps,omitempty" doc:"false when absent"`
	HTTPPort                 int                      `json:"httpPort,omitempty" minimum:"1" maximum:"65535" doc:"80 when absent"`
	HTTPSPort                int                      `json:"httpsPort,omitempty" minimum:"1" maximum:"65535" doc:"443 when absent"`
	SSLPort                  int                      `json:"sslPort,omitempty" minimum:"1" maximum:"65535" doc:"httpsPort, by its older name; refused when both are given and differ"`
	SSLCertificate           string                   `json:"sslCertificate,omitempty"`
	SSLKey                   string                   `json:"sslKey,omitempty"`
	ReverseProxyRepositories *ArtifactoryRepositories `json:"reverseProxyRepositories,omitempty" doc:"Repositories that the cluster's reverse proxy names already; their ports stay as they are when this is absent"`
}
