package policy

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

// large is an installation of many clusters with many endpoints each, a hundred clusters to a project with one endpoint
// of its own, four ranges in each allow list and a claim for every tenth cluster.
func large(clusters, endpoints int) link.RuleSet {
	set := link.RuleSet{Revision: 1, Ports: []link.PortRule{
		{Port: 443, Traffic: link.TrafficUI}, {Port: 5432, Traffic: link.TrafficSQL}, {Port: 22, Protocol: link.ProtocolTCP},
	}}
	for i := range clusters {
		set.Clusters = append(set.Clusters, largeCluster(i, endpoints))
		if i%100 == 0 {
			set.Projects = append(set.Projects, link.ProjectRules{
				ProjectID: largeProject(i), Endpoints: []link.EndpointID{link.EndpointID(fmt.Sprintf("vpce-f%016x", i))},
			})
		}
		if i%10 == 0 {
			set.Claims = append(set.Claims, link.ClaimRule{
				ID: link.ID(fmt.Sprintf("cccccccc-cccc-4ccc-8ccc-%012x", i)), ClusterID: largeID(i), Domain: "pe.test",
				Hash: sha256.Sum256(fmt.Append(nil, "code", i)), ExpiresAt: epoch.Add(time.Hour),
			})
		}
	}
	return set
}

func largeID(i int) link.ID      { return link.ID(fmt.Sprintf("aaaaaaaa-aaaa-4aaa-8aaa-%012x", i)) }
func largeProject(i int) link.ID { return link.ID(fmt.Sprintf("bbbbbbbb-bbbb-4bbb-8bbb-%012x", i/100)) }

func largeCluster(i, endpoints int) link.ClusterRules {
	c := link.ClusterRules{
		ClusterID: largeID(i), ProjectID: largeProject(i),
		PrivateNames: []string{fmt.Sprintf("c%d.us-east-1.pe.test", i)}, PublicNames: []string{fmt.Sprintf("c%d.us-east-1.test", i)},
		Backends: []link.Backend{{Address: fmt.Sprintf("10.%d.%d.1:443", i>>8&255, i&255)}}, PublicAccess: link.PublicEnabled,
	}
	if i%5 == 0 {
		c.Proxy = withRepositories("", "docker", "maven", "npm")
	}
	for j := range endpoints {
		c.Endpoints = append(c.Endpoints, link.EndpointID(fmt.Sprintf("vpce-%017x", i*endpoints+j)))
	}
	for bits := 8; bits <= 32; bits += 8 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 200, 30, 4}), bits).Masked()
		c.AllowList = append(c.AllowList, link.AllowEntry{Prefix: p, UI: true})
	}
	return c
}

func largeFlows() map[string]FlowFacts {
	return map[string]FlowFacts{
		"private":  {Listener: link.PrivateListener, EndpointID: "vpce-0000000000000002b", Name: "c4.us-east-1.pe.test", Port: 443},
		"project":  {Listener: link.PrivateListener, EndpointID: "vpce-f0000000000000000", Name: "c4.us-east-1.pe.test", Port: 443},
		"proof":    {Listener: link.PrivateListener, EndpointID: "vpce-0000000000000002b", Name: "proof.c4.us-east-1.pe.test", Port: 443},
		"tcp":      {Listener: link.PrivateListener, EndpointID: "vpce-0000000000000002b", Port: 22},
		"several":  {Listener: link.PrivateListener, EndpointID: "vpce-f0000000000000000", Port: 22},
		"claim":    {Listener: link.PrivateListener, EndpointID: "vpce-fffffffffffffffff", Name: "code0.claim.pe.test", Port: 443, At: epoch},
		"guess":    {Listener: link.PrivateListener, EndpointID: "vpce-fffffffffffffffff", Name: "code1.claim.pe.test", Port: 443, At: epoch},
		"public":   {Listener: link.PublicListener, Source: netip.MustParseAddr("10.1.1.1"), Name: "c4.us-east-1.test", Port: 443},
		"mapped":   {Listener: link.PublicListener, Source: netip.MustParseAddr("::ffff:10.1.1.1"), Name: "c4.us-east-1.test", Port: 443},
		"refused":  {Listener: link.PrivateListener, EndpointID: "vpce-fffffffffffffffff", Name: "c4.us-east-1.pe.test", Port: 443},
		"docker":   {Listener: link.PrivateListener, EndpointID: "vpce-00000000000000032", Name: "docker.c5.us-east-1.pe.test", Port: 443},
		"unknown":  {Listener: link.PrivateListener, EndpointID: "vpce-fffffffffffffffff", Name: "d.us-east-1.pe.test", Port: 443},
		"no facts": {},
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	rules := Compile(large(110, 10))
	reasons := map[string]string{
		"tcp": "", "claim": "", "private": "", "project": "", "proof": "", "public": "", "mapped": "", "docker": "", "several": AmbiguousEndpoint,
		"guess": UnknownClaim, "refused": EndpointNotAuthorised, "unknown": UnknownName, "no facts": NoServerName,
	}
	for name, f := range largeFlows() {
		if want, got := reasons[name], rules.Decide(f).Reason; got != want {
			t.Errorf("%s: reason %q, want %q", name, got, want)
		}
		if n := testing.AllocsPerRun(100, func() { rules.Decide(f) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkRules is what rules of a million endpoints and a hundred thousand clusters cost. Memory is beyond the strings,
// which the rules share with what they were made of.
func BenchmarkRules(b *testing.B) {
	const clusters, endpoints = 100_000, 10
	set := large(clusters, endpoints)
	b.Run("compile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Compile(set)
		}
	})
	_, bare := compiled(large(clusters, 0))
	rules, held := compiled(set)
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			rules.Counts()
		}
		b.ReportMetric(float64(held)/1e6, "MB")
		b.ReportMetric(float64(bare)/clusters, "B/cluster")
		b.ReportMetric(float64(held-bare)/(clusters*endpoints), "B/endpoint")
	})
	for name, f := range largeFlows() {
		b.Run("decide/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rules.Decide(f)
			}
		})
	}
	b.Run("decide/private, each another", func(b *testing.B) {
		flows := make([]FlowFacts, 1<<16)
		for i := range flows {
			n := i * 104_729 % clusters
			flows[i] = FlowFacts{
				Listener: link.PrivateListener, EndpointID: set.Clusters[n].Endpoints[i%endpoints], Name: set.Clusters[n].PrivateNames[0], Port: 443,
			}
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if d := rules.Decide(flows[i&(len(flows)-1)]); !d.Allow {
				b.Fatal(d)
			}
			i++
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.ReportAllocs()
		now, i := rules, 0
		for b.Loop() {
			i++
			c := set.Clusters[i*104_729%clusters]
			c.Endpoints = append(c.Endpoints[1:len(c.Endpoints):len(c.Endpoints)], link.EndpointID("vpce-new"))
			next, err := now.Apply(link.RuleDelta{From: now.Revision(), Revision: now.Revision() + 1, Clusters: []link.ClusterRules{c}})
			if err != nil {
				b.Fatal(err)
			}
			now = next
		}
	})
}

// compiled returns the rules of set and how much memory they take.
func compiled(set link.RuleSet) (rules *Rules, size int64) {
	before := heap()
	rules = Compile(set)
	size = heap() - before
	runtime.KeepAlive(set)
	return rules, size
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
