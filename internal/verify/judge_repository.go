package verify

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/postern/postern/internal/link"
)

// repositoryName judges where the name of a Docker repository leads. Only Docker clients miss a name that leads nowhere; one
// that leads elsewhere takes them off the private path.
func (j *judge) repositoryName() {
	const id = "DNS_REPOSITORY"
	if j.t.RepositoryName == "" {
		return
	}
	d := j.o.Docker.DNS
	if !d.Asked {
		j.skip(id, GroupDNS, "names are resolved at the far end of the vantage point, out of sight")
		return
	}
	if len(j.o.DNS.V4.Addrs())+len(j.o.DNS.V6.Addrs()) == 0 {
		j.skip(id, GroupDNS, "the private name itself has no address")
		return
	}
	c := Check{ID: id, Group: GroupDNS, Subject: j.t.RepositoryName, Took: d.Took}
	addrs := slices.Concat(d.V4.Addrs(), d.V6.Addrs())
	known := slices.Concat(j.o.DNS.V4.Addrs(), j.o.DNS.V6.Addrs(), j.t.InterfaceAddrs)
	strange := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(known, a) })
	wildcard := "make the wildcard record *." + j.t.PrivateName + " beside that of the name itself; postern dns prints it"
	switch {
	case len(strange) > 0:
		c.Status, c.Code, c.Summary = Fail, "REPOSITORY_ELSEWHERE", "a Docker repository's name resolves to "+joinAddrs(strange)+", where the private name does not lead"
		j.add(c, blame{"another record, or another zone, answers the name: Docker clients leave the private path", SideCustomer, wildcard})
	case len(addrs) > 0:
		c.Status, c.Code, c.Summary = OK, "REPOSITORY_RESOLVES", "a Docker repository's name leads to the same place"
		j.add(c, blame{})
	case d.V4Err != "":
		c.Status, c.Code, c.Summary = Warn, "REPOSITORY_NO_ANSWER", "the resolver does not answer for a Docker repository's name"
		c.Detail = map[string]string{"error": d.V4Err}
		j.add(c, blame{"it is down, or the question is lost on the way", SideCustomer, "check the resolver, then verify again"})
	default:
		c.Status, c.Code, c.Summary = Warn, "REPOSITORY_NOT_NAMED", "a Docker repository's name leads nowhere"
		j.add(c, blame{
			"the zone lacks the wildcard, or a record at or below the name hides it: Docker clients cannot reach repositories by their names",
			SideCustomer, wildcard,
		})
	}
}

// repositoryTLS judges whether the far end knows the repository's name and has a certificate for it. All else about the
// certificate is judged at the private name.
func (j *judge) repositoryTLS() {
	const id = "TLS_REPOSITORY"
	if j.t.RepositoryName == "" {
		return
	}
	s := j.o.Docker.TLS
	c := Check{ID: id, Group: GroupTLS, Subject: j.t.RepositoryName, Took: s.Took}
	switch {
	case s.Failure == NotTried:
		j.skip(id, GroupTLS, "no address completes TLS")
	case !s.Done():
		c.Status, c.Code, c.Summary = Warn, "REPOSITORY_REFUSED", "the handshake for a Docker repository's name fails: "+failureWords(s.Failure)
		c.Detail = map[string]string{"error": s.Error}
		j.add(c, blame{
			"the gateway has not applied the settings that name the repository, or has no certificate for its name", SideVendor,
			"the operator looks at the gateway's rules and certificates: a wildcard covers one label",
		})
	case s.NameErr != "":
		c.Status, c.Code = Warn, "REPOSITORY_NOT_CERTIFIED"
		c.Summary = "the certificate that is shown for a Docker repository's name is for " + link.Quote(strings.Join(s.Names, " "))
		j.add(c, blame{"a wildcard covers one label, and the certificate has none for this one", SideVendor, "the operator adds the wildcard to the gateway's certificate"})
	default:
		c.Status, c.Code, c.Summary = OK, "REPOSITORY_CERTIFIED", "a certificate for a Docker repository's name is shown"
		j.add(c, blame{})
	}
}
