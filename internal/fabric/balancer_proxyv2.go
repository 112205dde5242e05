package fabric

import (
	"net/netip"

	"github.com/postern/postern/internal/l4"
)

// proxyHeaderSize is what the cloud's load balancer pads its IPv4 header to.
const proxyHeaderSize = 100

// proxyHeader returns the PROXY protocol v2 header that a load balancer sends ahead of a client's first byte: who it
// is, where it went, a checksum, and the endpoint that it came through, when it came through one.
func proxyHeader(client, server netip.AddrPort, endpointID string) []byte {
	return l4.AppendProxyHeader(make([]byte, 0, proxyHeaderSize), l4.ProxyWriter{
		Source: client, Destination: server, AWSEndpoint: endpointID, PadTo: proxyHeaderSize,
	})
}

// proxyLocalHeader is what a health check sends to a target that expects a header: no client is behind it.
func proxyLocalHeader() []byte { return l4.AppendProxyHeader(nil, l4.ProxyWriter{}) }
