package verify

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/internal/link"
)

// names judges what the resolver said about the private name.
func (j *judge) names() {
	const id = "DNS_PRIVATE"
	d := j.o.DNS
	if !d.Asked {
		j.skip(id, GroupDNS, "names are resolved at the far end of the vantage point, out of sight")
		j.httpProxy()
		return
	}
	c := Check{ID: id, Group: GroupDNS, Subject: j.t.PrivateName, Took: d.Took, Detail: map[string]string{}}
	if d.V4.Server != "" {
		c.Detail["resolver"] = d.V4.Server
	}
	addrs := slices.Concat(d.V4.Addrs(), d.V6.Addrs())
	chain := d.V4.Chain()
	if len(chain) == 0 {
		chain = d.V6.Chain()
	}
	if len(chain) > 0 {
		c.Detail["cname"] = strings.Join(chain, " → ")
	}
	makeRecords := "associate the private zone that holds the name with this network, or enable private DNS on the endpoint; " +
		"postern connect does either"
	fail := func(code, summary string, b blame) {
		c.Status, c.Code, c.Summary = Fail, code, summary
		j.add(c, b)
	}
	switch {
	case len(addrs) > 0:
		j.resolved(c, addrs, chain)
	case d.V4Err != "" && d.V6Err != "":
		c.Detail["error"] = d.V4Err
		fail("DNS_NO_ANSWER", "the resolver does not answer", blame{
			"it is down, not reachable from here, or the wrong one", SideCustomer,
			"check which resolver this place uses and that port 53 reaches it over UDP and TCP",
		})
	case d.V4Err != "":
		c.Detail["error"] = d.V4Err
		fail("DNS_NO_ANSWER", "the resolver does not answer the question for an IPv4 address", blame{
			"it answers the one for IPv6 with nothing", SideCustomer, "ask the resolver's operator",
		})
	case d.V4.RCode == "NXDOMAIN":
		fail("DNS_NXDOMAIN", "the name does not exist", blame{
			"no zone that this network sees holds it; a private zone that is a parent of the name hides the public records beneath it",
			SideCustomer, makeRecords,
		})
	case d.V4.RCode != "NOERROR":
		fail("DNS_SERVER_ERROR", "the resolver answers "+d.V4.RCode, blame{
			"it could not or would not resolve the name", SideCustomer,
			"look at the resolver: its forwarder for the zone may be unreachable, or it may not serve this network",
		})
	case len(chain) > 0:
		fail("DNS_CNAME_WITHOUT_ADDRESS", "the name leads to "+chain[len(chain)-1]+", which has no address here", blame{
			"a rebind filter removed the private address, or the resolver does not follow names into other zones", SideCustomer,
			"exempt the endpoint's own domain from the filter (unbound: private-domain; dnsmasq: rebind-domain-ok), or forward it to the network's resolver",
		})
	default:
		fail("DNS_NO_ADDRESS", "the name exists and has no address", blame{
			"the zone holds other records at or beneath the name; a wildcard does not cover a name that exists", SideCustomer,
			"add the address record or alias at the name itself",
		})
	}
	j.systemView(addrs)
	j.httpProxy()
}

func (j *judge) resolved(c Check, addrs []netip.Addr, chain []string) {
	c.Status, c.Code, c.Summary = OK, "DNS_RESOLVES", "resolves to "+joinAddrs(addrs)
	if ttl := j.o.DNS.V4.TTL(); ttl > 0 {
		c.Detail["ttl"] = ttl.String()
	}
	for _, name := range chain {
		m := endpointName.FindStringSubmatch(strings.ToLower(name))
		if m == nil {
			continue
		}
		if other := link.EndpointID(m[1]); j.t.EndpointID != "" && other != j.t.EndpointID {
			c.Status, c.Code, c.Summary = Fail, "DNS_OTHER_ENDPOINT", "leads to endpoint "+m[1]
			j.add(c, blame{
				"the record names another endpoint than " + string(j.t.EndpointID), SideCustomer,
				fmt.Sprintf("point the record at %s; resolvers remember the old one for up to %s", j.t.EndpointID, j.o.DNS.V4.TTL()),
			})
			return
		}
		if m[2] != "" {
			c.Status, c.Code = Warn, "DNS_ZONAL_NAME"
			c.Summary += ", through the name of zone " + m[2]
			j.add(c, blame{
				"a zonal name has one address: when the zone fails, nothing takes over", SideCustomer,
				"point the record at the endpoint's regional name, the first of its DNS entries",
			})
			return
		}
	}
	j.add(c, blame{})
}

// endpointName matches an endpoint's regional name (no second group) or zonal name, as AWS makes them.
var endpointName = regexp.MustCompile(`^(vpce-[0-9a-f]{8,17})-[0-9a-z]{8}(?:-([a-z0-9-]+))?\.vpce-svc-[0-9a-f]+\.`)

// systemView compares what applications get with what DNS says.
func (j *judge) systemView(addrs []netip.Addr) {
	system := j.o.DNS.System
	if system == nil {
		return
	}
	strange := slices.DeleteFunc(slices.Clone(system), func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	if len(strange) == 0 {
		return
	}
	j.add(Check{
		ID: "DNS_SYSTEM", Group: GroupDNS, Status: Warn, Code: "DNS_SYSTEM_DIFFERS", Subject: j.t.PrivateName,
		Summary: "applications here get " + joinAddrs(strange) + " instead",
	}, blame{
		"the hosts file or another name service of this machine stands before DNS", SideCustomer,
		"remove the name from /etc/hosts",
	})
}

func (j *judge) httpProxy() {
	if j.o.Proxy == "" {
		return
	}
	j.add(Check{
		ID: "PROXY_ENVIRONMENT", Group: GroupDNS, Status: Warn, Code: "HTTP_PROXY_SET",
		Summary: "applications here would go through the proxy " + j.o.Proxy,
	}, blame{
		"HTTPS_PROXY applies to the private name: such traffic leaves by the proxy's path, not by the endpoint", SideCustomer,
		"add the private name to NO_PROXY",
	})
}

// addresses judges each address by itself: is it the endpoint's, or at least one of its network.
func (j *judge) addresses() {
	const id = "ADDRESS_PRIVATE"
	judged := false
	for _, p := range j.o.Paths {
		if !p.FromDNS || !p.Addr.IsValid() {
			continue
		}
		judged = true
		j.address(Check{ID: id, Group: GroupAddress, Subject: p.Host}, p.Addr)
	}
	if !judged {
		j.skip(id, GroupAddress, "DNS gave no address")
	}
}

func (j *judge) address(c Check, a netip.Addr) {
	inVPC := slices.ContainsFunc(j.t.VPCCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
	private := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || carrierGrade.Contains(a)
	family := "an IPv4"
	if a.Is6() {
		family = "an IPv6"
	}
	fail := func(code, summary string, b blame) {
		c.Status, c.Code, c.Summary = Fail, code, summary
		j.add(c, b)
	}
	switch {
	case slices.Contains(j.t.InterfaceAddrs, a):
		c.Status, c.Code, c.Summary = OK, "ADDRESS_OF_ENDPOINT", "is an interface of the endpoint"
		j.add(c, blame{})
	case !private && !inVPC:
		cause := "this network does not use the private zone: it is not associated, private DNS is off, or another resolver is in use"
		if a.Is6() {
			cause = "the name has a public IPv6 address beside the private ones: clients that prefer IPv6 leave the private path"
		}
		fail("ADDRESS_PUBLIC", "is "+family+" address of the public internet", blame{
			cause, SideCustomer, "associate the private zone with this network, and ask the network's own resolver",
		})
	case len(j.t.InterfaceAddrs) > 0:
		b := blame{
			"the record is of another endpoint, or of this one before it was replaced", SideCustomer,
			"point the record at the endpoint",
		}
		if ttl := j.o.DNS.V4.TTL(); ttl > 0 {
			b.next += fmt.Sprintf("; resolvers remember the old answer for another %s", ttl.Round(time.Second))
		}
		fail("ADDRESS_NOT_THE_ENDPOINT", "is private and no interface of the endpoint ("+joinAddrs(j.t.InterfaceAddrs)+")", b)
	case inVPC:
		c.Status, c.Code, c.Summary = OK, "ADDRESS_IN_VPC", "is inside the VPC's range"
		j.add(c, blame{})
	case len(j.t.VPCCIDRs) > 0:
		fail("ADDRESS_OUTSIDE_VPC", "is private and outside the VPC's ranges", blame{
			"the record is of an endpoint in another VPC", SideCustomer,
			"point the record at the endpoint of this VPC, or route to the other one",
		})
	default:
		c.Status, c.Code, c.Summary = OK, "ADDRESS_IS_PRIVATE", "is private"
		j.add(c, blame{})
	}
}

// carrierGrade is the shared address space of RFC 6598, which clouds let networks use as private.
var carrierGrade = netip.MustParsePrefix("100.64.0.0/10")

func joinAddrs(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
