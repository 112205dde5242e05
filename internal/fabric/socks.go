package fabric

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// socks is the SOCKS5 vantage point (RFC 1928) with user names and passwords (RFC 1929). The user name says where the
// client stands ("vpc-…", "vpc-…/subnet-…" or "internet"); the password says nothing. Names are resolved there too, so
// that clients should hand them over unresolved (curl's socks5h).
type socks struct{}

// The numbers of RFC 1928, section 3 to 6, and RFC 1929, section 2.
const (
	socksVersion     = 5
	socksAuthVersion = 1

	socksMethodPassword     = 0x02
	socksMethodUnacceptable = 0xff

	socksConnect = 1

	socksIPv4 = 1
	socksName = 3
	socksIPv6 = 4

	socksSucceeded           = 0
	socksFailure             = 1
	socksNetworkUnreachable  = 3
	socksHostUnreachable     = 4
	socksRefused             = 5
	socksTTLExpired          = 6
	socksCommandUnsupported  = 7
	socksAddressTypeUnsuited = 8
)

// Why a SOCKS client was turned away before any dial.
var (
	errSOCKSVersion = errors.New("not SOCKS version 5")
	errSOCKSMethod  = errors.New("the client does not offer user name and password (RFC 1929), which says where it stands")
	errSOCKSUser    = errors.New("no such vantage point")
	errSOCKSCommand = errors.New("only CONNECT is served")
	errSOCKSAddress = errors.New("malformed destination address")
)

func (socks) read(conn net.Conn, admit admission) (passage, error) { return readSOCKS(conn, admit) }

func (socks) answer(conn net.Conn, err error) error {
	code := byte(socksSucceeded)
	if err != nil {
		code = socksReplyCode(err)
	}
	return replySOCKS(conn, code)
}

// readSOCKS takes method negotiation, user name and request from rw, reading not one byte more.
func readSOCKS(rw io.ReadWriter, admit admission) (passage, error) {
	var buf [255]byte
	take := func(n int) ([]byte, error) {
		_, err := io.ReadFull(rw, buf[:n])
		return buf[:n], err
	}

	// Section 3: the methods that the client offers.
	b, err := take(2)
	if err != nil {
		return passage{}, err
	}
	if b[0] != socksVersion {
		return passage{}, errSOCKSVersion // nothing to answer in a language that the client does not speak
	}
	if b, err = take(int(b[1])); err != nil {
		return passage{}, err
	}
	offered := false
	for _, m := range b {
		offered = offered || m == socksMethodPassword
	}
	if !offered {
		_, _ = rw.Write([]byte{socksVersion, socksMethodUnacceptable})
		return passage{}, errSOCKSMethod
	}
	if _, err := rw.Write([]byte{socksVersion, socksMethodPassword}); err != nil {
		return passage{}, err
	}

	// RFC 1929, section 2: the user name, and a password that is read past.
	if b, err = take(2); err != nil {
		return passage{}, err
	}
	if b[0] != socksAuthVersion {
		_, _ = rw.Write([]byte{socksAuthVersion, 1})
		return passage{}, errSOCKSUser
	}
	if b, err = take(int(b[1])); err != nil {
		return passage{}, err
	}
	user := string(b)
	if b, err = take(1); err != nil {
		return passage{}, err
	}
	if _, err = take(int(b[0])); err != nil {
		return passage{}, err
	}
	from, ok := admit(user)
	if !ok {
		_, _ = rw.Write([]byte{socksAuthVersion, 1})
		return passage{}, fmt.Errorf("%w: %.64q", errSOCKSUser, user)
	}
	if _, err := rw.Write([]byte{socksAuthVersion, 0}); err != nil {
		return passage{}, err
	}

	// Section 4: the request.
	if b, err = take(4); err != nil {
		return passage{}, err
	}
	if b[0] != socksVersion {
		_ = replySOCKS(rw, socksFailure)
		return passage{}, errSOCKSVersion
	}
	command, kind := b[1], b[3]
	p := passage{from: from}
	switch kind {
	case socksIPv4:
		b, err = take(4)
	case socksIPv6:
		b, err = take(16)
	case socksName:
		if b, err = take(1); err == nil {
			b, err = take(int(b[0]))
		}
	default:
		_ = replySOCKS(rw, socksAddressTypeUnsuited)
		return passage{}, errSOCKSAddress
	}
	if err != nil {
		return passage{}, err
	}
	if kind == socksName {
		p.host = string(b)
	} else {
		a, _ := netip.AddrFromSlice(b)
		p.host = a.Unmap().String()
	}
	if b, err = take(2); err != nil {
		return passage{}, err
	}
	p.port = uint16(b[0])<<8 | uint16(b[1])
	switch {
	case command != socksConnect:
		_ = replySOCKS(rw, socksCommandUnsupported)
		return passage{}, errSOCKSCommand
	case p.host == "" || p.port == 0:
		_ = replySOCKS(rw, socksFailure)
		return passage{}, errSOCKSAddress
	}
	return p, nil
}

// replySOCKS writes a reply (section 6). The bound address is left 0.0.0.0:0: the client could do nothing with an
// address of the fabric's own world.
func replySOCKS(w io.Writer, code byte) error {
	_, err := w.Write([]byte{socksVersion, code, 0, socksIPv4, 0, 0, 0, 0, 0, 0})
	return err
}

func socksReplyCode(err error) byte {
	switch sortDialError(err) {
	case failedName:
		return socksHostUnreachable
	case failedRefused, failedReset:
		return socksRefused
	case failedUnroutable:
		return socksNetworkUnreachable
	case failedSilence:
		return socksTTLExpired
	}
	return socksFailure
}
