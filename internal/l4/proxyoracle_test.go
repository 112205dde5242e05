package l4

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"pgregory.net/rapid"
)

// compareWithOracle parses buf with go-proxyproto too and reports where the two disagree. What we take they have to take
// too, with the same addresses, TLVs and length, but for headers that say nothing of addresses. What they take and we
// refuse has to be on the list of stricter.
func compareWithOracle(t rapid.TB, buf []byte) {
	h, n, err := ParseAnyProxyHeader(buf)
	reader := bufio.NewReaderSize(bytes.NewReader(buf), len(buf)+16)
	theirs, theirErr := proxyproto.Read(reader)
	switch {
	case err != nil && theirErr == nil:
		if !stricter(err, theirs, buf) {
			t.Errorf("we refuse (%v) what they take: %+v: %q", err, theirs, buf)
		}
		return
	case err != nil:
		return
	case theirErr != nil:
		// They refuse family UNSPEC with PROXY, and undefined families with LOCAL; the specification leaves us to skip both.
		if !h.Local && h.Source.IsValid() {
			t.Errorf("we take what they refuse (%v): %q", theirErr, buf)
		}
		return
	}
	if unknown := theirs.Version == 1 && theirs.TransportProtocol == proxyproto.UNSPEC; h.Local != theirs.Command.IsLocal() && !unknown {
		t.Errorf("LOCAL: %v and %v: %q", h.Local, theirs.Command.IsLocal(), buf)
	}
	if left := len(buf) - n; reader.Buffered() != left {
		t.Errorf("length %d leaves %d bytes, theirs leaves %d: %q", n, left, reader.Buffered(), buf)
	}
	if h.Local || !h.Source.IsValid() {
		return
	}
	src, dst, ok := theirs.TCPAddrs()
	if !ok || !sameAddr(h.Source, src) || !sameAddr(h.Destination, dst) {
		t.Errorf("addresses %v → %v, theirs %v → %v: %q", h.Source, h.Destination, src, dst, buf)
	}
	tlvs, tlvErr := theirs.TLVs()
	if tlvErr != nil {
		t.Errorf("they find the TLVs malformed: %v: %q", tlvErr, buf)
		return
	}
	block := h.TLVs
	for i, x := range tlvs {
		typ, value, rest, err := NextTLV(block)
		if err != nil || typ != byte(x.Type) || typ != TLVNoop && !bytes.Equal(value, x.Value) {
			t.Errorf("TLV %d: %#x %q, %v, theirs %#x %q: %q", i, typ, value, err, x.Type, x.Value, buf)
			return
		}
		block = rest
	}
	if len(block) != 0 {
		t.Errorf("they end before the TLVs %q: %q", block, buf)
	}
	if id := tlvparse.FindAWSVPCEndpointID(tlvs); id != "" && id != string(h.AWSEndpoint) {
		t.Errorf("endpoint %q, theirs %q: %q", h.AWSEndpoint, id, buf)
	}
	if link, has := tlvparse.FindAzurePrivateEndpointLinkID(tlvs); has != h.HasAzureLink || link != h.AzureLink {
		t.Errorf("Azure %v %x, theirs %v %x: %q", h.HasAzureLink, h.AzureLink, has, link, buf)
	}
	if id, has := tlvparse.ExtractPSCConnectionID(tlvs); has != h.HasGCPConnection || id != h.GCPConnection {
		t.Errorf("GCP %v %x, theirs %v %x: %q", h.HasGCPConnection, h.GCPConnection, has, id, buf)
	}
}

func sameAddr(ours netip.AddrPort, theirs *net.TCPAddr) bool {
	a := theirs.AddrPort()
	return ours.Addr().Unmap() == a.Addr().Unmap() && ours.Port() == a.Port()
}

// stricter reports whether err is one of the ways in which we are stricter than go-proxyproto, which took buf.
func stricter(err error, theirs *proxyproto.Header, buf []byte) bool {
	tlvs, tlvErr := theirs.TLVs() // they look at TLVs only when asked
	has := func(typ proxyproto.PP2Type) bool {
		return tlvErr != nil || slices.ContainsFunc(tlvs, func(x proxyproto.TLV) bool { return x.Type == typ })
	}
	identities := has(TLVAWS) || has(TLVAzure) || has(TLVGCP)
	switch {
	case errors.Is(err, ErrProxyFamily): // UDP and Unix sockets are no flows of ours
		return theirs.Version == 2 && theirs.TransportProtocol != proxyproto.TCPv4 && theirs.TransportProtocol != proxyproto.TCPv6
	case errors.Is(err, ErrProxyTooLong): // they do not count the fixed part, and take 16 bytes more
		return len(buf) > MaxProxyHeader
	case errors.Is(err, ErrProxyChecksum): // they do not check it
		return has(TLVCRC32C)
	case errors.Is(err, ErrProxyTLV): // they pass over identities that are malformed
		return identities
	case errors.Is(err, ErrProxyIdentities): // they give the first one
		return identities
	case errors.Is(err, ErrProxyLine): // a carriage return before the line's end, which might be the end to another reader
		return theirs.Version == 1 && theirs.TransportProtocol == proxyproto.UNSPEC
	}
	return false
}

func TestProxyHeaderAgreesWithTheOracle(t *testing.T) {
	for _, s := range append(proxySeeds(), proxyV1Seeds()...) {
		compareWithOracle(t, s)
		for i := range s { // and with every byte changed in turn
			for _, x := range []byte{0x01, 0x02, 0x04, 0x10, 0x80, 0xff} {
				m := bytes.Clone(s)
				m[i] ^= x
				compareWithOracle(t, m)
			}
			for _, c := range []byte(" \r\n%.:0x") {
				m := bytes.Clone(s)
				m[i] = c
				compareWithOracle(t, m)
			}
			compareWithOracle(t, s[:i])
			compareWithOracle(t, slices.Delete(bytes.Clone(s), i, i+1))
			compareWithOracle(t, slices.Insert(bytes.Clone(s), i, s[i]))
		}
	}
}

// What go-proxyproto writes we read, whatever it says, and what we write it reads.
func TestProxyHeadersOfTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		is4 := rapid.Bool().Draw(t, "IPv4")
		addr := rapid.Custom(func(t *rapid.T) netip.AddrPort {
			size := 16
			if is4 {
				size = 4
			}
			a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
			return netip.AddrPortFrom(a, rapid.Uint16().Draw(t, "port"))
		})
		source, destination := addr.Draw(t, "source"), addr.Draw(t, "destination")
		theirs := &proxyproto.Header{
			Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv6,
			SourceAddr: net.TCPAddrFromAddrPort(source), DestinationAddr: net.TCPAddrFromAddrPort(destination),
		}
		if is4 {
			theirs.TransportProtocol = proxyproto.TCPv4
		}
		if rapid.Bool().Draw(t, "version 1") {
			theirs.Version = 1
		} else {
			var tlvs []proxyproto.TLV
			for _, typ := range rapid.SliceOfN(rapid.SampledFrom([]byte{1, 2, 5, 0x20, 0x30, 0xE1, 0xEF, 0xF0, TLVAWS, TLVAzure, TLVGCP}), 0, 4).Draw(t, "TLVs") {
				value := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "value")
				switch typ {
				case TLVAWS:
					value = append([]byte{subtypeAWS}, rapid.StringMatching(`vpce-[0-9a-f]{17}`).Draw(t, "endpoint")...)
				case TLVAzure:
					value = append([]byte{subtypeAzure}, rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "link")...)
				case TLVGCP:
					value = rapid.SliceOfN(rapid.Byte(), gcpValueLen, gcpValueLen).Draw(t, "connection")
				}
				tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2Type(typ), Value: value})
			}
			if err := theirs.SetTLVs(tlvs); err != nil {
				t.Fatal(err)
			}
		}
		out, err := theirs.Format()
		if err != nil {
			t.Fatal(err)
		}
		compareWithOracle(t, append(out, rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "what follows")...))
		h, n, err := ParseAnyProxyHeader(out)
		if errors.Is(err, ErrProxyIdentities) {
			return
		}
		if err != nil || n != len(out) || h.Source != source || h.Destination != destination {
			t.Fatalf("%v → %v, %d of %d, %v; it says %v → %v", h.Source, h.Destination, n, len(out), err, source, destination)
		}
		ours := AppendProxyHeader(nil, ProxyWriter{
			Source: h.Source, Destination: h.Destination, AWSEndpoint: string(h.AWSEndpoint),
			AzureLink: h.AzureLink, HasAzureLink: h.HasAzureLink, GCPConnection: h.GCPConnection, HasGCPConnection: h.HasGCPConnection,
			PadTo: rapid.IntRange(0, 300).Draw(t, "padding"),
		})
		compareWithOracle(t, ours)
	})
}
