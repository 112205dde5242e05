package backend

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// blackHole returns an address at which nobody answers: that of a listener whose queue is full, to which Linux does not
// answer any more.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	sa := name.(*syscall.SockaddrInet4)
	addr := netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	for range 16 {
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err != nil {
			if !timedOut(err) {
				t.Fatal(err)
			}
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue does not fill")
	return addr
}

func TestAskABlackHole(t *testing.T) {
	addr := blackHole(t)
	for _, c := range []link.Check{link.CheckTCP, link.CheckTLS, link.CheckHTTP, link.CheckPostgres} {
		q := probe{HealthCheck: link.HealthCheck{Check: c, Timeout: 50 * time.Millisecond}, addr: addr, host: "db.test"}
		if err := ask(t.Context(), q); checkReason(err) != ConnectTimeout {
			t.Errorf("%s: %v", c, err)
		}
	}
}
