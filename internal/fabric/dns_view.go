package fabric

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// view is what names mean at one place: in a VPC, or on the internet. It belongs to one State and is only read.
//
// A name is looked for, in this order: in the private hosted zones associated with the VPC and the private names of its
// endpoints (the longest zone that matches answers alone: what it lacks does not exist), among the cloud's own names of
// endpoints and load balancers (which are public, though their addresses are not), in public hosted zones, and among
// the configured internet hosts.
type view struct {
	*publicNames
	disabled bool             // the VPC has no resolver: enableDnsSupport is off
	private  map[string]*zone // by origin
	hosts    *hosts
}

// publicNames are the names that a State has everywhere, by origin. They are the larger part of every view, so the views
// of one State share them.
type publicNames struct {
	cloud  map[string]*zone // of endpoints and load balancers
	public map[string]*zone // of public hosted zones
}

func newPublicNames(s *State) *publicNames {
	names := &publicNames{cloud: cloudZones(s), public: map[string]*zone{}}
	for hz := range inOrder(s.HostedZones) {
		if hz.Private {
			continue
		}
		if z := hostedZone(hz); names.public[z.origin] == nil {
			names.public[z.origin] = z
		}
	}
	return names
}

// answer is what a resolver says to one question.
type answer struct {
	rcode   int
	records []dns.RR
	soa     *dns.SOA // with an answer that denies something
}

// maxChase bounds how many names one question may be led through.
const maxChase = 16

// newView builds the view of a VPC, or of the outside when vpcID is Internet. An unknown VPC has no resolver. names are
// those of s.
func newView(s *State, names *publicNames, vpcID string, h *hosts) *view {
	v := &view{publicNames: names, private: map[string]*zone{}, hosts: h}
	if vpcID == Internet {
		return v
	}
	for _, hz := range s.privateZonesOf(vpcID) {
		z := hostedZone(hz)
		v.private[z.origin] = z
	}
	vpc := s.VPCs[vpcID]
	v.disabled = vpc == nil || !vpc.DNSSupport
	for _, e := range s.endpointsIn(vpcID) {
		if name := e.privateName(s); name != "" {
			z := privateNameZone(name, e.dnsEntries(s)[0].Name)
			v.private[z.origin] = z
		}
	}
	return v
}

// hostedZone turns a Route 53 zone into one that can be asked. A value that does not parse is left out; the API refuses
// those before they get here.
func hostedZone(hz *HostedZone) *zone {
	z := newZone(hz.Name)
	for _, r := range hz.Records {
		typ, ok := dns.StringToType[r.Type]
		if !ok {
			continue
		}
		if r.Alias != nil {
			z.add(r.Name, typ, rrset{alias: canonicalName(r.Alias.DNSName)})
			continue
		}
		if set, err := records(r.Name, r.Type, r.TTL, r.Values); err == nil {
			z.add(r.Name, typ, set)
		}
	}
	return z
}

// cloudZones returns the names that the cloud itself gives to endpoints and load balancers. They are answered
// everywhere, and also before an endpoint is accepted.
func cloudZones(s *State) map[string]*zone {
	zones := map[string]*zone{}
	put := func(origin, owner string, addrs ...netip.Addr) {
		origin, owner = canonicalName(origin), canonicalName(owner)
		if zones[origin] == nil {
			zones[origin] = newZone(origin)
		}
		zones[origin].add(owner, dns.TypeA, addresses(owner, aliasTTL, addrs))
	}
	for e := range inOrder(s.Endpoints) {
		if e.State == EndpointDeleting || e.State == EndpointDeleted {
			continue
		}
		for _, entry := range e.dnsEntries(s) {
			_, origin, _ := strings.Cut(entry.Name, ".")
			put(origin, entry.Name, entry.Addresses...)
		}
	}
	for lb := range inOrder(s.LoadBalancers) {
		account := s.Accounts[lb.AccountID]
		var all []netip.Addr
		for _, node := range lb.Nodes {
			nic := s.NetworkInterfaces[node.InterfaceID]
			if nic == nil {
				continue
			}
			all = append(all, nic.Address)
			if name := account.zoneName(lb.Region, node.ZoneID); name != "" {
				put(lb.DNSName, name+"."+lb.DNSName, nic.Address)
			}
		}
		put(lb.DNSName, lb.DNSName, all...)
	}
	return zones
}

// privateNameZone gives an endpoint's VPC the private name of the service. At AWS it is a hidden private zone of that
// very name, so it hides whatever else the name has.
func privateNameZone(name, target string) *zone {
	owner := canonicalName(name)
	z := newZone(strings.TrimPrefix(owner, "*."))
	z.add(owner, dns.TypeA, rrset{alias: canonicalName(target)})
	return z
}

// resolve answers a question, following CNAMEs and aliases wherever this view leads them. name is in any case, with or
// without its final dot.
func (v *view) resolve(name string, typ uint16) answer {
	if v.disabled {
		return answer{rcode: dns.RcodeRefused}
	}
	var a answer
	name = canonicalName(name)
	for range maxChase {
		part := v.lookup(name, typ, maxChase)
		a.records = append(a.records, part.records...)
		a.rcode, a.soa = part.rcode, part.soa
		n := len(part.records)
		if n == 0 || typ == dns.TypeCNAME {
			return a
		}
		cname, ok := part.records[n-1].(*dns.CNAME)
		if !ok {
			return a
		}
		name = canonicalName(cname.Target)
	}
	return answer{rcode: dns.RcodeServerFailure} // led in a circle
}

// lookup answers for one name without following a CNAME. depth bounds the aliases.
func (v *view) lookup(name string, typ uint16, depth int) answer {
	if z := longestZone(v.private, name); z != nil {
		return v.ask(z, name, typ, depth)
	}
	if z := longestZone(v.cloud, name); z != nil {
		return v.ask(z, name, typ, depth)
	}
	z := longestZone(v.public, name)
	if z != nil {
		if a := v.ask(z, name, typ, depth); a.rcode != dns.RcodeNameError {
			return a
		}
	}
	if addr, ok := v.hosts.address(name); ok {
		if typ == dns.TypeA {
			return answer{records: addresses(name, aliasTTL, []netip.Addr{addr}).records}
		}
		return answer{soa: newZone(name).soa}
	}
	if z == nil {
		z = newZone(".")
	}
	return answer{rcode: dns.RcodeNameError, soa: z.soa}
}

// ask answers from one zone.
func (v *view) ask(z *zone, name string, typ uint16, depth int) answer {
	sets, exists := z.find(name)
	if !exists {
		return answer{rcode: dns.RcodeNameError, soa: z.soa}
	}
	set, ok := sets[typ]
	if !ok {
		set, ok = sets[dns.TypeCNAME]
	}
	switch {
	case !ok:
		return answer{soa: z.soa}
	case set.alias == "":
		return answer{records: renamed(name, set.records, false)}
	case depth == 0:
		return answer{rcode: dns.RcodeServerFailure}
	}
	// An alias is not seen: its target's records are given as the name's own. A target that is not there is NODATA.
	target := v.lookup(set.alias, typ, depth-1)
	if target.rcode == dns.RcodeServerFailure {
		return target
	}
	if len(target.records) == 0 {
		return answer{soa: z.soa}
	}
	return answer{records: renamed(name, target.records, true)}
}

// renamed returns copies of rrs that belong to name: of a wildcard, and of an alias' target, whose life is then an alias'.
func renamed(name string, rrs []dns.RR, alias bool) []dns.RR {
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		if alias {
			rr.Header().Ttl = aliasTTL
		}
		out[i] = rr
	}
	return out
}

// addresses returns the A set of owner, a canonical name.
func addresses(owner string, ttl uint32, addrs []netip.Addr) rrset {
	var set rrset
	for _, a := range addrs {
		set.records = append(set.records, &dns.A{
			Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl},
			A:   a.AsSlice(),
		})
	}
	return set
}
