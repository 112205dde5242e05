package fabric

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func connectHead(target, user string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nProxy-Authorization: Basic " +
		base64.StdEncoding.EncodeToString([]byte(user+":x")) + "\r\n\r\n"
}

func TestReadConnect(t *testing.T) {
	from := vantage{vpcID: "vpc-1"}
	for _, c := range []struct {
		name, in string
		want     passage
		status   int // of the refusal; 0 when it is taken
	}{
		{"a name", connectHead("db.acme.tst:443", "vpc-1"), passage{from: from, host: "db.acme.tst", port: 443}, 0},
		{"an address", connectHead("10.0.0.10:80", "vpc-1"), passage{from: from, host: "10.0.0.10", port: 80}, 0},
		{"an IPv6 address", connectHead("[2001:db8::1]:80", "vpc-1"), passage{from: from, host: "2001:db8::1", port: 80}, 0},
		{"a subnet", connectHead("a:1", "vpc-1/subnet-2"), passage{from: vantage{"vpc-1", "subnet-2"}, host: "a", port: 1}, 0},
		{"speaking first", connectHead("a:1", "vpc-1") + "\x16\x03\x01", passage{from: from, host: "a", port: 1, sent: []byte("\x16\x03\x01")}, 0},
		{"no credentials", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", passage{}, 407},
		{"unknown VPC", connectHead("a:1", "vpc-unknown"), passage{}, 407},
		{"credentials for somebody else", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nAuthorization: Basic dnBjLTE6eA==\r\n\r\n", passage{}, 407},
		{"a plain request", "GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic dnBjLTE6eA==\r\n\r\n", passage{}, 405},
		{"no port", connectHead("a", "vpc-1"), passage{}, 400},
		{"port 0", connectHead("a:0", "vpc-1"), passage{}, 400},
		{"port 65536", connectHead("a:65536", "vpc-1"), passage{}, 400},
		{"no host", connectHead(":443", "vpc-1"), passage{}, 400},
		{"not HTTP", "\x05\x01\x00\r\n\r\n", passage{}, 400},
		{"a head without end", "CONNECT a:1 HTTP/1.1\r\nX: " + strings.Repeat("x", connectMost), passage{}, 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := &script{Reader: strings.NewReader(c.in)}
			got, err := readConnect(peer, anyVPC)
			if got.from != c.want.from || got.host != c.want.host || got.port != c.want.port || !bytes.Equal(got.sent, c.want.sent) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if c.status == 0 {
				if err != nil || peer.heard.Len() != 0 {
					t.Errorf("err %v, the client heard %q", err, peer.heard.String())
				}
				return
			}
			if err == nil {
				t.Error("no error")
			}
			resp, err := http.ReadResponse(bufio.NewReader(&peer.heard), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != c.status || !resp.Close {
				t.Errorf("status %d, close %v; want %d and a close", resp.StatusCode, resp.Close, c.status)
			}
			if c.status == 407 && resp.Header.Get("Proxy-Authenticate") == "" {
				t.Error("407 without Proxy-Authenticate")
			}
		})
	}
}

func TestConnectStatus(t *testing.T) {
	for _, c := range dialErrors {
		if status, why := connectStatus(c.err); status != c.status || !strings.HasPrefix(why, c.why) {
			t.Errorf("%v: %d %s, want %d %s", c.err, status, why, c.status, c.why)
		}
	}
}

func TestConnectTurnsAwayBeforeAnyDial(t *testing.T) {
	_, err := readConnect(&script{Reader: strings.NewReader(connectHead("a:1", "vpc-unknown"))}, anyVPC)
	if !errors.Is(err, errConnectUser) {
		t.Errorf("err %v", err)
	}
}

func FuzzReadConnect(f *testing.F) {
	f.Add(connectHead("db.acme.tst:443", "vpc-1"))
	f.Add(connectHead("[2001:db8::1]:80", "internet") + "early")
	f.Add("GET http://a/ HTTP/1.1\r\n\r\n")
	f.Add("CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		peer := &script{Reader: strings.NewReader(in)}
		p, err := readConnect(peer, anyVPC)
		if err == nil && (p.host == "" || p.port == 0 || p.from == vantage{} || peer.heard.Len() != 0) {
			t.Errorf("accepted %+v, said %q", p, peer.heard.String())
		}
		if err != nil && strings.HasPrefix(peer.heard.String(), "HTTP/1.1 200") {
			t.Errorf("refused with %q", peer.heard.String())
		}
	})
}
