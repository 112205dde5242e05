package l4

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const testVPCE = "vpce-0a1b2c3d4e5f60718"

var (
	client4 = netip.MustParseAddrPort("10.1.2.3:40000")
	server4 = netip.MustParseAddrPort("10.1.0.9:443")
	client6 = netip.MustParseAddrPort("[2001:db8::1]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8::2]:443")
)

// proxy builds a header from its parts, without a checksum.
func proxy(versionCommand, family byte, addresses []byte, tlvs ...[]byte) []byte {
	b := append([]byte(proxySignature), versionCommand, family, 0, 0)
	b = append(append(b, addresses...), bytes.Join(tlvs, nil)...)
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-proxyFixed))
	return b
}

func tlv(typ byte, value string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(value))), value...)
}

var addresses4 = []byte{10, 1, 2, 3, 10, 1, 0, 9, 0x9c, 0x40, 0x01, 0xbb}

// sealed puts the right sum into the checksum TLV of a header, which must be the first of an IPv4 header.
func sealed(h []byte) []byte {
	at := proxyFixed + proxyTCP4 + tlvHead
	clear(h[at : at+4])
	binary.BigEndian.PutUint32(h[at:], crc32.Checksum(h, castagnoli))
	return h
}

func TestParseProxyHeader(t *testing.T) {
	const crc = "\x00\x00\x00\x00"
	aws := tlv(TLVAWS, "\x01"+testVPCE)
	azure := tlv(TLVAzure, "\x01\x78\x56\x34\x12")
	gcp := tlv(TLVGCP, "\x00\x00\x00\x01\x00\x00\x00\x02")
	v4 := ProxyHeader{Source: client4, Destination: server4}
	with := func(f func(*ProxyHeader)) ProxyHeader {
		h := v4
		f(&h)
		return h
	}
	tests := []struct {
		name string
		in   []byte
		want ProxyHeader // TLVs are not compared
		err  error
	}{
		{name: "IPv4", in: proxy(0x21, 0x11, addresses4), want: v4},
		{name: "IPv6", in: AppendProxyHeader(nil, ProxyWriter{Source: client6, Destination: server6}), want: ProxyHeader{Source: client6, Destination: server6, Checksummed: true}},
		{
			name: "AWS, as its load balancers send it", in: AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server4, AWSEndpoint: testVPCE, PadTo: 100}),
			want: with(func(h *ProxyHeader) { h.AWSEndpoint, h.Checksummed = []byte(testVPCE), true }),
		},
		{name: "AWS without a checksum", in: proxy(0x21, 0x11, addresses4, aws), want: with(func(h *ProxyHeader) { h.AWSEndpoint = []byte(testVPCE) })},
		{name: "Azure", in: proxy(0x21, 0x11, addresses4, azure), want: with(func(h *ProxyHeader) { h.AzureLink, h.HasAzureLink = 0x12345678, true })},
		{name: "GCP", in: proxy(0x21, 0x11, addresses4, gcp), want: with(func(h *ProxyHeader) { h.GCPConnection, h.HasGCPConnection = 1<<32|2, true })},
		{name: "a subtype of AWS that is none of ours", in: proxy(0x21, 0x11, addresses4, tlv(TLVAWS, "\x02x")), want: v4},
		{name: "TLVs that mean nothing here", in: proxy(0x21, 0x11, addresses4, tlv(0x02, "name"), tlv(TLVNoop, ""), tlv(0xEF, "x")), want: v4},
		{name: "LOCAL", in: proxy(0x20, 0x00, nil), want: ProxyHeader{Local: true}},
		{name: "LOCAL with addresses and an id, which do not count", in: proxy(0x20, 0x11, addresses4, aws), want: ProxyHeader{Local: true}},
		{name: "LOCAL of a family that PROXY may not have", in: proxy(0x20, 0x31, make([]byte, 216)), want: ProxyHeader{Local: true}},
		{name: "addresses unknown, and what follows does not count", in: proxy(0x21, 0x00, nil, aws), want: ProxyHeader{}},
		{
			name: "a right checksum", in: sealed(proxy(0x21, 0x11, addresses4, tlv(TLVCRC32C, crc), aws)),
			want: with(func(h *ProxyHeader) { h.AWSEndpoint, h.Checksummed = []byte(testVPCE), true }),
		},
		{name: "a wrong checksum", in: proxy(0x21, 0x11, addresses4, tlv(TLVCRC32C, crc), aws), err: ErrProxyChecksum},
		{name: "a checksum of three bytes", in: proxy(0x21, 0x11, addresses4, tlv(TLVCRC32C, "abc")), err: ErrProxyChecksum},
		{name: "another protocol", in: []byte("GET / HTTP/1.1\r\n\r\n"), err: ErrNotProxy},
		{name: "version 1 of the protocol", in: []byte("PROXY TCP4 10.1.2.3 10.1.0.9 40000 443\r\n"), err: ErrNotProxy},
		{name: "a signature that goes wrong at its end", in: []byte(proxySignature[:11] + "x"), err: ErrNotProxy},
		{name: "version 3", in: proxy(0x31, 0x11, addresses4), err: ErrProxyVersion},
		{name: "an unknown command", in: proxy(0x22, 0x11, addresses4), err: ErrProxyCommand},
		{name: "UDP", in: proxy(0x21, 0x12, addresses4), err: ErrProxyFamily},
		{name: "a Unix socket", in: proxy(0x21, 0x31, make([]byte, 216)), err: ErrProxyFamily},
		{name: "an unknown family", in: proxy(0x21, 0x41, addresses4), err: ErrProxyFamily},
		{name: "too short for IPv4", in: proxy(0x21, 0x11, addresses4[:11]), err: ErrProxyAddresses},
		{name: "too short for IPv6", in: proxy(0x21, 0x21, addresses4), err: ErrProxyAddresses},
		{name: "longer than anybody sends", in: proxy(0x21, 0x11, addresses4, tlv(TLVNoop, strings.Repeat("x", MaxProxyHeader))), err: ErrProxyTooLong},
		{name: "a TLV longer than the header", in: proxy(0x21, 0x11, addresses4, []byte{TLVAWS, 0, 9, 1}), err: ErrProxyTLV},
		{name: "half a TLV", in: proxy(0x21, 0x11, addresses4, []byte{TLVNoop, 0}), err: ErrProxyTLV},
		{name: "an empty endpoint id", in: proxy(0x21, 0x11, addresses4, tlv(TLVAWS, "\x01")), err: ErrProxyTLV},
		{name: "an endpoint id with a line break", in: proxy(0x21, 0x11, addresses4, tlv(TLVAWS, "\x01vpce-\n")), err: ErrProxyTLV},
		{name: "an Azure id of three bytes", in: proxy(0x21, 0x11, addresses4, tlv(TLVAzure, "\x01abc")), err: ErrProxyTLV},
		{name: "a GCP id of seven bytes", in: proxy(0x21, 0x11, addresses4, tlv(TLVGCP, "1234567")), err: ErrProxyTLV},
		{name: "two endpoint ids", in: proxy(0x21, 0x11, addresses4, aws, aws), err: ErrProxyIdentities},
		{name: "two Azure ids", in: proxy(0x21, 0x11, addresses4, azure, azure), err: ErrProxyIdentities},
		{name: "two GCP ids", in: proxy(0x21, 0x11, addresses4, gcp, gcp), err: ErrProxyIdentities},
		{name: "ids of two clouds", in: proxy(0x21, 0x11, addresses4, gcp, aws), err: ErrProxyIdentities},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const rest = "\x16\x03\x01 what follows"
			h, n, err := ParseProxyHeader(append(bytes.Clone(tt.in), rest...))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if n != len(tt.in) {
				t.Errorf("length %d, want %d", n, len(tt.in))
			}
			if diff := cmp.Diff(tt.want, h, cmpopts.IgnoreFields(ProxyHeader{}, "TLVs"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			// Byte by byte it says how much more it needs, never too much, and comes to the same end.
			for i := range tt.in {
				_, need, err := ParseProxyHeader(tt.in[:i])
				if !errors.Is(err, ErrIncomplete) || need <= i || need > len(tt.in) {
					t.Fatalf("with %d of %d bytes: needs %d, %v", i, len(tt.in), need, err)
				}
			}
		})
	}
}

// What is written reads the same, whichever cloud's identity it carries.
func TestAppendProxyHeaderWritesEveryIdentity(t *testing.T) {
	for name, w := range map[string]ProxyWriter{
		"none":                {},
		"AWS":                 {AWSEndpoint: testVPCE},
		"Azure":               {AzureLink: 0x12345678, HasAzureLink: true},
		"Azure's link zero":   {HasAzureLink: true},
		"GCP":                 {GCPConnection: 1<<63 | 5, HasGCPConnection: true},
		"GCP, padded":         {GCPConnection: 7, HasGCPConnection: true, PadTo: 100},
		"padded by the least": {PadTo: proxyFixed + proxyTCP4 + tlvHead + crc32cLen + tlvHead},
	} {
		w.Source, w.Destination = client4, server4
		out := AppendProxyHeader(nil, w)
		h, n, err := ParseProxyHeader(out)
		if err != nil || n != len(out) || n < w.PadTo || h.Source != client4 || h.Destination != server4 || !h.Checksummed ||
			string(h.AWSEndpoint) != w.AWSEndpoint || h.AzureLink != w.AzureLink || h.HasAzureLink != w.HasAzureLink ||
			h.GCPConnection != w.GCPConnection || h.HasGCPConnection != w.HasGCPConnection {
			t.Errorf("%s: %+v, %d of %d, %v", name, h, n, len(out), err)
		}
		buf := make([]byte, 0, len(out))
		if n := testing.AllocsPerRun(100, func() { buf = AppendProxyHeader(buf[:0], w) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A header that a network load balancer of AWS would send, byte for byte.
func TestAppendProxyHeaderIsLaidOutAsAtAWS(t *testing.T) {
	got := AppendProxyHeader([]byte("before"), ProxyWriter{Source: client4, Destination: server4, AWSEndpoint: testVPCE, PadTo: 100})
	got = got[len("before"):]
	const want = "0d0a0d0a000d0a515549540a" + "21" + "11" + "0054" + "0a010203" + "0a010009" + "9c40" + "01bb" + "030004"
	if text := hex.EncodeToString(got); len(got) != 100 || !strings.HasPrefix(text, want) ||
		!strings.Contains(text, "ea001701"+hex.EncodeToString([]byte(testVPCE))+"0400") {
		t.Errorf("%d bytes: %s", len(got), text)
	}
	if local := AppendProxyHeader(nil, ProxyWriter{}); !bytes.Equal(local, proxy(0x20, 0, nil)) {
		t.Errorf("LOCAL: %x", local)
	}
	mixed := AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server6})
	if h, _, err := ParseProxyHeader(mixed); err != nil || h.Source.Addr().Unmap() != client4.Addr() || h.Destination != server6 {
		t.Errorf("two families: %+v, %v", h, err)
	}
}

func proxySeeds() [][]byte {
	seeds := [][]byte{
		AppendProxyHeader(nil, ProxyWriter{}),
		AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server4, AWSEndpoint: testVPCE, PadTo: 100}),
		AppendProxyHeader(nil, ProxyWriter{Source: client6, Destination: server6, AWSEndpoint: testVPCE}),
		AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server4, AzureLink: 0x12345678, HasAzureLink: true, PadTo: 100}),
		AppendProxyHeader(nil, ProxyWriter{Source: client6, Destination: server6, GCPConnection: 1<<32 | 2, HasGCPConnection: true}),
		proxy(0x21, 0x11, addresses4, tlv(TLVAWS, "\x01"+testVPCE)),
		proxy(0x21, 0x11, addresses4, tlv(TLVAzure, "\x01\x78\x56\x34\x12"), tlv(TLVNoop, "pad")),
		proxy(0x21, 0x11, addresses4, tlv(TLVGCP, "\x00\x00\x00\x01\x00\x00\x00\x02")),
		proxy(0x21, 0x00, nil, tlv(TLVAWS, "\x01"+testVPCE)),
		proxy(0x20, 0x11, nil),
		proxy(0x21, 0x31, make([]byte, 216)),
	}
	return append(seeds, append(bytes.Clone(seeds[1]), 0x16, 3, 1))
}

func FuzzProxyHeader(f *testing.F) {
	for _, s := range proxySeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		h, n, err := ParseProxyHeader(buf)
		switch {
		case errors.Is(err, ErrIncomplete):
			if n <= len(buf) || n > MaxProxyHeader {
				t.Errorf("needs %d with %d there", n, len(buf))
			}
		case err == nil:
			if n < proxyFixed || n > len(buf) || n > MaxProxyHeader {
				t.Errorf("length %d of %d", n, len(buf))
			}
			again, m, err := ParseProxyHeader(buf[:n])
			if err != nil || m != n || !cmp.Equal(again, h, cmpopts.EquateComparable(netip.AddrPort{})) {
				t.Errorf("alone it reads otherwise: %+v, %d, %v", again, m, err)
			}
		}
		compareWithOracle(t, buf)
	})
}

func TestProxyHeaderAllocatesNothing(t *testing.T) {
	buf := AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server4, AWSEndpoint: testVPCE, PadTo: 100})
	if n := testing.AllocsPerRun(100, func() { _, _, _ = ParseProxyHeader(buf) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkProxyHeader(b *testing.B) {
	buf := AppendProxyHeader(nil, ProxyWriter{Source: client4, Destination: server4, AWSEndpoint: testVPCE, PadTo: 100})
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = ParseProxyHeader(buf)
	}
}
