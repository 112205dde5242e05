package fabric

import (
	"fmt"
	"net/netip"
	"strings"
)

// hostNetwork is where the configured internet hosts have their addresses: TEST-NET-3 (RFC 5737), which is nobody's.
var hostNetwork = netip.MustParsePrefix("203.0.113.0/24")

// hosts are the names outside every account. Each has one address, by its place in the configuration; a wildcard's is
// shared by all the names below it. The nil *hosts knows none.
type hosts struct {
	list []InternetHost // names in canonical form; list[i] is at the i+1st address of hostNetwork
}

// newHosts checks the configured hosts.
func newHosts(configured []InternetHost) (*hosts, error) {
	h := &hosts{}
	seen := map[string]bool{}
	for _, host := range configured {
		host.Name = canonicalName(host.Name)
		if host.Name == "." || host.Name == "*." || seen[host.Name] {
			return nil, fmt.Errorf("fabric: internet host %q is nameless or given twice", host.Name)
		}
		seen[host.Name] = true
		for port, address := range host.Ports {
			if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().IsLoopback() {
				return nil, fmt.Errorf("fabric: internet host %q, port %d: %q is not a loopback address with a port", host.Name, port, address)
			}
		}
		h.list = append(h.list, host)
	}
	if len(h.list) > 254 {
		return nil, fmt.Errorf("fabric: %d internet hosts are more than the 254 addresses of %s", len(h.list), hostNetwork)
	}
	return h, nil
}

// address returns the address of a canonical name: of the host of that very name, else of the nearest wildcard above.
func (h *hosts) address(name string) (netip.Addr, bool) {
	if h == nil {
		return netip.Addr{}, false
	}
	best, labels := -1, -1
	for i, host := range h.list {
		if host.Name == name {
			best = i
			break
		}
		if above, wild := strings.CutPrefix(host.Name, "*"); wild && strings.HasSuffix(name, above) && strings.Count(above, ".") > labels {
			best, labels = i, strings.Count(above, ".")
		}
	}
	if best < 0 {
		return netip.Addr{}, false
	}
	return nth(hostNetwork.Addr(), uint32(best+1)), true
}

// at returns where a port of a host is served on this machine. known is false for an address that no host has; served
// is "" for a port that the host does not listen on.
func (h *hosts) at(to netip.AddrPort) (served string, known bool) {
	if h == nil {
		return "", false
	}
	for i, host := range h.list {
		if to.Addr() == nth(hostNetwork.Addr(), uint32(i+1)) {
			return host.Ports[to.Port()], true
		}
	}
	return "", false
}
