package httpproxy

import (
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/postern/postern/internal/clientcert"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/proxyconf"
)

// Site is how the requests of one cluster are handled. It does not change; new rules are a new Site.
type Site struct {
	cluster link.ID
	names   map[link.Listener]map[string]bool
	domains map[link.Listener]map[string]bool // below which repositories have names
	docker  link.DockerMethod
	labels  map[string]string // a repository's label to its key
	ports   map[uint16]string // a port to the key of its repository
	keys    []string          // of the repositories

	app, public string // the contexts as paths, "/artifactory"
	registry    string // what comes before a repository's key
	certificate string // the header that tells the application a certificate, as it is sent
	spelling    string // the same in lower case
	override    bool   // the application is told how the client reached it
	profile     link.TLSProfile
	nodes       [2][]link.Backend // by the router's port, by the direct one
	addresses   map[string]bool   // of nodes, as they may stand in an address
	redirects   link.RedirectMode
	hosts       map[string]bool // host:port to which redirects may lead
	seal        *sealer         // nil: the Server's

	trust *clientcert.Trust

	tlsOnce sync.Once
	tls     *tls.Config
}

// Compile makes the Site of a cluster that has Proxy rules. The error is a *link.Error, or joins several.
func Compile(c *link.ClusterRules) (*Site, error) {
	p := proxyconf.Complete(c.Proxy.Proxy)
	s := &Site{
		cluster: c.ClusterID, docker: p.Docker, labels: map[string]string{}, ports: map[uint16]string{},
		app: "/" + p.AppContext, public: "/" + p.PublicContext, certificate: p.ClientCertificates.Header,
		override: p.OverrideBaseURL, profile: p.Profile, addresses: map[string]bool{},
		redirects: p.Redirects.Mode, hosts: map[string]bool{},
	}
	if s.certificate == "" {
		s.certificate = "X-JFrog-Client-Cert"
	}
	s.spelling = strings.ToLower(s.certificate)
	s.registry = s.app + "/api/docker/"
	var err error
	if s.trust, err = clientcert.Compile(c.Proxy.Certificates); err != nil {
		return nil, err
	}
	for _, r := range p.Repositories {
		s.keys = append(s.keys, r.Key)
		switch p.Docker {
		case link.DockerSubdomain:
			s.labels[strings.ToLower(r.Key)] = r.Key
		case link.DockerPort:
			if r.Port != 0 {
				s.ports[r.Port] = r.Key
			}
		}
	}
	slices.Sort(s.keys)
	s.name(c, p)
	for _, n := range p.Nodes {
		router := n.RouterPort
		if router == 0 {
			router = n.DirectPort
		}
		for i, port := range []uint16{router, n.DirectPort} {
			address := net.JoinHostPort(n.Host, strconv.Itoa(int(port)))
			s.nodes[i] = append(s.nodes[i], link.Backend{Address: address})
			s.addresses[strings.ToLower(address)] = true
		}
	}
	if len(c.Proxy.TicketKey) > 0 {
		s.seal = &sealer{c.Proxy.TicketKey}
	}
	for _, h := range p.Redirects.Hosts {
		s.hosts[withPort(strings.ToLower(h))] = true
	}
	return s, nil
}

// name fills in what the site is called.
func (s *Site) name(c *link.ClusterRules, p link.ReverseProxy) {
	s.names, s.domains = map[link.Listener]map[string]bool{}, map[link.Listener]map[string]bool{}
	for listener, of := range map[link.Listener][]string{link.PrivateListener: c.PrivateNames, link.PublicListener: c.PublicNames} {
		names, domains := map[string]bool{}, map[string]bool{}
		for _, n := range of {
			names[plainName(n)] = true
		}
		names[plainName(p.ServerName)] = true
		if p.Docker == link.DockerSubdomain {
			for n := range names {
				domains[n] = true
			}
			domains[strings.TrimPrefix(plainName(p.Wildcard), "*.")] = true
		}
		if p.Docker == link.DockerPort {
			for _, r := range p.Repositories {
				names[plainName(r.ServerName)] = true
			}
		}
		delete(names, "")
		delete(domains, "")
		s.names[listener], s.domains[listener] = names, domains
	}
}

func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// withPort adds https's port to a host that has none.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "443")
}

// ClusterID returns whose site it is.
func (s *Site) ClusterID() link.ID { return s.cluster }

// Alone reports whether redirects are rewritten to addresses that this gateway alone can make something of, since the rules
// bring no key for them.
func (s *Site) Alone() bool { return s.redirects == link.RedirectRewrite && s.seal == nil }

// Nodes returns the addresses, host:port, at which the application's router or its direct port answers. None says that the
// settings name no nodes: the cluster's own backends serve everything.
func (s *Site) Nodes(direct bool) []link.Backend {
	if direct {
		return s.nodes[1]
	}
	return s.nodes[0]
}

// Serves reports whether name, in lower case without a final dot, is one of the site's at a listener: one of the cluster's
// names there, or a Docker repository's below one of them.
func (s *Site) Serves(listener link.Listener, name string) bool {
	_, ok := s.find(listener, name)
	return ok
}

// find returns the repository that a name stands for, empty for a name of the site itself.
func (s *Site) find(listener link.Listener, name string) (repository string, ok bool) {
	if s.names[listener][name] {
		return "", true
	}
	label, domain, found := strings.Cut(name, ".")
	if !found || !s.domains[listener][domain] {
		return "", false
	}
	key, ok := s.labels[label]
	return key, ok
}
