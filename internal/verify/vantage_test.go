package verify

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestSOCKS5Replies shows that a proxy's reply codes become what a connect of our own would have said.
func TestSOCKS5Replies(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		name  string
		code  byte
		want  Failure
		proxy bool // it is the vantage point that failed
	}{
		{"general failure", 1, Other, false},
		{"not allowed by the proxy's rules", 2, Other, true},
		{"network unreachable", 3, Unreachable, false},
		{"host unreachable", 4, Unreachable, false},
		{"refused", 5, Refused, false},
		{"time to live expired", 6, TimedOut, false},
		{"a code of the future", 77, Other, true},
		{"silence", 0xff, TimedOut, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := SOCKS5("socks5://vpc-1:x@"+w.socks(func(string) byte { return tc.code }), "")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), silence)
			defer cancel()
			conn, err := v.Dial(ctx, "tcp", "10.0.0.1:443")
			if err == nil {
				_ = conn.Close()
				t.Fatal("connected")
			}
			_, own := errors.AsType[*VantageError](err)
			if got := classify(err); got != tc.want || own != tc.proxy {
				t.Errorf("%v: %s, own failure %t; want %s, %t", err, got, own, tc.want, tc.proxy)
			}
		})
	}
}

func TestSOCKS5URL(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"socks5h://vpc-0a1b:x@127.0.0.1:1080", "vpc-0a1b (through 127.0.0.1:1080)"},
		{"socks5://127.0.0.1", "behind 127.0.0.1:1080"},
		{"http://127.0.0.1:1080", "error"},
		{"socks5://", "error"},
		{"socks5://" + strings.Repeat("u", 256) + "@h:1", "error"},
		{"socks5://user:pa ss\x7f@h:1", "error"},
	} {
		v, err := SOCKS5(tc.in, "")
		got := v.Name
		if err != nil {
			got = "error"
			if strings.Contains(err.Error(), "pa ss") {
				t.Errorf("the password stands in the error: %v", err)
			}
		}
		if got != tc.want {
			t.Errorf("SOCKS5(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
	if _, err := SOCKS5("socks5://h:1", "no-port"); err == nil {
		t.Error("a DNS server without a port was taken")
	}
}

func TestConnectRequest(t *testing.T) {
	for _, tc := range []struct {
		addr string
		want []byte // nil: an error
	}{
		{"10.0.0.1:443", []byte{5, 1, 0, 1, 10, 0, 0, 1, 1, 187}},
		{"[::ffff:10.0.0.1]:80", []byte{5, 1, 0, 1, 10, 0, 0, 1, 0, 80}},
		{"[::1]:80", append(append([]byte{5, 1, 0, 4}, net.IPv6loopback...), 0, 80)},
		{"ab.c:65535", []byte{5, 1, 0, 3, 4, 'a', 'b', '.', 'c', 255, 255}},
		{strings.Repeat("a", 256) + ":1", nil},
		{":1", nil},
		{"a:65536", nil},
		{"a", nil},
	} {
		got, err := connectRequest(tc.addr)
		if !bytes.Equal(got, tc.want) || (err == nil) != (tc.want != nil) {
			t.Errorf("connectRequest(%q) = %v, %v; want %v", tc.addr, got, err, tc.want)
		}
	}
}

// FuzzReadReply reads a proxy's bytes: it must never read beyond the reply, for what follows is the path's.
func FuzzReadReply(f *testing.F) {
	f.Add([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80, 'x'})
	f.Add([]byte{5, 5, 0, 3, 2, 'a', 'b', 0, 80})
	f.Add(append([]byte{5, 0, 0, 4}, make([]byte, 18)...))
	f.Add([]byte{4, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		code, err := readReply(r)
		if err != nil {
			return
		}
		length := map[byte]int{1: 10, 4: 22}[in[3]]
		if in[3] == 3 {
			length = 7 + int(in[4])
		}
		if in[0] != 5 || code != in[1] || len(in)-r.Len() != length {
			t.Errorf("read %d of %d bytes as code %d", len(in)-r.Len(), len(in), code)
		}
	})
}

// FuzzParseProof reads what claims to be a gateway's answer.
func FuzzParseProof(f *testing.F) {
	f.Add([]byte(`{"nonce":"AAAA","cluster_id":"c","name":"n","listener":"private","endpoint_id":"vpce-1","issued_at":"2026-01-02T03:04:05Z","signature":"AAAA"}`))
	f.Add([]byte(`{"nonce":"AAAA","signature":"not base64"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if p := parseProof(in); p != nil && p.Check(p.Nonce, nil) == nil {
			t.Error("a proof held without any key")
		}
	})
}

func TestResolver(t *testing.T) {
	w := newWorld(t)
	const target = "vpce-0a1b2c3d4e5f60718-abcdefgh.vpce-svc-01234567890abcdef.us-east-1.vpce.amazonaws.com"
	w.zone["chain.test A"] = []string{"chain.test. 300 IN CNAME " + target + ".", target + ". 60 IN A 10.0.1.5"}
	w.zone["six.test AAAA"] = []string{"six.test. 30 IN AAAA fd00::5"}
	for i := range 60 {
		w.zone["many.test A"] = append(w.zone["many.test A"], "many.test. 60 IN A 10.0.0."+string(rune('1'+i%9)))
	}
	resolve := Resolver(w.dns(w.zone))
	ask := func(name string, typ RecordType) Answer {
		t.Helper()
		a, err := resolve(t.Context(), name, typ)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}

	chain := ask("chain.test", TypeA)
	if diff := cmp.Diff([]string{target}, chain.Chain()); diff != "" || joinAddrs(chain.Addrs()) != "10.0.1.5" || chain.TTL() != time.Minute {
		t.Errorf("chain %v, addresses %v, TTL %s", chain.Chain(), chain.Addrs(), chain.TTL())
	}
	if a := ask("six.test", TypeAAAA); joinAddrs(a.Addrs()) != "fd00::5" {
		t.Errorf("AAAA: %v", a.Addrs())
	}
	if a := ask("six.test", TypeA); a.RCode != "NOERROR" || len(a.Records) != 0 {
		t.Errorf("a name without an address of this kind: %+v", a)
	}
	if a := ask("absent.test", TypeA); a.RCode != "NXDOMAIN" {
		t.Errorf("a name that does not exist: %+v", a)
	}
	if a := ask("many.test", TypeA); len(a.Records) != 60 {
		t.Errorf("%d records: the cut UDP answer was not asked again over TCP", len(a.Records))
	}
}

// TestResolverIgnoresForgeries sends two answers that do not belong to the question before the one that does.
func TestResolverIgnoresForgeries(t *testing.T) {
	w := newWorld(t)
	server := w.dns(dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		forged := new(dns.Msg).SetReply(q)
		forged.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IP{6, 6, 6, 6}}}
		forged.Id++
		_ = rw.WriteMsg(forged)
		forged.Id--
		forged.Question = []dns.Question{{Name: "other.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
		_ = rw.WriteMsg(forged)
		zone{"name.test A": {"name.test. 60 IN A 10.0.0.1"}}.ServeDNS(rw, q)
	}))
	a, err := Resolver(server)(t.Context(), "name.test", TypeA)
	if err != nil || joinAddrs(a.Addrs()) != "10.0.0.1" {
		t.Errorf("%v, %v", a.Addrs(), err)
	}
}

// TestResolverFallsBack asks a server that never answers, then one that does; and none at all.
func TestResolverFallsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.zone["name.test A"] = []string{"name.test. 60 IN A 10.0.0.1"}
	silent := w.dns(dns.HandlerFunc(func(dns.ResponseWriter, *dns.Msg) {}))
	ctx, cancel := context.WithTimeout(t.Context(), 2*silence)
	defer cancel()
	if a, err := Resolver(silent, w.dns(w.zone))(ctx, "name.test", TypeA); err != nil || len(a.Addrs()) != 1 {
		t.Errorf("%v, %v", a.Addrs(), err)
	}
	if _, err := Resolver(silent)(ctx, "name.test", TypeA); classify(err) != TimedOut {
		t.Errorf("a silent resolver gave %v", err)
	}
	if _, err := Resolver()(ctx, "name.test", TypeA); err == nil {
		t.Error("no resolver at all gave an answer")
	}
}

func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 10.0.0.2\nnameserver fd00::2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.2:53", "[fd00::2]:53"}, systemServers(file)); diff != "" {
		t.Error(diff)
	}
	if got := systemServers(file + ".absent"); got != nil {
		t.Errorf("an absent file names %v", got)
	}
}

func TestLocal(t *testing.T) {
	v := Local()
	if v.Name == "" || v.Dial == nil || v.Resolve == nil || v.System == nil || v.Proxy == nil {
		t.Errorf("incomplete: %+v", v)
	}
	addrs, err := v.System(t.Context(), "127.0.0.1")
	if err != nil || joinAddrs(addrs) != "127.0.0.1" {
		t.Errorf("%v, %v", addrs, err)
	}
}
