package fabric

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// What names mean inside the customer's VPC, inside the vendor's, and outside.
func TestView(t *testing.T) {
	w := newWorld(t, func(cfg *Config) {
		cfg.Internet = []InternetHost{{Name: "*.vendor.test"}, {Name: "public.acme.test"}}
	}).build()
	regional := w.name()
	origin := regional[strings.Index(regional, ".")+1:]
	w.change(func(s *State) {
		s.HostedZones["ZPRIV"] = hostedTestZone("ZPRIV", "pe.vendor.test.", true, w.customer.VPCID,
			"pe.vendor.test. SOA ns.vendor.test. a.vendor.test. 1 7200 900 1209600 60",
			"pe.vendor.test. A ALIAS "+regional+".",
			"*.pe.vendor.test. CNAME "+regional+".",
			"hidden.inner.pe.vendor.test. A 10.0.0.1")
		s.HostedZones["ZPUB"] = hostedTestZone("ZPUB", "acme.test.", false, "",
			"acme.test. SOA ns.acme.test. a.acme.test. 1 7200 900 1209600 60",
			"www.acme.test. A 192.0.2.7",
			`_x.acme.test. TXT "vpce:one" "two"`,
			"db.acme.test. AAAA 2001:db8::1",
			"lb.acme.test. A ALIAS "+s.LoadBalancers[w.lb].DNSName+".")
	})
	s := w.f.snapshot()
	nics := s.NetworkInterfaces
	a, b := nics["eni-ep0"].Address.String(), nics["eni-ep1"].Address.String()
	both := func(name string) string {
		list := []string{name + " A " + a, name + " A " + b}
		if list[0] > list[1] {
			list[0], list[1] = list[1], list[0]
		}
		return strings.Join(list, "; ")
	}
	nodes := []string{"lb.acme.test. A " + nics["eni-lb0"].Address.String(), "lb.acme.test. A " + nics["eni-lb1"].Address.String()}
	zonal := s.Endpoints[w.endpoint].dnsEntries(s)[1]

	inside, vendor, outside := w.customer.VPCID, w.vendor.VPCID, Internet
	for _, c := range []struct {
		at, name string
		typ      uint16
		want     string
	}{
		// The private zone answers alone in its VPC.
		{inside, "pe.vendor.test", dns.TypeA, "NOERROR; " + both("pe.vendor.test.")},
		{inside, "pe.vendor.test", dns.TypeAAAA, "NODATA (pe.vendor.test.)"},
		{inside, "pe.vendor.test", dns.TypeTXT, "NODATA (pe.vendor.test.)"},
		{inside, "x.inner.pe.vendor.test", dns.TypeA, "NXDOMAIN (pe.vendor.test.)"},
		{inside, "inner.pe.vendor.test", dns.TypeA, "NODATA (pe.vendor.test.)"},
		{outside, "x.inner.pe.vendor.test", dns.TypeA, "NOERROR; x.inner.pe.vendor.test. A 203.0.113.1"},
		{vendor, "pe.vendor.test", dns.TypeA, "NOERROR; pe.vendor.test. A 203.0.113.1"},
		{inside, "other.vendor.test", dns.TypeA, "NOERROR; other.vendor.test. A 203.0.113.1"},
		// Endpoint names are public, whatever their addresses.
		{inside, regional, dns.TypeA, "NOERROR; " + both(regional+".")},
		{outside, regional, dns.TypeA, "NOERROR; " + both(regional+".")},
		{vendor, zonal.Name, dns.TypeA, "NOERROR; " + zonal.Name + ". A " + zonal.Addresses[0].String()},
		{outside, "vpce-0nope." + origin, dns.TypeA, "NXDOMAIN (" + origin + ".)"},
		{outside, "vpce-1.vpce-svc-1.us-east-1.vpce.amazonaws.com", dns.TypeA, "NXDOMAIN (.)"},
		// Public zones are public, and do not hide what is outside them.
		{inside, "www.acme.test", dns.TypeA, "NOERROR; www.acme.test. A 192.0.2.7"},
		{outside, "_x.acme.test", dns.TypeTXT, `NOERROR; _x.acme.test. TXT "vpce:one" "two"`},
		{outside, "db.acme.test", dns.TypeA, "NODATA (acme.test.)"},
		{outside, "db.acme.test", dns.TypeAAAA, "NOERROR; db.acme.test. AAAA 2001:db8::1"},
		{outside, "nope.acme.test", dns.TypeA, "NXDOMAIN (acme.test.)"},
		{outside, "public.acme.test", dns.TypeA, "NOERROR; public.acme.test. A 203.0.113.2"},
		{outside, "public.acme.test", dns.TypeAAAA, "NODATA (public.acme.test.)"},
		{vendor, "lb.acme.test", dns.TypeA, "NOERROR; " + nodes[0] + "; " + nodes[1]},
		{outside, "nowhere.test", dns.TypeA, "NXDOMAIN (.)"},
	} {
		if got := answerText(w.f.network.view(c.at).resolve(c.name, c.typ)); got != c.want {
			t.Errorf("in %s, %s %s\n got %s\nwant %s", c.at, c.name, dns.TypeToString[c.typ], got, c.want)
		}
	}
}

// The name of the service leads to the endpoint in its VPC alone, and only while it is enabled on an available endpoint.
func TestViewPrivateName(t *testing.T) {
	for _, name := range []string{"api.vendor.test", "*.vendor.test"} {
		w := newWorld(t, nil).build()
		ask := func(vpcID string) string {
			addrs, err := w.f.LookupHost(t.Context(), vpcID, "api.vendor.test")
			if err != nil {
				return "nothing"
			}
			return addrs[0].String()
		}
		enable := func(state EndpointState, on bool) {
			w.change(func(s *State) {
				s.Services[w.service].PrivateDNS = &PrivateDNS{Name: name, State: "verified"}
				s.Endpoints[w.endpoint].State, s.Endpoints[w.endpoint].PrivateDNSEnabled = state, on
			})
		}
		enable(EndpointAvailable, true)
		if got := ask(w.customer.VPCID); got != w.interfaceAddr(0).String() {
			t.Errorf("%s inside: %s", name, got)
		}
		if got := ask(w.vendor.VPCID); got != "nothing" {
			t.Errorf("%s in another VPC: %s", name, got)
		}
		if got := ask(Internet); got != "nothing" {
			t.Errorf("%s outside: %s", name, got)
		}
		enable(EndpointAvailable, false)
		if got := ask(w.customer.VPCID); got != "nothing" {
			t.Errorf("%s disabled: %s", name, got)
		}
		enable(EndpointRejected, true)
		if got := ask(w.customer.VPCID); got != "nothing" {
			t.Errorf("%s rejected: %s", name, got)
		}
	}
}

func TestVPCWithoutDNS(t *testing.T) {
	w := newWorld(t, nil).build()
	w.change(func(s *State) { s.VPCs[w.customer.VPCID].DNSSupport = false })
	if a := w.f.network.view(w.customer.VPCID).resolve("a.test", dns.TypeA); a.rcode != dns.RcodeRefused {
		t.Errorf("rcode %s", dns.RcodeToString[a.rcode])
	}
	_, err := w.f.LookupHost(t.Context(), w.customer.VPCID, w.name())
	var dnsErr *net.DNSError
	if !errors.As(err, &dnsErr) || dnsErr.IsNotFound {
		t.Errorf("err %v, want a resolver that does not answer, not a missing name", err)
	}
}

func TestLookupHostOfNonsense(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"", ".", "a..b", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 200)} {
		var dnsErr *net.DNSError
		if _, err := w.f.LookupHost(t.Context(), Internet, name); !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}
