package fabric

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// script is a peer whose every word is known beforehand.
type script struct {
	io.Reader
	heard bytes.Buffer
}

func (s *script) Write(b []byte) (int, error) { return s.heard.Write(b) }

// anyVPC admits every well-formed vantage point but one.
func anyVPC(user string) (vantage, bool) {
	v, ok := parseVantage(user)
	return v, ok && v.vpcID != "vpc-unknown"
}

func socksGreeting(user, password string) string {
	return "\x05\x02\x00\x02" + "\x01" + string(rune(len(user))) + user + string(rune(len(password))) + password
}

func TestReadSOCKS(t *testing.T) {
	hello := socksGreeting("vpc-1", "x")
	const welcome = "\x05\x02\x01\x00"
	for _, c := range []struct {
		name, in string
		want     passage
		err      error
		heard    string
	}{
		{"a name", hello + "\x05\x01\x00\x03\x0bdb.acme.tst\x01\xbb", passage{from: vantage{vpcID: "vpc-1"}, host: "db.acme.tst", port: 443}, nil, welcome},
		{"an IPv4 address", hello + "\x05\x01\x00\x01\x0a\x00\x00\x0a\x00\x50", passage{from: vantage{vpcID: "vpc-1"}, host: "10.0.0.10", port: 80}, nil, welcome},
		{"an IPv6 address", hello + "\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x00\x50", passage{from: vantage{vpcID: "vpc-1"}, host: "2001:db8::1", port: 80}, nil, welcome},
		{"an IPv4 address written as IPv6", hello + "\x05\x01\x00\x04" + strings.Repeat("\x00", 10) + "\xff\xff\x0a\x00\x00\x0a\x00\x50", passage{from: vantage{vpcID: "vpc-1"}, host: "10.0.0.10", port: 80}, nil, welcome},
		{"a subnet", socksGreeting("vpc-1/subnet-2", "x") + "\x05\x01\x00\x03\x01a\x00\x01", passage{from: vantage{"vpc-1", "subnet-2"}, host: "a", port: 1}, nil, welcome},
		{"the internet, without a password", socksGreeting("internet", "") + "\x05\x01\x00\x03\x01a\x00\x01", passage{from: vantage{vpcID: Internet}, host: "a", port: 1}, nil, welcome},
		{"SOCKS4", "\x04\x01\x00\x50\x0a\x00\x00\x01\x00", passage{}, errSOCKSVersion, ""},
		{"no authentication offered only", "\x05\x01\x00", passage{}, errSOCKSMethod, "\x05\xff"},
		{"no method at all", "\x05\x00", passage{}, errSOCKSMethod, "\x05\xff"},
		{"unknown VPC", socksGreeting("vpc-unknown", "x"), passage{}, errSOCKSUser, "\x05\x02\x01\x01"},
		{"not a VPC", socksGreeting("root", "x"), passage{}, errSOCKSUser, "\x05\x02\x01\x01"},
		{"BIND", hello + "\x05\x02\x00\x01\x0a\x00\x00\x0a\x00\x50", passage{}, errSOCKSCommand, welcome + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"unknown address type", hello + "\x05\x01\x00\x02\x0a\x00\x00\x0a\x00\x50", passage{}, errSOCKSAddress, welcome + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"empty name", hello + "\x05\x01\x00\x03\x00\x00\x50", passage{}, errSOCKSAddress, welcome + "\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"port 0", hello + "\x05\x01\x00\x01\x0a\x00\x00\x0a\x00\x00", passage{}, errSOCKSAddress, welcome + "\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"},
		{"cut off", hello + "\x05\x01\x00\x01\x0a", passage{}, io.ErrUnexpectedEOF, welcome},
		{"silent", "", passage{}, io.EOF, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := &script{Reader: strings.NewReader(c.in)}
			got, err := readSOCKS(peer, anyVPC)
			if !errors.Is(err, c.err) || got.from != c.want.from || got.host != c.want.host || got.port != c.want.port {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, c.want, c.err)
			}
			if peer.heard.String() != c.heard {
				t.Errorf("the client heard %q, want %q", peer.heard.String(), c.heard)
			}
		})
	}
}

// What is behind the request belongs to the flow and must not be taken.
func TestReadSOCKSTakesNoByteTooMany(t *testing.T) {
	in := strings.NewReader(socksGreeting("vpc-1", "x") + "\x05\x01\x00\x03\x01a\x00\x01" + "GET /")
	if _, err := readSOCKS(&script{Reader: in}, anyVPC); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "GET /" {
		t.Errorf("left %q", rest)
	}
}

// dialErrors are failures as the data plane returns them, with what each kind of proxy says.
var dialErrors = []struct {
	err    error
	socks  byte
	status int
	why    string
}{
	{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, 4, 502, "error=dns_error"},
	{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, 5, 502, "error=connection_refused"},
	{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNRESET)}, 5, 502, "error=connection_terminated"},
	{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, 3, 502, "error=destination_ip_unroutable"},
	{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}, 6, 504, "error=connection_timeout"},
	{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, 6, 504, "error=connection_timeout"},
	{errors.New("a defect"), 1, 502, "error=proxy_internal_error"},
}

func TestSOCKSReplyCode(t *testing.T) {
	for _, c := range dialErrors {
		if got := socksReplyCode(c.err); got != c.socks {
			t.Errorf("%v: %d, want %d", c.err, got, c.socks)
		}
	}
}

func FuzzReadSOCKS(f *testing.F) {
	f.Add([]byte(socksGreeting("vpc-1", "x") + "\x05\x01\x00\x03\x0bdb.acme.tst\x01\xbb"))
	f.Add([]byte(socksGreeting("internet", "") + "\x05\x01\x00\x01\x0a\x00\x00\x0a\x00\x50"))
	f.Add([]byte(socksGreeting("vpc-1/subnet-1", "x") + "\x05\x01\x00\x04" + strings.Repeat("\x00", 18)))
	f.Add([]byte("\x05\x01\x00"))
	f.Add([]byte("\x04\x01\x00\x50\x0a\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		peer := &script{Reader: bytes.NewReader(in)}
		p, err := readSOCKS(peer, anyVPC)
		if err == nil && (p.host == "" || p.port == 0 || p.from == vantage{} || len(p.host) > 255) {
			t.Errorf("accepted %+v", p)
		}
		if peer.heard.Len() > 4+10 {
			t.Errorf("said %q", peer.heard.String())
		}
	})
}
