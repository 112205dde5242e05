//go:build linux

package main

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"testing"
)

// The peers themselves say whether they understand their configurations.
func testAddress(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

func TestPeersTakeTheirConfigurations(t *testing.T) {
	routes := []route{
		{"a.bench.example", testAddress(1001)},
		{"b.bench.example", testAddress(1002)},
	}
	for _, p := range []struct {
		proxy
		program, test string
	}{
		{haproxy(plainName, false), "haproxy", "-c"},
		{haproxy(spliceName, true), "haproxy", "-c"},
		{nginx(), "nginx", "-t"},
	} {
		t.Run(p.name, func(t *testing.T) {
			switch _, err := exec.LookPath(p.program); {
			case err != nil && p.program == "haproxy":
				t.Skip("needs haproxy (Debian package haproxy)")
			case err != nil:
				t.Skip("needs nginx (Debian package nginx)")
			}
			if _, err := os.Stat(nginxStream); err != nil && p.program == "nginx" {
				t.Skip("needs ngx_stream_module.so (Debian package libnginx-mod-stream)")
			}
			cmd, err := p.command(&start{
				ctx: context.Background(), dir: t.TempDir(), listen: testAddress(1000), workers: 2, routes: routes,
			})
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(cmd.Path, append(cmd.Args[1:], p.test)...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
