package fabric

import (
	"fmt"
	"net"
	"testing"

	"github.com/miekg/dns"
)

// ask sends one question over a real socket.
func ask(t *testing.T, network, server string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network}
	m, _, err := c.ExchangeContext(t.Context(), q, server)
	if err != nil {
		t.Fatalf("%s: %v", network, err)
	}
	return m
}

func question(name string, typ uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	return q
}

func TestNameserver(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.Internet = []InternetHost{{Name: "www.test"}} })
	w.change(func(s *State) {
		var many string
		for i := range 100 {
			if i > 0 {
				many += "|"
			}
			many += fmt.Sprintf("192.0.2.%d", i)
		}
		s.HostedZones["Z"] = hostedTestZone("Z", "acme.test.", true, w.customer.VPCID,
			"acme.test. SOA ns.acme.test. a.acme.test. 1 7200 900 1209600 60", "many.acme.test. A "+many)
	})
	server := w.f.DNSAddr(w.customer.VPCID)
	if server == "" || server != w.f.DNSAddr(w.customer.VPCID) {
		t.Fatalf("the VPC's DNS server is at %q", server)
	}
	if other := w.f.DNSAddr(w.vendor.VPCID); other == server {
		t.Errorf("two VPCs share %s", other)
	}
	if got := w.f.DNSAddr("vpc-unknown"); got != "" {
		t.Errorf("an unknown VPC has a DNS server at %s", got)
	}
	for _, network := range []string{"udp", "tcp"} {
		m := ask(t, network, server, question("www.test", dns.TypeA))
		if m.Rcode != 0 || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "203.0.113.1" || !m.RecursionAvailable {
			t.Errorf("%s: %v", network, m)
		}
		m = ask(t, network, server, question("nope.acme.test", dns.TypeA))
		if m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 60 {
			t.Errorf("%s: a name that is not there: %v", network, m)
		}
	}

	m := ask(t, "udp", server, question("many.acme.test", dns.TypeA))
	if !m.Truncated || len(m.Answer) >= 100 {
		t.Errorf("over UDP: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
	m = ask(t, "tcp", server, question("many.acme.test", dns.TypeA))
	if m.Truncated || len(m.Answer) != 100 || m.Answer[0].Header().Ttl != 300 {
		t.Errorf("over TCP: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
	big := question("many.acme.test", dns.TypeA)
	big.SetEdns0(4096, false)
	if m = ask(t, "udp", server, big); m.Truncated || len(m.Answer) != 100 || m.IsEdns0() == nil {
		t.Errorf("with EDNS: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
}

// What a resolver refuses, and how.
func TestReplyRefuses(t *testing.T) {
	never := func(string, uint16) answer { t.Error("resolved"); return answer{} }
	version := question("a.test", dns.TypeA)
	version.SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	chaos := question("version.bind", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	update := question("a.test", dns.TypeSOA)
	update.Opcode = dns.OpcodeUpdate
	two := question("a.test", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	for name, c := range map[string]struct {
		q    *dns.Msg
		want int
	}{
		"zone transfer": {question("a.test", dns.TypeAXFR), dns.RcodeRefused},
		"another class": {chaos, dns.RcodeRefused},
		"every type":    {question("a.test", dns.TypeANY), dns.RcodeNotImplemented},
		"an update":     {update, dns.RcodeNotImplemented},
		"two questions": {two, dns.RcodeFormatError},
		"no question":   {&dns.Msg{}, dns.RcodeFormatError},
		"a newer EDNS":  {version, dns.RcodeBadVers},
	} {
		if got := reply(c.q, never, true).Rcode; got != c.want {
			t.Errorf("%s: %s, want %s", name, dns.RcodeToString[got], dns.RcodeToString[c.want])
		}
	}
}

// Garbage gets an answer or silence, and the next question gets its answer.
func TestNameserverSurvivesGarbage(t *testing.T) {
	w := newWorld(t, func(cfg *Config) { cfg.Internet = []InternetHost{{Name: "www.test"}} })
	server := w.f.DNSAddr(Internet)
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, b := range [][]byte{{}, {0}, make([]byte, 12), make([]byte, 600), []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if m := ask(t, "udp", server, question("www.test", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
}

// Whatever is asked, the answer is one that can be sent.
func FuzzReply(f *testing.F) {
	for _, q := range []*dns.Msg{question("www.test", dns.TypeA), question("*.test", dns.TypeANY), {}} {
		if b, err := q.Pack(); err == nil {
			f.Add(b)
		}
	}
	h, err := newHosts([]InternetHost{{Name: "*.test"}})
	if err != nil {
		f.Fatal(err)
	}
	s := &State{}
	s.makeTables()
	s.HostedZones["Z"] = hostedTestZone("Z", "acme.test.", false, "", "*.acme.test. CNAME a.b.acme.test.", "x.a.b.acme.test. A 192.0.2.1")
	v := newView(s, newPublicNames(s), Internet, h)
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil {
			return
		}
		m := reply(q, v.resolve, true)
		if m.Id != q.Id || !m.Response {
			t.Errorf("answer %v to %v", m, q)
		}
		if _, err := m.Pack(); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	})
}
