package l4

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// MaxProxyV1 is the longest PROXY v1 header, its line end included (PROXY protocol, section 2.1).
const MaxProxyV1 = 107

// ErrProxyLine says that a PROXY v1 header is not what the protocol says, to the letter. It does not heal by reading on.
var ErrProxyLine = errors.New("l4: malformed PROXY v1 line")

const (
	proxyV1Start    = "PROXY "
	proxyV1Shortest = len("PROXY UNKNOWN\r\n")
	maxPortDigits   = 5
)

// ParseAnyProxyHeader reads a PROXY header of version 1 or 2, as ParseProxyV1 and ParseProxyHeader do; the first byte
// tells them apart. It is for balancers of which the version is not known beforehand.
func ParseAnyProxyHeader(buf []byte) (ProxyHeader, int, error) {
	if len(buf) == 0 || buf[0] == proxyV1Start[0] {
		return ParseProxyV1(buf)
	}
	return ParseProxyHeader(buf)
}

// ParseProxyV1 reads the PROXY v1 header at the start of buf and returns it with its length, its line end included. When
// buf ends too early the error is ErrIncomplete and the number is the length that buf must reach before another try can
// get further. Other errors are final.
//
// An UNKNOWN header gives the zero ProxyHeader: the balancer says nothing of the addresses, and what else stands in its
// line does not count. A health check sends one too, and version 1 does not tell the two apart. Of TCP the line is taken
// to the letter of section 2.1: one space between the parts, canonical numbers, addresses of the family that it names.
// An IPv4 address within an IPv6 one may end it with a dotted quad, as inet_ntop writes it.
func ParseProxyV1(buf []byte) (ProxyHeader, int, error) {
	head := buf[:min(len(buf), len(proxyV1Start))]
	if string(head) != proxyV1Start[:len(head)] {
		return ProxyHeader{}, 0, ErrNotProxy
	}
	window := buf[:min(len(buf), MaxProxyV1)]
	end := bytes.IndexAny(window, "\r\n")
	switch {
	case end < 0 && len(window) >= MaxProxyV1-1: // no room is left for the line end
		return ProxyHeader{}, 0, ErrProxyTooLong
	case end < 0:
		return ProxyHeader{}, max(proxyV1Shortest, len(window)+len("\r\n")), ErrIncomplete
	case window[end] != '\r' || end+1 < len(window) && window[end+1] != '\n':
		return ProxyHeader{}, 0, ErrProxyLine
	case end+1 == len(window) && len(window) < MaxProxyV1:
		return ProxyHeader{}, max(proxyV1Shortest, len(window)+1), ErrIncomplete
	case end+1 == len(window):
		return ProxyHeader{}, 0, ErrProxyTooLong
	}
	h, err := parseProxyLine(string(window[len(proxyV1Start):end]))
	if err != nil {
		return ProxyHeader{}, 0, err
	}
	return h, end + len("\r\n"), nil
}

// parseProxyLine reads what stands between "PROXY " and the line end.
func parseProxyLine(line string) (ProxyHeader, error) {
	family, rest, more := strings.Cut(line, " ")
	if family == "UNKNOWN" {
		return ProxyHeader{}, nil
	}
	if family != "TCP4" && family != "TCP6" {
		return ProxyHeader{}, ErrProxyFamily
	}
	if !more {
		return ProxyHeader{}, ErrProxyAddresses
	}
	var parts [4]string // source, destination, source port, destination port
	for i := range parts {
		parts[i], rest, more = strings.Cut(rest, " ")
		if more != (i < len(parts)-1) {
			return ProxyHeader{}, ErrProxyLine
		}
	}
	source, ok1 := proxyLineAddr(parts[0], family == "TCP4")
	destination, ok2 := proxyLineAddr(parts[1], family == "TCP4")
	sourcePort, ok3 := proxyLinePort(parts[2])
	destinationPort, ok4 := proxyLinePort(parts[3])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return ProxyHeader{}, ErrProxyLine
	}
	return ProxyHeader{
		Source:      netip.AddrPortFrom(source, sourcePort),
		Destination: netip.AddrPortFrom(destination, destinationPort),
	}, nil
}

// proxyLineAddr reads an address of the family that is wanted. netip is as strict as the protocol, but for zones.
func proxyLineAddr(s string, is4 bool) (netip.Addr, bool) {
	if strings.IndexByte(s, '%') >= 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Is4() == is4
}

// proxyLinePort reads a decimal number without a sign and without zeros in front.
func proxyLinePort(s string) (uint16, bool) {
	if len(s) > maxPortDigits || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}
