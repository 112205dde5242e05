package fabric

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// PROXY protocol version 2, as the protocol's specification (section 2.2) has it, with the cloud's extension.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

	proxyLocal = 0x20 // version 2, LOCAL: the load balancer speaks for itself
	proxyProxy = 0x21 // version 2, PROXY
	proxyTCP4  = 0x11

	tlvCRC32C = 0x03
	tlvNOOP   = 0x04
	tlvAWS    = 0xea
	awsVPCE   = 0x01 // first octet of tlvAWS: an endpoint id follows

	proxyHeaderSize = 100 // what the cloud's load balancer pads its IPv4 header to
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// proxyHeader returns the header that a load balancer sends ahead of a client's first byte: who it is, where it went,
// a checksum over the whole header, and the endpoint that it came through, when it came through one.
func proxyHeader(client, server netip.AddrPort, endpointID string) []byte {
	b := make([]byte, 0, proxyHeaderSize)
	b = append(b, proxySignature...)
	b = append(b, proxyProxy, proxyTCP4, 0, 0)
	src, dst := client.Addr().As4(), server.Addr().As4()
	b = append(b, src[:]...)
	b = append(b, dst[:]...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	b = binary.BigEndian.AppendUint16(b, server.Port())
	b = append(b, tlvCRC32C, 0, 4)
	sum := len(b)
	b = append(b, 0, 0, 0, 0)
	if endpointID != "" {
		b = append(b, tlvAWS, 0, byte(1+len(endpointID)), awsVPCE)
		b = append(b, endpointID...)
	}
	if pad := proxyHeaderSize - len(b) - 3; pad >= 0 {
		b = append(b, tlvNOOP, 0, byte(pad))
		b = append(b, make([]byte, pad)...)
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	binary.BigEndian.PutUint32(b[sum:], crc32.Checksum(b, castagnoli))
	return b
}

// proxyLocalHeader is what a health check sends to a target that expects a header: no client is behind it.
func proxyLocalHeader() []byte { return append([]byte(proxySignature), proxyLocal, 0, 0, 0) }
