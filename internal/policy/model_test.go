package policy

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/postern/postern/internal/link"
)

// naive decides as the words of the design do, by walking everything.
func naive(set link.RuleSet, f FlowFacts) Decision {
	if set.Revision == 0 {
		return Decision{Rule: "default", Reason: "NO_RULES"}
	}
	var port link.PortRule
	for _, p := range set.Ports {
		if p.Port == f.Port {
			port = p
		}
	}
	if port.Denied {
		return Decision{Rule: "port", Reason: "PORT_DENIED"}
	}
	if port.Protocol == link.ProtocolTCP {
		return naiveTCP(set, f, port)
	}
	if f.Name == "" {
		return Decision{Rule: "default", Reason: "NO_SERVER_NAME"}
	}
	private, public := naiveOwners(set, f.Name)
	proof := false
	if below, ok := strings.CutPrefix(f.Name, "proof."); ok && len(private) == 0 {
		private, _ = naiveOwners(set, below)
		proof = true
	}
	if len(private) == 0 {
		private, proof = naiveRepository(set, f.Name, func(c link.ClusterRules) []string { return c.PrivateNames }), false
	}
	if len(public) == 0 {
		public = naiveRepository(set, f.Name, func(c link.ClusterRules) []string { return c.PublicNames })
	}
	switch {
	case f.Listener == link.PrivateListener && len(private) > 0:
		return naivePrivate(set, f, port, private, proof)
	case f.Listener == link.PublicListener && len(public) > 0:
		return naivePublic(f, port, public)
	}
	other := private
	if len(other) == 0 {
		other = public
	}
	switch {
	case len(other) == 1:
		return Decision{ClusterID: other[0].ClusterID, Rule: "default", Reason: "WRONG_LISTENER"}
	case len(other) > 1:
		return Decision{Rule: "default", Reason: "WRONG_LISTENER"}
	}
	labels := strings.SplitN(f.Name, ".", 3)
	if f.Listener == link.PrivateListener && len(labels) == 3 && labels[0] != "" && labels[1] == "claim" && labels[2] != "" {
		return naiveClaim(set, f, labels[0], labels[2])
	}
	return Decision{Rule: "default", Reason: "UNKNOWN_NAME"}
}

func naiveOwners(set link.RuleSet, name string) (private, public []link.ClusterRules) {
	is := func(n string) bool { return n != "" && strings.EqualFold(strings.TrimSuffix(n, "."), name) }
	for _, c := range set.Clusters {
		if slices.ContainsFunc(c.PrivateNames, is) {
			private = append(private, c)
		}
		if slices.ContainsFunc(c.PublicNames, is) {
			public = append(public, c)
		}
	}
	return private, public
}

// naiveRepository returns whose repository a name is that is nobody's own: all who have the domain below which it stands,
// if one of them has the repository.
func naiveRepository(set link.RuleSet, name string, names func(link.ClusterRules) []string) (owners []link.ClusterRules) {
	key, below, _ := strings.Cut(name, ".")
	if labels := strings.SplitN(name, ".", 3); len(labels) == 3 && labels[0] != "" && labels[1] == "claim" && labels[2] != "" {
		return nil // a claim's name
	}
	has := false
	for _, c := range set.Clusters {
		var repositories []string
		wildcard := ""
		if c.Proxy != nil && c.Proxy.Proxy.Docker == "SUBDOMAIN" {
			for _, r := range c.Proxy.Proxy.Repositories {
				if !strings.Contains(r.Key, ".") && r.Key != "" {
					repositories = append(repositories, strings.ToLower(r.Key))
				}
			}
			wildcard = strings.TrimSuffix(strings.TrimPrefix(c.Proxy.Proxy.Wildcard, "*."), ".")
		}
		owns := false
		for _, n := range names(c) {
			n = strings.ToLower(strings.TrimSuffix(n, "."))
			if n != "" && (n == below || wildcard == below && strings.HasSuffix("."+wildcard, "."+n)) {
				owns = true
			}
		}
		if owns {
			owners = append(owners, c)
			has = has || slices.Contains(repositories, key)
		}
	}
	if !has {
		return nil
	}
	return owners
}

func naiveAuthorised(set link.RuleSet, id link.EndpointID, c link.ClusterRules) bool {
	if id == "" {
		return false
	}
	for _, p := range set.Projects {
		if p.ProjectID == c.ProjectID && p.ProjectID != "" && slices.Contains(p.Endpoints, id) {
			return true
		}
	}
	return slices.Contains(c.Endpoints, id)
}

func naiveTarget(c link.ClusterRules, port link.PortRule) *Target {
	t := &Target{ClusterID: c.ClusterID, Health: c.Health, ProxyProtocol: c.ProxyProtocol, Limits: c.Limits}
	if c.Proxy != nil {
		t.Proxy = &link.ClusterRules{ClusterID: c.ClusterID, Proxy: c.Proxy, PrivateNames: naiveNames(c.PrivateNames), PublicNames: naiveNames(c.PublicNames)}
	}
	for _, b := range c.Backends {
		if port.BackendPort != 0 {
			b.Address = fmt.Sprintf("%s:%d", b.Address[:strings.LastIndex(b.Address, ":")], port.BackendPort)
		}
		t.Backends = append(t.Backends, b)
	}
	return t
}

func naiveNames(names []string) (out []string) {
	for _, n := range names {
		if n = strings.ToLower(strings.TrimSuffix(n, ".")); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func naiveDenied(c link.ClusterRules, f FlowFacts) bool {
	return f.Port != 0 && slices.Contains(c.DeniedPorts, f.Port)
}

func naivePrivate(set link.RuleSet, f FlowFacts, port link.PortRule, owners []link.ClusterRules, proof bool) Decision {
	c := owners[0]
	switch {
	case len(owners) > 1:
		return Decision{Rule: "default", Reason: "AMBIGUOUS_NAME"}
	case naiveDenied(c, f):
		return Decision{ClusterID: c.ClusterID, Rule: "port", Reason: "PORT_DENIED"}
	case f.EndpointID == "":
		return Decision{ClusterID: c.ClusterID, Rule: "default", Reason: "NO_ENDPOINT_ID"}
	case !naiveAuthorised(set, f.EndpointID, c):
		return Decision{ClusterID: c.ClusterID, Rule: "default", Reason: "ENDPOINT_NOT_AUTHORISED"}
	case proof:
		return Decision{Allow: true, ClusterID: c.ClusterID, Rule: "endpoint", Proof: true}
	}
	return Decision{Allow: true, ClusterID: c.ClusterID, Rule: "endpoint", Target: naiveTarget(c, port)}
}

func naiveTCP(set link.RuleSet, f FlowFacts, port link.PortRule) Decision {
	if f.Listener != link.PrivateListener {
		return Decision{Rule: "default", Reason: "NO_SERVER_NAME"}
	}
	if f.EndpointID == "" {
		return Decision{Rule: "default", Reason: "NO_ENDPOINT_ID"}
	}
	var reach []link.ClusterRules
	for _, c := range set.Clusters {
		if naiveAuthorised(set, f.EndpointID, c) {
			reach = append(reach, c)
		}
	}
	switch {
	case len(reach) == 0:
		return Decision{Rule: "default", Reason: "ENDPOINT_NOT_AUTHORISED"}
	case len(reach) > 1:
		return Decision{Rule: "default", Reason: "AMBIGUOUS_ENDPOINT"}
	case naiveDenied(reach[0], f):
		return Decision{ClusterID: reach[0].ClusterID, Rule: "port", Reason: "PORT_DENIED"}
	}
	return Decision{Allow: true, ClusterID: reach[0].ClusterID, Rule: "endpoint", Target: naiveTarget(reach[0], port)}
}

func naivePublic(f FlowFacts, port link.PortRule, owners []link.ClusterRules) Decision {
	c := owners[0]
	switch {
	case len(owners) > 1:
		return Decision{Rule: "default", Reason: "AMBIGUOUS_NAME"}
	case naiveDenied(c, f):
		return Decision{ClusterID: c.ClusterID, Rule: "port", Reason: "PORT_DENIED"}
	case c.PublicAccess != "ENABLED" && c.PublicAccess != "REPORT_ONLY":
		return Decision{ClusterID: c.ClusterID, Rule: "public-access", Reason: "PUBLIC_ACCESS_DISABLED"}
	}
	longest, admit, rule := -1, false, "default"
	for _, e := range c.AllowList {
		if !e.Prefix.Contains(f.Source.Unmap().WithZone("")) {
			continue
		}
		admits := e.UI || e.SQL
		switch port.Traffic {
		case link.TrafficUI:
			admits = e.UI
		case link.TrafficSQL:
			admits = e.SQL
		}
		if e.Prefix.Bits() > longest {
			longest, admit, rule = e.Prefix.Bits(), false, "allowlist "+e.Prefix.Masked().String()
		}
		if e.Prefix.Bits() == longest {
			admit = admit || admits
		}
	}
	d := Decision{ClusterID: c.ClusterID, Rule: rule}
	switch {
	case !admit:
		d.Reason = "ADDRESS_NOT_ALLOWED"
		return d
	case c.PublicAccess == "REPORT_ONLY":
		d.Rule, d.Reason, d.WouldRefuse = "public-access", "PUBLIC_ACCESS_DISABLED", true
	}
	d.Allow, d.Target = true, naiveTarget(c, port)
	return d
}

func naiveClaim(set link.RuleSet, f FlowFacts, code, domain string) Decision {
	if f.EndpointID == "" {
		return Decision{Rule: "default", Reason: "NO_ENDPOINT_ID"}
	}
	var right []link.ClaimRule
	for _, c := range set.Claims {
		if c.Hash == sha256.Sum256([]byte(code)) && c.Domain == domain {
			right = append(right, c)
		}
	}
	if len(right) != 1 {
		return Decision{Rule: "default", Reason: "UNKNOWN_CLAIM"}
	}
	for _, c := range set.Clusters {
		if c.ClusterID != right[0].ClusterID {
			continue
		}
		switch {
		case naiveDenied(c, f):
			return Decision{ClusterID: c.ClusterID, Rule: "port", Reason: "PORT_DENIED"}
		case f.At.IsZero() || !f.At.Before(right[0].ExpiresAt):
			return Decision{ClusterID: c.ClusterID, Rule: "claim", Reason: "CLAIM_EXPIRED"}
		}
		return Decision{Allow: true, ClusterID: c.ClusterID, Rule: "claim", Claim: right[0].ID}
	}
	return Decision{Rule: "default", Reason: "UNKNOWN_CLAIM"}
}

// changed is what a delta means, by the words of link.RuleDelta.
func changed(set link.RuleSet, delta link.RuleDelta) link.RuleSet {
	out := link.RuleSet{Revision: delta.Revision, Ports: set.Ports}
	if delta.Ports != nil {
		out.Ports = *delta.Ports
	}
	out.Clusters = merged(set.Clusters, delta.Clusters, delta.RemovedClusters, func(c link.ClusterRules) link.ID { return c.ClusterID })
	out.Projects = merged(set.Projects, delta.Projects, delta.RemovedProjects, func(p link.ProjectRules) link.ID { return p.ProjectID })
	out.Claims = merged(set.Claims, delta.Claims, delta.RemovedClaims, func(c link.ClaimRule) link.ID { return c.ID })
	return out
}

func merged[T any](had, put []T, removed []link.ID, id func(T) link.ID) (out []T) {
	for i, v := range slices.Concat(had, put) {
		later := slices.ContainsFunc(slices.Concat(had, put)[i+1:], func(w T) bool { return id(w) == id(v) })
		if !later && !slices.Contains(removed, id(v)) {
			out = append(out, v)
		}
	}
	return out
}

// The worlds of the property tests are small, so that names, endpoints and codes meet.
var (
	clusterIDs = []link.ID{"c1", "c2", "c3", "c4"}
	projectIDs = []link.ID{"", "p1", "p2", "c1"} // a project may have a cluster's id
	claimIDs   = []link.ID{"k1", "k2", "k3"}
	worldNames = []string{"a.test", "b.test", "proof.a.test", "A.Test.", "proof.proof.a.test", "c.test", "one.claim.a.test", ""}
	asked      = []string{
		"", "a.test", "b.test", "proof.a.test", "proof.b.test", "proof.proof.a.test", "c.test", "proof.c.test", "d.test", "proof.",
		"one.claim.a.test", "two.claim.a.test", "one.claim.b.test", "proof.one.claim.a.test", "x.one.claim.a.test", "three.claim.a.test",
		".claim.a.test", "one.claim", "one.claim.", strings.Repeat("o", 300) + ".claim.a.test",
		"r1.a.test", "r2.a.test", "r1.b.test", "r1.proof.a.test", "r1.w.a.test", "r2.w.a.test", "r1.r1.a.test", "r1.claim.a.test", "r1.", ".a.test",
	}
	endpointIDs = []link.EndpointID{"", "e1", "e2", "e3"}
	ports       = []uint16{0, 22, 443, 5432}
	epoch       = time.Unix(1_800_000_000, 0).UTC()
)

func drawAddr(t *rapid.T) netip.Addr {
	last := rapid.SampledFrom([]byte{0, 1, 127, 128, 255}).Draw(t, "last")
	switch rapid.IntRange(0, 4).Draw(t, "family") {
	case 0, 1:
		return netip.AddrFrom4([4]byte{10, 0, rapid.SampledFrom([]byte{0, 1, 128}).Draw(t, "third"), last})
	case 2:
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: last})
	case 3:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte{10, 0, 0, last}).As16())
	}
	return netip.Addr{}
}

func drawEntry(t *rapid.T) link.AllowEntry {
	a := rapid.Custom(drawAddr).Filter(netip.Addr.IsValid).Draw(t, "address").Unmap()
	bits := rapid.OneOf(rapid.IntRange(0, a.BitLen()), rapid.IntRange(a.BitLen()-8, a.BitLen())).Draw(t, "bits")
	p := netip.PrefixFrom(a, bits)
	if rapid.Bool().Draw(t, "masked") {
		p = p.Masked()
	}
	return link.AllowEntry{Prefix: p, UI: rapid.Bool().Draw(t, "ui"), SQL: rapid.Bool().Draw(t, "sql")}
}

func drawCluster(t *rapid.T) link.ClusterRules {
	return link.ClusterRules{
		ClusterID:     rapid.SampledFrom(clusterIDs).Draw(t, "cluster"),
		ProjectID:     rapid.SampledFrom(projectIDs).Draw(t, "project"),
		PrivateNames:  rapid.SliceOfN(rapid.SampledFrom(worldNames), 0, 3).Draw(t, "private"),
		PublicNames:   rapid.SliceOfN(rapid.SampledFrom(worldNames), 0, 2).Draw(t, "public"),
		Backends:      rapid.SliceOfN(rapid.SampledFrom([]link.Backend{{Address: "10.0.0.1:443"}, {Address: "[::1]:22", Weight: 3}}), 0, 2).Draw(t, "backends"),
		Health:        link.HealthCheck{Statuses: rapid.SliceOfN(rapid.Just(200), 0, 1).Draw(t, "statuses")},
		ProxyProtocol: rapid.Bool().Draw(t, "proxy"),
		Endpoints:     rapid.SliceOfN(rapid.SampledFrom(endpointIDs), 0, 3).Draw(t, "endpoints"),
		PublicAccess:  rapid.SampledFrom([]link.PublicAccess{"", "ENABLED", "ENABLED", "REPORT_ONLY", "DISABLED"}).Draw(t, "access"),
		AllowList:     rapid.SliceOfN(rapid.Custom(drawEntry), 0, 6).Draw(t, "list"),
		DeniedPorts:   rapid.SliceOfN(rapid.SampledFrom(ports), 0, 2).Draw(t, "denied"),
		Limits:        link.Limits{Flows: rapid.IntRange(0, 1).Draw(t, "limit")},
		Proxy:         rapid.Custom(drawProxy).Draw(t, "proxy rules"),
	}
}

func drawProxy(t *rapid.T) *link.ProxyRules {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	keys := rapid.SliceOfN(rapid.SampledFrom([]string{"r1", "R1", "r2", "proof", "b", "a.b", ""}), 0, 3).Draw(t, "repositories")
	p := &link.ProxyRules{Proxy: link.ReverseProxy{
		Docker:   rapid.SampledFrom([]link.DockerMethod{"SUBDOMAIN", "SUBDOMAIN", "PORTPERREPO", ""}).Draw(t, "docker"),
		Wildcard: rapid.SampledFrom([]string{"", "*.a.test", "*.w.a.test", "*.claim.a.test", "*.a.test.", "*.proof.a.test", "*.test"}).Draw(t, "wildcard"),
	}}
	for _, k := range keys {
		p.Proxy.Repositories = append(p.Proxy.Repositories, link.ProxyRepository{Key: k})
	}
	return p
}

func drawProject(t *rapid.T) link.ProjectRules {
	return link.ProjectRules{
		ProjectID: rapid.SampledFrom(projectIDs).Draw(t, "project"),
		Endpoints: rapid.SliceOfN(rapid.SampledFrom(endpointIDs), 0, 2).Draw(t, "endpoints"),
	}
}

func drawClaim(t *rapid.T) link.ClaimRule {
	return link.ClaimRule{
		ID: rapid.SampledFrom(claimIDs).Draw(t, "claim"), ClusterID: rapid.SampledFrom(clusterIDs).Draw(t, "cluster"),
		Domain:    rapid.SampledFrom([]string{"a.test", "b.test"}).Draw(t, "domain"),
		Hash:      sha256.Sum256([]byte(rapid.SampledFrom([]string{"one", "two", ""}).Draw(t, "code"))),
		ExpiresAt: epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "expires")) * time.Minute),
	}
}

func drawPort(t *rapid.T) link.PortRule {
	return link.PortRule{
		Port:        rapid.SampledFrom(ports[1:]).Draw(t, "port"),
		Protocol:    rapid.SampledFrom([]link.Protocol{"", "TLS", "POSTGRES", "TCP"}).Draw(t, "protocol"),
		Traffic:     rapid.SampledFrom([]link.Traffic{"", "UI", "SQL"}).Draw(t, "traffic"),
		Denied:      rapid.IntRange(0, 3).Draw(t, "denied") == 0,
		BackendPort: rapid.SampledFrom([]uint16{0, 0, 22, 8443}).Draw(t, "backend port"),
	}
}

func drawDelta(t *rapid.T, from int64, most int) link.RuleDelta {
	delta := link.RuleDelta{
		From: from, Revision: from + rapid.Int64Range(1, 3).Draw(t, "step"),
		Clusters:        rapid.SliceOfN(rapid.Custom(drawCluster), 0, most).Draw(t, "clusters"),
		RemovedClusters: rapid.SliceOfN(rapid.SampledFrom(clusterIDs), 0, 2).Draw(t, "removed clusters"),
		Projects:        rapid.SliceOfN(rapid.Custom(drawProject), 0, 2).Draw(t, "projects"),
		RemovedProjects: rapid.SliceOfN(rapid.SampledFrom(projectIDs), 0, 1).Draw(t, "removed projects"),
		Claims:          rapid.SliceOfN(rapid.Custom(drawClaim), 0, 2).Draw(t, "claims"),
		RemovedClaims:   rapid.SliceOfN(rapid.SampledFrom(claimIDs), 0, 1).Draw(t, "removed claims"),
	}
	if rapid.Bool().Draw(t, "other ports") {
		p := rapid.SliceOfN(rapid.Custom(drawPort), 0, 3).Draw(t, "ports")
		delta.Ports = &p
	}
	return delta
}

func drawFacts(t *rapid.T) FlowFacts {
	f := FlowFacts{
		Listener:   rapid.SampledFrom([]link.Listener{"private", "private", "public", "public", ""}).Draw(t, "listener"),
		EndpointID: rapid.SampledFrom(append(endpointIDs, "e9")).Draw(t, "endpoint"), Source: drawAddr(t),
		Name: rapid.SampledFrom(asked).Draw(t, "name"), Port: rapid.SampledFrom(append(ports, 80)).Draw(t, "port"),
	}
	if rapid.Bool().Draw(t, "clock") {
		f.At = epoch.Add(time.Minute)
	}
	return f
}

// TestDecideAgreesWithTheNaiveModel: rules that were compiled whole, and rules that came about by changes, decide as the
// words do; and what was decided by older rules is decided by them still.
func TestDecideAgreesWithTheNaiveModel(t *testing.T) {
	type age struct {
		set   link.RuleSet
		rules *Rules
	}
	rapid.Check(t, func(t *rapid.T) {
		set := changed(link.RuleSet{}, drawDelta(t, 0, 4))
		ages := []age{{set, Compile(set)}}
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			last := ages[len(ages)-1]
			delta := drawDelta(t, last.set.Revision, 2)
			rules, err := last.rules.Apply(delta)
			if err != nil {
				t.Fatal(err)
			}
			set := changed(last.set, delta)
			ages = append(ages, age{set, rules})
			whole := Compile(set)
			if got, want := sizes(rules), sizes(whole); got != want {
				t.Fatalf("after changes the rules hold %+v, compiled whole %+v", got, want)
			}
			ages = append(ages, age{set, whole}, age{set, rules})
		}
		for i, a := range ages {
			for range 8 {
				f := drawFacts(t)
				if diff := cmp.Diff(naive(a.set, f), a.rules.Decide(f), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("rules %d of %d: %+v\n-want +got:\n%s", i, len(ages), f, diff)
				}
			}
		}
	})
}

type tableSizes struct{ private, public, wildcards, branching, endpoints, clusters, projects, claims, codes, targets int }

func sizes(r *Rules) tableSizes {
	s := tableSizes{
		r.private.n, r.public.n, r.wildcards[0].n + r.wildcards[1].n, r.branching, r.endpoints.n, r.clusters.n, r.projects.n, r.claims.n, r.codes.n, 0,
	}
	for range r.Targets() {
		s.targets++
	}
	return s
}
