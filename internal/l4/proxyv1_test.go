package l4

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseProxyV1(t *testing.T) {
	v4 := ProxyHeader{Source: client4, Destination: server4}
	v6 := ProxyHeader{Source: client6, Destination: server6}
	const widest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	tests := []struct {
		name string
		in   string
		want ProxyHeader
		err  error
	}{
		{name: "IPv4", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000 443\r\n", want: v4},
		{name: "IPv6", in: "PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n", want: v6},
		{name: "IPv6 in capitals and at length", in: "PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0001 2001:DB8::2 40000 443\r\n", want: v6},
		{
			name: "IPv4 within IPv6, as inet_ntop writes it", in: "PROXY TCP6 ::ffff:10.1.2.3 ::1 0 65535\r\n",
			want: ProxyHeader{Source: netip.MustParseAddrPort("[::ffff:10.1.2.3]:0"), Destination: netip.MustParseAddrPort("[::1]:65535")},
		},
		{
			name: "the longest of TCP", in: "PROXY TCP6 " + widest + " " + widest + " 65535 65535\r\n",
			want: ProxyHeader{Source: netip.MustParseAddrPort("[" + widest + "]:65535"), Destination: netip.MustParseAddrPort("[" + widest + "]:65535")},
		},
		{name: "unknown", in: "PROXY UNKNOWN\r\n"},
		{name: "unknown, and what follows does not count", in: "PROXY UNKNOWN 10.1.2.3 \x00\xff  x\r\n"},
		{name: "the longest", in: "PROXY UNKNOWN " + widest + " " + widest + " 65535 65535\r\n"},

		{name: "another protocol", in: "GET / HTTP/1.1\r\n", err: ErrNotProxy},
		{name: "version 2 of the protocol", in: proxySignature + "\x21\x11\x00\x00", err: ErrNotProxy},
		{name: "in small letters", in: "proxy TCP4 10.1.2.3 10.1.0.9 40000 443\r\n", err: ErrNotProxy},
		{name: "no space behind the first word", in: "PROXYTCP4 10.1.2.3 10.1.0.9 40000 443\r\n", err: ErrNotProxy},
		{name: "nothing but the first word", in: "PROXY \r\n", err: ErrProxyFamily},
		{name: "two spaces behind the first word", in: "PROXY  TCP4 10.1.2.3 10.1.0.9 40000 443\r\n", err: ErrProxyFamily},
		{name: "UDP", in: "PROXY UDP4 10.1.2.3 10.1.0.9 40000 443\r\n", err: ErrProxyFamily},
		{name: "a longer family", in: "PROXY UNKNOWNS\r\n", err: ErrProxyFamily},
		{name: "no addresses", in: "PROXY TCP4\r\n", err: ErrProxyAddresses},
		{name: "no ports", in: "PROXY TCP4 10.1.2.3 10.1.0.9\r\n", err: ErrProxyLine},
		{name: "one port", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000\r\n", err: ErrProxyLine},
		{name: "a part too many", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000 443 x\r\n", err: ErrProxyLine},
		{name: "a space at the end", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000 443 \r\n", err: ErrProxyLine},
		{name: "two spaces between", in: "PROXY TCP4 10.1.2.3  10.1.0.9 40000 443\r\n", err: ErrProxyLine},
		{name: "a tab between", in: "PROXY TCP4 10.1.2.3\t10.1.0.9 40000 443\r\n", err: ErrProxyLine},
		{name: "IPv6 called IPv4", in: "PROXY TCP4 ::1 ::1 40000 443\r\n", err: ErrProxyLine},
		{name: "IPv4 called IPv6", in: "PROXY TCP6 10.1.2.3 10.1.0.9 40000 443\r\n", err: ErrProxyLine},
		{name: "one of each", in: "PROXY TCP6 2001:db8::1 10.1.0.9 40000 443\r\n", err: ErrProxyLine},
		{name: "a zero in front, octal to some", in: "PROXY TCP4 010.1.2.3 10.1.0.9 40000 443\r\n", err: ErrProxyLine},
		{name: "an address of three numbers", in: "PROXY TCP4 10.1.3 10.1.0.9 40000 443\r\n", err: ErrProxyLine},
		{name: "an address with a zone", in: "PROXY TCP6 fe80::1%eth0 ::1 40000 443\r\n", err: ErrProxyLine},
		{name: "an address in brackets", in: "PROXY TCP6 [::1] [::1] 40000 443\r\n", err: ErrProxyLine},
		{name: "a host name", in: "PROXY TCP4 localhost localhost 40000 443\r\n", err: ErrProxyLine},
		{name: "a port of 65536", in: "PROXY TCP4 10.1.2.3 10.1.0.9 65536 443\r\n", err: ErrProxyLine},
		{name: "a port with a zero in front", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000 0443\r\n", err: ErrProxyLine},
		{name: "a port with a sign", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000 +443\r\n", err: ErrProxyLine},
		{name: "an empty port", in: "PROXY TCP4 10.1.2.3 10.1.0.9  443\r\n", err: ErrProxyLine},
		{name: "a line feed alone", in: "PROXY TCP4 10.1.2.3 10.1.0.9 40000 443\n", err: ErrProxyLine},
		{name: "a carriage return alone", in: "PROXY UNKNOWN\rx\r\n", err: ErrProxyLine},
		{name: "one byte too long", in: "PROXY UNKNOWN" + strings.Repeat("x", MaxProxyV1-len("PROXY UNKNOWN\r")) + "\r\n", err: ErrProxyTooLong},
		{name: "without an end", in: "PROXY UNKNOWN" + strings.Repeat("x", MaxProxyV1), err: ErrProxyTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.in)
			for _, parse := range []func([]byte) (ProxyHeader, int, error){ParseProxyV1, ParseAnyProxyHeader} {
				h, n, err := parse(append(bytes.Clone(in), "\x16\x03\x01 what follows"...))
				if in[0] != proxyV1Start[0] {
					h, n, err = ParseProxyV1(in) // the other one goes by the first byte
				}
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if err != nil {
					continue
				}
				if n != len(in) {
					t.Errorf("length %d, want %d", n, len(in))
				}
				if diff := cmp.Diff(tt.want, h, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				for i := range in {
					_, need, err := parse(in[:i])
					if !errors.Is(err, ErrIncomplete) || need <= i || need > len(in) {
						t.Fatalf("with %d of %d bytes: needs %d, %v", i, len(in), need, err)
					}
				}
			}
		})
	}
}

func TestParseAnyProxyHeaderTakesBothVersions(t *testing.T) {
	two := AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server4, AWSEndpoint: testVPCE})
	h, n, err := ParseAnyProxyHeader(two)
	if err != nil || n != len(two) || h.Source != client4 || string(h.AWSEndpoint) != testVPCE {
		t.Errorf("version 2: %+v, %d, %v", h, n, err)
	}
	if h, _, err := ParseAnyProxyHeader([]byte("PROXY TCP4 10.1.2.3 10.1.0.9 40000 443\r\n")); err != nil || h.Source != client4 {
		t.Errorf("version 1: %+v, %v", h, err)
	}
	for _, in := range []string{"\x16\x03\x01", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "\x00"} {
		if _, _, err := ParseAnyProxyHeader([]byte(in)); !errors.Is(err, ErrNotProxy) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func proxyV1Seeds() [][]byte {
	var seeds [][]byte
	for _, s := range []string{
		"PROXY TCP4 10.1.2.3 10.1.0.9 40000 443\r\n",
		"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\nGET / HTTP/1.1\r\n",
		"PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n",
		"PROXY TCP6 ::ffff:10.1.2.3 2001:DB8:0:0:0:0:0:2 1 10\r\n",
		"PROXY UNKNOWN\r\n",
		"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	} {
		seeds = append(seeds, []byte(s))
	}
	return seeds
}

func FuzzProxyV1(f *testing.F) {
	for _, s := range proxyV1Seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		h, n, err := ParseProxyV1(buf)
		switch {
		case errors.Is(err, ErrIncomplete):
			if n <= len(buf) || n > MaxProxyV1 {
				t.Errorf("needs %d with %d there", n, len(buf))
			}
		case err == nil:
			if n > len(buf) || n > MaxProxyV1 || string(buf[n-2:n]) != "\r\n" {
				t.Errorf("length %d of %d", n, len(buf))
			}
			if h.Source.IsValid() != h.Destination.IsValid() || h.Source.Addr().Zone() != "" || h.Source.Addr().Is4() != h.Destination.Addr().Is4() {
				t.Errorf("addresses %v → %v", h.Source, h.Destination)
			}
			if again, m, err := ParseProxyV1(buf[:n]); err != nil || m != n || again.Source != h.Source || again.Destination != h.Destination {
				t.Errorf("alone it reads otherwise: %+v, %d, %v", again, m, err)
			}
		}
		compareWithOracle(t, buf)
	})
}

func TestProxyV1CostsOneAllocation(t *testing.T) {
	buf := []byte("PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n")
	if n := testing.AllocsPerRun(100, func() { _, _, _ = ParseProxyV1(buf) }); n > 1 {
		t.Errorf("%v allocations, want the line's alone", n)
	}
}
