package dnsplan

import (
	"fmt"
	"strings"
)

// HostsFile returns the lines of a hosts file (hosts(5)), empty but of the case HostsFile. Where a name has several addresses most
// programs use the first alone: nothing takes over when its zone fails.
func (p Plan) HostsFile() string {
	var b strings.Builder
	for _, h := range p.Hosts {
		fmt.Fprintf(&b, "%-15s %s\n", h.Addr, h.Name)
	}
	return b.String()
}
