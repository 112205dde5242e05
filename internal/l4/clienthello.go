package l4

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
)

// MaxClientHello is the longest ClientHello, as it stands on the wire with its record headers, that ParseClientHello
// takes: RFC 8446 allows more, no client sends a quarter of it.
const MaxClientHello = 64 << 10

// maxHelloRecords bounds the walk over a hello that a peer cut into crumbs, since each try walks from the start.
const maxHelloRecords = 4096

// What ParseClientHello refuses. None of these heals by reading on.
var (
	ErrNotTLS         = errors.New("l4: the stream does not start with a TLS handshake")
	ErrNotClientHello = errors.New("l4: the TLS handshake does not start with a ClientHello")
	ErrHelloTooLong   = errors.New("l4: ClientHello longer than the limit")
	ErrHelloMalformed = errors.New("l4: malformed ClientHello")
	ErrServerName     = errors.New("l4: the server name is not a host name")
	ErrServerNameIP   = errors.New("l4: the server name is an IP address")
)

const (
	recordHead        = 5
	recordHandshake   = 22
	maxRecord         = 1 << 14 // RFC 8446, section 5.1
	handshakeHead     = 4
	handshakeHello    = 1
	extServerName     = 0
	extALPN           = 16
	nameTypeHostName  = 0
	maxHostName       = 253
	maxHostNameLabel  = 63
	maxHostNameOnWire = maxHostName + 1 // with a final dot
)

// ClientHello is what a proxy that forwards TLS unread wants of a ClientHello.
type ClientHello struct {
	// ServerName is the host name of the server_name extension (RFC 6066), in lower case and without a final dot. It is
	// empty when the client sent none.
	ServerName string

	alpn []byte // the ProtocolNameList, well formed; part of the parsed buffer or a copy
}

// OffersProtocol reports whether the client offers an application protocol (RFC 7301). It allocates nothing.
func (h *ClientHello) OffersProtocol(name string) bool {
	for rest := h.alpn; len(rest) > 0; rest = rest[1+int(rest[0]):] {
		if string(rest[1:1+int(rest[0])]) == name {
			return true
		}
	}
	return false
}

// Protocols returns the application protocols that the client offers, in its order; nil when it offers none.
func (h *ClientHello) Protocols() []string {
	var out []string
	for rest := h.alpn; len(rest) > 0; rest = rest[1+int(rest[0]):] {
		out = append(out, string(rest[1:1+int(rest[0])]))
	}
	return out
}

// ParseClientHello reads the ClientHello at the start of buf, over as many TLS records as it was cut into, and returns
// it with the number of bytes up to the end of its last record. When buf ends too early the error is ErrIncomplete and
// the number is the length that buf must reach before another try can get further. Other errors are final.
func ParseClientHello(buf []byte) (ClientHello, int, error) {
	body, n, err := helloBody(buf)
	if err != nil {
		return ClientHello{}, n, err
	}
	h, err := parseHelloBody(body)
	if err != nil {
		return ClientHello{}, 0, err
	}
	return h, n, nil
}

// helloBody returns the ClientHello message without its handshake header. It is part of buf when the message lies in
// one record, and a copy otherwise.
func helloBody(buf []byte) (body []byte, n int, err error) {
	var head [handshakeHead]byte
	got, want, records := 0, handshakeHead, 0 // bytes of the message that the records so far carry, and that it has
	at := 0
	for got < want {
		rest := buf[at:]
		if len(rest) > 0 && rest[0] != recordHandshake || len(rest) > 1 && rest[1] != 3 {
			return nil, 0, ErrNotTLS
		}
		if len(rest) < recordHead {
			return nil, at + recordHead, ErrIncomplete
		}
		size := int(binary.BigEndian.Uint16(rest[3:recordHead]))
		if size == 0 || size > maxRecord {
			return nil, 0, ErrNotTLS
		}
		records++
		if at+recordHead+min(size, want-got) > MaxClientHello || records > maxHelloRecords {
			return nil, 0, ErrHelloTooLong
		}
		payload := rest[recordHead:]
		if got < handshakeHead {
			c := copy(head[got:], payload[:min(size, len(payload))])
			if got == 0 && c > 0 && head[0] != handshakeHello {
				return nil, 0, ErrNotClientHello
			}
			if got+c == handshakeHead {
				want = handshakeHead + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
				if want > MaxClientHello {
					return nil, 0, ErrHelloTooLong
				}
			}
		}
		if len(payload) < size {
			need := at + recordHead + size
			if need > MaxClientHello {
				return nil, 0, ErrHelloTooLong
			}
			return nil, need, ErrIncomplete
		}
		got += size
		at += recordHead + size
	}
	if records == 1 {
		return buf[recordHead+handshakeHead : recordHead+want], at, nil
	}
	message := make([]byte, 0, got)
	for rest := buf[:at]; len(rest) > 0; {
		size := int(binary.BigEndian.Uint16(rest[3:recordHead]))
		message = append(message, rest[recordHead:recordHead+size]...)
		rest = rest[recordHead+size:]
	}
	return message[handshakeHead:want], at, nil
}

// parseHelloBody reads the message of RFC 8446, section 4.1.2 (and RFC 5246, section 7.4.1.2, which has the same shape).
func parseHelloBody(body []byte) (ClientHello, error) {
	var h ClientHello
	s := cryptobyte.String(body)
	var session, suites, compressions, extensions cryptobyte.String
	if !s.Skip(2+32) || !s.ReadUint8LengthPrefixed(&session) || len(session) > 32 ||
		!s.ReadUint16LengthPrefixed(&suites) || len(suites) == 0 || len(suites)%2 != 0 ||
		!s.ReadUint8LengthPrefixed(&compressions) || len(compressions) == 0 {
		return h, ErrHelloMalformed
	}
	if s.Empty() {
		return h, nil // TLS 1.2 without extensions
	}
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return h, ErrHelloMalformed
	}
	var sawName, sawALPN bool
	for !extensions.Empty() {
		var typ uint16
		var data cryptobyte.String
		if !extensions.ReadUint16(&typ) || !extensions.ReadUint16LengthPrefixed(&data) {
			return h, ErrHelloMalformed
		}
		switch typ {
		case extServerName:
			if sawName {
				return h, ErrHelloMalformed // two names: which one the backend believes is anybody's guess
			}
			sawName = true
			name, err := hostName(data)
			if err != nil {
				return h, err
			}
			h.ServerName = name
		case extALPN:
			if sawALPN || !validALPN(data) {
				return h, ErrHelloMalformed
			}
			sawALPN = true
			h.alpn = data[2:]
		}
	}
	return h, nil
}

// validALPN reports whether data is a non-empty list of non-empty protocol names.
func validALPN(data cryptobyte.String) bool {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() || list.Empty() {
		return false
	}
	for !list.Empty() {
		var name cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&name) || name.Empty() {
			return false
		}
	}
	return true
}

// hostName reads a server_name extension: a list that holds one host name.
func hostName(data cryptobyte.String) (string, error) {
	var list, name cryptobyte.String
	var typ uint8
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() ||
		!list.ReadUint8(&typ) || typ != nameTypeHostName ||
		!list.ReadUint16LengthPrefixed(&name) || !list.Empty() {
		return "", ErrHelloMalformed
	}
	return normaliseHostName(name)
}

// normaliseHostName returns name in lower case without a final dot. Besides letters, digits and hyphens it lets
// underscores pass, which clients do send; a name in another script comes as its A-label.
func normaliseHostName(name []byte) (string, error) {
	if len(name) == 0 || len(name) > maxHostNameOnWire {
		return "", ErrServerName
	}
	if name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if len(name) == 0 || len(name) > maxHostName {
		return "", ErrServerName
	}
	var lower [maxHostName]byte
	label, numeric, colon := 0, true, false
	for i, c := range name {
		switch {
		case c == '.':
			if label == 0 {
				return "", ErrServerName
			}
			label = -1
			numeric = true
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
			numeric = false
		case c >= 'a' && c <= 'z' || c == '-' || c == '_':
			numeric = false
		case c >= '0' && c <= '9':
		case c == ':' || c == '%' || c == '[' || c == ']':
			colon = true
		default:
			return "", ErrServerName
		}
		label++
		if label > maxHostNameLabel {
			return "", ErrServerName
		}
		lower[i] = c
	}
	if colon {
		if _, err := netip.ParseAddr(string(name)); err == nil {
			return "", ErrServerNameIP
		}
		return "", ErrServerName
	}
	if label == 0 {
		return "", ErrServerName
	}
	if numeric {
		// A name whose last label is a number is read as an IPv4 address by what resolves it (WHATWG URL, section 3.5).
		return "", ErrServerNameIP
	}
	return string(lower[:len(name)]), nil
}
