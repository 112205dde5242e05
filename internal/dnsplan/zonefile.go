package dnsplan

import (
	"fmt"
	"strings"
)

// ZoneFile returns the plan's records in master file format (RFC 1035, section 5), to be put into the zone above each
// name. An alias becomes a CNAME, which no name server takes at the apex of a zone: that is why the owner stands in
// the zone above.
func (p Plan) ZoneFile() (string, error) {
	if !p.Target.Known() {
		return "", p.needTarget("zone file")
	}
	var b strings.Builder
	for _, name := range p.names() {
		owner, parent, _ := strings.Cut(name, ".")
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "; into the zone %s\n$ORIGIN %s.\n", parent, parent)
		for _, o := range []string{owner, "*." + owner} {
			fmt.Fprintf(&b, "%-24s %d IN CNAME %s.\n", o, cnameTTL, p.Target.Name)
		}
	}
	return b.String(), nil
}

// names returns the names that the plan's records answer, without the wildcards.
func (p Plan) names() []string {
	var out []string
	for _, z := range p.Zones {
		for _, r := range z.Records {
			if !strings.HasPrefix(r.Name, "*.") && (len(out) == 0 || out[len(out)-1] != r.Name) {
				out = append(out, r.Name)
			}
		}
	}
	return out
}
