package httpproxy

import (
	"github.com/postern/postern/internal/link"
)

// Site is how the requests of one cluster are handled. It does not change; new rules are a new Site.
type Site struct {
	cluster link.ID
}

// Compile makes the Site of a cluster that has Proxy rules. The error is a *link.Error.
func Compile(c *link.ClusterRules) (*Site, error) {
	return &Site{cluster: c.ClusterID}, nil
}

// ClusterID returns whose site it is.
func (s *Site) ClusterID() link.ID { return s.cluster }

// Nodes returns the addresses, host:port, at which the application's router or its direct port answers. None says that the
// settings name no nodes: the cluster's own backends serve everything.
func (s *Site) Nodes(direct bool) []link.Backend { return nil }

// Serves reports whether name, in lower case without a final dot, is one of the site's at a listener: one of the cluster's
// names there, or a Docker repository's below one of them.
func (s *Site) Serves(listener link.Listener, name string) bool { return false }
