package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// socks5 is a client of one SOCKS5 proxy (RFC 1928) with the user name and password of RFC 1929. A client of our own
// because a verification lives from the difference between the proxy's failure and the path's: the reply codes become
// the errors that a local connect would have given, and everything before them a *VantageError.
type socks5 struct {
	addr           string
	user, password string
	hasUser        bool
}

func parseSOCKS5(raw string) (socks5, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Parse's error repeats its input, and the input may hold a password.
		return socks5{}, errors.New("the proxy is not a URL: write socks5://user:password@host:port")
	}
	if u.Scheme != "socks5" && u.Scheme != "socks5h" {
		return socks5{}, fmt.Errorf("the proxy's scheme is %q: only socks5 and socks5h are known", u.Scheme)
	}
	if u.Hostname() == "" {
		return socks5{}, errors.New("the proxy has no host: write socks5://user:password@host:port")
	}
	port := u.Port()
	if port == "" {
		port = "1080"
	}
	s := socks5{addr: net.JoinHostPort(u.Hostname(), port)}
	if u.User != nil {
		s.hasUser, s.user = true, u.User.Username()
		s.password, _ = u.User.Password()
		if len(s.user) == 0 || len(s.user) > 255 || len(s.password) > 255 {
			return socks5{}, errors.New("the proxy's user name takes 1 to 255 bytes and its password at most 255")
		}
	}
	return s, nil
}

// place names the vantage point without its password.
func (s socks5) place() string {
	if s.user != "" {
		return s.user + " (through " + s.addr + ")"
	}
	return "behind " + s.addr
}

func (s socks5) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, &VantageError{s.place(), fmt.Errorf("a SOCKS5 proxy carries no %s", network)}
	}
	request, err := connectRequest(addr)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, &VantageError{s.place(), err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	asked, err := s.converse(conn, request)
	if err != nil {
		stop()
		_ = conn.Close() // which also tells the proxy to give the attempt up
		switch {
		case asked && ctx.Err() != nil: // the proxy works and is still trying: it is the path that does not answer
			err = ctx.Err()
		case !asked:
			err = &VantageError{s.place(), err}
		}
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	if !stop() { // the deadline was or is being set: this connection is of no use
		_ = conn.Close()
		return nil, ctx.Err()
	}
	return conn, nil
}

// converse asks the proxy for the connection. asked reports whether the proxy had taken the request: an error before
// that is the proxy's own.
func (s socks5) converse(conn net.Conn, request []byte) (asked bool, err error) {
	hello := []byte{5, 1, 0}
	if s.hasUser {
		hello[2] = 2
	}
	if _, err := conn.Write(hello); err != nil {
		return false, err
	}
	var two [2]byte
	if _, err := io.ReadFull(conn, two[:]); err != nil {
		return false, fmt.Errorf("no answer to the greeting: %w", err)
	}
	if two[0] != 5 || two[1] != hello[2] {
		return false, errors.New("the proxy takes none of the offered ways to authenticate")
	}
	if s.hasUser {
		msg := append([]byte{1, byte(len(s.user))}, s.user...)
		msg = append(append(msg, byte(len(s.password))), s.password...)
		if _, err := conn.Write(msg); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(conn, two[:]); err != nil {
			return false, fmt.Errorf("no answer to the user name: %w", err)
		}
		if two[1] != 0 {
			return false, errors.New("the proxy refuses the user name or password")
		}
	}
	if _, err := conn.Write(request); err != nil {
		return false, err
	}
	code, err := readReply(conn)
	if err != nil {
		return true, &VantageError{s.place(), err}
	}
	switch code {
	case 0:
		return true, nil
	case 3:
		return true, syscall.ENETUNREACH
	case 4:
		return true, syscall.EHOSTUNREACH
	case 5:
		return true, syscall.ECONNREFUSED
	case 6:
		return true, syscall.ETIMEDOUT
	case 1:
		return true, errors.New("the proxy could not connect and does not say why")
	case 2:
		return true, &VantageError{s.place(), errors.New("the proxy's rules do not allow the connection")}
	default:
		return true, &VantageError{s.place(), fmt.Errorf("the proxy answers with reply code %d", code)}
	}
}

// connectRequest is the CONNECT request for host:port.
func connectRequest(addr string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", addr, err)
	}
	out := []byte{5, 1, 0}
	switch ip, err := netip.ParseAddr(host); {
	case err != nil && (host == "" || len(host) > 255):
		return nil, fmt.Errorf("host of %s has %d bytes", addr, len(host))
	case err != nil:
		out = append(append(out, 3, byte(len(host))), host...)
	case ip.Unmap().Is4():
		out = append(append(out, 1), ip.Unmap().AsSlice()...)
	default:
		out = append(append(out, 4), ip.AsSlice()...)
	}
	return append(out, byte(port>>8), byte(port)), nil
}

// readReply reads exactly one reply, not a byte of what follows it, and returns its code.
func readReply(r io.Reader) (byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, fmt.Errorf("no answer to the request: %w", err)
	}
	if head[0] != 5 {
		return 0, fmt.Errorf("the proxy answers with version %d of the protocol", head[0])
	}
	var rest int64
	switch head[3] {
	case 1:
		rest = 4 + 2
	case 4:
		rest = 16 + 2
	case 3:
		var n [1]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return 0, fmt.Errorf("answer cut short: %w", err)
		}
		rest = int64(n[0]) + 2
	default:
		return 0, fmt.Errorf("the proxy answers with address type %d", head[3])
	}
	if _, err := io.CopyN(io.Discard, r, rest); err != nil {
		return 0, fmt.Errorf("answer cut short: %w", err)
	}
	return head[1], nil
}
