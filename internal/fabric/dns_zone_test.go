package fabric

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// hostedTestZone is a zone of Route 53 record sets, one "name type value" a line; "ALIAS name" as value is an alias.
func hostedTestZone(id, name string, private bool, vpcID string, lines ...string) *HostedZone {
	hz := &HostedZone{ID: id, Name: name, Private: private}
	if private {
		hz.VPCs = []ZoneVPC{{ID: vpcID, Region: "us-east-1"}}
	}
	for _, line := range lines {
		f := strings.SplitN(line, " ", 3)
		r := RecordSet{Name: f[0], Type: f[1]}
		if target, ok := strings.CutPrefix(f[2], "ALIAS "); ok {
			r.Alias = &Alias{HostedZoneID: id, DNSName: target}
		} else {
			r.TTL, r.Values = 300, strings.Split(f[2], "|")
		}
		hz.Records = append(hz.Records, r)
	}
	return hz
}

// answerText is an answer on one line: the code, then the records without TTL and class, sorted.
func answerText(a answer) string {
	var parts []string
	for _, rr := range a.records {
		v := strings.TrimPrefix(rr.String(), rr.Header().String())
		parts = append(parts, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype]+" "+v)
	}
	slices.Sort(parts)
	out := dns.RcodeToString[a.rcode]
	if len(parts) == 0 && a.rcode == dns.RcodeSuccess {
		out = "NODATA"
	}
	if a.soa != nil {
		out += " (" + a.soa.Hdr.Name + ")"
	}
	return strings.Join(append([]string{out}, parts...), "; ")
}

// The zone of RFC 4592, section 2.2.1, and the answers that the section gives for it, with others of our own.
func TestWildcards(t *testing.T) {
	s := &State{}
	s.makeTables()
	s.HostedZones["Z1"] = hostedTestZone("Z1", "example.", false, "",
		"example. SOA ns.example.com. admin.example.com. 1 7200 900 1209600 600",
		"example. NS ns.example.com.",
		`*.example. TXT "this is a wildcard"`,
		"*.example. MX 10 host1.example.",
		`sub.*.example. TXT "this is not a wildcard"`,
		"host1.example. A 192.0.2.1",
		"_ssh._tcp.host1.example. SRV 0 0 22 host1.example.",
		"_ssh._tcp.host2.example. SRV 0 0 22 host2.example.",
		"*.w.example. CNAME host1.example.",
	)
	v := newView(s, newPublicNames(s), Internet, nil)
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"host3.example.", dns.TypeMX, "NOERROR; host3.example. MX 10 host1.example."},
		{"host3.example.", dns.TypeA, "NODATA (example.)"},
		{"foo.bar.example.", dns.TypeTXT, `NOERROR; foo.bar.example. TXT "this is a wildcard"`},
		{"host1.example.", dns.TypeMX, "NODATA (example.)"},
		{"sub.*.example.", dns.TypeMX, "NODATA (example.)"},
		{"_telnet._tcp.host1.example.", dns.TypeSRV, "NXDOMAIN (example.)"},
		{"*.example.", dns.TypeMX, "NOERROR; *.example. MX 10 host1.example."},
		{"host2.example.", dns.TypeTXT, "NODATA (example.)"},      // an empty non-terminal: no wildcard covers it
		{"_tcp.host2.example.", dns.TypeTXT, "NODATA (example.)"}, // nor this
		{"x.host2.example.", dns.TypeTXT, "NXDOMAIN (example.)"},  // nor what is below it
		{"HOST1.Example", dns.TypeA, "NOERROR; host1.example. A 192.0.2.1"},
		{"a.b.w.example.", dns.TypeA, "NOERROR; a.b.w.example. CNAME host1.example.; host1.example. A 192.0.2.1"},
		{"a.w.example.", dns.TypeCNAME, "NOERROR; a.w.example. CNAME host1.example."},
		{"w.example.", dns.TypeA, "NODATA (example.)"},
		{"example.", dns.TypeSOA, "NOERROR; example. SOA ns.example.com. admin.example.com. 1 7200 900 1209600 600"},
		{"elsewhere.", dns.TypeA, "NXDOMAIN (.)"},
	} {
		if got := answerText(v.resolve(c.name, c.typ)); got != c.want {
			t.Errorf("%s %s\n got %s\nwant %s", c.name, dns.TypeToString[c.typ], got, c.want)
		}
	}
}

func TestCNAMEsInACircle(t *testing.T) {
	s := &State{}
	s.makeTables()
	s.HostedZones["Z1"] = hostedTestZone("Z1", "example.", false, "",
		"a.example. CNAME b.example.", "b.example. CNAME a.example.",
		"c.example. A ALIAS d.example.", "d.example. A ALIAS c.example.",
		"away.example. CNAME nowhere.test.", "empty.example. A ALIAS nowhere.test.")
	v := newView(s, newPublicNames(s), Internet, nil)
	for name, want := range map[string]string{
		"a.example.":     "SERVFAIL",
		"c.example.":     "SERVFAIL",
		"away.example.":  "NXDOMAIN (.); away.example. CNAME nowhere.test.",
		"empty.example.": "NODATA (example.)",
	} {
		if got := answerText(v.resolve(name, dns.TypeA)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	h, err := newHosts([]InternetHost{{Name: "*.vendor.test"}, {Name: "api.vendor.test"}, {Name: "*.eu.vendor.test"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a.vendor.test.":    "203.0.113.1",
		"a.b.vendor.test.":  "203.0.113.1",
		"api.vendor.test.":  "203.0.113.2",
		"x.eu.vendor.test.": "203.0.113.3",
		"eu.vendor.test.":   "203.0.113.1",
		"vendor.test.":      "",
		"avendor.test.":     "",
	} {
		addr, ok := h.address(name)
		if got := addr.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, want %q", name, got, want)
		}
	}
	for _, bad := range [][]InternetHost{
		{{Name: ""}},
		{{Name: "a.test"}, {Name: "A.test."}},
		{{Name: "a.test", Ports: map[uint16]string{443: "192.0.2.1:443"}}},
		{{Name: "a.test", Ports: map[uint16]string{443: "localhost"}}},
		make([]InternetHost, 255),
	} {
		if _, err := newHosts(bad); err == nil {
			t.Errorf("accepted %.3v", bad)
		}
	}
}
