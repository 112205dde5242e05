package fabric

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// The header as an independent reader of the protocol understands it.
func TestProxyHeader(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.16.0.4:40000"), netip.MustParseAddrPort("10.16.0.10:443")
	for _, endpoint := range []string{"vpce-0a1b2c3d4e5f60718", "vpce-0a1b2c3d", ""} {
		raw := proxyHeader(client, server, endpoint)
		if len(raw) != 100 {
			t.Errorf("%q: %d bytes, want 100", endpoint, len(raw))
		}
		r := bufio.NewReader(bytes.NewReader(raw))
		h, err := proxyproto.Read(r)
		if err != nil {
			t.Fatalf("%q: %v", endpoint, err)
		}
		if r.Buffered() != 0 {
			t.Errorf("%q: %d bytes follow the header", endpoint, r.Buffered())
		}
		if h.Command != proxyproto.PROXY || h.TransportProtocol != proxyproto.TCPv4 ||
			h.SourceAddr.String() != client.String() || h.DestinationAddr.String() != server.String() {
			t.Errorf("%q: read as %+v", endpoint, h)
		}
		tlvs, err := h.TLVs()
		if err != nil {
			t.Fatalf("%q: %v", endpoint, err)
		}
		if got := tlvparse.FindAWSVPCEndpointID(tlvs); got != endpoint {
			t.Errorf("endpoint id %q, want %q", got, endpoint)
		}
		var sum uint32
		for _, tlv := range tlvs {
			if tlv.Type == proxyproto.PP2_TYPE_CRC32C {
				sum = binary.BigEndian.Uint32(tlv.Value)
			}
		}
		at := bytes.Index(raw, binary.BigEndian.AppendUint32([]byte{3, 0, 4}, sum)) + 3
		zeroed := bytes.Clone(raw)
		copy(zeroed[at:], make([]byte, 4))
		if want := crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)); sum != want {
			t.Errorf("%q: checksum %#x, want %#x", endpoint, sum, want)
		}
	}
}

func TestProxyLocalHeader(t *testing.T) {
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(proxyLocalHeader())))
	if err != nil || !h.Command.IsLocal() {
		t.Errorf("read as %+v, %v", h, err)
	}
}
