package link

// ClusterTraffic is how gateways treat a cluster's flows: what its people set beside its backends' addresses. The zero
// value is what a new cluster has: every backend alike, no active checks, no PROXY protocol, no port denied, no limit.
type ClusterTraffic struct {
	Backends      []Backend // settings by address; a backend of the cluster that is not named has weight 1 and takes flows
	Health        HealthCheck
	ProxyProtocol bool     // the backends get a PROXY v2 header with the client's address and endpoint
	DeniedPorts   []uint16 // closed for this cluster on both listeners, in ascending order
	Limits        Limits
}

// Settle returns the backends of the given addresses with their settings, in the order of the addresses. Settings of
// other addresses are left out.
func (t ClusterTraffic) Settle(addresses []string) []Backend {
	out := make([]Backend, len(addresses))
	for i, address := range addresses {
		out[i].Address = address
		for _, b := range t.Backends {
			if b.Address == address {
				out[i] = b
			}
		}
	}
	return out
}
