package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/link"
)

// What is long goes out in parts that are bounded, are all of one version, and hold everything once.
func TestLongRulesGoInParts(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name   string
		delta  link.RuleDelta
		most   int // bytes a line
		single bool
	}{
		{"nothing", link.RuleDelta{}, longDocument, true},
		{"a little", link.RuleDelta{From: 3, Clusters: clustersNamed(2, "")}, longDocument, true},
		{"many clusters", link.RuleDelta{Clusters: clustersNamed(5000, long)}, longDocument, false},
		{"a change of many, and many removed", link.RuleDelta{From: 3, Clusters: clustersNamed(1500, long), RemovedClusters: make([]link.ID, 900_000)}, longDocument, false},
		{"one cluster beyond all measure", link.RuleDelta{Clusters: clustersNamed(1, strings.Repeat(long, 2000))}, 3 << 20, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ports := []link.PortRule{{Port: 443}}
			tt.delta.Ports = &ports
			lines, err := documents(wireRules(tt.delta, link.RulesVersion{Revision: 9, Tag: "t"}), false)
			if err != nil || (len(lines) == 1) != tt.single {
				t.Fatalf("%d lines, %v", len(lines), err)
			}
			clusters, removed, withPorts := 0, 0, 0
			for i, line := range lines {
				if len(line) > tt.most+1 || line[len(line)-1] != '\n' || strings.Count(string(line), "\n") != 1 {
					t.Errorf("line %d has %d bytes, or is not one line", i, len(line))
				}
				var doc api.GatewayRules
				if err := json.Unmarshal(line, &doc); err != nil {
					t.Fatal(err)
				}
				if doc.From != tt.delta.From || doc.Revision != 9 || doc.Tag != "t" || doc.More != (i < len(lines)-1) {
					t.Errorf("line %d of %d: from %d to %d, tag %q, more %t", i, len(lines), doc.From, doc.Revision, doc.Tag, doc.More)
				}
				for _, c := range doc.Clusters {
					if want := tt.delta.Clusters[clusters].ClusterID; c.ClusterID != string(want) {
						t.Fatalf("cluster %s stands where %s should", c.ClusterID, want)
					}
					clusters++
				}
				removed += len(doc.RemovedClusters)
				if doc.Ports != nil {
					withPorts++
				}
			}
			if clusters != len(tt.delta.Clusters) || removed != len(tt.delta.RemovedClusters) || withPorts != 1 {
				t.Errorf("%d clusters, %d removed, ports %d times", clusters, removed, withPorts)
			}
		})
	}
}

func clustersNamed(n int, name string) []link.ClusterRules {
	out := make([]link.ClusterRules, n)
	for i := range out {
		out[i] = link.ClusterRules{ClusterID: link.ID(fmt.Sprint(i)), PrivateNames: []string{name}}
	}
	return out
}

// Every setting of a cluster has its place on the wire.
func TestWireClusterRules(t *testing.T) {
	c := link.ClusterRules{
		ClusterID: "c", Backends: []link.Backend{{Address: "h:1", Weight: 5, Draining: true}},
		Health: link.HealthCheck{
			Check: link.CheckHTTPS, Path: "/healthz", Statuses: []int{200, 204}, Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 3, Fall: 4,
		},
		ProxyProtocol: true, DeniedPorts: []uint16{22},
		Limits: link.Limits{Flows: 1, FlowsPerSecond: 2, FlowsPerEndpoint: 3, FlowsPerSecondByEndpoint: 4},
	}
	got, err := json.Marshal(wireClusterRules(c))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cluster_id":"c","private_names":[],"public_names":[],"backends":[{"address":"h:1","weight":5,"draining":true}],` +
		`"health":{"check":"HTTPS","path":"/healthz","statuses":[200,204],"interval_seconds":5,"timeout_seconds":2,"rise":3,"fall":4},` +
		`"proxy_protocol":true,"endpoint_ids":[],"public_access":"","allowlist":[],"denied_ports":[22],` +
		`"limits":{"flows":1,"flows_per_second":2,"flows_per_endpoint":3,"flows_per_second_by_endpoint":4}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
