package fabric

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// zone is the names below one origin as they stand to be asked. It is built once and then only read. Names in it are
// lower case and absolute, with the final dot.
type zone struct {
	origin string
	soa    *dns.SOA
	sets   map[string]map[uint16]rrset // by owner and type
	nodes  map[string]bool             // owners and every name above one, up to the origin: what exists (RFC 4592, 2.2)
}

// rrset is what one owner has of one type: records, or the name whose records of that type it gives as its own.
type rrset struct {
	records []dns.RR
	alias   string // "" when records are its own
}

// negativeTTL is how long, in seconds, the lack of a name may be remembered. Route 53's own SOA says 900.
const negativeTTL = 900

// aliasTTL is the life in seconds of an answer through an alias; alias records have none of their own. 60 is what AWS
// answers for its load balancers and endpoints.
const aliasTTL = 60

// newZone returns an empty zone. Its apex exists.
func newZone(origin string) *zone {
	origin = canonicalName(origin)
	return &zone{
		origin: origin,
		soa: &dns.SOA{
			Hdr: dns.RR_Header{Name: origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negativeTTL},
			Ns:  "ns-0.awsdns-00.com.", Mbox: "awsdns-hostmaster.amazon.com.",
			Serial: 1, Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: 86400,
		},
		sets:  map[string]map[uint16]rrset{},
		nodes: map[string]bool{origin: true},
	}
}

// add puts a set at owner, a canonical name. What is neither the origin nor below it is left out.
func (z *zone) add(owner string, typ uint16, set rrset) {
	if owner != z.origin && !strings.HasSuffix(owner, "."+z.origin) {
		return
	}
	if z.sets[owner] == nil {
		z.sets[owner] = map[uint16]rrset{}
	}
	z.sets[owner][typ] = set
	for name := owner; name != z.origin && !z.nodes[name]; name = parentName(name) {
		z.nodes[name] = true
	}
	if owner == z.origin && typ == dns.TypeSOA && len(set.records) == 1 {
		z.soa = set.records[0].(*dns.SOA)
	}
}

// find returns the sets that answer for name: its own, those of the wildcard that covers it, or none. exists is false
// when the zone denies the name itself (NXDOMAIN); an existing name without a set of some type is NODATA. A wildcard
// covers a name only when nothing exists between the two: no empty non-terminal either (RFC 4592, section 3.3.1).
func (z *zone) find(name string) (sets map[uint16]rrset, exists bool) {
	if z.nodes[name] {
		return z.sets[name], true
	}
	encloser := parentName(name)
	for !z.nodes[encloser] {
		encloser = parentName(encloser)
	}
	wild, ok := z.sets["*."+encloser]
	return wild, ok
}

// records parses values in presentation form (RFC 1035, section 5.1) into a set.
func records(owner, typ string, ttl uint32, values []string) (rrset, error) {
	var set rrset
	for _, v := range values {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", owner, ttl, typ, v))
		if err != nil {
			return rrset{}, fmt.Errorf("record %s %s: %w", owner, typ, err)
		}
		if rr == nil {
			return rrset{}, fmt.Errorf("record %s %s: empty value", owner, typ)
		}
		set.records = append(set.records, rr)
	}
	return set, nil
}

// canonicalName returns name in lower case with its final dot.
func canonicalName(name string) string { return dns.CanonicalName(name) }

// parentName returns the name one label up; of the root, the root.
func parentName(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}

// longestZone returns the zone of zones (by origin) that name lies in and that is nearest to it; nil when it lies in none.
func longestZone(zones map[string]*zone, name string) *zone {
	for ; ; name = parentName(name) {
		if z := zones[name]; z != nil {
			return z
		}
		if name == "." {
			return nil
		}
	}
}
