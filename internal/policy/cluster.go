package policy

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/internal/link"
)

// party is whom an endpoint may be authorised for: a cluster or a project. It is one and the same from when the rules
// first name it until they do so no more, however its own rules change meanwhile.
type party struct {
	id      link.ID
	project bool
}

// cluster is one cluster's rules. It never changes. With self alone it stands for a cluster that has no rules.
type cluster struct {
	self      *party
	project   *party // nil: of no project
	private   []string
	public    []string
	endpoints []link.EndpointID // sorted, each once
	access    link.PublicAccess
	allow     allowList
	denied    []uint16 // sorted
	target    *Target
	ported    []portedTarget

	// Of Docker repositories that have subdomains of their own.
	repositories []string  // their keys, sorted, each once and a single label
	wildcards    [2]string // the domain below which they have names beside the cluster's own, by listener: see Rules.wildcards
}

// portedTarget is where the flows of those ports go that have a port of their own at the backends.
type portedTarget struct {
	port   uint16
	target *Target
}

// compileCluster makes in ready for decisions. It shares with in only what can't change. Targets that say the same as
// those of old are the very same: who keeps something beside a Target keeps it across a change that is none to it.
func compileCluster(in link.ClusterRules, self, project *party, backendPorts []uint16, old *cluster) *cluster {
	c := &cluster{
		self: self, project: project, private: compileNames(in.PrivateNames), public: compileNames(in.PublicNames),
		endpoints: compileEndpoints(in.Endpoints), access: in.PublicAccess, allow: compileAllowList(in.AllowList),
		denied: slices.Sorted(slices.Values(in.DeniedPorts)),
		target: &Target{
			ClusterID: in.ClusterID, Backends: slices.Clone(in.Backends), Health: in.Health,
			ProxyProtocol: in.ProxyProtocol, Limits: in.Limits,
		},
	}
	c.target.Health.Statuses = slices.Clone(in.Health.Statuses)
	c.proxy(in.Proxy, old)
	if c.target.same(old.target) {
		c.target = old.target
	}
	c.addPorts(backendPorts, old)
	return c
}

// proxy takes in the cluster's proxy rules, nil when it has none. All else but the target's identity is compiled before.
func (c *cluster) proxy(rules *link.ProxyRules, old *cluster) {
	if rules == nil {
		return
	}
	c.target.Proxy = &link.ClusterRules{ClusterID: c.self.id, PrivateNames: c.private, PublicNames: c.public, Proxy: rules}
	if old.target != nil && reflect.DeepEqual(c.target.Proxy, old.target.Proxy) {
		c.target.Proxy = old.target.Proxy
	}
	if rules.Proxy.Docker != link.DockerSubdomain {
		return
	}
	for _, r := range rules.Proxy.Repositories {
		if key := strings.ToLower(r.Key); key != "" && !strings.Contains(key, ".") {
			c.repositories = append(c.repositories, key)
		}
	}
	slices.Sort(c.repositories)
	c.repositories = slices.Compact(c.repositories)
	if domain, ok := strings.CutPrefix(normaliseName(rules.Proxy.Wildcard), "*."); ok {
		for i, names := range [][]string{c.private, c.public} {
			if within(domain, names) {
				c.wildcards[i] = domain
			}
		}
	}
}

// within reports whether a domain is one of names or lies below one of them. A wildcard beyond the cluster's own names has
// no effect: whoever sets it must not get at the names of others.
func within(domain string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		above, is := strings.CutSuffix(domain, name)
		return is && (above == "" || strings.HasSuffix(above, "."))
	})
}

// has reports whether the cluster has a repository of a key. A nil cluster has none.
func (c *cluster) has(repository string) bool {
	if c == nil || len(c.repositories) == 0 {
		return false
	}
	_, found := slices.BinarySearch(c.repositories, repository)
	return found
}

// addPorts fills c.ported with what differs from c.target.
func (c *cluster) addPorts(backendPorts []uint16, old *cluster) {
	for _, port := range backendPorts {
		t := *c.target
		t.Backends = onPort(t.Backends, port)
		switch {
		case slices.Equal(t.Backends, c.target.Backends):
			continue
		case t.same(old.on(port)):
			c.ported = append(c.ported, portedTarget{port: port, target: old.on(port)})
		default:
			c.ported = append(c.ported, portedTarget{port: port, target: &t})
		}
	}
	c.ported = slices.Clip(c.ported)
}

// withPorts returns c with Targets for other backend ports.
func (c *cluster) withPorts(backendPorts []uint16) *cluster {
	changed := *c
	changed.ported = nil
	changed.addPorts(backendPorts, c)
	return &changed
}

// on returns the Target for a backend port, where 0 means the ports of the backends' own addresses.
func (c *cluster) on(backendPort uint16) *Target {
	for i := range c.ported {
		if c.ported[i].port == backendPort {
			return c.ported[i].target
		}
	}
	return c.target
}

func (c *cluster) denies(port uint16) bool {
	if len(c.denied) == 0 || port == 0 {
		return false
	}
	_, found := slices.BinarySearch(c.denied, port)
	return found
}

// same reports whether other, which may be nil, says the same.
func (t *Target) same(other *Target) bool {
	return other != nil && t.ClusterID == other.ClusterID && t.ProxyProtocol == other.ProxyProtocol && t.Limits == other.Limits &&
		t.Proxy == other.Proxy && slices.Equal(t.Backends, other.Backends) && reflect.DeepEqual(t.Health, other.Health)
}

func onPort(backends []link.Backend, port uint16) []link.Backend {
	out := slices.Clone(backends)
	for i := range out {
		host := out[i].Address
		if colon := strings.LastIndexByte(host, ':'); colon >= 0 {
			host = host[:colon]
		}
		out[i].Address = host + ":" + strconv.Itoa(int(port))
	}
	return out
}

func compileNames(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		if name = normaliseName(name); name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func normaliseName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// compileEndpoints leaves out the empty id, which is not one.
func compileEndpoints(ids []link.EndpointID) []link.EndpointID {
	out := slices.Clone(ids)
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > 0 && out[0] == "" {
		out = out[1:]
	}
	return out
}
