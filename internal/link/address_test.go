package link_test

import (
	"net/netip"
	"testing"

	"github.com/postern/postern/internal/link"
)

func TestPublicAddress(t *testing.T) {
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1"} {
		if !link.PublicAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s is public", a)
		}
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
		"169.254.169.254", "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.7", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
		"2001:0:4136:e378::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
	} {
		if link.PublicAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
	if link.PublicAddress(netip.Addr{}) {
		t.Error("no address is public")
	}
}
