// Package dnsplan works out which DNS records lead a private name to a private endpoint, and writes them down in the
// forms that people and programs take: a Route 53 change batch, aws command lines, Terraform, a zone file, and snippets
// for the resolvers that stand in corporate networks. It is pure: facts in, text out.
package dnsplan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Case is the situation that a plan is for.
type Case string

// The cases. Every one but HostsFile and PrivateDNS gives the name itself and everything below it the endpoint's addresses: the
// proof of path is asked of a sub-name, and registries serve sub-domains.
const (
	// ClusterZone: a private zone named exactly as the cluster's private name. Any wider zone would hide every other
	// name of the vendor's domain from the VPC.
	ClusterZone Case = "cluster-zone"

	// CustomDomain: the same for a name of the customer's own.
	CustomDomain Case = "custom-domain"

	// OnPremises: CNAME records in the zone of a corporate name server, or a resolver that forwards to the VPC.
	OnPremises Case = "on-premises"

	// HostsFile: lines of one machine's hosts file. They know neither wildcards nor names that lead to names.
	HostsFile Case = "hosts-file"

	// PrivateDNS: the endpoint answers the service's own name inside the VPC; there are no records to make.
	PrivateDNS Case = "private-dns"
)

// Target is where the names shall lead: the endpoint's regional DNS name and the hosted zone id of that name, both as
// the endpoint's own dnsEntrySet tells them. The zero Target means "not known yet": command lines and Terraform then
// refer to the endpoint that they create, the other forms are refused.
type Target struct {
	Name         string
	HostedZoneID string
}

// Known reports whether t names an endpoint.
func (t Target) Known() bool { return t.Name != "" }

// Input is everything a plan is made of.
type Input struct {
	Case      Case
	Names     []string // the private names, without the final dot
	Target    Target
	VPCID     string // not needed on premises, nor for a hosts file; so is Region
	Region    string
	DualStack bool // the endpoint has IPv6 addresses too

	// Repositories are names below Names that clients use too, as those of Docker repositories. A wildcard leads to all of
	// them; in a hosts file each has lines of its own.
	Repositories []string

	Addrs []netip.Addr // of the endpoint's interfaces; for a hosts file alone

	// Resolvers are addresses inside the VPC that answer for it (a Route 53 inbound endpoint). On premises only, at
	// least two in different zones; empty means that resolvers chase the endpoint's public name instead.
	Resolvers []netip.Addr
}

// Plan is a set of zones with their records, and what has to hold around them.
type Plan struct {
	Case      Case
	Target    Target
	Zones     []Zone
	Requires  []string // VPC attributes that have to be on
	Notes     []string // what a person should know before using it
	Resolvers []netip.Addr
	Hosts     []Host // of a hosts file
}

// Host is a line of a hosts file.
type Host struct {
	Addr netip.Addr
	Name string
}

// Zone is one zone. VPCID is empty for a zone that is no Route 53 private zone.
type Zone struct {
	Name    string
	VPCID   string
	Region  string
	Records []Record
}

// Record is one record set, an alias of Route 53 or a CNAME, to the plan's target. TTL is in seconds and zero for an
// alias, which has the TTL of what it leads to.
type Record struct {
	Name  string
	Type  string // A, AAAA or CNAME
	Alias bool
	TTL   uint32
}

// cnameTTL keeps an old answer from outliving a switch by more than a minute.
const cnameTTL = 60

// VPC attributes without which private zones and private DNS are not answered.
const (
	DNSSupport   = "enableDnsSupport"
	DNSHostnames = "enableDnsHostnames"
)

// Make returns the plan for in. Errors are *link.Error of kind Invalid and name the field at fault. Everything in a
// Plan was checked against the characters that its kind may hold, so no form of it needs to escape anything.
func Make(in Input) (Plan, error) {
	if err := in.check(); err != nil {
		return Plan{}, err
	}
	p := Plan{Case: in.Case, Target: in.Target, Resolvers: slices.Clone(in.Resolvers)}
	p.Target.Name = strings.TrimSuffix(strings.ToLower(p.Target.Name), ".")
	switch in.Case {
	case PrivateDNS:
		p.Requires = []string{DNSSupport, DNSHostnames}
		p.Notes = []string{
			"private DNS can be enabled only after the vendor has accepted the endpoint",
			"the name is answered inside this VPC only; from elsewhere forward it to an inbound resolver endpoint",
		}
		return p, nil
	case HostsFile:
		for _, name := range slices.Concat(in.Names, in.Repositories) {
			for _, a := range in.Addrs {
				p.Hosts = append(p.Hosts, Host{a, name})
			}
		}
		p.Notes = []string{
			"a hosts file knows no wildcards: it has a line for each Docker repository that the cluster's settings name now, and needs another for each that comes",
			"it does not follow the endpoint: when that is made anew, its addresses are others",
		}
		return p, nil
	case OnPremises:
		for _, name := range in.Names {
			_, parent, _ := strings.Cut(name, ".")
			p.Zones = merge(p.Zones, Zone{Name: parent, Records: []Record{
				{Name: name, Type: "CNAME", TTL: cnameTTL}, {Name: "*." + name, Type: "CNAME", TTL: cnameTTL},
			}})
		}
		p.Notes = []string{
			"resolvers that guard against DNS rebinding must be told to let private addresses through for the name and for the endpoint's own name",
		}
		p.noteRepositories(in)
		return p, nil
	}
	p.Requires = []string{DNSSupport, DNSHostnames}
	for _, name := range in.Names {
		z := Zone{Name: name, VPCID: in.VPCID, Region: in.Region}
		for _, owner := range []string{name, "*." + name} {
			z.Records = append(z.Records, Record{Name: owner, Type: "A", Alias: true})
			if in.DualStack {
				z.Records = append(z.Records, Record{Name: owner, Type: "AAAA", Alias: true})
			}
		}
		p.Zones = merge(p.Zones, z)
	}
	p.Notes = []string{"the zone holds the whole name: nothing beside it is hidden from the VPC"}
	p.noteRepositories(in)
	return p, nil
}

// noteRepositories says what leads to the names below the names.
func (p *Plan) noteRepositories(in Input) {
	if len(in.Repositories) > 0 {
		p.Notes = append(p.Notes, "Docker repositories have names of their own, as "+in.Repositories[0]+
			": the wildcard leads to all of them, and to those to come")
	}
}

// merge returns zones with z put into the zone of its name.
func merge(zones []Zone, z Zone) []Zone {
	i := slices.IndexFunc(zones, func(o Zone) bool { return o.Name == z.Name })
	if i < 0 {
		return append(zones, z)
	}
	zones[i].Records = append(zones[i].Records, z.Records...)
	return zones
}

func (in Input) check() error {
	if !slices.Contains([]Case{ClusterZone, CustomDomain, OnPremises, HostsFile, PrivateDNS}, in.Case) {
		return invalid("case", "unknown DNS case: "+link.Quote(string(in.Case)),
			"one of cluster-zone, custom-domain, on-premises, hosts-file, private-dns")
	}
	if len(in.Names) == 0 {
		return invalid("names", "no private name given", "give the cluster's private name")
	}
	for i, name := range in.Names {
		if !hostname(name) {
			return invalid("names", "not a DNS name in lower case: "+link.Quote(name), "for example acme.us-east-1.pe.example.com")
		}
		if slices.Contains(in.Names[:i], name) {
			return invalid("names", "given twice: "+name, "give each name once")
		}
	}
	for i, name := range in.Repositories {
		below := func(of string) bool { return strings.HasSuffix(name, "."+of) }
		if !hostname(name) || !slices.ContainsFunc(in.Names, below) || slices.Contains(in.Repositories[:i], name) {
			return invalid("repositories", "not a name below the others, or given twice: "+link.Quote(name), "for example docker-local."+in.Names[0])
		}
	}
	if t := in.Target; t != (Target{}) {
		if !hostname(strings.TrimSuffix(strings.ToLower(t.Name), ".")) {
			return invalid("target", "not a DNS name: "+link.Quote(t.Name), "give the first DNS name of the endpoint")
		}
		if in.Case != OnPremises && in.Case != HostsFile && !made(t.HostedZoneID, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") {
			return invalid("target", "not a hosted zone id: "+link.Quote(t.HostedZoneID),
				"give the hosted zone id that the endpoint's DNS entries carry")
		}
	}
	for _, r := range in.Resolvers {
		if !r.IsValid() || r.Zone() != "" {
			return invalid("resolvers", "not an address of a resolver", "give the inbound resolver endpoint's addresses")
		}
	}
	switch in.Case {
	case OnPremises:
		return nil
	case HostsFile:
		return in.checkAddrs()
	}
	if hex, ok := strings.CutPrefix(in.VPCID, "vpc-"); !ok || !made(hex, "0123456789abcdef") {
		return invalid("vpc_id", "not a VPC id: "+link.Quote(in.VPCID), "for example vpc-0a1b2c3d4e5f60718")
	}
	if !made(in.Region, "abcdefghijklmnopqrstuvwxyz0123456789-") {
		return invalid("region", "not a region: "+link.Quote(in.Region), "for example us-east-1")
	}
	return nil
}

func (in Input) checkAddrs() error {
	if len(in.Addrs) == 0 {
		return invalid("addrs", "a hosts file needs the endpoint's addresses", "create the endpoint first, or give them")
	}
	for i, a := range in.Addrs {
		if !a.IsValid() || a.Zone() != "" || slices.Contains(in.Addrs[:i], a) {
			return invalid("addrs", "not an address of an endpoint, or given twice: "+a.String(), "give those of the endpoint's interfaces")
		}
	}
	return nil
}

func invalid(field, message, hint string) error {
	return &link.Error{Kind: link.Invalid, Reason: "MALFORMED_" + strings.ToUpper(field), Field: field, Message: message, Hint: hint}
}

// hostname reports whether s is a name of at least two labels in lower case (RFC 1035, section 2.3.1, with the digits
// of RFC 1123 and underscores, which occur in practice).
func hostname(s string) bool {
	labels := strings.Split(s, ".")
	if len(s) > 253 || len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if len(l) > 63 || !made(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
	}
	return true
}

// made reports whether s is not empty and consists of characters of alphabet.
func made(s, alphabet string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) })
}

// needTarget is the error of the forms that cannot refer to an endpoint that is still to be made.
func (p Plan) needTarget(form string) error {
	return &link.Error{
		Kind: link.Precondition, Reason: "ENDPOINT_NOT_CREATED", Field: "target",
		Message: fmt.Sprintf("a %s needs the endpoint's DNS name", form), Hint: "create the endpoint first",
	}
}

// identifier turns a DNS name into a name for Terraform.
func identifier(name string) string {
	return "postern_" + strings.NewReplacer(".", "_", "*", "any").Replace(name)
}

// sortRecords orders records by name, the wildcard after what it is a wildcard of, then by type.
func sortRecords(rs []Record) []Record {
	out := slices.Clone(rs)
	slices.SortStableFunc(out, func(a, b Record) int {
		return cmp.Or(cmp.Compare(strings.TrimPrefix(a.Name, "*."), strings.TrimPrefix(b.Name, "*.")),
			cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Type, b.Type))
	})
	return out
}
