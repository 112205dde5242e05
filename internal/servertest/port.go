package servertest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports of servers are below those that clients get, and each process that runs tests takes some for itself.
const (
	firstPort   = 20000
	portsEach   = 200
	portsShares = 60
)

var ports struct {
	sync.Mutex
	hold  net.Listener // at the first port of this process's share, so that no other process takes it
	first int
	next  int // within the share
}

// Port returns a port at which nobody listens, at any address, and that is no client's own. It returns a port again
// only after all the others of the process's share.
func Port(t testing.TB) uint16 {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	listen := func(port int) (net.Listener, error) {
		var lc net.ListenConfig
		return lc.Listen(t.Context(), "tcp", ":"+strconv.Itoa(port))
	}
	for at, tries := rand.IntN(portsShares), 0; ports.hold == nil; at, tries = at+1, tries+1 {
		if tries == portsShares {
			t.Fatal("other processes have all the ports for tests")
		}
		first := firstPort + at%portsShares*portsEach
		if l, err := listen(first); err == nil {
			ports.hold, ports.first = l, first
		}
	}
	for range portsEach {
		ports.next = ports.next%(portsEach-1) + 1
		l, err := listen(ports.first + ports.next)
		if err == nil {
			_ = l.Close()
			return uint16(ports.first + ports.next)
		}
	}
	t.Fatal("no port is free")
	return 0
}
