package gateway

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern/postern/internal/httpproxy"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
)

// sites are the proxied clusters as package httpproxy knows them: made when the first flow of a cluster comes, and anew
// when its proxy rules have changed.
type sites struct {
	log *slog.Logger
	mu  sync.Mutex
	of  map[link.ID]*site
}

// site is one of them.
type site struct {
	rules *link.ClusterRules // of policy's Target.Proxy
	once  sync.Once
	made  *httpproxy.Site // nil when the rules are of no use
	nodes atomic.Pointer[nodeLists]
	keys  atomic.Pointer[[]nodeKey]
}

// get returns the site for proxy rules.
func (s *sites) get(rules *link.ClusterRules) *site {
	s.mu.Lock()
	found := s.of[rules.ClusterID]
	if found == nil || found.rules != rules {
		found = &site{rules: rules}
		if s.of == nil {
			s.of = map[link.ID]*site{}
		}
		s.of[rules.ClusterID] = found
	}
	s.mu.Unlock()
	found.once.Do(func() { // not under the lock: nobody else's flows have to wait for it
		made, err := httpproxy.Compile(rules)
		if err != nil {
			s.log.Error("a cluster's proxy rules cannot be used: its flows are refused", "cluster", rules.ClusterID, "error", err)
			return
		}
		if made.Alone() {
			s.log.Warn("redirects are rewritten with a key of this gateway's own: another gateway of the same name cannot serve what they lead to",
				"cluster", rules.ClusterID, "next", "bring the control plane up to date: it gives all gateways the same key")
		}
		found.made = made
	})
	return found
}

// sweep forgets the sites whose rules are no longer in force.
func (s *sites) sweep(rules *policy.Rules) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, found := range s.of {
		if rules.Proxy(id) != found.rules {
			delete(s.of, id)
		}
	}
}

// nodeLists are where the requests of a site go while its cluster's target is the same.
type nodeLists struct {
	target *policy.Target
	lists  [2][]link.Backend // by the router's port, by the direct one
}

// backends returns where requests go. The settings say at which ports the application answers, and never at which hosts:
// a node that is none of the cluster's backends is passed over, or whoever may change the settings could have the gateway
// speak with anything in its network. Without such a node the backends are asked as they are.
func (s *site) backends(target *policy.Target, direct bool) (list []link.Backend, group uint8) {
	known := s.nodes.Load()
	if known == nil || known.target != target {
		known = &nodeLists{target: target}
		for i, direct := range []bool{false, true} {
			known.lists[i] = nodesOf(s.made.Nodes(direct), target.Backends)
		}
		s.nodes.Store(known)
	}
	i := 0
	if direct {
		i = 1
	}
	if len(known.lists[i]) == 0 {
		return target.Backends, 0
	}
	return known.lists[i], uint8(i + 1)
}

// nodesOf are the nodes that stand at backends' hosts, each once, with their weights.
func nodesOf(nodes, backends []link.Backend) (list []link.Backend) {
	for _, n := range nodes {
		host, _, err := net.SplitHostPort(n.Address)
		i := slices.IndexFunc(backends, func(b link.Backend) bool {
			other, _, berr := net.SplitHostPort(b.Address)
			return err == nil && berr == nil && strings.EqualFold(host, other)
		})
		if i < 0 || slices.ContainsFunc(list, func(had link.Backend) bool { return had.Address == n.Address }) {
			continue
		}
		list = append(list, link.Backend{Address: n.Address, Weight: backends[i].Weight, Draining: backends[i].Draining})
	}
	return list
}

// nodeKey is by what idle connections to an address are kept.
type nodeKey struct {
	to  netip.AddrPort
	key string
}

// mostNodeKeys bounds the keys that a site remembers: names may come to ever new addresses.
const mostNodeKeys = 64

// key returns by what idle connections to an address are kept: connections of one cluster are never another's.
func (s *site) key(to netip.AddrPort) string {
	known := s.keys.Load()
	if known != nil {
		for i := range *known {
			if k := &(*known)[i]; k.to == to {
				return k.key
			}
		}
	}
	key := string(s.rules.ClusterID) + " " + to.String()
	var next []nodeKey
	if known != nil && len(*known) < mostNodeKeys {
		next = *known
	}
	next = append(slices.Clip(next), nodeKey{to, key})
	s.keys.Store(&next) // of two at once one is lost, and made again
	return key
}
