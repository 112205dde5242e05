package fabric

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
)

// connect is the HTTP CONNECT vantage point (RFC 9110, section 9.3.6). The user name of the proxy credentials (Basic)
// says where the client stands, as with socks. Failures carry Proxy-Status (RFC 9209), which says more than a code.
type connect struct{}

// connectMost bounds a request's head.
const connectMost = 16 << 10

// Why a CONNECT client was turned away before any dial.
var (
	errConnectMethod = errors.New("only CONNECT is served")
	errConnectUser   = errors.New("no credentials of a vantage point")
	errConnectTarget = errors.New("malformed host:port")
)

func (connect) read(conn net.Conn, admit admission) (passage, error) { return readConnect(conn, admit) }

func (connect) answer(conn net.Conn, err error) error {
	if err == nil {
		_, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		return err
	}
	status, why := connectStatus(err)
	return refuseConnect(conn, status, "Proxy-Status: fabric; "+why+"\r\n")
}

// readConnect takes a CONNECT request's head from rw. What the client sent behind it, without waiting for its answer,
// is in the passage.
func readConnect(rw io.ReadWriter, admit admission) (passage, error) {
	head := &io.LimitedReader{R: rw, N: connectMost}
	br := bufio.NewReader(head)
	r, err := http.ReadRequest(br)
	if err != nil {
		if head.N <= 0 {
			_ = refuseConnect(rw, http.StatusRequestHeaderFieldsTooLarge, "")
		} else if !errors.Is(err, io.EOF) {
			_ = refuseConnect(rw, http.StatusBadRequest, "")
		}
		return passage{}, err
	}
	if r.Method != http.MethodConnect {
		_ = refuseConnect(rw, http.StatusMethodNotAllowed, "Allow: CONNECT\r\n")
		return passage{}, errConnectMethod
	}
	// The standard library reads Basic credentials from Authorization only.
	credentials := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	user, _, _ := credentials.BasicAuth()
	from, ok := admit(user)
	if !ok {
		_ = refuseConnect(rw, http.StatusProxyAuthRequired, "Proxy-Authenticate: Basic realm=\"vantage point: a VPC id, or internet\"\r\n")
		return passage{}, fmt.Errorf("%w: %.64q", errConnectUser, user)
	}
	p := passage{from: from}
	host, port, err := net.SplitHostPort(r.Host)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" || n == 0 {
		_ = refuseConnect(rw, http.StatusBadRequest, "")
		return passage{}, errConnectTarget
	}
	p.host, p.port = host, uint16(n)
	if a, err := netip.ParseAddr(host); err == nil {
		p.host = a.Unmap().String()
	}
	if n := br.Buffered(); n > 0 {
		b, _ := br.Peek(n)
		p.sent = append([]byte(nil), b...)
	}
	return p, nil
}

// refuseConnect answers with a status and no body. lines are whole header lines.
func refuseConnect(w io.Writer, status int, lines string) error {
	_, err := fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status), lines)
	return err
}

// connectStatus returns the status and the error parameters (RFC 9209, section 2.3) for a failed dial.
func connectStatus(err error) (int, string) {
	switch sortDialError(err) {
	case failedName:
		return http.StatusBadGateway, `error=dns_error; rcode="NXDOMAIN"`
	case failedRefused:
		return http.StatusBadGateway, "error=connection_refused"
	case failedReset:
		return http.StatusBadGateway, "error=connection_terminated"
	case failedUnroutable:
		return http.StatusBadGateway, "error=destination_ip_unroutable"
	case failedSilence:
		return http.StatusGatewayTimeout, "error=connection_timeout"
	}
	return http.StatusBadGateway, "error=proxy_internal_error"
}
