package dnsplan

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/postern/postern/internal/link"
)

// Resolver is a resolver that corporate networks run.
type Resolver string

// The resolvers that Snippet knows.
const (
	Unbound Resolver = "unbound"
	Dnsmasq Resolver = "dnsmasq"
	BIND    Resolver = "bind"
	CoreDNS Resolver = "coredns"
)

// Resolvers lists what Snippet knows.
func Resolvers() []Resolver { return []Resolver{Unbound, Dnsmasq, BIND, CoreDNS} }

// Snippet returns configuration that makes a resolver outside the VPC answer the plan's names with the endpoint's
// addresses. With resolvers inside the VPC it forwards to them. Without, only unbound can do it alone, by chasing the
// endpoint's name; for the others put the records of ZoneFile into the zone above.
func (p Plan) Snippet(r Resolver) (string, error) {
	if !p.Target.Known() {
		return "", p.needTarget("resolver snippet")
	}
	if len(p.Resolvers) == 0 && r != Unbound {
		return "", &link.Error{
			Kind: link.Precondition, Reason: "NO_RESOLVERS", Field: "resolvers",
			Message: fmt.Sprintf("%s needs addresses inside the VPC to forward to", r),
			Hint:    "create a Route 53 inbound resolver endpoint in two zones and give its addresses, or use the zone file",
		}
	}
	var b strings.Builder
	switch r {
	case Unbound:
		p.unbound(&b)
	case Dnsmasq:
		for _, name := range p.names() {
			for _, a := range p.Resolvers {
				fmt.Fprintf(&b, "server=/%s/%s\n", name, a)
			}
			fmt.Fprintf(&b, "# stop-dns-rebind empties answers with private addresses unless both names are excepted\n")
			fmt.Fprintf(&b, "rebind-domain-ok=/%s/%s/\n", name, p.Target.Name)
		}
	case BIND:
		fmt.Fprintf(&b, "// deny-answer-addresses refuses private answers, unless its except-from lists %s and the names below\n", p.Target.Name)
		for _, name := range p.names() {
			fmt.Fprintf(&b, "zone \"%s\" {\n    type forward;\n    forward only;\n    forwarders { %s };\n};\n",
				name, joinAddrs(p.Resolvers, "; ")+";")
		}
	case CoreDNS:
		for _, name := range p.names() {
			fmt.Fprintf(&b, "%s:53 {\n    errors\n    cache %d\n    forward . %s\n}\n", name, cnameTTL, joinAddrs(p.Resolvers, " "))
		}
	default:
		return "", invalid("resolver", "unknown resolver: "+link.Quote(string(r)), "one of unbound, dnsmasq, bind, coredns")
	}
	return b.String(), nil
}

// unbound writes the server options first: in its configuration a clause lasts until the next one begins.
func (p Plan) unbound(b *strings.Builder) {
	b.WriteString("server:\n    # private-address removes private answers unless both names are excepted\n")
	fmt.Fprintf(b, "    private-domain: \"%s.\"\n", p.Target.Name)
	for _, name := range p.names() {
		fmt.Fprintf(b, "    private-domain: \"%s.\"\n", name)
	}
	for _, name := range p.names() {
		if len(p.Resolvers) == 0 {
			// A redirect zone is chased to its addresses; plain local-data with a CNAME is not.
			fmt.Fprintf(b, "    local-zone: \"%s.\" redirect\n", name)
			fmt.Fprintf(b, "    local-data: \"%s. %d IN CNAME %s.\"\n", name, cnameTTL, p.Target.Name)
			continue
		}
		fmt.Fprintf(b, "forward-zone:\n    name: \"%s.\"\n", name)
		for _, a := range p.Resolvers {
			fmt.Fprintf(b, "    forward-addr: %s\n", a)
		}
	}
}

func joinAddrs(addrs []netip.Addr, sep string) string {
	parts := make([]string, len(addrs))
	for i, a := range addrs {
		parts[i] = a.String()
	}
	return strings.Join(parts, sep)
}
