package l4

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"slices"
)

// MaxProxyHeader is the longest PROXY v2 header, fixed part included, that ParseProxyHeader takes. Load balancers send
// around a hundred bytes; the protocol's own limit of 64 KiB would let a peer make us hold that much for nothing.
const MaxProxyHeader = 4096

// ErrIncomplete says that the buffer ends before the thing that was to be parsed does: read more and parse again. Every
// parser of this package returns with it the length, in bytes, that the buffer needs at the least.
var ErrIncomplete = errors.New("l4: more bytes are needed")

// What the parsers of PROXY headers refuse. None of these heals by reading on.
var (
	ErrNotProxy        = errors.New("l4: no PROXY protocol header")
	ErrProxyVersion    = errors.New("l4: PROXY header of another version than 2")
	ErrProxyCommand    = errors.New("l4: PROXY header with an unknown command")
	ErrProxyFamily     = errors.New("l4: PROXY header of an address family or transport other than TCP over IPv4 or IPv6")
	ErrProxyTooLong    = errors.New("l4: PROXY header longer than the limit")
	ErrProxyAddresses  = errors.New("l4: PROXY header too short for its addresses")
	ErrProxyTLV        = errors.New("l4: PROXY header with a malformed TLV")
	ErrProxyChecksum   = errors.New("l4: PROXY header whose CRC32C does not fit")
	ErrProxyIdentities = errors.New("l4: PROXY header with more than one endpoint identity")
)

// TLV types of the PROXY protocol v2 (its section 2.2) and of the clouds that extend it.
const (
	TLVCRC32C = 0x03
	TLVNoop   = 0x04
	TLVGCP    = 0xE0 // u64, big endian: the Private Service Connect connection id
	TLVAWS    = 0xEA // subtype 0x01: the VPC endpoint id, in ASCII
	TLVAzure  = 0xEE // subtype 0x01: the private endpoint's link id, u32, little endian
)

// proxySignature opens every header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

const (
	proxyFixed    = 16 // signature, version and command, family and transport, length
	proxyTCP4     = 12 // bytes of addresses
	proxyTCP6     = 36
	subtypeAWS    = 0x01
	subtypeAzure  = 0x01
	familyUnspec  = 0x00
	familyTCP4    = 0x11
	familyTCP6    = 0x21
	commandLocal  = 0x0
	commandProxy  = 0x1
	tlvHead       = 3 // type and length
	crc32cLen     = 4
	azureValueLen = 5
	gcpValueLen   = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ProxyHeader is a PROXY header; one of version 1 has nothing but addresses. Its slices are part of the buffer that was
// parsed: they hold as long as it does.
type ProxyHeader struct {
	// Local says that the balancer itself opened the connection (a health check). Everything else is zero then, as the
	// protocol tells receivers to ignore it.
	Local bool
	// Source and Destination are the addresses of the connection that reached the balancer. They are zero when the
	// balancer did not know them (family UNSPEC; UNKNOWN in version 1).
	Source, Destination netip.AddrPort
	// AWSEndpoint is the value of the AWS endpoint TLV, nil when there is none. It is what the balancer sent: printable
	// ASCII is checked, the shape of an endpoint id is not.
	AWSEndpoint []byte
	// AzureLink is the Azure link id; it means something only when HasAzureLink is true.
	AzureLink    uint32
	HasAzureLink bool
	// GCPConnection is the PSC connection id; it means something only when HasGCPConnection is true.
	GCPConnection    uint64
	HasGCPConnection bool
	// Checksummed says that a CRC32C was there, and it fitted.
	Checksummed bool
	// TLVs is the whole TLV block, well formed; NextTLV walks it.
	TLVs []byte
}

// ParseProxyHeader reads the PROXY v2 header at the start of buf and returns it with its length. When buf ends too
// early the error is ErrIncomplete and the number is the length that buf must reach before another try can get
// further. Other errors are final. At most one endpoint identity may be present: a header with two says nothing that
// can be trusted.
func ParseProxyHeader(buf []byte) (ProxyHeader, int, error) {
	var h ProxyHeader
	head := buf[:min(len(buf), len(proxySignature))]
	if string(head) != proxySignature[:len(head)] {
		return h, 0, ErrNotProxy
	}
	if len(buf) < proxyFixed {
		return h, proxyFixed, ErrIncomplete
	}
	if buf[12]>>4 != 2 {
		return h, 0, ErrProxyVersion
	}
	command := buf[12] & 0x0f
	if command != commandLocal && command != commandProxy {
		return h, 0, ErrProxyCommand
	}
	total := proxyFixed + int(binary.BigEndian.Uint16(buf[14:16]))
	if total > MaxProxyHeader {
		return h, 0, ErrProxyTooLong
	}
	addresses := 0
	if command == commandProxy {
		switch buf[13] {
		case familyUnspec:
		case familyTCP4:
			addresses = proxyTCP4
		case familyTCP6:
			addresses = proxyTCP6
		default:
			return h, 0, ErrProxyFamily
		}
		if total < proxyFixed+addresses {
			return h, 0, ErrProxyAddresses
		}
	}
	if len(buf) < total {
		return h, total, ErrIncomplete
	}
	if command == commandLocal {
		h.Local = true
		return h, total, nil
	}
	a := buf[proxyFixed:]
	switch addresses {
	case proxyTCP4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[0:4])), binary.BigEndian.Uint16(a[8:10]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), binary.BigEndian.Uint16(a[10:12]))
	case proxyTCP6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[0:16])), binary.BigEndian.Uint16(a[32:34]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[16:32])), binary.BigEndian.Uint16(a[34:36]))
	}
	if addresses == 0 {
		// What follows an unspecified family is unspecified too: no TLV in it is anybody's identity.
		return h, total, nil
	}
	h.TLVs = buf[proxyFixed+addresses : total]
	if err := h.readTLVs(buf[:total]); err != nil {
		return ProxyHeader{}, 0, err
	}
	return h, total, nil
}

// readTLVs walks h.TLVs, which ends where whole does, and fills in what they say.
func (h *ProxyHeader) readTLVs(whole []byte) error {
	for rest := h.TLVs; len(rest) > 0; {
		typ, value, next, err := NextTLV(rest)
		if err != nil {
			return err
		}
		switch typ {
		case TLVCRC32C:
			// The sum covers the whole header with the sum's own bytes taken as zero.
			if len(value) != crc32cLen || h.Checksummed {
				return ErrProxyChecksum
			}
			at := len(whole) - len(next) - crc32cLen
			sum := crc32.Update(0, castagnoli, whole[:at])
			sum = crc32.Update(sum, castagnoli, zeroSum[:])
			sum = crc32.Update(sum, castagnoli, next)
			if sum != binary.BigEndian.Uint32(value) {
				return ErrProxyChecksum
			}
			h.Checksummed = true
		case TLVAWS:
			if len(value) > 0 && value[0] == subtypeAWS {
				id := value[1:]
				if !printable(id) {
					return ErrProxyTLV
				}
				if h.AWSEndpoint != nil {
					return ErrProxyIdentities
				}
				h.AWSEndpoint = id
			}
		case TLVAzure:
			if len(value) > 0 && value[0] == subtypeAzure {
				if len(value) != azureValueLen {
					return ErrProxyTLV
				}
				if h.HasAzureLink {
					return ErrProxyIdentities
				}
				h.AzureLink, h.HasAzureLink = binary.LittleEndian.Uint32(value[1:]), true
			}
		case TLVGCP:
			if len(value) != gcpValueLen {
				return ErrProxyTLV
			}
			if h.HasGCPConnection {
				return ErrProxyIdentities
			}
			h.GCPConnection, h.HasGCPConnection = binary.BigEndian.Uint64(value), true
		}
		rest = next
	}
	identities := 0
	for _, has := range [...]bool{h.AWSEndpoint != nil, h.HasAzureLink, h.HasGCPConnection} {
		if has {
			identities++
		}
	}
	if identities > 1 {
		return ErrProxyIdentities
	}
	return nil
}

var zeroSum [crc32cLen]byte

// NextTLV returns the first TLV of block and what follows it. A block that ends inside a TLV is ErrProxyTLV.
func NextTLV(block []byte) (typ byte, value, rest []byte, err error) {
	if len(block) < tlvHead {
		return 0, nil, nil, ErrProxyTLV
	}
	n := int(binary.BigEndian.Uint16(block[1:tlvHead]))
	if len(block)-tlvHead < n {
		return 0, nil, nil, ErrProxyTLV
	}
	return block[0], block[tlvHead : tlvHead+n], block[tlvHead+n:], nil
}

// printable reports whether b is not empty and holds visible ASCII alone.
func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0
}

// ProxyWriter says what AppendProxyHeader writes. The zero value writes a LOCAL header, a balancer's own health check.
// The identity is written as its cloud's balancers do; giving more than one makes a header that no parser takes.
type ProxyWriter struct {
	Source, Destination netip.AddrPort // of one family; both zero for LOCAL
	AWSEndpoint         string         // empty for none
	AzureLink           uint32         // written when HasAzureLink is true
	HasAzureLink        bool
	GCPConnection       uint64 // written when HasGCPConnection is true
	HasGCPConnection    bool
	PadTo               int // the header is filled with one NOOP to this length when it is shorter
}

// AppendProxyHeader appends to dst a PROXY v2 header with a CRC32C, laid out as AWS network load balancers do:
// checksum, endpoint identity, padding. Addresses of two families are written as IPv6. It allocates nothing when dst
// has room.
func AppendProxyHeader(dst []byte, w ProxyWriter) []byte {
	start := len(dst)
	dst = append(dst, proxySignature...)
	if !w.Source.IsValid() || !w.Destination.IsValid() {
		return append(dst, 2<<4|commandLocal, familyUnspec, 0, 0)
	}
	src, to := w.Source.Addr().Unmap(), w.Destination.Addr().Unmap()
	if src.Is4() && to.Is4() {
		dst = append(dst, 2<<4|commandProxy, familyTCP4, 0, 0)
		s, d := src.As4(), to.As4()
		dst = append(append(dst, s[:]...), d[:]...)
	} else {
		dst = append(dst, 2<<4|commandProxy, familyTCP6, 0, 0)
		s, d := src.As16(), to.As16()
		dst = append(append(dst, s[:]...), d[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, w.Source.Port())
	dst = binary.BigEndian.AppendUint16(dst, w.Destination.Port())
	dst = append(dst, TLVCRC32C, 0, crc32cLen)
	sumAt := len(dst)
	dst = append(dst, zeroSum[:]...)
	if w.AWSEndpoint != "" {
		dst = append(dst, TLVAWS)
		dst = binary.BigEndian.AppendUint16(dst, uint16(1+len(w.AWSEndpoint)))
		dst = append(append(dst, subtypeAWS), w.AWSEndpoint...)
	}
	if w.HasAzureLink {
		dst = append(dst, TLVAzure, 0, azureValueLen, subtypeAzure)
		dst = binary.LittleEndian.AppendUint32(dst, w.AzureLink)
	}
	if w.HasGCPConnection {
		dst = append(dst, TLVGCP, 0, gcpValueLen)
		dst = binary.BigEndian.AppendUint64(dst, w.GCPConnection)
	}
	if pad := w.PadTo - (len(dst) - start) - tlvHead; pad >= 0 {
		dst = append(dst, TLVNoop)
		dst = binary.BigEndian.AppendUint16(dst, uint16(pad))
		dst = slices.Grow(dst, pad)[:len(dst)+pad]
		clear(dst[len(dst)-pad:])
	}
	binary.BigEndian.PutUint16(dst[start+14:], uint16(len(dst)-start-proxyFixed))
	binary.BigEndian.PutUint32(dst[sumAt:], crc32.Checksum(dst[start:], castagnoli))
	return dst
}
