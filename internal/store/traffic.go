package store

import (
	"errors"

	"github.com/postern/postern/internal/link"
)

const trafficColumns = `cluster_id, backends, health, proxy_protocol, denied_ports, limits`

type clusterTraffic struct {
	cluster link.ID
	traffic link.ClusterTraffic
}

func scanTraffic(r Row) (c clusterTraffic, err error) {
	t := &c.traffic
	err = r.Scan(&c.cluster, parsed(&t.Backends), parsed(&t.Health), &t.ProxyProtocol, parsed(&t.DeniedPorts), parsed(&t.Limits))
	return c, err
}

// ClusterTraffic returns a cluster's traffic settings; the zero value for a cluster that has none.
func (tx *Tx) ClusterTraffic(cluster link.ID) (link.ClusterTraffic, error) {
	c, err := scanTraffic(tx.row(`SELECT `+trafficColumns+` FROM cluster_traffic WHERE cluster_id = $1`, cluster))
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return c.traffic, err
}

// PutClusterTraffic stores a cluster's traffic settings in the place of those that it had.
func (tx *Tx) PutClusterTraffic(cluster link.ID, t link.ClusterTraffic) error {
	_, err := tx.exec(`INSERT INTO cluster_traffic (`+trafficColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (cluster_id) DO UPDATE SET backends = excluded.backends, health = excluded.health,
			proxy_protocol = excluded.proxy_protocol, denied_ports = excluded.denied_ports, limits = excluded.limits`,
		cluster, text(t.Backends), text(t.Health), t.ProxyProtocol, text(t.DeniedPorts), text(t.Limits))
	return err
}

// addTraffic puts the traffic settings of some clusters into their rules, which hold the addresses of their backends.
func (tx *Tx) addTraffic(place map[link.ID]*link.ClusterRules, some []link.ID) error {
	all, err := list(tx, scanTraffic, `SELECT `+trafficColumns+` FROM cluster_traffic WHERE cluster_id IN (`+places(len(some))+`)`, args(some)...)
	for _, c := range all {
		r, t := place[c.cluster], c.traffic
		addresses := make([]string, len(r.Backends))
		for i, b := range r.Backends {
			addresses[i] = b.Address
		}
		r.Backends, r.Health, r.ProxyProtocol, r.DeniedPorts, r.Limits = t.Settle(addresses), t.Health, t.ProxyProtocol, t.DeniedPorts, t.Limits
	}
	return err
}
