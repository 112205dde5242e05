package link

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
)

// Provider is the cloud in which a service or an endpoint lives. The zero value names none.
type Provider string

// The providers that the REST API names.
const (
	AWS   Provider = "AWS"
	Azure Provider = "AZURE"
	GCP   Provider = "GCP"
)

// ID names one of our own objects (project, cluster, trusted owner): a UUID in lower case. The zero value names nothing.
type ID string

// NewID returns a fresh random ID (RFC 9562, version 4).
func NewID() ID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return ID(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

// ParseID reads a lower-case UUID. field names the input in the error, which is of kind Invalid.
func ParseID(field, s string) (ID, error) {
	if len(s) == 36 {
		ok := true
		for i := range len(s) {
			c := s[i]
			switch i {
			case 8, 13, 18, 23:
				ok = ok && c == '-'
			default:
				ok = ok && isLowerHex(c)
			}
		}
		if ok {
			return ID(s), nil
		}
	}
	return "", &Error{
		Kind: Invalid, Reason: "MALFORMED_ID", Field: field,
		Message: fmt.Sprintf("%s is not a lower-case UUID: %s", field, Quote(s)),
		Hint:    "ids look like 0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11; list the objects to see theirs",
	}
}

// EndpointID is the identifier that the cloud gave to a private endpoint: `vpce-…` at AWS. The zero value means "not
// through a private endpoint" and never matches one.
type EndpointID string

// ParseEndpointID reads an endpoint id of the provider p. AWS ids are `vpce-` and 17 lower-case hexadecimal digits, or 8
// on old endpoints. Errors are of kind Invalid with reason MALFORMED_ENDPOINT_ID.
func ParseEndpointID(p Provider, s string) (EndpointID, error) {
	fail := func(hint string) (EndpointID, error) {
		return "", &Error{
			Kind: Invalid, Reason: "MALFORMED_ENDPOINT_ID", Field: "endpoint_id",
			Message: "not an endpoint id: " + Quote(s), Hint: hint,
		}
	}
	switch p {
	case AWS:
		const hint = "an AWS endpoint id is vpce- followed by 17 lower-case hexadecimal digits, for example vpce-0a1b2c3d4e5f60718"
		hex, ok := strings.CutPrefix(s, "vpce-")
		if !ok || len(hex) != 17 && len(hex) != 8 {
			return fail(hint)
		}
		for i := range len(hex) {
			if !isLowerHex(hex[i]) {
				return fail(hint)
			}
		}
		return EndpointID(s), nil
	default:
		return fail(fmt.Sprintf("endpoint ids of provider %s are not supported yet", Quote(string(p))))
	}
}

// ParseAccountID reads an AWS account id, 12 digits, or "*" for every account.
func ParseAccountID(field, s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	ok := len(s) == 12
	for i := 0; ok && i < len(s); i++ {
		ok = s[i] >= '0' && s[i] <= '9'
	}
	if !ok {
		return "", &Error{
			Kind: Invalid, Reason: "MALFORMED_OWNER_ID", Field: field,
			Message: "not an AWS account id: " + Quote(s),
			Hint:    `give the 12 digits that "aws sts get-caller-identity" prints as Account, or "*" to trust every account`,
		}
	}
	return s, nil
}

// ParsePrefix reads an address range from its two halves, as the allow list of the REST API spells it. An address with
// bits set beyond the mask is refused: it says two things at once.
func ParsePrefix(ip string, mask int) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, &Error{
			Kind: Invalid, Reason: "MALFORMED_ADDRESS", Field: "cidr_ip",
			Message: "not an IP address: " + Quote(ip), Hint: "for example 203.0.113.0 with cidr_mask 24",
		}
	}
	if addr.Is4In6() {
		return netip.Prefix{}, &Error{
			Kind: Invalid, Reason: "MALFORMED_ADDRESS", Field: "cidr_ip",
			Message: "an IPv4 address written as IPv6: " + Quote(ip), Hint: "write " + addr.Unmap().String(),
		}
	}
	p, err := addr.Prefix(mask)
	if err != nil {
		return netip.Prefix{}, &Error{
			Kind: Invalid, Reason: "MALFORMED_MASK", Field: "cidr_mask",
			Message: fmt.Sprintf("mask %d does not fit the address %s", mask, addr),
			Hint:    fmt.Sprintf("give 0 to %d", addr.BitLen()),
		}
	}
	if p.Addr() != addr {
		return netip.Prefix{}, &Error{
			Kind: Invalid, Reason: "HOST_BITS_SET", Field: "cidr_ip",
			Message: fmt.Sprintf("%s/%d has host bits set", addr, mask),
			Hint:    fmt.Sprintf("write %s for the range, or %s/%d for the one address", p, addr, addr.BitLen()),
		}
	}
	return p, nil
}

// Quote returns s for a message to a person: quoted, and cut so that a long or hostile input cannot fill a log.
func Quote(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func isLowerHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
